"""The folder of a run: what it was told to do, its shards, and who may work in it.

    .derain-run/made-by-derain   says that a run made this folder; without it nothing here is ever removed
    .derain-run/plan.json        settings, digests of everything that decides the result; before any shard
    .derain-run/preparing.json   the seconds that preparing took, in all sittings
    .derain-run/...              candidates and shards, see `shards`
    .derain-run/next/...         the same for candidates that were prepared anew, until they take the place of those
    .derain-run/written.json     which state of all that the outputs were written from, and what they held

Beside it lie the outputs.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from derain.data.cache import write_whole
from derain.distill.pipeline.plan import Plan, changes
from derain.distill.pipeline.schema import OUTPUTS
from derain.distill.pipeline.shards import Shards
from derain.errors import DistillError

INSIDE = ".derain-run"
MARKER = "made-by-derain"
_PREPARING = "preparing.json"


class RunFolder(Shards):
    """Where a run keeps everything."""

    def __init__(self, out: Path) -> None:
        super().__init__(out / INSIDE)
        self.out = out
        self._inside = self.folder
        self._marker = self._inside / MARKER
        self.plan_file = self._inside / "plan.json"
        self.written = self._inside / "written.json"
        self._lock = self._inside / "lock"
        self._next = self._inside / "next"
        self._next_is_whole = self._next / "whole"

    def require_not_among(self, inputs: Sequence[Path]) -> None:
        """Raises DistillError where a file that is read is one that the run would write."""
        places = {(self.out / name).resolve(): name for name in OUTPUTS}
        for file in inputs:
            if name := places.get(file.resolve()):
                raise DistillError(
                    f"{file}: is read by this run, which would write its own {name} there; give another folder for it"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder a run's, and keep other processes of this machine out. What a kill left half-made goes.

        Raises:
            DistillError: a process is at work here, the folder cannot be made, or it holds files of somebody else in
                the places where a run writes.
        """
        try:
            self._claim()
            file = self._lock.open("w")
        except OSError as error:
            raise DistillError(f"{self.out}: cannot be written to ({error.strerror}); give another folder") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DistillError(
                    f"{self.out}: another process is at work in this folder; wait for it, or give another folder"
                ) from error
            self._sweep()
            self._settle()
            yield

    def _claim(self) -> None:
        """Mark the folder as a run's; one that is marked already, or empty, is taken."""
        if self._marker.exists():
            return
        foreign = [name for name in OUTPUTS if (self.out / name).exists()]
        if self._inside.exists() and any(self._inside.iterdir()):
            foreign.append(INSIDE)
        if foreign and not self._marker.exists():  # another process may have marked it just now
            raise DistillError(
                f"{self.out}: holds {', '.join(foreign)}, which no run of this program made; "
                "move that away, or give another folder"
            )
        self._inside.mkdir(parents=True, exist_ok=True)
        self._marker.write_text("This folder may be removed to begin the run afresh.\n", encoding="utf-8")

    def _sweep(self) -> None:
        """Remove unfinished files of processes that were killed; only under the lock."""
        unfinished = [*self._inside.rglob(".*.part")]
        for name in OUTPUTS:
            unfinished += self.out.glob(f".{name}.*.part")
        for part in unfinished:
            part.unlink(missing_ok=True)

    @property
    def is_prepared(self) -> bool:
        """Whether candidates and plan are there."""
        return self.plan_file.exists()

    def clear(self) -> None:
        """Forget everything that a run did here, its outputs with it; other files in the folder stay.

        Raises:
            DistillError: no run made what is there.
        """
        if not self._marker.exists():
            raise DistillError(f"{self.out}: wanted the folder of a run, but no run made it; give another folder")
        for name in reversed(OUTPUTS):
            (self.out / name).unlink(missing_ok=True)
        self.plan_file.unlink(missing_ok=True)
        for path in self._inside.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path not in (self._marker, self._lock):
                path.unlink()
        self.forget_batches()

    def require_same_plan(self, plan: Plan) -> None:
        """Go on only with what was begun.

        Raises:
            DistillError: the folder holds a run with another plan; what differs is named.
        """
        if not self.plan_file.exists():
            return
        try:
            before = dict(json.loads(self.plan_file.read_text(encoding="utf-8")))
            if not before:
                raise ValueError("it says nothing")
        except (OSError, ValueError, TypeError) as error:
            raise DistillError(f"{self.plan_file}: cannot be read ({error}); begin afresh with --fresh") from error
        if found := changes(before, plan):
            raise DistillError(
                f"{self.out}: holds a run that was told otherwise ({'; '.join(found)}); run it as it was, give another "
                "folder, or run it with --fresh, which begins anew (answers that models gave stay in the cache)"
            )

    def write_plan(self, plan: Plan) -> None:
        """From here on the run can be resumed."""
        write_text_whole(self.plan_file, json.dumps(plan, indent=1, ensure_ascii=False))

    def note_preparing(self, seconds: float) -> None:
        """Add to what preparing took; where earlier preparing was not noted, the sum is not known and stays so."""
        before = preparing_seconds(self.out) if self.is_prepared else 0.0
        if before is not None:
            write_text_whole(self._inside / _PREPARING, json.dumps({"seconds": before + seconds}))

    def begin_next(self) -> Shards:
        """An empty place for candidates that are prepared anew; nothing of the present ones is touched."""
        shutil.rmtree(self._next, ignore_errors=True)
        following = Shards(self._next)
        following.finished.mkdir(parents=True)
        return following

    def finish_next(self) -> None:
        """Have them take the place of the present ones; once begun, a kill does not undo it."""
        self._next_is_whole.touch()
        self._settle()

    def _settle(self) -> None:
        """Go on with what `finish_next` began, and remove what was begun and is not whole; only under the lock."""
        if self._next_is_whole.exists():
            following = Shards(self._next)
            for new, old in (
                (following.finished, self.finished),
                (following.candidates, self.candidates),
                (following.refused, self.refused),
            ):
                if new.exists():  # else it was moved before a kill
                    if old.is_dir():
                        shutil.rmtree(old)
                    new.rename(old)
            self._next_is_whole.unlink()
            self.forget_batches()
        shutil.rmtree(self._next, ignore_errors=True)


def preparing_seconds(out: Path) -> float | None:
    """How long the candidates of a run were prepared, by the clock; None where no run noted it."""
    try:
        return float(json.loads((out / INSIDE / _PREPARING).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_text_whole(path: Path, text: str) -> None:
    """A text file, there whole or not at all."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_whole(path, write)
