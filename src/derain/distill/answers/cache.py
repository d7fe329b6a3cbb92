"""Every answer of every model, stored under who was asked and what: nothing is ever asked for twice.

One SQLite file in a folder, written by many processes of one machine at a time (write-ahead log, short transactions).
An answer is committed at once, so that a process that is killed loses none. SQLite's locks need a
disk of this machine: every machine of a cluster has a cache of its own.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from derain.data.cache import cache_folder
from derain.errors import DistillError

FILE = "answers.sqlite"
VERSION = 1
"""Of the file's form."""
BUSY_S = 120.0
"""How long a process waits for the others before it gives up."""
_KEYS_AT_ONCE = 500
_WAL_RETRY_S = 0.02


@dataclass(frozen=True)
class Entry:
    """One answer as it is stored."""

    key: bytes
    """32 bytes, see `cached.answer_key`."""
    kind: str
    """Of question: caption, expansion, keywords, text, visual, verdict, file."""
    identity: str
    """Digest of the model's identity."""
    value: bytes
    seconds: float
    """What the model took for it."""


@dataclass(frozen=True)
class Stored:
    """What is stored under a key."""

    value: bytes
    seconds: float


@dataclass(frozen=True)
class CacheStatistics:
    """How much a cache holds."""

    file: Path
    size_bytes: int
    """On disk, with the log."""
    answers: Mapping[str, int]
    """By kind."""


def answers_folder() -> Path:
    """Where answers are kept by default: `$DERAIN_CACHE/answers` or `~/.cache/derain/answers`."""
    return cache_folder().parent / "answers"


class AnswerCache:
    """The answers in a folder; made where there are none.

    Pickled as the folder's name; a process that was forked opens its own connection.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["AnswerCache"], tuple[Path]]:
        return AnswerCache, (self.folder,)

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        """What is stored under the keys; those without answer are left out.

        Raises:
            DistillError: the file is damaged or cannot be opened.
        """
        found: dict[bytes, Stored] = {}
        with self._errors_named(), self._lock:
            connection = self._open()
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = list(keys[start : start + _KEYS_AT_ONCE])
                marks = ",".join("?" * len(some))
                for key, value, seconds in connection.execute(
                    f"SELECT key, value, seconds FROM answers WHERE key IN ({marks})", some
                ):
                    found[key] = Stored(value, seconds)
        return found

    def put(self, entries: Sequence[Entry]) -> None:
        """Store answers; they are safe from a kill when this returns. What is stored already stays.

        Raises:
            DistillError: the file is damaged, cannot be written, or the disk is full.
        """
        rows = [(entry.key, entry.kind, entry.identity, entry.value, entry.seconds) for entry in entries]
        with self._errors_named(), self._lock, _transaction(self._open()) as connection:
            connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", rows)

    def statistics(self) -> CacheStatistics:
        """Counted by reading the whole index: a second or so per million answers."""
        with self._errors_named(), self._lock:
            counted = self._open().execute("SELECT kind, count(*) FROM answers GROUP BY kind ORDER BY kind").fetchall()
        files = [self.file, *(self.file.with_name(FILE + ending) for ending in ("-wal", "-shm"))]
        return CacheStatistics(self.file, sum(file.stat().st_size for file in files if file.exists()), dict(counted))

    def close(self) -> None:
        """Give the file back; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        self.folder.mkdir(parents=True, exist_ok=True)
        # Transactions are begun by hand; one thread at a time, by the lock.
        connection = sqlite3.connect(self.file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _enter_wal(connection)
            # In this mode a crash of the machine may lose the last answers, a killed process loses none.
            connection.execute("PRAGMA synchronous = NORMAL")
            with _transaction(connection):
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, kind TEXT NOT NULL, "
                    "identity TEXT NOT NULL, value BLOB NOT NULL, seconds REAL NOT NULL) WITHOUT ROWID"
                )
                connection.execute("CREATE INDEX IF NOT EXISTS by_kind ON answers (kind)")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    connection.execute(f"PRAGMA user_version = {VERSION}")
                elif version != VERSION:
                    raise DistillError(
                        f"{self.file}: a cache of form {version}, this program reads form {VERSION}; "
                        "delete the file, or give another folder for the cache"
                    )
        except BaseException:
            connection.close()
            raise
        self._connection, self._owner = connection, os.getpid()
        return connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DistillError(
                f"{self.file}: the cache of answers cannot be used ({error}); look after the disk's room and rights, "
                "or give another folder for the cache"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from error
        except OSError as error:
            raise DistillError(
                f"{self.folder}: no folder for the cache of answers ({error.strerror or error}); give another one"
            ) from error

    def damaged(self, how: str) -> DistillError:
        """The error for a file whose content cannot be what was written."""
        return DistillError(
            f"{self.file}: the cache of answers is damaged ({how}); delete {FILE}, {FILE}-wal and {FILE}-shm "
            f"in {self.folder}, and the models are asked again"
        )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing; waits for other writers."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:  # after some errors, such as a full disk, SQLite has ended it by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite does not wait for others by itself while a new file is being switched."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY_S)
