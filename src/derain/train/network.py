"""The network that a run begins with."""

from rich.console import Console

from derain.models.network import RestorationNetwork
from derain.models.transfer import start_from
from derain.models.zoo import build
from derain.train.settings import ModelSettings


def build_network(settings: ModelSettings, console: Console | None = None) -> RestorationNetwork:
    """The network with random weights, or with what fits of those of `initial_weights`; what fits is printed.

    Raises:
        SettingsError: its changes do not fit.
        CheckpointError: there are no such weights, or too little of them fits.
    """
    module = build(settings.name, settings.changes or None)
    if settings.initial_weights is not None:
        report = start_from(module, settings.name, settings.initial_weights)
        if console is not None:
            console.print(f"{settings.initial_weights}: {report.sentence()}", highlight=False, soft_wrap=True)
    return module
