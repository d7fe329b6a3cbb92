"""What stages have in common: pictures of rows, answers of doors, and the rows that go without either."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from derain.distill.pipeline.asking import PatientAsker, Unanswered
from derain.distill.pipeline.memory import Answer
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row
from derain.distill.view import View
from derain.errors import ImageError, ModelError

A = TypeVar("A")


def read_pictures(stage: str, rows: Sequence[Row], pictures: Pictures) -> list[tuple[Row, View]]:
    """The rows with their rainy pictures; rows whose picture is gone are left pending, and out."""
    seen: list[tuple[Row, View]] = []
    for row in rows:
        began = time.perf_counter()
        try:
            seen.append((row, pictures.read(row.rainy, row.digest or "")))
        except ImageError as error:
            row.leave_pending(f"picture_gone: {error}")
        row.spend(stage, time.perf_counter() - began)
    return seen


@dataclass(frozen=True)
class PictureDoor:
    """A door that a stage asks about pictures."""

    stage: str
    """Under which its seconds are noted."""
    name: str
    """Of the door."""
    asker: PatientAsker
    pictures: Pictures
    rows_at_once: int
    """Pictures that it is handed together."""


def recalled_or_asked(
    door: PictureDoor,
    rows: Sequence[Row],
    recalled: Sequence[Answer[A] | None],
    ask: Callable[[Sequence[View]], Sequence[Answer[A] | ModelError]],
) -> list[tuple[Row, A]]:
    """Answers about pictures, of which only those are read that nobody has answered; as `answered` for other rows."""
    known = [(row, answer) for row, answer in zip(rows, recalled, strict=True) if answer is not None]
    missing = [row for row, answer in zip(rows, recalled, strict=True) if answer is None]
    found = answered(door.stage, door.name, [row for row, _ in known], [answer for _, answer in known])
    for some in slices(missing, door.rows_at_once):
        seen = read_pictures(door.stage, some, door.pictures)
        answers = door.asker.ask([view for _, view in seen], ask)
        found += answered(door.stage, door.name, [row for row, _ in seen], answers)
    return found


def slices(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """So many at a time: what they need is in memory, and lost by a kill, for no more of them at once."""
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def answered(
    stage: str, door: str, rows: Sequence[Row], answers: Sequence[Answer[A] | Unanswered]
) -> list[tuple[Row, A]]:
    """The rows that have an answer. Those that cannot be asked about are dropped, the others are left pending."""
    found: list[tuple[Row, A]] = []
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Unanswered):
            if answer.cannot_be_asked is not None:
                row.drop(answer.reason)
            else:
                row.leave_pending(answer.reason)
        else:
            note(row, stage, door, answer)
            found.append((row, answer.value))
    return found


def note(row: Row, stage: str, door: str, answer: Answer[A]) -> None:
    """Count an answer, and its time if that was not counted when an earlier sitting was given the same one."""
    row.calls.append({"door": door, "recalled": answer.recalled, "seconds": answer.seconds})
    if not (answer.recalled and door in row.timed):
        row.spend(stage, answer.seconds)
    if door not in row.timed:
        row.timed = [*row.timed, door]
