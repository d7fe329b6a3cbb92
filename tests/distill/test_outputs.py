"""What a run leaves behind: tables, pyramid, manifest; whole, in order, and adding up."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pixel_models import make_candidates, small_settings, write_table

from derain.data.check import check_picture
from derain.data.pairs import read_manifest
from derain.distill.answers.cache import AnswerCache
from derain.distill.pipeline import outputs as outputs_module
from derain.distill.pipeline.outputs import pyramid, write_outputs
from derain.distill.pipeline.prepare import prepare
from derain.distill.pipeline.row import Row, result_of
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.pipeline.schema import result_schema
from derain.errors import DistillError


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """14 candidates of two types, one double and one broken row; every third dropped, two pending."""
    manifest = make_candidates(tmp_path, 14)
    rows = [
        {"id": "twin", "rainy": "rainy/3.png", "clean": "clean/3.png", "source": "other", "type": "drd"},
        {"id": "broken", "rainy": "broken.png", "clean": "clean/3.png", "source": "other", "type": "nrs"},
    ]
    (tmp_path / "broken.png").write_text("no picture")
    folder = RunFolder(tmp_path / "out")
    with AnswerCache(tmp_path / "cache") as cache:
        prepare([manifest, write_table(tmp_path / "other.csv", rows)], small_settings(), folder, cache)
    for number in range(folder.shards):
        shard = folder.open_rows(number)
        for row in shard:
            place = int(row.id.removeprefix("pair-"))
            row.outcome, row.reason = ("dropped", "two_of_three_drop") if place % 3 == 0 else ("kept", "all")
            if place in (4, 7):
                row.leave_pending("no_answer: judge x: server: down")
        folder.write_shard(number, shard)
    return folder


def test_tables_hold_every_row_once_in_the_order_of_digests(folder):
    outputs = write_outputs(folder, small_settings(), {})
    tables = {name: pq.read_table(folder.out / f"{name}.parquet") for name in ("kept", "dropped", "pending")}
    assert all(table.schema.remove_metadata().equals(result_schema()) for table in tables.values())
    assert (outputs.kept, outputs.dropped, outputs.pending) == tuple(table.num_rows for table in tables.values())
    ids = sorted(name for table in tables.values() for name in table.column("id").to_pylist())
    assert ids == sorted(["broken", "twin", *(f"pair-{n}" for n in range(14))])
    kept = tables["kept"].column("digest").to_pylist()
    assert kept == sorted(kept)
    dropped = tables["dropped"].to_pylist()
    assert [row["reason"].partition(":")[0] for row in dropped[-2:]] == ["unreadable_picture", "duplicate_of"]
    judged = [row["digest"] for row in dropped[:-2]]
    assert judged == sorted(judged)
    assert outputs.reasons == {
        "all": 7,
        "two_of_three_drop": 5,
        "no_answer": 2,
        "duplicate_of": 1,
        "unreadable_picture": 1,
    }
    assert outputs.pending_reasons == {"no_answer: judge x: server: down": 2}


def test_writing_twice_gives_the_same_bytes_and_pending_rows_go_when_they_are_done(folder):
    write_outputs(folder, small_settings(), {})
    names = ("kept.parquet", "dropped.parquet", "pending.parquet", "pyramid.json", "manifest.csv")
    before = {name: (folder.out / name).read_bytes() for name in names}
    write_outputs(folder, small_settings(), {})
    assert {name: (folder.out / name).read_bytes() for name in names} == before
    for number in range(folder.shards):
        rows = folder.open_rows(number) if folder.pending(number) else []
        for row in rows:
            row.outcome, row.reason = "kept", "all"
        if rows:
            folder.write_shard(number, rows)
    assert write_outputs(folder, small_settings(), {}).pending == 0
    assert not (folder.out / "pending.parquet").exists()
    assert not list(folder.out.rglob("*.part"))


def test_the_pyramid_adds_up(folder):
    write_outputs(folder, small_settings(), {("drs", "real"): 5, ("nrs", "real"): 2, ("drs", "web"): 1})
    levels = json.loads((folder.out / "pyramid.json").read_text())["levels"]
    assert levels["real"] == {
        "total": 8,
        "by_type": {"drs": 6, "nrs": 2},
        "by_source": {"real": 7, "web": 1},
        "by_type_and_source": {"drs": {"real": 5, "web": 1}, "nrs": {"real": 2}},
    }
    assert [levels[name]["total"] for name in ("kept", "dropped", "pending")] == [7, 7, 2]
    assert sum(levels["dropped"]["by_source"].values()) == 7
    for name in ("kept", "dropped", "pending"):
        level = levels[name]
        assert sum(level["reasons"].values()) == level["total"]
        assert sum(level["by_type"].values()) == sum(level["by_source"].values()) == level["total"]


def test_where_a_pyramid_is_all_files_are_of_one_state(folder, monkeypatch):
    write_outputs(folder, small_settings(), {})
    moves = []

    def killed(self, target):
        moves.append(Path(target).name)
        if moves[-1] == "kept.parquet":
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_outputs(folder, small_settings(), {})
    assert not (folder.out / "pyramid.json").exists()
    monkeypatch.setattr(Path, "replace", lambda self, target: moves.append(Path(target).name) or replace(self, target))
    moves.clear()
    write_outputs(folder, small_settings(), {})
    tables = ["kept.parquet", "dropped.parquet", "pending.parquet"]
    assert moves == [*tables, "manifest.csv", "pyramid.json"]


def test_a_type_that_was_never_found_out_is_counted_as_such():
    levels = pyramid({}, {("dropped", "unknown", "a"): 3}, {"dropped": {"unreadable_picture": 3}}, [])["levels"]
    assert levels["dropped"]["by_type"] == {"unknown": 3}
    assert levels["kept"] == {"total": 0, "by_type": {}, "by_source": {}, "by_type_and_source": {}, "reasons": {}}


def test_the_manifest_can_be_trained_on(folder):
    outputs = write_outputs(folder, small_settings(test_pairs=2), {})
    pairs = read_manifest(outputs.manifest)
    assert len(pairs) == 7
    assert {pair.split for pair in pairs} == {"train", "test", "val"}
    scenes = {split: {pair.scene for pair in pairs if pair.split == split} for split in ("train", "test", "val")}
    assert sum(map(len, scenes.values())) == len(set().union(*scenes.values()))
    assert all(check_picture(file, 32, "damage").fault is None for pair in pairs for file in (pair.rainy, pair.clean))
    splits = json.loads((outputs.out / "pyramid.json").read_text())["splits"]
    assert sum(sum(by_type.values()) for by_type in splits.values()) == 7


def test_a_shard_that_is_missing_is_named(folder):
    folder.shard_file(1).unlink()
    with pytest.raises(DistillError, match=r"000001.parquet: this shard is damaged"):
        write_outputs(folder, small_settings(), {})
    assert not list(folder.out.rglob("*.part"))


def test_types_without_references_are_counted_among_the_dropped(folder):
    for number in folder.waiting():
        rows = folder.open_rows(number)
        for row in rows:
            row.type = "nrd"
            row.drop("no_references: the base has no photograph of nrd")
        folder.write_shard(number, rows)
    outputs = write_outputs(folder, small_settings(), {})
    assert outputs.without_references == {"nrd": 2}
    assert (outputs.pending, outputs.reasons["no_references"]) == (0, 2)
    dropped = json.loads((outputs.out / "pyramid.json").read_text())["levels"]["dropped"]
    assert dropped["reasons"]["no_references"] == dropped["by_type"]["nrd"] == 2


def test_of_ever_so_many_reasons_the_frequent_ones_are_shown_and_few_are_counted(monkeypatch):
    monkeypatch.setattr(outputs_module, "REASONS_COUNTED", 50)
    tally = outputs_module._Tally()
    for first in range(0, 3000, 10):
        rows = []
        for number in range(first, first + 10):
            is_a, is_b = number % 3 == 0, number % 5 == 0
            reason = "no_answer: a" if is_a else "no_answer: b" if is_b else f"picture_gone: {number}"
            rows.append(Row(f"p{number}", "r", "c", "drs", "set", "train", "", outcome="pending", reason=reason))
        tally.add(result_of(rows))
        assert len(tally.pending_reasons) <= 50
    assert tally.pending_reasons.most_common(2) == [("no_answer: a", 1000), ("no_answer: b", 400)]
    assert tally.reasons["pending"] == {"no_answer": 1400, "picture_gone": 1600}
