"""One request to a chat server and what came of it: an answer, or what kind of failure it was."""

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from derain.backends.chat import Answer, MalformedResponse, RequestRejected, read_answer, read_error
from derain.backends.retries import Clock, retry_after_s
from derain.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import httpx

LARGEST_BODY = 16 * 2**20
"""Bytes of a reply; a completion of some hundred tokens with 20 alternatives each has 1 MB."""

CONCERNS_ONE_REQUEST = re.compile(
    r"context.?length|context.?size|context window|maximum.{0,20}length|too (large|long|big|many tokens)"
    r"|exceeds? the .{0,20}(limit|size)|image_(too_large|parse_error)|(invalid|corrupt|unsupported).{0,12}image"
    r"|content.?(policy|filter|management)|safety",
    re.IGNORECASE,
)
"""What servers write in a 400 or 422 when this question alone is at fault."""


@dataclass(frozen=True)
class RetryableError:
    """A failure that may pass."""

    what: str
    wait_s: float | None = None
    """What the server asks to wait."""


@dataclass(frozen=True)
class Unsupported:
    """The server knows the question but not one of its parameters."""

    parameter: Literal["logprobs", "max_tokens"]


class Exchange:
    """Sends JSON to one address; the key goes into a header and nowhere else.

    It holds nothing open between blocks of `connected`, so nobody has to close it.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, connect_timeout_s: float, clock: Clock) -> None:
        """
        Raises:
            MissingExtraError: httpx is not installed.
        """
        if find_spec("httpx") is None:
            raise MissingExtraError("asking a model server", "distill")
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._clock = clock

    @contextmanager
    def connected(self) -> Iterator["Connections"]:
        """Connections that are kept open between requests, until the block ends."""
        import httpx

        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        with httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(self._timeout_s, connect=self._connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            verify=self._certificates if self._url.startswith("https") else False,
        ) as client:
            yield Connections(client, self._url, self._key, self._timeout_s, self._clock)

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        """Whom to trust; slow to read, so once."""
        import httpx

        return httpx.create_ssl_context()


class Connections:
    """Open connections of an exchange. Threads may share them."""

    def __init__(self, client: "httpx.Client", url: str, key: str | None, timeout_s: float, clock: Clock) -> None:
        self._client = client
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._clock = clock

    def post(self, body: Mapping[str, Any]) -> Answer | RequestRejected | RetryableError | Unsupported:
        """Ask once.

        Raises:
            ModelError: the server refuses in a way that no other question and no waiting will change.
        """
        import httpx

        try:
            status, headers, raw = self._send(json.dumps(body).encode())
        except httpx.TimeoutException as error:
            return RetryableError(f"no answer in time ({type(error).__name__})")
        except (httpx.TransportError, httpx.DecodingError) as error:
            return RetryableError(f"{type(error).__name__}: {self._clean(str(error))}")
        if raw is None:
            return RetryableError(f"status {status}, but the body did not end within {self._timeout_s:g} s or 16 MiB")
        try:
            content = json.loads(raw)
        except ValueError:
            content = None
        fault = read_error(content)
        if 200 <= status < 300 and fault is None:
            try:
                return read_answer(content)
            except MalformedResponse as error:
                return RetryableError(f"status {status}, but no completion ({error})")
        message, code, inner_status = fault if fault is not None else (raw[:300].decode(errors="replace"), "", None)
        if 200 <= status < 300:  # gateways wrap a failure behind them into a success of their own
            status = inner_status or 500
        return self._failure(status, self._clean(message), code, headers.get("retry-after"), body)

    def _send(self, content: bytes) -> tuple[int, Mapping[str, str], bytes | None]:
        """Status, headers and body; None for a body that is too long or drips in for longer than the time-out."""
        deadline_s = self._clock.now() + self._timeout_s
        received = bytearray()
        with self._client.stream("POST", self._url, content=content) as response:
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) > LARGEST_BODY or self._clock.now() > deadline_s:
                    return response.status_code, response.headers, None
        return response.status_code, response.headers, bytes(received)

    def _failure(
        self, status: int, message: str, code: str, retry_after: str | None, body: Mapping[str, Any]
    ) -> RequestRejected | RetryableError | Unsupported:
        said = f"{code} {message}"
        if 400 <= status < 500 or status == 501:
            if "logprobs" in body and "logprobs" in said:
                return Unsupported("logprobs")
            if "max_tokens" in body and "max_completion_tokens" in said:
                return Unsupported("max_tokens")
        if status in (408, 429) or (status >= 500 and status != 501):
            return RetryableError(f"status {status}: {message}", retry_after_s(retry_after, self._clock.wall()))
        if status == 413 or (status in (400, 422) and CONCERNS_ONE_REQUEST.search(said)):
            return RequestRejected(status, message)
        advice = {
            401: "; set the key's environment variable (key_variable)",
            403: "; set the key's environment variable (key_variable)",
            404: "; see whether the address and the model's name are right",
        }
        raise ModelError(f"{self._url}: the server refuses with status {status}: {message}{advice.get(status, '')}")

    def _clean(self, message: str) -> str:
        """A server's words on one line, short, without the key should it be quoted."""
        if self._key:
            message = message.replace(self._key, "(key)")
        return " ".join(message.split())[:300]
