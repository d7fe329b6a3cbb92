"""LanceDB as the knowledge base uses it: connections, and conditions in its dialect of SQL."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from derain.errors import DistillError, MissingExtraError

if TYPE_CHECKING:
    from lancedb.db import DBConnection

DIGESTS_A_QUERY = 1000


def connect(uri: str) -> "DBConnection":
    """A connection whose tables show at every read what others have written.

    Raises:
        DistillError: the place cannot be reached or written to.
        MissingExtraError: LanceDB is not installed.
    """
    try:
        import lancedb
    except ImportError as error:
        raise MissingExtraError("the knowledge base", "distill") from error
    try:
        return lancedb.connect(uri, read_consistency_interval=timedelta(0))
    except (OSError, RuntimeError, ValueError) as error:
        raise DistillError(f"{uri}: cannot be opened as a place for a knowledge base ({error})") from error


def has_table(uri: str, name: str) -> bool:
    """Whether a table is there; looks without making a folder."""
    # A connection to a folder makes it. LanceDB takes what follows file:// as it stands, percent signs and all.
    folder = uri.removeprefix("file://")
    if "://" not in folder:
        return (Path(folder) / f"{name}.lance").is_dir()
    return name in (connect(uri).list_tables().tables or [])


def equals(column: str, value: str) -> str:
    """A condition on a text column."""
    quoted = value.replace("'", "''")
    return f"{column} = '{quoted}'"


def all_of(conditions: Iterable[str]) -> str | None:
    """Conditions joined by AND; None where there are none."""
    return " AND ".join(conditions) or None


def among(digests: Iterable[str]) -> Iterator[str]:
    """Conditions that together ask for all the digests, some at a time."""
    every = list(digests)
    for first in range(0, len(every), DIGESTS_A_QUERY):
        quoted = ("'" + digest.replace("'", "''") + "'" for digest in every[first : first + DIGESTS_A_QUERY])
        yield f"digest IN ({', '.join(quoted)})"
