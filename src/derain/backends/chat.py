"""One question to a chat model and its answer, in the words of the OpenAI chat completions protocol."""

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from derain.backends.view import Pixels8

PictureFormat = Literal["jpeg", "png"]


@dataclass(frozen=True)
class Chat:
    """A single turn: the system prompt, and texts and pictures in the order in which it is shown them."""

    parts: tuple[str | Pixels8, ...]
    """Texts, and pictures (H, W, 3) uint8."""
    system: str = ""
    """How the model is to behave; empty for no word about it."""
    max_tokens: int = 256
    """Tokens at most."""
    logprobs: bool = False
    """Ask for the log-probabilities of the reply's tokens and of their alternatives."""

    @property
    def pictures(self) -> tuple[Pixels8, ...]:
        """The pictures among the parts."""
        return tuple(part for part in self.parts if not isinstance(part, str))


@dataclass(frozen=True)
class Token:
    """One token of a reply."""

    text: str
    alternatives: Mapping[str, float]
    """What might have stood here, with natural log-probabilities; the token itself is one of them."""


@dataclass(frozen=True)
class Answer:
    """The reply of a chat model."""

    text: str
    tokens: tuple[Token, ...] = ()
    """The reply's tokens; empty where the server gives no log-probabilities."""
    prompt_tokens: int = 0
    reply_tokens: int = 0


@dataclass(frozen=True)
class RequestRejected:
    """The server will not answer this question, and would not if asked again."""

    status: int
    message: str


class MalformedResponse(ValueError):  # noqa: N818 - the field's name for it
    """A body that is no chat completion."""


def picture_url(pixels: Pixels8, format: PictureFormat, longest_side: int) -> str:
    """A picture (H, W, 3) uint8 as a `data:` URL, reduced by averaging where a side is longer than `longest_side`.

    JPEG is written at quality 95 with full colour resolution, so that the judge sees little compression of ours.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    scale = longest_side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    file = io.BytesIO()
    if format == "jpeg":
        image.save(file, "JPEG", quality=95, subsampling=0)
    else:
        image.save(file, "PNG", compress_level=6)
    return f"data:image/{format};base64,{base64.b64encode(file.getvalue()).decode()}"


def chat_body(chat: Chat, model: str, format: PictureFormat, longest_side: int, seed: int) -> dict[str, Any]:
    """The JSON of a request without log-probabilities: temperature 0, so that equal questions get equal answers."""
    content: list[dict[str, Any]] = []
    for part in chat.parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            content.append({"type": "image_url", "image_url": {"url": picture_url(part, format, longest_side)}})
    only_text = len(chat.parts) == 1 and isinstance(chat.parts[0], str)
    messages: list[dict[str, Any]] = [{"role": "user", "content": chat.parts[0] if only_text else content}]
    if chat.system:
        messages.insert(0, {"role": "system", "content": chat.system})
    return {
        "model": model,
        "messages": messages,
        "max_tokens": chat.max_tokens,
        "temperature": 0,
        "seed": seed,
        "stream": False,
    }


def body_digest(body: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change with anything in a request."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def read_answer(body: object) -> Answer:
    """The answer in a completion's JSON.

    Raises:
        MalformedResponse: it holds no message of a model.
    """
    choice = _first(_field(body, "choices"))
    message = _field(choice, "message")
    if not isinstance(message, dict):
        raise MalformedResponse("no choices[0].message")
    usage = _field(body, "usage")
    return Answer(
        _text_of(message.get("content")),
        _tokens_of(_field(_field(choice, "logprobs"), "content")),
        _count(_field(usage, "prompt_tokens")),
        _count(_field(usage, "completion_tokens")),
    )


def read_error(body: object) -> tuple[str, str, int | None] | None:
    """(message, code, status) of an error in a server's JSON, in the shapes that servers write; None where none is."""
    error = _field(body, "error")
    if isinstance(error, dict):
        code = error.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else None
        return str(error.get("message", error)), str(code or error.get("type") or ""), status
    if isinstance(error, str):
        return error, "", None
    if _field(body, "object") == "error" or _field(body, "detail") is not None:
        return str(_field(body, "message") or _field(body, "detail")), str(_field(body, "type") or ""), None
    return None


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text_of(content: object) -> str:
    """A message's words: plain, in parts, or none (a model that only thought, or was cut off)."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(_field(part, "text") or "") for part in content)
    raise MalformedResponse("choices[0].message.content is neither text nor a list of parts")


def _tokens_of(entries: object) -> tuple[Token, ...]:
    """Tokens with their alternatives; none at all where the list is not whole."""
    if not isinstance(entries, list):
        return ()
    tokens: list[Token] = []
    for entry in entries:
        text, own = _field(entry, "token"), _field(entry, "logprob")
        if not isinstance(text, str) or not _is_weight(own):
            return ()
        listed = _field(entry, "top_logprobs")
        others = listed if isinstance(listed, list) else []
        pairs = [(_field(other, "token"), _field(other, "logprob")) for other in others]
        alternatives = {word: float(weight) for word, weight in pairs if isinstance(word, str) and _is_weight(weight)}
        tokens.append(Token(text, {text: float(own), **alternatives}))
    return tuple(tokens)


def _is_weight(value: object) -> bool:
    """A finite number that a log-probability can be; rounding may lift one a little above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value <= 1e-3
