"""Stages: one row's trouble is its own, models that are down are left in peace, blind draws are fair."""

from pathlib import Path

import pytest
from pixel_models import Log, PixelCaptioner, PixelJudge, PixelModels, crop, make_base, save, small_settings, streaked

from derain.backends.view import read_view
from derain.distill.answers.breaker import FAILURES_IN_A_ROW, OPEN_S, CircuitBreaker, Unanswered
from derain.distill.answers.cache import AnswerCache
from derain.distill.answers.cached import CachedCaptioner, CachedExpander, CachedJudge
from derain.distill.judges.interface import Decision, Verdict
from derain.distill.judges.vote import is_settled
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.retrieval import Retriever
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.measure.rain_type import classify
from derain.distill.pipeline.engine import WorkerConfig, WorkerContext, work_through
from derain.distill.pipeline.judging import JudgeStage, VoteStage
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row, rows_of, table_of
from derain.distill.pipeline.stages import CaptionStage, RetrieveStage, TypeStage
from derain.distill.settings import stage_names
from derain.errors import DistillError, ImageError, ModelError, QuestionError


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "log").mkdir()
    return Log(tmp_path / "log")


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "cache")


def rows(tmp_path: Path, count: int) -> list[Row]:
    found = []
    for number in range(count):
        clean = save(tmp_path / f"clean{number}.png", crop(number))
        rainy = save(tmp_path / f"rainy{number}.png", streaked(crop(number), number))
        row = Row(f"pair-{number}", str(rainy), str(clean), "drs", "set", "train", "")
        row.digest, row.clean_digest = read_view(rainy).digest, read_view(clean).digest
        found.append(row)
    return found


def test_a_picture_that_a_model_stumbles_over_harms_no_other(tmp_path, log, cache):
    some = rows(tmp_path, 5)
    (log.folder / f"odd-{some[2].digest}").touch()
    work_through(CaptionStage(CachedCaptioner(PixelCaptioner(log), cache), None, Pictures()), some)
    assert [row.is_open for row in some] == [True, True, False, True, True]
    assert some[2].reason == f"error: captioner: ZeroDivisionError: odd picture {some[2].digest[:4]}"
    assert some[2].outcome == "pending"
    for row in some[:2] + some[3:]:
        assert row.caption == PixelCaptioner(log).caption([read_view(Path(row.rainy))])[0]
        assert dict(row.stage_seconds)["caption"] > 0


def test_a_picture_that_is_gone_or_another_by_now_waits(tmp_path, log, cache):
    some = rows(tmp_path, 3)
    Path(some[0].rainy).unlink()
    save(Path(some[1].rainy), crop(99))
    work_through(CaptionStage(CachedCaptioner(PixelCaptioner(log), cache), None, Pictures()), some)
    assert [row.outcome for row in some] == ["pending", "pending", None]
    assert all(row.reason.startswith("picture_gone: ") for row in some[:2])
    assert "not the picture that was there before" in some[1].reason


def test_a_picture_need_not_be_there_for_an_answer_that_is_filed(tmp_path, log, cache):
    some = rows(tmp_path, 2)
    stage = CaptionStage(CachedCaptioner(PixelCaptioner(log), cache), None, Pictures())
    work_through(stage, some)
    captions = [row.caption for row in some]
    again = [row.begin_again() for row in some]
    for row in again:
        Path(row.rainy).unlink()
    work_through(CaptionStage(CachedCaptioner(PixelCaptioner(log), cache), None, Pictures()), again)
    assert [row.caption for row in again] == captions
    assert [call["from_cache"] for row in again for call in row.calls] == [True, True]


def test_an_expander_that_is_down_holds_the_row_and_the_caption_is_kept(tmp_path, log, cache):
    (row,) = rows(tmp_path, 1)
    (log.folder / "shut-expander").touch()
    models = PixelModels(log.folder)(small_settings())
    expander = CachedExpander(models.expander, cache)
    work_through(CaptionStage(CachedCaptioner(models.captioner, cache), expander, Pictures()), [row])
    assert row.caption
    assert (row.outcome, row.reason) == ("pending", "no_answer: expander: expander is shut; open it")


