"""The knowledge base on disk: one row for each real photograph ever seen, keyed by the digest of its file (LanceDB).

Rows are merged in by digest, so an index that is killed or repeated stores none twice. The base knows the models it was
made with and refuses others. Any number of processes may read; writers of one base wait for each other's commits.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derain.distill.knowledge.identities import BaseIdentities, references_version
from derain.distill.knowledge.record import (
    IN_USE,
    SCHEMA_VERSION,
    STATUS_COLUMN,
    Entry,
    Record,
    ReviewStatus,
    from_table,
    luminance_of,
    read_status,
    record_schema,
    stored_status,
    to_table,
)
from derain.distill.knowledge.references import Floats, Luminances, ReferenceVectors, raw_digests
from derain.distill.knowledge.structure import SIDE, Luminance
from derain.errors import DistillError, MissingExtraError
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection
    from lancedb.table import Table

_PHOTOGRAPHS = "photographs"
_ABOUT = "about"
_DESCRIBED = "text IS NOT NULL"
_IN_USE = f"{STATUS_COLUMN} IN ({', '.join(repr(stored_status(status)) for status in IN_USE)})"
_ROWS_AT_ONCE = 8192
_DIGESTS_A_QUERY = 1000
_WRITES_BEFORE_COMPACTION = 32
_LUMINANCES_HELD = 2048  # 64 KB each


class KnowledgeBase:
    """Real rainy photographs with words, vectors and luminances. Made by `create` or `open`."""

    def __init__(self, uri: str, photographs: "Table", identities: BaseIdentities) -> None:
        self.uri = uri
        self.identities = identities
        """The models the base was made with."""
        self._table = photographs
        self._schema = record_schema(identities.text_dimensions, identities.visual_dimensions)
        self._writes = 0
        self._luminances: OrderedDict[str, Luminance] = OrderedDict()

    @classmethod
    def create(cls, uri: str | Path, identities: BaseIdentities) -> "KnowledgeBase":
        """A new base at a folder or any URI that LanceDB takes (`s3://bucket/base`, `gs://...`, `az://...`).

        Raises:
            DistillError: a base is there already, or the place cannot be written to.
            MissingExtraError: LanceDB is not installed.
        """
        connection = _connect(str(uri))
        import pyarrow as pa

        if cls.is_at(uri):
            raise DistillError(f"{uri}: a knowledge base is there already; open it, or choose another place")
        about = {"name": ["schema_version", "models"], "value": [str(SCHEMA_VERSION), identities.to_json()]}
        # First and in one move: whatever has this table is a base, and lacks at worst its empty table of photographs.
        connection.create_table(_ABOUT, data=pa.table(about))
        return cls.open(uri, identities)

    @classmethod
    def open(cls, uri: str | Path, identities: BaseIdentities | None = None) -> "KnowledgeBase":
        """A base that is there.

        Args:
            uri: a folder, or any URI that LanceDB takes.
            identities: the models that are to add to the base or search in it; None to look at it only.

        Raises:
            DistillError: no base is there, it is of a newer version, or it was made with other models.
            MissingExtraError: LanceDB is not installed.
        """
        uri = str(uri)
        if not cls.is_at(uri):
            raise DistillError(f"{uri}: no knowledge base is there; make one: derain distill index PHOTOS --db {uri}")
        connection = _connect(uri)
        rows = connection.open_table(_ABOUT).search().limit(None).to_arrow().to_pylist()
        about = {row["name"]: row["value"] for row in rows}
        if int(about["schema_version"]) > SCHEMA_VERSION:
            raise DistillError(
                f"{uri}: this knowledge base has version {about['schema_version']}, and this derain reads up to "
                f"{SCHEMA_VERSION}; update derain"
            )
        stored = BaseIdentities.from_json(about["models"])
        if identities is not None:
            stored.check_same(uri, identities)
        schema = record_schema(stored.text_dimensions, stored.visual_dimensions)
        return cls(uri, connection.create_table(_PHOTOGRAPHS, schema=schema, exist_ok=True), stored)

    @classmethod
    def open_or_create(cls, uri: str | Path, identities: BaseIdentities) -> "KnowledgeBase":
        """The base that is there, or else a new one; raises as these do."""
        return cls.open(uri, identities) if cls.is_at(uri) else cls.create(uri, identities)

    @staticmethod
    def is_at(uri: str | Path) -> bool:
        """Whether a knowledge base is there; looks without making a folder. A file there is a DistillError."""
        # A connection makes the folder. LanceDB takes what follows file:// as it is, percent signs and all.
        folder = str(uri).removeprefix("file://")
        if "://" not in folder:
            if Path(folder).is_file():
                raise DistillError(f"{uri}: wanted a folder for the knowledge base, and this is a file; name another")
            return (Path(folder) / f"{_ABOUT}.lance").is_dir()
        return _ABOUT in (_connect(str(uri)).list_tables().tables or [])

    def add(self, records: Sequence[Record], replace: bool = False) -> int:
        """Merge records in by digest and return how many are new; of two with one digest the first counts.

        Records that the base has stay as they are, with their review status, unless `replace` is set. All of a call
        arrive or none.

        Raises:
            DistillError: vectors of another length than the base's or not of length 1, or a record that contradicts
                itself.
        """
        unique = {record.digest: record for record in reversed(records)}
        raw_digests(list(unique))
        if not unique:
            return 0
        rows = to_table([unique[digest] for digest in sorted(unique)], self._schema)
        merge = self._table.merge_insert("digest").when_not_matched_insert_all()
        if replace:
            merge = merge.when_matched_update_all()
            self._luminances.clear()
        # LanceDB takes the absent vectors of filtered photographs for bad ones; bad ones were refused above.
        added = int(merge.execute(rows, on_bad_vectors="null").num_inserted_rows)
        self._wrote()
        return added

    def remove(self, digests: Iterable[str]) -> int:
        """Forget photographs, so that an index would add them again; returns how many were there.

        To keep one from coming back, set its status to rejected instead.
        """
        self._luminances.clear()
        return sum(self._delete(condition) for condition in _among(digests))

    def remove_all(self, status: ReviewStatus, reason: str | None = None) -> int:
        """Forget all photographs of a status, as `remove` does; returns how many there were.

        Args:
            status: theirs.
            reason: the name of their reason, which is what precedes the colon of `blurred: sharpness 0.031, ...`; None
                for any.
        """
        condition = _equals(status=status)
        if reason is not None:
            condition += f" AND split_part(reason, ':', 1) = {_quoted(reason)}"
        self._luminances.clear()
        return self._delete(condition)  # not by digest: a person may have changed the status of some meanwhile

    def set_statuses(self, statuses: Mapping[str, tuple[ReviewStatus, str]]) -> None:
        """Change status and reason of photographs, by digest, in one move.

        Raises:
            DistillError: the base has no such photograph, or it is to be a reference and was never described, as the
                prefilter left it out. Nothing is changed then.
        """
        found, described = self._matching(statuses), self._matching(statuses, _DESCRIBED)
        for digest, (status, _) in statuses.items():
            if digest not in found:
                raise self._unknown(digest)
            if digest not in described and status is not ReviewStatus.FILTERED:
                raise DistillError(
                    f"{self.uri}: {digest} was filtered out and never described; remove it, and index it again with a "
                    "prefilter that lets it pass"
                )
        cells = [(stored_status(status), reason) for status, reason in statuses.values()]
        self._change(list(statuses), (STATUS_COLUMN, "reason"), cells)

    def set_places(self, places: Mapping[str, tuple[str, str]]) -> None:
        """Set path and source of photographs that moved, by digest."""
        self._change(list(places), ("path", "source"), list(places.values()))

    def set_types(self, types: Mapping[str, RainType]) -> None:
        """Other rain types of photographs that were described, by digest; their light changes with it."""
        cells = [(kind.value, "night" if kind.is_night else "day") for kind in types.values()]
        self._change(list(types), ("type", "light"), cells)

    def get(self, digest: str) -> Record:
        """One photograph.

        Raises:
            DistillError: the base has no such photograph.
        """
        found = from_table(self._table.search().where(_equals(digest=digest)).limit(1).to_arrow())
        if not found:
            raise self._unknown(digest)
        return found[0]

    def complete(self, digits: str) -> str:
        """The digest that begins with these hexadecimal digits.

        Raises:
            DistillError: none does, or several do.
        """
        wanted = f"starts_with(digest, '{digits}')" if re.fullmatch(r"[0-9a-f]{1,64}", digits) else "false"
        found = [str(digest) for (digest,) in self.cells("digest", where=wanted)]
        if len(found) == 1:
            return found[0]
        count, remedy = ("several photographs", "give more digits") if found else ("no photograph", "list the base")
        raise DistillError(f"{self.uri}: {count} with a digest that begins with {digits!r}; {remedy}")

    def known(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests that the base has, whatever their status."""
        return self._matching(digests)

    def entries(self, digests: Iterable[str] | None = None) -> Iterator[Entry]:
        """The short form of the photographs with these digests, or of all; vectors are not read."""
        names = [field.name for field in fields(Entry)]
        for condition in [None] if digests is None else _among(digests):
            yield from (Entry(*cells) for cells in self.cells(*names, where=condition))

    def thumbnail(self, digest: str) -> bytes:
        """The small JPEG of a photograph, empty where it has none.

        Raises:
            DistillError: the base has no such photograph.
        """
        for (thumbnail,) in self.cells("thumbnail", where=_equals(digest=digest)):
            return thumbnail or b""
        raise self._unknown(digest)

    def cells(self, *names: str, where: str | None = None, described: bool = False) -> Iterator[tuple[Any, ...]]:
        """Some fields of the photographs, named as in `Record`, in no particular order; those alone are read.

        Args:
            where: a condition in LanceDB's SQL on the stored columns.
            described: leave out those that were never described.
        """
        columns = [STATUS_COLUMN if name == "status" else name for name in names]
        conditions = [each for each in (where, _DESCRIBED if described else None) if each is not None]
        query = self._table.search().select(columns).limit(None)
        if conditions:
            query = query.where(" AND ".join(conditions))
        for batch in query.to_batches(batch_size=_ROWS_AT_ONCE):
            lists = [batch.column(name).to_pylist() for name in columns]
            if STATUS_COLUMN in columns:
                place = columns.index(STATUS_COLUMN)
                lists[place] = [read_status(word) for word in lists[place]]
            yield from zip(*lists, strict=True)

    def version(self) -> str:
        """16 hexadecimal digits that change when a reference comes, goes (also by its status) or is another.

        Whether a photograph in use was accepted by a person or is unreviewed changes nothing about what is found, and
        so not the version.
        """
        return references_version(self.identities, self.cells("digest", "type", "description", where=_IN_USE))

    def count(self, type: str | None = None, status: ReviewStatus | None = None, source: str | None = None) -> int:
        """How many photographs match."""
        return int(self._table.count_rows(_equals(type=type, status=status, source=source) or None))

    def tally(self) -> Counter[tuple[ReviewStatus, str, str]]:
        """How many photographs of each status, type and source."""
        return Counter(self.cells("status", "type", "source"))

    def vectors(self) -> ReferenceVectors:
        """Everything retrieval needs to hold of the references; those rejected or filtered are left out."""
        return ReferenceVectors.joined(self._vectors_of(kind) for kind in RainType)

    def luminances(self, digests: Sequence[str]) -> Luminances:
        """(N, 256, 256) uint8, in the order of the digests; those used last are held in memory.

        Raises:
            DistillError: the base has no such photograph, or it was filtered.
        """
        held = self._luminances
        found = {digest: held[digest] for digest in digests if digest in held}
        for condition in _among(sorted(set(digests) - set(found))):
            rows = self.cells("digest", "luminance", where=condition)
            found |= {digest: luminance_of(cell) for digest, cell in rows if cell is not None}
        for digest in digests:
            if digest not in found:
                raise DistillError(
                    f"{self.uri}: no luminance of {digest}; it was removed or filtered; read the base again"
                )
            held[digest] = found[digest]
            held.move_to_end(digest)
        while len(held) > _LUMINANCES_HELD:
            held.popitem(last=False)
        return np.stack([found[digest] for digest in digests]) if digests else np.empty((0, SIDE, SIDE), np.uint8)

    def compact(self) -> None:
        """Join small parts, drop old versions, bring the index over digests up to date. Happens by itself as well."""
        from lancedb.index import BTree

        self._writes = 0
        if not self._table.list_indices():
            self._table.create_index("digest", config=BTree())
        # Readers that opened an older version a while ago may still be reading it.
        self._table.optimize(cleanup_older_than=timedelta(hours=1))

    def _vectors_of(self, kind: RainType) -> tuple[list[str], list[str], Floats, Floats]:
        query = self._table.search().where(f"{_IN_USE} AND {_equals(type=kind.value)}").limit(None)
        rows = query.select(["digest", "path", "text", "visual"]).to_arrow().sort_by("digest")
        text, visual = (_matrix(rows[name]) for name in ("text", "visual"))
        return rows["digest"].to_pylist(), rows["path"].to_pylist(), text, visual

    def _matching(self, digests: Iterable[str], condition: str = "true") -> set[str]:
        parts = [self.cells("digest", where=f"{part} AND {condition}") for part in _among(digests)]
        return {digest for part in parts for (digest,) in part}

    def _change(self, digests: Sequence[str], columns: Sequence[str], cells: Sequence[tuple[str, ...]]) -> None:
        """Write some cells of photographs that are there, in one move."""
        import pyarrow as pa

        if digests:
            changes = pa.table([list(digests), *map(list, zip(*cells, strict=True))], names=["digest", *columns])
            self._table.merge_insert("digest").when_matched_update_all().execute(changes)
            self._wrote()

    def _delete(self, condition: str) -> int:
        count = int(self._table.count_rows(condition))
        self._table.delete(condition)
        return count

    def _wrote(self) -> None:
        self._writes += 1
        if self._writes >= _WRITES_BEFORE_COMPACTION:
            self.compact()

    def _unknown(self, digest: str) -> DistillError:
        return DistillError(f"{self.uri}: no photograph has the digest {digest}; list the base to find it")

    # Last in the class, for within it `list` is this method from here on.
    def list(
        self,
        type: str | None = None,
        status: ReviewStatus | None = None,
        source: str | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Sequence[Record]:
        """A page of the photographs that match, sorted by digest."""
        wanted = _equals(type=type, status=status, source=source) or None
        page = sorted(digest for (digest,) in self.cells("digest", where=wanted))[offset : offset + limit]
        records: dict[str, Record] = {}
        for part in _among(page):
            rows = self._table.search().where(part).limit(None).to_arrow()
            records.update((record.digest, record) for record in from_table(rows))
        return [records[digest] for digest in page if digest in records]


def _connect(uri: str) -> "DBConnection":
    """A connection whose tables show at every read what others have written."""
    try:
        import lancedb
    except ImportError as error:
        raise MissingExtraError("the knowledge base", "distill") from error
    try:
        return lancedb.connect(uri, read_consistency_interval=timedelta(0))
    except (OSError, RuntimeError, ValueError) as error:
        raise DistillError(f"{uri}: cannot be opened as a place for a knowledge base ({error})") from error


def _matrix(column: "pa.ChunkedArray") -> Floats:
    """(N, D) of a column of fixed-size lists without nulls."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(len(column), column.type.list_size)


def _equals(status: ReviewStatus | None = None, **fields: str | None) -> str:
    """A condition that all these fields have these values; those that are None are left out."""
    fields[STATUS_COLUMN] = None if status is None else stored_status(status)
    return " AND ".join(f"{name} = {_quoted(value)}" for name, value in fields.items() if value is not None)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _among(digests: Iterable[str]) -> Iterator[str]:
    """Conditions that together ask for all the digests, some at a time."""
    every = list(digests)
    for first in range(0, len(every), _DIGESTS_A_QUERY):
        yield f"digest IN ({', '.join(map(_quoted, every[first : first + _DIGESTS_A_QUERY]))})"
