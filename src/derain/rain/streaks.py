"""Streaks of falling rain, drawn one by one.

A drop that falls through the exposure leaves a thin capsule: a soft profile across, tapered ends, and along its length
the brightness of a drop that oscillates (Garg & Nayar, "Photorealistic rendering of rain streaks", 2006). Every streak
is evaluated at the few pixels it covers and added to the picture, so that the cost follows the rain and not the
picture. Sizes are given for a frame 512 pixels high and scale with the height of the picture drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

FRAME_HEIGHT = 512
"""Height in pixels of the frame that all sizes of streaks refer to."""

STEEPEST_ANGLE_DEG = 75.0
"""Streaks are drawn row by row, so they may not lie down flat."""

_PIXEL_SIGMA = 0.35  # the pixel's own footprint, which keeps a streak thinner than a pixel from flickering
_REACH = 2.5  # the profile is cut where it has fallen to 4 %
_WINDOWS = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
    256,
    512,
    1024,
    2048,
)  # half widths in pixels for which streaks are drawn together


@dataclass(frozen=True)
class StreakStyle:
    """One layer of streaks that look alike. Lengths and widths in pixels of a frame 512 pixels high."""

    density: float
    """Streaks per million pixels of that frame."""
    angle_deg: float
    """Direction of fall: 0 is straight down, positive drifts to the right on the way down."""
    angle_spread_deg: float
    """Standard deviation of the direction between streaks."""
    length: float
    """Median length."""
    width: float
    """Full width at half of the peak of a streak in focus."""
    strength: float
    """Median of the peak opacity (or added light) of a streak."""
    length_spread: float = 0.35
    """Standard deviation of the logarithm of the length."""
    width_spread: float = 0.2
    """Standard deviation of the logarithm of the width."""
    strength_spread: float = 0.5
    """Standard deviation of the logarithm of the strength: few drops are caught by the light, most are faint."""
    defocus: float = 0.0
    """Standard deviation of the blur of a streak out of focus; it spreads the light and lowers the peak."""
    oscillation: float = 0.0
    """Amplitude of the brightness along the streak, from the drop's oscillation."""
    taper: float = 0.3
    """Part of the half length over which the ends fade."""
    distance: float = 0.0
    """How far off the layer falls, 0 (lens) to 1 (horizon): what stands nearer hides it."""


def zoomed(style: StreakStyle, zoom: float) -> StreakStyle:
    """The style seen through a longer (zoom > 1) or a shorter lens: larger and fewer streaks."""
    return replace(
        style,
        density=style.density / zoom**1.5,
        length=style.length * zoom,
        width=style.width * zoom,
        defocus=style.defocus * zoom,
    )


@dataclass(frozen=True)
class Streaks:
    """N streaks in pixels of the picture drawn; each field (N,). `picture` counts within the batch (int64)."""

    picture: Tensor
    x: Tensor
    y: Tensor
    angle_deg: Tensor
    half_length: Tensor
    sigma: Tensor
    peak: Tensor
    oscillation: Tensor
    cycles: Tensor
    phase: Tensor
    taper: Tensor

    def select(self, rows: Tensor) -> "Streaks":
        """The streaks at the given indices."""
        return Streaks(**{name: value[rows] for name, value in vars(self).items()})


