"""Sentences on photographs, with rain and without."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from derain.backends.view import View
from derain.distill.describe.builtin_captioner import BuiltinCaptioner, caption_of, rain_words, step
from derain.distill.measure.rain_form import FineStructure
from derain.distill.measure.rain_type import TypeGuess
from derain.imaging.pixels import to_pixels
from derain.rain.simulate import simulate
from derain.types import RainType

SAMPLES = ("astronaut", "chelsea", "coffee", "rocket")


def view_of(pixels):
    return View("", np.ascontiguousarray(pixels, np.uint8))


def rainy(name, kind, seed=0):
    clean = view_of(getattr(skimage.data, name)())
    return view_of(to_pixels(simulate(clean.image, kind, torch.Generator().manual_seed(seed)).rainy))


def test_captions_are_two_sentences_and_always_the_same():
    views = [rainy(name, kind) for name in SAMPLES[:2] for kind in RainType]
    captions = BuiltinCaptioner().caption(views)
    assert captions == BuiltinCaptioner().caption(views)
    for caption in captions:
        assert caption.startswith("A ")
        assert caption.endswith(".")
        assert caption.count(". ") == 1
        assert "  " not in caption
    assert len(set(captions)) >= 7


def test_captions_barely_change_when_the_picture_is_scaled():
    same = total = 0
    for name in SAMPLES:
        view = rainy(name, RainType.DRS)
        image = Image.fromarray(view.pixels)
        smaller = view_of(image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.BOX))
        one, other = caption_of(view).split(), caption_of(smaller).split()
        same += len(set(one) & set(other))
        total += len(set(one) | set(other))
    assert same / total > 0.7


def test_pictures_of_any_size_are_described():
    for size in [(1, 1), (2, 90), (40, 40)]:
        assert caption_of(view_of(np.full((*size, 3), 120))).startswith("A ")


@pytest.mark.parametrize(
    ("tilt_deg", "words"), [(-50, "slanting far to the left"), (-20, "leaning to the left"), (0, "straight down")]
)
def test_the_way_streaks_fall_is_told_both_ways(tilt_deg, words):
    def described(degrees):
        fine = FineStructure(0.4, degrees, 1.0, 1.0, 0.02, 0.0)
        return rain_words(TypeGuess("drs", "day", 1.0), fine)

    assert words in described(tilt_deg)
    assert described(-tilt_deg) == described(tilt_deg).replace("left", "right")


def test_drops_and_rain_that_runs_no_way_are_told():
    fine, flat = FineStructure(0.02, 10.0, 1.0, 1.0, 0.02, 0.0), FineStructure(0.5, 80.0, 1.0, 1.0, 0.02, 0.0)
    assert rain_words(TypeGuess("nrd", "night", 1.0), fine) == "water drops on the glass in front of the lens"
    assert rain_words(TypeGuess("drs", "day", 1.0), fine).endswith("rain in the air")
    assert rain_words(TypeGuess("drs", "day", 1.0), flat).endswith("rain in the air")


def test_steps_begin_where_the_one_before_ends():
    steps = ((1.0, "little"), (2.0, "some"), (float("inf"), "much"))
    assert [step(steps, value) for value in (-5, 0.99, 1.0, 1.99, 2.0, 9e9)] == [
        "little",
        "little",
        "some",
        "some",
        "much",
        "much",
    ]


def test_the_identity_names_what_decides_the_words():
    identity = BuiltinCaptioner().identity
    assert identity.model == "builtin-captioner"
    assert len(identity.digest) == 16
