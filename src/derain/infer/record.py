"""Which photograph each result was made from, so that no other file is taken for a result, skipped or overwritten.

It is kept beside the results, in a hidden file of JSON lines; the last line on a name counts. Photographs are known by
their content, so that photographs and results may be moved and a run still be continued.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from derain.errors import DatasetError

RECORD_NAME = ".derain.jsonl"


@dataclass(frozen=True)
class Origin:
    """The photograph that a result was made from."""

    source: str
    """Its absolute path."""
    sha256: str
    """Digest of its file."""


def origin_of(source: Path) -> Origin:
    """Raises OSError if the photograph cannot be read."""
    with source.open("rb") as file:
        return Origin(str(source.resolve()), hashlib.file_digest(file, "sha256").hexdigest())


class Record:
    """The records of all folders that results go to, each read when it is first asked for."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Origin]] = {}

    def must_make(self, result: Path, origin: Origin, overwrite: bool) -> bool:
        """Whether `result` is to be made: it is not there, or is there from the same photograph and `overwrite` is set.

        Raises:
            DatasetError: there is a file that was not made from this photograph, or (unless `overwrite`) that was made
                before the photograph changed.
        """
        if not result.exists():
            return True
        known = self._folder(result.parent).get(result.name)
        if known is None or (known.source != origin.source and known.sha256 != origin.sha256):
            maker = "there is no record of its making" if known is None else f"it was made from {known.source}"
            raise DatasetError(
                f"{result} is there already and {maker}, so {origin.source} is not written over it; "
                "move it away, or give another place with -o"
            )
        if known.sha256 != origin.sha256 and not overwrite:
            raise DatasetError(
                f"{origin.source} has changed since {result} was made from it; --overwrite makes it anew"
            )
        return overwrite

    def note(self, result: Path, origin: Origin) -> None:
        """Remember that `result` is made from this photograph; to be called before it is written.

        Were it called after, a stop in between would leave a result that nothing is known of.
        """
        folder = self._folder(result.parent)
        if folder.get(result.name) == origin:
            return
        # The line break comes first: a line that was cut short by a full disk does not spoil the next.
        line = "\n" + json.dumps({"result": result.name, **asdict(origin)})
        with (result.parent / RECORD_NAME).open("a", encoding="utf-8") as file:
            file.write(line)
        folder[result.name] = origin

    def _folder(self, folder: Path) -> dict[str, Origin]:
        if folder not in self._folders:
            path = folder / RECORD_NAME
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            self._folders[folder] = dict(entry for line in lines if (entry := _parse(line)) is not None)
        return self._folders[folder]


def _parse(line: str) -> tuple[str, Origin] | None:
    """None for a line that was cut short: its result was not written, or is left alone as any file is."""
    try:
        row = json.loads(line)
        return row["result"], Origin(row["source"], row["sha256"])
    except (ValueError, KeyError, TypeError):
        return None
