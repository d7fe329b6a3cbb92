"""Answers that were paid for are filed as they arrive, whatever becomes of their neighbours and of the process."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from chat_server import Asked, Reply, completion, failure, serving
from pixel_models import crop

from derain.backends.endpoint import ChatEndpoint
from derain.backends.endpoint_settings import EndpointSettings
from derain.backends.interfaces import Identity
from derain.backends.prompted import PromptedCaptioner, PromptedExpander
from derain.backends.streaming import NotAskedError, StreamsAnswers, in_order
from derain.backends.view import View
from derain.distill.answers.breaker import FAILURES_IN_A_ROW, CircuitBreaker, Unanswered
from derain.distill.answers.cache import AnswerCache
from derain.distill.answers.cached import Answer, CachedCall, CachedCaptioner, CachedExpander, CachedJudge
from derain.distill.answers.codecs import TextCodec
from derain.distill.describe.prompts import CAPTION_PROMPT, EXPANSION_PROMPT
from derain.distill.judges.bias import BiasedJudge
from derain.distill.judges.endpoint import EndpointJudge
from derain.distill.judges.interface import Case
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
        for session in range(2):
            model = CachedExpander(PromptedExpander(ChatEndpoint(server.url, "m", SETTINGS), EXPANSION_PROMPT), cache)
            found = CircuitBreaker("expander").ask([*POISONED, *GOOD], model.ask)
            assert [isinstance(each, Unanswered) for each in found] == [True] * 3 + [False] * 5
            assert all(each.reason.startswith("no_answer: ") for each in found[:3])
            assert [each.value for each in found[3:]] == [f"more of {text}" for text in GOOD]
            assert [each.from_cache for each in found[3:]] == [session == 1] * 5
            assert sorted(answered) == GOOD
            assert cache.statistics().answers == {"expansion": 5}
        # One that was given up between two attempts, as another failed for good, is asked alone from the beginning.
        times = Counter(map(caption_of, server.asked))
        assert {times[text] for text in GOOD} == {1}
        assert all(2 * SETTINGS.attempts <= times[text] <= 2 * (2 * SETTINGS.attempts - 1) for text in POISONED)


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
        model = CachedExpander(PromptedExpander(ChatEndpoint(server.url, "m", SETTINGS), EXPANSION_PROMPT), cache)
        assert model.expand(["slow", "quick"]) == ["more of slow", "more of quick"]
    assert filed_early == [{"expansion": 1}]


def test_captions_and_verdicts_are_filed_beside_failures_too(cache: AnswerCache) -> None:
    views = [View(f"{number:064x}", crop(number)) for number in range(4)]
    dark = min(range(4), key=lambda number: views[number].pixels.mean())

    def behave(asked: Asked) -> Reply:
        is_dark = asked.pictures[-1].mean() < views[dark].pixels.mean() + 1
        return failure(503) if is_dark else completion("True")

    with serving(behave) as server:
        captioner = CachedCaptioner(PromptedCaptioner(ChatEndpoint(server.url, "m", SETTINGS), CAPTION_PROMPT), cache)
        judge = CachedJudge(BiasedJudge(EndpointJudge(server.url, "m", SETTINGS), 0.5), cache)
        for found in (captioner.ask(views), judge.ask([Case(view, None, "drs", ()) for view in views])):
            assert [isinstance(each, ModelError) for each in found] == [number == dark for number in range(4)]
        with pytest.raises(ModelError, match="503"):
            captioner.caption(views)
    assert cache.statistics().answers == {"caption": 3, "verdict": 3}


class Telling:
    """A model that answers from last to first, and then fails as a whole."""

    identity = Identity("telling", "1")
    batch_size = 8

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


def test_what_came_before_a_fault_of_the_whole_model_is_filed(cache: AnswerCache) -> None:
    model = Telling(ZeroDivisionError("odd"))
    assert isinstance(model, StreamsAnswers)
    with pytest.raises(ZeroDivisionError):
        CachedExpander(model, cache).ask(["a", "b"])
    answers = CachedExpander(Telling(), cache).ask(["a", "b", ""])
    assert [each.value for each in answers[:2]] == ["more of a", "more of b"]
    assert [each.from_cache for each in answers[:2]] == [True, True]
    assert str(answers[2]) == "nothing to expand"


def test_questions_that_were_not_put_are_asked_one_by_one() -> None:
    asked: list[list[int]] = []

    def model(questions: Sequence[int]) -> list[int | ModelError]:
        asked.append(list(questions))
        if len(questions) == 1:
            return [10 * questions[0]]
        return [10, ModelError("no"), NotAskedError("not put"), NotAskedError("not put")]

    assert CircuitBreaker("model").ask([1, 2, 3, 4], model) == [10, Unanswered("no_answer: model: no"), 30, 40]
    assert asked == [[1, 2, 3, 4], [3], [4]]


def test_a_model_that_gives_none_of_a_batch_an_answer_is_down() -> None:
    asked: list[int] = []

    def model(questions: Sequence[int]) -> list[int | ModelError]:
        asked.append(len(questions))
        return [ModelError("no")] * len(questions)

    asker = CircuitBreaker("model", lambda: 0.0)
    found = asker.ask(list(range(FAILURES_IN_A_ROW)), model) + asker.ask([8, 9], model)
    assert (
        found
        == [Unanswered("no_answer: model: no")] * FAILURES_IN_A_ROW + [Unanswered("not_asked: model is down: no")] * 2
    )
    assert asked == [FAILURES_IN_A_ROW]


def test_one_answer_that_cannot_be_one_costs_its_neighbours_nothing(cache: AnswerCache) -> None:
    asked: list[list[str]] = []

    def model(questions: Sequence[str]) -> list[str]:
        asked.append(list(questions))
        return ["" if question == "1" else f"picture {question}" for question in questions]

    calls = CachedCall(cache, "caption", Identity("m", "1"), TextCodec(), lambda question: [question], model)
    with pytest.raises(QuestionError, match="empty"):
        calls.values(["0", "1", "2", "3"])
    kept = calls.lookup([["0"], ["1"], ["2"], ["3"]])
    assert [answer and answer.value for answer in kept] == ["picture 0", None, "picture 2", "picture 3"]
    assert all(isinstance(answer, Answer) for place, answer in enumerate(kept) if place != 1)
    assert asked == [["0", "1", "2", "3"]]
