"""The page on which persons vote, blindly, on pairs of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path

from derain.distill.results import ResultRow
from derain.distill.review.pictures import PictureShelf
from derain.distill.review.server import LocalServer, Refused, Request, Response, json_response, page_file
from derain.distill.review.study import Study, draw_study, order_for
from derain.distill.review.votes import VOTES_NAME, VoteBox, read_votes, tidy_name
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


class StudyPage:
    """Answers what the page asks for; neither outcomes nor names of files leave it."""

    def __init__(self, study: Study, votes: Path) -> None:
        self._study = study
        self._box = VoteBox(votes)
        self._rows = {row.key: row for row in study.pairs}
        self._shelf = PictureShelf({name: path for row in study.pairs for name, path in _pictures_of(row).items()})

    def answer(self, request: Request) -> Response | None:
        """See `server.Application`."""
        if request.body is not None:
            return self._vote(request.body) if request.path == "/api/vote" else None
        match request.path.split("/")[1:]:
            case [""]:
                return page_file("study.html")
            case ["static", name]:
                return page_file(name)
            case ["api", "study"]:
                return self._pairs(tidy_name(request.query.get("person", "")))
            case ["picture", *name]:
                return self._picture("/".join(name))
        return None

    def _pairs(self, person: str) -> Response:
        latest = read_votes(self._box.path).latest
        pairs = []
        for row in order_for(self._study, person):
            line = latest.get((person, row.key))
            pairs.append(
                {
                    "key": row.key,
                    "checks": CHECKS[row.type in _DROP_TYPES],
                    "clean": row.clean is not None,
                    "references": len(row.references),
                    "real": None if line is None else line.real,
                }
            )
        return json_response({"person": person, "question": QUESTION, "pairs": pairs})

    def _picture(self, name: str) -> Response | None:
        try:
            picture = self._shelf.jpeg(name)
        except ImageError:
            # Its message names the file, and names of files can tell what was made of them.
            raise DistillError("this picture cannot be shown; its file was moved or is broken") from None
        return None if picture is None else Response(picture, "image/jpeg", lasting=True)

    def _vote(self, body: Mapping[str, object]) -> Response:
        person, key, real = body.get("person"), body.get("pair"), body.get("real")
        if not isinstance(person, str) or not isinstance(key, str) or not isinstance(real, bool):
            raise Refused("wanted a person, a pair, and whether its rain is real")
        row = self._rows.get(key)
        if row is None:
            raise DistillError("this pair is not in the study that is served now; reload the page")
        self._box.cast(tidy_name(person), key, row.id, real)
        return json_response({"real": real})


def open_study(
    out: Path, count: int = 20, seed: int = 0, host: str = "127.0.0.1", port: int = 8321
) -> tuple[LocalServer, Study]:
    """Draw a study of a run, and a server of its page, bound and not yet serving; port 0 takes any that is free.

    Raises:
        DistillError: the study cannot be drawn (see `draw_study`), the port is taken, or the host is not this computer.
    """
    study = draw_study(out, count, seed)
    return LocalServer(StudyPage(study, out / VOTES_NAME), host, port), study


def serve_study(
    out: Path,
    count: int = 20,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 8321,
    on_ready: Callable[[str, Study], None] | None = None,
) -> None:
    """Serve a study of a run until Ctrl-C; `on_ready` is told the address and what was drawn.

    Votes are added to `votes.jsonl` in the folder of the run. The same run, count and seed show the same pairs, so
    persons may come one after the other, and come back.

    Raises:
        DistillError: see `open_study`.
    """
    server, study = open_study(out, count, seed, host, port)
    if on_ready is not None:
        on_ready(server.url, study)
    server.serve_until_interrupted()


def _pictures_of(row: ResultRow) -> dict[str, Path]:
    """Names under which pictures of a pair are served: its key and what they are."""
    named = {f"{row.key}/rainy": row.rainy}
    if row.clean is not None:
        named[f"{row.key}/clean"] = row.clean
    return named | {f"{row.key}/reference/{place}": each.path for place, each in enumerate(row.references)}
