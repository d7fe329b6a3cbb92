import json
from dataclasses import replace

import pytest

from derain.errors import DatasetError
from derain.infer.record import RECORD_NAME, MadeWith, Record, origin_of


@pytest.fixture
def cat(photos):
    return photos / "cat.png"


@pytest.fixture
def result(tmp_path, cat):
    """A result made from the cat, and noted."""
    path = tmp_path / "out" / "cat.png"
    path.parent.mkdir()
    Record().note(path, origin_of(cat))
    path.write_bytes(b"result")
    return path


def test_a_result_of_the_same_photograph_is_kept_or_made_anew(cat, result):
    assert Record().must_make(result, origin_of(cat), overwrite=False) is False
    assert Record().must_make(result, origin_of(cat), overwrite=True) is True
    result.unlink()
    assert Record().must_make(result, origin_of(cat), overwrite=False) is True


def test_photographs_and_results_may_be_moved(cat, result):
    moved = result.parent.rename(result.parent.with_name("moved")) / result.name
    elsewhere = cat.rename(cat.with_name("renamed.png"))
    assert Record().must_make(moved, origin_of(elsewhere), overwrite=False) is False


def test_a_changed_photograph_needs_overwrite(cat, result):
    cat.write_bytes(cat.read_bytes() + b"edited")
    with pytest.raises(DatasetError, match="--overwrite"):
        Record().must_make(result, origin_of(cat), overwrite=False)
    assert Record().must_make(result, origin_of(cat), overwrite=True) is True


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_another_making_are_never_given_up(photos, cat, result, overwrite):
    with pytest.raises(DatasetError, match=r"made from .*cat\.png"):
        Record().must_make(result, origin_of(photos / "trip/coffee.jpg"), overwrite)
    own = result.with_name("own.png")
    own.write_bytes(b"somebody's own")
    with pytest.raises(DatasetError, match="no record"):
        Record().must_make(own, origin_of(cat), overwrite)


def test_bytes_that_are_no_text_spoil_no_line(cat, result):
    path = result.parent / RECORD_NAME
    path.write_bytes(b"\xff\x00\xfe\n" + path.read_bytes())
    assert Record().must_make(result, origin_of(cat), overwrite=False) is False


def test_a_line_cut_short_spoils_no_other(photos, cat, result):
    path = result.parent / RECORD_NAME
    path.write_bytes(path.read_bytes() + b'\n{"result": "lost.png", "sou')
    other = result.with_name("coffee.jpg")
    Record().note(other, origin_of(photos / "trip/coffee.jpg"))
    other.write_bytes(b"result")
    assert not Record().must_make(result, origin_of(cat), overwrite=False)
    assert not Record().must_make(other, origin_of(photos / "trip/coffee.jpg"), overwrite=False)


TINY = MadeWith("tiny", "a" * 64, "bf16")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(TINY, weights="b" * 64), "weights aaaaaaaaaaaa, not bbbbbbbbbbbb"),
        (replace(TINY, precision="fp32"), "precision bf16, not fp32"),
        (replace(TINY, quality=80), "quality of the source, not 80"),
    ],
)
def test_a_result_made_with_another_setting_needs_overwrite(cat, result, other, said):
    Record().note(result, origin_of(cat, TINY))
    assert not Record().must_make(result, origin_of(cat, TINY), overwrite=False)
    with pytest.raises(DatasetError, match=said):
        Record().must_make(result, origin_of(cat, other), overwrite=False)
    assert Record().must_make(result, origin_of(cat, other), overwrite=True)


def test_records_of_earlier_versions_vouch_for_the_photograph_alone(cat, result):
    origin = origin_of(cat)
    line = {"result": result.name, "source": origin.source, "sha256": origin.sha256}
    (result.parent / RECORD_NAME).write_text("\n" + json.dumps(line))
    assert not Record().must_make(result, origin_of(cat, TINY), overwrite=False)
