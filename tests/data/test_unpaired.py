"""Unpaired pictures: rainy and clean ones are drawn, cropped and turned independently, and always alike by number."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derain.data.pairs import Pair, write_manifest
from derain.data.schedule import Schedule
from derain.data.stream import batches
from derain.data.table import PairRows, open_table
from derain.data.unpaired import (
    CleanColumn,
    CleanFiles,
    RainyRows,
    UnpairedBatch,
    UnpairedDataset,
    UnpairedSource,
)
from derain.errors import DatasetError

TYPES = ["drs", "snow"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rainy pictures 0 to 3, of which 1 and 3 have a partner, and photographs: the red level tells them apart."""
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    pairs = []
    for number in range(4):
        partner = tmp_path / f"partner-{number}.png" if number % 2 else None
        for path, level in ((tmp_path / f"rainy-{number}.png", 10 + number), (partner, 110 + number)):
            if path is not None:
                save(path, level)
        rainy = tmp_path / f"rainy-{number}.png"
        pairs.append(Pair(str(number), rainy, partner, TYPES[number // 2], "own", "train", str(number)))
    write_manifest(tmp_path / "rainy.csv", pairs)
    for number in range(3):
        save(tmp_path / f"photo-{number}.png", 200 + number)
    return tmp_path


def save(path: Path, level: int) -> None:
    """A picture of one red level, whose green rises to the right and whose blue rises downwards."""
    rows, columns = np.mgrid[:40, :50].astype(np.uint8)
    Image.fromarray(np.stack([np.full_like(rows, level), columns, rows], axis=-1)).save(path)


def rows_of(folder: Path) -> PairRows:
    return open_table(folder / "rainy.csv").select("train", TYPES)


def dataset(folder: Path, clean_weight: float = 1.0, column_weight: float = 0.0, seed: int = 0) -> UnpairedDataset:
    rows = rows_of(folder)
    clean = [CleanFiles(sorted(folder.glob("photo-*.png")), clean_weight), CleanFiles(CleanColumn(rows), column_weight)]
    return UnpairedDataset(UnpairedSource([RainyRows(rows, 1.0)], clean, TYPES), TYPES, seed, 16, 2, turn=True)


def stream(folder: Path, first: int = 0) -> list[UnpairedBatch]:
    return list(batches(dataset(folder), Schedule(4, 2), range(4), first, 12, 0))


def test_batches_hold_rainy_pictures_of_every_type_and_other_clean_ones(folder: Path) -> None:
    seen: set[tuple[int, int]] = set()
    for batch in stream(folder):
        assert batch.rainy.shape == batch.clean.shape == (4, 3, 16, 16)
        assert sorted(batch.labels) == ["drs", "drs", "snow", "snow"]
        rainy, clean = ((image[:, 0, 0, 0] * 255).round().int().tolist() for image in (batch.rainy, batch.clean))
        assert [file.name for file in batch.files] == [f"rainy-{level - 10}.png" for level in rainy]
        assert [TYPES[(level - 10) // 2] for level in rainy] == list(batch.labels)
        assert set(clean) <= {200, 201, 202}
        seen |= set(zip(rainy, clean, strict=True))
    assert len(seen) > 8, "any clean picture comes with any rainy one"


def test_a_rainy_crop_is_known_by_its_plan_and_the_clean_one_is_cut_elsewhere(folder: Path) -> None:
    for batch in stream(folder):
        for number, (file, plan) in enumerate(zip(batch.files, batch.plans, strict=True)):
            whole = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
            assert torch.equal(plan.apply(whole).float() / 255, batch.rainy[number])
        assert not torch.equal(batch.rainy[:, 1:], batch.clean[:, 1:])


def test_samples_follow_from_seed_and_number_in_every_process(folder: Path) -> None:
    one, other = dataset(folder), pickle.loads(pickle.dumps(dataset(folder)))
    for number in (7, 0, 3):
        first, second = one[number], other[number]
        assert torch.equal(first.rainy, second.rainy)
        assert torch.equal(first.clean, second.clean)
        assert first.plans == second.plans
    assert not torch.equal(one[0].clean, dataset(folder, seed=1)[0].clean)


def test_stream_begun_in_the_middle_goes_on_alike(folder: Path) -> None:
    for one, other in zip(stream(folder)[5:], stream(folder, 5), strict=True):
        assert torch.equal(one.rainy, other.rainy)
        assert torch.equal(one.clean, other.clean)


def test_clean_pictures_come_from_their_sources_by_weight(folder: Path) -> None:
    def share_of_partners(clean_weight: float, column_weight: float) -> float:
        made = dataset(folder, clean_weight, column_weight)
        levels = [int(made[number].clean[0, 0, 0, 0]) for number in range(200)]
        assert set(levels) <= {200, 201, 202, 111, 113}
        return sum(level < 200 for level in levels) / len(levels)

    assert share_of_partners(1.0, 0.0) == 0
    assert share_of_partners(0.0, 1.0) == 1
    assert abs(share_of_partners(1.0, 3.0) - 0.75) < 5 * (0.75 * 0.25 / 200) ** 0.5


def test_what_cannot_be_drawn_is_refused(folder: Path) -> None:
    rows = rows_of(folder)
    photos = CleanFiles([folder / "photo-0.png"], 1.0)
    with pytest.raises(DatasetError, match=r"no manifest has rainy pictures of type 'hail', they have drs, snow; add"):
        UnpairedSource([RainyRows(rows, 1.0)], [photos], [*TYPES, "hail"])
    with pytest.raises(DatasetError, match=r"wanted clean pictures to learn from, got none; give an index"):
        UnpairedSource([RainyRows(rows, 1.0)], [CleanFiles([], 1.0), CleanFiles(CleanColumn(rows), 0.0)], TYPES)
    with pytest.raises(DatasetError, match="of that size, got 50x40"):
        UnpairedDataset(UnpairedSource([RainyRows(rows, 1.0)], [photos], TYPES), TYPES, 0, 48, 1, True)[0]
