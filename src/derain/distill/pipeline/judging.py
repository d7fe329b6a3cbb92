"""The stages at the end of a candidate's way: judges that vote, and the vote."""

import time
from collections.abc import Sequence

from derain.backends.view import View
from derain.distill.answers.breaker import CircuitBreaker, Unanswered
from derain.distill.answers.cached import Answer, CachedJudge, Question
from derain.distill.judges.interface import Case, Decision, Verdict
from derain.distill.judges.vote import is_settled, join
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row
from derain.errors import ImageError


class JudgeStage:
    """Has one judge vote.

    Args:
        judges: how many there are in all.
        cascade: leave out candidates that the earlier judges have settled.
    """

    name = "judge"

    def __init__(self, judge: CachedJudge, judges: int, cascade: bool, pictures: Pictures) -> None:
        self._judge, self._judges, self._cascade, self._pictures = judge, judges, cascade, pictures
        self._role = f"judge {judge.name}"
        self._breaker = CircuitBreaker(self._role)

    def work(self, rows: Sequence[Row]) -> None:
        due = [row for row in rows if not (self._cascade and is_settled(_verdicts(row), self._judges))]
        unasked = [row for row in due if not self._take_prior(row)]
        from_cache = self._judge.lookup([_question(row) for row in unasked])
        missing = []
        for row, answer in zip(unasked, from_cache, strict=True):
            if answer is None:
                missing.append(row)
            else:
                self._take(row, answer)
        at_once = self._judge.batch_size
        for some in (missing[start : start + at_once] for start in range(0, len(missing), at_once)):
            cases = [(row, case) for row in some if (case := self._case(row)) is not None]
            answers = self._breaker.ask([case for _, case in cases], self._judge.ask)
            for (row, _), given in zip(cases, answers, strict=True):
                self._take(row, given)

    def _take_prior(self, row: Row) -> bool:
        """Take the verdict that an earlier session of the run was given, if it was."""
        own = [cell for cell in row.prior_verdicts or [] if cell["judge"] == self._judge.name]
        row.verdicts = [*(row.verdicts or []), *own] if own else row.verdicts
        return bool(own)

    def _take(self, row: Row, given: Answer[Verdict] | Unanswered) -> None:
        """Write an answer, or that there is none, into the row. What cannot be asked is no vote, and final."""
        if not isinstance(given, Unanswered):
            row.count_answer(self.name, self._role, given)
            _vote(row, given.value, given.seconds)
        elif given.cannot_be_asked is not None:
            reason = f"cannot_be_asked: {given.cannot_be_asked}"
            _vote(row, Verdict(self._judge.name, Decision.ABSTAIN, None, reason), 0.0)
        else:
            row.waiting = row.waiting or given.reason

    def _case(self, row: Row) -> Case | None:
        """The pictures of a question; None where one of them cannot be had, which the row then gives as its reason."""
        began = time.perf_counter()
        candidate = _view(row, row.rainy, row.digest, "picture_gone", self._pictures)
        clean = _view(row, row.clean, row.clean_digest, "picture_gone", self._pictures) if row.clean else None
        references = [
            _view(row, cell["path"], cell["digest"], "reference_gone", self._pictures) for cell in row.references or []
        ]
        row.spend(self.name, time.perf_counter() - began)
        if candidate is None or (row.clean and clean is None) or None in references:
            return None
        return Case(candidate, clean, row.type or "", tuple(view for view in references if view is not None))


class VoteStage:
    """Joins the verdicts (UniRain, Eq. 5). A candidate waits for judges that were not to be had and might decide it."""

    name = "vote"

    def __init__(self, judges: int) -> None:
        self._judges = judges

    def work(self, rows: Sequence[Row]) -> None:
        for row in rows:
            verdicts = _verdicts(row)
            if row.waiting is not None and not is_settled(verdicts, self._judges):
                row.leave_pending(row.waiting)
                continue
            vote = join(verdicts, self._judges)
            row.outcome, row.reason = vote.outcome.value, vote.reason


def _question(row: Row) -> Question:
    references = tuple(cell["digest"] for cell in row.references or [])
    return Question(row.digest or "", row.clean_digest if row.clean else None, row.type or "", references)


def _verdicts(row: Row) -> list[Verdict]:
    return [
        Verdict(cell["judge"], Decision(cell["decision"]), cell["score"], cell["reason"], cell["reply"])
        for cell in row.verdicts or []
    ]


def _vote(row: Row, verdict: Verdict, seconds: float) -> None:
    """Add a judge's verdict."""
    row.verdicts = [
        *(row.verdicts or []),
        {
            "judge": verdict.judge,
            "decision": verdict.decision.value,
            "score": verdict.score,
            "reason": verdict.reason,
            "reply": verdict.reply,
            "seconds": seconds,
        },
    ]


def _view(row: Row, path: str, digest: str | None, reason: str, pictures: Pictures) -> View | None:
    """A picture of a case; where it cannot be had, the row waits for it."""
    try:
        return pictures.read(path, digest or "")
    except ImageError as error:
        row.waiting = row.waiting or f"{reason}: {error}"
        return None
