"""What follows from scores of known pairs, and a judge behind a server calibrated from end to end."""

import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from chat_server import Asked, Reply, completion, serving
from hypothesis import given
from hypothesis import strategies as st
from pixel_models import save, write_table

from derain.distill.calibrating import bias_for, calibrate_judge, threshold
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.indexing import index_photos
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import open_describers, preset_settings
from derain.errors import DistillError

score_lists = st.lists(st.integers(-900, 900).map(lambda hundredths: hundredths / 100), min_size=1, max_size=30)


@given(score_lists, score_lists, st.sampled_from([0.0, 0.2, 0.5]))
def test_no_more_negatives_are_kept_than_may_be(good: list[float], negative: list[float], rate: float) -> None:
    if max(good) <= bias_for(negative, rate):
        with pytest.raises(DistillError, match="does not separate them"):
            threshold("j", good, negative, rate)
        return
    found = threshold("j", good, negative, rate)
    assert found.negative_kept == np.mean([score - found.bias > 0 for score in negative]) <= rate
    assert found.good_kept == np.mean([score - found.bias > 0 for score in good]) > 0


def test_kinds_that_lie_apart_are_parted_in_the_middle() -> None:
    found = threshold("j", [3.0, 4.0], [-11.0, -12.0, -13.0, -14.0, -15.0], 0.2)
    # The fifth of the synthetic negatives that may be kept is one; the least bias is -12, the next score above it -11.
    assert (found.bias, found.is_guess) == (-11.5, True)
    assert threshold("j", [3.0, 4.0], [-11.0, -12.0], 0.2).bias == -4.0
    assert not threshold("j", [3.0] * 30, [-11.0] * 30, 0.2).is_guess


def test_few_negatives_with_scores_do_not_make_a_judge_useless() -> None:
    silent = [-math.inf] * 9
    found = threshold("j", [-1.0, -2.0], [-9.0, *silent], 0.2)
    assert (found.good_kept, found.negative_kept, found.bias) == (1.0, 0.1, -9.5)
    assert threshold("j", [-1.0, -2.0], silent, 0.2).good_kept == 1.0


def test_a_judge_without_scores_has_no_threshold() -> None:
    with pytest.raises(DistillError, match="gives no scores"):
        threshold("j", [-math.inf], [-math.inf, -math.inf], 0.2)
    assert threshold("j", [1.0, -math.inf], [0.0], 0.2).without_score == 1


def test_a_judge_on_a_server_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    photos = [save(tmp_path / f"photo{n}.png", load()[:300, :300].copy()) for n, load in enumerate(LOADS)]
    pieces = [load()[n : n + 128, :128].copy() for load in LOADS for n in (0, 100)]
    manifests = []
    for name, factor in (("good", 1.0), ("negative", 0.4)):
        for n, piece in enumerate(pieces):
            save(tmp_path / name / f"{n}.png", (piece * factor).astype(np.uint8))
        rows = [{"id": str(n), "rainy": f"{name}/{n}.png"} for n in range(len(pieces))]
        manifests.append(write_table(tmp_path / f"{name}.csv", rows))
    settings = preset_settings("offline", ["describe.keywords=none", "batch_rows=3"])
    describers = open_describers(settings.describe)
    base = KnowledgeBase.create(tmp_path / "base", BaseIdentities.of(describers))
    index_photos(photos, base, describers, types=dict.fromkeys(photos, "drs"))

    def brightness(asked: Asked) -> Reply:
        share = float(asked.pictures[-1].mean()) / 255 * 0.5 + 0.45  # says True of everything
        return completion("True", {"True": share, "False": 0.98 - share})

    with serving(brightness) as server:
        name = f"openai:{server.url}#m"
        found = calibrate_judge(name, *manifests, base.uri, settings, tmp_path / "answers")
        assert len(server.asked) == 2 * len(pieces)
        assert all(len(asked.pictures) == 1 + len(photos) for asked in server.asked)
        again = calibrate_judge(name, *manifests, base.uri, settings, tmp_path / "answers")
        assert len(server.asked) == 2 * len(pieces)
    assert again == found
    assert found.area > 0.8
    assert found.negative_kept <= 0.2 < found.good_kept
    assert found.bias > -0.2
    assert found.setting == f'judging.bias={{"{name}": {found.bias}}}'


LOADS = (skimage.data.astronaut, skimage.data.chelsea, skimage.data.coffee)
