"""The folder of a run: what lies where, how one is begun, and when one may be resumed.

settings.yaml       the run's settings: as it was started, or resumed last
settings-first.yaml what it was started with, where it was resumed with other settings
environment.json    versions of Python, of packages and of the system
data.json           digests of the data that is learnt from and validated on
log.jsonl           one JSON object a line: training and validation figures
tensorboard/        the same for TensorBoard
checkpoints/        last.pt (training state), best.safetensors, final.safetensors (weights), and where the settings
                    ask for it step_00010000.safetensors and so on
plots/              what `derain train plot` draws
mlflow.db, mlflow-run.txt, wandb/, wandb-run.txt: where these loggers are asked for
"""

import json
import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from derain import __version__
from derain.errors import SettingsError, TrainingError
from derain.files import write_text
from derain.settings import build_settings, differences
from derain.train.methods.registry import METHODS
from derain.train.settings import TrainSettings

MAY_CHANGE = frozenset(
    {
        "run",
        "steps",
        "max_minutes",
        "device",
        "devices",
        "nodes",
        "accumulate",
        "threads",
        "loggers",
        "log_every_steps",
        "checkpoint_every_steps",
        "keep_every_steps",
        "validation.every_steps",
        "data.workers",
        "data.check",
        "data.photos",
        "data.simulation.device",
        "model.initial_weights",
        "reweighting.tau",
        "reweighting.forget",
        "reweighting.floor",
        "reweighting.warmup",
        "reweighting.af_types",  # of these four the stored state decides: it resumes under its own values alone
        "reweighting.significance",
        "reweighting.tbs_horizon",
        "reweighting.weight_momentum",
    }
)
"""Settings that a resumed run may have other than it was started with: they change its length, its place, its speed or
what it prints, not what it learns from a step; those of the reweighting how sharply it acts from now on, not what its
history means. (A moved `data.photos` must still have the same digest. Another length bends the rest of the learning
rate's cosine.)"""

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "pydantic", "lightning-fabric", "tensorboard")


@dataclass(frozen=True)
class DataRecord:
    """What a run learns from and is validated on, as it is written down."""

    digest: str
    """Of the files of split `train`."""
    validation_digest: str | None
    """Of the files of split `val`; None where there are none."""
    probe_digest: str | None
    """Of the files of split `probe`; None where there are none or the run does not look at them."""
    rows: Mapping[str, int]
    """Counts of what is learnt from."""


