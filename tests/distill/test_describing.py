"""Photographs into a base by one call, with the built-in models."""

from pathlib import Path

import pytest
from pixel_models import crop, save, streaked

from derain.distill.answers.cache import AnswerCache, answers_folder
from derain.distill.describing import describe_photographs
from derain.distill.knowledge.photographs import manual_types
from derain.distill.knowledge.prefilter import PrefilterSettings
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import preset_settings
from derain.errors import DistillError

EVERYTHING = PrefilterSettings(shortest_side=0, sharpness=0, quality_percentile=0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, number in (("drs/a", 1), ("nrd/b", 2), ("c", 3)):
        save(tmp_path / "photos" / f"{name}.png", streaked(crop(number, 140, 180), number))
    return tmp_path / "photos"


def test_photographs_are_described_once_whatever_base_they_go_into(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    settings = preset_settings("offline")
    types = manual_types([photos], by_folder=True).types
    counts_seen: list[tuple[int, int]] = []
    report = describe_photographs(
        [photos],
        str(tmp_path / "one"),
        settings,
        EVERYTHING,
        types,
        on_progress=lambda *counts: counts_seen.append(counts),
    )
    assert (report.found, sum(report.added.values())) == (3, 3)
    assert counts_seen[-1] == (3, 3)
    base = KnowledgeBase.open(tmp_path / "one")
    by_name = {Path(record.path).name: record.type for record in base.list()}
    assert (by_name["a.png"], by_name["b.png"]) == ("drs", "nrd")
    with AnswerCache(tmp_path / "cache" / "answers") as answers:
        filed = answers.statistics().answers
        assert filed["caption"] == filed["visual"] == 3
        assert describe_photographs([photos], str(tmp_path / "one"), settings, EVERYTHING).known == 3
        describe_photographs([photos], str(tmp_path / "two"), settings, EVERYTHING, types)
        assert answers.statistics().answers == filed
    assert KnowledgeBase.open(tmp_path / "two").version() == base.version()
    describe_photographs([photos / "c.png"], str(tmp_path / "three"), settings, EVERYTHING, cache=tmp_path / "other")
    assert (tmp_path / "other" / "answers.sqlite").exists()
    refused = describe_photographs([photos / "c.png"], str(tmp_path / "four"), settings).filtered
    assert refused == {"too_small": 1}, "the usual prefilter"


def test_a_table_of_types_goes_before_folders(tmp_path, photos):
    (tmp_path / "types.csv").write_text("path,type\nphotos/drs/a.png,nrs\nphotos/c.png,drd\n")
    by_hand = manual_types([photos], tmp_path / "types.csv", by_folder=True)
    assert {path.name: name for path, name in by_hand.types.items()} == {"a.png": "nrs", "b.png": "nrd", "c.png": "drd"}
    assert (by_hand.in_table, by_hand.not_found) == (2, [])
    assert set(manual_types([photos], tmp_path / "types.csv").types.values()) == {"nrs", "drd"}
    assert manual_types([photos]).types == {}
    with pytest.raises(DistillError, match="nothing is there"):
        manual_types([tmp_path / "nowhere"], by_folder=True)


def test_what_a_table_of_types_names_in_vain_is_told_and_a_table_that_names_nothing_found_is_refused(tmp_path, photos):
    table = tmp_path / "types.csv"
    table.write_text("path,type\nphotos/gone.png,drs\nphotos/c.png,drd\nc.png,drd\n")
    by_hand = manual_types([photos], table)
    assert by_hand.types == {photos / "c.png": "drd"}
    assert (by_hand.in_table, by_hand.not_found) == (3, [photos / "gone.png", tmp_path / "c.png"])
    inside = photos / "types.csv"
    inside.write_text(table.read_text())
    assert manual_types([photos], inside).types == {photos / "c.png": "drd"}, "relative to its own folder"
    table.write_text("path,type\nphotos/gone.png,drs\nc.png,drd\n")
    with pytest.raises(
        DistillError, match=r"none of the 2 .* 3 found, .*gone\.png; .*relative to its own folder, "
    ) as counts_seen:
        manual_types([photos], table, by_folder=True)
    assert f"{tmp_path}:" in str(counts_seen.value)
    table.write_text("path,type\n")
    assert manual_types([photos], table).types == {}


def test_a_table_of_types_finds_photographs_by_other_ways_to_them(tmp_path, photos, monkeypatch):
    (tmp_path / "types.csv").write_text("path,type\nphotos/c.png,drd\n")
    (tmp_path / "link").symlink_to(photos)
    monkeypatch.chdir(photos / "drs")
    for place in (Path(".."), tmp_path / "link"):
        (path,) = manual_types([place], tmp_path / "types.csv").types
        assert path == place.absolute() / "c.png", "as it is walked"


def test_types_by_folder_that_no_folder_gives_are_refused(tmp_path):
    save(tmp_path / "street" / "one.png", crop(1, 140, 180))
    with pytest.raises(DistillError, match="below folders named drs, drd, nrs, nrd"):
        manual_types([tmp_path], by_folder=True)


def test_answers_lie_beside_what_else_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "mine"))
    assert answers_folder() == tmp_path / "mine" / "answers"
    monkeypatch.delenv("DERAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "common"))
    assert answers_folder() == tmp_path / "common" / "derain" / "answers"
