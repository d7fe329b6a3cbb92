"""A chat model on an OpenAI-compatible server (vLLM, SGLang, llama.cpp, hosted).

Questions go out concurrently and answers are given as they arrive. What may pass (429, 408, 5xx, connections that
break, bodies that end early or make no sense) is retried with back-off; what will not pass is a `ModelError`; what
concerns one question alone comes back as a `RequestRejected`. Requests go through the `openai` library; retries are
ours, for its own neither end with the program nor know of successes that hold an error or no completion.
"""

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

from derain.backends.chat import (
    Answer,
    Chat,
    MalformedResponse,
    RequestRejected,
    body_digest,
    chat_body,
    read_answer,
    read_error,
)
from derain.backends.endpoint_settings import EndpointSettings, completions_url
from derain.backends.interfaces import Identity, Parameters
from derain.backends.retries import Clock, RateLimiter, RetryableError, RetryPolicy, SystemClock, retry_after_s
from derain.backends.streaming import AnswerStream, NotAskedError, in_order
from derain.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import openai

LARGEST_BODY = 16 * 2**20
"""Bytes of a reply; a completion of some hundred tokens with 20 alternatives each has 1 MB."""

CONCERNS_ONE_REQUEST = re.compile(
    r"context.?length|context.?size|context window|maximum.{0,20}length|too (large|long|big|many tokens)"
    r"|exceeds? the .{0,20}(limit|size)|image_(too_large|parse_error)|(invalid|corrupt|unsupported).{0,12}image"
    r"|content.?(policy|filter|management)|safety",
    re.IGNORECASE,
)
"""What servers write in a 400 or 422 when this question alone is at fault."""

_ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), "; it is redirected, so give the address that it leads to"),
    401: "; set the key's environment variable (key_variable)",
    403: "; set the key's environment variable (key_variable)",
    404: "; see whether the address and the model's name are right",
}

FEWER_ALTERNATIVES = 5
"""Asked where a server allows no more; some hosted ones do not."""


@dataclass(frozen=True)
class Spent:
    """What an endpoint has cost so far."""

    requests: int = 0
    """Sent, with those that failed."""
    repeated: int = 0
    """Of these, sent again after a failure."""
    answers: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    """Time under way, summed over all requests."""
    waited_s: float = 0.0
    """Time slept after failures, summed over all requests."""

    def plus(self, other: "Spent") -> "Spent":
        return Spent(*(mine + theirs for mine, theirs in zip(_figures(self), _figures(other), strict=True)))


def _figures(spent: Spent) -> tuple[Any, ...]:
    return tuple(vars(spent).values())


class UnsupportedParameter(Exception):  # noqa: N818 - caught where it is raised
    """The server knows the question but not one of its parameters."""

    def __init__(self, parameter: Literal["logprobs", "max_tokens"]) -> None:
        self.parameter = parameter


class FailedRequest(Exception):  # noqa: N818 - caught where it is raised
    """A whole response whose status is no success."""

    def __init__(self, status: int, retry_after: str | None, body: bytes) -> None:
        self.status, self.retry_after, self.body = status, retry_after, body


