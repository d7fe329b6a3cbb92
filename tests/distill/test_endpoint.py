"""Asking a model server: what is sent, what is tried again and when, what is given up, and what it cost."""

import threading
import time
from datetime import timedelta
from email.utils import format_datetime

import numpy as np
import pytest
import skimage.data
from chat_server import Asked, Behaviour, Reply, completion, failure, serving
from fast_clock import TODAY, FastClock

from derain.backends.chat import Answer, Chat, RequestRejected
from derain.backends.endpoint import ChatEndpoint
from derain.backends.endpoint_settings import EndpointSettings
from derain.backends.streaming import NotAskedError
from derain.errors import ModelError

CHAT = Chat(("how are you",))


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def ask(behave: Behaviour, clock: FastClock, chats: tuple[Chat, ...] = (CHAT,), **options: object) -> list[object]:
    """Answers, or the error, and then everything the server was asked."""
    with serving(behave) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings.model_validate(options), clock)
        return [*endpoint.ask(chats), server.asked]


def text_of(answer: object) -> str:
    assert isinstance(answer, Answer)
    return answer.text


def first(*replies: Reply) -> Behaviour:
    """These replies one after the other, then proper answers."""
    return lambda asked: replies[asked.number] if asked.number < len(replies) else completion("fine")


def test_pictures_and_words_arrive_in_order(clock: FastClock) -> None:
    cat, coffee = skimage.data.chelsea(), skimage.data.coffee()
    chat = Chat(("one", cat, "two", coffee), system="be brief", max_tokens=7)
    answer, (asked,) = ask(first(), clock, (chat,), picture_format="png", longest_side=1024, seed=5)
    assert text_of(answer) == "fine"
    assert asked.path == "/v1/chat/completions"
    assert asked.texts == ["be brief", "one", "two"]
    assert [part["type"] for part in asked.body["messages"][1]["content"]] == ["text", "image_url", "text", "image_url"]
    assert all(np.array_equal(*pair) for pair in zip(asked.pictures, (cat, coffee), strict=True))
    assert {name: asked.body[name] for name in ("model", "max_tokens", "temperature", "seed", "stream")} == {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0,
        "seed": 5,
        "stream": False,
    }
    assert "logprobs" not in asked.body
    assert "authorization" not in asked.headers


def test_large_pictures_are_reduced_and_jpeg_stays_close(clock: FastClock) -> None:
    cat = skimage.data.chelsea()[:300, :450]
    _, (asked,) = ask(first(), clock, (Chat((cat, "?")),), longest_side=150)
    (sent,) = asked.pictures
    averaged = cat.reshape(100, 3, 150, 3, 3).mean((1, 3))
    assert sent.shape == (100, 150, 3)
    assert np.abs(sent - averaged).mean() < 2.0
    assert asked.body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    "trouble",
    [
        failure(429),
        failure(408),
        failure(500),
        failure(503),
        failure(529),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(200, b"certainly not JSON"),
        Reply(200, b"[1, 2]"),
        Reply(200, b'{"choices": []}'),
        Reply(200, b'{"choices": [{"message": {"content": 5}}]}'),
        Reply(200, b'{"error": {"message": "upstream is down", "code": 502}}'),
        Reply(200, b"\xff\xfe\x00"),
        Reply(200, b"[" * 100_000),
        Reply(200, completion("fine").body, cut_at=40),
        Reply(200, completion("fine").body, {"Content-Encoding": "gzip"}),
    ],
    ids=str,
)
def test_what_may_pass_is_asked_again(trouble: Reply, clock: FastClock) -> None:
    answer, asked = ask(first(trouble, trouble), clock)
    assert text_of(answer) == "fine"
    assert len(asked) == 3
    assert len(clock.slept_s) == 2
    assert 0.5 <= clock.slept_s[0] <= 1.0 <= clock.slept_s[1] <= 2.0


