"""Trainings beside each other: gain by type on one set of pairs, spread of the types, and how far weights moved.

    derain evaluate val/manifest.csv --model RUN/checkpoints/final.safetensors --protocol unirain -o RUN/scores.csv
    python benchmarks/compare_runs.py RUN... [--types drs drd]

Prints a Markdown table with a row for each run, named after its folder. Gains are means over pictures, in dB over the
rainy input. Spread: standard deviation over the types that a run learns of the L1 that is left over that of the input,
at its last validation, empty if that did not measure it. Distance: mean distance of a type's weight from an equal share
over the ticks of the reweighting, 0 where there are none.
"""

import argparse
import csv
import json
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from derain.types import RainType


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, with scores.csv in it")
    parser.add_argument("--types", nargs="+", choices=list(RainType), default=list(RainType), help="that count")
    arguments = parser.parse_args()
    types = arguments.types
    print(f"| run | {' | '.join(types)} | average | worst type | spread | distance |")
    print("|---|" + "---:|" * (len(types) + 4))
    for run in arguments.runs:
        of_each = gain_by_type(run / "scores.csv")
        gains = {name: of_each[name] for name in types}
        entries = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        cells = [f"{gains[name]:+.2f}" for name in types]
        cells += [f"{fmean(gains.values()):+.2f}", f"{min(gains.values()):+.2f}"]
        print(f"| {run.name} | {' | '.join(cells)} | {spread(entries)} | {distance(entries):.3f} |")


def gain_by_type(scores: Path) -> dict[str, float]:
    """Mean gain of each type's pictures in dB, from what `derain evaluate -o` wrote."""
    found: dict[str, list[float]] = {}
    with scores.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["type"], []).append(float(row["output_psnr"]) - float(row["input_psnr"]))
    return {name: fmean(gains) for name, gains in found.items()}


def spread(entries: list[dict[str, Any]]) -> str:
    """Standard deviation over the types of the L1 that is left, over that of the input; empty if not measured."""
    last = [entry for entry in entries if entry["kind"] == "validation"][-1]
    left = [last[f"{name}.l1_out"] / last[f"{name}.l1_in"] for name in RainType if f"{name}.l1_in" in last]
    return f"{pstdev(left):.3f}" if left else ""


def distance(entries: list[dict[str, Any]]) -> float:
    """Mean distance of weights from 1/K."""
    ticks = [entry["weights"] for entry in entries if entry["kind"] == "reweighting"]
    return fmean([abs(weight - 1 / len(tick)) for tick in ticks for weight in tick.values()] or [0.0])


if __name__ == "__main__":
    main()
