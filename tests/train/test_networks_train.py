"""Every network of the list trains, and a run that was interrupted ends in the same weights to the bit."""

import signal
from collections.abc import Callable

import pytest
import torch

from derain.models.checkpoints import load_checkpoint
from derain.train.settings import TrainSettings
from references.networks import NAMES, REDUCED
from references.runs import StopAfter, run_training


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_and_the_same_twenty_in_two_parts(make_settings: Callable[..., TrainSettings], name: str) -> None:
    def settings(folder: str) -> TrainSettings:
        return make_settings(
            folder,
            model={"name": name, "changes": REDUCED.get(name, {})},
            steps=20,
            batch_size=2,
            validation={"every_steps": 20, "pictures_per_type": 1, "side": 32},
        )

    whole = run_training(settings("whole"))
    assert whole.is_finished
    interrupted = run_training(settings("parts"), criterion=StopAfter(9, signal.SIGTERM))
    assert not interrupted.is_finished
    resumed = run_training(settings("parts"), resume=True)
    assert (whole.step, resumed.step) == (20, 20)
    network, header = load_checkpoint(whole.folder.final)
    assert (header.model, header.step) == (name, 20)
    other = load_checkpoint(resumed.folder.final)[0].state_dict()
    assert all(torch.equal(value, other[key]) for key, value in network.state_dict().items())
