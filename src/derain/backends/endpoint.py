"""A model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, hosted), asked with patience.

Questions go out concurrently and answers are told as they arrive. What may pass (429, 408, 5xx, connections that break,
bodies that end early or make no sense) is tried again, later and later; what will not pass is a `ModelError`; what
concerns one question alone comes back as a `RequestRejected`.
"""

import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field

from derain.backends.chat import Answer, Chat, PictureFormat, RequestRejected, body_digest, chat_body
from derain.backends.exchange import Connections, Exchange, RetryableError, Unsupported
from derain.backends.interfaces import Identity
from derain.backends.retries import Clock, Pace, SystemClock, back_off_s
from derain.backends.streaming import AnswerStream, NotAskedError, in_order
from derain.errors import ModelError, SettingsError
from derain.settings import Settings

FEWER_ALTERNATIVES = 5
"""Asked where a server allows no more; some hosted ones do not."""


class EndpointSettings(Settings):
    """How a model server is asked."""

    key_variable: str | None = None
    """Name of the environment variable that holds the API key; None for servers that want none."""
    revision: str | None = None
    """What the server serves, in your words (a commit, a file's digest). With it, answers stay valid when the server
    moves; without it, the address stands for it."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at once. A run puts `batch_rows` questions together at most, so this is not to be more."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that leave in a minute at most, evenly spaced; None for no limit."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for a whole reply."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    """Seconds to be let in."""
    attempts: int = Field(default=6, ge=1)
    """How often one question is put before patience is over."""
    first_wait_s: float = Field(default=1.0, ge=0)
    """Wait after the first failure; it doubles with each further one."""
    longest_wait_s: float = Field(default=60.0, ge=0)
    """No wait is longer; a server that asks for more is given up at once."""
    seed: int = 0
    """Of the spread of waits, and handed to the server."""
    picture_format: PictureFormat = "jpeg"
    """How pictures travel."""
    longest_side: int = Field(default=1024, ge=32)
    """Pictures are reduced to so many pixels before they travel."""
    alternatives: int = Field(default=20, ge=1, le=20)
    """Tokens whose log-probabilities are asked for at each place of a reply. A server that allows fewer is asked for 5,
    then for none: the margin of a word that is not listed is then bounded by fewer. Answers are filed under what is
    asked for here, so set it to what the server allows if that may change."""


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


def without_secrets(text: str) -> str:
    """A name of a model that holds an address, without the name, key or query that the address may carry."""
    return re.sub(r"\?[^#]*", "?...", re.sub(r"//.*@", "//...@", text))


def completions_url(url: str) -> str:
    """The address of chat completions below a server's address, with or without its `/v1`.

    Raises:
        SettingsError: no http address, or one that carries a name, a key or a query, which would be filed with answers.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname is not None and (parts.port or 1) > 0
    except ValueError:  # brackets that do not close, a port that is no number
        known = False
    if not known:
        shown = url.partition("?")[0].rpartition("@")[2]
        raise SettingsError(f"{shown!r} is no address of a server; expected one such as http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query:
        raise SettingsError(
            f"the address of {parts.hostname} carries a secret or a query; put the key into an environment variable "
            "and name that in key_variable"
        )
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


class ChatEndpoint:
    """One model on one server. May be shared by threads."""

    def __init__(self, url: str, model: str, settings: EndpointSettings, clock: Clock | None = None) -> None:
        """`clock` is where waits and their lengths come from.

        Raises:
            SettingsError: the address cannot be one.
            ModelError: the key's environment variable is not set.
            MissingExtraError: httpx is not installed.
        """
        self._url = completions_url(url)
        self._model = model
        self._settings = settings
        self._clock = clock if clock is not None else SystemClock()
        self._exchange = Exchange(
            self._url, _key(settings.key_variable), settings.timeout_s, settings.connect_timeout_s, self._clock
        )
        self._pace = Pace(settings.requests_per_minute, self._clock)
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
    def rows_at_once(self) -> int:
        """So many questions keep it busy."""
        return self._settings.concurrency

    def identity(self, parameters: Mapping[str, str | int | float | bool | None]) -> Identity:
        """Who answers, with the caller's parameters and how pictures travel. The key is no part of it."""
        settings = self._settings
        travel: dict[str, str | int | float | bool | None] = {
            "picture_format": settings.picture_format,
            "longest_side": settings.longest_side,
            "alternatives": settings.alternatives,
            "seed": settings.seed,
        }
        return Identity(self._model, settings.revision or self._url, {**travel, **parameters})

    def ask(self, chats: Sequence[Chat]) -> list[Answer | RequestRejected]:
        """The answer to each question, in order; where one has none, those of the others are lost with it.

        Raises:
            ModelError: no answer can be had now; it names the server and what it said.
        """
        return in_order(self.answers(chats))

    def answers(self, chats: Sequence[Chat]) -> AnswerStream[Answer | RequestRejected]:
        """The answer to each question as soon as it is there, with the question's place; or why it has none.

        If one question finds no answer, those under way are waited for and the rest are not put (`NotAskedError`).
        """
        stop = threading.Event()
        strange: BaseException | None = None
        threads = min(self._settings.concurrency, max(len(chats), 1))
        with self._exchange.connected() as server, ThreadPoolExecutor(threads) as pool:
            places = {pool.submit(self._ask_one, server, chat, stop): place for place, chat in enumerate(chats)}
            try:
                for future in as_completed(places):
                    error = future.exception()
                    if error is None:
                        yield places[future], future.result()
                    elif isinstance(error, ModelError):
                        yield places[future], error
                    else:
                        strange = error
            finally:
                stop.set()  # whoever asked may have gone
        if strange is not None:
            raise strange

    def _ask_one(self, server: Connections, chat: Chat, stop: threading.Event) -> Answer | RequestRejected:
        if stop.is_set():
            raise NotAskedError("not asked, for another question found no answer")
        try:
            return self._insist(server, chat, stop)
        except BaseException:
            stop.set()
            raise

    def _insist(self, server: Connections, chat: Chat, stop: threading.Event) -> Answer | RequestRejected:
        body = self._body(chat)
        digest = body_digest({"weigh_words": chat.logprobs, **body})
        failed = 0
        while True:
            self._pace.wait(stop)
            if stop.is_set():  # also after waiting: nobody may be there any more to take an answer that is paid for
                raise NotAskedError("not asked, for another question found no answer, or nobody waits for it")
            asked = self._shaped(chat, body)
            began_s = self._clock.now()
            outcome = server.post(asked)
            self._count(Spent(requests=1, repeated=int(failed > 0), seconds=self._clock.now() - began_s))
            if isinstance(outcome, Answer):
                tokens = Spent(answers=1, prompt_tokens=outcome.prompt_tokens, reply_tokens=outcome.reply_tokens)
                self._count(tokens)
                return outcome
            if isinstance(outcome, RequestRejected):
                return outcome
            if isinstance(outcome, Unsupported):
                self._concede(outcome, asked)
                continue
            failed += 1
            wait_s = self._wait_s(outcome, failed, digest)
            if stop.is_set():
                raise NotAskedError(f"{self._url}: given up after {outcome.what}")
            self._clock.sleep(wait_s, stop)
            self._count(Spent(waited_s=wait_s))

    def _wait_s(self, trouble: RetryableError, failed: int, digest: str) -> float:
        """How long to wait after the `failed`-th failure in a row; what the server asks for holds for all threads."""
        settings = self._settings
        if failed >= settings.attempts:
            raise ModelError(
                f"{self._url}: {self._model} gave no answer in {failed} attempts (last: {trouble.what}); "
                "see whether the server is up, or raise attempts and waits"
            )
        own_s = back_off_s(failed - 1, settings.first_wait_s, settings.longest_wait_s, settings.seed, digest)
        if trouble.wait_s is None:
            return own_s
        if trouble.wait_s > settings.longest_wait_s:
            raise ModelError(
                f"{self._url}: the server asks to wait {trouble.wait_s:g} s, longer than longest_wait_s = "
                f"{settings.longest_wait_s:g} ({trouble.what}); come back later"
            )
        self._pace.hush(trouble.wait_s)
        return max(own_s, trouble.wait_s)

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

    def _concede(self, declined: Unsupported, asked: Mapping[str, Any]) -> None:
        """Ask for less from now on. Each concession is made once, so this ends."""
        with self._lock:
            if declined.parameter == "max_tokens":
                self._limit_name = "max_completion_tokens"
            else:
                fewer = FEWER_ALTERNATIVES if asked["top_logprobs"] > FEWER_ALTERNATIVES else 0
                self._alternatives = min(self._alternatives, fewer)

    def _count(self, more: Spent) -> None:
        with self._lock:
            self._spent = self._spent.plus(more)


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelError(f"the API key's environment variable {variable} is not set; export it and try again")
    return key
