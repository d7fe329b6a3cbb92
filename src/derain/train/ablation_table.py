"""What came out of a study: every finished trial judged on the same pictures, and the table of them."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch

from derain.data.paired import CLEAN_LABEL
from derain.errors import TrainingError
from derain.files import write_text
from derain.models.checkpoints import load_checkpoint
from derain.models.complexity import measure
from derain.train.ablation import Trial
from derain.train.devices import build_fabric
from derain.train.log import RunLog, read_log
from derain.train.settings import TrainSettings
from derain.train.validation import FixedValidation, ValidationReport, fixed_validation

SEED_OFFSET = 1_000_000
"""The pictures that a study is judged by have another rain than those that its runs watched themselves by."""


@dataclass(frozen=True)
class Result:
    """One finished trial. PSNR and L1 by protocol `rgb`, means over the pictures of a type."""

    variant: str
    seed: int
    report: ValidationReport
    steps: int
    minutes: float
    parameters: int
    macs: int
    """Multiply-accumulates at 256x256, folded."""
    probe_spread: float | None
    """`spread` of the losses that the run's own reweighting looked at, last over first tick; None without ticks."""

    @property
    def gains(self) -> dict[str, float]:
        """PSNR over the rainy input by type, dB."""
        return {row.label: row.psnr_out - row.psnr_in for row in self.report.rows if row.label != CLEAN_LABEL}

    def numbers(self) -> dict[str, float | None]:
        """All figures by name, in the order of the table.

        `spread` is the standard deviation, over the types, of the relative loss: the L1 that is left over that of the
        rainy input.
        """
        types = [row for row in self.report.rows if row.label != CLEAN_LABEL]
        clean = [row.psnr_out for row in self.report.rows if row.label == CLEAN_LABEL]
        return {
            **{f"psnr.{row.label}": row.psnr_out for row in types},
            "psnr.average": fmean(row.psnr_out for row in types),
            **{f"gain.{name}": gain for name, gain in self.gains.items()},
            "gain.average": fmean(self.gains.values()),
            "psnr.clean": fmean(clean),
            "spread": pstdev(row.l1_out / row.l1_in for row in types),
            "spread.probe": self.probe_spread,
            "steps": self.steps,
            "minutes": self.minutes,
            "parameters": self.parameters,
            "macs": self.macs,
        }


def judging_pictures(settings: TrainSettings, pictures_per_type: int) -> FixedValidation:
    """The pictures that all trials of a study are judged by: of split `val`, with other rain than a run's own.

    Raises:
        DatasetError: there are no rows of split `val`, or a type has none.
    """
    own = settings.validation
    changed = own.model_copy(update={"pictures_per_type": pictures_per_type, "seed": own.seed + SEED_OFFSET})
    return fixed_validation(settings.model_copy(update={"validation": changed}))


def judge_trials(trials: Sequence[Trial], pictures: FixedValidation, notify: Callable[[str], None]) -> list[Result]:
    """Judge the last weights of every trial that is finished.

    Raises:
        TrainingError: trials learnt from different data, or a log cannot be read.
        CheckpointError: weights cannot be read.
    """
    finished = [trial for trial in trials if trial.folder.final.exists()]
    _require_same_data(finished)
    results = []
    for trial in finished:
        result = judge(trial, pictures)
        gains = "  ".join(f"{name} {gain:+.2f}" for name, gain in result.gains.items())
        notify(f"{trial.name}: gain {fmean(result.gains.values()):+.2f} dB  {gains}")
        results.append(result)
    return results


def judge(trial: Trial, pictures: FixedValidation) -> Result:
    """Restore the pictures with the trial's last weights, in float32, and read the rest off its folder."""
    settings = trial.settings
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    network, header = load_checkpoint(trial.folder.final)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    ready = network.for_inference()
    macs = measure(ready).macs
    alone = settings.model_copy(update={"devices": 1, "nodes": 1, "precision": "32-true"})
    device = build_fabric(alone).device
    report = pictures(ready.to(device))
    log = read_log(trial.folder.root)
    minutes = float(log.train[-1]["minutes"]) if log.train else 0.0
    spread = probe_spread(log)
    return Result(trial.variant, trial.seed, report, header.step, minutes, parameters, macs, spread)


