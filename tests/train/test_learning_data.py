"""What settings name for a method to learn from: pairs with replay, unpaired pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from derain.data.pairs import Pair, write_manifest
from derain.errors import DatasetError
from derain.train.learning_data import UnpairedData
from derain.train.settings import TrainSettings
from references.runs import run_training

MakeSettings = Callable[..., TrainSettings]


@pytest.fixture
def haze(tmp_path: Path) -> Path:
    """A manifest of one hazy pair to learn from."""
    clean = np.ascontiguousarray(skimage.data.coffee()[::4, ::4])
    files = tmp_path / "hazy.png", tmp_path / "clear.png"
    Image.fromarray((0.5 * clean + 110).astype(np.uint8)).save(files[0])
    Image.fromarray(clean).save(files[1])
    write_manifest(tmp_path / "haze.csv", [Pair("coffee", *files, "haze", "own", "train", "coffee")])
    return tmp_path / "haze.csv"


def test_replayed_pairs_are_learnt_beside_the_present_ones(
    make_settings: MakeSettings, index: Path, haze: Path
) -> None:
    replay = {"manifests": [{"path": haze}], "types": ["haze"], "share": 0.5}
    data = {"types": ["drs"], "photos": index, "crop": 32, "crops_per_picture": 3, "workers": 0, "clean_fraction": 0.0}
    simulation = {"side_min": 48, "side_max": 64}
    settings = make_settings(data={**data, "simulation": simulation, "replay": replay}, steps=2, loggers=[])
    run_training(settings)
    rows = map(json.loads, (settings.run / "log.jsonl").read_text().splitlines())
    for row in (row for row in rows if row["kind"] == "train"):
        assert row["loss"] == pytest.approx((row["loss.drs"] + row["loss.haze"]) / 2)  # two of four samples each
    record = json.loads((settings.run / "data.json").read_text())
    assert record["rows"]["replayed: pairs own haze"] == 1
    alone = make_settings("alone", data={**data, "simulation": simulation}, steps=2, loggers=[])
    run_training(alone)
    assert json.loads((alone.run / "data.json").read_text())["digest"] != record["digest"]


def test_unpaired_pictures_are_checked_before_anything_is_learnt(
    make_settings: MakeSettings, index: Path, haze: Path
) -> None:
    data = {"types": ["haze"], "manifests": [{"path": haze}], "photos": index, "crop": 32}
    opened = UnpairedData(make_settings(data=data)).open(torch.device("cpu"), None)
    assert opened[0].label == "haze"
    (index.parent / "clean" / "train-coffee.png").write_text("no picture")
    with pytest.raises(DatasetError, match=r"train-coffee.png"):
        UnpairedData(make_settings(data=data)).open(torch.device("cpu"), None)
    with pytest.raises(DatasetError, match=r"split 'train', unpaired: .*no manifest has rainy pictures of type 'drs'"):
        UnpairedData(make_settings(data={**data, "manifests": [], "types": ["drs"]}))
