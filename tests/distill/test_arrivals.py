"""Answers that were paid for are filed as they arrive, whatever becomes of their neighbours and of the process."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from chat_server import Asked, Reply, completion, failure, serving
from pixel_models import crop

from derain.distill.arrivals import Arriving, NotAskedError, in_order
from derain.distill.describe.endpoint import EndpointCaptioner, EndpointExpander
from derain.distill.doors import Case, Identity
from derain.distill.endpoint import ChatEndpoint, EndpointSettings
from derain.distill.judges.bias import BiasedJudge
from derain.distill.judges.endpoint import EndpointJudge
from derain.distill.pipeline.asking import FAILURES_IN_A_ROW, PatientAsker, Unanswered
from derain.distill.pipeline.cache import AnswerCache
from derain.distill.pipeline.cached import CachedCaptioner, CachedExpander, CachedJudge
from derain.distill.pipeline.memory import Answer, Memory, TextCodec
from derain.distill.view import View
from derain.errors import ModelError, QuestionError

SETTINGS = EndpointSettings(attempts=2, first_wait_s=0.0, longest_side=32)
POISONED = ["poison 0", "poison 1", "poison 2"]
GOOD = [f"good {number}" for number in range(5)]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "cache")


def caption_of(asked: Asked) -> str:
    return asked.texts[0].rpartition("Caption: ")[2]


def after_all_good_ones(answered: list[str]) -> Callable[[Asked], Reply]:
    """A server that fails on the poisoned ones, when it has answered the others."""
    all_there = threading.Event()

    def behave(asked: Asked) -> Reply:
        if "poison" in caption_of(asked):
            assert all_there.wait(10)
            return failure(500)
        answered.append(caption_of(asked))
        if len(answered) >= len(GOOD):
            all_there.set()
        return completion(f"more of {caption_of(asked)}")

    return behave


def test_neighbours_of_failures_are_answered_filed_and_not_paid_for_again(cache: AnswerCache) -> None:
    answered: list[str] = []
    with serving(after_all_good_ones(answered)) as server:
        for sitting in range(2):
            door = CachedExpander(EndpointExpander(ChatEndpoint(server.url, "m", SETTINGS)), cache)
            found = PatientAsker("expander").ask([*POISONED, *GOOD], door.ask)
            assert [isinstance(each, Unanswered) for each in found] == [True] * 3 + [False] * 5
            assert all(each.reason.startswith("no_answer: ") for each in found[:3])
            assert [each.value for each in found[3:]] == [f"more of {text}" for text in GOOD]
            assert [each.recalled for each in found[3:]] == [sitting == 1] * 5
            assert sorted(answered) == GOOD
            assert cache.statistics().answers == {"expansion": 5}
        assert len(server.asked) == 5 + 2 * 3 * SETTINGS.attempts, "nobody is asked again whose patience was over"


def test_an_answer_is_filed_while_its_neighbour_is_waited_for(cache: AnswerCache) -> None:
    """What a process that is killed now would leave behind."""
    filed_early: list[dict[str, int]] = []
    quick_is_filed = threading.Event()

    def behave(asked: Asked) -> Reply:
        if caption_of(asked) == "slow":
            for _ in range(1000):
                if cache.statistics().answers or quick_is_filed.wait(0.01):
                    break
            filed_early.append(dict(cache.statistics().answers))
        return completion(f"more of {caption_of(asked)}")

    with serving(behave) as server:
        door = CachedExpander(EndpointExpander(ChatEndpoint(server.url, "m", SETTINGS)), cache)
        assert door.expand(["slow", "quick"]) == ["more of slow", "more of quick"]
    assert filed_early == [{"expansion": 1}]


def test_captions_and_verdicts_are_filed_beside_failures_too(cache: AnswerCache) -> None:
    views = [View(f"{number:064x}", crop(number)) for number in range(4)]
    dark = min(range(4), key=lambda number: views[number].pixels.mean())

    def behave(asked: Asked) -> Reply:
        is_dark = asked.pictures[-1].mean() < views[dark].pixels.mean() + 1
        return failure(503) if is_dark else completion("True")

    with serving(behave) as server:
        captioner = CachedCaptioner(EndpointCaptioner(ChatEndpoint(server.url, "m", SETTINGS)), cache)
        judge = CachedJudge(BiasedJudge(EndpointJudge(server.url, "m", SETTINGS), 0.5), cache)
        for found in (captioner.ask(views), judge.ask([Case(view, None, "drs", ()) for view in views])):
            assert [isinstance(each, ModelError) for each in found] == [number == dark for number in range(4)]
        with pytest.raises(ModelError, match="503"):
            captioner.caption(views)
    assert cache.statistics().answers == {"caption": 3, "verdict": 3}


class Telling:
    """A door that answers from last to first, and then fails as a whole."""

    identity = Identity("telling", "1")
    rows_at_once = 8

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.asked: list[list[str]] = []

    def expand(self, captions: Sequence[str]) -> list[str]:
        return in_order(self.answers(captions))

    def answers(self, questions: Sequence[str]):
        self.asked.append(list(questions))
        for place in reversed(range(len(questions))):
            yield place, f"more of {questions[place]}" if questions[place] else QuestionError("nothing to expand")
        if self.fault is not None:
            raise self.fault


def test_what_came_before_a_fault_of_the_whole_door_is_filed(cache: AnswerCache) -> None:
    door = Telling(ZeroDivisionError("odd"))
    assert isinstance(door, Arriving)
    with pytest.raises(ZeroDivisionError):
        CachedExpander(door, cache).ask(["a", "b"])
    answers = CachedExpander(Telling(), cache).ask(["a", "b", ""])
    assert [each.value for each in answers[:2]] == ["more of a", "more of b"]
    assert [each.recalled for each in answers[:2]] == [True, True]
    assert str(answers[2]) == "nothing to expand"


def test_questions_that_were_not_put_are_asked_one_by_one() -> None:
    asked: list[list[int]] = []

    def door(questions: Sequence[int]) -> list[int | ModelError]:
        asked.append(list(questions))
        if len(questions) == 1:
            return [10 * questions[0]]
        return [10, ModelError("no"), NotAskedError("not put"), NotAskedError("not put")]

    assert PatientAsker("door").ask([1, 2, 3, 4], door) == [10, Unanswered("no_answer: door: no"), 30, 40]
    assert asked == [[1, 2, 3, 4], [3], [4]]


def test_a_door_that_gives_none_of_a_batch_an_answer_is_down() -> None:
    asked: list[int] = []

    def door(questions: Sequence[int]) -> list[int | ModelError]:
        asked.append(len(questions))
        return [ModelError("no")] * len(questions)

    asker = PatientAsker("door", lambda: 0.0)
    found = asker.ask(list(range(FAILURES_IN_A_ROW)), door) + asker.ask([8, 9], door)
    assert (
        found
        == [Unanswered("no_answer: door: no")] * FAILURES_IN_A_ROW + [Unanswered("not_asked: door is down: no")] * 2
    )
    assert asked == [FAILURES_IN_A_ROW]


def test_one_answer_that_cannot_be_one_costs_its_neighbours_nothing(cache: AnswerCache) -> None:
    memory = Memory(cache, "caption", Identity("m", "1"), TextCodec())
    asked: list[list[int]] = []

    def door(missing: list[int]) -> list[str]:
        asked.append(missing)
        return ["" if place == 1 else f"picture {place}" for place in missing]

    contents = [[str(number)] for number in range(4)]
    with pytest.raises(QuestionError, match="empty"):
        memory.ask(contents, door)
    kept = memory.recall(contents)
    assert [answer and answer.value for answer in kept] == ["picture 0", None, "picture 2", "picture 3"]
    assert all(isinstance(answer, Answer) for place, answer in enumerate(kept) if place != 1)
    assert asked == [[0, 1, 2, 3]]
