"""The whole set before any model: every file is looked at, and what need not be judged is refused by name.

Refused are, in this order: rows without a clean partner or of an unknown type, pictures that are broken, pairs whose
sizes differ, pictures of registered test sets, exact duplicates, and frames beyond so many of a scene. What is left is
sorted by digest, which spreads scenes over the shards, and cut into them. Rows whose files cannot be had now are left
pending; once they are there, the whole set is looked at anew, so that the result is as if they had been there before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from derain.data.cache import write_whole
from derain.data.doubles import hash_strings, repeated
from derain.data.pairs import Pair
from derain.data.table import PairTable, open_table
from derain.distill.pipeline.cache import AnswerCache
from derain.distill.pipeline.facts import FileFacts, FileMeasure, Unreadable, is_there
from derain.distill.pipeline.progress import Pace, Progress
from derain.distill.pipeline.registered import Registered, registered_pictures
from derain.distill.pipeline.row import Row, result_of
from derain.distill.pipeline.schema import Outcome, result_schema
from derain.distill.pipeline.shards import CANDIDATE_COLUMNS, RunFolder
from derain.distill.pipeline.thinning import (
    NONE,
    Digests,
    Hashes,
    first_of_equals,
    frames_to_judge,
    natural_key,
    registered_as,
)
from derain.distill.settings import DistillSettings, PrepareSettings
from derain.errors import DatasetError
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 256
OnProgress = Callable[[Progress], None]


def prepare(
    manifests: Sequence[Path],
    settings: DistillSettings,
    folder: RunFolder,
    cache: AnswerCache,
    on_progress: OnProgress | None = None,
) -> None:
    """Write a run's candidates and refused rows into its folder.

    Memory holds the rows with what was measured, some 600 bytes each.

    Raises:
        DatasetError: a manifest cannot be read, there are no rows, two have one id, or a registered picture is broken.
        DistillError: the cache cannot be used.
    """
    tables = [open_table(manifest) for manifest in manifests]
    require_unique_ids(tables)
    with FileMeasure(cache) as files:
        registered = registered_pictures(settings.prepare.exclude, files)
        write_whole(folder.measured, lambda part: _write_batches(part, _measured(tables, files, on_progress)))
    rows = _map(folder.measured)
    reasons = Refusals.of(rows)
    reasons.refuse_registered(rows, registered, settings.prepare.near_bits)
    reasons.refuse_duplicates()
    reasons.refuse_frames(rows, settings.prepare)
    write_whole(folder.candidates, lambda part: _write_candidates(part, rows, reasons, settings.shard_rows))
    write_whole(folder.refused, lambda part: _write_refused(part, rows, reasons))
    folder.measured.unlink()


def are_there_again(folder: RunFolder) -> bool:
    """Whether files that could not be had when the candidates were prepared can be had now."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.read_table(folder.refused, columns=["rainy", "clean", "digest", "clean_digest", "outcome"])
    waiting = rows.filter(pc.equal(rows.column("outcome"), Outcome.PENDING.value))
    gone = [row["clean"] if row["digest"] else row["rainy"] for row in waiting.to_pylist()]
    return any(is_there(path) for path in gone)


def require_unique_ids(tables: Sequence[PairTable]) -> None:
    """Raises DatasetError where two rows of whatever manifests have one id, or there is no row at all."""
    import pyarrow as pa

    hashes = []
    for table in tables:
        for start in range(0, len(table), 65536):
            hashes.append(hash_strings(pa.array([pair.id for pair in table[start : start + 65536]], pa.string())))
    if not sum(map(len, hashes)):
        names = ", ".join(str(table.manifest) for table in tables) or "no manifest"
        raise DatasetError(f"{names}: wanted candidate pairs, got no row; give manifests that have some")
    suspects = set(repeated(hashes).tolist())
    if not suspects:
        return
    seen: dict[str, Path] = {}
    for table in tables:
        for pair in table:
            if int(hash_strings(pa.array([pair.id], pa.string()))[0]) in suspects:
                if pair.id in seen:
                    raise DatasetError(
                        f"{table.manifest}: id {pair.id!r} is in {seen[pair.id]} already; make ids unique over all "
                        "manifests, or give each manifest once"
                    )
                seen[pair.id] = table.manifest


def _measured(
    tables: Sequence[PairTable], files: FileMeasure, on_progress: OnProgress | None
) -> "Iterator[pa.RecordBatch]":
    """The rows of all manifests with what their files are."""
    total, done = sum(map(len, tables)), 0
    pace = Pace("prepare", total)
    for table in tables:
        for start in range(0, len(table), ROWS_AT_ONCE):
            pairs = table[start : start + ROWS_AT_ONCE]
            rainy = files.facts([str(pair.rainy) for pair in pairs])
            partners = iter(files.facts([str(pair.clean) for pair in pairs if pair.clean is not None]))
            clean = [next(partners) if pair.clean is not None else None for pair in pairs]
            yield _batch([_measured_row(*row) for row in zip(pairs, rainy, clean, strict=True)])
            done += len(pairs)
            if on_progress is not None:
                on_progress(pace.at(done))