def test_attempts_end(clock: FastClock) -> None:
    with pytest.raises(ModelError, match=r"no answer in 4 attempts \(last: status 503: overloaded\)"):
        ask(lambda _: failure(503, "overloaded"), clock, attempts=4)
    assert len(clock.slept_s) == 3


def test_a_closed_port_is_named(clock: FastClock) -> None:
    with serving(first()) as server:
        url = server.url
    endpoint = ChatEndpoint(url, "m", EndpointSettings(attempts=2), clock)
    with pytest.raises(ModelError, match=r"2 attempts \(last: ConnectError"):
        endpoint.ask([CHAT])


@pytest.mark.parametrize(
    "header", ["7", " 7.0 ", format_datetime(TODAY + timedelta(seconds=7), usegmt=True)], ids=["whole", "point", "date"]
)
def test_the_server_says_how_long_to_wait(header: str, clock: FastClock) -> None:
    answer, _ = ask(first(failure(429, Retry_After=header)), clock)
    assert text_of(answer) == "fine"
    assert sum(clock.slept_s) == pytest.approx(7.0)


def test_a_server_that_wants_too_much_time_is_given_up(clock: FastClock) -> None:
    with pytest.raises(ModelError, match=r"asks to wait 3600 s, longer than longest_wait_s = 60 .*quota"):
        ask(first(failure(429, "quota", Retry_After="3600")), clock)
    assert clock.slept_s == []


def test_a_slow_reply_runs_out_of_time() -> None:
    with serving(first(Reply(delay_s=0.5))) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(timeout_s=0.1, first_wait_s=0.0))
        assert text_of(endpoint.ask([CHAT])[0]) == "fine"
        assert endpoint.spent.repeated == 1


def test_a_reply_that_drips_runs_out_of_time() -> None:
    drip = Reply(200, completion("fine").body, drip_s=0.05)
    with serving(lambda _: drip) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(timeout_s=0.2, attempts=1))
        with pytest.raises(ModelError, match="did not end within"):
            endpoint.ask([CHAT])


def test_a_failure_that_drips_runs_out_of_time_too() -> None:
    with serving(lambda _: Reply(500, b" " * 200, drip_s=0.05)) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(timeout_s=0.2, attempts=1))
        with pytest.raises(ModelError, match="status 500, but the body did not end within"):
            endpoint.ask([CHAT])


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirection_is_not_followed(status: int, clock: FastClock) -> None:
    with (
        serving(lambda _: completion("of another server")) as other,
        serving(lambda _: failure(status, Location=f"{other.url}/v1/chat/completions")) as server,
    ):
        with pytest.raises(ModelError, match=rf"status {status}.*give the address that it leads to"):
            ChatEndpoint(server.url, "m", EndpointSettings(), clock).ask([CHAT])
        assert other.asked == []


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 422, 501])
def test_what_will_not_pass_is_not_asked_again(status: int, clock: FastClock) -> None:
    seen: list[Asked] = []

    def behave(asked: Asked) -> Reply:
        seen.append(asked)
        return failure(status, "I never will")

    with pytest.raises(ModelError, match=rf"status {status}: I never will"):
        ask(behave, clock)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "reply",
    [
        failure(413, "Request Entity Too Large"),
        Reply(413, b"<html>too large</html>"),
        failure(400, "This model's maximum context length is 4096 tokens", "context_length_exceeded"),
        failure(400, "the request exceeds the available context size, try increasing it"),
        failure(422, "Your input image may contain content that is not allowed", "content_policy_violation"),
        failure(400, "image is 30 MB", "image_too_large"),
    ],
    ids=lambda reply: reply.body.decode()[:40],
)
def test_a_question_that_alone_is_at_fault_is_refused_alone(reply: Reply, clock: FastClock) -> None:
    def behave(asked: Asked) -> Reply:
        return reply if asked.texts == ["large"] else completion("fine")

    one, other, third, _ = ask(behave, clock, (CHAT, Chat(("large",)), CHAT))
    assert text_of(one) == text_of(third) == "fine"
    assert isinstance(other, RequestRejected)
    assert other.status == reply.status


