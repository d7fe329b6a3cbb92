"""How well a restorer does on pairs of files: one row of figures per pair."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from derain.data.pairs import Pair
from derain.errors import DatasetError
from derain.evaluate.scoring import PairScore, score_pair
from derain.imaging.io import read_picture, to_tensor
from derain.imaging.metrics import Protocol
from derain.infer.files import WORK_ERRORS, failure_reason
from derain.infer.restore import Restorer


@dataclass(frozen=True, kw_only=True)
class Score(PairScore):
    """The figures of one pair of files, and which pair it is."""

    id: str
    type: str
    """Name of the rain type, "untyped" where the pair names none."""
    source: str
    height: int
    width: int


@dataclass(frozen=True)
class Failure:
    """A pair that could not be scored, and why."""

    id: str
    reason: str


UNTYPED = "untyped"


def benchmark(restorer: Restorer, pairs: Sequence[Pair], protocol: Protocol) -> Iterator[Score | Failure]:
    """Restore the rainy picture of every pair in turn and score it; a pair that fails does not stop the rest.

    What is restored and scored are the integers that a file would hold, not the network's floats.
    """
    for pair in pairs:
        try:
            yield score_files(restorer, pair, protocol)
        except WORK_ERRORS as error:
            yield Failure(pair.id, failure_reason(error))


def score_files(restorer: Restorer, pair: Pair, protocol: Protocol) -> Score:
    """Read a pair, restore its rainy picture and score it.

    Raises:
        DatasetError: it has no clean picture, or one of another size.
        ImageError: a file cannot be read, or is too small to be scored.
    """
    if pair.clean is None:
        raise DatasetError(f"pair {pair.id!r} has no clean picture to compare with; leave it out or add one")
    rainy, clean = read_picture(pair.rainy), read_picture(pair.clean)
    if (rainy.height, rainy.width) != (clean.height, clean.width):
        raise DatasetError(
            f"pair {pair.id!r}: {pair.rainy} has {rainy.width} x {rainy.height} pixels and {pair.clean} "
            f"{clean.width} x {clean.height}; partners must have one size"
        )

    def restore(_: Tensor) -> Tensor:
        return to_tensor(restorer.restore(rainy.pixels))  # the integers, of which the image is a copy

    scored = score_pair(restore, rainy.to_tensor(), clean.to_tensor(), protocol)
    return Score(
        id=pair.id,
        type=pair.type or UNTYPED,
        source=pair.source,
        height=rainy.height,
        width=rainy.width,
        **vars(scored),
    )
