"""The cached call: a model is asked each question once, by whichever run.

Answers lie in an `AnswerCache` under the kind of question, the identity of the model and what it was shown. Abstentions
of a judge are answers and are stored. That a model gives no answer (`ModelError`) is none, and is not.
"""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from derain.backends.interfaces import (
    Captioner,
    Expander,
    Identity,
    KeywordExtractor,
    TextEncoder,
    Vectors,
    VisualEncoder,
)
from derain.backends.streaming import StreamsAnswers, raise_first
from derain.backends.view import View
from derain.distill.answers.cache import AnswerCache, Entry, Stored
from derain.distill.answers.codecs import Codec, KeywordsCodec, TextCodec, Vector, VectorCodec, VerdictCodec
from derain.distill.describe.description import Describers
from derain.distill.judges.bias import recalibrated, unbiased
from derain.distill.judges.interface import Case, Judge, Verdict
from derain.errors import ModelError

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True)
class Answer(Generic[A]):
    """What a model answered to one question."""

    value: A
    seconds: float
    """What the model took for it: the time since answers came before it, shared evenly by those that came together; of
    a stored answer, when it was given."""
    from_cache: bool


def answer_key(kind: str, identity: Identity, content: Sequence[str]) -> bytes:
    """sha256 (32 bytes) of the kind of question, the model, and what it is shown: digests and texts."""
    whole = json.dumps([kind, identity.digest, list(content)], ensure_ascii=True)
    return hashlib.sha256(whole.encode()).digest()


class CachedCall(Generic[Q, A]):
    """One kind of question to one model."""

    def __init__(
        self,
        cache: AnswerCache,
        kind: str,
        identity: Identity,
        codec: Codec[A],
        content: Callable[[Q], Sequence[str]],
        call: Callable[[Sequence[Q]], Sequence[A]],
        model: object = None,
    ) -> None:
        """
        Args:
            content: what decides the answer to a question besides the model.
            call: asks several questions at once.
            model: where it streams answers, its `answers` is asked instead.
        """
        self._cache, self._kind, self._identity, self._codec = cache, kind, identity, codec
        self._content, self._model, self._call = content, model, call

    def lookup(self, contents: Sequence[Sequence[str]]) -> list[Answer[A] | None]:
        """What is stored, in order; None for what is not.

        Raises:
            DistillError: the cache is damaged.
        """
        keys = [answer_key(self._kind, self._identity, content) for content in contents]
        stored = self._cache.get(list(dict.fromkeys(keys)))
        return [self._answer(stored[key]) if key in stored else None for key in keys]

    def ask(self, questions: Sequence[Q]) -> list[Answer[A] | ModelError]:
        """An answer to each question or why it has none, in order; every answer is stored as soon as it is there.

        Raises:
            ModelError: of the model as a whole; what came before it is stored. Or it gave not one answer a question.
            DistillError: the cache is damaged or cannot be written.
        """
        keys = [answer_key(self._kind, self._identity, self._content(question)) for question in questions]
        known = self._cache.get(list(dict.fromkeys(keys)))
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in known}
        failures: dict[bytes, ModelError] = {}
        if missing:
            asked = list(missing)
            began = time.perf_counter()
            with closing(self._arriving(list(missing.values()))) as arriving:
                for together in arriving:
                    each_s = (time.perf_counter() - began) / len(together)
                    failures |= self._store([(asked[place], answer) for place, answer in together], each_s)
                    began = time.perf_counter()
            # Read back, so that processes which answered the same question at once go on with the same answer.
            known |= self._cache.get(asked)
        silence = ModelError(f"{self._identity.model}: wanted an answer to each question, got none to one of them")
        found: list[Answer[A] | ModelError] = []
        for key in keys:
            if key in known:
                found.append(replace(self._answer(known[key]), from_cache=missing.pop(key, None) is None))
            else:
                found.append(failures.get(key, silence))
        return found

    def values(self, questions: Sequence[Q]) -> list[A]:
        """The answers alone; raises the first failure, and as `ask`."""
        answers = self.ask(questions)
        raise_first(answers)
        return [answer.value for answer in answers if not isinstance(answer, ModelError)]

    def _arriving(self, questions: list[Q]) -> Generator[Sequence[tuple[int, A | ModelError]], None, None]:
        """Answers that come together, each with the place of its question or why it has none; then the next."""
        if isinstance(self._model, StreamsAnswers):
            with closing(self._model.answers(questions)) as stream:
                for arrival in stream:
                    yield [arrival]
            return
        answers = self._call(questions)
        if len(answers) != len(questions):
            raise ModelError(
                f"{self._identity.model}: wanted {len(questions)} answers, got {len(answers)}; "
                "the model must give one for each question"
            )
        yield list(enumerate(answers))

    def _store(self, came: Sequence[tuple[bytes, A | ModelError]], seconds: float) -> dict[bytes, ModelError]:
        """Store what can be an answer; why the others cannot, by key."""
        entries: list[Entry] = []
        failures: dict[bytes, ModelError] = {}
        for key, answer in came:
            try:
                if isinstance(answer, ModelError):
                    raise answer
                entries.append(Entry(key, self._kind, self._identity.digest, self._codec.encode(answer), seconds))
            except ModelError as error:
                failures[key] = error
        if entries:
            self._cache.put(entries)
        return failures

    def _answer(self, stored: Stored) -> Answer[A]:
        try:
            return Answer(self._codec.decode(stored.value), stored.seconds, from_cache=True)
        except (ValueError, KeyError, TypeError) as error:
            raise self._cache.damaged(f"an answer of {self._identity.model}: {error}") from error


