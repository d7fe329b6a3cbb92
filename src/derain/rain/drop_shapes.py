"""Which drops sit on a pane of glass: how many, where, how large and of what outline.

Lengths are in picture heights, so that the same draw fits any resolution. Outline: a circle of radius r whose edge is
modulated by a few harmonics, joined smoothly to a second, smaller circle (merged drops, egg shapes), then stretched.
"""

import math
from dataclasses import dataclass, fields
from enum import StrEnum

import torch
from torch import Tensor

from derain.rain.random_sampler import RandomSampler

HARMONICS = (2, 3, 4, 5)
_MOST_CANDIDATES = 700
_CROWDING = 0.62
"""Centres of two drops lie at least this share of their radii's sum apart; closer ones would have merged."""


class GlassStyle(StrEnum):
    """What a camera behind wet glass typically shows."""

    SOFT = "soft"
    """Focus on the scene, large drops out of focus: the usual photograph through a window or with a wet lens."""
    FINE = "fine"
    """Many small, fairly sharp drops over a sharp scene (windscreens, phones, wide angles)."""
    MIXED = "mixed"
    """Large soft drops and fine ones."""
    DROP_FOCUS = "drop_focus"
    """Focus on the glass: sharp drops over a blurred scene."""


DAY_STYLE_WEIGHTS = {
    GlassStyle.SOFT: 0.52,
    GlassStyle.FINE: 0.17,
    GlassStyle.MIXED: 0.18,
    GlassStyle.DROP_FOCUS: 0.13,
}
"""How often each style is drawn by day."""
NIGHT_STYLE_WEIGHTS = DAY_STYLE_WEIGHTS | {GlassStyle.SOFT: 0.45, GlassStyle.DROP_FOCUS: 0.2}
"""How often by night, when a camera is more often focused on the glass for want of contrast behind it."""

DAY_COVERAGES = {"light": (0.02, 0.07), "medium": (0.08, 0.22), "heavy": (0.22, 0.45)}
"""Share of the picture under drops, from ... to, by severity."""
NIGHT_COVERAGES = {"light": (0.03, 0.1), "medium": (0.1, 0.28), "heavy": (0.28, 0.5)}
"""The same by night, when a share of the drops goes unseen in the dark."""


@dataclass(frozen=True)
class Drops:
    """Outlines of n drops; every field is (n, ...), lengths in picture heights, angles in radians."""

    x: Tensor
    y: Tensor
    radius: Tensor
    stretch: Tensor
    """Length over width."""
    axis: Tensor
    """Direction of the stretch; 0 is vertical."""
    lobe_x: Tensor
    """Centre of the second circle, in radii."""
    lobe_y: Tensor
    lobe_radius: Tensor
    """Radius of the second circle, in radii of the first."""
    amplitude: Tensor
    """(n, 4) strength of each harmonic of the edge, in radii."""
    phase: Tensor
    """(n, 4)."""
    opacity: Tensor
    """0 to 1, of the drop's middle, if in focus."""
    defocus: Tensor
    """Radius of the circle that the camera spreads a point of the glass to."""

    @property
    def reach(self) -> Tensor:
        """(n,) upper bound of the distance from the centre to anything the drop touches."""
        lobe = torch.hypot(self.lobe_x, self.lobe_y) + self.lobe_radius
        size = torch.maximum(1 + self.amplitude.abs().sum(dim=1), lobe + 0.15)
        return self.radius * size * self.stretch.clamp(min=1 / self.stretch).sqrt() + self.defocus


def join(groups: list[Drops]) -> Drops:
    """All drops of several groups in one."""
    return Drops(**{f.name: torch.cat([getattr(group, f.name) for group in groups]) for f in fields(Drops)})


def select(drops: Drops, index: Tensor) -> Drops:
    """The drops at `index`, in its order."""
    return Drops(**{f.name: getattr(drops, f.name)[index] for f in fields(Drops)})


