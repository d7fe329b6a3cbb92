"""`log.jsonl`, the log of a run: one JSON object a line, appended, cut back when a run is resumed, and read.

Every line has `kind` and `step`: `train` (means over the steps since the line before), `validation`, `reweighting` (one
tick of the weights by type), `event` (something that happened, in words).
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from derain.errors import TrainingError
from derain.files import write_text

Row = dict[str, Any]
"""One line of the log."""


class LogFile:
    """Appends lines to a log, each whole and on the disk's side before the call returns.

    Opening it drops the lines of steps after `first_step`, which a run that was killed may have written and now
    repeats, and a last line that was cut short.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        """Open the log, which need not exist.

        Raises:
            TrainingError: it cannot be written, or something in it is no line of a run's log.
        """
        self.path = path
        self.last: Mapping[str, Row] = {}
        """The last line of each kind that was kept."""
        try:
            self.last = {row["kind"]: row for row in _keep_until(path, first_step)}
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one line.

        Raises:
            TrainingError: the disk is full or the file cannot be written.
        """
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Close the file. After a write that failed, closing fails too, for the line is still to be written.

        Raises:
            TrainingError: what was still to be written cannot be.
        """
        try:
            self._file.close()
        except OSError as error:
            raise unwritable(self.path, error) from error


@dataclass(frozen=True)
class RunLog:
    """What a run has written so far, by kind, in the order of the steps."""

    name: str
    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    reweighting: tuple[Row, ...]


def read_log(run: Path) -> RunLog:
    """Read the log in a run's folder, also while it is running; its name is the folder's.

    Raises:
        TrainingError: there is no such folder or no log in it, it cannot be read, or a line is not of a run's log.
    """
    path = run / "log.jsonl"
    if not run.is_dir():
        raise TrainingError(f"{run}: no such folder; give the folder of a run")
    if not path.is_file():
        raise TrainingError(f"{run}: no log.jsonl in it; give the folder of a run that has begun to learn")
    rows: dict[str, list[Row]] = {"train": [], "validation": [], "reweighting": []}
    try:
        for row in _rows(path):
            if row["kind"] in rows:
                rows[row["kind"]].append(row)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    return RunLog(run.resolve().name, *(tuple(rows[kind]) for kind in ("train", "validation", "reweighting")))


def unwritable(path: Path, error: OSError) -> TrainingError:
    """The error to raise when the log cannot be written; it names the free space."""
    try:
        left = f"{shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB free there"
    except OSError:
        left = "the folder cannot be reached"
    return TrainingError(
        f"{path}: the run's log cannot be written ({error.strerror or error}; {left}); free some space or make the "
        "folder writable, then continue with --resume"
    )


def _rows(path: Path) -> Iterator[Row]:
    """The lines of a log without a last one that was cut short."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not (isinstance(row["step"], int) and isinstance(row["kind"], str)):
                raise TypeError("step is no whole number or kind no text")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number < len(lines):
                raise TrainingError(
                    f"{path}, line {number}: not a line of a run's log ({error}); move the file away"
                ) from error
            return
        yield row


def _keep_until(path: Path, step: int) -> list[Row]:
    """Drop the lines after `step`, and a last line that was cut short; the lines that stay."""
    if not path.exists():
        return []
    kept = [row for row in _rows(path) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    return kept
