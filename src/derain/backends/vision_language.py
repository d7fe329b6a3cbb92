"""A vision-language model on this machine: one turn of a chat in, log-probabilities of the next token or words out."""

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from derain.backends.chat import Answer, Chat, RequestRejected, Token
from derain.backends.interfaces import Identity, Parameters
from derain.backends.known_models import known_model
from derain.backends.loading import (
    Source,
    choose_placement,
    find_model,
    load_errors,
    load_network,
    load_part,
)
from derain.backends.streaming import AnswerStream
from derain.backends.view import Pixels8
from derain.errors import MissingExtraError, ModelError, QuestionError

ALTERNATIVES = 20
"""Tokens that an answer lists at each place, as servers do."""


class VisionModel:
    """A model and its processor. One turn at a time, so that answers do not depend on what else is asked."""

    def __init__(self, name: str, revision: str | None = None, device: str = "auto") -> None:
        """Find the model; its weights are loaded when it is asked first.

        Raises:
            MissingExtraError: the extra `distill` is not installed.
            ModelError: the model cannot be had, or is known not to load.
            SettingsError: the device is not there.
        """
        if find_spec("jinja2") is None or find_spec("transformers") is None:  # chat templates are jinja's
            raise MissingExtraError("a vision-language model", "distill")
        known = known_model(name)
        if known is not None and not known.native:
            raise ModelError(f"{name} does not load natively: {known.advice}")
        self._placement = choose_placement(device)
        self.source = find_model(name, revision)

    @property
    def batch_size(self) -> int:
        return 1

    def identity(self, parameters: Parameters) -> Identity:
        """The device is no part of it; the arithmetic is, for an answer may turn on a last digit."""
        return Identity(self.source.name, self.source.revision, {**parameters, "dtype": self._placement.arithmetic})

    def answers(self, chats: Sequence[Chat]) -> AnswerStream[Answer | RequestRejected]:
        """The likeliest reply to each chat, one after the other; with alternatives where it asks for log-probabilities.

        Raises:
            ModelError: the model cannot be loaded.
        """
        for place, chat in enumerate(chats):
            try:
                yield place, self._answer(chat)
            except QuestionError as error:
                yield place, error

    def _answer(self, chat: Chat) -> Answer:
        made = self._generate(chat, chat.max_tokens)
        new_tokens = made.sequences[0, -len(made.logits) :].tolist()
        text = str(self._processor.tokenizer.decode(new_tokens, skip_special_tokens=True)).strip()
        tokens: list[Token] = []
        for token, logits in zip(new_tokens, made.logits, strict=True) if chat.logprobs else ():
            weights, likeliest = torch.log_softmax(logits[0].double().cpu(), dim=-1).topk(ALTERNATIVES)
            listed = [(self.token_text(each), weight) for each, weight in zip(likeliest, weights.tolist(), strict=True)]
            tokens.append(Token(self.token_text(token), dict(reversed(listed))))  # of equal words the likeliest counts
        return Answer(text, tuple(tokens), reply_tokens=len(new_tokens))

    def token_ids(self, text: str) -> list[int]:
        """A text as token numbers, without marks for beginning or end."""
        return list(self._processor.tokenizer.encode(text, add_special_tokens=False))

    def token_text(self, token: int | Tensor) -> str:
        """A token number as text."""
        return str(self._processor.tokenizer.decode([token]))

    def next_log_probabilities(self, chat: Chat) -> Tensor:
        """(V,) float64 on the CPU: log-probabilities of the reply's first token, in nats.

        Raises:
            ModelError: the model cannot be loaded.
            QuestionError: it cannot be shown such a turn, or memory does not suffice.
        """
        logits = self._generate(chat, 1).logits[0][0]
        return torch.log_softmax(logits.double().cpu(), dim=-1)

    @cached_property
    def _network(self) -> Any:
        from transformers import AutoModelForImageTextToText

        return load_network(AutoModelForImageTextToText, self.source, self._placement)

    @cached_property
    def _processor(self) -> Any:
        processor = load_processor(self.source)
        if getattr(processor, "chat_template", None) is None:
            raise ModelError(f"{self.source.name}: its processor has no chat template; take a model that chats")
        return processor

    def _generate(self, chat: Chat, max_tokens: int) -> Any:
        network, processor = self._network, self._processor
        try:
            inputs = self._inputs(chat).to(network.device, dtype=network.dtype)
            with torch.inference_mode():
                return network.generate(
                    **inputs,
                    max_new_tokens=max_tokens,
                    do_sample=False,
                    num_beams=1,
                    repetition_penalty=1.0,
                    pad_token_id=processor.tokenizer.pad_token_id,
                    output_logits=True,
                    return_dict_in_generate=True,
                )
        except torch.OutOfMemoryError as error:
            raise QuestionError(
                f"{self.source.name}: not enough memory for {len(chat.pictures)} pictures; show smaller ones"
            ) from error
        except (ValueError, RuntimeError, IndexError, TypeError) as error:
            raise QuestionError(
                f"{self.source.name}, a {self.source.model_type} model, cannot be shown {len(chat.pictures)} pictures "
                f"in a turn ({' '.join(str(error).split())[:200]}); try a mosaic, or serve it as openai:URL#MODEL"
            ) from error

    def _inputs(self, chat: Chat) -> Any:
        """A turn as tensors; where a template has no place for the system, its words go before the last text."""
        from jinja2 import TemplateError

        system = {"role": "system", "content": [_part(chat.system)]}
        try:
            return self._templated([system, {"role": "user", "content": [_part(part) for part in chat.parts]}])
        except TemplateError:
            last = max(place for place, part in enumerate(chat.parts) if isinstance(part, str))
            parts = [f"{chat.system}\n{part}" if place == last else part for place, part in enumerate(chat.parts)]
            return self._templated([{"role": "user", "content": [_part(part) for part in parts]}])

    def _templated(self, messages: list[dict[str, Any]]) -> Any:
        return self._processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )


