"""Retry policy and rate limit: how long to wait after a failure, how soon after each other requests leave."""

import hashlib
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol


class RetryableError(Exception):
    """A failure that may pass."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        """What the server asks to wait."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wall(self) -> datetime:
        """The date and time of day, with its zone."""
        ...

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Return after so long, or as soon as `stop` is set."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(seconds)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off."""

    attempts: int
    """How often one request is sent at most."""
    first_wait_s: float
    longest_wait_s: float
    seed: int

    def backoff_s(self, attempt: int, request: str) -> float:
        """Seconds to wait after failed attempt `attempt` (from 0): doubling, capped, and spread over [1/2, 1] of that.

        The spread keeps requests that failed together from coming back together. It follows from the seed and the
        request's digest, not from the order in which threads come by.
        """
        full_s = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(attempt, 60))
        drawn = hashlib.sha256(f"{self.seed}/{request}/{attempt}".encode()).digest()
        return full_s * (0.5 + 0.5 * int.from_bytes(drawn[:8], "big") / 2.0**64)


def retry_after_s(header: str | None, today: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds or a date); None where it says nothing.

    A date that has passed asks for 0 seconds.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - today).total_seconds())


class RateLimiter:
    """Lets requests of all threads leave one by one, evenly spaced, and none during a pause that a server asked for."""

    def __init__(self, per_minute: float | None, clock: Clock) -> None:
        self._gap_s = 60.0 / per_minute if per_minute is not None else 0.0
        self._clock = clock
        self._next_s = clock.now()
        self._pauses = 0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Sleep until this thread's turn, or until `stop` is set."""
        while not stop.is_set():
            with self._lock:
                now_s, pauses = self._clock.now(), self._pauses
                turn_s = max(now_s, self._next_s)
                self._next_s = turn_s + self._gap_s
            if turn_s > now_s:
                self._clock.sleep(turn_s - now_s, stop)
            if pauses == self._pauses:  # else a server asked for a pause meanwhile, and this turn is too early
                return

    def pause(self, seconds: float) -> None:
        """Let no request leave for so long."""
        with self._lock:
            self._pauses += 1
            self._next_s = max(self._next_s, self._clock.now() + seconds)
