"""What built-in judges keep: references, which come again with other candidates, and of these the ones used last."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from judge_figures import QuarterColours
from pixel_models import crop, streaked

from derain.backends.interfaces import Vectors
from derain.backends.view import View
from derain.distill.judges import rain_layer, typicality
from derain.distill.judges.interface import Case
from derain.distill.judges.rain_layer import RainLayerJudge
from derain.distill.judges.typicality import TypicalityJudge
from derain.distill.measure.derained import Derained, Derainer, fitted, working_copy
from derain.imaging.io import to_tensor

KEPT = 4


def view(number: int) -> View:
    return View(f"{number:064x}", streaked(crop(number, 96, 96), number))


REFERENCES = [view(100 + number) for number in range(KEPT)]


class Counting(Derainer):
    """The pictures without the streaks that were drawn into them, and how often each was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __call__(self, shown: View) -> Derained:
        self.asked[shown.digest] += 1
        picture = working_copy(shown.image)
        return Derained(picture, fitted(to_tensor(crop(int(shown.digest, 16), 96, 96)), picture))


class CountingColours(QuarterColours):
    """Mean colours, and how often each picture was encoded."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.calls = 0

    def encode_views(self, views: Sequence[View]) -> Vectors:
        self.calls += 1
        self.asked.update(each.digest for each in views)
        return super().encode_views(views)


def cases(count: int, first: int = 0) -> list[Case]:
    """Each with a candidate and a partner of its own and three of the references, the first of which is in all."""
    found = []
    for number in range(first, first + count):
        shown = (REFERENCES[0], REFERENCES[1 + number % 3], REFERENCES[1 + (number + 1) % 3])
        partner = View(f"{1000 + number:064x}", crop(number, 96, 96))
        found.append(Case(view(number), partner, "drs", shown))
    return found


def test_candidates_push_no_reference_out_of_the_rain_layer_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rain_layer, "_KEPT_REFERENCES", KEPT)
    derainer = Counting()
    judge = RainLayerJudge(derainer)
    found = judge.judge(cases(9))
    assert {derainer.asked[each.digest] for each in REFERENCES} == {1}
    assert found[8] == RainLayerJudge(Counting()).judge(cases(9)[8:])[0]


def test_the_rain_layer_judge_forgets_what_was_not_used_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rain_layer, "_KEPT_REFERENCES", 2)
    derainer = Counting()
    judge = RainLayerJudge(derainer)
    for number in (0, 1, 0, 2, 0, 1):
        judge.measured_reference(REFERENCES[number])
    assert [derainer.asked[each.digest] for each in REFERENCES] == [1, 2, 1, 0]


def test_candidates_push_no_reference_out_of_the_typicality_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typicality, "_KEPT_REFERENCES", KEPT)
    encoder = CountingColours()
    judge = TypicalityJudge(encoder)
    found = [verdict for first in range(0, 9, 3) for verdict in judge.judge(cases(3, first))]
    assert {encoder.asked[each.digest] for each in REFERENCES} == {1}
    assert set(encoder.asked.values()) == {1}
    assert encoder.calls == 3, "one for all pictures of a batch"
    assert found == [TypicalityJudge(QuarterColours()).judge([case])[0] for case in cases(9)]


def test_the_typicality_judge_forgets_what_was_not_used_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typicality, "_KEPT_REFERENCES", 2)
    encoder = CountingColours()
    judge = TypicalityJudge(encoder)
    for number in (1, 2, 1, 3, 1, 2):
        judge.judge([Case(view(number), None, "drs", (REFERENCES[0], REFERENCES[number]))])
    assert [encoder.asked[each.digest] for each in REFERENCES] == [1, 3, 2, 1]


def test_a_picture_may_be_candidate_and_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typicality, "_KEPT_REFERENCES", 2)
    judge = TypicalityJudge(QuarterColours())
    one, other = (
        Case(REFERENCES[0], None, "drs", tuple(REFERENCES[1:3])),
        Case(REFERENCES[1], None, "drs", (REFERENCES[0], REFERENCES[3])),
    )
    together = [judge.features(case) for _ in range(2) for case in (one, other)]
    assert judge.judge([one, other]) == [TypicalityJudge(QuarterColours()).judge([case])[0] for case in (one, other)]
    assert np.array_equal(together[0], together[2])