def test_types_come_from_the_classifier_where_the_manifest_has_none(tmp_path):
    some = rows(tmp_path, 2)
    some[0].type, some[1].type_origin = None, "manifest"
    some[1].type = "nrd"
    work_through(TypeStage(Pictures()), some)
    assert (some[0].type, some[0].type_origin) == (classify(read_view(Path(some[0].rainy))).type, "classifier")
    assert (some[1].type, some[1].type_origin) == ("nrd", "manifest")
    assert some[0].begin_again().type is None
    assert some[1].begin_again().type == "nrd"


def test_a_judge_without_answer_leaves_the_others_their_say(tmp_path, log, cache):
    some = rows(tmp_path, 3)
    (log.folder / f"odd-{some[1].digest}").touch()
    (log.folder / "shut-bright").touch()
    for name in ("bright", "detailed", "paired"):
        work_through(JudgeStage(CachedJudge(PixelJudge(name, log), cache), 3, False, Pictures()), some)
    work_through(VoteStage(3), some)
    assert [[verdict["judge"] for verdict in row.verdicts or []] for row in some] == [
        ["detailed", "paired"],
        [],
        ["detailed", "paired"],
    ]
    decisions = [{verdict["decision"] for verdict in row.verdicts or []} for row in some]
    assert [row.outcome == "pending" for row in some] == [
        len(found) != 1 or found == {"abstain"} for found in decisions
    ]
    assert some[1].reason == "no_answer: judge bright: bright is shut; open it"


def test_a_reference_that_is_gone_is_named(tmp_path, log, cache):
    (row,) = rows(tmp_path, 1)
    path = str(tmp_path / "real.png")
    row.references = [{"digest": "0" * 64, "path": path, "text_distance": None, "cosine": None, "ssim": None}]
    work_through(JudgeStage(CachedJudge(PixelJudge("paired", log), cache), 1, False, Pictures()), [row])
    work_through(VoteStage(1), [row])
    assert row.outcome == "pending"
    assert row.reason.startswith("reference_gone: ")
    assert path in row.reason
    assert log.lines() == []


def test_rows_survive_the_way_through_a_table(tmp_path, log, cache):
    some = rows(tmp_path, 3)
    work_through(CaptionStage(CachedCaptioner(PixelCaptioner(log), cache), None, Pictures()), some)
    some[1].waiting, some[2].visual = "a judge", [0.5, 0.25]
    back = rows_of(table_of(some))
    for row in [*some, *back]:
        row.stage_seconds = [(name, pytest.approx(seconds, abs=1e-5)) for name, seconds in row.stage_seconds]
        for call in row.calls:
            call["seconds"] = pytest.approx(call["seconds"], abs=1e-5)
    assert back[1].waiting == "a judge"
    for one, other in zip(some, back, strict=True):
        assert one.caption == other.caption
        assert (one.visual, one.digest, one.calls[0]["model"]) == (other.visual, other.digest, "captioner")


class Flaky:
    """A model that counts; up from some time on."""

    def __init__(self, up_from: int) -> None:
        self.asked: list[list[int]] = []
        self.up_from = up_from

    def ask(self, questions):
        self.asked.append(list(questions))
        if len(self.asked) <= self.up_from:
            raise ModelError("down")
        return [10 * question for question in questions]


def test_a_model_that_is_down_is_asked_a_few_times_and_then_left_in_peace():
    now = [0.0]
    asker, model = CircuitBreaker("model", lambda: now[0]), Flaky(up_from=1000)
    answers = asker.ask(list(range(10)), model.ask)
    assert len(model.asked) == 1 + FAILURES_IN_A_ROW
    asked, spared = Unanswered("no_answer: model: down"), Unanswered("not_asked: model is down: down")
    assert answers == [asked] * FAILURES_IN_A_ROW + [spared] * (10 - FAILURES_IN_A_ROW)
    assert asker.ask([1, 2], model.ask) == [spared] * 2
    assert len(model.asked) == 1 + FAILURES_IN_A_ROW
    now[0] += OPEN_S + 1
    model.up_from = 0
    assert asker.ask([1, 2], model.ask) == [10, 20]
    assert asker.ask([3, 4], model.ask) == [30, 40]
    assert model.asked[-3:] == [[1], [2], [3, 4]]


