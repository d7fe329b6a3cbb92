"""Streaming responses: answers of models that are asked several questions at once, each as soon as it is there.

A caller need not wait for all answers of a server: each can be stored at once, so that neither a kill nor a failure
of another question loses one that has arrived. Such a model has a method `answers` beside its own one.
"""

from collections.abc import Generator, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from derain.errors import ModelError

A = TypeVar("A")
Q_contra = TypeVar("Q_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)

AnswerStream: TypeAlias = Generator[tuple[int, A | ModelError], None, None]
"""Answers as they come, in whatever order, each with the place of its question; or why that question has none."""


class NotAskedError(ModelError):
    """A question that was not put, or was given up, because another one found no answer."""


@runtime_checkable
class StreamsAnswers(Protocol[Q_contra, A_co]):
    """A model that gives each answer as soon as it is there."""

    def answers(self, questions: Sequence[Q_contra]) -> Generator[tuple[int, A_co | ModelError], None, None]:
        """See `AnswerStream`: each place comes once, and no `ModelError` is raised for one question."""
        ...


def in_order(arrivals: AnswerStream[A]) -> list[A]:
    """All answers, in order of their questions.

    Raises:
        ModelError: a question has no answer; of several the first that was put. All arrivals are waited for.
    """
    found = [answer for _, answer in sorted(arrivals, key=lambda arrival: arrival[0])]
    raise_first(found)
    return [answer for answer in found if not isinstance(answer, ModelError)]


def raise_first(answers: Sequence[object]) -> None:
    """Raise the first failure among answers; one that was put rather than one that was not."""
    failures = [answer for answer in answers if isinstance(answer, ModelError)]
    if failures:
        raise next((error for error in failures if not isinstance(error, NotAskedError)), failures[0])
