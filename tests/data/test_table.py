"""Manifests as tables on disk: the pairs that a list of them has, from whichever process, whatever went wrong."""

import multiprocessing
import os
import pickle
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from derain.data import cache as cache_module
from derain.data import table as table_module
from derain.data.cache import cache_folder, identity, remove_unused
from derain.data.pairs import SPLITS, Pair, read_manifest, write_manifest
from derain.data.table import MOST_TYPES, open_table
from derain.errors import DatasetError

HEADER = "id,rainy,clean,type,source,split,scene\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def make_pairs(folder: Path, count: int) -> list[Pair]:
    return [
        Pair(
            id=f"picture {number}",
            rainy=folder / "rainy" / f"{number}.png",
            clean=folder / "clean" / f"{number}.png" if number % 5 else None,
            type=("drs", "snow", None)[number % 3],
            source="own, with a comma",
            split=SPLITS[number % 4],
            scene=f"scene {number // 7}",
        )
        for number in range(count)
    ]


WORD = st.text(alphabet=st.sampled_from(list('abc/,"\n é漢')), max_size=7)
# Cells lose the spaces around them, so a path that ends in a folder called " " changes when it is written.
NAME = WORD.filter(lambda text: text.strip() != "" and not str(Path(f"r{text.strip()}")).endswith((" ", "\n")))
ROWS = st.lists(
    st.tuples(NAME, WORD, st.sampled_from(["drs", "snow, wet", ""]), WORD, st.sampled_from(SPLITS), WORD),
    unique_by=lambda row: row[0].strip(),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@example(rows=[("a / b", "", "drs", "", "train", "")], as_parquet=True)
@given(rows=ROWS, as_parquet=st.booleans())
def test_table_has_the_pairs_that_reading_row_by_row_gives(
    tmp_path: Path, rows: list[tuple[str, ...]], as_parquet: bool
) -> None:
    pairs = [
        Pair(
            name,
            tmp_path / f"r{name.strip()}",
            tmp_path / f"{clean}c" if clean else None,
            kind or None,
            source,
            split,
            at,
        )
        for name, clean, kind, source, split, at in rows
    ]
    manifest = tmp_path / "manifest.csv"
    write_manifest(manifest, pairs)
    expected = read_manifest(manifest, check_files=False)
    if as_parquet:
        columns = HEADER.strip().split(",")
        lines = [[p.id, str(p.rainy), str(p.clean or ""), p.type, p.source, p.split, p.scene] for p in expected]
        table = pa.table({name: pa.array([x[i] for x in lines], pa.string()) for i, name in enumerate(columns)})
        manifest = tmp_path / "manifest.parquet"
        pq.write_table(table, manifest)
    table = open_table(manifest)
    assert list(table) == expected
    assert len(table) == len(expected)
    for split in SPLITS:
        for kind in ("drs", "snow, wet", ""):
            chosen = [n for n, pair in enumerate(expected) if pair.split == split and (pair.type or "") == kind]
            assert table.rows(split, kind).tolist() == chosen
    counted = Counter((pair.source, pair.type or "", pair.split) for pair in expected)
    assert table.counts() == counted
    assert [pair.clean is None for pair in expected] == table.lacks_clean().tolist()


def test_many_stretches_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derain.data.rows.BLOCK_BYTES", 300)
    pairs = make_pairs(tmp_path, 100)
    write_manifest(tmp_path / "manifest.csv", pairs)
    table = open_table(tmp_path / "manifest.csv")
    assert table[:] == pairs
    assert table[-1] == pairs[-1]
    with pytest.raises(IndexError, match="row 100 of 100"):
        _ = table[100]
    rows = table.select("probe", ["snow", "drs", "none such"])
    expected = [pair for pair in pairs if pair.split == "probe" and pair.type in ("snow", "drs")]
    assert list(rows) == rows[:] == expected
    assert [rows[number] for number in range(len(rows))] == expected
    assert rows.types == {"snow", "drs"}
    assert rows.counts() == Counter((pair.source, pair.type) for pair in expected)
    of_split = Counter(pair.type or "" for pair in pairs if pair.split == "probe")
    assert rows.left_out() == {"": of_split[""]}
    assert table.select("probe", ["snow"]).left_out() == {"": of_split[""], "drs": of_split["drs"]}
    assert rows.evenly(1000) == sorted(expected, key=lambda pair: ("snow", "drs").index(pair.type or ""))
    assert Counter(pair.type for pair in rows.evenly(4)) == {"snow": 2, "drs": 2}
    lacking = [pair for pair in expected if pair.clean is None]
    assert rows.without_clean() == (len(lacking), lacking[0])


def test_second_opening_only_maps_what_the_first_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "manifest.csv"
    write_manifest(manifest, make_pairs(tmp_path, 9))
    first = open_table(manifest)
    monkeypatch.setattr(table_module, "convert", lambda *_: pytest.fail("was converted already"))
    assert list(open_table(manifest)) == list(first)
    monkeypatch.undo()
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    write_manifest(manifest, make_pairs(tmp_path, 8))
    assert len(open_table(manifest)) == 8
    assert len(first) == 9, "who has it open goes on with what was there"


@pytest.mark.parametrize("damage", ["cut", "emptied", "foreign", "overwritten"])
def test_damaged_cache_is_made_anew(tmp_path: Path, own_cache: Path, damage: str) -> None:
    manifest = tmp_path / "manifest.csv"
    pairs = make_pairs(tmp_path, 50)
    write_manifest(manifest, pairs)
    open_table(manifest)
    (file,) = own_cache.glob("*.arrow")
    whole = file.read_bytes()
    if damage == "foreign":
        with pa.ipc.new_file(str(file), pa.schema([("id", pa.string())])):
            pass
    else:
        cut = {"cut": whole[: len(whole) // 2], "emptied": b"", "overwritten": bytes(len(whole))}
        file.unlink()
        file.write_bytes(cut[damage])
    assert list(open_table(manifest)) == pairs
    assert file.stat().st_size == len(whole)


def _open_and_count(path: str, start: object, counts: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    counts.put((len(open_table(Path(path))), open_table(Path(path))[7].id))  # type: ignore[attr-defined]


def test_two_processes_may_convert_at_once(tmp_path: Path, own_cache: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", make_pairs(tmp_path, 5000))
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(2), context.Queue()
    arguments = (str(tmp_path / "manifest.csv"), start, counts)
    both = [context.Process(target=_open_and_count, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    assert [counts.get(timeout=60) for _ in both] == [(5000, "picture 7")] * 2
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(own_cache.iterdir())) == 1, "nothing half-made is left"


def test_pickled_table_is_small_and_maps_the_same_file(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    pairs = make_pairs(tmp_path, 3000)
    write_manifest(manifest, pairs)
    rows = open_table(manifest).select("train", ["drs"])
    packed = pickle.dumps(rows)
    assert len(packed) < 2000
    write_manifest(manifest, pairs[:10])
    assert list(pickle.loads(packed)) == list(rows), "a worker that starts late has the rows of the run"
    rows.table._file.unlink()
    with pytest.raises(DatasetError, match="was changed while it was in use"):
        pickle.loads(packed)


def test_where_the_cache_cannot_be_written_a_temporary_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    pairs = make_pairs(tmp_path, 20)
    write_manifest(tmp_path / "manifest.csv", pairs)
    table = open_table(tmp_path / "manifest.csv")
    assert list(table) == list(pickle.loads(pickle.dumps(table))) == pairs
    del table
    assert list((tmp_path / "temporary").iterdir()) == []
    (tmp_path / "manifest.csv").write_text(HEADER + "1,a,,drs,s,holdout,x\n")
    with pytest.raises(DatasetError, match="split 'holdout' is unknown"):
        open_table(tmp_path / "manifest.csv")
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,rainy,clean,type,source,split\n", "line 1: no column scene"),
        ("", "line 1: no column id, rainy"),
        (HEADER + "1,a,,drs,s,train,x\n2,a,,drs,s,train,x\n1,a,,d,s,val,x\n", "line 4: id '1' is that of line 2; make"),
        (HEADER + '"1\n2",a,,drs,s,train,x\n3,a,,drs,s,holdout,x\n', "line 4: split 'holdout' is unknown; use one"),
        (HEADER + "1,a,,drs,s,train,x\n\n ,a,,drs,s,train,x\n,,,,,,\n", "line 4: column 'id' is empty; fill it in"),
        (HEADER + "1,,,drs,s,train,x\n", "line 2: column 'rainy' is empty"),
        (HEADER + "1,a,,drs,s,train\n", "line 2: wanted 7 cells"),
        (HEADER + "1,a,,drs,s,train,x,y\n", "line 2: wanted 7 cells"),
        (HEADER + '1,a,,drs,s,train,"x"y\n', "cannot be read as a CSV table"),
        (HEADER + "".join(f"{n},a,,{n},s,train,x\n" for n in range(MOST_TYPES + 1)), "more than 1000 different names"),
        (HEADER + "".join(f"{n},a,,t{n},s,train,x\n" for n in range(33_000)), "different names .* such as 't1000'"),
    ],
)
def test_bad_manifest_is_refused_with_its_line(tmp_path: Path, own_cache: Path, text: str, message: str) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        open_table(manifest)
    assert str(manifest) in str(caught.value)
    assert not own_cache.exists() or list(own_cache.iterdir()) == []


def test_bad_rows_of_parquet_are_named_by_their_number(tmp_path: Path) -> None:
    columns: dict[str, list[str | None]] = {name: ["x", "x"] for name in HEADER.strip().split(",")}
    columns |= {"id": ["1", None], "split": ["train", "val"]}
    pq.write_table(pa.table(columns), tmp_path / "manifest.parquet")
    with pytest.raises(DatasetError, match=r"manifest.parquet, row 2: column 'id' is empty"):
        open_table(tmp_path / "manifest.parquet")


def test_empty_manifest_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEADER)
    table = open_table(tmp_path / "manifest.csv")
    assert (len(table), list(table), table.counts()) == (0, [], {})
    rows = table.select("train", ["drs"])
    assert (len(rows), list(rows), rows.without_clean(), rows.types) == (0, [], (0, None), frozenset())


def test_folder_with_its_manifest_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "manifest.csv", make_pairs(tmp_path / "old", 3))
    open_table(tmp_path / "old" / "manifest.csv")
    (tmp_path / "old").rename(tmp_path / "new")
    assert open_table(tmp_path / "new" / "manifest.csv")[1].rainy == tmp_path / "new" / "rainy" / "1.png"


def test_identity_tells_states_of_a_file_apart(tmp_path: Path) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text("one")
    first = identity(file)
    assert identity(file) == first
    state = file.stat()
    file.unlink()
    file.write_text("two")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert identity(file) != first, "neither size nor time of writing tell, the time of the change does"
    assert identity(file).partition("-")[0] == first.partition("-")[0]


def test_only_old_leftovers_of_the_same_manifest_are_removed(tmp_path: Path) -> None:
    names = ["one-a.arrow", "one-b.arrow", "one-c.arrow", "two-a.arrow", ".one-b.arrow.x.part"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
        age_s = 3600 if name == "one-c.arrow" else 30 * 24 * 3600
        state = (tmp_path / name).stat()
        os.utime(tmp_path / name, (state.st_atime - age_s, state.st_mtime - age_s))
    remove_unused(tmp_path / "one-a.arrow")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one-a.arrow", "one-c.arrow", "two-a.arrow"]
    assert cache_module.UNUSED_DAYS < 30


def test_cache_can_be_read_by_whom_other_files_can(tmp_path: Path, own_cache: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", make_pairs(tmp_path, 3))
    mask = os.umask(0o027)
    try:
        open_table(tmp_path / "manifest.csv")
    finally:
        os.umask(mask)
    (file,) = own_cache.iterdir()
    assert file.stat().st_mode & 0o777 == 0o640


def test_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache" / "manifests"
    monkeypatch.delenv("DERAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "derain" / "manifests"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "derain" / "manifests"


def test_rows_stay_on_disk(tmp_path: Path, own_cache: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", make_pairs(tmp_path, 5000))
    open_table(tmp_path / "manifest.csv")
    before = pa.total_allocated_bytes()
    table = open_table(tmp_path / "manifest.csv")
    assert table[4321].id == "picture 4321"
    (file,) = own_cache.iterdir()
    assert file.stat().st_size > 400_000
    assert pa.total_allocated_bytes() - before < 10_000
