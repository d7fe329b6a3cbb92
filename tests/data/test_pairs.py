"""Manifests and indexes: what goes in comes out, and every kind of bad row is refused with its line."""

import os
import re
import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from derain.data.pairs import Pair, portable_path, read_manifest, read_photos, write_manifest
from derain.errors import DatasetError, MissingExtraError


def make_pair(folder: Path, name: str, split: str = "train", clean: bool = True, type_name: str | None = "drs") -> Pair:
    for side in ("rainy", "clean"):
        (folder / side).mkdir(exist_ok=True)
        (folder / side / name).write_bytes(b"picture")
    return Pair(
        id=name,
        rainy=folder / "rainy" / name,
        clean=folder / "clean" / name if clean else None,
        type=type_name,
        source="own, with a comma",
        split=split,
        scene=f"scene of {name}",
    )


def test_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, "a.png"), make_pair(tmp_path, "b.png", "val", clean=False, type_name=None)]
    write_manifest(tmp_path / "manifest.csv", pairs)
    assert read_manifest(tmp_path / "manifest.csv") == pairs
    assert [pair.id for pair in read_manifest(tmp_path / "manifest.csv", "val")] == ["b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "manifest.csv", "rainy"]


@pytest.mark.parametrize("folder", ["/data/set", "/"])
@pytest.mark.parametrize(
    "file", ["/data/set/a.png", "/data/set/b/../c/a.png", "/data/set/../a.png", "/data/sets/a.png", "/a.png", "b/a.png"]
)
def test_paths_below_the_folder_are_written_relative_to_it(folder: str, file: str) -> None:
    absolute = Path(os.path.abspath(file))  # noqa: PTH100
    slow = absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute
    assert portable_path(Path(file), Path(folder)) == slow.as_posix()


def as_parquet(table: Path) -> Path:
    pq.write_table(pyarrow.csv.read_csv(table), table.with_suffix(".parquet"))
    return table.with_suffix(".parquet")


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, "a.png"), make_pair(tmp_path, "b.png", "val", clean=False, type_name=None)]
    write_manifest(tmp_path / "manifest.csv", pairs)
    assert read_manifest(as_parquet(tmp_path / "manifest.csv")) == pairs
    pairs[1].rainy.unlink()
    with pytest.raises(DatasetError, match=r"manifest.parquet, row 2: rainy file .*b.png is not there"):
        read_manifest(tmp_path / "manifest.parquet")
    (tmp_path / "index.csv").write_text("path,role,light,split,source,scene\nrainy/a.png,clean,day,train,s,1\n")
    assert read_photos(as_parquet(tmp_path / "index.csv")) == read_photos(tmp_path / "index.csv")


def test_csv_is_read_and_parquet_refused_where_pyarrow_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [make_pair(tmp_path, "a.png")]
    write_manifest(tmp_path / "manifest.csv", pairs)
    as_parquet(tmp_path / "manifest.csv")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert read_manifest(tmp_path / "manifest.csv") == pairs
    (tmp_path / "index.csv").write_text("path,light,split,source,scene\nrainy/a.png,day,train,s,1\n")
    assert len(read_photos(tmp_path / "index.csv")) == 1
    with pytest.raises(MissingExtraError, match=r"derain\[train\]"):
        read_manifest(tmp_path / "manifest.parquet")


def test_folder_with_its_manifest_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "manifest.csv", [make_pair(tmp_path / "old", "a.png")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "manifest.csv")[0].rainy == tmp_path / "new" / "rainy" / "a.png"


