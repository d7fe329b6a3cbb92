"""What an engine is given, what it gives back, and what each of its processes has open."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from derain.backends.interfaces import Identity, VisualEncoder
from derain.distill.answers.cache import AnswerCache
from derain.distill.answers.cached import (
    CachedCaptioner,
    CachedExpander,
    CachedJudge,
    CachedKeywords,
    CachedTextEncoder,
    CachedVisualEncoder,
)
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.retrieval import Retriever
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import Models, ModelsFactory
from derain.distill.pipeline.judging import JudgeStage, VoteStage
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.stages import CaptionStage, EmbedStage, RetrieveStage, Stage, TypeStage
from derain.distill.settings import DistillSettings
from derain.errors import DistillError

ARITHMETIC = "dtype"
"""The parameter of an identity that says in which arithmetic a model computes."""

Shard = tuple[int, Sequence[Row]]
"""Its number, and the candidates of it that are to be judged."""


@dataclass(frozen=True)
class WorkerConfig:
    """All that a process needs to open models, references and cache of its own; can be pickled.

    Places are absolute where a run makes it, for workers may begin in other folders.
    """

    models_factory: ModelsFactory
    settings: DistillSettings
    base_uri: str | None
    """None where the variant needs no references."""
    version: str | None
    """Of the knowledge base, see `KnowledgeBase.version`."""
    judges: int
    """How many there are."""
    cache: Path
    identities: Mapping[str, Identity] | None = None
    """Of the models that the run began with, by role; None where any will do."""


class Engine(Protocol):
    """Takes shards through the stages."""

    def run(
        self, shards: Iterable[Shard], config: WorkerConfig, on_rows: Callable[[int], None] | None = None
    ) -> Iterator[Shard]:
        """Each shard with its rows finished and in order, in whatever order of shards.

        Args:
            on_rows: called with how many more rows are finished, as soon as the engine knows.

        Raises:
            DerainError: the run cannot go on; rows without answer are no reason for that.
        """
        ...


class WorkerContext:
    """What one process has open; each thing is opened when the first stage asks for it."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self._settings = config.settings
        self._cache = AnswerCache(config.cache)
        self._pictures = Pictures()

    def stage(self, name: str) -> Stage:
        """The stage of this name, see `stage_names`."""
        has_texts = self._settings.variant != "no-generation"
        match name.split():
            case ["type"]:
                return TypeStage(self._pictures)
            case ["caption"]:
                expander = self._models.expander
                cached = CachedExpander(expander, self._cache) if expander is not None else None
                return CaptionStage(CachedCaptioner(self._models.captioner, self._cache), cached, self._pictures)
            case ["embed"]:
                return EmbedStage(
                    CachedKeywords(self._models.keywords, self._cache) if has_texts else None,
                    CachedTextEncoder(self._models.text_encoder, self._cache) if has_texts else None,
                    CachedVisualEncoder(self._models.visual_encoder, self._cache),
                    self._pictures,
                )
            case ["retrieve"]:
                settings = self._settings
                retriever = Retriever(self._base, settings.retrieval)
                return RetrieveStage(retriever, settings.variant, settings.seed, self._pictures)
            case ["judge", number]:
                judge = CachedJudge(self._models.judges[int(number)], self._cache)
                cascade = self._settings.judging.cascade
                return JudgeStage(judge, self.config.judges, cascade, self._pictures)
            case ["vote"]:
                return VoteStage(self.config.judges)
            case _:
                raise ValueError(f"no stage {name!r}")

    def close(self) -> None:
        """Give the cache's file back."""
        self._cache.close()

    @cached_property
    def _models(self) -> Models:
        models = self.config.models_factory(self._settings, self._cached)
        if self.config.identities is not None:
            require_same_models(self.config.identities, models.identities())
        return models

    def _cached(self, encoder: VisualEncoder) -> VisualEncoder:
        return CachedVisualEncoder(encoder, self._cache)

    @cached_property
    def _base(self) -> KnowledgeBase:
        base = open_base(self.config.base_uri, self._models)
        if self.config.version is not None and base.version() != self.config.version:
            raise DistillError(
                f"{base.uri}: photographs came or went while the run was on; run it with --fresh (answers stay)"
            )
        return base


def open_base(uri: str | None, models: Models) -> KnowledgeBase:
    """The knowledge base, which these models described.

    Raises:
        DistillError: none was named, none is there, or other models described it.
    """
    if uri is None:
        raise DistillError(
            "wanted a knowledge base to find references in, got none; name one (--db), or choose only-vlm"
        )
    return KnowledgeBase.open(uri, BaseIdentities.of(models))


def require_same_models(began_with: Mapping[str, Identity], opened: Mapping[str, Identity]) -> None:
    """Refuse other models than the run began with; their arithmetic may be another, for it is that of the machine.

    Raises:
        DistillError: a name came to mean another model meanwhile, such as the newest commit of a model on the hub.
    """
    for role in dict.fromkeys([*began_with, *opened]):
        before, now = began_with.get(role), opened.get(role)
        if _but_for_arithmetic(before) != _but_for_arithmetic(now):
            raise DistillError(
                f"{role}: the run began with {before or 'none'}, but {now or 'none'} was opened later; name the "
                "revision that it began with in the settings (MODEL@REVISION), so that all open it, and run it again"
            )


def _but_for_arithmetic(identity: Identity | None) -> Identity | None:
    if identity is None:
        return None
    parameters = {name: value for name, value in identity.parameters.items() if name != ARITHMETIC}
    return Identity(identity.model, identity.revision, parameters)


def work_through(stage: Stage, rows: Sequence[Row]) -> None:
    """Have a stage work on those of the rows that are still open."""
    open_rows = [row for row in rows if row.is_open]
    if open_rows:
        stage.work(open_rows)
