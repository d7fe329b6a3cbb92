"""Where training samples come from: a source draws a rainy picture and its clean partner for a named type.

A source is anything with `types` and `draw`; here are the one over manifests of pairs, and the mixture of several.
(The source that simulates rain lives in `train.simulated`, for this room does not know the simulator.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from derain.data.pairs import Pair
from derain.errors import DatasetError
from derain.imaging.io import read_image


@dataclass(frozen=True)
class RainyPicture:
    """A picture in the rain and the same without: (3, H, W) each, in [0, 1], sRGB-encoded."""

    rainy: Tensor
    clean: Tensor


class Source(Protocol):
    """Draws samples of the types that it has; everything drawn follows from the generator."""

    @property
    def types(self) -> frozenset[str]:
        """The names of the types that can be drawn."""
        ...

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """One sample of a type of `types`, at least as large as a crop on both sides."""
        ...


class PairSource:
    """Pairs from manifests, drawn evenly (with replacement) over the pairs of a type.

    Raises:
        DatasetError: a pair has no clean partner or no type, or its rainy picture is smaller than `minimum_side`.
    """

    def __init__(self, pairs: Sequence[Pair], minimum_side: int) -> None:
        self._pairs: dict[str, list[Pair]] = {}
        for pair in pairs:
            if pair.clean is None or pair.type is None:
                lacking = "clean partner" if pair.clean is None else "type"
                raise DatasetError(f"pair {pair.id!r} has no {lacking}; leave it out of the manifests to train on")
            self._pairs.setdefault(pair.type, []).append(pair)
        require_sides([pair.rainy for pair in pairs], minimum_side)

    @property
    def types(self) -> frozenset[str]:
        """The types that occur in the pairs."""
        return frozenset(self._pairs)

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """Decode one pair of the type, as it lies on disk.

        Raises:
            DatasetError: the two pictures of the pair differ in size.
            ImageError: one of them cannot be read.
        """
        pairs = self._pairs[type_name]
        pair = pairs[int(torch.randint(len(pairs), (1,), generator=generator))]
        assert pair.clean is not None  # refused when the source was made
        rainy, clean = read_image(pair.rainy)[0], read_image(pair.clean)[0]
        if rainy.shape != clean.shape:
            raise DatasetError(
                f"pair {pair.id!r}: {pair.rainy} is {rainy.shape[2]}x{rainy.shape[1]}, its partner {pair.clean} is "
                f"{clean.shape[2]}x{clean.shape[1]} (width x height); pairs must agree pixel by pixel"
            )
        return RainyPicture(rainy, clean)


@dataclass(frozen=True)
class WeightedSource:
    """A source and how often it is asked, relative to the others that have the same type."""

    source: Source
    weight: float


class Mixture:
    """Several sources as one: for each sample one of those that have its type, by their weights.

    Raises:
        DatasetError: a wanted type is in none of the sources, or has no weight: all types or no run.
    """

    def __init__(self, sources: Sequence[WeightedSource], types: Sequence[str]) -> None:
        self._sources: dict[str, list[Source]] = {}
        self._weights: dict[str, Tensor] = {}
        for name in types:
            having = [entry for entry in sources if name in entry.source.types and entry.weight > 0]
            if not having:
                known = sorted({name for entry in sources for name in entry.source.types})
                raise DatasetError(
                    f"type {name!r} is in none of the sources, they have {', '.join(known) or 'nothing'}; "
                    "add a source of it or take it out of data.types"
                )
            self._sources[name] = [entry.source for entry in having]
            self._weights[name] = torch.tensor([entry.weight for entry in having], dtype=torch.float64)

    @property
    def types(self) -> frozenset[str]:
        """The wanted types."""
        return frozenset(self._sources)

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """One sample from a source chosen by weight."""
        chosen = int(torch.multinomial(self._weights[type_name], 1, generator=generator))
        return self._sources[type_name][chosen].draw(type_name, generator)


def require_sides(paths: Sequence[Path], minimum_side: int) -> None:
    """Look at the headers of all pictures, so that a too small one is found at the start and not hours later.

    Raises:
        DatasetError: pictures that are missing, unreadable or smaller than `minimum_side`; the first is named.
    """
    wrong: list[str] = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            wrong.append(f"{path} cannot be opened ({error})")
            continue
        if min(width, height) < minimum_side:
            wrong.append(f"{path} is {width}x{height}")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DatasetError(
            f"wanted pictures of at least {minimum_side} pixels on both sides, but {wrong[0]}{more}; "
            "remove them from the list or take a smaller crop"
        )
