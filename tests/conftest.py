"""What rooms share: a small network on disk, and sample photographs as files."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from derain.imaging.io import Picture, write_picture
from derain.models.checkpoints import CheckpointHeader, save_checkpoint
from derain.models.unirain_tiny import UniRainTiny, UniRainTinySettings

hypothesis.settings.register_profile("patient", deadline=None)  # how long an example takes depends on who else computes
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """Programs that tests start can be interrupted, also where the suite runs in the background of a shell: there
    Ctrl-C is ignored, and whoever is started from there inherits that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted manifests go to a folder of the test, not to the user's."""
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights that visibly changes a picture and routes by what it sees."""
    settings = UniRainTinySettings(
        widths=(8, 16, 16, 24), encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1), experts=(2, 2, 2, 2)
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = UniRainTiny(settings)
        nn.init.normal_(network.head.weight, std=0.03)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    header = CheckpointHeader(
        model="tiny", settings=settings.model_dump(mode="json"), metrics={"psnr.drs": 24.5}, licence="MIT"
    )
    save_checkpoint(path, network, header)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree of sample photographs: photos/cat.png, photos/trip/coffee.jpg, photos/trip/evening/rocket.png."""
    root = tmp_path / "photos"
    samples = {
        "cat.png": skimage.data.chelsea()[::2, ::2],
        "trip/coffee.jpg": skimage.data.coffee()[::3, ::3],
        "trip/evening/rocket.png": skimage.data.rocket()[::4, ::4],
    }
    for name, pixels in samples.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, Picture(pixels=np.ascontiguousarray(pixels)))
    return root