def move(drops: Drops, device: torch.device) -> Drops:
    """The same drops on another device."""
    return Drops(**{f.name: getattr(drops, f.name).to(device) for f in fields(Drops)})


def spread_drops(style: GlassStyle, severity: str, aspect: float, is_night: bool, sampler: RandomSampler) -> Drops:
    """Drops for one picture that is `aspect` times as wide as high."""
    coverage = sampler.uniform(*(NIGHT_COVERAGES if is_night else DAY_COVERAGES)[severity])
    if style is GlassStyle.SOFT:
        median = sampler.log_uniform(0.018, 0.05)
        drops = _population(coverage, median, 0.4, median * sampler.log_uniform(0.12, 0.85), aspect, sampler)
    elif style is GlassStyle.FINE:
        median = sampler.log_uniform(0.006, 0.018)
        drops = _population(0.8 * coverage, median, 0.5, sampler.log_uniform(0.0008, 0.004), aspect, sampler)
    elif style is GlassStyle.DROP_FOCUS:
        median = sampler.log_uniform(0.008, 0.03)
        drops = _population(0.9 * coverage, median, 0.5, sampler.uniform(0.001, 0.002), aspect, sampler)
    else:
        large, small = sampler.log_uniform(0.02, 0.05), sampler.log_uniform(0.005, 0.01)
        defocus = sampler.log_uniform(0.003, 0.012)
        drops = join(
            [
                _population(0.7 * coverage, large, 0.3, 1.5 * defocus, aspect, sampler),
                _population(0.2 * coverage, small, 0.4, 0.5 * defocus, aspect, sampler),
            ]
        )
    if sampler.chance(0.25):
        drops = join([drops, *(_runner(drops, index, sampler) for index in _runner_heads(drops, sampler))])
    return drops


def _population(
    coverage: float, median: float, deviation: float, defocus: float, aspect: float, sampler: RandomSampler
) -> Drops:
    """Drops of log-normal radius until they cover the wanted share of the picture."""
    wanted = -math.log(1 - coverage) * aspect  # overlaps are counted twice
    mean_area = math.pi * median**2 * math.exp(2 * deviation**2)
    count = min(_MOST_CANDIDATES, 20 + math.ceil(3 * wanted / mean_area))  # most crowded panes lose two of three
    radius = sampler.log_normals(count, median, deviation, 0.003, 0.09)
    x, y = sampler.uniforms(count, 0.0, aspect), sampler.uniforms(count, 0.0, 1.0)
    if sampler.chance(0.3):  # rain beats harder on one part of the glass than on another
        centre_x, centre_y, width = sampler.uniform(0, aspect), sampler.uniform(0, 1), sampler.uniform(0.15, 0.4)
        near = sampler.chances(count, sampler.uniform(0.3, 0.8))
        x = torch.where(near > 0, sampler.normals(count, centre_x, width), x)
        y = torch.where(near > 0, sampler.normals(count, centre_y, width), y)
    inside = (x > -0.05) & (x < aspect + 0.05) & (y > -0.05) & (y < 1.05)
    apart = (x[:, None] - x).square() + (y[:, None] - y).square()
    spare = apart - (_CROWDING * (radius[:, None] + radius)).square()
    kept = inside & (spare.tril(diagonal=-1).amin(dim=1) >= 0)  # whoever came first stays
    area = torch.cumsum(torch.where(kept, math.pi * radius**2, torch.zeros_like(radius)), dim=0)
    kept = kept & (area - math.pi * radius**2 < wanted)
    kept[0] = True
    return _outlines(x[kept], y[kept], radius[kept], defocus, sampler)