class ChatEndpoint:
    """One model on one server. May be shared by threads. Holds no connection open between calls."""

    def __init__(self, url: str, model: str, settings: EndpointSettings, clock: Clock | None = None) -> None:
        """`clock` is where waits and their lengths come from.

        Raises:
            SettingsError: the address cannot be one.
            ModelError: the key's environment variable is not set.
            MissingExtraError: openai is not installed.
        """
        if find_spec("openai") is None:
            raise MissingExtraError("asking a model server", "distill")
        self._url = completions_url(url)
        self._model, self._settings = model, settings
        self._key = _key(settings.key_variable)
        self._clock = clock if clock is not None else SystemClock()
        self._retries = RetryPolicy(settings.attempts, settings.first_wait_s, settings.longest_wait_s, settings.seed)
        self._limiter = RateLimiter(settings.requests_per_minute, self._clock)
        self._lock = threading.Lock()
        self._alternatives = settings.alternatives  # less once the server has declined
        self._limit_name = "max_tokens"
        self._spent = Spent()

    @property
    def spent(self) -> Spent:
        """What was asked of the server until now."""
        with self._lock:
            return self._spent

    @property
    def batch_size(self) -> int:
        """So many questions keep it busy."""
        return self._settings.concurrency

    def identity(self, parameters: Parameters) -> Identity:
        """Who answers, with the caller's parameters and how pictures travel. The key is no part of it."""
        settings = self._settings
        travel: Parameters = {
            "picture_format": settings.picture_format,
            "longest_side": settings.longest_side,
            "alternatives": settings.alternatives,
            "seed": settings.seed,
        }
        return Identity(self._model, settings.revision or self._url, {**travel, **parameters})

    def ask(self, chats: Sequence[Chat]) -> list[Answer | RequestRejected]:
        """The answer to each question, in order; where one has none, those of the others are lost with it.

        Raises:
            ModelError: no answer can be had now; it names the server and its message.
        """
        return in_order(self.answers(chats))

    def answers(self, chats: Sequence[Chat]) -> AnswerStream[Answer | RequestRejected]:
        """The answer to each question as soon as it is there, with the question's place; or why it has none.

        If one question finds no answer, those under way are waited for and the rest are not put (`NotAskedError`).
        """
        stop = threading.Event()
        unexpected: BaseException | None = None
        threads = min(self._settings.concurrency, max(len(chats), 1))
        with self._connected() as client, ThreadPoolExecutor(threads) as pool:
            places = {pool.submit(self._ask_one, client, chat, stop): place for place, chat in enumerate(chats)}
            try:
                for future in as_completed(places):
                    error = future.exception()
                    if error is None:
                        yield places[future], future.result()
                    elif isinstance(error, ModelError):
                        yield places[future], error
                    else:
                        unexpected = error
            finally:
                stop.set()  # the caller may have gone
        if unexpected is not None:
            raise unexpected

    def _ask_one(self, client: "openai.OpenAI", chat: Chat, stop: threading.Event) -> Answer | RequestRejected:
        if stop.is_set():
            raise NotAskedError("not asked, for another question found no answer")
        try:
            return self._retried(client, chat, stop)
        except BaseException:
            stop.set()
            raise

    def _connected(self) -> "openai.OpenAI":
        """A client whose connections are open until its block ends; the key goes into a header and nowhere else."""
        import openai

        return openai.OpenAI(
            api_key=self._key.get_secret_value() if self._key else "none",
            base_url=self._url.removesuffix("/chat/completions"),
            timeout=openai.Timeout(self._settings.timeout_s, connect=self._settings.connect_timeout_s),
            max_retries=0,
            # A redirected question may arrive without its words, and its answer would be cached under this address.
            http_client=openai.DefaultHttpxClient(
                follow_redirects=False, event_hooks={"response": [self._raise_failure]}
            ),
        )

    def _raise_failure(self, response: Any) -> None:
        """Raise what is no success, read within the limits of a reply; the library itself would read any length."""
        if not response.is_success:
            deadline_s = self._clock.now() + self._settings.timeout_s
            body = self._whole(response.status_code, response.iter_bytes(), deadline_s)
            raise FailedRequest(response.status_code, response.headers.get("retry-after"), body)

    def _whole(self, status: int, chunks: Iterable[bytes], deadline_s: float) -> bytes:
        """A body, of at most `LARGEST_BODY` bytes and before the deadline."""
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > LARGEST_BODY or self._clock.now() > deadline_s:
                limits = f"{self._settings.timeout_s:g} s or 16 MiB"
                raise RetryableError(f"status {status}, but the body did not end within {limits}")
        return bytes(body)

    def _retried(self, client: "openai.OpenAI", chat: Chat, stop: threading.Event) -> Answer | RequestRejected:
        body = self._body(chat)
        digest = body_digest({"weigh_words": chat.logprobs, **body})
        failed = 0
        while True:
            self._limiter.wait(stop)
            if stop.is_set():  # also after waiting: the caller may have gone, and an answer costs
                raise NotAskedError("not asked, for another question found no answer, or nobody waits for it")
            asked = self._shaped(chat, body)
            began_s = self._clock.now()
            try:
                answer = self._request(client, asked)
            except UnsupportedParameter as declined:
                self._concede(declined.parameter, asked)
            except RetryableError as error:
                failed += 1
                wait_s = self._wait_s(error, failed, digest)
                if stop.is_set():
                    raise NotAskedError(f"{self._url}: given up after {error}") from error
                self._clock.sleep(wait_s, stop)
                self._count(Spent(waited_s=wait_s, repeated=1))
            else:
                if isinstance(answer, Answer):
                    used = Spent(answers=1, prompt_tokens=answer.prompt_tokens, reply_tokens=answer.reply_tokens)
                    self._count(used)
                return answer
            finally:
                self._count(Spent(requests=1, seconds=self._clock.now() - began_s))

    def _request(self, client: "openai.OpenAI", body: Mapping[str, Any]) -> Answer | RequestRejected:
        """Ask once.

        Raises:
            RetryableError: asking again may help.
            UnsupportedParameter: the server declines a parameter.
            ModelError: the server refuses in a way that no other question and no waiting will change.
        """
        import openai

        deadline_s = self._clock.now() + self._settings.timeout_s
        create = client.chat.completions.with_streaming_response.create
        withheld = ["OpenAI-Organization", "OpenAI-Project", *(["Authorization"] if self._key is None else [])]
        headers_left_out: dict[str, Any] = dict.fromkeys(withheld, openai.Omit())
        try:
            with create(**body, extra_headers=headers_left_out) as response:
                raw = self._whole(response.status_code, response.iter_bytes(), deadline_s)
                return self._read(response.status_code, response.headers.get("retry-after"), raw, body)
        except openai.APITimeoutError as error:
            raise RetryableError(f"no answer in time ({type(error).__name__})") from error
        except Exception as error:
            cause = error.__cause__ or error  # some versions of the library wrap what is raised while it connects
            if isinstance(cause, FailedRequest):
                return self._read(cause.status, cause.retry_after, cause.body, body)
            if isinstance(cause, RetryableError):
                raise cause from None
            if isinstance(error, openai.APIConnectionError) or type(error).__module__.startswith("httpx"):
                raise RetryableError(f"{type(cause).__name__}: {self._clean(str(cause))}") from error
            raise

    def _read(
        self, status: int, retry_after: str | None, raw: bytes, body: Mapping[str, Any]
    ) -> Answer | RequestRejected:
        """An answer out of a whole response; errors as `_request`."""
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            content = None
        fault = read_error(content)
        if 200 <= status < 300 and fault is None:
            try:
                return read_answer(content)
            except MalformedResponse as error:
                raise RetryableError(f"status {status}, but no completion ({error})") from error
        message, code, inner_status = fault if fault is not None else (raw[:300].decode(errors="replace"), "", None)
        if 200 <= status < 300:  # gateways wrap a failure behind them into a success of their own
            status = inner_status or 500
        return self._rejected(status, self._clean(message), code, retry_after, body)

    def _rejected(
        self, status: int, message: str, code: str, retry_after: str | None, body: Mapping[str, Any]
    ) -> RequestRejected:
        error = f"{code} {message}"
        if 400 <= status < 500 or status == 501:
            if "logprobs" in body and "logprobs" in error:
                raise UnsupportedParameter("logprobs")
            if "max_tokens" in body and "max_completion_tokens" in error:
                raise UnsupportedParameter("max_tokens")
        if status in (408, 429) or (status >= 500 and status != 501):
            raise RetryableError(f"status {status}: {message}", retry_after_s(retry_after, self._clock.wall()))
        if status == 413 or (status in (400, 422) and CONCERNS_ONE_REQUEST.search(error)):
            return RequestRejected(status, message)
        raise ModelError(f"{self._url}: the server refuses with status {status}: {message}{_ADVICE.get(status, '')}")

    def _clean(self, message: str) -> str:
        """A server's words on one line, short, without the key should it be quoted."""
        if self._key:
            message = message.replace(self._key.get_secret_value(), "(key)")
        return " ".join(message.split())[:300]

    def _wait_s(self, error: RetryableError, failed: int, digest: str) -> float:
        """How long to wait after the `failed`-th failure in a row; what the server asks for holds for all threads."""
        policy = self._retries
        if failed >= policy.attempts:
            raise ModelError(
                f"{self._url}: {self._model} gave no answer in {failed} attempts (last: {error}); "
                "see whether the server is up, or raise attempts and waits"
            )
        own_s = policy.backoff_s(failed - 1, digest)
        if error.wait_s is None:
            return own_s
        if error.wait_s > policy.longest_wait_s:
            raise ModelError(
                f"{self._url}: the server asks to wait {error.wait_s:g} s, longer than longest_wait_s = "
                f"{policy.longest_wait_s:g} ({error}); come back later"
            )
        self._limiter.pause(error.wait_s)
        return max(own_s, error.wait_s)

    def _body(self, chat: Chat) -> dict[str, Any]:
        settings = self._settings
        return chat_body(chat, self._model, settings.picture_format, settings.longest_side, settings.seed)

    def _shaped(self, chat: Chat, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request with what the server has not declined yet."""
        with self._lock:
            alternatives, limit_name = self._alternatives, self._limit_name
        shaped = {limit_name if name == "max_tokens" else name: value for name, value in body.items()}
        if chat.logprobs and alternatives:
            shaped |= {"logprobs": True, "top_logprobs": alternatives}
        return shaped

    def _concede(self, declined: str, asked: Mapping[str, Any]) -> None:
        """Ask for less from now on. Each concession is made once, so this ends."""
        with self._lock:
            if declined == "max_tokens":
                self._limit_name = "max_completion_tokens"
            else:
                fewer = FEWER_ALTERNATIVES if asked["top_logprobs"] > FEWER_ALTERNATIVES else 0
                self._alternatives = min(self._alternatives, fewer)

    def _count(self, more: Spent) -> None:
        with self._lock:
            self._spent = self._spent.plus(more)


def _key(variable: str | None) -> SecretStr | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelError(f"the API key's environment variable {variable} is not set; export it and try again")
    if not key.isascii() or not key.isprintable():  # no header can hold it, and errors about headers would show it
        raise ModelError(
            f"the API key in {variable} holds a line break or another character that no key has; export the key alone"
        )
    return SecretStr(key)
