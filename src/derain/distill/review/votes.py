"""Votes of persons on pairs: a file of lines beside the run, to which is only ever added."""

import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from derain.errors import DistillError

VOTES_NAME = "votes.jsonl"
"""The file's name in the folder of a run."""

LONGEST_NAME = 64
"""Characters of a person's name."""


@dataclass(frozen=True)
class Vote:
    """The answer of one person about one pair; the last line of a person about a pair counts."""

    person: str
    pair: str
    """`ResultRow.key` of the pair."""
    id: str
    """The candidate's id in its manifest, for those who read the file."""
    real: bool
    """Whether the rain was taken for real."""
    at: str
    """When, ISO 8601 in UTC."""


@dataclass(frozen=True)
class Votes:
    """The content of a file of votes."""

    latest: dict[tuple[str, str], Vote]
    """(person, pair) -> the line that counts."""
    unreadable_lines: int
    """Lines that were broken off, as by a power cut."""


class VoteFile:
    """Adds to a file of votes; threads may share it, and several processes may have one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, person: str, pair: str, identity: str, real: bool) -> Vote:
        """Add a vote; when this returns, it is on the disk.

        A line is written by one call in append mode, so lines of several writers do not mix.

        Raises:
            DistillError: the file cannot be written.
        """
        line = Vote(person, pair, identity, real, datetime.now(UTC).isoformat(timespec="seconds"))
        text = json.dumps(vars(line), ensure_ascii=True, sort_keys=True)
        try:
            with self._lock, self.path.open("a+b") as file:
                # A line that was broken off is closed, so that it does not swallow this one.
                start = "\n" if file.seek(0, os.SEEK_END) and not _ends_with_newline(file.fileno()) else ""
                os.write(file.fileno(), f"{start}{text}\n".encode())
                os.fsync(file.fileno())
        except OSError as error:
            raise DistillError(
                f"{self.path}: the vote cannot be written ({error.strerror}); check the folder, its space and rights"
            ) from error
        return line


def read_votes(path: Path) -> Votes:
    """The votes in a file; none where there is no file.

    Raises:
        DistillError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise DistillError(f"{path}: the votes cannot be read ({error.strerror}); check the file's rights") from error
    latest: dict[tuple[str, str], Vote] = {}
    unreadable = 0
    for line in lines:
        vote = _parse(line)
        if vote is not None:
            latest[vote.person, vote.pair] = vote
        elif line.strip():
            unreadable += 1
    return Votes(latest, unreadable)


def tidy_name(name: str) -> str:
    """A person's name with single spaces.

    Raises:
        DistillError: it is empty, too long, or holds characters that cannot be printed.
    """
    tidied = " ".join(name.split())
    if not tidied or len(tidied) > LONGEST_NAME or not tidied.isprintable():
        raise DistillError(f"wanted a name of 1 to {LONGEST_NAME} printable characters, got {name[:80]!r}")
    return tidied


def _parse(line: bytes) -> Vote | None:
    try:
        cells = json.loads(line)
    except ValueError:
        return None
    if not isinstance(cells, dict) or cells.keys() != {"person", "pair", "id", "real", "at"}:
        return None
    if not isinstance(cells["real"], bool) or not all(isinstance(cells[k], str) for k in cells if k != "real"):
        return None
    return Vote(**cells)


def _ends_with_newline(descriptor: int) -> bool:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1) == b"\n"
