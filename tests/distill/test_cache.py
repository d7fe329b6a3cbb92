"""The cache of answers: what is asked, what is stored, and what becomes of it under many hands."""

import multiprocessing
import pickle
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from pixel_models import Log, PixelCaptioner, PixelJudge, ThumbnailEncoder, WordEncoder, crop

from derain.backends.interfaces import Identity
from derain.backends.view import View
from derain.distill.answers.cache import AnswerCache, Entry
from derain.distill.answers.cached import (
    CachedCaptioner,
    CachedJudge,
    CachedTextEncoder,
    CachedVisualEncoder,
    Question,
    answer_key,
)
from derain.distill.judges.bias import BiasedJudge
from derain.distill.judges.interface import Case, Decision, Verdict
from derain.errors import DistillError, ModelError, QuestionError


def view(number: int) -> View:
    return View(f"{number:064x}", crop(number))


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "cache")


def test_only_what_is_missing_is_asked_in_order_and_once(tmp_path, cache):
    log = Log(tmp_path)
    model = CachedCaptioner(PixelCaptioner(log), cache)
    first = model.ask([view(1), view(2), view(1)])
    assert [answer.from_cache for answer in first] == [False, False, True]
    assert first[0].value == first[2].value
    assert len(log.lines()) == 2
    again = model.ask([view(3), view(2), view(1), view(3)])
    assert [answer.from_cache for answer in again] == [False, True, True, True]
    assert [answer.value for answer in again[1:3]] == [first[1].value, first[0].value]
    assert again[3].value == again[0].value == PixelCaptioner(log).caption([view(3)])[0]
    assert len(log.lines()) == 4, "one more of the pictures, and the one that this test asked for by itself"
    assert model.lookup([view(2).digest, view(9).digest])[1] is None


def test_another_process_or_another_day_finds_the_answers(tmp_path, cache):
    log = Log(tmp_path)
    said = CachedCaptioner(PixelCaptioner(log), cache).caption([view(1)])
    cache.close()
    (answer,) = CachedCaptioner(PixelCaptioner(log), pickle.loads(pickle.dumps(cache))).ask([view(1)])
    assert (answer.value, answer.from_cache) == (said[0], True)


def test_vectors_come_back_bit_for_bit(tmp_path, cache):
    log = Log(tmp_path)
    views, texts = [view(number) for number in range(5)], ["rough rain", "", "grey"]
    visual, words = CachedVisualEncoder(ThumbnailEncoder(log), cache), CachedTextEncoder(WordEncoder(log), cache)
    for _ in range(2):
        assert np.array_equal(visual.encode_views(views), ThumbnailEncoder(log).encode_views(views))
        assert np.array_equal(words.encode_texts(texts), WordEncoder(log).encode_texts(texts))
    assert visual.encode_views([]).shape == (0, 48)


def test_the_key_has_everything_that_decides_the_answer():
    identity = Identity("m", "1", {"prompt": "say yes"})
    case = Question("a" * 64, "b" * 64, "drs", ("c" * 64, "d" * 64))
    others = [
        answer_key("caption", identity, case.content),
        answer_key("verdict", Identity("m", "2", {"prompt": "say yes"}), case.content),
        answer_key("verdict", Identity("m", "1", {"prompt": "say no"}), case.content),
        *(
            answer_key("verdict", identity, question.content)
            for question in (
                Question("a" * 64, "b" * 64, "drs", ("d" * 64, "c" * 64)),
                Question("a" * 64, "b" * 64, "drd", case.references),
                Question("a" * 64, None, "drs", case.references),
                Question("b" * 64, "a" * 64, "drs", case.references),
                Question("a" * 64, "b" * 64, "drs", case.references[:1]),
            )
        ),
    ]
    keys = {answer_key("verdict", identity, case.content), *others}
    assert len(keys) == len(others) + 1


def test_an_abstention_is_stored_and_an_outage_is_not(tmp_path, cache):
    log = Log(tmp_path)

    class Mumbler(PixelJudge):
        def judge(self, cases):
            super().judge(cases)
            return [Verdict(self.name, Decision.ABSTAIN, None, "unreadable_reply", "mumble") for _ in cases]

    judge = CachedJudge(Mumbler("bright", log), cache)
    case = Case(view(1), view(2), "drs", (view(3),))
    (tmp_path / "shut-bright").touch()
    with pytest.raises(ModelError, match="shut"):
        judge.judge([case])
    assert judge.lookup([Question.of(case)]) == [None]
    (tmp_path / "shut-bright").unlink()
    assert judge.judge([case])[0].reply == "mumble"
    assert judge.judge([case]) == judge.judge([case])
    assert len(log.lines()) == 1


