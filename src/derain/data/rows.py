"""The rows of a table on disk (CSV or Parquet), read a few megabytes at a time into Arrow batches of stripped strings.

CSV is split by Arrow's reader, which is fast, wherever its answer is certain to be that of Python's strict `csv`
module; from the first stretch on where it is not (stray quotes, lone carriage returns, rows of the wrong length) that
module takes over, and says by its line what is wrong.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from derain.errors import DatasetError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 4 << 20
"""So much of a CSV file is in memory at a time."""

ROWS_AT_ONCE = 32_768
"""Rows of a batch that are not cut by bytes."""

OnBadRow = Callable[[str, str], None]
"""Told the place of a row with too few or too many cells, and what is wrong; raises, or the row is left out."""


@dataclass(frozen=True)
class Rows:
    """A stretch of a table."""

    cells: "pa.RecordBatch"
    """The wanted columns: strings without space around them, `""` where nothing stands."""
    place: Callable[[int], str]
    """Where a row of the stretch stands in its file, such as `line 12`."""


def refuse_row(path: Path) -> OnBadRow:
    """The strict way with bad rows: the first one is an error."""

    def refuse(place: str, reason: str) -> None:
        raise DatasetError(f"{path}, {place}: {reason}")

    return refuse


def column_names(path: Path) -> list[str]:
    """The names of all columns, in the file's order.

    Raises:
        DatasetError: the file is missing, or is no table.
    """
    with _errors_named(path):
        if not is_parquet(path):
            return _Header.read(path).names
        with _arrow_errors_named(path):
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names)


def read_rows(path: Path, columns: Sequence[str], on_bad_row: OnBadRow) -> Iterator[Rows]:
    """All rows of a table, in file order, of the wanted columns.

    Raises:
        DatasetError: the file is missing, is no table, or lacks a column.
        MissingExtraError: pyarrow is not there.
    """
    with _errors_named(path), _arrow_errors_named(path):
        yield from (_parquet_rows if is_parquet(path) else _csv_rows)(path, columns, on_bad_row)


def read_records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The same row by row: its place and its cells by column. Of CSV this needs nothing but the core.

    Raises:
        DatasetError: the file is missing, is no table, lacks a column, or has a row of too few or too many cells.
        MissingExtraError: the table is Parquet, and pyarrow is not there.
    """
    with _errors_named(path):
        if is_parquet(path):
            for rows in read_rows(path, columns, refuse_row(path)):
                for row, cells in enumerate(rows.cells.to_pylist()):
                    yield rows.place(row), cells
            return
        header = _Header.read(path)
        require_columns(path, columns, header.names, header.place)
        where = {column: header.names.index(column) for column in columns}
        for line, record in _csv_records(path, 0, 0, header, refuse_row(path)):
            yield f"line {line}", {column: record[number].strip() for column, number in where.items()}


def is_parquet(path: Path) -> bool:
    """By its first bytes, whatever its name.

    Raises:
        DatasetError: there is no such file.
    """
    if not path.is_file():
        found = "this is a folder" if path.is_dir() else "no such file"
        raise DatasetError(f"{path}: {found}; give the path of a table, CSV or Parquet")
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def require_pyarrow() -> None:
    """Refuse to begin without what an extra installs.

    Raises:
        MissingExtraError: it is not there.
    """
    if find_spec("pyarrow") is None:
        raise MissingExtraError("reading tables of any size", "train")


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """What goes wrong while a table is read, in words."""
    try:
        yield
    except UnicodeDecodeError as error:
        with path.open("rb") as file:
            is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        remedy = "it is UTF-16: save it as UTF-8" if is_utf16 else "give the path of a table, not of a picture"
        raise DatasetError(f"{path}: this is not a text file in UTF-8; {remedy}") from error
    except csv.Error as error:
        raise DatasetError(f"{path}: cannot be read as a CSV table ({error}); correct it") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error


@contextmanager
def _arrow_errors_named(path: Path) -> Iterator[None]:
    """The same for what only Arrow reads."""
    require_pyarrow()
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DatasetError(f"{path}: cannot be read as a Parquet table ({error}); write it anew") from error