def _outlines(x: Tensor, y: Tensor, radius: Tensor, defocus: float, sampler: RandomSampler) -> Drops:
    """Outlines for drops of given place and radius; all are alike in roughness and lean, as on one pane."""
    count = len(x)
    roughness = sampler.log_uniform(0.02, 0.18)
    stretch_most = sampler.uniform(1.05, 1.5)
    lean = 0.0 if sampler.chance(0.8) else sampler.uniform(-math.pi / 2, math.pi / 2)
    if sampler.chance(0.15):  # driving presses drops flat and drives them outwards
        lean, stretch_most = sampler.uniform(-0.3, 0.3) + math.pi / 2, sampler.uniform(1.3, 2.2)
    stretch = 1 + (stretch_most - 1) * sampler.uniforms(count, 0.0, 1.0)
    merged = sampler.chances(count, sampler.uniform(0.05, 0.3))
    lobe_radius = torch.where(merged > 0, sampler.uniforms(count, 0.5, 0.95), sampler.uniforms(count, 0.3, 0.8))
    lobe_distance = torch.where(
        merged > 0,
        sampler.uniforms(count, 0.8, 1.3),
        (1.25 - lobe_radius).clamp(max=0.75) * sampler.uniforms(count, 0, 1),
    )
    # single drops hang: their smaller circle lies above the main one, which gives the egg shape
    lobe_angle = torch.where(merged > 0, sampler.uniforms(count, -math.pi, math.pi), sampler.normals(count, 0.0, 0.5))
    harmonic_decay = torch.tensor([1.0, 0.8, 0.5, 0.35], device=x.device)
    amplitude = roughness * harmonic_decay * sampler.normals(4 * count, 0.0, 0.7).clamp(-2, 2).view(count, 4)
    opacity_most = sampler.uniform(0.7, 1.0)
    return Drops(
        x=x,
        y=y,
        radius=radius,
        stretch=stretch,
        axis=lean + sampler.normals(count, 0.0, 0.15),
        lobe_x=lobe_distance * lobe_angle.sin(),
        lobe_y=-lobe_distance * lobe_angle.cos(),
        lobe_radius=lobe_radius,
        amplitude=amplitude,
        phase=sampler.uniforms(4 * count, -math.pi, math.pi).view(count, 4),
        opacity=opacity_most * sampler.uniforms(count, 0.75, 1.0),
        defocus=defocus * sampler.uniforms(count, 0.8, 1.25),
    )


def _runner_heads(drops: Drops, sampler: RandomSampler) -> list[int]:
    """Up to six of the larger drops, which have begun to run down."""
    largest = torch.argsort(drops.radius, descending=True)[:24]
    return [int(largest[sampler.whole(0, len(largest) - 1)]) for _ in range(sampler.whole(1, 6))]


def _runner(drops: Drops, head: int, sampler: RandomSampler) -> Drops:
    """The wet trail above a drop that has run down: a thin wavy film, and beads that broke off from it."""
    x, y, radius = float(drops.x[head]), float(drops.y[head]), float(drops.radius[head])
    defocus = float(drops.defocus[head])
    width = radius * sampler.uniform(0.3, 0.6)
    length = sampler.uniform(0.1, 0.5)
    count = min(80, max(2, int(length / (1.2 * width))))
    rise = torch.linspace(0.0, 1.0, count, device=drops.x.device)
    wave = torch.sin(rise * sampler.uniform(2, 9) + sampler.uniform(0, 6)) * radius * sampler.uniform(0.1, 0.7)
    film = _outlines(x + wave - wave[0], y - radius - rise * length, width * (1 - 0.4 * rise), defocus, sampler)
    beads = sampler.whole(2, 8)
    bead_rise = sampler.uniforms(beads, 0.0, 1.0)
    bead = _outlines(
        x + sampler.normals(beads, 0.0, 0.4 * width),
        y - radius - bead_rise * length,
        width * sampler.uniforms(beads, 0.25, 0.6),
        defocus,
        sampler,
    )
    faint = film.opacity * sampler.uniform(0.2, 0.6) * (1 - 0.7 * rise)
    values = {f.name: getattr(film, f.name) for f in fields(Drops)}
    film = Drops(
        **(values | {"opacity": faint, "stretch": film.stretch * 1.5, "axis": 0.3 * sampler.normals(count, 0, 0.3)})
    )
    return join([film, bead])