def draw_streaks(
    styles: Sequence[Sequence[StreakStyle]],
    height: int,
    width: int,
    generator: torch.Generator,
    depth: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw each picture's layers of streaks; overlapping ones add up.

    Args:
        styles: the layers of each picture of the batch; a picture may have none.
        height, width: size of the pictures; all lengths scale with height / 512.
        generator: the same draws are made at any size, so that a larger picture of the same shape shows the same
            rain, larger.
        depth: (B, 1, H, W), 0 near to 1 far. Without it nothing hides a streak.
        device: where to draw.

    Returns:
        (B, 1, H, W), not negative, unbounded: the sum of the streaks' strengths.
    """
    streaks = sample_streaks(styles, height, width, generator, device)
    if depth is not None:
        counts = _counts([style for layers in styles for style in layers], height, width, device)
        distances = torch.tensor([style.distance for layers in styles for style in layers], device=device)
        hidden_by = depth[
            streaks.picture,
            0,
            streaks.y.long().clamp(0, height - 1),
            streaks.x.long().clamp(0, width - 1),
        ]
        visible = (1 + (hidden_by - distances.repeat_interleave(counts)) / 0.15).clamp(0, 1)
        streaks = Streaks(**{**vars(streaks), "peak": streaks.peak * visible})
    return rasterise(streaks, len(styles), height, width)


def streak_count(style: StreakStyle, height: int, width: int) -> int:
    """Streaks of a style in a picture of this shape (not size)."""
    area = FRAME_HEIGHT * FRAME_HEIGHT * width / height / 1e6
    return max(1, round(style.density * area))


def _counts(styles: Sequence[StreakStyle], height: int, width: int, device: torch.device | str) -> Tensor:
    return torch.tensor([streak_count(style, height, width) for style in styles], dtype=torch.int64, device=device)


def sample_streaks(
    styles: Sequence[Sequence[StreakStyle]],
    height: int,
    width: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Streaks:
    """Place every streak of every picture, in pixels of a picture height x width; the tensors lie on `device`."""
    scale = height / FRAME_HEIGHT
    layers = [(picture, style) for picture, layer in enumerate(styles) for style in layer]
    total = sum(streak_count(style, height, width) for _, style in layers)
    counts = _counts([style for _, style in layers], height, width, device)

    def each(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device).repeat_interleave(counts, output_size=total)

    uniform = torch.rand(5, total, generator=generator, device=generator.device).to(device)
    normal = torch.randn(4, total, generator=generator, device=generator.device).to(device)
    angle = each([s.angle_deg for _, s in layers]) + each([s.angle_spread_deg for _, s in layers]) * normal[0]
    length = each([s.length for _, s in layers]) * torch.exp(each([s.length_spread for _, s in layers]) * normal[1])
    width_px = each([s.width for _, s in layers]) * torch.exp(each([s.width_spread for _, s in layers]) * normal[2])
    strength = each([s.strength for _, s in layers])
    strength = strength * torch.exp(each([s.strength_spread for _, s in layers]) * normal[3])
    focused = width_px / 2.355
    sharp = torch.hypot(focused * scale, torch.tensor(_PIXEL_SIGMA, device=device))
    sigma = torch.hypot(sharp, each([s.defocus for _, s in layers]) * scale)
    half_length = length * scale / 2
    # Streaks may begin outside the picture: the field they are placed in is larger by their own length.
    margin = half_length
    # Out of focus and below a pixel's width the light is spread over more pixels, its sum stays.
    peak = strength * (focused * scale / sigma).clamp(max=1.0)
    return Streaks(
        picture=torch.tensor([picture for picture, _ in layers], dtype=torch.int64, device=device).repeat_interleave(
            counts, output_size=total
        ),
        x=uniform[0] * (width + 2 * margin) - margin,
        y=uniform[1] * (height + 2 * margin) - margin,
        angle_deg=angle.clamp(-STEEPEST_ANGLE_DEG, STEEPEST_ANGLE_DEG),
        half_length=half_length,
        sigma=sigma,
        peak=peak,
        oscillation=each([s.oscillation for _, s in layers]) * uniform[2],
        cycles=1.0 + 4.0 * uniform[3],
        phase=2 * math.pi * uniform[4],
        taper=each([s.taper for _, s in layers]),
    )


def streak_profile(along: Tensor, across: Tensor, streaks: Streaks) -> Tensor:
    """Brightness of a streak at a place given along and across it, in pixels from its centre.

    peak * exp(-across^2 / 2 sigma^2) * ends(along) * (1 + oscillation * sin(2 pi cycles along / length + phase)),
    where the ends fall linearly from 1 to 0 over `taper` of the half length, centred on the streak's end.
    """
    fade = streaks.taper * streaks.half_length + streaks.sigma
    ends = ((streaks.half_length - along.abs()) / fade + 0.5).clamp(0, 1)
    wave = torch.sin(math.pi * streaks.cycles * along / streaks.half_length + streaks.phase)
    return streaks.peak * torch.exp(-0.5 * (across / streaks.sigma) ** 2) * ends * (1 + streaks.oscillation * wave)


def rasterise(streaks: Streaks, batch: int, height: int, width: int) -> Tensor:
    """Sum of the streaks' profiles at the pixel centres, (batch, 1, height, width)."""
    canvas = torch.zeros(batch * height * width, device=streaks.x.device)
    cosine = torch.cos(torch.deg2rad(streaks.angle_deg))
    half_window = (_REACH * streaks.sigma / cosine).ceil()
    lower = 0
    for window in _WINDOWS:
        rows = ((half_window > lower) & (half_window <= window)).nonzero()[:, 0]
        lower = window
        if len(rows):
            _rasterise_window(canvas, streaks.select(rows), window, height, width)
    return canvas.view(batch, 1, height, width)


def _rasterise_window(canvas: Tensor, streaks: Streaks, window: int, height: int, width: int) -> None:
    """Add streaks that reach at most `window` columns to either side of their axis."""
    radians = torch.deg2rad(streaks.angle_deg)
    sine, cosine = torch.sin(radians), torch.cos(radians)
    fade = streaks.taper * streaks.half_length + streaks.sigma
    half_rows = (streaks.half_length + 0.5 * fade) * cosine + _REACH * streaks.sigma * sine.abs()
    first = (streaks.y - half_rows - 0.5).ceil().clamp(min=0)
    last = (streaks.y + half_rows - 0.5).floor().clamp(max=height - 1)
    counts = (last - first + 1).clamp(min=0).long()
    # One entry per streak and row it crosses.
    index = torch.arange(len(counts), device=canvas.device).repeat_interleave(counts)
    start = counts.cumsum(0) - counts
    row = torch.arange(len(index), device=canvas.device) - start[index] + first[index].long()
    dy = row + 0.5 - streaks.y[index]
    axis_x = streaks.x[index] + dy * (sine / cosine)[index]
    near = (axis_x > -window - 1) & (axis_x < width + window + 1)
    index, row, dy, axis_x = index[near], row[near], dy[near], axis_x[near]
    column = axis_x.floor().long()[:, None] + torch.arange(-window, window + 1, device=canvas.device)
    dx = column + 0.5 - streaks.x[index][:, None]
    s, c = sine[index][:, None], cosine[index][:, None]
    along = dx * s + dy[:, None] * c
    across = dx * c - dy[:, None] * s
    values = streak_profile(along, across, _as_columns(streaks, index))
    inside = (column >= 0) & (column < width)
    place = (streaks.picture[index] * height + row)[:, None] * width + column
    canvas.index_add_(0, place[inside], values[inside])


def _as_columns(streaks: Streaks, index: Tensor) -> Streaks:
    return Streaks(**{name: value[index][:, None] for name, value in vars(streaks).items()})
