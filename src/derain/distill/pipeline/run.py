"""A distillation run: candidates in, trustworthy pairs out, in as many sessions as it takes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from derain.distill.answers.cache import AnswerCache, CacheStatistics, answers_folder
from derain.distill.knowledge.record import IN_USE
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import ModelsFactory
from derain.distill.pipeline.engine import Engine, WorkerConfig, open_base
from derain.distill.pipeline.local_engine import LocalEngine
from derain.distill.pipeline.outputs import Outputs, write_outputs
from derain.distill.pipeline.plan import plan_of
from derain.distill.pipeline.prepare import prepare, require_no_returned_pictures
from derain.distill.pipeline.progress import Pace, Progress
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.settings import DistillSettings, uses_references

_LOCAL_KINDS = ("hf", "clip")
"""Kinds of models that a folder can hold."""


@dataclass(frozen=True)
class ModelTally:
    """What one model did in this run."""

    asked: int
    """Answers that the model gave."""
    from_cache: int
    """Answers that came from the cache."""
    seconds: float
    """Of asking."""


@dataclass(frozen=True)
class RunReport:
    """How a run ended."""

    outputs: Outputs
    """The files, and how many candidates are in each."""
    calls: Mapping[str, ModelTally]
    """By role: captioner, expander, keywords, text_encoder, visual_encoder, `judge NAME`."""
    shards: int
    shards_done_before: int
    """Finished by earlier runs, which this one had nothing to do for."""
    seconds: float
    """Of this run."""
    cache: CacheStatistics

    @property
    def is_complete(self) -> bool:
        """Whether no candidate waits for an answer; if not, the same command asks again."""
        return self.outputs.pending == 0


def distill(
    manifests: Sequence[Path],
    base_uri: str | None,
    out: Path,
    settings: DistillSettings,
    models_factory: ModelsFactory,
    engine: Engine | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Judge every pair of the manifests, and write what became of each to a folder.

    May be killed at any moment: the same call resumes it, and its result is that of an uninterrupted run. Candidates
    that a model gave no answer on are left pending; the same call asks for what is missing. So are those whose files
    cannot be read when candidates are prepared; these are taken in by a fresh run alone.

    Args:
        base_uri: the knowledge base of real photographs; None where the variant `only-vlm` needs none.
        engine: `LocalEngine()` (if None) or a `RayEngine`; both give the same rows.
        cache: folder for the models' answers on a disk of this machine; by default `$DERAIN_CACHE/answers` or
            `~/.cache/derain/answers`, which all runs share. Workers on other machines have a cache of their own in
            the same place. With another cache the vectors of candidates that are pending without references are asked
            for again; captions, references and verdicts are taken from the run's own folder.
        fresh: forget what an earlier run with this folder did, and remove its outputs; the cache stays.
        on_progress: called with how far it is, every now and then.

    Raises:
        DistillError: the folder belongs to a run with other settings, candidates, models or references (what differs
            is named), or to somebody else; files that were missing when it was prepared are there now; a manifest lies
            where the run would write; another process works in it, the base was described by other models, or the
            cache is damaged.
        DatasetError: a manifest cannot be read, or two rows have one id.
        SettingsError, MissingExtraError, ModelError: a model cannot be opened at all.
        KeyboardInterrupt: as it came; everything that was finished is kept.
    """
    began = time.monotonic()
    folder = RunFolder(out)
    folder.require_not_among([*manifests, *map(Path, settings.prepare.exclude)])
    cache = (cache or answers_folder()).absolute()
    with folder.locked(), AnswerCache(cache) as answers:
        models = models_factory(settings)
        base = open_base(base_uri, models) if uses_references(settings.variant) else None
        version, real = (base.version(), reference_counts(base)) if base else (None, {})
        identities = models.identities()
        plan = plan_of(manifests, settings, identities, version)
        absolute, base_uri = with_absolute_models(settings), absolute_uri(base_uri)
        config = WorkerConfig(models_factory, absolute, base_uri, version, len(models.judges), cache, identities)
        del base, models
        if fresh:
            folder.clear()
        folder.require_same_plan(plan)
        if folder.is_prepared:
            require_no_returned_pictures(folder)
        else:
            folder.clear()  # also what a process left behind that was killed before there was a plan
            prepare(manifests, settings, folder, answers, on_progress)
            folder.write_plan(plan)
        waiting = folder.waiting()
        before = folder.rows - sum(waiting.values())
        pace, calls = Pace("judge", folder.rows, before), dict[str, ModelTally]()
        on_rows = None if on_progress is None else lambda rows: on_progress(pace.advance(rows))
        work = ((number, folder.open_rows(number)) for number in waiting)
        # Models are opened only where somebody waits for them.
        for number, rows in (engine or LocalEngine()).run(work, config, on_rows) if waiting else ():
            folder.write_shard(number, rows)
            _tally(calls, rows)
        outputs = write_outputs(folder, settings, real)
        seconds = time.monotonic() - began
        return RunReport(outputs, calls, folder.shards, folder.shards - len(waiting), seconds, answers.statistics())


def _tally(tallies: dict[str, ModelTally], rows: Sequence[Row]) -> None:
    """Add what was asked about the rows."""
    for row in rows:
        for call in row.calls:
            tally = tallies.get(call["model"], ModelTally(0, 0, 0.0))
            if call["from_cache"]:
                tallies[call["model"]] = replace(tally, from_cache=tally.from_cache + 1)
            else:
                tallies[call["model"]] = replace(tally, asked=tally.asked + 1, seconds=tally.seconds + call["seconds"])


def reference_counts(base: KnowledgeBase) -> dict[tuple[str, str], int]:
    """How many photographs may be shown to judges, by type and source."""
    counts: dict[tuple[str, str], int] = {}
    for (status, type_name, source), count in sorted(base.tally().items()):
        if status in IN_USE:
            counts[type_name, source] = counts.get((type_name, source), 0) + count
    return counts


def absolute_uri(uri: str | None) -> str | None:
    """The place of a knowledge base: a folder becomes absolute, what names a scheme (`s3://...`) stays."""
    return uri if uri is None or "://" in uri else str(Path(uri).absolute())


def absolute_model(name: str) -> str:
    """A model as settings name it: a folder that is there becomes absolute, all else stays.

    The model's identity stays too, for it is made of the folder's own name and content.
    """
    kind, _, rest = name.partition(":")
    return f"{kind}:{Path(rest).absolute()}" if kind in _LOCAL_KINDS and rest and Path(rest).is_dir() else name


def with_absolute_models(settings: DistillSettings) -> DistillSettings:
    """The settings with every model that is a folder under its absolute name."""
    described, judging = settings.describe, settings.judging
    describers = {
        "captioner": absolute_model(described.captioner),
        "expander": absolute_model(described.expander),
        "text_encoder": absolute_model(described.text_encoder),
        "visual_encoder": absolute_model(described.visual_encoder),
    }
    judges = {
        "judges": tuple(map(absolute_model, judging.judges)),
        "bias": {absolute_model(name): bias for name, bias in judging.bias.items()},
    }
    return settings.model_copy(
        update={
            "describe": described.model_copy(update=describers),
            "judging": judging.model_copy(update=judges),
        }
    )
