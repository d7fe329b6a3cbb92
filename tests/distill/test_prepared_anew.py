"""Files that come back: the candidates are looked at anew, and nobody is asked again about what was judged."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pixel_models import PixelModels, make_base, make_candidates, small_settings, write_table
from test_distill_run import outcomes, results, rows_in

from derain.distill.models import CacheEncoder, Models, uncached
from derain.distill.pipeline import prepare as preparing
from derain.distill.pipeline import run_folder
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.run import RunReport, distill
from derain.distill.pipeline.run_folder import INSIDE, preparing_seconds
from derain.distill.pipeline.shards import Shards
from derain.distill.settings import DistillSettings
from derain.errors import DistillError

CANDIDATES = 14
GONE = 3


class Place:
    """Candidates, a knowledge base and a run whose sittings have caches of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifests = [make_candidates(folder, CANDIDATES)]
        (folder / "log").mkdir()
        self.models = PixelModels(folder / "log")
        self.base = make_base(folder, self.models(small_settings()))
        self.sittings = 0

    def sit(self, out: str = "out") -> RunReport:
        self.sittings += 1
        cache = self.folder / f"cache{self.sittings}"
        return distill(self.manifests, self.base, self.folder / out, small_settings(), self.models, cache=cache)

    def asked(self) -> Counter[str]:
        return Counter(role for role, _ in self.models.log.lines())

    def take_away(self, name: str = f"clean/{GONE}.png") -> None:
        (self.folder / name).rename(self.folder / "away.png")

    def bring_back(self, name: str = f"clean/{GONE}.png") -> None:
        (self.folder / "away.png").rename(self.folder / name)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_one_file_that_comes_back_costs_one_candidate(place, tmp_path):
    place.take_away()
    first = place.sit()
    assert (first.outputs.pending, first.outputs.candidates) == (1, CANDIDATES)
    before = place.asked()
    place.bring_back()
    report = place.sit()
    assert report.is_complete
    assert place.asked() - before == dict.fromkeys(
        ("captioner", "expander", "keywords", "text_encoder", "visual_encoder", "bright", "detailed", "paired"), 1
    )
    assert (report.shards_done_before, report.shards) == (2, 3), "shards without the new one are finished"
    place.sit("whole")
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert not (tmp_path / "out" / INSIDE / "next").exists()


def test_seconds_of_preparing_add_up_and_are_unknown_where_the_first_were_not_noted(place, tmp_path):
    place.take_away()
    place.sit()
    first = preparing_seconds(tmp_path / "out")
    assert first is not None
    assert first > 0
    place.sit()
    assert preparing_seconds(tmp_path / "out") == first, "nothing was prepared"
    place.bring_back()
    place.sit()
    both = preparing_seconds(tmp_path / "out")
    assert both is not None
    assert both > first
    place.take_away()
    place.sit("older")
    (tmp_path / "older" / INSIDE / "preparing.json").unlink()
    place.bring_back()
    assert place.sit("older").is_complete
    assert preparing_seconds(tmp_path / "older") is None


def test_what_was_judged_stays_while_its_own_file_is_away(place, tmp_path):
    place.take_away()
    first = place.sit()
    asked, rows = place.asked(), results(tmp_path / "out")
    place.bring_back()
    (tmp_path / "clean/5.png").rename(tmp_path / "five.png")
    again = place.sit()
    assert (again.outputs.kept, again.outputs.pending) == (first.outputs.kept, 1)
    assert (place.asked(), results(tmp_path / "out")) == (asked, rows)
    (tmp_path / "five.png").rename(tmp_path / "clean/5.png")
    last = place.sit()
    assert last.is_complete
    assert place.asked()["judge rain"] - asked["judge rain"] <= 1


def test_a_run_that_was_moved_tells_where_its_files_lie_now(place, tmp_path):
    whole = place.sit()
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    again = place.sit("elsewhere")
    assert again.outputs.manifest == tmp_path / "elsewhere" / "manifest.csv"
    assert again.outputs.manifest.is_file()
    assert again.outputs.kept == whole.outputs.kept


