"""A judge on a server: it sees candidate and references, and every kind of answer becomes a verdict or none."""

import math

import numpy as np
import pytest
import skimage.data
from chat_server import Asked, Reply, completion, failure, serving

from derain.backends.endpoint_settings import EndpointSettings
from derain.backends.view import Pixels8, View
from derain.distill.judges.endpoint import EndpointJudge
from derain.distill.judges.interface import Case, Decision, Verdict
from derain.distill.judges.mosaic import mosaic
from derain.distill.judges.prompt import judge_prompt
from derain.errors import ModelError


def view(pixels: Pixels8, name: str) -> View:
    return View(name, np.ascontiguousarray(pixels))


CAT = view(skimage.data.chelsea(), "cat")
COFFEE = view(skimage.data.coffee(), "coffee")
ROCKET = view(skimage.data.rocket(), "rocket")
CASE = Case(CAT, None, "nrd", (COFFEE, ROCKET))
SETTINGS = EndpointSettings(attempts=2, first_wait_s=0.0, picture_format="png", longest_side=700)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def verdict_on(reply: Reply) -> Verdict:
    with serving(lambda _: reply) as server:
        judge = EndpointJudge(server.url, "m", SETTINGS)
        (verdict,) = judge.judge([CASE])
    assert verdict.judge == "openai:m"
    return verdict


def test_references_come_first_and_the_candidate_last() -> None:
    with serving(lambda _: completion("True")) as server:
        judge = EndpointJudge(server.url, "m", SETTINGS)
        judge.judge([CASE])
        (asked,) = server.asked
    shown = (COFFEE, ROCKET, CAT)
    assert all(np.array_equal(*pair) for pair in zip(asked.pictures, [one.pixels for one in shown], strict=True))
    prompt = judge_prompt("nrd", 2, False)
    assert asked.texts == [prompt.system, prompt.question]
    assert (asked.body["logprobs"], asked.body["top_logprobs"], asked.body["max_tokens"]) == (True, 20, 8)


@pytest.mark.parametrize(("model", "as_mosaic"), [("m", True), ("mtgv/MobileVLM-3B", None)])
def test_a_mosaic_goes_as_one_picture(model: str, as_mosaic: bool | None) -> None:
    with serving(lambda _: completion("True")) as server:
        judge = EndpointJudge(server.url, model, SETTINGS, mosaic=as_mosaic)
        judge.judge([CASE])
        (picture,) = server.asked[0].pictures
    assert np.array_equal(picture, mosaic(CAT.pixels, [COFFEE.pixels, ROCKET.pixels], 700))
    assert server.asked[0].texts[1] == judge_prompt("nrd", 2, True).question


def test_log_probabilities_give_a_margin() -> None:
    weights = {"True": 0.6, " yes": 0.1, "False": 0.2, "Maybe": 0.05}
    verdict = verdict_on(completion("True", weights))
    assert verdict.decision is Decision.KEEP
    assert verdict.score == pytest.approx(math.log(0.7 / 0.2))
    assert verdict.reply == "True"


@pytest.mark.parametrize(
    ("reply", "decision", "reason"),
    [
        (completion("Yes."), Decision.KEEP, "looks_real"),
        (completion(" false"), Decision.DROP, "looks_unreal"),
        (completion("True or False"), Decision.ABSTAIN, "unreadable_reply"),
        (completion("I see a cat"), Decision.ABSTAIN, "unreadable_reply"),
        (completion(None), Decision.ABSTAIN, "unreadable_reply"),
        (failure(413, "picture too large"), Decision.ABSTAIN, "refused_by_server"),
        (failure(400, "too many tokens", "context_length_exceeded"), Decision.ABSTAIN, "refused_by_server"),
    ],
)
def test_replies_without_log_probabilities(reply: Reply, decision: Decision, reason: str) -> None:
    verdict = verdict_on(reply)
    assert (verdict.decision, verdict.score, verdict.reason) == (decision, None, reason)


@pytest.mark.parametrize(
    "reply", [failure(503), failure(401), failure(404), Reply(200, b"nonsense"), Reply(200, b"{}", cut_at=1)], ids=str
)
def test_a_server_without_an_answer_is_no_verdict(reply: Reply) -> None:
    with pytest.raises(ModelError):
        verdict_on(reply)


def test_a_troubled_server_gives_the_verdicts_of_a_sound_one() -> None:
    """Every second request fails, each time otherwise; verdicts follow the pictures, whoever is answered first."""
    troubles = (failure(500), failure(429, Retry_After="0"), Reply(200, b"{", {}), Reply(200, b"{}  ", cut_at=2))

    def brightness(asked: Asked) -> Reply:
        bright = asked.pictures[-1].mean() > 100
        return completion("True" if bright else "False", {"True": 0.8, "False": 0.1} if bright else {"False": 0.9})

    def troubled(asked: Asked) -> Reply:
        return brightness(asked) if asked.number % 2 else troubles[asked.number // 2 % len(troubles)]

    cases = [Case(one, None, "drs", (two,)) for one in (CAT, COFFEE, ROCKET) for two in (CAT, COFFEE, ROCKET)]
    found = []
    for behave in (brightness, troubled):
        with serving(behave) as server:
            settings = EndpointSettings(first_wait_s=0.0, attempts=30, concurrency=4, longest_side=64)
            judge = EndpointJudge(server.url, "m", settings)
            found.append(judge.judge(cases))
            assert judge.spent.answers == len(cases)
            assert (judge.spent.repeated > 0) == (behave is troubled)
    assert found[0] == found[1]
    assert {verdict.decision for verdict in found[0]} == {Decision.KEEP, Decision.DROP}


def test_the_identity_tells_everything_that_changes_verdicts() -> None:
    def digest(model: str = "m", **changes: float | bool) -> str:
        judge = EndpointJudge("http://localhost:1", model, SETTINGS, **changes)  # type: ignore[arg-type]
        return judge.identity.digest

    assert digest() == digest()
    assert len({digest(), digest("n"), digest(mosaic=True), digest(max_tokens=9)}) == 4