def test_the_key_goes_into_the_header_and_nowhere_else(clock: FastClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(asked: Asked) -> Reply:
        if asked.headers.get("authorization") == "Bearer sk-right":
            return completion("fine")
        return failure(401, f"Incorrect API key provided: {asked.headers.get('authorization')}")

    monkeypatch.setenv("THE_KEY", "sk-right")
    answer, _ = ask(behave, clock, key_variable="THE_KEY")
    assert text_of(answer) == "fine"

    monkeypatch.setenv("THE_KEY", "sk-wrong")
    with pytest.raises(ModelError, match=r"status 401: .*\(key\).*key_variable") as caught:
        ask(behave, clock, key_variable="THE_KEY")
    assert "sk-wrong" not in str(caught.value)
    endpoint = ChatEndpoint("http://localhost", "m", EndpointSettings(key_variable="THE_KEY"), clock)
    assert "sk-wrong" not in repr(endpoint.identity({})) + repr(vars(endpoint))

    monkeypatch.setenv("THE_KEY", "sk-one\nsk-other")  # no header can hold it, and the error about that would show it
    with pytest.raises(ModelError, match="THE_KEY holds a line break") as caught:
        ChatEndpoint("http://localhost", "m", EndpointSettings(key_variable="THE_KEY"), clock)
    assert "sk-o" not in str(caught.value)

    monkeypatch.delenv("THE_KEY")
    with pytest.raises(ModelError, match="THE_KEY is not set"):
        ChatEndpoint("http://localhost", "m", EndpointSettings(key_variable="THE_KEY"), clock)


def test_answers_come_in_order_and_no_more_at_once_than_allowed() -> None:
    def behave(asked: Asked) -> Reply:
        text = asked.texts[0]
        return Reply(200, completion(text).body, delay_s=0.02 * (int(text) % 3))

    chats = tuple(Chat((str(number),)) for number in range(12))
    with serving(behave) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(concurrency=3))
        assert [text_of(answer) for answer in endpoint.ask(chats)] == [str(number) for number in range(12)]
        assert server.most_at_once <= 3
        assert endpoint.ask([]) == []


def test_questions_do_go_out_together() -> None:
    both_here = threading.Barrier(2, timeout=10)

    def behave(_: Asked) -> Reply:
        both_here.wait()
        return completion("fine")

    with serving(behave) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(concurrency=2))
        endpoint.ask([CHAT, CHAT])


def test_requests_leave_evenly_spaced(clock: FastClock) -> None:
    ask(first(), clock, (CHAT,) * 5, requests_per_minute=30, concurrency=1)
    assert clock.time_s == pytest.approx(4 * 2.0)


def test_one_failure_stops_the_rest_and_what_was_answered_is_given(clock: FastClock) -> None:
    chats = tuple(Chat((str(number),)) for number in range(6))

    def behave(asked: Asked) -> Reply:
        return failure(404, "model unloaded") if asked.texts == ["2"] else completion(asked.texts[0])

    with serving(behave) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(concurrency=1), clock)
        given = dict(endpoint.answers(chats))
        assert [asked.texts[0] for asked in server.asked] == ["0", "1", "2"]
        with pytest.raises(ModelError, match="model unloaded"):
            endpoint.ask(chats)
    assert [text_of(given[place]) for place in (0, 1)] == ["0", "1"]
    assert isinstance(given[2], ModelError)
    assert "model unloaded" in str(given[2])
    assert [type(given[place]) for place in (3, 4, 5)] == [NotAskedError] * 3


def test_answers_are_given_before_their_neighbours_are_there() -> None:
    first_is_given = threading.Event()

    def behave(asked: Asked) -> Reply:
        assert asked.texts != ["slow"] or first_is_given.wait(10)
        return completion("fine")

    with serving(behave) as server:
        answers = ChatEndpoint(server.url, "m", EndpointSettings()).answers([Chat(("slow",)), CHAT])
        assert next(answers)[0] == 1
        first_is_given.set()
        assert [place for place, _ in answers] == [0]


