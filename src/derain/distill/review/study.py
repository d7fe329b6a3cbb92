"""A blind study: which pairs of a run persons are shown, in which order, and the page on which they vote."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from derain.distill.judges.interface import Outcome
from derain.distill.results import ResultRow, check_run, sample_rows
from derain.distill.review.pictures import held_jpeg
from derain.distill.review.server import Answer, Application, BadRequest, Jpeg, LocalServer, Request
from derain.distill.review.votes import VOTES_NAME, VoteFile, read_votes, tidy_name
from derain.errors import DistillError, ImageError

QUESTION = "Does the rain in this picture look real, as it does in photographs taken in the rain?"
"""What the judges are asked, put to persons (UniRain, section 3.1 and the study of its supplement)."""

CHECKS = {
    False: (
        "Do the streaks have a plausible shape, blur, direction and density?",
        "Does their brightness agree with the light in the scene?",
        "Is there no pasted or repeated pattern?",
        "Is the background sharp and free of compression damage?",
    ),
    True: (
        "Do the drops have plausible shapes and sizes, and show a bent, blurred view of the scene?",
        "Does their brightness agree with the light in the scene?",
        "Is there no pasted or repeated pattern?",
        "Is the background free of compression damage?",
    ),
}
"""What to look for; with drops on the glass, and without."""

_DROP_TYPES = frozenset({"drd", "nrd"})


@dataclass(frozen=True)
class Study:
    """Pairs to vote on."""

    pairs: tuple[ResultRow, ...]
    """Sorted by `ResultRow.key`, which does not reveal the outcome."""
    wanted: int
    """How many were asked for; fewer are there where the run has too few of one outcome."""
    seed: int

    @property
    def kept(self) -> int:
        """How many of the pairs the run kept."""
        return sum(row.outcome is Outcome.KEPT for row in self.pairs)


def draw_study(out: Path, count: int, seed: int = 0) -> Study:
    """Draw pairs of a run that were judged: half kept, half dropped, each half spread evenly over the types of rain.

    With an odd count, one more is kept. Where one half has too few, the other is not made larger: in an unbalanced
    study, a person who always says yes would agree too often. The same run and seed give the same pairs.

    Raises:
        DistillError: fewer than two pairs are asked for, there is no run, or it has no judged pair of one outcome.
    """
    if count < 2:
        raise DistillError(f"wanted a study of at least 2 pairs, one kept and one dropped; got {count}")
    check_run(out)
    halves = {Outcome.KEPT: count - count // 2, Outcome.DROPPED: count // 2}
    drawn = {outcome: sample_rows(out, outcome, size, seed, judged_only=True) for outcome, size in halves.items()}
    for outcome, rows in drawn.items():
        if not rows:
            raise DistillError(
                f"{out}: wanted {halves[outcome]} {outcome.value} pairs that were judged, and the run has none; "
                "a study needs pairs of both outcomes, so take a run over more candidates"
            )
    pairs = sorted((row for rows in drawn.values() for row in rows), key=lambda row: row.key)
    return Study(tuple(pairs), count, seed)


def order_for(study: Study, person: str) -> list[ResultRow]:
    """The pairs in a person's own order: the same whenever that person comes back, another for others."""

    def rank(row: ResultRow) -> bytes:
        return hashlib.sha256(f"{study.seed}\0{person}\0{row.key}".encode()).digest()

    return sorted(study.pairs, key=rank)


class StudyPage:
    """Answers what the page asks for; neither outcomes nor names of files leave it."""

    def __init__(self, study: Study, votes: Path) -> None:
        self._study = study
        self._votes = VoteFile(votes)
        self._rows = {row.key: row for row in study.pairs}

    def application(self) -> Application:
        get = {
            "/api/study": self._pairs,
            "/picture/{pair}/{name}": self._picture,
            "/picture/{pair}/{name}/{place:int}": self._picture,
        }
        return Application("study.html", get, {"/api/vote": self._vote})

    def _pairs(self, request: Request) -> Answer:
        person = tidy_name(request.query.get("person", ""))
        latest = read_votes(self._votes.path).latest
        pairs = []
        for row in order_for(self._study, person):
            vote = latest.get((person, row.key))
            pairs.append(
                {
                    "key": row.key,
                    "checks": CHECKS[row.type in _DROP_TYPES],
                    "clean": row.clean is not None,
                    "references": len(row.references),
                    "real": None if vote is None else vote.real,
                }
            )
        return {"person": person, "question": QUESTION, "pairs": pairs}

    def _picture(self, request: Request) -> Answer:
        row = self._rows.get(request.path["pair"])
        place = int(request.path.get("place", -1))
        path = None if row is None else _picture_of(row, request.path["name"], place)
        if path is None:
            return None
        try:
            return Jpeg(held_jpeg(path))
        except ImageError:
            # Its message names the file, and names of files can reveal how they were made.
            raise DistillError("this picture cannot be shown; its file was moved or is broken") from None

    def _vote(self, request: Request) -> Answer:
        person, key, real = (request.body.get(name) for name in ("person", "pair", "real"))
        if not isinstance(person, str) or not isinstance(key, str) or not isinstance(real, bool):
            raise BadRequest("wanted a person, a pair, and whether its rain is real")
        row = self._rows.get(key)
        if row is None:
            raise DistillError("this pair is not in the study that is served now; reload the page")
        self._votes.add(tidy_name(person), key, row.id, real)
        return {"real": real}


def open_study(
    out: Path, count: int = 20, seed: int = 0, host: str = "127.0.0.1", port: int = 8321
) -> tuple[LocalServer, Study]:
    """Draw a study of a run, and a server of its page, bound and not yet serving; port 0 takes any that is free.

    Raises:
        DistillError: the study cannot be drawn (see `draw_study`), the port is taken, or the host is not this computer.
    """
    study = draw_study(out, count, seed)
    return LocalServer(StudyPage(study, out / VOTES_NAME).application(), host, port), study


def serve_study(
    out: Path,
    count: int = 20,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 8321,
    on_ready: Callable[[str, Study], None] | None = None,
) -> None:
    """Serve a study of a run until Ctrl-C; `on_ready` receives the address and the study.

    Votes are added to `votes.jsonl` in the folder of the run. The same run, count and seed show the same pairs, so
    persons may come one after the other, and come back.

    Raises:
        DistillError: see `open_study`.
    """
    server, study = open_study(out, count, seed, host, port)
    if on_ready is not None:
        on_ready(server.url, study)
    server.serve_until_interrupted()


def _picture_of(row: ResultRow, name: str, place: int) -> Path | None:
    """The picture of a pair that is named so, with its number among the references; None where it has none."""
    if place < 0:
        return {"rainy": row.rainy, "clean": row.clean}.get(name)
    return row.references[place].path if name == "reference" and place < len(row.references) else None
