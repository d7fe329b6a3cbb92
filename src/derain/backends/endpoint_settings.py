"""How a model server is asked, and where it is."""

import re
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field

from derain.backends.chat import PictureFormat
from derain.errors import SettingsError
from derain.settings import Settings


class EndpointSettings(Settings):
    """How a model server is asked."""

    key_variable: str | None = None
    """Name of the environment variable that holds the API key; None for servers that want none."""
    revision: str | None = None
    """What the server serves, in your words (a commit, a file's digest). With it, answers stay valid when the server
    moves; without it, the address stands for it."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at once. A run puts `batch_rows` questions together at most, so this is not to be more."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that leave in a minute at most, evenly spaced; None for no limit."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for a whole reply."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    """Seconds to be let in."""
    attempts: int = Field(default=6, ge=1)
    """How often one question is put before it counts as unanswered."""
    first_wait_s: float = Field(default=1.0, ge=0)
    """Wait after the first failure; it doubles with each further one."""
    longest_wait_s: float = Field(default=60.0, ge=0)
    """No wait is longer; a server that asks for more is given up at once."""
    seed: int = 0
    """Of the spread of waits, and sent to the server."""
    picture_format: PictureFormat = "jpeg"
    """How pictures travel."""
    longest_side: int = Field(default=1024, ge=32)
    """Pictures are reduced to so many pixels before they travel."""
    alternatives: int = Field(default=20, ge=1, le=20)
    """Tokens whose log-probabilities are asked for at each place of a reply. A server that allows fewer is asked for 5,
    then for none: the margin of a word that is not listed is then bounded by fewer. Answers are cached under what is
    asked for here, so set it to what the server allows if that may change."""


def without_secrets(text: str) -> str:
    """A name of a model that holds an address, without the name, key or query that the address may carry."""
    return re.sub(r"\?[^#]*", "?...", re.sub(r"//.*@", "//...@", text))


def completions_url(url: str) -> str:
    """The address of chat completions below a server's address, with or without its `/v1`.

    Raises:
        SettingsError: no http address, or one that carries a name, a key or a query, which answers would carry.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname is not None and (parts.port or 1) > 0
    except ValueError:  # brackets that do not close, a port that is no number
        known = False
    if not known:
        shown = url.partition("?")[0].rpartition("@")[2]
        raise SettingsError(f"{shown!r} is no address of a server; expected one such as http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query:
        raise SettingsError(
            f"the address of {parts.hostname} carries a secret or a query; put the key into an environment variable "
            "and name that in key_variable"
        )
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