@dataclass(frozen=True)
class _MeasuredRow:
    """A row of the intermediate table; its fields are the columns."""

    id: str
    rainy: str
    clean: str
    type: str | None
    source: str
    split: str
    scene: str
    digest: str | None
    clean_digest: str | None
    perceptual_hash: int | None
    clean_hash: int | None
    width: int | None
    height: int | None
    type_origin: str | None
    reason: str | None
    """Why it is refused for what it is in itself."""
    is_gone: bool
    """It is not refused: its files cannot be had now."""


def _measured_row(pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None) -> _MeasuredRow:
    seen = rainy if isinstance(rainy, FileFacts) else None
    partner = clean if isinstance(clean, FileFacts) else None
    return _MeasuredRow(
        id=pair.id,
        rainy=str(pair.rainy),
        clean=str(pair.clean) if pair.clean is not None else "",
        type=pair.type,
        source=pair.source,
        split=pair.split,
        scene=pair.scene,
        digest=seen.digest if seen else None,
        clean_digest=partner.digest if partner else None,
        perceptual_hash=seen.perceptual_hash if seen else None,
        clean_hash=partner.perceptual_hash if partner else None,
        width=seen.width if seen else None,
        height=seen.height if seen else None,
        type_origin="manifest" if pair.type else None,
        reason=_own_reason(pair, rainy, clean),
        is_gone=_is_gone(pair, rainy, clean),
    )


def _own_reason(pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None) -> str | None:
    if clean is None:
        return "no_clean_partner"
    if pair.type and pair.type not in list(RainType):
        return f"unknown_type: {pair.type}"
    for facts in (rainy, clean):
        if isinstance(facts, Unreadable):
            return f"picture_gone: {facts.reason}" if facts.is_gone else f"unreadable_picture: {facts.reason}"
    assert isinstance(rainy, FileFacts)
    assert isinstance(clean, FileFacts)
    if (rainy.width, rainy.height) != (clean.width, clean.height):
        return f"sizes_differ: rainy {rainy.width}x{rainy.height}, clean {clean.width}x{clean.height}"
    return None


def _is_gone(pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None) -> bool:
    return (_own_reason(pair, rainy, clean) or "").startswith("picture_gone: ")


