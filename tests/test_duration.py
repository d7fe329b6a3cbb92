"""Times in words."""

import pytest

from derain.duration import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (450, "7 min 30 s"), (7530, "2 h 05 min"), (-1, "0 s"), (3599.6, "1 h 00 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
