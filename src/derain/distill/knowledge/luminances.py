"""The luminances of a knowledge base, of which those used last are held in memory."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from derain.distill.knowledge.lance import among
from derain.distill.knowledge.references import Luminances
from derain.distill.knowledge.rows import luminance_of
from derain.distill.knowledge.structure import SIDE, Luminance
from derain.errors import DistillError

if TYPE_CHECKING:
    from lancedb.table import Table

_HELD = 2048  # 64 KB each


class HeldLuminances:
    """Reads them from the table of photographs when they are wanted first."""

    def __init__(self, uri: str, photographs: "Table") -> None:
        self._uri, self._table = uri, photographs
        self._held: OrderedDict[str, Luminance] = OrderedDict()

    def of(self, digests: Sequence[str]) -> Luminances:
        """(N, 256, 256) uint8, in the order of the digests.

        Raises:
            DistillError: the base has no such photograph, or it was refused.
        """
        held = self._held
        found = {digest: held[digest] for digest in digests if digest in held}
        for condition in among(sorted(set(digests) - set(found))):
            rows = self._table.search().where(condition).select(["digest", "luminance"]).limit(None).to_arrow()
            for digest, cell in zip(rows["digest"].to_pylist(), rows["luminance"].to_pylist(), strict=True):
                if cell is not None:
                    found[digest] = luminance_of(cell)
        absent = [digest for digest in digests if digest not in found]
        if absent:
            raise DistillError(
                f"{self._uri}: no luminance of {absent[0]}; it was removed or refused; read the base again"
            )
        for digest in digests:
            held[digest] = found[digest]
            held.move_to_end(digest)
        while len(held) > _HELD:
            held.popitem(last=False)
        return np.stack([found[digest] for digest in digests]) if digests else np.empty((0, SIDE, SIDE), np.uint8)

    def forget(self, digests: Iterable[str]) -> None:
        """They are other ones by now, or gone."""
        for digest in digests:
            self._held.pop(digest, None)
