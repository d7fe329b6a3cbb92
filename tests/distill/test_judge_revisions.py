"""What built-in judges measure belongs to their revisions: verdicts are filed under these."""

import math

import pytest
from judge_figures import Measured, measured, pinned

JUDGES = {
    "builtin:rain-layer": "derain.distill.judges.rain_layer",
    "builtin:pairing": "derain.distill.judges.pairing",
    "builtin:typicality": "derain.distill.judges.typicality",
}
RELATIVE, ABSOLUTE = 5e-4, 1e-5
"""More than threads, other kernels and noise of 3e-7 in the pictures move these figures, also those that are near 0."""


@pytest.fixture(scope="module")
def now() -> dict[str, Measured]:
    return measured()


@pytest.mark.parametrize(("judge", "module"), JUDGES.items())
def test_measures_are_those_of_the_revision(judge: str, module: str, now: dict[str, Measured]) -> None:
    before, after = pinned()[judge], now[judge]
    write = "write the figures anew with `python tests/distill/judge_figures.py`"
    assert before.revision == after.revision, f"the figures are of another revision of {judge}: {write}"
    for was, found in zip(before.figures, after.figures, strict=True):
        assert list(found) == list(was), f"{judge} measures other things: raise {module}._REVISION, then {write}"
        changed = [name for name in was if found[name] != pytest.approx(was[name], rel=RELATIVE, abs=ABSOLUTE)]
        assert not changed, (
            f"{judge} measures {', '.join(changed)} otherwise: raise {module}._REVISION, so that verdicts filed before "
            f"are not taken for its own, then {write}"
        )


def test_every_figure_can_be_told_on_these_pictures(now: dict[str, Measured]) -> None:
    for found in now.values():
        for figures in found.figures:
            assert [name for name, value in figures.items() if math.isnan(value)] == []


def test_no_figure_is_0_on_every_picture(now: dict[str, Measured]) -> None:
    """Its formula could change as it likes."""
    for found in now.values():
        for name in found.figures[0]:
            largest = max(abs(figures[name]) for figures in found.figures)
            assert largest > 100 * ABSOLUTE, f"no picture tells {name} from 0"
