"""Time that passes only by sleeping, so that waits are measured and not waited for."""

import threading
from datetime import UTC, datetime, timedelta

TODAY = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class FastClock:
    """Starts at 0 s, at noon of `TODAY`."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.slept_s: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time_s

    def wall(self) -> datetime:
        return TODAY + timedelta(seconds=self.time_s)

    def sleep(self, seconds: float, stop: threading.Event) -> None:  # noqa: ARG002 - it takes no time
        with self._lock:
            self.time_s += seconds
            self.slept_s.append(seconds)
