"""Waiting between attempts and between requests."""

from threading import Event

import numpy as np
import pytest
from fast_clock import TODAY, FastClock

from derain.backends.retries import RateLimiter, RetryPolicy, retry_after_s


def test_a_rate_limit_is_shared_by_threads_and_paused_by_the_server() -> None:
    clock = FastClock()
    limiter = RateLimiter(60.0, clock)
    limiter.wait(Event())
    limiter.wait(Event())
    assert clock.time_s == pytest.approx(1.0)
    limiter.pause(10.0)
    limiter.wait(Event())
    assert clock.time_s == pytest.approx(11.0)


def test_a_request_that_waits_for_its_turn_does_not_leave_in_a_pause() -> None:
    class PausedWhileAsleep(FastClock):
        def sleep(self, seconds: float, stop: Event) -> None:
            super().sleep(seconds, stop)
            if len(self.slept_s) == 1:
                limiter.pause(10.0)

    clock = PausedWhileAsleep()
    limiter = RateLimiter(60.0, clock)
    for _ in range(2):
        limiter.wait(Event())
    assert clock.time_s == pytest.approx(1.0 + 10.0)


def test_back_off_doubles_is_capped_and_drawn_from_the_seed() -> None:
    waits = [RetryPolicy(9, 1.0, 20.0, 3).backoff_s(attempt, "q") for attempt in range(8)]
    for attempt, wait_s in enumerate(waits):
        full_s = min(20.0, 2.0**attempt)
        assert full_s / 2 <= wait_s <= full_s
    assert waits == [RetryPolicy(9, 1.0, 20.0, 3).backoff_s(attempt, "q") for attempt in range(8)]
    drawn = [RetryPolicy(9, 1.0, 20.0, seed).backoff_s(0, str(request)) for seed in range(20) for request in range(20)]
    assert np.mean(drawn) == pytest.approx(0.75, abs=0.02)
    assert np.std(drawn) == pytest.approx(0.5 / np.sqrt(12), abs=0.01)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("nan", None),
        ("0", 0.0),
        ("12", 12.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, TODAY) == seconds
