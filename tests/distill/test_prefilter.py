"""Every reason for which a photograph is refused, by name and figures."""

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from derain.backends.view import View
from derain.data.near_duplicates import perceptual_hash
from derain.distill.knowledge.prefilter import Prefilter, PrefilterSettings, quality_reasons
from derain.errors import SettingsError
from derain.settings import build_settings


def view_of(pixels, digest="d"):
    return View(digest, np.ascontiguousarray(pixels, np.uint8))


def refuse(pixels, **values):
    return Prefilter(PrefilterSettings(**values)).reason_against(view_of(pixels))


def recompressed(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_photographs_pass(name):
    assert refuse(getattr(skimage.data, name)()) is None


def test_small_ones_are_refused_with_their_size():
    pixels = skimage.data.chelsea()[:180, :200]
    assert refuse(pixels) == "too_small: 200 x 180, wanted 256 or more"
    assert refuse(pixels, shortest_side=180) is None


def test_each_fault_has_its_name():
    cat = skimage.data.chelsea()
    noise = np.random.default_rng(0).normal(0, 45, cat.shape)
    soft = np.asarray(Image.fromarray(cat).resize((20, 14)).resize((451, 300)))
    burnt = np.where(np.arange(451)[None, :, None] < 380, 255, cat)
    faults = {
        "flat": np.full((300, 300, 3), 90),
        "badly_exposed": burnt,
        "blurred": soft,
        "noisy": np.clip(cat + noise, 0, 255),
        "blocky": recompressed(cat, 3),
    }
    for name, pixels in faults.items():
        reason = refuse(pixels)
        assert reason is not None
        assert reason.startswith(f"{name}: "), reason
        assert "wanted" in reason
        assert any(character.isdigit() for character in reason)


def test_a_low_score_is_refused_where_no_single_measure_is():
    reason = refuse(skimage.data.chelsea(), quality=0.995)
    assert reason is not None
    assert reason.startswith("low_quality: score 0.9")


def test_text_and_frames_are_refused_unless_allowed():
    pixels = skimage.data.coffee().copy()
    pixels[-40:] = 20
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text((30, 366), "Photograph by a traveller", fill=(255,) * 3, font=ImageFont.load_default(20))
    reason = refuse(np.asarray(image))
    assert reason is not None
    assert reason.startswith("text_overlay: 1 line, the first 37%")
    assert refuse(np.asarray(image), refuse_text=False) is None
    framed = np.pad(skimage.data.coffee(), ((20, 20), (20, 20), (0, 0)))
    assert refuse(framed) == "frame: 14.8% of the picture, wanted 1.0% or less"
    assert refuse(framed, frame_share=0.2) is None


def test_repetitions_are_refused_by_the_one_that_came_first():
    prefilter = Prefilter(PrefilterSettings())
    cat = skimage.data.chelsea()
    assert prefilter.reason_against(view_of(cat, "first")) is None
    again = prefilter.reason_against(view_of(recompressed(cat, 40), "second"))
    assert again is not None
    assert again.startswith("near_duplicate: ")
    assert "bits from first, wanted more than 6" in again
    assert prefilter.reason_against(view_of(skimage.data.coffee(), "third")) is None
    assert prefilter.reason_against(view_of(cat, "first")) is None, "it is no repetition of itself"


def test_what_a_base_holds_counts_as_seen():
    cat = view_of(skimage.data.chelsea(), "new")
    value = perceptual_hash(cat.pixels)
    prefilter = Prefilter(PrefilterSettings(), seen={"held": value ^ 0b1011})
    assert prefilter.reason_against(cat) == "near_duplicate: 3 of 64 bits from held, wanted more than 6"
    assert (
        Prefilter(PrefilterSettings(near_bits=2), seen={"held": perceptual_hash(cat.pixels) ^ 0b1011}).reason_against(
            cat
        )
        is None
    )
    assert (
        Prefilter(PrefilterSettings(near_bits=-1), seen={"held": perceptual_hash(cat.pixels)}).reason_against(cat)
        is None
    )


def test_refused_pictures_are_not_remembered():
    prefilter = Prefilter(PrefilterSettings(shortest_side=400))
    large = skimage.data.astronaut()
    small = np.asarray(Image.fromarray(large).resize((300, 300)))
    assert prefilter.reason_against(view_of(small, "small")) == "too_small: 300 x 300, wanted 400 or more"
    assert prefilter.reason_against(view_of(large, "large")) is None


def test_the_lowest_of_each_type_are_left_out():
    qualities = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.8, 0.7, 0.7, 0.6]
    types = ["drs"] * 5 + ["nrd"] * 4 + ["drd"]
    reasons = quality_reasons(qualities, types, 30)
    assert [reason is None for reason in reasons] == [False, False, True, True, True, True, True, True, True, True]
    assert reasons[0] == "low_for_type: score 0.100, wanted 0.220 or more among drs"
    assert quality_reasons(qualities, types, 0) == [None] * 10
    assert quality_reasons([], [], 30) == []


def test_mistyped_settings_are_refused():
    with pytest.raises(SettingsError, match="did you mean 'near_bits'"):
        build_settings(PrefilterSettings, {"near_bit": 3})
    with pytest.raises(SettingsError, match="quality_percentile"):
        build_settings(PrefilterSettings, {"quality_percentile": 100})
