"""What is wrong with a list of pictures: one fault, and a file of them."""

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from derain.data.check import FaultKind
from derain.errors import DatasetError
from derain.files import atomic_write


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a list."""

    list: Path
    place: str
    """Where in the list, such as `line 12`."""
    id: str
    """The row's id, or the path of its picture; empty where it is the row that cannot be read."""
    kind: FaultKind
    file: str
    """The picture it is about, empty where it is about the row."""
    reason: str
    """In words."""


HEADER = [field.name for field in fields(Fault)]


class FaultFile:
    """A CSV file of faults, written as they come, so that none has to be kept, and put in its place when it is closed.

    Args:
        path: of the file; it may be there if it is a file of faults.
        lists: what is looked at, none of which may be that file.

    Raises:
        DatasetError: it would overwrite a list or anything else than a file of faults, or cannot be written.
    """

    def __init__(self, path: Path, lists: Sequence[Path]) -> None:
        self._path = path.resolve()
        if self._path in [listed.resolve() for listed in lists]:
            raise DatasetError(f"{path}: this is one of the lists to check; give another place with -o")
        if not _may_be_replaced(self._path):
            raise DatasetError(f"{path}: is there and no file of faults; remove it, or give another place with -o")
        self._open = ExitStack()
        try:
            part = self._open.enter_context(atomic_write(self._path))
            file = self._open.enter_context(part.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise DatasetError(f"{path}: cannot be written ({error.strerror}); give another place with -o") from error
        self._writer = csv.writer(file)
        self._writer.writerow(HEADER)

    def write(self, fault: Fault) -> None:
        """Add a fault."""
        self._writer.writerow([fault.list, fault.place, fault.id, fault.kind, fault.file, fault.reason])

    def close(self) -> None:
        """No more come."""
        self._open.close()


def _may_be_replaced(path: Path) -> bool:
    """Whether nothing would be lost: there is no such file, it is empty, or it begins as a file of faults."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), HEADER) == HEADER
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
