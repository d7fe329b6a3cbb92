"""Random numbers of the rain simulator: every draw comes from one `torch.Generator`."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomSampler:
    """Draws scalars and vectors of float32 from `generator`; vectors lie on the generator's own device."""

    generator: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        """One number, evenly from [low, high)."""
        return float(self.uniforms(1, low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """One number from [low, high), evenly in its logarithm; both bounds positive."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def whole(self, low: int, high: int) -> int:
        """One whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (1,), generator=self.generator, device=self.generator.device))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform(0.0, 1.0) < probability

    def choice(self, weights: list[float]) -> int:
        """An index into `weights`, drawn with probability in proportion to them."""
        point = self.uniform(0.0, sum(weights))
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return index
        return len(weights) - 1

    def uniforms(self, count: int, low: float, high: float) -> Tensor:
        """(count,) numbers, each evenly from [low, high)."""
        return low + (high - low) * torch.rand(count, generator=self.generator, device=self.generator.device)

    def normals(self, count: int, mean: float, deviation: float) -> Tensor:
        """(count,) numbers of the normal distribution."""
        return mean + deviation * torch.randn(count, generator=self.generator, device=self.generator.device)

    def log_normals(self, count: int, median: float, deviation: float, low: float, high: float) -> Tensor:
        """(count,) numbers whose logarithm is normal, clamped to [low, high]."""
        return (median * self.normals(count, 0.0, deviation).exp()).clamp(low, high)

    def chances(self, count: int, probability: float) -> Tensor:
        """(count,) zeros and ones; one with the given probability."""
        return (self.uniforms(count, 0.0, 1.0) < probability).float()
