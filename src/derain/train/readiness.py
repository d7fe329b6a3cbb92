"""Whether the runs of a study can begin as they were asked for, seen before the first of them is trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from derain.errors import DerainError, SettingsError
from derain.train.ablation import Trial
from derain.train.devices import build_fabric
from derain.train.loggers import require_packages
from derain.train.methods.registry import method_named
from derain.train.validation import fixed_validation


def require_ready(trials: Sequence[Trial]) -> None:
    """Check what each trial that is not finished needs: packages, devices, network, and rows of every split and type.

    The data to learn from and to validate on, which a study's trials share, is looked at once; nothing is rendered.

    Raises:
        SettingsError: a trial cannot begin; names it and what it lacks.
    """
    waiting = [trial for trial in trials if not trial.folder.final.exists()]
    # Seeds change nothing of what is needed.
    for number, trial in enumerate({trial.variant: trial for trial in waiting}.values()):
        with _named(trial):
            settings, method = trial.settings, method_named(trial.settings.method.name)
            require_packages(settings.loggers)
            build_fabric(settings)
            prepared = method.prepare(settings, method.options_of(settings), None)
            if number == 0:
                prepared.data.check()
                if prepared.validation is None:
                    fixed_validation(settings)


@contextmanager
def _named(trial: Trial) -> Iterator[None]:
    try:
        yield
    except DerainError as error:
        raise SettingsError(f"{trial.name} cannot begin, and nothing was trained: {error}") from error