def _batch(rows: Sequence[_MeasuredRow]) -> "pa.RecordBatch":
    import pyarrow as pa

    schema = _measured_schema()
    columns = [pa.array([getattr(row, name) for row in rows], schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _measured_schema() -> "pa.Schema":
    import pyarrow as pa

    whole = result_schema()
    fields = [whole.field(name) for name in CANDIDATE_COLUMNS]
    return pa.schema([*fields, ("reason", pa.string()), ("is_gone", pa.bool_())])


def _write_batches(part: Path, batches: "Iterator[pa.RecordBatch]") -> None:
    import pyarrow as pa

    with part.open("wb") as sink, pa.ipc.new_file(sink, _measured_schema()) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _map(file: Path) -> "pa.Table":
    import pyarrow as pa

    # In one piece: whoever takes rows out of many pieces joins them all each time.
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all().combine_chunks()


@dataclass
class Refusals:
    """Why each row is refused, in a few bytes a row."""

    digests: Digests
    clean_digests: Digests
    hashes: Hashes
    clean_hashes: Hashes
    ranks: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Of the ids, when sorted."""
    is_open: np.ndarray[tuple[int], np.dtype[np.bool_]]
    duplicate_of: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Row number, NONE for most."""
    shows: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Place among `set_names`, NONE for most."""
    set_names: list[str] = field(default_factory=list)

    @staticmethod
    def of(rows: "pa.Table") -> "Refusals":
        """Rows that are not refused for what they are in themselves are open."""
        import pyarrow.compute as pc

        order = pc.sort_indices(rows, sort_keys=[("id", "ascending")]).to_numpy()
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return Refusals(
            _digests(rows, "digest"),
            _digests(rows, "clean_digest"),
            _hashes(rows, "perceptual_hash"),
            _hashes(rows, "clean_hash"),
            ranks,
            np.asarray(rows.column("reason").is_null().to_numpy()).astype(np.bool_),
            np.full(len(order), NONE, np.int64),
            np.full(len(order), NONE, np.int64),
        )

    def refuse_registered(self, rows: "pa.Table", registered: Registered, near_bits: int) -> None:
        """Pictures of test sets: of registered ones, and of rows whose own split is `test`."""
        import pyarrow.compute as pc

        # Also of rows that are refused themselves, for a partner that is broken, say: every picture that could be read.
        is_test = np.asarray(pc.equal(rows.column("split"), "test").to_numpy())
        rainy = np.flatnonzero(is_test & np.asarray(rows.column("digest").is_valid().to_numpy()))
        clean = np.flatnonzero(is_test & np.asarray(rows.column("clean_digest").is_valid().to_numpy()))
        sources = rows.column("source").take(np.concatenate([rainy, clean])).to_pylist()
        names = [*registered.names, *(f"test split of {source}" for source in sources)]
        digests = np.concatenate([registered.digests, self.digests[rainy], self.clean_digests[clean]])
        hashes = np.concatenate([registered.hashes, self.hashes[rainy], self.clean_hashes[clean]])
        self.set_names = sorted(set(names))
        number = {name: place for place, name in enumerate(self.set_names)}
        numbers = np.array([number[name] for name in names], np.int64)
        open_rows = np.flatnonzero(self.is_open)
        for side, side_hashes in ((self.digests, self.hashes), (self.clean_digests, self.clean_hashes)):
            found = registered_as(side[open_rows], side_hashes[open_rows], digests, hashes, near_bits)
            is_new = (found != NONE) & (self.shows[open_rows] == NONE)
            self.shows[open_rows[is_new]] = numbers[found[is_new]]
        self.is_open &= self.shows == NONE

    def refuse_duplicates(self) -> None:
        """Of the same rainy picture several times the one with the first id stays, whatever their partners."""
        self.duplicate_of = first_of_equals(self.digests, self.ranks, self.is_open)
        self.is_open &= self.duplicate_of == NONE

    def refuse_frames(self, rows: "pa.Table", settings: PrepareSettings) -> None:
        """Frames beyond so many of a scene of a source."""
        import pyarrow.compute as pc

        named = self.is_open & np.asarray(pc.not_equal(rows.column("scene"), "").to_numpy())
        scenes = np.concatenate(
            [
                hash_strings(pc.binary_join_element_wise(batch.column("source"), batch.column("scene"), "\0"))
                for batch in rows.to_batches()
            ]
        )
        frames = np.flatnonzero(named)
        frames = frames[np.argsort(scenes[frames], kind="stable")]
        ids = rows.column("id").take(frames).to_pylist()
        edges = [0, *(np.flatnonzero(np.diff(scenes[frames])) + 1).tolist(), len(frames)]
        for begin, end in pairwise(edges):
            if end - begin > settings.per_scene:
                places = sorted(range(begin, end), key=lambda place: (natural_key(ids[place]), ids[place]))
                scene = frames[places]
                chosen = frames_to_judge(self.hashes[scene].tolist(), settings.per_scene, settings.near_bits)
                self.is_open[np.delete(scene, chosen)] = False

    def order(self, is_open: bool) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The rows that are open, or those that are not, by digest and id."""
        rows = np.flatnonzero(self.is_open == is_open)
        return rows[np.lexsort((self.ranks[rows], self.digests[rows]))]

    def reason(self, row: int, own: str | None, rows: "pa.Table") -> str:
        """Why a row is refused, in words."""
        if own is not None:
            return own
        if self.shows[row] != NONE:
            return f"registered_test_picture:{self.set_names[self.shows[row]]}"
        if self.duplicate_of[row] != NONE:
            first = int(self.duplicate_of[row])
            is_same = self.clean_digests[first] == self.clean_digests[row]
            return f"{'duplicate_of' if is_same else 'conflicting_partner'}:{rows.column('id')[first].as_py()}"
        return "scene_has_enough"


def _digests(rows: "pa.Table", column: str) -> Digests:
    parts = [[bytes.fromhex(digest or "") for digest in chunk.to_pylist()] for chunk in rows.column(column).chunks]
    return np.concatenate([np.zeros(0, "S32"), *(np.array(part, "S32") for part in parts)])


def _hashes(rows: "pa.Table", column: str) -> Hashes:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(rows.column(column), 0).to_numpy(), np.uint64)


def _write_candidates(part: Path, rows: "pa.Table", reasons: Refusals, shard_rows: int) -> None:
    """A batch for each shard."""
    import pyarrow as pa

    chosen = rows.select(list(CANDIDATE_COLUMNS))
    order = reasons.order(True)
    with part.open("wb") as sink, pa.ipc.new_file(sink, chosen.schema) as writer:
        for start in range(0, len(order), shard_rows):
            (batch,) = chosen.take(order[start : start + shard_rows]).combine_chunks().to_batches()
            writer.write_batch(batch)


def _write_refused(part: Path, rows: "pa.Table", reasons: Refusals) -> None:
    import pyarrow.parquet as pq

    order = reasons.order(False)
    with pq.ParquetWriter(part, result_schema()) as writer:
        for start in range(0, len(order), 4096):
            some = order[start : start + 4096]
            refused = []
            for number, cells in zip(some.tolist(), rows.take(some).to_pylist(), strict=True):
                row = Row(**{name: cells[name] for name in CANDIDATE_COLUMNS})
                reason = reasons.reason(number, cells["reason"], rows)
                if cells["is_gone"]:
                    row.leave_pending(reason)
                else:
                    row.drop(reason)
                refused.append(row)
            writer.write_table(result_of(refused))
