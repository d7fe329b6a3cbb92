"""Manifests of millions of rows as a table that lies on disk and is mapped into memory.

A manifest (CSV or Parquet, its columns the fields of `Pair`) is checked and converted once, a few megabytes at a time,
to an Arrow file in the cache; every process that opens it then maps that file. Memory holds a few bytes a row: the row
numbers of the split and types that take part. A `Pair` is made when its row is asked for.
"""

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from derain.data.cache import cache_folder, identity, mark_used, remove_unused
from derain.data.duplicates import Hashes, find_duplicates, hash_strings, repeated
from derain.data.pairs import SPLITS, Pair
from derain.data.rows import Rows, is_parquet, read_rows, refuse_row, require_pyarrow
from derain.errors import DatasetError
from derain.files import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = tuple(field.name for field in fields(Pair))

MOST_TYPES = 1000
"""More names than these in the column `type` are taken for a mistake."""

RowNumbers = npt.NDArray[np.int64]


def open_table(manifest: Path) -> "PairTable":
    """Open a manifest; the first time it is checked and converted, which takes a second per million rows or so.

    The converted file lies in `cache_folder()`, or in a temporary file of this process where that cannot be written.
    It belongs to the manifest's place, size and time: a manifest that was changed is converted anew.

    Raises:
        DatasetError: the file cannot be read, lacks a column, or has a bad row; named with its line.
    """
    require_pyarrow()
    is_parquet(manifest)  # refuses what is no file
    manifest = manifest.absolute()
    name = identity(manifest)
    file = cache_folder() / f"{name}.arrow"
    batches = _map(file)
    if batches is not None:
        mark_used(file)
        return PairTable(manifest, name, file, batches)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, durable=True) as part:
            convert(manifest, part)
        remove_unused(file)
        return PairTable(manifest, name, file, _map_new(file))
    except OSError:
        return _open_temporarily(manifest, name)


def _open_temporarily(manifest: Path, name: str) -> "PairTable":
    """Where the cache cannot be written: a file that goes when the table does."""
    folder = Path(tempfile.mkdtemp(prefix="derain-"))
    file = folder / f"{name}.arrow"
    try:
        convert(manifest, file)
        table = PairTable(manifest, name, file, _map_new(file))
    except BaseException as error:
        _remove(file, folder)
        if isinstance(error, OSError):
            raise DatasetError(
                f"{folder}: no room to convert {manifest} ({error.strerror or error}); "
                "set DERAIN_CACHE to a folder that can be written and has room"
            ) from error
        raise
    weakref.finalize(table, _remove, file, folder)
    return table


def _remove(file: Path, folder: Path) -> None:
    file.unlink(missing_ok=True)
    folder.rmdir()


def _schema() -> "pa.Schema":
    import pyarrow as pa

    names = pa.dictionary(pa.int16(), pa.string())
    return pa.schema([(name, names if name in ("type", "split") else pa.string()) for name in COLUMNS])