def _text(question: str) -> list[str]:
    return [question]


def _digest(question: View) -> list[str]:
    """Equal digests are equal pictures, which need not be read where the answer is stored."""
    return [question.digest]


class _HasIdentity(Protocol):
    @property
    def identity(self) -> Identity: ...


M = TypeVar("M", bound=_HasIdentity)


class _Cached(Generic[M, Q, A]):
    """A cached wrapper: it has the model's interface, and `ask` for answers one by one."""

    def __init__(self, model: M, calls: CachedCall[Q, A]) -> None:
        self._model, self._calls = model, calls

    @property
    def identity(self) -> Identity:
        return self._model.identity

    def ask(self, questions: Sequence[Q]) -> list[Answer[A] | ModelError]:
        """An answer to each question or why it has none, in order; raises as `CachedCall.ask`."""
        return self._calls.ask(questions)


class CachedCaptioner(_Cached[Captioner, View, str]):
    """A captioner that is shown each picture once."""

    def __init__(self, model: Captioner, cache: AnswerCache) -> None:
        calls = CachedCall(cache, "caption", model.identity, TextCodec(), _digest, model.caption, model)
        super().__init__(model, calls)

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    def lookup(self, digests: Sequence[str]) -> list[Answer[str] | None]:
        """What is stored about the pictures of these digests, in order; None for what is not."""
        return self._calls.lookup([[digest] for digest in digests])

    def caption(self, views: Sequence[View]) -> list[str]:
        return self._calls.values(views)


class CachedExpander(_Cached[Expander, str, str]):
    """An expander that is given each caption once."""

    def __init__(self, model: Expander, cache: AnswerCache) -> None:
        calls = CachedCall(cache, "expansion", model.identity, TextCodec(), _text, model.expand, model)
        super().__init__(model, calls)

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    def expand(self, captions: Sequence[str]) -> list[str]:
        return self._calls.values(captions)


class CachedKeywords(_Cached[KeywordExtractor, str, tuple[str, ...]]):
    """A keyword extractor that is given each text once."""

    def __init__(self, model: KeywordExtractor, cache: AnswerCache) -> None:
        calls = CachedCall(cache, "keywords", model.identity, KeywordsCodec(), _text, model.extract)
        super().__init__(model, calls)

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        return self._calls.values(texts)


