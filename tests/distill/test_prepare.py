"""What is left out before any model: broken, registered, double and too many pictures, each by name."""

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pixel_models import crop, make_candidates, save, streaked, write_table

from derain.backends.interfaces import Identity
from derain.backends.view import read_view
from derain.data.near_duplicates import hamming, perceptual_hash
from derain.distill.answers.cache import AnswerCache, Entry
from derain.distill.answers.cached import answer_key
from derain.distill.pipeline.facts import FileMeasure, measure_file
from derain.distill.pipeline.filters import (
    NONE,
    first_of_equals,
    frames_to_judge,
    natural_key,
    registered_as,
    spread,
)
from derain.distill.pipeline.prepare import prepare
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.settings import DistillSettings, PrepareSettings
from derain.errors import DatasetError


def prepared(tmp_path: Path, manifests: list[Path], **settings: object) -> tuple[list[list[str]], dict[str, str]]:
    """Ids of each shard, and the reason of each refused id."""
    folder = RunFolder(tmp_path / "out")
    chosen = DistillSettings(prepare=PrepareSettings(**settings), shard_rows=4)
    with AnswerCache(tmp_path / "cache") as cache:
        prepare(manifests, chosen, folder, cache)
    shards = [[row.id for row in folder.open_rows(number)] for number in range(folder.shards)]
    refused = pq.read_table(folder.filtered).to_pylist()
    for row in refused:
        assert row["outcome"] == ("pending" if row["reason"].startswith("picture_gone: ") else "dropped")
    return shards, {row["id"]: row["reason"] for row in refused}


def test_candidates_come_in_shards_by_digest_whatever_the_order_of_manifests(tmp_path):
    one = make_candidates(tmp_path / "one", 10)
    two = tmp_path / "two.parquet"
    rows = [
        {"id": f"other-{n}", "rainy": str(save(tmp_path / f"r{n}.png", streaked(crop(90 + n), n)))}
        | {"clean": str(save(tmp_path / f"c{n}.png", crop(90 + n)))}
        | {"type": "", "source": "b", "split": "train", "scene": ""}
        for n in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), two)
    shards, refused = prepared(tmp_path / "a", [one, two])
    assert [len(shard) for shard in shards] == [4, 4, 4, 1]
    assert not refused
    folder = RunFolder(tmp_path / "a" / "out")
    candidates = [row for number in range(4) for row in folder.open_rows(number)]
    digests = [row.digest for row in candidates]
    assert digests == sorted(digests)
    for row in candidates:
        view = read_view(Path(row.rainy))
        assert (row.digest, row.width, row.height) == (view.digest, 64, 48)
        assert row.perceptual_hash == perceptual_hash(view.pixels)
        assert row.clean_digest == read_view(Path(row.clean)).digest
        assert row.clean_hash == perceptual_hash(read_view(Path(row.clean)).pixels)
        assert (row.type, row.type_origin) == ((None, None) if row.id.startswith("other") else (row.type, "manifest"))
    assert prepared(tmp_path / "b", [two, one])[0] == shards


def test_what_cannot_be_judged_is_refused_by_name(tmp_path):
    rainy, clean = streaked(crop(1), 1), crop(1)
    for name, pixels in (("r", rainy), ("c", clean), ("wide", crop(2, 48, 80))):
        save(tmp_path / f"{name}.png", pixels)
    (tmp_path / "half.png").write_bytes((tmp_path / "r.png").read_bytes()[:400])
    (tmp_path / "text.png").write_text("not a picture")
    rows = [
        {"id": "good", "rainy": "r.png", "clean": "c.png"},
        {"id": "truncated", "rainy": "half.png", "clean": "c.png"},
        {"id": "text", "rainy": "text.png", "clean": "c.png"},
        {"id": "gone", "rainy": "nowhere.png", "clean": "c.png"},
        {"id": "broken target", "rainy": "r.png", "clean": "half.png"},
        {"id": "alone", "rainy": "r.png"},
        {"id": "sizes", "rainy": "r.png", "clean": "wide.png"},
        {"id": "snow", "rainy": "r.png", "clean": "c.png", "type": "snow"},
    ]
    shards, refused = prepared(tmp_path / "run", [write_table(tmp_path / "m.csv", rows)])
    assert shards == [["good"]]
    assert refused.pop("alone") == "no_clean_partner"
    assert refused.pop("sizes") == "sizes_differ: rainy 64x48, clean 80x48"
    assert refused.pop("snow") == "unknown_type: snow"
    gone = refused.pop("gone")
    assert gone.startswith("picture_gone: ")
    assert "nowhere.png" in gone
    assert sorted(refused) == ["broken target", "text", "truncated"]
    assert all(reason.startswith("unreadable_picture: ") for reason in refused.values())