def probe_spread(log: RunLog) -> float | None:
    """Standard deviation over the types of the last finite loss over the first one, of the reweighting's ticks."""
    seen = [row["losses"] for row in log.reweighting if all(map(_is_finite, row["losses"].values()))]
    if len(seen) < 2 or min(seen[0].values()) <= 0:
        return None
    return pstdev(float(seen[-1][name]) / float(first) for name, first in seen[0].items())


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _require_same_data(trials: Sequence[Trial]) -> None:
    digests = {}
    for trial in trials:
        path = trial.folder.data
        try:
            recorded = json.loads(path.read_text(encoding="utf-8"))
            digests[trial.name] = (recorded["digest"], recorded["validation_digest"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{path}: cannot be read ({error}); remove the run and train it anew") from error
    apart = [name for name, digest in digests.items() if digest != next(iter(digests.values()))]
    if apart:
        raise TrainingError(
            f"{apart[0]} did not learn from the same files as {next(iter(digests))} (digests in data.json); remove one "
            "of the runs and train it anew, or give another -o"
        )


@dataclass(frozen=True)
class Spot:
    """One figure over the seeds of a variant."""

    mean: float
    least: float
    most: float


class StudyTable:
    """The results of a study by variant, in the order of their first trial."""

    def __init__(self, study: str, pictures_per_type: int, results: Sequence[Result], missing: Sequence[str]) -> None:
        """`missing` names trials that are not finished."""
        self.study = study
        self.pictures_per_type = pictures_per_type
        self.results = tuple(results)
        self.missing = tuple(missing)

    def variants(self) -> dict[str, list[Result]]:
        """The results of each variant, one per seed."""
        grouped: dict[str, list[Result]] = {}
        for result in self.results:
            grouped.setdefault(result.variant, []).append(result)
        return grouped

    def json(self) -> dict[str, Any]:
        """All figures, of trials and of variants."""
        return {
            "study": self.study,
            "protocol": "rgb",
            "pictures_per_type": self.pictures_per_type,
            "missing": list(self.missing),
            "input": self._input(),
            "variants": {
                name: {
                    "worst_type": worst_type(results),
                    **{key: None if spot is None else vars(spot) for key, spot in _over_seeds(results).items()},
                }
                for name, results in self.variants().items()
            },
            "trials": [{"variant": r.variant, "seed": r.seed, **r.numbers()} for r in self.results],
        }

    def markdown(self) -> str:
        """A table with a row per variant; what is the same in all rows stands below it."""
        if not self.results:
            return "No trial is finished yet.\n"
        types = list(self.results[0].gains)
        sizes = {(result.parameters, result.macs) for result in self.results}
        head = ["variant", *types, "average", "worst gain", "clean", "spread", "spread, probe", "steps", "minutes"]
        head += ["parameters, M", "GMACs"] if len(sizes) > 1 else []
        given = self._input()
        first = ["rainy input", *(f"{given[name]:.2f}" for name in types), f"{fmean(given.values()):.2f}"]
        rows = [[*first, *[""] * (len(head) - len(first))]]
        for name, results in self.variants().items():
            spots = _over_seeds(results)
            worst = worst_type(results)
            least = f"{_shown(spots[f'gain.{worst}'], 2, '+')} ({worst})"
            row = [name, *(_shown(spots[f"psnr.{kind}"], 2) for kind in types), _shown(spots["psnr.average"], 2), least]
            row += [_shown(spots["psnr.clean"], 2), _shown(spots["spread"], 3), _shown(spots["spread.probe"], 3)]
            row += [_shown(spots["steps"], 0), _shown(spots["minutes"], 1)]
            if len(sizes) > 1:
                row += [f"{results[0].parameters / 1e6:.3f}", f"{results[0].macs / 1e9:.3f}"]
            rows.append(row)
        lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rows)]
        return "\n".join([*lines, "", *self._notes(len(sizes) == 1)]) + "\n"

    def write(self, out: Path) -> None:
        """Write table.md and table.json.

        Raises:
            TrainingError: the folder cannot be written.
        """
        texts = {"table.md": self.markdown(), "table.json": json.dumps(self.json(), indent=2) + "\n"}
        for name, text in texts.items():
            path = out / name
            try:
                write_text(path, text)
            except OSError as error:
                raise TrainingError(f"{path}: cannot be written ({error.strerror}); give another -o") from error

    def _input(self) -> dict[str, float]:
        """PSNR of the rainy input by type; the same for all results, which were judged on the same pictures."""
        if not self.results:
            return {}
        return {row.label: row.psnr_in for row in self.results[0].report.rows if row.label != CLEAN_LABEL}

    def _notes(self, is_one_size: bool) -> list[str]:
        seeds = sorted({result.seed for result in self.results})
        message = f"PSNR in dB (rgb), pictures of each type: {self.pictures_per_type}"
        notes = [f"{message}; seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}."]
        if len(seeds) > 1:
            notes[0] += " Means over the seeds; in brackets the least and the largest."
        if is_one_size:
            one = self.results[0]
            notes.append(f"All have {one.parameters / 1e6:.3f} M parameters, {one.macs / 1e9:.3f} GMACs at 256x256.")
        if self.missing:
            notes.append(f"Not finished: {'; '.join(self.missing)}.")
        return notes


def worst_type(results: Sequence[Result]) -> str:
    """The type that a variant gains least for, on average over its seeds; single seeds may have another."""
    means = {name: fmean(result.gains[name] for result in results) for name in results[0].gains}
    return min(means, key=means.__getitem__)


def _over_seeds(results: Sequence[Result]) -> Mapping[str, Spot | None]:
    """Every figure over the seeds; None where a seed does not have it."""
    rows = [result.numbers() for result in results]
    spots: dict[str, Spot | None] = {}
    for key in rows[0]:
        values = [value for row in rows if (value := row[key]) is not None]
        spots[key] = Spot(fmean(values), min(values), max(values)) if len(values) == len(rows) else None
    return spots


def _shown(spot: Spot | None, digits: int, sign: str = "") -> str:
    """The mean, with its range where that shows."""
    if spot is None:
        return "-"
    mean, least, most = (f"{value:{sign}.{digits}f}" for value in (spot.mean, spot.least, spot.most))
    return mean if least == most else f"{mean} [{least}, {most}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
