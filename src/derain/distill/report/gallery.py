"""Galleries of a report: a few kept and dropped pairs, with references, votes, scores and reasons."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from derain.distill.judges.interface import Outcome
from derain.distill.results import Reference, ResultRow, sample_rows
from derain.distill.review.pictures import reduced_jpeg
from derain.errors import ImageError

PAIR_SIDE = 288
REFERENCE_SIDE = 112
"""Pixels of the longer side."""

_QUALITY = 80


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    url: str | None
    """A data URL; None where the file cannot be shown."""
    label: str
    width: int = 0
    height: int = 0
    """Pixels, so that the page has its place before it is decoded."""


@dataclass(frozen=True)
class Card:
    """A pair in the gallery."""

    row: ResultRow
    pair: tuple[Shown, ...]
    references: tuple[Shown, ...]

    @property
    def size(self) -> int:
        """Characters of its pictures."""
        return sum(len(shown.url or "") for shown in (*self.pair, *self.references))


@dataclass(frozen=True)
class Gallery:
    """Pairs of one outcome."""

    outcome: Outcome
    cards: tuple[Card, ...]
    left_out: int
    """Pairs that were drawn and found no room on the page."""


def make_gallery(out: Path, outcome: Outcome, count: int, seed: int, room: int) -> Gallery:
    """At most `count` pairs of an outcome whose pictures take at most `room` characters.

    They are spread evenly over reasons and types, so that rare reasons are seen too. Pictures that cannot be read are
    named instead of shown.
    """
    rows = sample_rows(out, outcome, count, seed, judged_only=False, by=("reason", "type"))
    rows = sorted(rows, key=lambda row: (row.reason, row.type, row.key))
    cards: list[Card] = []
    for row in rows:
        card = _card(row)
        if sum(each.size for each in cards) + card.size > room:
            break
        cards.append(card)
    return Gallery(outcome, tuple(cards), len(rows) - len(cards))


def _card(row: ResultRow) -> Card:
    pair = [_shown(row.rainy, "with rain", PAIR_SIDE)]
    if row.clean is not None:
        pair.append(_shown(row.clean, "without rain", PAIR_SIDE))
    return Card(row, tuple(pair), _references(row.references))


def _references(references: Sequence[Reference]) -> tuple[Shown, ...]:
    return tuple(_shown(reference.path, _figures(reference), REFERENCE_SIDE) for reference in references[:4])


def _figures(reference: Reference) -> str:
    figures = {"text": reference.text_distance, "cosine": reference.cosine, "SSIM": reference.ssim}
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items() if value is not None)


def _shown(path: Path, label: str, side: int) -> Shown:
    try:
        data = reduced_jpeg(path, side, _QUALITY)
    except ImageError:
        return Shown(None, f"{path.name} cannot be shown")
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
    return Shown("data:image/jpeg;base64," + base64.b64encode(data).decode(), label, width, height)
