"""What each result was made from and with, so that no other file is taken for a result, skipped or overwritten.

It is kept beside the results, in a hidden file of JSON lines; the last line on a name counts. Photographs are known by
their content, so that photographs and results may be moved and a run still be resumed.
"""

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from derain.errors import DatasetError

RECORD_NAME = ".derain.jsonl"


@dataclass(frozen=True)
class MadeWith:
    """What decides how a result looks, beside the photograph."""

    model: str
    weights: str
    """Digest of the model's weights."""
    precision: str
    quality: int | None = None
    """Of a lossy file, where the caller asked for one."""

    def differences(self, other: "MadeWith") -> str:
        """What is not the same, as `model tiny, not unirain`."""
        changed = [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]
        return ", ".join(f"{name} {_shown(self, name)}, not {_shown(other, name)}" for name in changed)


@dataclass(frozen=True)
class Origin:
    """The photograph that a result is made from, and what with."""

    source: str
    """Its absolute path."""
    sha256: str
    """Digest of its file."""
    made_with: MadeWith | None = None
    """None in records of versions that did not note it."""


def origin_of(source: Path, made_with: MadeWith | None = None) -> Origin:
    """Raises OSError if the photograph cannot be read."""
    with source.open("rb") as file:
        return Origin(str(source.resolve()), hashlib.file_digest(file, "sha256").hexdigest(), made_with)


class Record:
    """The records of all folders that results go to, each read when it is first asked for; threads may share it."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Origin]] = {}
        self._lock = threading.Lock()

    def must_make(self, result: Path, origin: Origin, overwrite: bool) -> bool:
        """Whether `result` is to be made: it is not there, or is there from the same photograph and `overwrite` is set.

        Raises:
            DatasetError: there is a file that was not made from this photograph, or (unless `overwrite`) that was made
                before the photograph changed, or with another model, precision or quality.
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
        if overwrite:
            return True
        if known.sha256 != origin.sha256:
            raise DatasetError(
                f"{origin.source} has changed since {result} was made from it; --overwrite makes it anew"
            )
        if known.made_with is not None and origin.made_with is not None and known.made_with != origin.made_with:
            raise DatasetError(
                f"{result} was made with another setting ({known.made_with.differences(origin.made_with)}); "
                "--overwrite makes it anew, or give another place with -o"
            )
        return False

    def note(self, result: Path, origin: Origin) -> None:
        """Remember what `result` is made from: call it before that is written, or after where it replaces another."""
        folder = self._folder(result.parent)
        if folder.get(result.name) == origin:
            return
        row = {"result": result.name, "source": origin.source, "sha256": origin.sha256}
        if origin.made_with is not None:
            row |= asdict(origin.made_with)
        # The line break comes first: a line that was cut short by a full disk does not spoil the next.
        with (result.parent / RECORD_NAME).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(row))
        folder[result.name] = origin

    def _folder(self, folder: Path) -> dict[str, Origin]:
        with self._lock:
            if folder not in self._folders:
                path = folder / RECORD_NAME
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
                self._folders[folder] = dict(entry for line in lines if (entry := _parse(line)) is not None)
            return self._folders[folder]


def _parse(line: str) -> tuple[str, Origin] | None:
    """None for a line that was cut short: its result was not written, or is left alone as any file is."""
    try:
        row = json.loads(line)
        made_with = None
        if "weights" in row:  # earlier versions noted the photograph alone
            made_with = MadeWith(row["model"], row["weights"], row["precision"], row.get("quality"))
        return row["result"], Origin(row["source"], row["sha256"], made_with)
    except (ValueError, KeyError, TypeError):
        return None


def _shown(made_with: MadeWith, name: str) -> str:
    value = getattr(made_with, name)
    if name == "weights":
        return str(value)[:12]
    return "of the source" if value is None else str(value)
