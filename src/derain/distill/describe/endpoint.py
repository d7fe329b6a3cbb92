"""Captions and expansions from an OpenAI-compatible server."""

from collections.abc import Sequence

from derain.distill.arrivals import Arrivals, in_order
from derain.distill.chat import Answer, Chat, Refusal
from derain.distill.doors import Identity
from derain.distill.endpoint import ChatEndpoint
from derain.distill.view import View
from derain.errors import ModelError

CAPTION_PROMPT = (
    "Describe this photograph in one plain sentence: what it shows, whether it is day or night, and what the rain in "
    "it looks like. Name only what can be seen."
)
CAPTION_PROMPT_VERSION = 1

EXPANSION_PROMPT = (
    "Here is a caption of a photograph taken in rain. Write it out in two or three plain sentences. Cover the time of "
    "day, sources of light, the kind of place, streaks of rain or drops on the lens with their number and direction, "
    "and mist. Add no object that the caption does not name.\n\nCaption: {caption}"
)
EXPANSION_PROMPT_VERSION = 1

REFUSED_CAPTION = "a photograph"
"""Stands for a picture that the server will not describe: true, and near to no text in particular."""


class EndpointCaptioner:
    """Asks a vision-language model for one sentence on each picture."""

    def __init__(self, endpoint: ChatEndpoint, longest_reply: int = 80) -> None:
        self._endpoint = endpoint
        self._longest_reply = longest_reply

    @property
    def rows_at_once(self) -> int:
        return self._endpoint.rows_at_once

    @property
    def identity(self) -> Identity:
        return self._endpoint.identity(
            {"prompt": CAPTION_PROMPT, "prompt_version": CAPTION_PROMPT_VERSION, "longest_reply": self._longest_reply}
        )

    def caption(self, views: Sequence[View]) -> list[str]:
        """A sentence for each picture; `REFUSED_CAPTION` where the server declines it or says nothing.

        Raises:
            ModelError: no answer can be had now.
        """
        return in_order(self.answers(views))

    def answers(self, questions: Sequence[View]) -> Arrivals[str]:
        """What `caption` says, each sentence as soon as it is there."""
        chats = [Chat((view.pixels, CAPTION_PROMPT), longest_reply=self._longest_reply) for view in questions]
        for place, answer in self._endpoint.answers(chats):
            yield place, answer if isinstance(answer, ModelError) else _said(answer) or REFUSED_CAPTION


class EndpointExpander:
    """Asks a language model to write a caption out."""

    def __init__(self, endpoint: ChatEndpoint, longest_reply: int = 200) -> None:
        self._endpoint = endpoint
        self._longest_reply = longest_reply

    @property
    def rows_at_once(self) -> int:
        return self._endpoint.rows_at_once

    @property
    def identity(self) -> Identity:
        return self._endpoint.identity(
            {
                "prompt": EXPANSION_PROMPT,
                "prompt_version": EXPANSION_PROMPT_VERSION,
                "longest_reply": self._longest_reply,
            }
        )

    def expand(self, captions: Sequence[str]) -> list[str]:
        """The longer text of each caption; the caption itself where the server declines it or says nothing.

        Raises:
            ModelError: no answer can be had now.
        """
        return in_order(self.answers(captions))

    def answers(self, questions: Sequence[str]) -> Arrivals[str]:
        """What `expand` says, each text as soon as it is there."""
        chats = [
            Chat((EXPANSION_PROMPT.format(caption=caption),), longest_reply=self._longest_reply)
            for caption in questions
        ]
        for place, answer in self._endpoint.answers(chats):
            yield place, answer if isinstance(answer, ModelError) else _said(answer) or questions[place]


def _said(answer: Answer | Refusal) -> str:
    """An answer's words on one line; empty for a refusal."""
    return " ".join(answer.text.split()) if isinstance(answer, Answer) else ""