def test_a_batch_that_fails_once_is_asked_one_by_one():
    model = Flaky(up_from=1)
    assert CircuitBreaker("model").ask([1, 2, 3], model.ask) == [10, 20, 30]
    assert model.asked == [[1, 2, 3], [1], [2], [3]]


def test_questions_that_cannot_be_asked_do_not_open_the_circuit():
    def model(questions):
        if any(question < 8 for question in questions):
            raise QuestionError("too large")
        return list(questions)

    asker = CircuitBreaker("model")
    odd = Unanswered("cannot_be_asked: model: too large", "too large")
    assert asker.ask(list(range(10)), model) == [odd] * 8 + [8, 9]
    assert asker.ask([1], model) == [odd]
    assert asker.ask([9], model) == [9]


class Mute(PixelCaptioner):
    """Has nothing to say about the pictures for which there is a file in its log's folder."""

    batch_size = 4

    def caption(self, views):
        said = super().caption(views)
        is_mute = [(self.log.folder / f"mute-{view.digest}").exists() for view in views]
        return ["" if mute else caption for mute, caption in zip(is_mute, said, strict=True)]


def test_a_picture_that_cannot_be_described_is_dropped_and_costs_its_neighbours_nothing(tmp_path, log, cache):
    some = rows(tmp_path, 4)
    (log.folder / f"mute-{some[1].digest}").touch()
    work_through(CaptionStage(CachedCaptioner(Mute(log), cache), None, Pictures()), some)
    assert [row.outcome for row in some] == [None, "dropped", None, None]
    assert some[1].reason.startswith("cannot_be_asked: captioner: wanted a text, got an empty one")
    assert len(log.lines()) == len(set(log.lines())) == 4, "each picture was shown once"


def test_the_time_of_an_answer_that_is_recalled_is_counted_once(tmp_path, log, cache):
    (row,) = rows(tmp_path, 1)
    slow = PixelCaptioner(Log(log.folder, seconds=0.05))
    work_through(CaptionStage(CachedCaptioner(slow, cache), None, Pictures()), [row])
    spent = dict(row.stage_seconds)["caption"]
    for _ in range(3):
        row.caption = None  # as if a session had ended without it
        row = row.resumed()
        work_through(CaptionStage(CachedCaptioner(slow, cache), None, Pictures()), [row])
        assert [call["from_cache"] for call in row.calls] == [True]
    assert 0.05 <= spent <= dict(row.stage_seconds)["caption"] < spent + 0.04
    anew = row.begin_again()
    work_through(CaptionStage(CachedCaptioner(slow, cache), None, Pictures()), [anew])
    assert dict(anew.stage_seconds)["caption"] >= 0.05, "of a row that is new, an answer counts whoever asked for it"


def test_types_without_references_are_dropped_before_a_picture_is_read(tmp_path, log):
    models = PixelModels(log.folder)(small_settings())
    base = KnowledgeBase.open(make_base(tmp_path, models), BaseIdentities.of(models))  # drs and drd, by day
    some = rows(tmp_path, 3)
    some[1].type = "nrd"
    for row in some:
        row.text_vector, row.visual_vector = [1.0] + [0.0] * 11, [1.0] + [0.0] * 47
    Path(some[1].rainy).unlink()
    stage = RetrieveStage(Retriever(base, small_settings().retrieval), "full", 0, Pictures())
    work_through(stage, some)
    assert [row.outcome for row in some] == [None, "dropped", None]
    assert some[1].reason.startswith("no_references: the knowledge base has no photograph to compare nrd with")
    assert [len(row.references or []) for row in some] == [2, 0, 2]


def test_a_candidate_that_is_the_only_reference_has_none(tmp_path, log):
    models = PixelModels(log.folder)(small_settings())
    base = KnowledgeBase.open(make_base(tmp_path, models, count=1), BaseIdentities.of(models))
    (row,) = rows(tmp_path, 1)
    (entry,) = base.entries()
    row.rainy, row.digest = entry.path, entry.digest
    retriever = Retriever(base, small_settings().retrieval)
    work_through(RetrieveStage(retriever, "no-retrieval", 0, Pictures()), [row])
    assert (row.outcome, row.reason.partition(":")[0]) == ("dropped", "no_references")