def require_columns(path: Path, columns: Sequence[str], names: Sequence[str], place: str = "") -> None:
    """Refuse a table that does not have each of the columns once.

    Args:
        names: the columns that are there.
        place: of its header, as it goes into the message after the path.

    Raises:
        DatasetError: it is so.
    """
    missing = [column for column in columns if column not in names]
    if missing:
        raise DatasetError(
            f"{path}{place}: no column {', '.join(missing)}; the header must have "
            f"{', '.join(columns)}, it has {', '.join(names) or 'nothing'}{_header_hint(missing, columns, names)}"
        )
    double = [column for column in columns if names.count(column) > 1]
    if double:
        raise DatasetError(f"{path}{place}: column {double[0]} is there more than once; keep one of them")


def _header_hint(missing: Sequence[str], columns: Sequence[str], names: Sequence[str]) -> str:
    """What may have gone wrong with a header that lacks columns; empty where nothing comes to mind."""
    if "rainy" in columns and {"path", "light"} <= set(names):
        return "; this is an index of clean photographs, and a manifest of pairs was wanted"
    if "light" in columns and {"rainy", "clean"} <= set(names):
        return "; this is a manifest of pairs, and an index of clean photographs was wanted"
    for separator, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and separator in names[0]:
            return f"; its cells are separated by {called}: save it with commas between them"
    others = [name for name in names if name not in columns]
    meant = [
        f"is {near[0]!r} meant as {column!r}?"
        for column in missing
        if (near := get_close_matches(column, others, n=1, cutoff=0.6)) or (near := _same(column, others))
    ]
    return f"; {' '.join(meant)}" if meant else ""


def _same(column: str, names: Sequence[str]) -> list[str]:
    """Names that are the column's but for capitals and space."""
    return [name for name in names if name.strip().lower() == column]


def _stripped(columns: Sequence[str], arrays: "Sequence[pa.Array]") -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pa.RecordBatch.from_arrays([pc.utf8_trim_whitespace(array) for array in arrays], names=list(columns))


def _parquet_rows(path: Path, columns: Sequence[str], _on_bad_row: OnBadRow) -> Iterator[Rows]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        require_columns(path, columns, file.schema_arrow.names)
        first = 1
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False):
            strings = [pc.fill_null(batch.column(name).cast(pa.string()), "") for name in columns]
            # mypy cannot infer a lambda with a default, which binds the number of this batch.
            yield Rows(_stripped(columns, strings), lambda row, first=first: f"row {first + row}")  # type: ignore[misc]
            first += batch.num_rows


@dataclass(frozen=True)
class _Header:
    """The first record of a CSV file."""

    names: list[str]
    lines: int
    """Lines that it takes."""
    end: int | None
    """The byte after it; None where lines do not end in line feeds."""

    @property
    def place(self) -> str:
        """For errors, after the file's name."""
        return f", line {max(1, self.lines)}"

    @staticmethod
    def read(path: Path) -> "_Header":
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            names = next((record for record in reader if record), [])
            lines = reader.line_num
        with path.open("rb") as file:
            start = b"".join(file.readline() for _ in range(lines))
        return _Header(names, lines, len(start) if start.count(b"\r") == start.count(b"\r\n") else None)


def _csv_rows(path: Path, columns: Sequence[str], on_bad_row: OnBadRow) -> Iterator[Rows]:
    import pyarrow as pa
    import pyarrow.csv

    header = _Header.read(path)
    require_columns(path, columns, header.names, header.place)
    if header.end is None:
        yield from _csv_rows_one_by_one(path, 0, 0, header, columns, on_bad_row)
        return
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns), strings_can_be_null=False
    )
    start, lines_before, rest = header.end, header.lines, b""
    with path.open("rb") as file:
        file.seek(start)
        while True:
            read = file.read(BLOCK_BYTES)
            block = rest + read
            end = _end_of_records(block) if read else len(block)
            body, rest = block[:end], block[end:]
            if not body and not read:
                return
            if not body and len(rest) < 8 * BLOCK_BYTES:
                continue  # a long record: read on
            try:
                if not body or not _reads_alike(body):
                    raise pa.ArrowInvalid("leave it to the csv module")
                table = pa.csv.read_csv(
                    pa.py_buffer(body),
                    pa.csv.ReadOptions(column_names=_unique(header.names), use_threads=False, block_size=len(body) + 1),
                    pa.csv.ParseOptions(newlines_in_values=b'"' in body),
                    convert,
                )
            except pa.ArrowInvalid:
                yield from _csv_rows_one_by_one(path, start, lines_before, header, columns, on_bad_row)
                return
            arrays = [table.column(name).combine_chunks() for name in columns]
            yield Rows(_stripped(columns, arrays), _line_in(body, lines_before))
            start += len(body)
            lines_before += body.count(b"\n")