def _map(file: Path) -> "list[pa.RecordBatch] | None":
    """The batches of a converted file without reading them; None where it is missing or damaged."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate()
    except (OSError, pa.ArrowException):
        return None
    return batches if reader.schema == _schema() else None


def _map_new(file: Path) -> "list[pa.RecordBatch]":
    batches = _map(file)
    if batches is None:
        raise DatasetError(f"{file}: was damaged as soon as it was written; look after this disk, or set DERAIN_CACHE")
    return batches


def convert(manifest: Path, target: Path) -> None:
    """Check every row of a manifest and write it as an Arrow file.

    Raises:
        DatasetError: the first bad row, or an id that stands twice, with the line.
        OSError: the target cannot be written.
    """
    import pyarrow as pa

    hashes: list[Hashes] = []
    types: list[str] = []
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with target.open("wb") as sink, pa.ipc.new_file(sink, _schema(), options=options) as writer:
        for rows in read_rows(manifest, COLUMNS, refuse_row(manifest)):
            faults = row_faults(rows)
            if faults:
                row, reason = min(faults)
                raise DatasetError(f"{manifest}, {rows.place(row)}: {reason}")
            hashes.append(hash_strings(rows.cells.column("id")))
            _add_types(manifest, rows.cells, types)
            writer.write_batch(_encoded(rows.cells, types))
    for duplicate in find_duplicates(manifest, "id", repeated(hashes)):
        raise DatasetError(
            f"{manifest}, {duplicate.place}: id {duplicate.value!r} is that of {duplicate.earlier}; make ids unique"
        )


def _add_types(manifest: Path, cells: "pa.RecordBatch", types: list[str]) -> None:
    """New names join the list, of which there may not be too many."""
    import pyarrow.compute as pc

    known = set(types)
    types.extend(name for name in pc.unique(cells.column("type")).to_pylist() if name not in known)
    if len(types) > MOST_TYPES:
        raise DatasetError(f"{manifest}: {too_many_types(types[MOST_TYPES])}")


def too_many_types(name: str) -> str:
    """The words for a column of types that holds something else."""
    return (
        f"more than {MOST_TYPES} different names in the column 'type', such as {name!r}; "
        "it wants the name of the rain type"
    )


def row_faults(rows: Rows) -> list[tuple[int, str]]:
    """What is wrong with single rows of a manifest: row of the stretch and reason, without looking for files."""
    import pyarrow.compute as pc

    faults = []
    for column in ("id", "rainy"):
        lengths = pc.binary_length(rows.cells.column(column)).to_numpy(zero_copy_only=False)
        faults += [(row, f"column {column!r} is empty; fill it in") for row in np.flatnonzero(lengths == 0).tolist()]
    splits = rows.cells.column("split")
    for row in np.flatnonzero(_codes(splits, SPLITS) < 0).tolist():
        faults.append((row, f"split {splits[row].as_py()!r} is unknown; use one of {', '.join(SPLITS)}"))
    return faults


def _codes(strings: "pa.StringArray", names: Sequence[str]) -> npt.NDArray[np.int16]:
    """(N,) the place of each string among the names, -1 where it is none of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(strings, pa.array(names, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int16))


def _encoded(cells: "pa.RecordBatch", types: Sequence[str]) -> "pa.RecordBatch":
    """The batch as it is stored: type and split as numbers of names."""
    import pyarrow as pa

    arrays = []
    for column in COLUMNS:
        array = cells.column(column)
        if column in ("type", "split"):
            names = types if column == "type" else SPLITS
            array = pa.DictionaryArray.from_arrays(pa.array(_codes(array, names)), pa.array(names, pa.string()))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=_schema())


