"""Asks a model many questions so that one failure harms no other, and a model that is down costs little time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from derain.backends.streaming import NotAskedError
from derain.errors import DerainError, ModelError, QuestionError

Q = TypeVar("Q")
A = TypeVar("A")

FAILURES_IN_A_ROW = 3
"""After so many questions without answer, one after the other, a model is taken to be down and the circuit opens."""
OPEN_S = 30.0
"""So long a model that is down is not asked; then one question tries it."""

FAILED = ("no_answer: ", "error: ")
"""How the reasons begin of questions that a model was asked without success."""


@dataclass(frozen=True)
class Unanswered:
    """No answer to one question."""

    reason: str
    """With what came: `no_answer: MODEL: ...`, `not_asked: MODEL is down: ...`, `cannot_be_asked: MODEL: ...` where
    asking again does not help, or `error: MODEL: ...`."""
    cannot_be_asked: str | None = None
    """The model's message, where this one question is at fault."""


class CircuitBreaker:
    """Asks one model, first everything at once, and one by one where that fails as a whole.

    Args:
        name: of the model, for reasons.
        clock: seconds that never go back.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._failures = 0
        self._open_until = 0.0
        self.last_error: ModelError | None = None
        """The last failure that was not a question's own fault."""

    @property
    def is_open(self) -> bool:
        """Whether the model is taken to be down and not asked."""
        return self._failures >= FAILURES_IN_A_ROW and self._clock() < self._open_until

    def ask(
        self, questions: Sequence[Q], call: Callable[[Sequence[Q]], Sequence[A | ModelError]]
    ) -> list[A | Unanswered]:
        """An answer to each question, or why there is none, in order.

        Args:
            call: asks the model; a `ModelError` in the place of an answer concerns that question alone.

        Raises:
            DerainError: whatever but `ModelError` is raised on purpose: the program cannot go on with it.
        """
        if len(questions) > 1 and self._failures < FAILURES_IN_A_ROW:
            try:
                answers = list(call(questions))
            except ModelError:
                pass  # which question it was, and whether others fare better, shows when they are asked one by one
            except DerainError:
                raise
            except Exception:  # a model may raise whatever it likes on an odd picture
                pass
            else:
                return self._completed(questions, answers, call)
        return [self._ask_one(question, call) for question in questions]

    def _completed(
        self,
        questions: Sequence[Q],
        answers: Sequence[A | ModelError],
        call: Callable[[Sequence[Q]], Sequence[A | ModelError]],
    ) -> list[A | Unanswered]:
        """What came of asking everything at once; what was not put there is asked one by one."""
        found = [None if isinstance(answer, NotAskedError) else self._counted(answer) for answer in answers]
        if any(each is not None and not _is_failure(each) for each in found):
            self._failures = 0  # whatever their order: it answered while it gave others none
        return [
            self._ask_one(question, call) if each is None else each
            for question, each in zip(questions, found, strict=True)
        ]

    def _ask_one(self, question: Q, call: Callable[[Sequence[Q]], Sequence[A | ModelError]]) -> A | Unanswered:
        if self.is_open:
            return Unanswered(f"not_asked: {self._name} is down: {self.last_error}")
        try:
            (answer,) = call([question])
        except ModelError as error:
            return self._counted(error)
        except DerainError:
            raise
        except Exception as error:
            return Unanswered(f"error: {self._name}: {type(error).__name__}: {error}")
        return self._counted(answer)

    def _counted(self, answer: A | ModelError) -> A | Unanswered:
        """An answer, or the reason why it is none; failures in a row are counted."""
        if isinstance(answer, QuestionError):  # the model is up, whatever it answers
            self._failures = 0
            return Unanswered(f"cannot_be_asked: {self._name}: {answer}", str(answer))
        if isinstance(answer, ModelError):
            self._failures, self.last_error = self._failures + 1, answer
            if self._failures >= FAILURES_IN_A_ROW:
                self._open_until = self._clock() + OPEN_S
            return Unanswered(f"no_answer: {self._name}: {answer}")
        self._failures = 0
        return answer


def _is_failure(answer: object) -> bool:
    """Whether the model may be down: it gave no answer, and that not for the question's sake."""
    return isinstance(answer, Unanswered) and answer.cannot_be_asked is None
