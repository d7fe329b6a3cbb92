"""Where a run's figures go beside its own log: TensorBoard, MLflow and Weights & Biases.

Each is a logger after Lightning Fabric's interface (`log_hyperparams`, `log_metrics`, `finalize`), imported only when a
configuration names it. A resumed run continues the same curve: TensorBoard by forgetting what lies after the step, the
others by the id that the run folder keeps.
"""

import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.loggers.logger import Logger

from derain.errors import MissingExtraError, TrainingError
from derain.settings import flat
from derain.train.folder import RunFolder

PROJECT = "derain"
"""The experiment (MLflow) or project (Weights & Biases) that runs go to, unless their own variables name another."""

_PACKAGES = {
    "tensorboard": (("tensorboard",), "train"),
    "mlflow": (("mlflow", "sqlalchemy", "alembic"), "loggers"),
    "wandb": (("wandb",), "loggers"),
}
"""Logger -> the packages that it needs, and the extra that they are in."""


class RunLogger(Logger):
    """What the loggers here have in common: flat metrics by name, nested hyperparameters."""

    @property
    def name(self) -> str | None:
        """The experiment that the run belongs to, where there is such a thing."""
        return PROJECT

    @property
    def version(self) -> str | None:
        """The run's id there, or None."""
        return None

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record figures at a step."""

    @abstractmethod
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override] # Fabric: and anything more
        """Record what the run was started with."""

    @abstractmethod
    def finalize(self, status: str) -> None:
        """Write what is left and close; status is `success` or `failed`."""


class TensorBoard(RunLogger):
    """Event files in the run's folder.

    Fabric's own TensorBoardLogger is not used: it expands `$` in the folder's name, and reports a full disk as if the
    figure were of a wrong type.
    """

    def __init__(self, folder: RunFolder, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed run wrote after the step that it is resumed from is hidden.
        self._writer = SummaryWriter(str(folder.tensorboard), purge_step=first_step + 1 if first_step else None)
        self._first_step = first_step

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record figures at a step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        # A thread writes them; without this a failure would show only at the next line.
        self._writer.flush()

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override] # Fabric: and anything more
        """Show the settings as text."""
        text = yaml.safe_dump(dict(params), sort_keys=False)
        self._writer.add_text("settings", f"```\n{text}```", self._first_step + 1)

    def finalize(self, status: str) -> None:  # noqa: ARG002 - an event file has no status
        """Write what is left and close."""
        self._writer.close()


class Mlflow(RunLogger):
    """A run of MLflow: in `mlflow.db` in the run's folder, or where MLFLOW_TRACKING_URI points to.

    The local store is SQLite, for MLflow no longer writes plain folders. MLFLOW_EXPERIMENT_NAME names another
    experiment than `derain`.
    """

    def __init__(self, folder: RunFolder) -> None:
        # The client's import is its documented one; the package's top would load far more.
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder.root.resolve() / 'mlflow.db'}")
        self._experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        kept = KeptId(folder.root / "mlflow-run.txt")
        known = kept.read()
        self._is_new = known is None
        if known is None:
            artifacts = None if uri else (folder.root.resolve() / "mlflow-artifacts").as_uri()
            run = self._client.create_run(self._experiment(artifacts), run_name=folder.root.resolve().name)
            known = str(run.info.run_id)
            kept.write(known)
        else:
            self._client.update_run(known, status="RUNNING")
        self._run_id = known

    @property
    def name(self) -> str | None:
        """The experiment."""
        return self._experiment_name

    @property
    def version(self) -> str | None:
        """The run's id."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record figures at a step; those of a repeated step stay beside the former ones."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        rows = [Metric(allowed_key(name), value, now_ms, step or 0) for name, value in metrics.items()]
        self._client.log_batch(self._run_id, metrics=rows)

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override] # Fabric: and anything more
        """Record the settings as `a.b.0.c`; of a resumed run nothing, for MLflow's parameters never change."""
        from mlflow.entities import Param

        if not self._is_new:
            return
        rows = [Param(allowed_key(key), str(value)[:500]) for key, value in flat(params).items()]
        for first in range(0, len(rows), 100):  # the most that a server takes at once
            self._client.log_batch(self._run_id, params=rows[first : first + 100])

    def finalize(self, status: str) -> None:
        """Say how the run ended, and let go of the local store."""
        self._client.set_terminated(self._run_id, "FINISHED" if status == "success" else "FAILED")

    def _experiment(self, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(self._experiment_name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self._experiment_name, artifact_location=artifacts))


