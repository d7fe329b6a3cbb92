"""A knowledge base on disk as the page of references reads it: a few columns of all rows, and one cell of a row."""

from collections.abc import Iterator

from derain.distill.knowledge.lance import connect, equals
from derain.distill.knowledge.record import Record, Standing
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.review.references import Entry
from derain.errors import DistillError

_TABLE = "photographs"
_COLUMNS = ["digest", "path", "source", "type", "light", "standing", "reason", "quality", "width", "height"]


class StoredReferences:
    """The `ReferenceBase` of a `KnowledgeBase`: vectors and luminances, most of its bytes, stay where they are."""

    def __init__(self, base: KnowledgeBase) -> None:
        self._base = base
        self._table = connect(base.uri).open_table(_TABLE)

    def entries(self) -> Iterator[Entry]:
        for batch in self._table.search().select(_COLUMNS).limit(None).to_batches():
            for cells in batch.to_pylist():
                yield Entry(**{**cells, "standing": Standing(cells["standing"])})

    def thumbnail(self, digest: str) -> bytes:
        found = self._table.search().where(equals("digest", digest)).select(["thumbnail"]).limit(1).to_arrow()
        if not found.num_rows:
            raise DistillError(f"{digest[:12]}: the knowledge base has no such photograph any more; reload the page")
        return found["thumbnail"][0].as_py() or b""

    def get(self, digest: str) -> Record:
        return self._base.get(digest)

    def set_standing(self, digest: str, standing: Standing, reason: str) -> None:
        self._base.set_standing(digest, standing, reason)