class RunFolder:
    """Paths in a run's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = root / "settings.yaml"
        self.first_settings = root / "settings-first.yaml"
        self.environment = root / "environment.json"
        self.data = root / "data.json"
        self.log = root / "log.jsonl"
        self.tensorboard = root / "tensorboard"
        self.state = root / "checkpoints" / "last.pt"
        self.best = root / "checkpoints" / "best.safetensors"
        self.final = root / "checkpoints" / "final.safetensors"

    def kept(self, step: int) -> Path:
        """Where the weights of a step are kept for good."""
        return self.state.with_name(f"step_{step:08d}.safetensors")

    def require_unused(self) -> None:
        """Check that a new run can begin here, before anything that takes time is done for it.

        Raises:
            TrainingError: there is something in the folder already.
        """
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise TrainingError(
                f"{self.root}: wanted a new or empty folder for the run, but there is something in it; "
                "resume that run by --resume, or set another folder by --set run=FOLDER"
            )

    def begin(self, settings: TrainSettings, data: DataRecord) -> None:
        """Make the folder and write down what the run is made of.

        Raises:
            TrainingError: there is something in the folder already, or it cannot be written.
        """
        try:
            self.require_unused()
            self.state.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.environment, json.dumps(_environment(), indent=2) + "\n")
            write_text(self.data, json.dumps(asdict(data), indent=2) + "\n")
            write_text(self.settings, _as_yaml(settings) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.root}: wanted a folder that the run can be written to, got: {error.strerror}; "
                "set another one by --set run=FOLDER"
            ) from error

    def require_resumable(self, settings: TrainSettings) -> None:
        """Check that the run in this folder can be resumed with these settings, before anything that takes time.

        Raises:
            TrainingError: there is no run, it cannot be read, or settings changed that may not change.
        """
        if not self.root.exists():
            raise TrainingError(f"{self.root}: no such folder: check `run`, or leave --resume out")
        if not self.settings.is_file():
            raise TrainingError(
                f"{self.root}: no run to resume, settings.yaml is missing; check `run`, or leave --resume out and name "
                "a new folder by --set run=FOLDER"
            )
        changed = self.changes(settings, MAY_CHANGE)
        if changed:
            raise TrainingError(
                f"{self.root}: cannot resume with other settings: {describe_changes(changed)}. Give the old values, as "
                f"`derain train {self.settings} --resume` does, or start a new run "
                f"(--set model.initial_weights={self.best} lets it begin with these weights)"
            )

    def changes(self, settings: TrainSettings, may_change: Collection[str]) -> dict[str, tuple[Any, Any]]:
        """Settings that differ from those that the run began with, or was resumed with last, but for `may_change`.

        Returns:
            `a.b.0.c` -> (before, now), as `differences` has it; before is what it was started with, if that differs.

        Raises:
            TrainingError: settings.yaml or settings-first.yaml cannot be read.
        """
        changed = differences(self._read(self.settings), settings)
        if self.first_settings.exists():
            changed |= differences(self._read(self.first_settings), settings)
        return {key: values for key, values in changed.items() if key not in may_change}

    def note_resumed(self, settings: TrainSettings) -> None:
        """Write down the settings of the resumed run; what it was started with is kept beside them.

        Raises:
            TrainingError: the folder cannot be written to, or settings.yaml not be read.
        """
        before = self._read(self.settings)
        if before == settings:
            return
        try:
            if not self.first_settings.exists():
                write_text(self.first_settings, _as_yaml(before) + "\n")
            write_text(self.settings, _as_yaml(settings) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.root}: the settings cannot be written down ({error.strerror}); free space, then resume"
            ) from error

    def _read(self, path: Path) -> TrainSettings:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            settings = build_settings(TrainSettings, values, source=str(path))
            method = METHODS.get(settings.method.name)  # one of a user's own need not be in the list
            return settings if method is None else method.with_all_options(settings)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError, SettingsError) as error:
            raise TrainingError(
                f"{path}: cannot be read ({error}); start the run anew elsewhere, or remove {self.root}"
            ) from error

    def require_same_data(self, data: DataRecord) -> None:
        """Check that the run in this folder is resumed on the data that it was started with.

        Raises:
            TrainingError: data.json cannot be read, or the data is another.
        """
        try:
            recorded = json.loads(self.data.read_text(encoding="utf-8"))
            digest = recorded["digest"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{self.data}: cannot be read ({error}); start the run anew elsewhere") from error
        if digest != data.digest:
            raise TrainingError(
                f"{self.root}: the training data is not what the run was started with (digest {data.digest[:30]}..., "
                f"wanted {str(digest)[:30]}...); restore the data, or start a new run"
            )
        # Runs of earlier versions did not write it down.
        validation_digest = recorded.get("validation_digest", data.validation_digest)
        if validation_digest != data.validation_digest:
            raise TrainingError(
                f"{self.root}: the validation data is not what the run was started with (digest "
                f"{str(data.validation_digest)[:30]}..., wanted {str(validation_digest)[:30]}...), so that its best "
                "weights could not be found; restore the rows of split val and their files, or start a new run"
            )
        if recorded.get("probe_digest", data.probe_digest) != data.probe_digest:
            raise TrainingError(
                f"{self.root}: the probe's data is not what the run was started with; restore the rows of split probe "
                "and their files, or start a new run"
            )


def describe_changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """What `RunFolder.changes` found, in words."""
    return "; ".join(f"{key} was {before!r}, is {now!r}" for key, (before, now) in changed.items())


def _environment() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "derain": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "packages": versions,
    }


def _as_yaml(settings: TrainSettings) -> str:
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