def test_answers_that_cannot_be_are_refused_and_not_filed(tmp_path, cache):
    log = Log(tmp_path)

    class Silent(PixelCaptioner):
        def caption(self, views):
            return [" " for _ in views]

    class Short(PixelCaptioner):
        def caption(self, views):
            return [f"one for all {len(views)}"]

    class Broken(WordEncoder):
        def encode_texts(self, texts):
            return np.full((len(texts), 12), np.nan, np.float32)

    kinds = []
    for call in (
        lambda: CachedCaptioner(Silent(log), cache).caption([view(1)]),
        lambda: CachedCaptioner(Short(log), cache).caption([view(1), view(2)]),
        lambda: CachedTextEncoder(Broken(log), cache).encode_texts(["rain"]),
    ):
        with pytest.raises(ModelError, match="wanted") as caught:
            call()
        kinds.append(caught.type)
    assert kinds == [QuestionError, ModelError, QuestionError], "empty and endless answers are faults of the question"
    assert cache.statistics().answers == {}


def file_many(folder: Path, start: int) -> None:
    with AnswerCache(folder) as cache:
        for number in range(start, start + 60):
            key = number.to_bytes(32, "big")
            cache.put([Entry(key, "caption", "m", str(number).encode(), 0.0)])
            assert cache.get([key])[key].value == str(number).encode()


def test_many_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=file_many, args=(tmp_path / "cache", 40 * n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with AnswerCache(tmp_path / "cache") as cache:
        statistics = cache.statistics()
    assert statistics.answers == {"caption": 140}
    assert statistics.size_bytes > 140 * 32


def test_many_threads_share_one_cache(tmp_path, cache):
    log = Log(tmp_path)
    model = CachedTextEncoder(WordEncoder(log), cache)
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(
            target=lambda n=n: found.update({n: model.encode_texts([f"text {i}" for i in range(n, n + 9)])})
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, vectors in found.items():
        assert np.array_equal(vectors, model.encode_texts([f"text {i}" for i in range(n, n + 9)]))
    assert len(found) == 6


def test_a_damaged_file_is_named_with_what_to_delete(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "answers.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(DistillError, match=r"delete answers.sqlite, answers.sqlite-wal and answers.sqlite-shm"):
        AnswerCache(folder).get([b"k" * 32])


def test_a_damaged_answer_is_named_too(tmp_path, cache):
    model = CachedVisualEncoder(ThumbnailEncoder(Log(tmp_path)), cache)
    model.encode_views([view(1)])
    cache.close()
    connection = sqlite3.connect(cache.file)
    connection.execute("UPDATE answers SET value = x'0102'")
    connection.commit()
    connection.close()
    with pytest.raises(DistillError, match="damaged"):
        model.encode_views([view(1)])


def test_a_cache_of_another_form_or_without_a_place_is_refused(tmp_path, cache):
    cache.put([])
    cache.close()
    connection = sqlite3.connect(cache.file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DistillError, match="form 99"):
        cache.get([])
    (tmp_path / "file").touch()
    with pytest.raises(DistillError, match="no folder"):
        AnswerCache(tmp_path / "file").get([])


def test_what_is_filed_first_stays(cache):
    for value in (b"first", b"second"):
        cache.put([Entry(b"k" * 32, "caption", "m", value, 0.0)])
    assert cache.get([b"k" * 32])[b"k" * 32].value == b"first"


def test_a_full_disk_is_told_as_such(cache):
    cache.put([])
    connection = cache._open()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(DistillError, match="full"):
        cache.put([Entry(b"k" * 32, "caption", "m", b"x" * 10**6, 0.0)])
    connection.execute("PRAGMA max_page_count = 1000000")
    cache.put([Entry(b"k" * 32, "caption", "m", b"x", 0.0)])


def test_another_bias_asks_no_judge_again(tmp_path, cache):
    judge, case = PixelJudge("bright", Log(tmp_path)), Case(view(1), view(2), "drs", (view(3),))
    (plain,) = CachedJudge(judge, cache).judge([case])
    moved = CachedJudge(BiasedJudge(judge, plain.score + 1), cache)
    assert moved.lookup([Question.of(case)])[0].value.score == pytest.approx(-1)
    assert moved.judge([case])[0].decision == Decision.DROP
    assert len(judge.log.lines()) == 1
