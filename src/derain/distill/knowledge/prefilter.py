"""Which photographs the knowledge base takes, and the named reason with figures for each that it does not.

too_small: 200 x 180, wanted 256 or more
near_duplicate: 3 of 64 bits from 5f0c..., wanted more than 6
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from derain.backends.view import View
from derain.data.near_duplicates import SeenHashes, perceptual_hash
from derain.distill.measure.overlay import Overlays, find_overlays
from derain.distill.measure.quality import Quality, measure_quality
from derain.settings import Settings


class PrefilterSettings(Settings):
    """What a reference has to be. 0 turns the limits of sides, quality, noise and blockiness off."""

    shortest_side: int = Field(256, ge=0)
    """Pixels that the shorter side has at least."""
    sharpness: float = Field(0.06, ge=0)
    """RMS of the Laplacian over RMS contrast, at least; below 0.1 is out of focus."""
    contrast: float = Field(0.03, ge=0)
    """Standard deviation of luma, at least, in parts of full scale."""
    exposure: float = Field(0.2, ge=0, le=1)
    """Score of the exposure, at least: 0 for burnt out or black, 1 for usable."""
    noise: float = Field(0.06, ge=0)
    """Standard deviation of the noise, at most, in parts of full scale."""
    blockiness: float = Field(2.0, ge=0)
    """Excess of steps at the borders of compression blocks, at most."""
    quality: float = Field(0.4, ge=0, le=1)
    """Quality score, at least."""
    refuse_text: bool = True
    """Leave out pictures with lines of text over them."""
    frame_share: float = Field(0.01, ge=0, le=1)
    """Share of the picture that a frame takes, at most; 1 admits any."""
    near_bits: int = Field(6, ge=-1, le=63)
    """Perceptual hashes that differ in at most so many of 64 bits show the same picture; -1 admits near-duplicates."""
    quality_percentile: float = Field(30.0, ge=0, lt=100)
    """Of each type, so many percent with the lowest quality are left out, once all of them have been measured."""


class Prefilter:
    """Leaves out what is no good reference; remembers what it let pass, so that near-duplicates are left out."""

    def __init__(self, settings: PrefilterSettings, seen: Mapping[str, int] | None = None) -> None:
        """Begin with what a base holds already: `seen`, digest -> perceptual hash."""
        self.settings = settings
        self.begin(seen or {})

    def begin(self, seen: Mapping[str, int]) -> None:
        """Remember these pictures alone: digest -> perceptual hash of what a base holds now."""
        self._seen = SeenHashes(max(self.settings.near_bits, 0))
        self._digests: set[str] = set()
        for digest, value in seen.items():
            self._remember(digest, value)

    def reason_against(self, view: View) -> str | None:
        """The first reason against a picture, `name: figures`; None lets it pass and remembers it.

        A picture that passed before, by its digest, passes again.
        """
        reason = size_reason(view, self.settings)
        if reason is None:
            reason = quality_reason(measure_quality(view), self.settings)
        if reason is None:
            reason = overlay_reason(find_overlays(view), self.settings)
        if reason is not None or view.digest in self._digests:
            return reason
        value = perceptual_hash(view.pixels)
        if self.settings.near_bits >= 0:
            nearest = self._seen.nearest(value)
            if nearest is not None:
                return near_duplicate_reason(*nearest, self.settings.near_bits)
        self._remember(view.digest, value)
        return None

    def _remember(self, digest: str, value: int) -> None:
        self._digests.add(digest)
        self._seen.add(value, digest)


def near_duplicate_reason(digest: str, bits: int, near_bits: int) -> str:
    """`near_duplicate` of the picture with this digest."""
    return f"near_duplicate: {bits} of 64 bits from {digest}, wanted more than {near_bits}"


def near_duplicate_of(reason: str) -> str:
    """The digest that `near_duplicate_reason` named."""
    return reason.partition(" bits from ")[2].partition(",")[0]


def size_reason(view: View, settings: PrefilterSettings) -> str | None:
    """`too_small`, or None."""
    if min(view.width, view.height) >= settings.shortest_side:
        return None
    return f"too_small: {view.width} x {view.height}, wanted {settings.shortest_side} or more"


def quality_reason(quality: Quality, settings: PrefilterSettings) -> str | None:
    """`flat`, `badly_exposed`, `blurred`, `noisy`, `blocky`, `low_quality`, or None; in this order."""
    if quality.contrast < settings.contrast:
        return f"flat: contrast {quality.contrast:.3f}, wanted {settings.contrast:g} or more"
    if quality.exposure < settings.exposure:
        return (
            f"badly_exposed: exposure {quality.exposure:.2f}, wanted {settings.exposure:g} or more "
            f"(mean {quality.mean_luma:.2f}, {quality.clipped_dark:.0%} black, {quality.clipped_bright:.0%} white)"
        )
    if quality.sharpness < settings.sharpness:
        return f"blurred: sharpness {quality.sharpness:.3f}, wanted {settings.sharpness:g} or more"
    if 0 < settings.noise < quality.noise:
        return f"noisy: noise {quality.noise:.3f}, wanted {settings.noise:g} or less"
    if 0 < settings.blockiness < quality.blockiness:
        return f"blocky: blockiness {quality.blockiness:.2f}, wanted {settings.blockiness:g} or less"
    if quality.score < settings.quality:
        return f"low_quality: score {quality.score:.3f}, wanted {settings.quality:g} or more"
    return None


def overlay_reason(overlays: Overlays, settings: PrefilterSettings) -> str | None:
    """`text_overlay`, `frame`, or None."""
    if settings.refuse_text and overlays.text:
        line = overlays.text[0]
        lines = "1 line" if len(overlays.text) == 1 else f"{len(overlays.text)} lines"
        return (
            f"text_overlay: {lines}, the first {line.right - line.left:.0%} of the width "
            f"at {line.left:.0%} from the left and {line.top:.0%} from the top, wanted none"
        )
    if overlays.frame is not None and overlays.frame.share > settings.frame_share:
        return f"frame: {overlays.frame.share:.1%} of the picture, wanted {settings.frame_share:.1%} or less"
    return None


def quality_reasons(qualities: Sequence[float], types: Sequence[str], percentile: float) -> list[str | None]:
    """`low_for_type` for those of each type whose quality is below the type's percentile, None for the others.

    Args:
        qualities: (N,) quality scores.
        types: (N,) rain types.
        percentile: 0 to 100, interpolated linearly between ranks; those exactly at it stay, and so does a single one.
    """
    values, names = np.asarray(qualities, np.float64), np.asarray(types, dtype=object)
    reasons: list[str | None] = [None] * len(values)
    for name in sorted(set(types)):
        rows = np.flatnonzero(names == name)
        floor = float(np.percentile(values[rows], percentile))
        for row in rows[values[rows] < floor - 1e-12].tolist():
            reasons[row] = f"low_for_type: score {values[row]:.3f}, wanted {floor:.3f} or more among {name}"
    return reasons