def _unique(names: Sequence[str]) -> list[str]:
    """Names for Arrow, which wants no two columns alike; wanted columns are not (they were checked)."""
    return [name if names.index(name) == number else f"{name}\0{number}" for number, name in enumerate(names)]


def _end_of_records(block: bytes) -> int:
    """The byte after the last line feed that is not inside quotes; 0 if there is none."""
    if b'"' not in block:
        return block.rfind(b"\n") + 1
    characters = np.frombuffer(block, np.uint8)
    quotes, ends = np.flatnonzero(characters == ord('"')), np.flatnonzero(characters == ord("\n"))
    outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return int(outside[-1]) + 1 if outside.size else 0


def _reads_alike(body: bytes) -> bool:
    """Whether Arrow and `csv` (strict) are sure to split this alike.

    Line ends are line feeds, with or without carriage return before them. Quotes, counted from 0: an even one opens
    a cell or is the second of a doubled quote, an odd one closes a cell or is the first of a doubled one.
    """
    if body.count(b"\r") != body.count(b"\r\n"):
        return False
    if b'"' not in body:
        return True
    characters = np.frombuffer(b"\n" + body + b"\n", np.uint8)
    quotes = np.flatnonzero(characters == ord('"'))
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    doubled = closing[:-1] + 1 == opening[1:]
    opens = np.isin(characters[opening - 1], np.frombuffer(b",\r\n", np.uint8))
    closes = np.isin(characters[closing + 1], np.frombuffer(b",\r\n", np.uint8))
    opens[1:] |= doubled
    closes[:-1] |= doubled
    return bool(opens.all() and closes.all())


def _line_in(body: bytes, lines_before: int) -> Callable[[int], str]:
    """Line numbers of the rows of a stretch, found by reading it again, for they are needed for errors only."""
    lines: list[int] = []

    def place(row: int) -> str:
        if not lines:
            reader = csv.reader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
            lines.extend(lines_before + reader.line_num for record in reader if record)
        return f"line {lines[row]}"

    return place


def _csv_records(
    path: Path, start: int, lines_before: int, header: _Header, on_bad_row: OnBadRow
) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of the rows from byte `start` on by Python's `csv` module; bad ones are reported and left out."""
    with path.open("rb") as file:
        file.seek(start)
        text = io.TextIOWrapper(file, "utf-8" if start else "utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        records = (record for record in reader if record)
        if start == 0:
            next(records, None)
        for record in records:
            line = lines_before + reader.line_num
            if len(record) == len(header.names):
                yield line, record
            else:
                on_bad_row(
                    f"line {line}",
                    f"wanted {len(header.names)} cells as in the header, got {len(record)}; "
                    "quote cells that hold commas and fill up missing ones",
                )


def _csv_rows_one_by_one(
    path: Path, start: int, lines_before: int, header: _Header, columns: Sequence[str], on_bad_row: OnBadRow
) -> Iterator[Rows]:
    """The same as stretches, of the wanted columns."""
    import pyarrow as pa

    where = [header.names.index(column) for column in columns]
    records = _csv_records(path, start, lines_before, header, on_bad_row)
    while some := list(islice(records, ROWS_AT_ONCE)):
        arrays = [pa.array([record[number] for _, record in some], pa.string()) for number in where]
        lines = np.array([line for line, _ in some], dtype=np.int64)
        # As above.
        yield Rows(_stripped(columns, arrays), lambda row, lines=lines: f"line {lines[row]}")  # type: ignore[misc]