def load_processor(source: Source) -> Any:
    """A model's processor; without its part for films where that asks for torchvision, which still pictures do not.

    Raises:
        ModelError: its files are missing or broken, or its pictures need torchvision as well.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    try:
        return load_part(AutoProcessor, source)
    except (ModelError, ImportError) as error:
        if "torchvision" not in f"{error} {error.__cause__}".lower():
            raise ModelError(f"{source.name}: its processor cannot be loaded: {error}") from error
    whole: Any = PROCESSOR_MAPPING[type(load_part(AutoConfig, source))]
    parts: dict[str, Any] = {"image_processor": AutoImageProcessor, "tokenizer": AutoTokenizer, "video_processor": None}
    wanted = whole.get_attributes()
    if not set(wanted) <= set(parts):
        raise ModelError(f"{source.name}: its processor needs torchvision; install it, or serve the model")
    loaded = [load_part(parts[name], source) if parts[name] is not None else None for name in wanted]
    with load_errors(source):
        values, _ = whole.get_processor_dict(source.folder, local_files_only=True)
        return _for_still_pictures(whole).from_args_and_dict(loaded, values)


def _for_still_pictures(whole: Any) -> Any:
    """A processor's class that allows for having no part for films."""

    def check_argument_for_proper_class(self: Any, name: str, argument: Any) -> Any:
        if name == "video_processor" and argument is None:
            return None
        return whole.check_argument_for_proper_class(self, name, argument)

    return type(whole.__name__, (whole,), {"check_argument_for_proper_class": check_argument_for_proper_class})


def _part(part: str | Pixels8) -> dict[str, Any]:
    """A text or a picture (H, W, 3) as chat templates take it."""
    from PIL import Image

    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "image": Image.fromarray(part)}
