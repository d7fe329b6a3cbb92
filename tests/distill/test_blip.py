import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tiny_models import tiny_blip, tiny_clip

from derain.backends.blip import EMPTY_CAPTION, BlipCaptioner
from derain.backends.view import View
from derain.errors import ModelError, SettingsError

PICTURES = (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket())
VIEWS = [View(f"{number:064d}", np.ascontiguousarray(pixels)) for number, pixels in enumerate(PICTURES)]


def captioner(**settings):
    return BlipCaptioner(str(tiny_blip()), device="cpu", max_tokens=10, **settings)


@pytest.fixture(scope="module")
def captions():
    return captioner().caption(VIEWS)


@pytest.mark.parametrize(("prefix", "beams"), [("a photo of", 3), ("", 1)])
def test_a_caption_is_what_the_model_generates_when_used_plainly(prefix, beams):
    from transformers import BertTokenizerFast, BlipForConditionalGeneration, BlipImageProcessorPil, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(tiny_blip()).eval()
    processor = BlipProcessor(
        BlipImageProcessorPil.from_pretrained(tiny_blip()), BertTokenizerFast.from_pretrained(tiny_blip())
    )
    inputs = processor(images=Image.fromarray(VIEWS[0].pixels), text=prefix, return_tensors="pt")
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=10, num_beams=beams, do_sample=False)
    wanted = processor.decode(tokens[0], skip_special_tokens=True)
    assert captioner(prefix=prefix, beams=beams).caption(VIEWS[:1]) == [wanted]


def test_captions_begin_with_the_prefix_and_go_on(captions):
    assert all(caption.startswith("a photo of ") and caption != EMPTY_CAPTION for caption in captions)


def test_captions_differ_from_picture_to_picture(captions):
    assert len(set(captions)) > 1


@pytest.mark.parametrize("rows", [1, 3, 4, 7])
def test_a_caption_does_not_depend_on_the_pictures_beside_it(captions, rows):
    model = captioner(rows=rows)
    assert model.caption(VIEWS) == captions
    assert model.caption(VIEWS[::-1]) == captions[::-1]
    assert model.caption(VIEWS[2:3]) == captions[2:3]


def test_no_pictures_give_no_captions():
    assert captioner().caption([]) == []


def test_a_model_that_says_nothing_gives_a_caption_all_the_same(tmp_path):
    """Its first word is the end mark."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_blip(), tmp_path / "mute")
    weights = load_file(tmp_path / "mute" / "model.safetensors")
    weights["text_decoder.cls.predictions.bias"][3] = 1e4
    save_file(weights, tmp_path / "mute" / "model.safetensors", metadata={"format": "pt"})
    for prefix in ("a photo of", ""):
        mute = BlipCaptioner(str(tmp_path / "mute"), prefix=prefix, device="cpu")
        assert mute.caption(VIEWS[:2]) == [EMPTY_CAPTION] * 2


def test_whatever_changes_a_caption_changes_the_identity():
    plain = captioner().identity
    assert plain.model == "blip"
    assert plain == captioner(rows=4).identity
    others = [captioner(prefix="").identity, captioner(beams=1).identity]
    assert len({plain.digest, *(other.digest for other in others)}) == 3


def test_another_kind_of_model_is_refused():
    with pytest.raises(ModelError, match="of the kind 'clip'; wanted blip"):
        BlipCaptioner(str(tiny_clip()))


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"beams": 0}])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises(SettingsError, match="at least 1"):
        BlipCaptioner(str(tiny_blip()), **wrong)
