"""A real rainy photograph as the knowledge base keeps it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Standing(StrEnum):
    """Whether a photograph is used as a reference."""

    CANDIDATE = "candidate"
    """Passed the prefilter; used unless a person says otherwise."""
    ACCEPTED = "accepted"
    """By a person."""
    REJECTED = "rejected"
    """By a person; kept so that it does not come back."""
    REFUSED = "refused"
    """By the prefilter, for the reason in `reason`; kept so that it is not measured again."""


@dataclass(frozen=True)
class Record:
    """One photograph. Those refused have no texts and no vectors."""

    digest: str
    """sha256 of the file, 64 hexadecimal digits: the key."""
    path: str
    source: str
    """Name of the data set or folder it came from."""
    width: int
    height: int
    type: str
    """Rain type: drs, drd, nrs, nrd."""
    light: str
    """day or night."""
    standing: Standing
    reason: str
    """Why it was refused or rejected, empty otherwise."""
    quality: float
    """No-reference quality in [0, 1]."""
    perceptual_hash: int
    """64 bits."""
    caption: str
    expansion: str
    """The expander's text, empty without one."""
    keywords: tuple[str, ...]
    description: str
    """What the text vector was made of."""
    text: npt.NDArray[np.float32]
    """(D_text,), length 1."""
    visual: npt.NDArray[np.float32]
    """(D_visual,), length 1."""
    luminance: npt.NDArray[np.uint8]
    """(256, 256), Y' of BT.601, averaged over areas."""
    thumbnail: bytes
    """A small JPEG for pages."""


@dataclass(frozen=True)
class Entry:
    """What a list of many photographs shows of one."""

    digest: str
    path: str
    source: str
    type: str
    light: str
    standing: Standing
    reason: str
    quality: float
    width: int
    height: int
