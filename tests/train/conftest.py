"""A run small enough for tests: real photographs, the real simulator, a narrow network of the real kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from derain.settings import build_settings
from derain.train.settings import TrainSettings

NARROW = {
    "widths": [8, 8, 8, 8],
    "encoder_blocks": [1, 1, 1, 1],
    "decoder_blocks": [1, 1, 1],
    "experts": [2, 2, 2, 2],
    "router_noise": 0.1,
}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of two day photographs and a dark one, for learning, validation and the probe."""
    folder = tmp_path / "clean"
    folder.mkdir()
    photos = {"astronaut": skimage.data.astronaut(), "coffee": skimage.data.coffee(), "cat": skimage.data.chelsea()}
    rows = ["path,role,light,split,source,scene"]
    for split in ("train", "val", "probe"):
        for name, pixels in photos.items():
            light = "night" if name == "cat" else "day"
            shown = np.ascontiguousarray(pixels[::3, ::3] // (6 if light == "night" else 1))
            Image.fromarray(shown).save(folder / f"{split}-{name}.png")
            rows.append(f"clean/{split}-{name}.png,clean,{light},{split},skimage,{split}-{name}")
    path = tmp_path / "index.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def make_settings(index: Path, tmp_path: Path) -> Callable[..., TrainSettings]:
    """Settings of a run in a named folder; keywords replace whole top-level settings."""

    def make(folder: str = "run", **changes: object) -> TrainSettings:
        values: dict[str, object] = {
            "run": tmp_path / folder,
            "model": {"name": "tiny", "changes": NARROW},
            "data": {
                "photos": index,
                "crop": 32,
                "crops_per_picture": 3,
                "workers": 0,
                "simulation": {"side_min": 48, "side_max": 64},
            },
            "optimizer": {"lr": 2e-3, "warmup_steps": 2},
            "validation": {"every_steps": 4, "pictures_per_type": 1, "side": 48},
            "steps": 8,
            "batch_size": 4,
            "threads": 1,
            "log_every_steps": 1,
            "checkpoint_every_steps": 4,
        }
        return build_settings(TrainSettings, {**values, **changes})

    return make
