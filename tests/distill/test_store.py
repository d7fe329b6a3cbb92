"""The knowledge base on disk: nothing doubled, nothing mixed, nothing read that is not a base."""

import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import lancedb
import numpy as np
import pytest
from knowledge_samples import TYPES, digest_of, filtered, identities, record, records, unit

from derain.backends.interfaces import Identity
from derain.distill.knowledge.record import ReviewStatus
from derain.distill.knowledge.references import RecordsInMemory, hexadecimal
from derain.distill.knowledge.retrieval import Query, Retriever
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.upkeep import perceptual_hashes
from derain.distill.pipeline.run import reference_counts
from derain.errors import DistillError, MissingExtraError
from derain.types import RainType


@pytest.fixture
def base(tmp_path):
    return KnowledgeBase.create(tmp_path / "base", identities())


def same(one, other):
    assert {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(one).items()} == {
        k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(other).items()
    }


def test_a_file_in_the_place_of_a_base_is_named(tmp_path):
    (tmp_path / "base").write_text("a list")
    with pytest.raises(DistillError, match="wanted a folder for the knowledge base"):
        KnowledgeBase.is_at(tmp_path / "base")


def test_a_record_comes_back_as_it_went_in(base):
    whole, small = record(1, "nrd"), filtered(2)
    assert base.add([whole, small]) == 2
    again = KnowledgeBase.open(base.uri)
    same(again.get(whole.digest), whole)
    same(again.get(small.digest), small)
    with pytest.raises(DistillError, match="no photograph has the digest"):
        base.get(digest_of(3))


def test_adding_twice_doubles_nothing_and_keeps_what_a_person_said(base):
    stored = records(10)
    assert base.add([*stored, *stored[:4]]) == 10
    base.set_statuses({stored[0].digest: (ReviewStatus.REJECTED, "a painting")})
    assert base.add([*stored, record(10)]) == 1
    assert base.count() == 11
    assert base.get(stored[0].digest).reason == "a painting"
    assert base.add([replace(stored[1], caption="new")], replace=True) == 0
    assert base.get(stored[1].digest).caption == "new"
    assert base.add([]) == 0


def test_counting_listing_and_removing(base):
    base.add([*records(12), replace(record(50), source="o'clock"), filtered(60)])
    base.set_statuses({digest_of(0): (ReviewStatus.ACCEPTED, "")})
    assert base.count() == 14
    assert base.count(type="drs") == 4
    assert base.count(type="drs", status=ReviewStatus.ACCEPTED) == 1
    assert base.count(source="o'clock") == 1
    assert base.tally()[ReviewStatus.FILTERED, "", "street"] == 1
    digests = sorted(digest_of(number) for number in (*range(12), 50, 60))
    pages = [base.list(offset=offset, limit=5) for offset in (0, 5, 10, 15)]
    assert [one.digest for page in pages for one in page] == digests
    assert [one.source for one in base.list(source="o'clock")] == ["o'clock"]
    assert [one.digest for one in base.list(status=ReviewStatus.FILTERED)] == [digest_of(60)]
    assert base.known([digest_of(3), digest_of(99)]) == {digest_of(3)}
    assert perceptual_hashes(base) == {digest_of(n): 2**63 + n for n in (*range(12), 50)}
    assert base.remove([digest_of(3), digest_of(99)]) == 1
    assert base.count() == 13
    assert base.known([digest_of(3)]) == set()


def test_photographs_are_removed_by_status_and_by_the_name_of_their_reason(base):
    blurred = [filtered(number, "blurred: sharpness 0.031, wanted 0.06 or more") for number in (60, 61)]
    base.add([*records(4), *blurred, filtered(62), filtered(63, "blurred_edges: 3"), filtered(64, "it's: odd")])
    base.set_statuses({digest_of(0): (ReviewStatus.REJECTED, "blurred")})
    assert base.remove_all(ReviewStatus.FILTERED, "blur") == 0
    assert base.remove_all(ReviewStatus.FILTERED, "it's") == 1
    assert base.remove_all(ReviewStatus.FILTERED, "blurred") == 2
    assert base.known(digest_of(number) for number in range(99)) == {digest_of(n) for n in (*range(4), 62, 63)}
    assert base.remove_all(ReviewStatus.FILTERED) == 2
    base.luminances([digest_of(1)])
    assert base.remove_all(ReviewStatus.UNREVIEWED) == 3
    with pytest.raises(DistillError, match="no luminance"):
        base.luminances([digest_of(1)])
    assert [one.digest for one in base.list()] == [digest_of(0)]


