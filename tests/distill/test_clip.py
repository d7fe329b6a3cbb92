import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tiny_models import tiny_blip, tiny_clip

from derain.backends import clip
from derain.backends.clip import ClipTextEncoder, ClipVisualEncoder, unit_rows
from derain.backends.loading import Placement
from derain.backends.view import View
from derain.errors import ModelError, QuestionError

PICTURES = (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket())
VIEWS = [View(f"{number:064d}", np.ascontiguousarray(pixels)) for number, pixels in enumerate(PICTURES)]
TEXTS = ["rain", "a wet street at night", "drops on a window", "heavy rain, mist", "a"]
LONG = "a very wet street in heavy rain, " * 10


def texts(**settings):
    return ClipTextEncoder(str(tiny_clip()), device="cpu", **settings)


def pictures(**settings):
    return ClipVisualEncoder(str(tiny_clip()), device="cpu", **settings)


@pytest.fixture(scope="module")
def whole_clip():
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(tiny_clip()).eval()


def test_text_vectors_are_those_of_the_whole_model(whole_clip):
    from transformers import CLIPTokenizerFast

    inputs = CLIPTokenizerFast.from_pretrained(tiny_clip())(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        features = whole_clip.get_text_features(**inputs).pooler_output
    wanted = torch.nn.functional.normalize(features, dim=-1)
    np.testing.assert_allclose(texts().encode_texts(TEXTS), wanted.numpy(), atol=1e-5)


def test_picture_vectors_are_those_of_the_whole_model(whole_clip):
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil.from_pretrained(tiny_clip())
    inputs = processor([Image.fromarray(view.pixels) for view in VIEWS], return_tensors="pt")
    with torch.inference_mode():
        features = whole_clip.get_image_features(**inputs).pooler_output
    wanted = torch.nn.functional.normalize(features, dim=-1)
    np.testing.assert_allclose(pictures().encode_views(VIEWS), wanted.numpy(), atol=1e-5)


def test_vectors_have_length_one_and_the_stated_dimensions():
    for vectors, encoder in ((texts().encode_texts(TEXTS), texts()), (pictures().encode_views(VIEWS), pictures())):
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(vectors), encoder.dimensions) == (len(vectors), 24)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert np.ptp(vectors, axis=0).max() > 0.01


@pytest.mark.parametrize("rows", [3, 8])
def test_a_vector_does_not_depend_on_what_stands_beside_it(rows):
    asked = [*TEXTS, LONG]
    whole, views = texts(rows=rows).encode_texts(asked), pictures(rows=rows).encode_views(VIEWS)
    np.testing.assert_array_equal(texts(rows=rows).encode_texts(asked[::-1]), whole[::-1])
    np.testing.assert_array_equal(texts(rows=rows).encode_texts(asked[1:2]), whole[1:2])
    np.testing.assert_allclose(pictures(rows=rows).encode_views(VIEWS[2:3]), views[2:3], atol=1e-6)
    np.testing.assert_allclose(texts().encode_texts(asked), whole, atol=1e-6)
    np.testing.assert_allclose(pictures().encode_views(VIEWS), views, atol=1e-6)


def test_the_77th_token_ends_a_text():
    encoder = texts()
    start = LONG[:100]
    ends = encoder.encode_texts([start + "day", start + "night", start])
    np.testing.assert_array_equal(ends[0], ends[1])  # a token is a letter here
    apart = encoder.encode_texts([start[:60] + " day", start[:60] + " night"])
    assert np.abs(apart[0] - apart[1]).max() > 1e-3


def test_nothing_gives_an_empty_array():
    assert texts().encode_texts([]).shape == (0, 24)
    assert pictures().encode_views([]).shape == (0, 24)


def test_towers_have_identities_of_their_own():
    assert texts().identity.digest != pictures().identity.digest
    assert texts().identity.revision == pictures().identity.revision


@pytest.mark.parametrize("encoder", [ClipTextEncoder, ClipVisualEncoder])
def test_another_kind_of_model_is_refused(encoder):
    with pytest.raises(ModelError, match="of the kind 'blip'; wanted clip"):
        encoder(str(tiny_blip()))


def test_a_vector_that_is_no_number_is_that_questions_fault():
    assert np.isfinite(unit_rows(torch.tensor([[0.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16))).all()
    for bad in (torch.nan, torch.inf):
        with pytest.raises(QuestionError, match="finite vectors"):
            unit_rows(torch.tensor([[0.0, 2.0], [bad, 4.0]]))


def test_vectors_of_another_arithmetic_are_filed_apart(monkeypatch):
    plain = [texts().identity.digest, pictures().identity.digest]
    half = Placement(torch.device("cpu"), torch.bfloat16, 1)
    monkeypatch.setattr(clip, "choose_placement", lambda device, rows: half)  # noqa: ARG005
    assert len({*plain, texts().identity.digest, pictures().identity.digest}) == 4
