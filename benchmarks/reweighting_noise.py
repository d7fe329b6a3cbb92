"""What the reweighting `full` makes of noise alone: how often AF falls though nothing diverges, and unequal weights.

    python benchmarks/reweighting_noise.py

Made-up losses of four types, each around a course that is flat or falls by the same part at every tick, with noise of
1 % that is independent from tick to tick, or follows that of the tick before (as where the probe looks at a running
mean). 200 ticks, 20 seeds.
"""

import numpy as np

from derain.objectives.reweight import Reweighting, ReweightSettings
from derain.types import RainType

TICKS, SEEDS, NOISE = 200, 20, 0.01
SETTLED = 100
"""Weights are averaged from this tick on."""


def main() -> None:
    """Print the table."""
    print("| falls by a tick | noise follows that before by | AF below 0.5 | largest mean weight | least mean weight |")
    print("|---:|---:|---:|---:|---:|")
    for drift in (0.0, 0.0005, 0.001):
        for kept in (0.0, 0.6, 0.95):
            low, largest, least = measure(drift, kept)
            print(f"| {100 * drift:g} % | {kept:g} | {low:.1%} | {largest:.2f} | {least:.2f} |")


def measure(drift: float, kept: float) -> tuple[float, float, float]:
    """Share of ticks with a low AF, and the largest and least mean weight of a type, over all seeds."""
    low: list[bool] = []
    extremes = []
    for seed in range(SEEDS):
        reweighting = Reweighting(list(RainType), ReweightSettings(method="full"))
        ticks = [
            reweighting.tick(dict(zip(reweighting.types, losses, strict=True)))
            for losses in courses(np.random.default_rng(seed), drift, kept)
        ]
        low += [tick.af < 0.5 for tick in ticks if tick.af is not None]
        mean = np.mean([list(tick.weights.values()) for tick in ticks[SETTLED:]], axis=0)
        extremes.append((mean.max(), mean.min()))
    largest, least = np.mean(extremes, axis=0)
    return float(np.mean(low)), float(largest), float(least)


def courses(random: np.random.Generator, drift: float, kept: float) -> np.ndarray:
    """Losses (ticks, types)."""
    noise = random.standard_normal((TICKS, len(RainType)))
    for tick in range(1, TICKS):
        noise[tick] = kept * noise[tick - 1] + np.sqrt(1 - kept**2) * noise[tick]
    return 0.05 * (1 + NOISE * noise) * np.exp(-drift * np.arange(TICKS))[:, None]


if __name__ == "__main__":
    main()