def test_files_elsewhere_are_written_absolute(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    pair = make_pair(tmp_path / "pictures", "a.png")
    write_manifest(tmp_path / "lists" / "manifest.csv", [pair])
    assert read_manifest(tmp_path / "lists" / "manifest.csv") == [pair]


def test_failed_writing_leaves_the_old_manifest(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "a.png")
    write_manifest(tmp_path / "manifest.csv", [pair])
    with pytest.raises(DatasetError, match=r"two pairs have the id 'a.png'"):
        write_manifest(tmp_path / "manifest.csv", [pair, pair])
    assert read_manifest(tmp_path / "manifest.csv") == [pair]


HEADER = "id,rainy,clean,type,source,split,scene\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,rainy,clean,type,source,split\n", "line 1: no column scene"),
        ("", "line 1: no column id, rainy"),
        (HEADER + "1,a.png,,drs,s,train,x\n1,a.png,,drs,s,train,x\n", "line 3: id '1' is that of line 2"),
        (
            HEADER + "1,a.png,,drs,s,train,x\n2,gone.png,,drs,s,train,x\n",
            "line 3: rainy file .*gone.png is not there; put it there",
        ),
        (HEADER + "1,a.png,gone.png,drs,s,train,x\n", "line 2: clean file .*gone.png is not there"),
        (HEADER + "1,a.png,,drs,s,holdout,x\n", "line 2: split 'holdout' is unknown; use one of train, val"),
        (HEADER + "1,a.png,,drs,s,train\n", "line 2: wanted 7 cells"),
        (HEADER + "1,a.png,,drs,s,train,x,y\n", "line 2: wanted 7 cells"),
        (HEADER + ",a.png,,drs,s,train,x\n", "line 2: column 'id' is empty"),
        (HEADER + "1,a.png,,drs,s,val,x\n", "no rows of split 'train'.*splits present: val"),
    ],
)
def test_bad_manifest_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_manifest(manifest, "train")
    assert str(manifest) in str(caught.value)


def test_missing_and_binary_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none.csv: no such file; give the path of a table, CSV or Parquet"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="this is a folder; give the path of a table"):
        read_photos(tmp_path)
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "picture.jpg")
    with pytest.raises(DatasetError, match=r"picture.jpg: this is not a text file"):
        read_photos(tmp_path / "picture.jpg")
    (tmp_path / "quote.csv").write_text('id,"rainy"x\n')
    with pytest.raises(DatasetError, match="cannot be read as a CSV table"):
        read_manifest(tmp_path / "quote.csv")


def test_examples_of_the_guide_are_read(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "train.md").read_text(encoding="utf-8")
    index, manifest = re.findall(r"```csv\n(.*?)```", guide, flags=re.DOTALL)
    for name in re.findall(r"\w+/[\w-]+\.\w+", index + manifest):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"picture")
    (tmp_path / "index.csv").write_text(index)
    (tmp_path / "manifest.csv").write_text(manifest)
    assert [(photo.light, photo.split) for photo in read_photos(tmp_path / "index.csv")] == [
        ("day", "train"),
        ("night", "val"),
        ("day", "probe"),
    ]
    pairs = read_manifest(tmp_path / "manifest.csv")
    assert [(pair.type, pair.split) for pair in pairs] == [("drs", "train"), ("nrd", "val"), ("drd", "probe")]


def test_index_gives_clean_photographs_only(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"picture")
    index = tmp_path / "index.csv"
    index.write_text(
        "path,role,light,split,source,scene,width\n"
        "a.jpg,clean,day,train,s,1,10\nb.jpg,rainy,night,train,s,2,10\nc.jpg,clean,night,val,s,3,10\n"
    )
    assert [(photo.path.name, photo.light) for photo in read_photos(index)] == [("a.jpg", "day"), ("c.jpg", "night")]
    assert [photo.path.name for photo in read_photos(index, "val")] == ["c.jpg"]
    with pytest.raises(DatasetError, match="no rows of split 'probe'"):
        read_photos(index, "probe")


def test_index_with_unknown_light_or_double_photograph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    index = tmp_path / "index.csv"
    index.write_text("path,light,split,source,scene\na.jpg,noon,train,s,1\n")
    with pytest.raises(DatasetError, match="line 2: light 'noon' is none of day, dusk, night"):
        read_photos(index)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "other").mkdir()
    for again in ("a.jpg", "./a.jpg", "other/../a.jpg", "link.jpg"):
        index.write_text(f"path,light,split,source,scene\na.jpg,day,train,s,1\n{again},day,train,s,1\n")
        with pytest.raises(DatasetError, match=r"line 3: .* is listed on line 2 already"):
            read_photos(index)