class PairTable(Sequence[Pair]):
    """The rows of a manifest, in file order, each made when it is asked for; made by `open_table`.

    Pickled as names of files: a worker process maps the same converted file.
    """

    def __init__(self, manifest: Path, name: str, file: Path, batches: "list[pa.RecordBatch]") -> None:
        self.manifest = manifest
        self.identity = name
        """Names this state of the manifest, see `cache.identity`."""
        self._file = file
        self._folder = manifest.resolve().parent
        self._batches = batches
        self._ends = np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.manifest, self.identity, self._file)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._batches else 0

    @overload
    def __getitem__(self, row: int) -> Pair: ...
    @overload
    def __getitem__(self, row: slice) -> list[Pair]: ...
    def __getitem__(self, row: int | slice) -> Pair | list[Pair]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        count = len(self)
        if not -count <= row < count:
            raise IndexError(f"row {row} of {count}")
        row %= count
        number = int(np.searchsorted(self._ends, row, side="right"))
        batch = self._batches[number]
        place = row - int(self._ends[number]) + batch.num_rows
        cells = {column: str(batch.column(column)[place].as_py()) for column in COLUMNS}
        return Pair(
            id=cells["id"],
            rainy=self._folder / cells["rainy"],
            clean=self._folder / cells["clean"] if cells["clean"] else None,
            type=cells["type"] or None,
            source=cells["source"],
            split=cells["split"],
            scene=cells["scene"],
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[row] for row in range(len(self)))

    def rows(self, split: str, type_name: str) -> RowNumbers:
        """(N,) numbers of the rows of a split and type, in file order; the type `""` has those without type."""
        found = [np.zeros(0, np.int64)]
        for end, batch in zip(self._ends, self._batches, strict=True):
            is_split = _equals(batch.column("split"), split)
            chosen = np.flatnonzero(is_split & _equals(batch.column("type"), type_name))
            found.append(chosen + (end - batch.num_rows))
        return np.concatenate(found)

    def lacks_clean(self) -> npt.NDArray[np.bool_]:
        """(rows,) whether a row has no clean partner."""
        import pyarrow.compute as pc

        lengths = [pc.binary_length(batch.column("clean")).to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.asarray(np.concatenate([np.zeros(0, np.int32), *lengths]) == 0)

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Rows by (source, type, split), in the order of these names."""
        return dict(self._counts)

    @cached_property
    def _counts(self) -> dict[tuple[str, str, str], int]:
        import pyarrow as pa

        if not self._batches:
            return {}
        keys = ["source", "type", "split"]
        table = pa.Table.from_batches(self._batches).select(keys).unify_dictionaries()
        counted = table.group_by(keys, use_threads=False).aggregate([([], "count_all")])
        found = zip(*(counted.column(key).to_pylist() for key in [*keys, "count_all"]), strict=True)
        return {(source, name, split): count for source, name, split, count in sorted(found)}

    def select(self, split: str, types: Sequence[str]) -> "PairRows":
        """The rows of a split that have one of the types."""
        return PairRows(self, split, types)


def _reopen(manifest: Path, name: str, file: Path) -> PairTable:
    """Map the file that another process converted, or convert the same manifest again if that has gone."""
    batches = _map(file)
    if batches is not None:
        return PairTable(manifest, name, file, batches)
    table = open_table(manifest)
    if table.identity != name:
        raise DatasetError(f"{manifest}: was changed while it was in use; start again with it as it is now")
    return table


def _equals(column: "pa.DictionaryArray", name: str) -> npt.NDArray[np.bool_]:
    names = column.dictionary.to_pylist()
    codes = column.indices.to_numpy(zero_copy_only=False)
    return np.asarray(codes == (names.index(name) if name in names else -1))


class PairRows(Sequence[Pair]):
    """The rows of a table that have a split and one of some types, in file order."""

    def __init__(self, table: PairTable, split: str, types: Sequence[str]) -> None:
        self.table = table
        self.split = split
        self.names = tuple(types)
        """The types that were asked for; of some there may be no row."""
        self._by_type = {name: table.rows(split, name) for name in self.names}

    def __reduce__(self) -> tuple[object, ...]:
        return PairRows, (self.table, self.split, self.names)

    @property
    def types(self) -> frozenset[str]:
        """The types that occur."""
        return frozenset(name for name, rows in self._by_type.items() if len(rows))

    def of_type(self, type_name: str) -> RowNumbers:
        """Row numbers in the table, in file order."""
        return self._by_type[type_name]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._by_type.values())

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self.table[row] for row in self._rows[index].tolist()]
        return self.table[int(self._rows[index])]

    def __iter__(self) -> Iterator[Pair]:
        return (self.table[int(row)] for row in self._rows)

    @cached_property
    def _rows(self) -> RowNumbers:
        rows = np.concatenate([np.zeros(0, np.int64), *self._by_type.values()])
        rows.sort()
        return rows

    def without_clean(self) -> tuple[int, Pair | None]:
        """How many rows have no clean partner, and the first of them."""
        lacks = self.table.lacks_clean()
        found = [rows[lacks[rows]] for rows in self._by_type.values()]
        lacking = np.concatenate([np.zeros(0, np.int64), *found])
        return len(lacking), self.table[int(lacking.min())] if lacking.size else None

    def evenly(self, count: int) -> list[Pair]:
        """About `count` of the rows, evenly over every type; all where there are no more."""
        stride = max(1, -(-len(self) // count))
        return [self.table[int(row)] for rows in self._by_type.values() for row in rows[::stride]]

    def counts(self) -> dict[tuple[str, str], int]:
        """Rows by (source, type)."""
        counted = self.table.counts().items()
        return {(s, t): count for (s, t, split), count in counted if split == self.split and t in self.names}

    def left_out(self) -> dict[str, int]:
        """Rows of the split by the types that were not asked for; those without type by `""`."""
        found: dict[str, int] = {}
        for (_, name, split), count in self.table.counts().items():
            if split == self.split and name not in self.names:
                found[name] = found.get(name, 0) + count
        return found