def test_a_picture_that_was_mended_is_read_again(tmp_path):
    manifest = make_candidates(tmp_path, 2)
    whole = (tmp_path / "rainy" / "0.png").read_bytes()
    (tmp_path / "rainy" / "0.png").write_bytes(whole[:200])
    assert list(prepared(tmp_path, [manifest])[1]) == ["pair-0"]
    (tmp_path / "rainy" / "0.png").write_bytes(whole)
    assert prepared(tmp_path, [manifest])[1] == {}


def test_of_equal_pictures_the_first_id_stays(tmp_path):
    manifest = make_candidates(tmp_path, 3)
    shutil.copy(tmp_path / "rainy" / "1.png", tmp_path / "rainy" / "copy.png")
    rows = [{"id": name, "rainy": "rainy/copy.png", "clean": "clean/1.png", "source": "b"} for name in ("zz", "aa")]
    other = write_table(tmp_path / "other.csv", rows)
    shards, refused = prepared(tmp_path / "run", [manifest, other])
    assert refused == {"pair-1": "duplicate_of:aa", "zz": "duplicate_of:aa"}
    assert sorted(chain(*shards)) == ["aa", "pair-0", "pair-2"]


def compressed_otherwise(picture: Path, target: Path, **how: object) -> Path:
    """The same pixels in other bytes, where the format loses none."""
    with Image.open(picture) as opened:
        opened.save(target, **how)
    assert target.read_bytes() != picture.read_bytes()
    return target


def test_of_equal_pixels_in_other_files_the_first_id_stays(tmp_path):
    manifest = make_candidates(tmp_path, 4)
    for side in ("rainy", "clean"):
        for number in (1, 2, 3):
            compressed_otherwise(tmp_path / side / f"{number}.png", tmp_path / f"{side}{number}.png", compress_level=0)
        compressed_otherwise(tmp_path / side / "1.png", tmp_path / f"{side}1.tif")
    rows = [
        {"id": "zz", "rainy": "rainy1.png", "clean": "clean1.png"},
        {"id": "zz copied", "rainy": "rainy1.png", "clean": "clean1.png"},
        {"id": "aa", "rainy": "rainy1.tif", "clean": "clean1.tif"},
        {"id": "other partner", "rainy": "rainy2.png", "clean": "clean3.png"},
    ]
    shards, refused = prepared(tmp_path / "run", [manifest, write_table(tmp_path / "other.csv", rows)])
    assert refused == {
        "zz": "duplicate_of:aa",
        "zz copied": "duplicate_of:aa",
        "pair-1": "duplicate_of:aa",
        "pair-2": "conflicting_partner:other partner",
    }
    assert sorted(chain(*shards)) == ["aa", "other partner", "pair-0", "pair-3"]


def test_pictures_that_differ_in_a_pixel_or_in_their_size_are_no_duplicates(tmp_path):
    flat = np.full((48, 64, 3), 90, np.uint8)
    dotted = flat.copy()
    dotted[20, 30, 1] += 1
    rows = []
    for name, pixels in (("flat", flat), ("dotted", dotted), ("turned", flat.reshape(64, 48, 3))):
        save(tmp_path / f"{name}.png", pixels)
        rows.append({"id": name, "rainy": f"{name}.png", "clean": f"{name}.png"})
    save(tmp_path / "photo.png", crop(7))
    compressed_otherwise(tmp_path / "photo.png", tmp_path / "photo.jpg", quality=95)
    rows += [{"id": name, "rainy": name, "clean": "photo.png"} for name in ("photo.png", "photo.jpg")]
    _, refused = prepared(tmp_path / "run", [write_table(tmp_path / "m.csv", rows)])
    assert refused == {}


def test_registered_pictures_are_found_in_other_files_of_the_same_pixels(tmp_path):
    manifest = make_candidates(tmp_path, 3)
    (tmp_path / "Bench").mkdir()
    compressed_otherwise(tmp_path / "rainy" / "1.png", tmp_path / "Bench" / "x.png", compress_level=0)
    _, refused = prepared(tmp_path / "run", [manifest], exclude=(str(tmp_path / "Bench"),), near_bits=0)
    assert refused == {"pair-1": "registered_test_picture:Bench"}


