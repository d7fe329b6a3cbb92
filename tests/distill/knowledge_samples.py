"""Records of made-up photographs, and the models they claim to be made with."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from derain.backends.interfaces import Identity
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import Record, ReviewStatus
from derain.distill.knowledge.structure import moments, similarity
from derain.types import RainType

TEXT, VISUAL = 12, 8
TYPES = [rain_type.value for rain_type in RainType]


def identities(captioner: str = "captioner", revision: str = "1") -> BaseIdentities:
    return BaseIdentities(
        captioner=Identity(captioner, revision, {"beams": 3}),
        expander=None,
        keywords=Identity("keybert", "1"),
        text_encoder=Identity("minilm", "1"),
        visual_encoder=Identity("builtin-visual", "1"),
        text_dimensions=TEXT,
        visual_dimensions=VISUAL,
    )


def digest_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def unit(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def record(number: int, type: str = "drs", seed: int = 0) -> Record:
    draw = np.random.default_rng([seed, number])
    return Record(
        digest=digest_of(number),
        path=f"/photos/it's {number}.jpg",
        source="street",
        width=640,
        height=480,
        type=type,
        light="night" if RainType(type).is_night else "day",
        status=ReviewStatus.UNREVIEWED,
        reason="",
        quality=0.75,
        perceptual_hash=2**63 + number,
        caption="a wet street",
        expansion="",
        keywords=("wet", "street"),
        description="wet, street",
        text=unit(draw.normal(size=TEXT)),
        visual=unit(draw.normal(size=VISUAL)),
        luminance=draw.integers(0, 256, (256, 256), dtype=np.uint8),
        thumbnail=b"\xff\xd8",
    )


def records(count: int, types: Sequence[str] = TYPES, seed: int = 0) -> list[Record]:
    return [record(number, types[number % len(types)], seed) for number in range(count)]


def filtered(number: int, reason: str = "too_small: 20 x 20, wanted 256 or more") -> Record:
    nothing = np.empty(0, np.float32)
    return replace(
        record(number),
        type="",
        light="",
        status=ReviewStatus.FILTERED,
        reason=reason,
        text=nothing,
        visual=nothing,
        luminance=np.empty((0, 0), np.uint8),
    )


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    return similarity(moments(a, "plain"), moments(b, "plain"))


def structure_only(a: np.ndarray, b: np.ndarray) -> float:
    return similarity(moments(a, "structure-only"), moments(b, "structure-only"))
