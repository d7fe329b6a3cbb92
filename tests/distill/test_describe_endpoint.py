"""Captions and expansions from a server: what it is asked, and what stands in for an answer that it will not give."""

import numpy as np
import pytest
import skimage.data
from chat_server import Asked, Reply, completion, failure, serving

from derain.backends.endpoint import ChatEndpoint
from derain.backends.endpoint_settings import EndpointSettings
from derain.backends.prompted import REFUSED_CAPTION, PromptedCaptioner, PromptedExpander
from derain.backends.view import View
from derain.distill.describe.prompts import CAPTION_PROMPT, EXPANSION_PROMPT
from derain.errors import ModelError

CAT = View("cat", np.ascontiguousarray(skimage.data.chelsea()))
ROCKET = View("rocket", np.ascontiguousarray(skimage.data.rocket()))
SETTINGS = EndpointSettings(attempts=2, first_wait_s=0.0)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def describe(asked: Asked) -> Reply:
    """Says how bright a picture is, or what a caption was."""
    if asked.pictures:
        return completion(f"  a picture of\nbrightness {asked.pictures[0].mean():.0f}. ")
    return completion(f"Longer: {asked.texts[0].rpartition('Caption: ')[2]}")


def test_each_picture_has_its_own_sentence() -> None:
    with serving(describe) as server:
        captioner = PromptedCaptioner(ChatEndpoint(server.url, "m", SETTINGS), CAPTION_PROMPT)
        captions = captioner.caption([CAT, ROCKET, CAT])
        assert all("photograph in one plain sentence" in asked.texts[0] for asked in server.asked)
        assert all(len(asked.pictures) == 1 for asked in server.asked)
    assert captions == [f"a picture of brightness {view.pixels.mean():.0f}." for view in (CAT, ROCKET, CAT)]


def test_captions_are_written_out_as_they_are() -> None:
    captions = ["a cat {caption} in rain", "100% night", "a\nbroken line"]
    with serving(describe) as server:
        expander = PromptedExpander(ChatEndpoint(server.url, "m", SETTINGS), EXPANSION_PROMPT)
        assert expander.expand(captions) == [
            "Longer: a cat {caption} in rain",
            "Longer: 100% night",
            "Longer: a broken line",
        ]
        assert not any(asked.pictures for asked in server.asked)


@pytest.mark.parametrize(
    "reply", [completion(""), completion(None), completion(" \n"), failure(413, "too large")], ids=str
)
def test_what_is_not_described_has_a_text_all_the_same(reply: Reply) -> None:
    with serving(lambda _: reply) as server:
        assert PromptedCaptioner(ChatEndpoint(server.url, "m", SETTINGS), CAPTION_PROMPT).caption([CAT]) == [
            REFUSED_CAPTION
        ]
        assert PromptedExpander(ChatEndpoint(server.url, "m", SETTINGS), EXPANSION_PROMPT).expand(["a cat"]) == [
            "a cat"
        ]


def test_a_server_that_is_down_is_no_caption() -> None:
    with serving(lambda _: failure(503, "loading the model")) as server:
        captioner = PromptedCaptioner(ChatEndpoint(server.url, "m", SETTINGS), CAPTION_PROMPT)
        with pytest.raises(ModelError, match="loading the model"):
            captioner.caption([CAT])


def test_identities_tell_captions_from_expansions_and_lengths() -> None:
    endpoint = ChatEndpoint("http://localhost:1", "m", SETTINGS)
    identities = [
        PromptedCaptioner(endpoint, CAPTION_PROMPT).identity,
        PromptedExpander(endpoint, EXPANSION_PROMPT).identity,
        PromptedCaptioner(endpoint, CAPTION_PROMPT, max_tokens=20).identity,
    ]
    assert len({identity.digest for identity in identities}) == 3
    assert PromptedCaptioner(endpoint, CAPTION_PROMPT).identity == identities[0]
    assert identities[0].model == "m"