def test_candidates_that_wait_for_a_judge_are_handed_on_with_the_votes_they_have(place, tmp_path):
    place.take_away()
    place.models.shut("detailed")
    pending = place.sit().outputs.pending - 1
    assert pending > 2
    place.bring_back()
    before = place.asked()
    place.sit()
    now = place.asked() - before
    assert {now[role] for role in ("captioner", "bright", "paired")} == {1}
    place.models.open("detailed")
    before = place.asked()
    assert place.sit().is_complete
    assert set(place.asked() - before) == {"detailed"}
    place.models.shut("detailed")
    place.sit("whole")
    place.models.open("detailed")
    place.sit("whole")
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_a_twin_that_comes_back_takes_over_under_its_own_name(place, tmp_path):
    shutil.copy(tmp_path / "rainy" / "5.png", tmp_path / "twin.png")
    twin = {"id": "a-twin", "rainy": "twin.png", "clean": "clean/5.png", "source": "b", "type": "drd"}
    place.manifests.append(write_table(tmp_path / "b.csv", [twin]))
    place.take_away("twin.png")
    place.sit()
    assert outcomes(tmp_path / "out")["a-twin"] == "pending"
    was = row_named("pair-5", tmp_path / "out")
    before = place.asked()
    place.bring_back("twin.png")
    assert place.sit().is_complete
    assert place.asked() == before, "the same pictures were judged under another name"
    now = row_named("a-twin", tmp_path / "out")
    assert row_named("pair-5", tmp_path / "out")["reason"] == "duplicate_of:a-twin"
    named = {"id": "a-twin", "rainy": str(tmp_path / "twin.png"), "source": "b", "scene": ""}
    assert now == was | named
    place.sit("whole")
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def row_named(name: str, out: Path) -> dict[str, object]:
    (row,) = [
        row
        for table in ("kept", "dropped", "pending")
        for row in rows_in(out / f"{table}.parquet")
        if row["id"] == name
    ]
    return row


class Killed(BaseException):
    """Stands for a signal."""


def killed_at(call: int, function: Callable[..., object]) -> Callable[..., object]:
    """The function, which ends at its so-manieth call, before it does anything."""
    calls = [0]

    def counted(*arguments: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == call:
            raise Killed
        return function(*arguments, **named)

    return counted


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (preparing, "prepare", 1),
        (Shards, "write_shard", 1),
        (Shards, "write_shard", 2),
        (Path, "touch", 1),
        (Path, "rename", 1),
        (Path, "rename", 2),
        (Path, "rename", 3),
        (run_folder.shutil, "rmtree", 4),
    ],
)
def test_a_kill_in_between_loses_neither_outputs_nor_answers(place, tmp_path, monkeypatch, owner, name, call):
    place.take_away()
    place.sit()
    before, asked = results(tmp_path / "out"), place.asked()
    place.bring_back()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed_at(call, getattr(owner, name)))
        with pytest.raises(Killed):
            place.sit()
    assert results(tmp_path / "out") == before
    assert place.asked() == asked
    assert place.sit().is_complete
    assert set((place.asked() - asked).values()) == {1}
    place.sit("whole")
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_what_was_found_out_is_handed_on_for_the_same_pictures_of_the_same_type_alone():
    judged = Row("a", "r", "c", "drs", "set", "train", "s", "1" * 64, "2" * 64, 3, 4, 5, 6, "manifest")
    judged.caption, judged.outcome, judged.timed = "rain", "kept", ["captioner"]
    candidate = judged.begin_again()
    assert judged.handed_on_to(candidate) == judged
    for cells in ({"digest": "9" * 64}, {"clean_digest": "9" * 64}, {"type": "drd"}, {"type": None}):
        other = judged.begin_again()
        for column, value in cells.items():
            setattr(other, column, value)
        assert judged.handed_on_to(other) is None
    judged.type_origin = "classifier"
    candidate.type = candidate.type_origin = None
    assert judged.handed_on_to(candidate) == judged, "its type need not be told again"
    candidate.type = "drs"
    assert judged.handed_on_to(candidate) is None, "what a manifest says now was told by nobody then"


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing"])
def test_a_list_of_refused_rows_that_is_damaged_is_named(place, tmp_path, content):
    place.take_away()
    place.sit()
    refused = tmp_path / "out" / INSIDE / "refused.parquet"
    whole = refused.read_bytes()
    refused.unlink()
    for half in (content, whole[: len(whole) // 2]):
        if half is not None:
            refused.write_bytes(half)
        with pytest.raises(DistillError, match=r"refused\.parquet: cannot be read .*--fresh"):
            place.sit()
    assert (tmp_path / "out" / "kept.parquet").exists()


class CountedModels(PixelModels):
    """Counts how often they are opened."""

    def __call__(self, settings: DistillSettings, cached: CacheEncoder = uncached) -> Models:
        with (self.folder / "openings").open("a") as file:
            file.write("|")
        return super().__call__(settings, cached)


def test_where_nothing_is_left_to_do_nothing_is_opened_for_it_and_nothing_written(place, tmp_path):
    place.models = CountedModels(place.models.folder)
    openings = place.models.folder / "openings"
    place.take_away()
    place.sit()
    assert openings.read_text() == "||", "to know who they are, and to work"
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()}
    report = place.sit()
    assert openings.read_text() == "|||"
    assert (report.outputs.pending, report.shards_done_before) == (1, report.shards)
    lock = tmp_path / "out" / INSIDE / "lock"
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert after | {lock: 0} == before | {lock: 0}