def test_standings_change_together_or_not_at_all(base):
    base.add([*records(3), filtered(9)])
    with pytest.raises(DistillError, match=f"no photograph has the digest {digest_of(7)}"):
        base.set_statuses({digest_of(0): (ReviewStatus.REJECTED, "x"), digest_of(7): (ReviewStatus.REJECTED, "x")})
    with pytest.raises(DistillError, match="never described"):
        base.set_statuses({digest_of(9): (ReviewStatus.ACCEPTED, "")})
    assert base.count(status=ReviewStatus.UNREVIEWED) == 3
    base.set_statuses({digest_of(0): (ReviewStatus.REJECTED, "x"), digest_of(1): (ReviewStatus.ACCEPTED, "")})
    assert Counter(one.status for one in base.list()) == Counter(list(ReviewStatus))


def test_vectors_are_those_of_the_references_by_type_and_digest(base):
    stored = [*records(20), *(record(number, "nrd") for number in (30, 31))]
    base.add([*stored, filtered(70)])
    base.set_statuses({digest_of(4): (ReviewStatus.REJECTED, "")})
    base.set_statuses({digest_of(5): (ReviewStatus.ACCEPTED, "")})
    found = base.vectors()
    left = sorted((one for one in stored if one.digest != digest_of(4)), key=lambda o: (TYPES.index(o.type), o.digest))
    assert [hexadecimal(digest) for digest in found.digests] == [one.digest for one in left]
    assert [found.paths[row] for row in range(len(found))] == [one.path for one in left]
    assert (found.text == np.stack([one.text for one in left])).all()
    assert (found.visual == np.stack([one.visual for one in left])).all()
    for rain_type, rows in found.slices.items():
        assert {one.type for one in left[rows]} == {rain_type.value}
    in_memory = RecordsInMemory(left).vectors()
    assert (in_memory.digests == found.digests).all()
    assert (in_memory.text == found.text).all()


def test_an_empty_base_has_no_vectors_and_gives_no_matches(base):
    one = record(1)
    assert base.vectors().text.shape == (0, 12)
    assert Retriever(base).retrieve([Query(one.digest, "drs", one.text, one.visual, one.luminance)]) == [[]]


def test_retrieval_from_disk_is_retrieval_from_memory(base):
    stored = records(30, ["drs", "nrs"])
    base.add(stored)
    asked = [Query(o.digest, o.type, o.text, o.visual, o.luminance) for o in records(4, ["drs", "nrs"], seed=3)]
    assert Retriever(base).retrieve(asked) == Retriever(stored[::-1]).retrieve(asked)


def test_digests_that_end_in_zeros_are_kept_whole(base):
    odd = [replace(record(n), digest=digest) for n, digest in enumerate(["ab" + "0" * 62, "0" * 64, "ab01" + "0" * 60])]
    base.add(odd)
    assert [hexadecimal(digest) for digest in base.vectors().digests] == sorted(one.digest for one in odd)
    asked = Query("0" * 64, "drs", odd[1].text, odd[1].visual, odd[1].luminance)
    (found,) = Retriever(base).retrieve([asked])
    assert {match.digest for match in found} == {odd[0].digest, odd[2].digest}


def test_luminances_come_in_the_order_asked_for(base):
    stored = records(8)
    base.add([*stored, filtered(9)])
    order = [5, 2, 5, 7]
    expected = np.stack([stored[n].luminance for n in order])
    for _ in range(2):  # read, then held
        assert (base.luminances([digest_of(n) for n in order]) == expected).all()
    assert base.luminances([]).shape == (0, 256, 256)
    base.add([replace(stored[5], luminance=stored[6].luminance)], replace=True)
    assert (base.luminances([digest_of(5)])[0] == stored[6].luminance).all()
    with pytest.raises(DistillError, match="no luminance"):
        base.luminances([digest_of(9)])


