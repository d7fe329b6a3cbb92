"""Turn a run's checkpoint into shipped weights: half precision, with terms of use and measured figures in the header.

    python benchmarks/ship_weights.py runs/tiny_finish/checkpoints/best.safetensors tiny --rows rows.csv --notes "..."

`--rows` is what `derain evaluate MANIFEST -o rows.csv` wrote for that checkpoint; its means by type go into the header.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from statistics import mean

from derain.models.checkpoints import load_checkpoint, save_checkpoint

WEIGHTS = Path(__file__).parent.parent / "src" / "derain" / "weights"
LICENCE = (
    "Trained in part on photographs licensed for research or non-commercial use only: see the model card. "
    "The code is under the MIT licence; these weights are for research and non-commercial use."
)


def figures(rows: Path) -> dict[str, float]:
    """Mean PSNR and SSIM of input and output by type, from a file of one row a picture."""
    columns = ("input_psnr", "output_psnr", "input_ssim", "output_ssim")
    values: dict[str, list[float]] = defaultdict(list)
    with rows.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for column in columns:
                values[f"{row['type']}.{column}"].append(float(row[column]))
    return {name: round(mean(found), 4) for name, found in sorted(values.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("name")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--notes", default="")
    arguments = parser.parse_args()
    network, header = load_checkpoint(arguments.checkpoint)
    changes: dict[str, object] = {"licence": LICENCE, "notes": arguments.notes}
    if arguments.rows is not None:
        changes["metrics"] = figures(arguments.rows)
    target = WEIGHTS / f"{arguments.name}.safetensors"
    save_checkpoint(target, network, header.model_copy(update=changes), dtype="float16")
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, step {header.step}")


if __name__ == "__main__":
    main()