def test_whoever_has_enough_leaves_all_unasked_but_those_under_way(clock: FastClock) -> None:
    seen: list[Asked] = []

    def slow_from_the_second_on(asked: Asked) -> Reply:
        seen.append(asked)
        if len(seen) > 1:
            time.sleep(0.5)
        return completion("True")

    with serving(slow_from_the_second_on) as server:
        answers = ChatEndpoint(server.url, "m", EndpointSettings(concurrency=2), clock).answers([CHAT] * 100)
        next(answers)
        answers.close()
        assert len(server.asked) <= 3


def test_whoever_goes_away_does_not_wait_for_the_waits_of_others() -> None:
    seen = threading.Event()

    def busy_after_the_first(asked: Asked) -> Reply:  # noqa: ARG001 - the same for all
        if seen.is_set():
            return failure(503, "busy")
        seen.set()
        return completion("True")

    settings = EndpointSettings(concurrency=4, first_wait_s=60.0, requests_per_minute=600.0)
    with serving(busy_after_the_first) as server:
        answers = ChatEndpoint(server.url, "m", settings).answers([CHAT] * 4)
        next(answers)
        began = time.monotonic()
        answers.close()  # as Ctrl-C does
        assert time.monotonic() - began < 10


def weighing() -> Chat:
    return Chat(("true?",), logprobs=True)


@pytest.mark.parametrize("allowed", [20, 5, 0])
def test_log_probabilities_are_asked_for_as_far_as_the_server_goes(allowed: int, clock: FastClock) -> None:
    def behave(asked: Asked) -> Reply:
        if asked.body.get("top_logprobs", 0) > allowed:
            return failure(400, f"top_logprobs must be at most {allowed}")
        return completion("True", {"True": 0.7, "False": 0.2} if "logprobs" in asked.body else None)

    answer, again, asked = ask(behave, clock, (weighing(), weighing()), concurrency=1)
    assert isinstance(answer, Answer)
    assert answer == again
    assert (answer.tokens != ()) == (allowed > 0)
    wanted = [level for level in (20, 5, 0) if level >= allowed]
    assert [one.body.get("top_logprobs", 0) for one in asked] == [*wanted, wanted[-1]]  # learnt once
    assert clock.slept_s == []


def test_hosts_that_renamed_the_token_limit_are_served(clock: FastClock) -> None:
    def behave(asked: Asked) -> Reply:
        if "max_tokens" in asked.body:
            return failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return completion("fine")

    answer, asked = ask(behave, clock)
    assert text_of(answer) == "fine"
    assert asked[1].body["max_completion_tokens"] == CHAT.max_tokens


def test_the_meter_counts(clock: FastClock) -> None:
    with serving(first(failure(503), failure(503))) as server:
        endpoint = ChatEndpoint(server.url, "m", EndpointSettings(concurrency=1), clock)
        endpoint.ask([CHAT, CHAT, CHAT])
        spent = endpoint.spent
    assert (spent.requests, spent.repeated, spent.answers) == (5, 2, 3)
    assert (spent.prompt_tokens, spent.reply_tokens) == (300, 6)
    assert spent.waited_s == pytest.approx(sum(clock.slept_s))


def test_the_identity_is_the_model_and_what_changes_its_answers(clock: FastClock) -> None:
    def identity(url: str = "http://a", **options: object) -> str:
        endpoint = ChatEndpoint(url, "m", EndpointSettings.model_validate(options), clock)
        return endpoint.identity({"prompt": 1}).digest

    same = {identity(), identity(concurrency=2, attempts=9, timeout_s=3.0, requests_per_minute=5.0)}
    assert len(same) == 1
    assert len({*same, identity("http://b"), identity(longest_side=512), identity(picture_format="png")}) == 4
    assert identity("http://a", revision="r") == identity("http://b", revision="r")
