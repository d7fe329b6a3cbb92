"""Where training samples come from: a source draws a rainy picture and its clean partner for a named type.

A source is anything with `types` and `draw`; here are the one over manifests of pairs, and the mixture of several.
(The source that simulates rain lives in `train.simulated`, as `data` does not import the simulator.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from derain.data.check import sizes_differ
from derain.data.pairs import Pair
from derain.data.pending import PendingSimulation
from derain.data.table import PairRows
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

    def prepare(self, type_name: str, generator: torch.Generator) -> "RainyPicture | PendingSimulation":
        """The same, but what is simulated may be left to be simulated; both draw alike from the generator."""
        ...


class PairSource:
    """Pairs of manifests, drawn evenly (with replacement) over the pairs of a type.

    Args:
        pairs: rows of a table, of which only numbers are held, or any other pairs.

    Raises:
        DatasetError: a pair has no clean partner or no type.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs if isinstance(pairs, PairRows) else _ListedPairs(pairs)
        lacking, first = self._pairs.without_clean()
        if first is not None:
            raise _incomplete(first, lacking, "clean partner")

    @property
    def types(self) -> frozenset[str]:
        """The types that occur in the pairs."""
        return self._pairs.types

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """Decode one pair of the type, as it lies on disk.

        Raises:
            DatasetError: the two pictures of the pair differ in size.
            ImageError: one of them cannot be read.
        """
        rows = self._pairs.of_type(type_name)
        pair = self._pairs.table[int(rows[int(torch.randint(len(rows), (1,), generator=generator))])]
        assert pair.clean is not None  # refused when the source was made
        rainy, clean = read_image(pair.rainy)[0], read_image(pair.clean)[0]
        if rainy.shape != clean.shape:
            of_rainy, of_clean = ((image.shape[2], image.shape[1]) for image in (rainy, clean))
            raise DatasetError(sizes_differ(pair, of_rainy, of_clean))
        return RainyPicture(rainy, clean)

    def prepare(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """The same as `draw`: there is nothing to simulate."""
        return self.draw(type_name, generator)


class _ListedPairs:
    """Pairs in memory, of which a source needs to know the same as of rows of a table."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.table = pairs
        self._by_type: dict[str, list[int]] = {}
        without = [pair for pair in pairs if pair.type is None]
        if without:
            raise _incomplete(without[0], len(without), "type")
        for row, pair in enumerate(pairs):
            self._by_type.setdefault(pair.type or "", []).append(row)

    @property
    def types(self) -> frozenset[str]:
        return frozenset(self._by_type)

    def of_type(self, type_name: str) -> Sequence[int]:
        return self._by_type[type_name]

    def without_clean(self) -> tuple[int, Pair | None]:
        lacking = [pair for pair in self.table if pair.clean is None]
        return len(lacking), lacking[0] if lacking else None


def _incomplete(pair: Pair, count: int, lacking: str) -> DatasetError:
    more = f" (and {count - 1} more)" if count > 1 else ""
    return DatasetError(f"pair {pair.id!r} has no {lacking}{more}; leave it out of the manifests to train on")


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
                known = sorted({name for entry in sources if entry.weight > 0 for name in entry.source.types})
                idle = any(name in entry.source.types for entry in sources)
                raise DatasetError(
                    f"type {name!r} is in none of the sources{' that have a weight' if idle else ''}, they have "
                    f"{', '.join(known) or 'nothing'}; add a source of it or take it out of data.types"
                )
            self._sources[name] = [entry.source for entry in having]
            self._weights[name] = torch.tensor([entry.weight for entry in having], dtype=torch.float64)

    @property
    def types(self) -> frozenset[str]:
        """The wanted types."""
        return frozenset(self._sources)

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """One sample from a source chosen by weight."""
        return self._choose(type_name, generator).draw(type_name, generator)

    def prepare(self, type_name: str, generator: torch.Generator) -> RainyPicture | PendingSimulation:
        """The same sample, prepared by its source."""
        return self._choose(type_name, generator).prepare(type_name, generator)

    def _choose(self, type_name: str, generator: torch.Generator) -> Source:
        chosen = int(torch.multinomial(self._weights[type_name], 1, generator=generator))
        return self._sources[type_name][chosen]
