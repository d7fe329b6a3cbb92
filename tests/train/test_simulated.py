"""The simulating source and the corpus behind a recipe."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from derain.data.pairs import Pair, Photo, read_photos, write_manifest
from derain.errors import DatasetError, SettingsError
from derain.rain.cut import cut_scene
from derain.train.corpus import read_corpus
from derain.train.settings import TrainSettings
from derain.train.simulated import SimulatedSource, SimulationSettings
from references.runs import run_training

SMALL = SimulationSettings(side_min=48, side_max=64)


def test_each_type_is_drawn_alike_from_the_same_seed_and_differs_from_its_target(index: Path) -> None:
    source = SimulatedSource(read_photos(index, "train"), SMALL, 32)
    assert source.types == {"drs", "drd", "nrs", "nrd", "snow", "haze"}
    for name in sorted(source.types):
        first, again, other = (source.draw(name, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
        assert torch.equal(first.rainy, again.rainy)
        assert first.rainy.shape != other.rainy.shape or not torch.equal(first.rainy, other.rainy)
        assert 48 <= min(first.clean.shape[1:]) <= 64
        assert float((first.rainy - first.clean).abs().mean()) > 1e-3


def test_day_types_never_take_night_photographs(index: Path) -> None:
    photos = read_photos(index, "train")
    only_night = SimulatedSource([photo for photo in photos if photo.light == "night"], SMALL, 32)
    assert only_night.types == {"nrs", "nrd", "snow", "haze"}
    assert SimulatedSource([], SMALL, 32).types == frozenset()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.5, 100), (1.0, 200)])
def test_night_photographs_are_taken_by_their_shares(index: Path, share: float, expected: int) -> None:
    of_rain = SimulationSettings(side_min=48, side_max=48, night_photo_share=share, night_weather_share=0)
    of_weather = SimulationSettings(side_min=48, side_max=48, night_photo_share=0, night_weather_share=share)
    for name, settings in (("nrs", of_rain), ("snow", of_weather), ("haze", of_weather)):
        source = SimulatedSource(read_photos(index, "train"), settings, 32)
        generator = torch.Generator().manual_seed(0)
        taken = Counter(source.prepare(name, generator).is_night for _ in range(200))
        assert abs(taken[True] - expected) <= 5 * (200 * share * (1 - share)) ** 0.5
        assert name == "nrs" or not any(source.prepare("drs", generator).is_night for _ in range(20))


def test_a_run_learns_rain_snow_and_haze_together(make_settings: Callable[..., TrainSettings]) -> None:
    data = make_settings().data.model_dump()
    types = ["drs", "drd", "nrs", "nrd", "snow", "haze"]
    settings = make_settings(data={**data, "types": types, "clean_fraction": 0}, steps=2, batch_size=6)
    outcome = run_training(settings)
    assert outcome.is_finished
    lines = [json.loads(line) for line in (settings.run / "log.jsonl").read_text().splitlines()]
    losses = {name for line in lines if line["kind"] == "train" for name in line if name.startswith("loss.")}
    assert losses == {f"loss.{name}" for name in types}
    validated = [line for line in lines if line["kind"] == "validation"]
    assert validated
    assert {"snow.psnr_out", "haze.psnr_out"} <= validated[-1].keys()


def test_scene_is_a_square_at_a_random_scale() -> None:
    photo = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)[None] / 255
    generator = torch.Generator().manual_seed(1)
    scenes = [cut_scene(photo, 100, 140, generator) for _ in range(60)]
    sides = {scene.shape[2] for scene in scenes}
    assert all(scene.shape[2] == scene.shape[3] for scene in scenes)
    assert min(sides) >= 100
    assert max(sides) <= 140
    assert len(sides) > 20
    # A scene of the whole width is smoother than one cut at full scale: fine detail was averaged away.
    spread = [float(scene.std()) for scene in scenes]
    assert max(spread) > 1.3 * min(spread)


def test_scene_of_a_small_photograph_is_its_short_side_at_full_scale() -> None:
    photo = torch.from_numpy(skimage.data.coffee()[:70, :90].copy()).permute(2, 0, 1)[None] / 255
    scene = cut_scene(photo, 100, 140, torch.Generator().manual_seed(1))
    assert scene.shape == (1, 3, 70, 70)
    assert any(torch.equal(scene, photo[..., left : left + 70]) for left in range(21))


def test_photographs_smaller_than_a_crop_stop_the_run_at_its_start(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 100, 3), np.uint8)).save(tmp_path / "low.png")
    photo = Photo(tmp_path / "low.png", "day", "train", "own", "low")
    with pytest.raises(DatasetError, match=r"at least 48 pixels .*low.png is 100x40"):
        SimulatedSource([photo], SMALL, 48)
    with pytest.raises(DatasetError, match=r"raise data.simulation.side_min or lower data.crop"):
        SimulatedSource([photo], SMALL, 64)


def test_corpus_mixes_photographs_and_manifests_of_any_type(
    make_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    pairs = []
    for name in ("snow", "hail"):
        for side in ("rainy", "clean"):
            Image.fromarray(skimage.data.coffee()[:64, :64]).save(tmp_path / f"{name}-{side}.png")
        rainy, clean = (tmp_path / f"{name}-{side}.png" for side in ("rainy", "clean"))
        pairs.append(Pair(name, rainy, clean, name, "own", "train", name))
    write_manifest(tmp_path / "manifest.csv", pairs)
    base = make_settings().data
    settings = base.model_validate(
        {**base.model_dump(), "types": ["drs", "snow"], "manifests": [{"path": tmp_path / "manifest.csv"}]}
    )
    corpus = read_corpus(settings, "train")
    assert corpus.counts() == {
        "left out: pairs of type hail": 1,
        "pairs own snow": 1,
        "photos skimage day": 2,
        "photos skimage night": 1,
    }
    assert corpus.source().types == {"drs", "snow"}
    assert corpus.digest().count("sha256-contents:") == 2
    validation = read_corpus(settings, "val")
    assert validation.digest().count("sha256-contents:") == 1
    only = settings.model_validate({**settings.model_dump(), "photos": None})
    assert read_corpus(only, "val").digest() == ""
    (tmp_path / "hail-clean.png").unlink()
    (tmp_path / "snow-clean.png").unlink()
    with pytest.raises(DatasetError, match=r"snow-clean.png: wanted a file that can be read .* No such file"):
        corpus.digest()
    for name in ("hail", "snow"):
        Image.fromarray(skimage.data.coffee()[:64, :64]).save(tmp_path / f"{name}-clean.png")
    with pytest.raises(DatasetError, match="type 'drs' is in none of the sources, they have snow"):
        read_corpus(only, "train").source()
    with pytest.raises(DatasetError, match=r"neither data.photos nor data.manifests"):
        read_corpus(base.model_validate({**base.model_dump(), "photos": None}), "train")
    with pytest.raises(DatasetError, match="no pairs of split 'train' and types drs;"):
        read_corpus(only.model_validate({**only.model_dump(), "types": ["drs"]}), "train")


def test_where_rain_is_simulated_follows_the_networks_device_unless_it_is_said(tmp_path: Path) -> None:
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    chosen = [SimulationSettings(), SimulationSettings(cache=tmp_path), SimulationSettings(device="worker")]
    assert [settings.is_in_trainer(gpu) for settings in chosen] == [True, False, False]
    assert not any(settings.is_in_trainer(cpu) for settings in chosen)
    assert SimulationSettings(device="trainer").is_in_trainer(cpu)


def test_no_type_may_be_called_as_samples_without_weather_are(make_settings: Callable[..., TrainSettings]) -> None:
    with pytest.raises(SettingsError, match="no type may be called 'clean'"):
        make_settings(data={"types": ["drs", "clean"]})
