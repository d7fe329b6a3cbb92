"""A corpus over manifests: splits, shares of types, digests, and the check at the start."""

from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from derain.data.pairs import Pair, write_manifest
from derain.errors import DatasetError
from derain.train.corpus import read_corpus
from derain.train.settings import DataSettings


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSettings:
    """Ten pairs, seven of them to learn from: five drs and two snow; two photographs, one by night."""
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    pairs = []
    for number in range(10):
        files = [tmp_path / f"{number}-{side}.png" for side in ("rainy", "clean")]
        for file in files:
            Image.fromarray(skimage.data.coffee()[:64, :64]).save(file)
        split = {7: "val", 8: "probe", 9: "test"}.get(number, "train")
        pairs.append(Pair(str(number), *files, "snow" if number in (2, 4, 7, 8) else "drs", "own", split, str(number)))
    write_manifest(tmp_path / "manifest.csv", pairs)
    for name in ("day", "night"):
        Image.fromarray(skimage.data.coffee()[:300, :300]).save(tmp_path / f"{name}.png")
    (tmp_path / "photos.csv").write_text(
        "path,light,split,source,scene\nday.png,day,train,own,a\nnight.png,night,train,own,b\n"
    )
    given = {"path": tmp_path / "manifest.csv"}
    return DataSettings.model_validate({"types": ["drs", "snow"], "crop": 64, "manifests": [given]})


def change(settings: DataSettings, **changes: object) -> DataSettings:
    return settings.model_validate({**settings.model_dump(), **changes})


def test_every_split_is_read_and_only_train_may_not_be_empty(data: DataSettings) -> None:
    sizes = {split: len(read_corpus(data, split).pairs[0]) for split in ("train", "val", "probe", "test")}
    assert sizes == {"train": 7, "val": 1, "probe": 1, "test": 1}
    hail = change(data, types=["hail"])
    assert [len(read_corpus(hail, split).pairs[0]) for split in ("val", "probe")] == [0, 0]
    with pytest.raises(DatasetError, match="no pairs of split 'train' and types hail"):
        read_corpus(hail, "train")


def test_natural_sampling_counts_rows_by_type(data: DataSettings, tmp_path: Path) -> None:
    assert read_corpus(data, "train").type_shares() is None
    natural = change(data, sampling="natural")
    assert read_corpus(natural, "train").type_shares() == (5, 2)
    both = change(natural, photos=tmp_path / "photos.csv", types=["drs", "nrs", "snow"])
    assert read_corpus(both, "train").type_shares()[:2] == (6, 2), "day photographs for drs, all for nrs"
    assert read_corpus(change(both, photos_weight=0), "train").type_shares()[:2] == (5, 0)
    twice = change(natural, manifests=[{"path": tmp_path / "manifest.csv"}] * 2)
    assert read_corpus(twice, "train").type_shares() == (10, 4)


def test_rows_that_are_left_out_are_counted_by_type(data: DataSettings, tmp_path: Path) -> None:
    assert read_corpus(data, "train").left_out() == {}
    with (tmp_path / "manifest.csv").open("a") as manifest:
        manifest.write("a,0-rainy.png,0-clean.png,snwo,own,train,x\nb,0-rainy.png,0-clean.png,,own,train,y\n")
        manifest.write("c,0-rainy.png,0-clean.png,snwo,own,val,x\nd,0-rainy.png,0-clean.png,snwo,own,train,z\n")
    corpus = read_corpus(data, "train")
    assert corpus.left_out() == {"": 1, "snwo": 2}
    assert corpus.counts() == {
        "left out: pairs of type snwo": 2,
        "left out: pairs without type": 1,
        "pairs own drs": 5,
        "pairs own snow": 2,
    }


def test_digest_of_the_manifest_reads_no_picture(data: DataSettings, tmp_path: Path) -> None:
    digest = read_corpus(change(data, digest="manifest"), "train").digest()
    assert digest.startswith("sha256-manifest:")
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert read_corpus(change(data, digest="manifest"), "train").digest() == digest
    with pytest.raises(DatasetError, match="wanted a file that can be read"):
        read_corpus(data, "train").digest()
    with (tmp_path / "manifest.csv").open("a") as manifest:
        manifest.write("new,a.png,b.png,drs,own,train,x\n")
    assert read_corpus(change(data, digest="manifest"), "train").digest() != digest


def test_start_looks_at_the_pictures_of_its_split_or_at_none(data: DataSettings, tmp_path: Path) -> None:
    (tmp_path / "9-rainy.png").unlink()  # of split test
    assert read_corpus(data, "train").source().types == {"drs", "snow"}
    (tmp_path / "7-rainy.png").unlink()
    snow = change(data, types=["snow"])
    with pytest.raises(DatasetError, match=r"7-rainy.png is not there"):
        read_corpus(snow, "val").source()
    assert read_corpus(change(snow, check="none"), "val").source().types == {"snow"}
    assert read_corpus(snow, "probe").source().types == {"snow"}


def test_whatever_is_wrong_is_said_before_pairs_are_rendered(data: DataSettings, tmp_path: Path) -> None:
    cache = tmp_path / "rendered"
    simulation = {"side_min": 64, "side_max": 64, "variations": 1, "cache": cache}
    cached = change(data, photos=tmp_path / "photos.csv", simulation=simulation, types=["drs", "snow"], workers=0)
    with pytest.raises(
        DatasetError, match=r"type 'snwo' is in none of the sources.*makes drs, drd, nrs, nrd, snow, haze; any other"
    ):
        read_corpus(change(cached, types=["drs", "snwo"]), "train").source()
    whole = (tmp_path / "0-rainy.png").read_bytes()
    (tmp_path / "0-rainy.png").unlink()
    with pytest.raises(DatasetError, match=r"0-rainy.png is not there"):
        read_corpus(cached, "train").source()
    assert not cache.exists()
    (tmp_path / "0-rainy.png").write_bytes(whole)
    assert read_corpus(cached, "train").source().types == {"drs", "snow"}
    assert len(list(cache.rglob("*.png"))) == 6, "one drs and two snow, with their targets"