def test_other_models_are_refused_and_both_are_named(base):
    KnowledgeBase.open(base.uri, identities())
    with pytest.raises(DistillError, match=r"captioner of the base is captioner@1 .*wanted is blip@1"):
        KnowledgeBase.open(base.uri, identities("blip"))
    with pytest.raises(DistillError, match=r"captioner@1 .*wanted is captioner@2"):
        KnowledgeBase.open(base.uri, identities(revision="2"))
    with pytest.raises(DistillError, match=r"expander of the base is none, wanted is qwen@1"):
        KnowledgeBase.open(base.uri, replace(identities(), expander=Identity("qwen", "1")))
    with pytest.raises(DistillError, match="text_dimensions of the base 12, wanted 384"):
        KnowledgeBase.open(base.uri, replace(identities(), text_dimensions=384))
    assert KnowledgeBase.open(base.uri).identities.by_role["captioner"] == Identity("captioner", "1", {"beams": 3})


def test_what_is_no_base_is_refused_and_left_alone(tmp_path):
    with pytest.raises(DistillError, match="no knowledge base is there"):
        KnowledgeBase.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "photos").mkdir()
    assert not KnowledgeBase.is_at(tmp_path / "photos")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DistillError, match="cannot be opened as a place for a knowledge base"):
        KnowledgeBase.create(tmp_path / "file" / "base", identities())


def test_a_base_is_made_once_and_opened_after_that(base):
    with pytest.raises(DistillError, match="is there already"):
        KnowledgeBase.create(base.uri, identities())
    base.add(records(3))
    assert KnowledgeBase.open_or_create(base.uri, identities()).count() == 3


def test_a_base_that_was_killed_while_being_made_is_taken_up(base):
    lancedb.connect(base.uri).drop_table("photographs")
    again = KnowledgeBase.open(base.uri, identities())
    again.add(records(2))
    assert again.count() == 2


def test_a_newer_version_is_refused(base):
    about = lancedb.connect(base.uri).open_table("about")
    about.update(where="name = 'schema_version'", values={"value": "99"})
    with pytest.raises(DistillError, match=r"version 99.*reads up to 1; update derain"):
        KnowledgeBase.open(base.uri)


def test_the_words_on_disk_are_those_of_every_base_so_far(base):
    base.add([*records(3), filtered(9)])
    base.set_statuses({digest_of(0): (ReviewStatus.ACCEPTED, ""), digest_of(1): (ReviewStatus.REJECTED, "x")})
    stored = lancedb.connect(base.uri).open_table("photographs").to_arrow()
    words = dict(zip(stored["digest"].to_pylist(), stored["standing"].to_pylist(), strict=True))
    expected = {0: "accepted", 1: "rejected", 2: "candidate", 9: "refused"}
    assert words == {digest_of(number): word for number, word in expected.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": unit(np.ones(5))}, "text vector of 12 values"),
        ({"visual": np.zeros(8, np.float32)}, "visual vector of length 1, got 0"),
        ({"visual": np.full(8, np.nan, np.float32)}, "length 1, got nan"),
        ({"light": "night"}, "belongs to the day"),
        ({"type": "hail"}, "wanted a rain type .*'hail'"),
        ({"luminance": np.zeros((8, 8), np.uint8)}, r"luminance \(256, 256\)"),
        ({"digest": "abc"}, "64 hexadecimal digits"),
        ({"digest": "ab"}, "64 hexadecimal digits"),
    ],
)
def test_records_that_do_not_fit_are_refused_whole(base, change, message):
    with pytest.raises(DistillError, match=message):
        base.add([record(1), replace(record(2), **change)])
    assert base.count() == 0


def test_many_small_additions_are_joined(base):
    for number in range(70):
        base.add([record(number)])
    fragments = list((Path(base.uri) / "photographs.lance" / "data").iterdir())
    assert base.count() == 70
    stats = lancedb.connect(base.uri).open_table("photographs").stats()
    assert stats["fragment_stats"]["num_fragments"] < 32
    assert fragments