class Squeamish(PixelJudge):
    """Cannot be shown the pictures for which there is a file in its log's folder."""

    def judge(self, cases):
        for case in cases:
            if (self.log.folder / f"odd-{case.candidate.digest}").exists():
                raise QuestionError("too large for its context")
        return super().judge(cases)


def test_a_judge_that_cannot_be_shown_a_case_has_no_vote_on_it(tmp_path, log, cache):
    some = rows(tmp_path, 6)
    for row in some[:5]:
        (log.folder / f"odd-{row.digest}").touch()
    stage = JudgeStage(CachedJudge(Squeamish("paired", log), cache), 1, False, Pictures())
    work_through(stage, some)
    work_through(VoteStage(1), some)
    assert [row.verdicts[0]["reason"] for row in some[:5]] == ["cannot_be_asked: too large for its context"] * 5
    assert {row.verdicts[0]["decision"] for row in some[:5]} == {"abstain"}
    assert {(row.outcome, row.reason) for row in some[:5]} == {("dropped", "undecided")}
    assert some[5].verdicts[0]["reason"] != some[0].verdicts[0]["reason"]
    assert len(log.lines()) == 1


def test_candidates_that_are_settled_do_not_wait_for_the_last_judge(tmp_path, log, cache):
    some = rows(tmp_path, 3)
    (log.folder / "shut-bright").touch()
    for name in ("bright", "detailed", "paired"):
        work_through(JudgeStage(CachedJudge(PixelJudge(name, log), cache), 3, False, Pictures()), some)
    some[0].verdicts[0]["decision"], some[0].verdicts[1]["decision"] = "keep", "keep"
    some[1].verdicts[0]["decision"], some[1].verdicts[1]["decision"] = "keep", "drop"
    some[2].verdicts[0]["decision"], some[2].verdicts[1]["decision"] = "keep", "abstain"
    work_through(VoteStage(3), some)
    assert [row.outcome for row in some] == ["kept", "pending", "pending"]
    assert some[0].reason == "two_of_two_keep"


def test_errors_that_no_waiting_mends_end_the_run():
    def broken(_questions):
        raise DistillError("the cache is damaged")

    for questions in ([1], [1, 2]):
        with pytest.raises(DistillError, match="damaged"):
            CircuitBreaker("model").ask(questions, broken)


def test_a_cascade_stops_where_the_vote_is_settled(tmp_path, log, cache):
    some = rows(tmp_path, 6)
    for name in ("paired", "detailed", "bright"):
        work_through(JudgeStage(CachedJudge(PixelJudge(name, log), cache), 3, True, Pictures()), some)
    for row in some:
        votes = [Verdict(v["judge"], Decision(v["decision"]), v["score"], v["reason"]) for v in row.verdicts]
        assert is_settled(votes, 3)
        assert not is_settled(votes[:-1], 3)
    assert {len(row.verdicts) for row in some} == {2, 3}


def test_pictures_are_held_while_there_is_room(tmp_path):
    some = rows(tmp_path, 3)
    pictures = Pictures(held_bytes=2 * 48 * 64 * 3 * 5)  # bytes and floats
    views = [pictures.read(row.rainy, row.digest) for row in some]
    assert pictures.read(some[2].rainy, some[2].digest) is views[2]
    assert pictures.read(some[0].rainy, some[0].digest) is not views[0]
    with pytest.raises(ImageError, match="not the picture"):
        pictures.read(some[0].rainy, "f" * 64)


def test_stages_by_variant():
    assert stage_names("full", 2) == ["type", "caption", "embed", "retrieve", "judge 0", "judge 1", "vote"]
    assert stage_names("no-generation", 1) == ["type", "embed", "retrieve", "judge 0", "vote"]
    assert stage_names("no-retrieval", 1) == ["type", "retrieve", "judge 0", "vote"]
    assert stage_names("only-vlm", 1) == ["type", "judge 0", "vote"]


def test_a_stage_that_needs_a_knowledge_base_says_so(tmp_path, log):
    context = WorkerContext(WorkerConfig(PixelModels(log.folder), small_settings(), None, None, 3, tmp_path / "cache"))
    with pytest.raises(DistillError, match="wanted a knowledge base"):
        context.stage("retrieve")
    context.close()
