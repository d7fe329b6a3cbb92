"""The knowledge base on disk: one row for each real photograph ever seen, keyed by the digest of its file (LanceDB).

Rows are merged in by digest, so an index that is killed or repeated never doubles one. The base knows the models it was
made with and refuses others. Any number of processes may read; writers of one base wait for each other's commits.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from derain.backends.interfaces import Identity
from derain.distill.knowledge.about import has_about, read_about, write_about
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.lance import all_of, among, connect, equals
from derain.distill.knowledge.luminances import HeldLuminances
from derain.distill.knowledge.reading import batches, read_vectors
from derain.distill.knowledge.record import Entry, Record, Standing
from derain.distill.knowledge.references import IN_USE, Luminances, ReferenceVectors, raw_digests
from derain.distill.knowledge.rows import from_table, record_schema, to_table
from derain.distill.knowledge.version import VERSIONED, version_of
from derain.errors import DistillError
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import Table

_PHOTOGRAPHS = "photographs"
_WRITES_BEFORE_COMPACTION = 32
_WAS_DESCRIBED = "text IS NOT NULL"
_ENTRY = [field.name for field in fields(Entry)]


class KnowledgeBase:
    """Real rainy photographs with words, vectors and luminances. Made by `create` or `open`."""

    def __init__(self, uri: str, photographs: "Table", identities: BaseIdentities) -> None:
        self._uri = uri
        self._table = photographs
        self._identities = identities
        self._schema = record_schema(identities.text_dimensions, identities.visual_dimensions)
        self._writes = 0
        self._luminances = HeldLuminances(uri, photographs)

    @classmethod
    def create(cls, uri: str | Path, identities: BaseIdentities) -> "KnowledgeBase":
        """A new base at a folder or any URI that LanceDB takes (`s3://bucket/base`, `gs://...`, `az://...`).

        Raises:
            DistillError: a base stands there already, or the place cannot be written to.
            MissingExtraError: LanceDB is not installed.
        """
        # The description comes first and in one move: whatever has it is a base, and lacks at worst its empty table.
        write_about(str(uri), identities)
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
        stored = read_about(uri)
        if identities is not None:
            stored.check_same(uri, identities)
        schema = record_schema(stored.text_dimensions, stored.visual_dimensions)
        return cls(uri, connect(uri).create_table(_PHOTOGRAPHS, schema=schema, exist_ok=True), stored)

    @classmethod
    def open_or_create(cls, uri: str | Path, identities: BaseIdentities) -> "KnowledgeBase":
        """The base that is there, or else a new one; raises as these do."""
        return cls.open(uri, identities) if cls.is_at(uri) else cls.create(uri, identities)

    @staticmethod
    def is_at(uri: str | Path) -> bool:
        """Whether a knowledge base is there."""
        return has_about(str(uri))

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def identities(self) -> BaseIdentities:
        """The models the base was made with."""
        return self._identities

    def describe_identities(self) -> Mapping[str, Identity | None]:
        """The same by role: captioner, expander, keywords, text_encoder, visual_encoder."""
        return self._identities.by_role

    def add(self, records: Sequence[Record], replace: bool = False) -> int:
        """Merge records in by digest and tell how many are new; of two with one digest the first counts.

        Records that the base has stay as they are, with what a person said of them, unless `replace` is set. All of a
        call arrive or none.

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
            self._luminances.forget(unique)
        # LanceDB takes the absent vectors of what was refused for bad ones; bad ones were refused above.
        added = int(merge.execute(rows, on_bad_vectors="null").num_inserted_rows)
        self._wrote()
        return added

    def remove(self, digests: Iterable[str]) -> int:
        """Forget photographs, so that an index would take them up again; how many were there.

        To keep one from coming back, set its standing to rejected instead.
        """
        digests = list(digests)
        before = self._table.count_rows()
        for condition in among(digests):
            self._table.delete(condition)
        self._luminances.forget(digests)
        return before - self._table.count_rows()

    def remove_all(self, standing: Standing, reason: str | None = None) -> int:
        """Forget all photographs of a standing, as `remove` does; how many there were.

        Args:
            standing: theirs.
            reason: the name of theirs, which is what stands before the colon of `blurred: sharpness 0.031, ...`; None
                for any.
        """
        condition = equals("standing", standing)
        if reason is not None:
            condition += " AND " + equals("split_part(reason, ':', 1)", reason)
        for batch in self._batches(["digest"], condition):
            self._luminances.forget(batch.column("digest").to_pylist())
        before = self._table.count_rows()
        self._table.delete(condition)  # not by digest: a person may have changed the standing of some meanwhile
        return before - self._table.count_rows()

    def reasons(self, standing: Standing) -> Counter[str]:
        """How many photographs of a standing there are by the name of the reason; those without one are left out."""
        reasons: Counter[str] = Counter()
        for batch in self._batches(["reason"], equals("standing", standing)):
            reasons.update(reason.partition(":")[0] for reason in batch.column("reason").to_pylist() if reason)
        return reasons

    def set_standing(self, digest: str, standing: Standing, reason: str = "") -> None:
        """What a person says of a photograph; raises as `set_standings`."""
        self.set_standings({digest: (standing, reason)})

    def set_standings(self, standings: Mapping[str, tuple[Standing, str]]) -> None:
        """Change standings and reasons of many photographs, by digest, in one move.

        Raises:
            DistillError: the base has no such photograph, or it is to be a reference and was never described, as the
                prefilter refused it. Nothing is changed then.
        """
        found: dict[str, bool] = {}
        for condition in among(standings):
            query = self._table.search().where(condition).limit(None)
            rows = query.select({"digest": "digest", "was_described": _WAS_DESCRIBED}).to_arrow().to_pylist()
            found.update((row["digest"], row["was_described"]) for row in rows)
        for digest, (standing, _) in standings.items():
            if digest not in found:
                raise DistillError(f"{self._uri}: no photograph has the digest {digest}; list the base to find it")
            if not found[digest] and standing is not Standing.REFUSED:
                raise DistillError(
                    f"{self._uri}: {digest} was refused by the prefilter and never described; remove it, and index it "
                    "again with a prefilter that lets it pass"
                )
        columns = {
            "standing": [standing.value for standing, _ in standings.values()],
            "reason": [reason for _, reason in standings.values()],
        }
        self._change(list(standings), columns)

    def set_places(self, places: Mapping[str, tuple[str, str]]) -> None:
        """Where photographs lie now, by digest: path and source."""
        self._change(
            list(places),
            {"path": [path for path, _ in places.values()], "source": [source for _, source in places.values()]},
        )

    def set_types(self, types: Mapping[str, RainType]) -> None:
        """Other rain types of photographs that were described, by digest; their light goes with it."""
        columns = {
            "type": [rain_type.value for rain_type in types.values()],
            "light": ["night" if rain_type.is_night else "day" for rain_type in types.values()],
        }
        self._change(list(types), columns)

    def _change(self, digests: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
        """Write some cells of photographs that are there, in one move."""
        import pyarrow as pa

        if digests:
            changes = pa.table({"digest": list(digests), **columns})
            self._table.merge_insert("digest").when_matched_update_all().execute(changes)
            self._wrote()

    def get(self, digest: str) -> Record:
        """One photograph.

        Raises:
            DistillError: the base has no such photograph.
        """
        found = from_table(self._table.search().where(equals("digest", digest)).limit(1).to_arrow())
        if not found:
            raise DistillError(f"{self._uri}: no photograph has the digest {digest}; list the base to find it")
        return found[0]

    def complete(self, digits: str) -> str:
        """The digest that begins with these hexadecimal digits.

        Raises:
            DistillError: none does, or several do.
        """
        found: set[str] = set()
        if re.fullmatch(r"[0-9a-f]{1,64}", digits):
            for batch in self._batches(["digest"], f"starts_with(digest, '{digits}')"):
                found.update(batch.column("digest").to_pylist())
        if len(found) != 1:
            told = "several photographs" if found else "no photograph"
            raise DistillError(
                f"{self._uri}: {told} with a digest that begins with {digits!r}; "
                + ("give more digits" if found else "list the base to find it")
            )
        return found.pop()

    def known(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests that the base has, in whatever standing."""
        found: set[str] = set()
        for condition in among(digests):
            rows = self._table.search().where(condition).select(["digest"]).limit(None).to_arrow()
            found.update(rows["digest"].to_pylist())
        return found

    def entries(self, digests: Iterable[str] | None = None) -> Iterator[Entry]:
        """The short form of the photographs with these digests, or of all; vectors are not read."""
        for condition in [None] if digests is None else among(digests):
            for batch in self._batches(_ENTRY, condition):
                for cells in batch.to_pylist():
                    yield Entry(**{**cells, "standing": Standing(cells["standing"])})

    def thumbnail(self, digest: str) -> bytes:
        """The small JPEG of a photograph, empty where it has none.

        Raises:
            DistillError: the base has no such photograph.
        """
        found = self._table.search().where(equals("digest", digest)).select(["thumbnail"]).limit(1).to_arrow()
        if not found.num_rows:
            raise DistillError(f"{self._uri}: no photograph has the digest {digest}; list the base to find it")
        return found["thumbnail"][0].as_py() or b""

    def version(self) -> str:
        """16 hexadecimal digits that change when a reference comes, goes (also by its standing) or is another.

        Whether a photograph in use was accepted by a person or by nobody yet changes nothing about what is found, and
        so not the version.
        """
        return version_of(self._identities, self._batches(VERSIONED, IN_USE))

    def perceptual_hashes(self, low_quality: bool = False) -> dict[str, int]:
        """By digest, of the photographs that a new one must not repeat: those described, unless left out later on.

        With `low_quality`, of those that were left out for their quality instead.
        """
        hashes: dict[str, int] = {}
        condition = f"{_WAS_DESCRIBED} AND " + (
            "reason LIKE 'low_for_type%'" if low_quality else "standing != 'refused'"
        )
        for batch in self._batches(["digest", "perceptual_hash"], condition):
            columns = (batch.column(name).to_pylist() for name in ("digest", "perceptual_hash"))
            hashes.update(zip(*columns, strict=True))
        return hashes

    def near_duplicates(self) -> Iterator[tuple[str, str]]:
        """Digest and reason of every photograph that was refused because it repeats another."""
        for batch in self._batches(["digest", "reason"], "standing = 'refused' AND reason LIKE 'near_duplicate%'"):
            yield from ((row["digest"], row["reason"]) for row in batch.to_pylist())

    def qualities(self) -> Iterator[tuple[str, str, Standing, str, float]]:
        """Digest, type, standing, reason and quality of every photograph that was described."""
        for batch in self._batches(["digest", "type", "standing", "reason", "quality"], _WAS_DESCRIBED):
            for row in batch.to_pylist():
                yield row["digest"], row["type"], Standing(row["standing"]), row["reason"], row["quality"]

    def count(self, type: str | None = None, standing: Standing | None = None, source: str | None = None) -> int:
        """How many photographs are as asked."""
        return int(self._table.count_rows(_as_asked(type, standing, source)))

    def tally(self) -> Counter[tuple[str, str, str]]:
        """How many photographs of each standing, type and source."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for batch in self._batches(["standing", "type", "source"]):
            names = [batch.column(name).to_pylist() for name in ("standing", "type", "source")]
            counts.update(zip(*names, strict=True))
        return counts

    def vectors(self) -> ReferenceVectors:
        """Everything retrieval needs to hold of the references; those rejected or refused are left out.

        Reads column-wise in batches, so that little more than the vectors themselves is ever in memory.
        """
        lengths = self._identities.text_dimensions, self._identities.visual_dimensions
        return read_vectors(self._uri, self._table, *lengths)

    def luminances(self, digests: Sequence[str]) -> Luminances:
        """(N, 256, 256) uint8, in the order of the digests; those used last are held in memory.

        Raises:
            DistillError: the base has no such photograph, or it was refused.
        """
        return self._luminances.of(digests)

    def _wrote(self) -> None:
        self._writes += 1
        if self._writes >= _WRITES_BEFORE_COMPACTION:
            self.compact()

    def compact(self) -> None:
        """Join small parts, drop old versions, bring the index over digests up to date. Happens by itself as well."""
        from lancedb.index import BTree

        self._writes = 0
        if not self._table.list_indices():
            self._table.create_index("digest", config=BTree())
        # Readers that opened an older version a while ago may still be at it.
        self._table.optimize(cleanup_older_than=timedelta(hours=1))

    # Last in the class, for within it `list` is this method from here on.
    def list(
        self,
        type: str | None = None,
        standing: Standing | None = None,
        source: str | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Sequence[Record]:
        """A page of the photographs that are as asked, sorted by digest."""
        condition = _as_asked(type, standing, source)
        query = self._table.search().select(["digest"])
        digests = (query if condition is None else query.where(condition)).limit(None).to_arrow()["digest"].to_pylist()
        page = sorted(digests)[offset : offset + limit]
        records: dict[str, Record] = {}
        for part in among(page):
            rows = self._table.search().where(part).limit(None).to_arrow()
            records.update((record.digest, record) for record in from_table(rows))
        return [records[digest] for digest in page if digest in records]

    def _batches(self, columns: Sequence[str], condition: str | None = None) -> "Iterator[pa.RecordBatch]":
        return batches(self._table, columns, condition)


def _as_asked(type: str | None, standing: Standing | None, source: str | None) -> str | None:
    wanted = {"type": type, "standing": standing, "source": source}
    return all_of(equals(column, str(value)) for column, value in wanted.items() if value is not None)