def test_facts_that_an_earlier_revision_remembered_are_measured_anew(tmp_path):
    picture = str(save(tmp_path / "a.png", crop(1)))
    with AnswerCache(tmp_path / "cache") as cache:
        status = Path(picture).stat()
        state = [picture, *(str(n) for n in (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))]
        old = json.dumps({"digest": "0" * 64, "perceptual_hash": 1, "width": 2, "height": 3}).encode()
        first = Identity("file-facts", "1")
        cache.put([Entry(answer_key("file", first, state), "file", first.digest, old, 0.1)])
        with FileMeasure(cache) as files:
            assert files.facts([picture]) == [measure_file(picture)]


def test_test_sets_are_excluded_by_file_and_by_look_on_both_sides(tmp_path):
    manifest = make_candidates(tmp_path, 8)
    folder = tmp_path / "Rain100L"
    folder.mkdir()
    shutil.copy(tmp_path / "rainy" / "0.png", folder / "same file.png")
    with Image.open(tmp_path / "rainy" / "1.png") as picture:
        picture.resize((128, 96), Image.Resampling.BICUBIC).save(folder / "larger.jpg", quality=90)
    large = perceptual_hash(read_view(folder / "larger.jpg").pixels)
    assert 0 < hamming(large, perceptual_hash(read_view(tmp_path / "rainy" / "1.png").pixels)) <= 4
    shutil.copy(tmp_path / "clean" / "2.png", tmp_path / "target.png")
    other = save(tmp_path / "elsewhere.png", crop(70))
    test_set = write_table(tmp_path / "Bench.csv", [{"id": "t", "rainy": other.name, "clean": "target.png"}])
    shards, refused = prepared(tmp_path / "run", [manifest], exclude=(str(folder), str(test_set)))
    assert refused == {
        "pair-0": "registered_test_picture:Rain100L",
        "pair-1": "registered_test_picture:Rain100L",
        "pair-2": "registered_test_picture:Bench",
    }
    assert len(list(chain(*shards))) == 5
    _, refused = prepared(tmp_path / "exact", [manifest], exclude=(str(folder), str(test_set)), near_bits=0)
    assert sorted(refused) == ["pair-0", "pair-2"]


def test_rows_of_a_test_split_keep_their_pictures_to_themselves(tmp_path):
    manifest = make_candidates(tmp_path, 3)
    cells = {"id": "t", "rainy": "rainy/0.png", "clean": "clean/0.png", "split": "test", "source": "Bench"}
    other = write_table(tmp_path / "other.csv", [cells])
    _, refused = prepared(tmp_path / "run", [manifest, other])
    reason = "registered_test_picture:test split of Bench"
    assert refused == {"t": reason, "pair-0": reason}


def test_rows_of_a_test_split_that_are_refused_themselves_still_protect_their_pictures(tmp_path):
    manifest = make_candidates(tmp_path, 4)
    (tmp_path / "broken.png").write_text("not a picture")
    save(tmp_path / "wide.png", crop(2, 48, 80))
    usual = {"split": "test", "source": "Bench"}
    rows = [
        {"id": "alone", "rainy": "rainy/0.png"},
        {"id": "broken", "rainy": "rainy/1.png", "clean": "broken.png"},
        {"id": "wide", "rainy": "wide.png", "clean": "clean/2.png"},
        {"id": "gone", "rainy": "nowhere.png", "clean": "clean/3.png"},
    ]
    other = write_table(tmp_path / "other.csv", [usual | row for row in rows])
    shards, refused = prepared(tmp_path / "run", [manifest, other])
    assert shards == []
    assert {refused[f"pair-{n}"] for n in range(4)} == {"registered_test_picture:test split of Bench"}
    reasons = {name: refused[name].partition(":")[0] for name in ("alone", "broken", "wide", "gone")}
    assert reasons == {
        "alone": "no_clean_partner",
        "broken": "unreadable_picture",
        "wide": "sizes_differ",
        "gone": "picture_gone",
    }


def test_a_file_that_cannot_be_read_is_no_broken_picture(tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    save(tmp_path / "whole.png", crop(1))
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:300])
    assert [measure_file(str(tmp_path / name)).is_gone for name in ("folder.png", "none.png", "half.png")] == [
        True,
        True,
        False,
    ]


def test_equal_rain_on_different_partners_is_named(tmp_path):
    manifest = make_candidates(tmp_path, 2)
    cells = {"id": "other", "rainy": "rainy/0.png", "clean": "clean/1.png"}
    _, refused = prepared(tmp_path / "run", [manifest, write_table(tmp_path / "other.csv", [cells])])
    assert refused == {"pair-0": "conflicting_partner:other"}


