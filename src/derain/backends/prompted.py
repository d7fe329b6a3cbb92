"""Captions and expansions of a chat model that is prompted for them: on a server, or any other `ChatModel`."""

from collections.abc import Sequence

from derain.backends.chat import Answer, Chat, RequestRejected
from derain.backends.interfaces import ChatModel, Identity, VersionedPrompt
from derain.backends.streaming import AnswerStream, in_order
from derain.backends.view import View
from derain.errors import ModelError

REFUSED_CAPTION = "a photograph"
"""Stands for a picture that a model will not describe: true, and near to no text in particular."""


class _Prompted:
    """A chat model, the prompt that it is asked with, and the longest reply."""

    def __init__(self, model: ChatModel, prompt: VersionedPrompt, max_tokens: int) -> None:
        self._model, self._prompt = model, prompt
        self._max_tokens = max_tokens

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    @property
    def identity(self) -> Identity:
        return self._model.identity({**self._prompt.parameters, "longest_reply": self._max_tokens})


class PromptedCaptioner(_Prompted):
    """Asks a vision-language model for one sentence on each picture."""

    def __init__(self, model: ChatModel, prompt: VersionedPrompt, max_tokens: int = 80) -> None:
        super().__init__(model, prompt, max_tokens)

    def caption(self, views: Sequence[View]) -> list[str]:
        """A sentence for each picture; `REFUSED_CAPTION` where the model declines it or says nothing.

        Raises:
            ModelError: no answer can be had now.
        """
        return in_order(self.answers(views))

    def answers(self, questions: Sequence[View]) -> AnswerStream[str]:
        """The sentences of `caption`, each as soon as it is there."""
        chats = [Chat((view.pixels, self._prompt.text), max_tokens=self._max_tokens) for view in questions]
        for place, answer in self._model.answers(chats):
            yield place, answer if isinstance(answer, ModelError) else _said(answer) or REFUSED_CAPTION


class PromptedExpander(_Prompted):
    """Asks a language model to write a caption out."""

    def __init__(self, model: ChatModel, prompt: VersionedPrompt, max_tokens: int = 200) -> None:
        """`prompt` has a place `{caption}`."""
        super().__init__(model, prompt, max_tokens)

    def expand(self, captions: Sequence[str]) -> list[str]:
        """The longer text of each caption; the caption itself where the model declines it or says nothing.

        Raises:
            ModelError: no answer can be had now.
        """
        return in_order(self.answers(captions))

    def answers(self, questions: Sequence[str]) -> AnswerStream[str]:
        """The texts of `expand`, each as soon as it is there."""
        chats = [
            Chat((self._prompt.text.format(caption=caption),), max_tokens=self._max_tokens) for caption in questions
        ]
        for place, answer in self._model.answers(chats):
            yield place, answer if isinstance(answer, ModelError) else _said(answer) or questions[place]


def _said(answer: Answer | RequestRejected) -> str:
    """An answer's words on one line; empty for a refusal."""
    return " ".join(answer.text.split()) if isinstance(answer, Answer) else ""
