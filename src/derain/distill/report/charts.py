"""Drawings of a report as SVG text; colours are classes, which the page's style gives for light and dark."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from derain.distill.judges.interface import Outcome

COLOURS = 8
"""Classes `c0` to `c7` are colours for names, `c8` is that of all others."""


def pyramid(real: int | None, kept: int, dropped: int, candidates: int) -> str:
    """The data-quality pyramid: real photographs at the top, what was kept below, what was dropped at the base.

    Tiers are equally high, whatever their counts; these are written beside them, with their
    shares of all candidates. Without `real` there are two tiers.
    """
    tiers = [("real", "real photographs", real)] if real is not None else []
    tiers += [("kept", "kept", kept), ("dropped", "dropped", dropped)]
    height, half_width, middle = 64, 150, 160
    parts = []
    for place, (name, label, count) in enumerate(tiers):
        top, bottom = place * height, (place + 1) * height - 4
        upper, lower = (half_width * y / (len(tiers) * height) for y in (top, bottom))
        corners = f"{middle - upper:.1f},{top} {middle + upper:.1f},{top} {middle + lower:.1f},{bottom} "
        parts.append(f'<polygon class="tier {name}" points="{corners}{middle - lower:.1f},{bottom}"/>')
        line = f'x1="{middle + (upper + lower) / 2:.1f}" x2="322" y1="{top + 34}" y2="{top + 34}"'
        parts.append(f'<line class="leader" {line}/>')
        parts.append(f'<text class="count" x="330" y="{top + 32}">{count:,}</text>')
        share = "" if name == "real" or not candidates else f", {100 * (count or 0) / candidates:.1f} %"
        parts.append(f'<text class="label" x="330" y="{top + 50}">{escape(label)}{share}</text>')
    return _svg(480, len(tiers) * height, "Data-quality pyramid", parts)


def bars(rows: Mapping[str, Mapping[Outcome, int]]) -> str:
    """A bar for each name, divided to scale into kept, dropped and pending."""
    parts = []
    for place, (name, counts) in enumerate(rows.items()):
        total = sum(counts.values())
        top, left = place * 30, 130.0
        parts.append(f'<text class="label" x="122" y="{top + 17}" text-anchor="end">{escape(_brief(name))}</text>')
        for outcome in Outcome:
            width = 250 * counts.get(outcome, 0) / total if total else 0.0
            if width > 0:
                title = f"<title>{counts[outcome]:,} {outcome.value}</title>"
                place_at = f'x="{left:.2f}" y="{top + 4}" width="{width:.2f}" height="18"'
                parts.append(f'<rect class="{outcome.value}" {place_at}>{title}</rect>')
            left += width
        share = 100 * counts.get(Outcome.KEPT, 0) / total if total else 0.0
        parts.append(f'<text class="label" x="388" y="{top + 17}">{share:.1f} % of {total:,}</text>')
    return _svg(520, max(1, len(rows)) * 30, "Kept, dropped and pending by type of rain", parts)


def scatter(points: npt.NDArray[np.float64], classes: Sequence[str], titles: Sequence[str]) -> str:
    """Points (N, 2) within [0, 1] as dots of the given classes, each with a title that is shown on pointing at it."""
    parts = [
        f'<circle class="{shown}" cx="{12 + 576 * x:.1f}" cy="{12 + 576 * (1 - y):.1f}" r="4">'
        f"<title>{escape(title)}</title></circle>"
        for (x, y), shown, title in zip(points.tolist(), classes, titles, strict=True)
    ]
    return _svg(600, 600, "Feature map", parts)


def colour_classes(names: Sequence[str]) -> dict[str, str]:
    """A colour class for each different name: the most frequent get their own, all others share the last."""
    counts = {name: names.count(name) for name in set(names)}
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: f"c{min(place, COLOURS)}" for place, name in enumerate(ranked)}


def _brief(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
