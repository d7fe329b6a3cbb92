"""Sources over pairs: what is drawn, and what is refused."""

import pickle
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from derain.data.check import require_pairs, require_pictures
from derain.data.pairs import Pair, write_manifest
from derain.data.sources import PairSource
from derain.data.table import open_table
from derain.errors import DatasetError


def save_pair(folder: Path, clean_size: tuple[int, int] = (64, 48)) -> Pair:
    picture = Image.fromarray(skimage.data.astronaut())
    picture.resize((64, 48)).point(lambda level: min(255, level + 9)).save(folder / "rainy.png")
    picture.resize(clean_size).save(folder / "clean.png")
    return Pair("one", folder / "rainy.png", folder / "clean.png", "drs", "own", "train", "astronaut")


def test_pairs_are_read_as_they_lie_on_disk(tmp_path: Path) -> None:
    source = PairSource([save_pair(tmp_path)])
    picture = source.draw("drs", torch.Generator())
    assert source.types == {"drs"}
    assert picture.rainy.shape == picture.clean.shape == (3, 48, 64)
    assert float((picture.rainy - picture.clean).max()) == pytest.approx(9 / 255)


def test_pairs_that_cannot_be_learnt_from_are_refused(tmp_path: Path) -> None:
    pair = save_pair(tmp_path, clean_size=(60, 48))
    with pytest.raises(DatasetError, match=r"pair 'one': .*rainy.png is 64x48, its partner .*clean.png is 60x48"):
        PairSource([pair]).draw("drs", torch.Generator())
    with pytest.raises(DatasetError, match=r"pair 'one': .*rainy.png is 64x48, its partner"):
        require_pairs([pair], 16)
    with pytest.raises(DatasetError, match=r"(?s)at least 49 pixels .*rainy.png is 64x48"):
        require_pairs([pair], 49)
    with pytest.raises(DatasetError, match="'real' has no clean partner"):
        PairSource([Pair("real", pair.rainy, None, "drs", "own", "train", "x")])
    with pytest.raises(DatasetError, match="'odd' has no type"):
        PairSource([Pair("odd", pair.rainy, pair.clean, None, "own", "train", "x")])


def test_all_bad_pictures_are_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(
        DatasetError, match=r"(?s)1 unreadable, 1 missing:.*text.png cannot be opened .*gone.png is not"
    ):
        require_pictures([tmp_path / "text.png", tmp_path / "gone.png"], 16)


def test_table_and_list_of_its_pairs_draw_alike_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    pairs = []
    for number in range(12):
        picture = Image.fromarray(skimage.data.coffee()[number : number + 20, :24])
        files = [tmp_path / f"{number}-{side}.png" for side in ("rainy", "clean")]
        for file in files:
            picture.save(file)
        split = "val" if number % 6 == 5 else "train"
        pairs.append(Pair(str(number), *files, ("drs", "snow")[number % 2], "own", split, str(number)))
    write_manifest(tmp_path / "manifest.csv", pairs)
    rows = open_table(tmp_path / "manifest.csv").select("train", ["snow", "drs", "hail"])
    sources = [PairSource(rows), PairSource([pair for pair in pairs if pair.split == "train"])]
    sources.append(pickle.loads(pickle.dumps(sources[0])))
    assert [source.types for source in sources] == [{"drs", "snow"}] * 3
    generators = [torch.Generator().manual_seed(3) for _ in sources]
    for name in ("drs", "snow") * 8:
        drawn = [source.draw(name, made).rainy for source, made in zip(sources, generators, strict=True)]
        assert torch.equal(drawn[0], drawn[1])
        assert torch.equal(drawn[0], drawn[2])


def test_rows_of_a_table_without_partner_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    rows = "".join(f"{number},r.png,,drs,own,train,x\n" for number in range(3))
    (tmp_path / "manifest.csv").write_text("id,rainy,clean,type,source,split,scene\n" + rows)
    with pytest.raises(DatasetError, match=r"pair '0' has no clean partner \(and 2 more\); leave it out"):
        PairSource(open_table(tmp_path / "manifest.csv").select("train", ["drs"]))