class Wandb(RunLogger):
    """A run of Weights & Biases; its own variables (WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY) hold as ever."""

    def __init__(self, folder: RunFolder) -> None:
        import wandb

        kept = KeptId(folder.root / "wandb-run.txt")
        known = kept.read()
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.root.resolve().name,
            dir=str(folder.root),
            id=known,
            resume="allow" if known else None,
            settings=wandb.Settings(console="off"),
        )
        kept.write(str(self._run.id))
        # Its own count of steps never goes back, and would refuse those that a resumed run repeats.
        self._run.define_metric("*", step_metric="step")

    @property
    def version(self) -> str | None:
        """The run's id."""
        return str(self._run.id)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record figures at a step."""
        self._run.log({**metrics, "step": step})

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override] # Fabric: and anything more
        """Record the settings; those of a resumed run replace the former ones."""
        self._run.config.update(dict(params), allow_val_change=True)

    def finalize(self, status: str) -> None:
        """Send what is left and end the run."""
        self._run.finish(exit_code=0 if status == "success" else 1)


_OPENED_BY: Mapping[str, Callable[[RunFolder, int], RunLogger]] = {
    "tensorboard": TensorBoard,
    # The services know a run by the id in its folder: one that is resumed before its first state was saved has it, too.
    "mlflow": lambda folder, _: Mlflow(folder),
    "wandb": lambda folder, _: Wandb(folder),
}


class Loggers:
    """The loggers that the settings name, as one.

    One that fails is let go, and named once by the call in which it failed: the run's own log has all figures, so that
    a server out of reach costs no training.
    """

    def __init__(self, names: Sequence[str], folder: RunFolder, first_step: int, params: Mapping[str, Any]) -> None:
        """Open each, and send it the settings.

        Raises:
            MissingExtraError: a package is not installed.
            TrainingError: a logger cannot begin, or there is none of that name.
        """
        require_packages(names)
        self._open: dict[str, RunLogger] = {}
        try:
            for name in names:
                self._open[name] = _OPENED_BY[name](folder, first_step)
                self._open[name].log_hyperparams(params)
        # Whatever three foreign packages raise; nothing is hidden, for the run does not begin.
        except Exception as error:
            self.close(is_success=False)
            raise TrainingError(
                f"{name}: the run's logger cannot begin ({summary(error)}); correct that, or take {name} out of loggers"
            ) from error

    def log(self, metrics: Mapping[str, float], step: int) -> list[str]:
        """Record figures at a step; what went wrong, a sentence for each logger that is let go."""
        return self._each(list(self._open), lambda logger: logger.log_metrics(metrics, step))

    def close(self, is_success: bool) -> list[str]:
        """Close all; what went wrong, as `log` has it."""
        wrong = self._each(list(self._open), lambda logger: logger.finalize("success" if is_success else "failed"))
        self._open.clear()
        return wrong

    def _each(self, names: Sequence[str], do: Callable[[RunLogger], None]) -> list[str]:
        wrong = []
        for name in names:
            try:
                do(self._open[name])
            except Exception as error:  # a disk, a server or a foreign package; it is reported, and the run continues
                del self._open[name]
                wrong.append(f"{name} gets no more figures ({summary(error)}); log.jsonl has them all")
        return wrong


class KeptId:
    """The id that a run has with a service, in a file of the run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str | None:
        """The id, or None where none was kept."""
        return self.path.read_text(encoding="utf-8").strip() or None if self.path.exists() else None

    def write(self, run_id: str) -> None:
        """Keep an id."""
        self.path.write_text(f"{run_id}\n", encoding="utf-8")


def require_packages(names: Sequence[str]) -> None:
    """Check that what the named loggers need is installed.

    Raises:
        MissingExtraError: it is not; the message names the extra.
        TrainingError: there is no logger of that name.
    """
    for name in names:
        if name not in _PACKAGES:
            raise TrainingError(f"loggers: wanted some of {', '.join(_PACKAGES)}, got {name!r}")
        packages, extra = _PACKAGES[name]
        if any(find_spec(package) is None for package in packages):
            raise MissingExtraError(f"the logger {name}", extra)


def allowed_key(name: str) -> str:
    """The name with what MLflow does not take (it takes letters, digits, `_ - . / :` and blanks) replaced by `_`."""
    return re.sub(r"[^\w\-./: ]", "_", name, flags=re.ASCII)


def summary(error: Exception) -> str:
    """An error's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
