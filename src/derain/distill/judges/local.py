"""A judge on this machine: a vision-language model that looks at a candidate beside real photographs (Eq. 4)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

from derain.backends.chat import Answer
from derain.backends.interfaces import Identity
from derain.backends.known_models import showing_of
from derain.backends.streaming import in_order
from derain.backends.vision_language import VisionModel
from derain.distill.judges.interface import Case, Verdict
from derain.distill.judges.prompt import prompt_digest
from derain.distill.judges.question import chat_of
from derain.distill.judges.reply import (
    NO_TOKENS,
    READING,
    UNREADABLE,
    YES_TOKENS,
    Reading,
    log_sum,
    read_margin,
    read_words,
    word_variants,
)
from derain.errors import ModelError

LONGEST_REPLY = 8
"""Tokens of a reply in words; one is asked for."""

ROUNDED = 4
"""Decimal places of log-probabilities: further ones depend on the number of threads."""


class LocalJudge:
    """A vision-language model, `hf:MODEL[@REVISION]`, asked one case at a time."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        mosaic: bool | None = None,
        reply: Literal["logits", "text"] = "logits",
        least_mass: float = 0.01,
        longest_side: int = 896,
        device: str = "auto",
    ) -> None:
        """Find the model; its weights are loaded when the first case comes.

        Args:
            model: a folder, or `owner/name` on the hub; any vision-language chat model that transformers has itself.
            revision: branch, tag or commit on the hub; None is the default branch.
            mosaic: whether all pictures are shown on one canvas; None for what the model was trained on.
            reply: `logits` compares yes and no by the log-probabilities of the reply's first token; `text` reads words.
            least_mass: a model that gives yes and no together less of the probability is not answering, and abstains.
            longest_side: of each picture, or of the canvas, in pixels; larger ones are reduced.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.

        Raises:
            MissingExtraError: the extra `distill` is not installed.
            ModelError: the model cannot be had, or is known not to load.
            SettingsError: the device is not there.
        """
        self._model = VisionModel(model, revision, device)
        source = self._model.source
        self._mosaic = showing_of(source.name, source.model_type) == "mosaic" if mosaic is None else mosaic
        self._reply = reply
        self._least_mass = least_mass
        self._longest_side = longest_side

    @property
    def name(self) -> str:
        return f"hf:{self._model.source.name}"

    @property
    def batch_size(self) -> int:
        return 1

    @property
    def identity(self) -> Identity:
        return self._model.identity(
            {
                "prompt": prompt_digest(),
                "reading": READING,
                "mosaic": self._mosaic,
                "reply": self._reply,
                "least_mass": self._least_mass,
                "longest_side": self._longest_side,
            }
        )

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case; the score is log P(yes) - log P(no) in nats, None where words are read.

        What is no finite number is unreadable. A threshold other than 0 is set by `bias.BiasedJudge`.

        Raises:
            ModelError: no answer can be had now.
            QuestionError: the model cannot be shown one of the cases.
        """
        return [self._verdict(case) for case in cases]

    def _verdict(self, case: Case) -> Verdict:
        chat = chat_of(case, self._mosaic, self._longest_side, LONGEST_REPLY)
        if self._reply == "text":
            (answer,) = in_order(self._model.answers([replace(chat, logprobs=False)]))
            reply = answer.text if isinstance(answer, Answer) else ""
            reading = read_words(reply)
        else:
            weights = self._model.next_log_probabilities(chat)
            reply = self._model.token_text(int(weights.argmax()))
            log_yes, log_no = (round(log_sum(weights[tokens].tolist()), ROUNDED) for tokens in self._tokens)
            reading = weigh(log_yes, log_no, self._least_mass)
        return Verdict(self.name, reading.decision, reading.score, reading.reason, reply)

    @cached_property
    def _tokens(self) -> tuple[list[int], list[int]]:
        return answer_tokens(self._model)


def weigh(log_yes: float, log_no: float, least_mass: float) -> Reading:
    """Yes or no by their log-probabilities in nats; unreadable where both together have less than `least_mass`.

    Numbers that are not finite, which a network that overflowed gives, are unreadable too.
    """
    if not (math.isfinite(log_yes) and math.isfinite(log_no)) or math.exp(log_sum([log_yes, log_no])) < least_mass:
        return UNREADABLE
    return read_margin(log_yes, log_no)


def answer_tokens(model: VisionModel) -> tuple[list[int], list[int]]:
    """The tokens that a reply of yes begins with, and those of no.

    Whole words where the vocabulary has them, else their first pieces; without pieces that both sides share.

    Raises:
        ModelError: nothing is left of a side.
    """
    yes, no = (_beginnings(model, word_variants(words)) for words in (YES_TOKENS, NO_TOKENS))
    if not yes - no or not no - yes:
        raise ModelError(
            f"{model.source.name}: no single token distinguishes yes from no in its vocabulary; use reply='text'"
        )
    return sorted(yes - no), sorted(no - yes)


def _beginnings(model: VisionModel, variants: Iterable[str]) -> set[int]:
    """Tokens of the variants that are one token, or the first piece of each that is more than a blank."""
    split = [model.token_ids(variant) for variant in variants]
    whole = {tokens[0] for tokens in split if len(tokens) == 1}
    pieces = (next((token for token in tokens if model.token_text(token).strip()), None) for tokens in split)
    return whole or {token for token in pieces if token is not None}