class CachedTextEncoder(_Cached[TextEncoder, str, Vector]):
    """A text encoder that is given each text once."""

    def __init__(self, model: TextEncoder, cache: AnswerCache) -> None:
        codec = VectorCodec(model.dimensions)
        calls = CachedCall(cache, "text", model.identity, codec, _text, lambda texts: [*model.encode_texts(texts)])
        super().__init__(model, calls)

    @property
    def dimensions(self) -> int:
        return self._model.dimensions

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return _stacked(self._calls.values(texts), self.dimensions)


class CachedVisualEncoder(_Cached[VisualEncoder, View, Vector]):
    """A visual encoder that is shown each picture once."""

    def __init__(self, model: VisualEncoder, cache: AnswerCache) -> None:
        codec = VectorCodec(model.dimensions)
        calls = CachedCall(cache, "visual", model.identity, codec, _digest, lambda some: [*model.encode_views(some)])
        super().__init__(model, calls)

    @property
    def dimensions(self) -> int:
        return self._model.dimensions

    def lookup(self, digests: Sequence[str]) -> list[Answer[Vector] | None]:
        """As `CachedCaptioner.lookup`."""
        return self._calls.lookup([[digest] for digest in digests])

    def encode_views(self, views: Sequence[View]) -> Vectors:
        return _stacked(self._calls.values(views), self.dimensions)


@dataclass(frozen=True)
class Question:
    """What a judge is asked, by digests: a case whose pictures were not read."""

    candidate: str
    clean: str | None
    type: str
    references: tuple[str, ...]

    @property
    def content(self) -> list[str]:
        """What the answer is stored under; the order of the references counts."""
        return [self.candidate, self.clean or "", self.type, *self.references]

    @staticmethod
    def of(case: Case) -> "Question":
        """The same by digests."""
        clean = case.clean.digest if case.clean is not None else None
        return Question(case.candidate.digest, clean, case.type, tuple(view.digest for view in case.references))


class CachedJudge(_Cached[Judge, Case, Verdict]):
    """A judge that is shown each case once, whatever its bias."""

    def __init__(self, judge: Judge, cache: AnswerCache) -> None:
        inner, self._bias = unbiased(judge)
        codec = VerdictCodec(judge.name)
        calls = CachedCall(
            cache, "verdict", inner.identity, codec, lambda case: Question.of(case).content, inner.judge, inner
        )
        super().__init__(judge, calls)

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    def lookup(self, questions: Sequence[Question]) -> list[Answer[Verdict] | None]:
        """Verdicts on cases whose pictures need not be read for it."""
        found = self._calls.lookup([question.content for question in questions])
        return [None if answer is None else self._recalibrated(answer) for answer in found]

    def ask(self, questions: Sequence[Case]) -> list[Answer[Verdict] | ModelError]:
        """A verdict on each case, or why it has none."""
        answers = super().ask(questions)
        return [answer if isinstance(answer, ModelError) else self._recalibrated(answer) for answer in answers]

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [recalibrated(verdict, self._bias) for verdict in self._calls.values(cases)]

    def _recalibrated(self, answer: Answer[Verdict]) -> Answer[Verdict]:
        return replace(answer, value=recalibrated(answer.value, self._bias))


def cached_describers(models: Describers, cache: AnswerCache) -> Describers:
    """The same models behind the cache."""
    return Describers(
        CachedCaptioner(models.captioner, cache),
        None if models.expander is None else CachedExpander(models.expander, cache),
        CachedKeywords(models.keywords, cache),
        CachedTextEncoder(models.text_encoder, cache),
        CachedVisualEncoder(models.visual_encoder, cache),
    )


def _stacked(vectors: Sequence[Vector], dimensions: int) -> Vectors:
    return np.stack(vectors) if vectors else np.zeros((0, dimensions), np.float32)