def test_many_flat_pictures_are_found_among_many_registered_flat_ones():
    hashes = np.full(20_000, 2**63, np.uint64)
    digests = np.array([f"{n:032d}".encode() for n in range(len(hashes))], "S32")
    found = registered_as(digests, hashes, digests, hashes, 2)
    assert (found == 0).all()


def test_test_sets_that_are_not_there_are_named(tmp_path):
    manifest = make_candidates(tmp_path, 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("no picture")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "x.png").symlink_to("nowhere.png")
    for place, words in (
        ("nowhere", "no such test set"),
        ("empty", "got none"),
        ("bad", "cannot be read"),
        ("dangling", r"x\.png: a link to nowhere\.png.* has to be read whole"),
    ):
        with pytest.raises(DatasetError, match=words):
            prepared(tmp_path / "run", [manifest], exclude=(str(tmp_path / place),))


def test_a_scene_gives_so_many_frames_spread_over_it(tmp_path):
    rows = []
    for number in range(12):
        save(tmp_path / f"r{number}.png", streaked(crop(number), number))
        save(tmp_path / f"c{number}.png", crop(number))
        cells = {"id": f"frame{number}", "rainy": f"r{number}.png", "clean": f"c{number}.png", "scene": "road"}
        rows.append(cells | {"source": "film" if number < 9 else "other"})
    shards, refused = prepared(tmp_path / "run", [write_table(tmp_path / "m.csv", rows)], per_scene=3)
    assert sorted(chain(*shards)) == ["frame1", "frame10", "frame11", "frame4", "frame7", "frame9"]
    assert set(refused.values()) == {"scene_has_enough"}


def test_ids_are_unique_over_all_manifests_and_none_is_no_set(tmp_path):
    one, two = make_candidates(tmp_path / "one", 3), make_candidates(tmp_path / "two", 3)
    with pytest.raises(DatasetError, match=r"id 'pair-0' is in .*one/manifest.csv already"):
        prepared(tmp_path, [one, two])
    with pytest.raises(DatasetError, match="got no row"):
        prepared(tmp_path, [write_table(tmp_path / "none.csv", [])])


@given(st.lists(st.integers(0, 3), max_size=30), st.data())
def test_first_of_equals_is_what_a_slow_search_finds(values, data):
    digests = np.array([bytes([value] * 32) for value in values], "S32")
    ranks = np.array(data.draw(st.permutations(range(len(values)))), np.int64)
    part = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), np.bool_)
    found = first_of_equals(digests, ranks, part)
    for row in range(len(values)):
        equals = [other for other in range(len(values)) if part[other] and values[other] == values[row]]
        first = min(equals, key=lambda other: ranks[other], default=row)
        assert found[row] == (first if part[row] and first != row else NONE)


@given(
    st.lists(st.integers(0, 2**12 - 1), max_size=12),
    st.lists(st.integers(0, 2**12 - 1), max_size=12),
    st.integers(0, 3),
)
def test_registered_pictures_are_found_like_by_comparing_all(mine, theirs, near_bits):
    def digests(values: list[int]) -> np.ndarray:
        return np.array([f"{value % 7:032d}".encode() for value in values], "S32")

    hashes, known = np.array(mine, np.uint64), np.array(theirs, np.uint64)
    found = registered_as(digests(mine), hashes, digests(theirs), known, near_bits)
    for row, value in enumerate(mine):
        alike = [n for n, other in enumerate(theirs) if value % 7 == other % 7 or hamming(value, other) <= near_bits]
        assert found[row] == (alike[0] if alike else NONE)


@settings(max_examples=60)
@given(st.lists(st.sampled_from([0, 1, 3, 2**20, 2**40 + 2**30, 2**64 - 1]), max_size=25), st.integers(1, 8))
def test_frames_are_as_many_as_allowed_and_different_ones_first(hashes, most):
    chosen = frames_to_judge(hashes, most, 2)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(most, len(hashes))
    last, different = None, []
    for number, value in enumerate(hashes):
        if last is None or hamming(value, last) > 2:
            different.append(number)
            last = value
    if len(hashes) > most:
        wanted = len(different) if len(different) <= most else most
        assert len(set(chosen) & set(different)) == wanted


def test_spreading_takes_the_middles_of_equal_parts():
    assert spread(9, 3) == [1, 4, 7]
    assert spread(2, 5) == [0, 1]
    assert spread(0, 3) == []
    assert spread(1000, 10) == list(range(50, 1000, 100))


def test_names_sort_as_people_count():
    names = ["f10", "f9", "a2b10", "a2b9", "f009x"]
    assert sorted(names, key=natural_key) == ["a2b9", "a2b10", "f9", "f009x", "f10"]
