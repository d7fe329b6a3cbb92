"""Pairs rendered ahead: made once, found again, drawn from as the simulation draws."""

from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from derain.data import check
from derain.data.pairs import Photo, read_photos
from derain.data.sources import Source
from derain.errors import DatasetError
from derain.imaging.io import read_image
from derain.rain.render import content_digest
from derain.train.rendered import rendered_source
from derain.train.simulated import SimulationSettings

TYPES = ("drs", "nrs", "snow", "hail")


@pytest.fixture
def photos(index: Path) -> list[Photo]:
    return read_photos(index, "train")


@pytest.fixture
def settings(tmp_path: Path) -> SimulationSettings:
    return SimulationSettings(side_min=32, side_max=40, variations=2, cache=tmp_path / "cache")


def open_cache(
    photos: list[Photo], settings: SimulationSettings, seed: int = 0, workers: int = 0, types: tuple[str, ...] = TYPES
) -> tuple[Source, str]:
    said = StringIO()
    source = rendered_source(photos, types, settings, 32, seed, workers, Console(file=said, width=500))
    return source, said.getvalue().strip().splitlines()[-1].rpartition(": ")[2]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_pairs_are_rendered_once_and_drawn_evenly(photos: list[Photo], settings: SimulationSettings) -> None:
    source, said = open_cache(photos, settings)
    # Two variations, of two photographs by day for drs, and of all three for the others.
    assert said == "reused 0, rendered 16"
    assert source.types == {"drs", "nrs", "snow"}
    generator = torch.Generator().manual_seed(1)
    drawn = [source.draw("drs", generator) for _ in range(60)]
    seen = Counter(float(picture.rainy.sum()) for picture in drawn)
    assert len(seen) == 4
    assert min(seen.values()) >= 5
    for picture in drawn[:5]:
        assert picture.rainy.shape == picture.clean.shape
        assert 32 <= picture.rainy.shape[1] == picture.rainy.shape[2] <= 40
        assert not torch.equal(picture.rainy, picture.clean)
    before = files(settings.cache or Path())
    again, said = open_cache(photos, settings)
    assert said == "reused 16, rendered 0"
    assert files(settings.cache or Path()) == before
    one, other = (s.draw("snow", torch.Generator().manual_seed(3)) for s in (source, again))
    assert torch.equal(one.rainy, other.rainy)


def test_only_what_agrees_is_reused(photos: list[Photo], settings: SimulationSettings, tmp_path: Path) -> None:
    def said(**changes: object) -> str:
        return open_cache(photos, settings.model_copy(update=changes), types=("drs",))[1]

    assert said() == "reused 0, rendered 4"
    assert said(variations=3) == "reused 4, rendered 2"
    assert said(side_max=36) == "reused 0, rendered 4"
    assert said(rain=settings.rain.model_copy(update={"look_share": 0.5})) == "reused 0, rendered 4"
    assert open_cache(photos, settings, seed=1, types=("drs",))[1] == "reused 0, rendered 4"
    # Not the place of the files, nor the other photographs, make a pair another one.
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(photos[0].path.read_bytes())
    assert open_cache([replace(photos[0], path=moved)], settings, types=("drs",))[1] == "reused 2, rendered 0"


@pytest.mark.slow
def test_a_killed_rendering_continues_and_processes_render_the_same(
    photos: list[Photo], settings: SimulationSettings
) -> None:
    open_cache(photos, settings, types=("haze",))
    folder = settings.cache or Path()
    whole = files(folder)
    for name in sorted(whole)[::3]:
        (folder / name).unlink()
    _, said = open_cache(photos, settings, types=("haze",), workers=2)
    assert files(folder) == whole
    reused, rendered = (int(part.split()[1]) for part in said.split(", "))
    assert (reused + rendered, rendered > 0, reused > 0) == (6, True, True)


def test_night_photographs_are_taken_by_their_share(photos: list[Photo], settings: SimulationSettings) -> None:
    bright = settings.model_copy(update={"night_weather_share": 0.0, "variations": 1})
    dark = bright.model_copy(update={"night_weather_share": 1.0})
    means = []
    for wanted, expected in ((bright, 2), (dark, 1)):  # what is never drawn is not rendered
        source, said = open_cache(photos, wanted, types=("haze",))
        assert said == f"reused 0, rendered {expected}"
        generator = torch.Generator().manual_seed(2)
        means.append(max(float(source.draw("haze", generator).clean.mean()) for _ in range(12)))
    assert means[1] < 0.15 < means[0]


def test_without_photographs_by_day_those_of_night_are_rendered_whatever_their_share(
    photos: list[Photo], settings: SimulationSettings
) -> None:
    night = [photo for photo in photos if photo.light == "night"]
    source, said = open_cache(night, settings.model_copy(update={"night_weather_share": 0.0}), types=("snow",))
    assert said == "reused 0, rendered 2"
    assert source.draw("snow", torch.Generator().manual_seed(0)).rainy.isfinite().all()


def test_each_photograph_is_hashed_and_decoded_once(
    photos: list[Photo], settings: SimulationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()

    def hashed(path: Path) -> str:
        read[f"hash {path.name}"] += 1
        return content_digest(path)

    def decoded(path: Path) -> torch.Tensor:
        read[f"decode {path.name}"] += 1
        return read_image(path)

    for room in ("derain.rain.render", "derain.train.rendered"):
        monkeypatch.setattr(f"{room}.content_digest", hashed)
    monkeypatch.setattr("derain.rain.render.read_image", decoded)
    open_cache(photos, settings)
    assert read == {f"{what} {photo.path.name}": 1 for photo in photos for what in ("hash", "decode")}


def test_splits_lie_apart(photos: list[Photo], settings: SimulationSettings, index: Path) -> None:
    open_cache(photos, settings, types=("drs",))
    probe = read_photos(index, "probe")
    assert open_cache(probe, settings, types=("drs",))[1] == "reused 0, rendered 4"
    assert sorted(path.name for path in (settings.cache or Path()).iterdir()) == ["probe", "train"]
    with pytest.raises(DatasetError, match="one split, got probe, train"):
        open_cache([*photos, *probe], settings)


def test_what_cannot_be_rendered_stops_the_run(
    photos: list[Photo], settings: SimulationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError, match=r"set data\.simulation\.cache"):
        open_cache(photos, settings.model_copy(update={"cache": None}))
    whole = photos[0].path.read_bytes()
    middle = len(whole) // 2
    photos[0].path.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(DatasetError, match=rf"{photos[0].path.name} is broken"):
        open_cache(photos, settings, types=("drs",))
    monkeypatch.setattr(check, "SAMPLED", 0)  # as of very many photographs, of which not all are read whole before
    with pytest.raises(DatasetError, match=rf"{photos[0].path.name}: its drs could not be rendered: .*2 of 4 pairs"):
        open_cache(photos, settings, types=("drs",))


def test_a_cache_and_the_trainer_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="set device to worker or cache to null"):
        SimulationSettings(cache=tmp_path, device="trainer")