def test_others_see_what_was_added(base):
    other = KnowledgeBase.open(base.uri)
    base.add(records(4))
    assert other.count() == 4
    other.set_statuses({digest_of(0): (ReviewStatus.REJECTED, "")})
    assert base.get(digest_of(0)).status is ReviewStatus.REJECTED


ADDING = """
import sys
from knowledge_samples import identities, records
from derain.distill.knowledge.store import KnowledgeBase
base = KnowledgeBase.open_or_create(sys.argv[1], identities())
stored = records(240)
for first in range(0, 240, 3):
    base.add(stored[first : first + 3])
    print(first, flush=True)
"""


def test_killed_at_any_moment_it_has_whole_batches_and_none_twice(tmp_path):
    uri, draw = tmp_path / "base", np.random.default_rng(4)
    reached = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", ADDING, str(uri)], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
        )
        lines = [process.stdout.readline() for _ in range(int(draw.integers(2, 30)))]
        time.sleep(float(draw.uniform(0, 0.05)))
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines()
        base = KnowledgeBase.open(uri, identities())
        reached.append(base.count())
        assert base.count() % 3 == 0
        assert base.count() >= 3 * len([line for line in lines if line.strip()]) - 3
        assert len(base.vectors()) == base.count() == len(base.known(digest_of(n) for n in range(240)))
    base.add(records(240))
    assert base.count() == 240
    assert min(reached) > 0


def test_without_the_extra_the_message_says_what_to_install(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match=r"the knowledge base .*derain\[distill\]"):
        KnowledgeBase.open(base.uri)


def test_the_version_follows_the_references_and_nothing_else(base):
    stored = records(6)
    base.add([*stored, filtered(60)])
    before = base.version()
    assert KnowledgeBase.open(base.uri).version() == before
    base.add([filtered(61)])
    base.set_places({stored[0].digest: ("/elsewhere/0.png", "elsewhere")})
    base.set_statuses({stored[3].digest: (ReviewStatus.ACCEPTED, "")})
    base.compact()
    assert base.version() == before
    seen = {before}
    base.set_statuses({stored[0].digest: (ReviewStatus.REJECTED, "")})
    seen.add(base.version())
    base.set_types({stored[1].digest: RainType.NRD if stored[1].type != "nrd" else RainType.NRS})
    seen.add(base.version())
    base.add([record(70)])
    seen.add(base.version())
    base.remove([stored[2].digest])
    seen.add(base.version())
    base.add([replace(stored[4], description="dry, road", text=unit(np.ones_like(stored[4].text)))], replace=True)
    seen.add(base.version())
    assert len(seen) == 6


def test_the_version_follows_the_models(tmp_path):
    other = replace(identities(), visual_encoder=Identity("another encoder", "1"))
    bases = [KnowledgeBase.create(tmp_path / name, each) for name, each in (("a", identities()), ("b", other))]
    for base in bases:
        base.add(records(3))
    assert bases[0].version() != bases[1].version()


def test_a_run_knows_its_references_without_reading_their_vectors(base, monkeypatch):
    base.add([*records(6), filtered(60)])
    base.set_statuses({digest_of(0): (ReviewStatus.REJECTED, "")})
    read: list[str] = []
    cells = KnowledgeBase.cells
    monkeypatch.setattr(
        KnowledgeBase, "cells", lambda self, *names, **how: read.extend(names) or cells(self, *names, **how)
    )
    assert base.version()
    assert reference_counts(base) == Counter((each.type, each.source) for each in records(6)[1:])
    assert "digest" in read
    assert not {"text", "visual", "luminance", "thumbnail"} & set(read)


def test_the_short_form_and_the_thumbnail_are_those_of_the_record(base):
    stored = records(5)
    base.add(stored)
    by_digest = {entry.digest: entry for entry in base.entries()}
    assert set(by_digest) == {one.digest for one in stored}
    (entry,) = base.entries([stored[3].digest])
    assert entry == by_digest[stored[3].digest]
    assert entry.quality == pytest.approx(stored[3].quality)
    assert (entry.path, entry.type, entry.status) == (stored[3].path, stored[3].type, stored[3].status)
    assert base.thumbnail(stored[3].digest) == stored[3].thumbnail
    with pytest.raises(DistillError, match="no photograph has the digest"):
        base.thumbnail(digest_of(99))
