"""The whole run: what comes out, what is asked, and what a kill at any moment leaves."""

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pixel_models import JUDGES, PixelJudge, PixelModels, make_base, make_candidates, small_settings

from derain.backends.interfaces import VisualEncoder
from derain.data.pairs import read_manifest
from derain.distill.judges.interface import Decision, Verdict
from derain.distill.models import uncached
from derain.distill.pipeline.progress import Progress
from derain.distill.pipeline.run import RunReport, distill
from derain.distill.pipeline.run_folder import INSIDE
from derain.distill.settings import DistillSettings
from derain.errors import DistillError

TIMES = ("verdicts.seconds", "stage_seconds")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates and a knowledge base."""
    folder = tmp_path_factory.mktemp("candidates")
    make_candidates(folder, 26)
    (folder / "log").mkdir()
    make_base(folder, PixelModels(folder / "log")(small_settings()))
    return folder


def run(place: Path, tmp_path: Path, models: PixelModels, settings: DistillSettings | None = None) -> RunReport:
    settings = settings or small_settings()
    base = None if settings.variant == "only-vlm" else str(place / "base")
    return distill([place / "manifest.csv"], base, tmp_path / "out", settings, models, cache=tmp_path / "cache")


def rows_in(file: Path) -> list[dict[str, object]]:
    """Rows without the times that were measured."""
    rows = pq.read_table(file).to_pylist() if file.exists() else []
    for row in rows:
        row["stage_seconds"] = [name for name, _ in row["stage_seconds"] or []]
        for verdict in row["verdicts"] or []:
            del verdict["seconds"]
    return rows


def results(out: Path) -> dict[str, object]:
    tables: dict[str, object] = {name: rows_in(out / f"{name}.parquet") for name in ("kept", "dropped", "pending")}
    return tables | {name: (out / name).read_text() for name in ("pyramid.json", "manifest.csv")}


def test_every_candidate_ends_in_one_table_with_all_that_led_there(place, tmp_path, models):
    report = run(place, tmp_path, models)
    kept, dropped = rows_in(tmp_path / "out" / "kept.parquet"), rows_in(tmp_path / "out" / "dropped.parquet")
    assert report.is_complete
    assert (report.outputs.kept, report.outputs.dropped, report.outputs.pending) == (len(kept), len(dropped), 0)
    assert sorted(row["id"] for row in kept + dropped) == sorted(f"pair-{n}" for n in range(26))
    assert kept, "some are kept"
    assert dropped, "some are dropped"
    for row in kept + dropped:
        decisions = [verdict["decision"] for verdict in row["verdicts"]]
        assert [verdict["judge"] for verdict in row["verdicts"]] == list(JUDGES)
        assert (decisions.count("keep") >= 2) == (row["outcome"] == "kept")
        assert len(row["references"]) == 2
        assert row["caption"] in row["expansion"]
        assert row["stage_seconds"] == ["caption", "embed", "retrieve", "judge"]
    assert not (tmp_path / "out" / "pending.parquet").exists()
    assert report.calls["judge paired"].asked == 26
    manifest = read_manifest(report.outputs.manifest)
    assert [pair.id for pair in manifest] == [row["id"] for row in kept]


def test_a_second_run_asks_nothing_and_another_folder_is_served_from_the_cache(place, tmp_path, models):
    first = run(place, tmp_path, models)
    calls = len(models.log.lines())
    again = run(place, tmp_path, models)
    assert again.shards_done_before == again.shards == 5
    assert again.calls == {}
    elsewhere = distill(
        [place / "manifest.csv"], str(place / "base"), tmp_path / "other", small_settings(), models,
        cache=tmp_path / "cache",
    )  # fmt: skip
    assert len(models.log.lines()) == calls
    assert {tally.asked for tally in elsewhere.calls.values()} == {0}
    assert {tally.from_cache for tally in elsewhere.calls.values()} == {26}
    assert results(tmp_path / "other") == results(tmp_path / "out")
    assert first.cache.answers == again.cache.answers


def test_another_batch_or_shard_size_gives_the_same_rows(place, tmp_path, models):
    run(place, tmp_path / "a", models)
    run(place, tmp_path / "b", models, small_settings(shard_rows=26, batch_rows=1))
    assert results(tmp_path / "a" / "out") == results(tmp_path / "b" / "out")


def test_a_judge_that_is_down_leaves_rows_pending_and_is_asked_by_the_next_run(place, tmp_path, models):
    whole = run(place, tmp_path / "whole", models)
    models.shut("detailed")
    report = run(place, tmp_path, models)
    assert not report.is_complete
    assert 0 < report.outputs.pending < 26, "those on which the two others agree wait for nobody"
    assert sum(report.outputs.pending_reasons.values()) == report.outputs.pending
    reasons = {reason.partition(": judge detailed")[0] for reason in report.outputs.pending_reasons}
    assert reasons <= {"no_answer", "not_asked"}
    for row in rows_in(tmp_path / "out" / "pending.parquet"):
        votes = [verdict["decision"] for verdict in row["verdicts"]]
        assert len(votes) == 2
        assert max(votes.count("keep"), votes.count("drop")) < 2
    for name in ("kept", "dropped"):
        for row in rows_in(tmp_path / "out" / f"{name}.parquet"):
            assert [verdict["judge"] for verdict in row["verdicts"]] == ["bright", "paired"]
    assert report.calls["judge paired"].asked == 26, "the others were asked all the same"
    asked = Counter(role for role, _ in models.log.lines())
    models.open("detailed")
    pending = report.outputs.pending
    report = run(place, tmp_path, models)
    assert report.is_complete
    now = Counter(role for role, _ in models.log.lines())
    assert now - asked == {"detailed": pending}
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole" / "out")
    assert report.outputs.candidates == whole.outputs.candidates


def outcomes(out: Path) -> dict[str, str]:
    """What became of each candidate."""
    return {row["id"]: name for name in ("kept", "dropped", "pending") for row in rows_in(out / f"{name}.parquet")}


def test_a_door_before_the_judges_that_is_down_holds_rows_too(place, tmp_path, models):
    models.shut("visual_encoder")
    report = run(place, tmp_path, models)
    assert report.outputs.pending_reasons == {
        "not_asked: visual_encoder is down: visual_encoder is shut; open it": 23,
        "no_answer: visual_encoder: visual_encoder is shut; open it": 3,
    }
    models.open("visual_encoder")
    assert run(place, tmp_path, models).is_complete


def test_a_cascade_asks_the_last_judge_only_where_the_first_two_disagree(place, tmp_path, models):
    whole = run(place, tmp_path / "whole", models)
    votes = [
        row["verdicts"]
        for name in ("kept", "dropped")
        for row in rows_in(tmp_path / "whole" / "out" / f"{name}.parquet")
    ]
    pairs = [{verdict["decision"] for verdict in verdicts[:2]} for verdicts in votes]
    settings = small_settings()
    settings = settings.model_copy(update={"judging": settings.judging.model_copy(update={"cascade": True})})
    report = run(place, tmp_path, models, settings)
    settled = sum(decisions in ({"keep"}, {"drop"}) for decisions in pairs)
    assert 0 < settled < 26
    assert report.calls["judge paired"].asked == 26 - settled
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole" / "out")
    assert whole.outputs.candidates == 26


class Hesitant(PixelJudge):
    """Abstains on every other picture."""

    def judge(self, cases):
        return [
            Verdict(self.name, Decision.ABSTAIN, None, "unreadable_reply")
            if int(case.candidate.digest, 16) % 2
            else verdict
            for case, verdict in zip(cases, super().judge(cases), strict=True)
        ]


class HesitantModels(PixelModels):
    def __call__(self, settings, cached=uncached):
        models = super().__call__(settings, cached)
        return replace(models, judges=(Hesitant("hesitant", self.log), *models.judges[1:]))


def test_a_cascade_ends_like_all_judges_also_with_abstentions_and_after_an_outage(place, tmp_path, models):
    hesitant = HesitantModels(models.folder)
    run(place, tmp_path / "whole", hesitant)
    settings = small_settings()
    settings = settings.model_copy(update={"judging": settings.judging.model_copy(update={"cascade": True})})
    hesitant.shut("detailed")
    report = run(place, tmp_path, hesitant, settings)
    assert 0 < report.outputs.pending < 26
    hesitant.open("detailed")
    report = run(place, tmp_path, hesitant, settings)
    assert report.is_complete
    assert set(report.calls) == {"judge detailed"}, "the votes of the others are there"
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole" / "out")


def test_a_run_does_not_write_over_what_it_reads(place, tmp_path, models):
    own = tmp_path / "data"
    own.mkdir()
    manifest = own / "manifest.csv"
    manifest.write_text((place / "manifest.csv").read_text())
    for read, out in ((manifest, own), (own / ".." / "data" / "manifest.csv", own)):
        with pytest.raises(DistillError, match=r"is read by this run, .*manifest\.csv"):
            distill([read], str(place / "base"), out, small_settings(), models, cache=tmp_path / "cache")
    exclude = small_settings().prepare.model_copy(update={"exclude": (str(manifest),)})
    with pytest.raises(DistillError, match="is read by this run"):
        distill([place / "manifest.csv"], None, own, small_settings(prepare=exclude), models, cache=tmp_path / "cache")
    assert manifest.read_text() == (place / "manifest.csv").read_text()
    assert list(own.iterdir()) == [manifest]


def test_a_disk_that_was_not_there_costs_no_candidate(tmp_path, models):
    make_candidates(tmp_path, 8)
    base = make_base(tmp_path, PixelModels(models.folder)(small_settings()))
    arguments = ([tmp_path / "manifest.csv"], base, tmp_path / "out", small_settings(), models)
    (tmp_path / "clean").rename(tmp_path / "elsewhere")
    report = distill(*arguments, cache=tmp_path / "cache")
    assert (report.is_complete, report.outputs.pending) == (False, 8)
    assert all(reason.startswith("picture_gone: ") for reason in report.outputs.pending_reasons)
    assert distill(*arguments, cache=tmp_path / "cache").outputs.pending == 8
    (tmp_path / "elsewhere").rename(tmp_path / "clean")
    report = distill(*arguments, cache=tmp_path / "cache", fresh=True)
    assert (report.is_complete, report.outputs.candidates) == (True, 8)


class LookingJudge(PixelJudge):
    encoder: VisualEncoder

    def judge(self, cases):
        self.encoder.encode_views([case.candidate for case in cases])
        return super().judge(cases)


class LookingModels(PixelModels):
    def __call__(self, settings, cached=uncached):
        models = super().__call__(settings, cached)
        judge = LookingJudge("paired", self.log)
        object.__setattr__(judge, "encoder", cached(models.visual_encoder))
        return replace(models, judges=(judge,))


def test_judges_that_look_at_vectors_are_given_those_that_are_filed(place, tmp_path, models):
    looking = LookingModels(models.folder)
    run(place, tmp_path, looking)
    assert Counter(role for role, _ in models.log.lines())["visual_encoder"] == 26


def test_variants_do_what_their_names_say(place, tmp_path, models):
    for variant in ("only-vlm", "no-retrieval", "no-generation"):
        report = run(place, tmp_path / variant, models, small_settings(variant=variant))
        assert report.is_complete
        rows = rows_in(tmp_path / variant / "out" / "kept.parquet")
        roles = {name for name in report.calls if not name.startswith("judge")}
        assert roles == ({"visual_encoder"} if variant == "no-generation" else set())
        assert {len(row["references"] or []) for row in rows} == ({0} if variant == "only-vlm" else {2})
        assert all(row["caption"] is None for row in rows)
        cells = [cell for row in rows for cell in row["references"] or []]
        assert all((cell["ssim"] is not None) == (variant == "no-generation") for cell in cells)
        assert all(cell["text_distance"] is None for cell in cells)


def test_a_run_with_other_inputs_is_refused_and_a_fresh_one_is_not(place, tmp_path, models):
    run(place, tmp_path, models)
    fewer = small_settings().retrieval.model_copy(update={"k3": 1})
    with pytest.raises(DistillError, match=r"retrieval\.k3: 2 then, 1 now"):
        run(place, tmp_path, models, small_settings(retrieval=fewer))
    with pytest.raises(DistillError, match="judge paired"):
        run(place, tmp_path, PixelModels(models.folder, judges=JUDGES[:2]))
    run(place, tmp_path, models, small_settings(batch_rows=2, test_pairs=1))
    two = PixelModels(models.folder, judges=JUDGES[:2])
    report = distill(
        [place / "manifest.csv"], str(place / "base"), tmp_path / "out", small_settings(), two,
        cache=tmp_path / "cache", fresh=True,
    )  # fmt: skip
    assert report.outputs.candidates == 26


def test_models_that_did_not_describe_the_base_are_refused(place, tmp_path, models):
    with pytest.raises(DistillError, match="expander"):
        run(place, tmp_path, PixelModels(models.folder, has_expander=False))


def test_progress_is_reported_with_rate_and_remaining_time(place, tmp_path, models):
    seen: list[Progress] = []
    distill(
        [place / "manifest.csv"], str(place / "base"), tmp_path / "out", small_settings(), models,
        cache=tmp_path / "cache", on_progress=seen.append,
    )  # fmt: skip
    judged = [progress for progress in seen if progress.phase == "judge"]
    assert [progress.done for progress in judged] == [4, 6, 10, 12, 16, 18, 22, 24, 26]
    assert {progress.total for progress in seen} == {26}
    assert judged[-1].remaining_s == 0
    assert all(progress.rate > 0 for progress in judged)


def test_an_interrupt_keeps_what_was_finished(place, tmp_path, models):
    def stop(progress: Progress) -> None:
        if progress.phase == "judge" and progress.done > 12:
            raise KeyboardInterrupt

    def begin() -> None:
        distill(
            [place / "manifest.csv"], str(place / "base"), tmp_path / "out", small_settings(), models,
            cache=tmp_path / "cache", on_progress=stop,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert sorted(file.name for file in (tmp_path / "out" / INSIDE / "shards").iterdir()) == [
        "000000.parquet",
        "000001.parquet",
    ]
    assert run(place, tmp_path, models).shards_done_before == 2


def child(place: Path, tmp_path: Path, models: PixelModels) -> None:
    run(place, tmp_path, models)


@pytest.fixture(scope="module")
def forkserver() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with our modules loaded, so that a kill hits the run and not an import."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pixel_models", "derain.distill.pipeline.run", "pyarrow.parquet", "pyarrow.csv"])
    return context


@pytest.mark.slow
def test_kills_at_any_moment_lose_nothing_double_nothing_and_ask_nothing_twice(place, tmp_path, models, forkserver):
    run(place, tmp_path / "whole", models)
    slow = PixelModels(tmp_path / "slow", seconds=0.02)
    slow.folder.mkdir()
    when, kills = random.Random(4), 0
    while True:
        before = len(slow.log.lines())
        filed = filed_keys(tmp_path / "cache")
        process = forkserver.Process(target=child, args=(place, tmp_path, slow))
        process.start()
        if kills < 5:
            # Killed after so many finished calls of this session (the first time none), a random moment later.
            wanted = before + (when.randint(1, 40) if kills else 0)
            while process.is_alive() and len(slow.log.lines()) < wanted:
                time.sleep(0.005)
            time.sleep(when.random() * 0.05)
            os.kill(process.pid, signal.SIGKILL)
        process.join(300)
        asked = {key for _, key in slow.log.lines()[before:]}
        assert not asked & filed, "what is filed is not asked for again"
        unfiled = {key for _, key in slow.log.lines()} - filed_keys(tmp_path / "cache")
        assert len(unfiled) <= small_settings().batch_rows, "at most the call that was under way is lost"
        lost = Counter(role for role, key in slow.log.lines() if key in unfiled)
        assert sum(lost[name] for name in JUDGES) <= 1, "of a judge that answers one by one, at most one answer"
        assert lost["captioner"] + lost["expander"] <= 2
        for file in (tmp_path / "out").rglob("*.parquet"):
            pq.read_table(file)  # whole, else it raises
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills == 5
    assert results(tmp_path / "out") == results(tmp_path / "whole" / "out")
    once = Counter(slow.log.lines())
    assert sum(count - 1 for (role, _), count in once.items() if role in JUDGES) <= kills
    assert sum(count - 1 for count in once.values()) <= kills * small_settings().batch_rows


def filed_keys(cache: Path) -> set[bytes]:
    file = cache / "answers.sqlite"
    if not file.exists():
        return set()
    connection = sqlite3.connect(file, timeout=60)
    try:
        return {key for (key,) in connection.execute("SELECT key FROM answers WHERE kind != 'file'")}
    except sqlite3.OperationalError:  # killed before there was a table
        return set()
    finally:
        connection.close()
