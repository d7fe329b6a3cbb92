"""The report: its figures against slow counts, its bounds, and what it must never do with names and missing files."""

import itertools
import json
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from run_samples import (
    Pictures,
    iterate_rows,
    make_record,
    refused_row,
    result_row,
    write_pictures,
    write_result,
    write_rows,
    write_run,
)

from derain.distill import results
from derain.distill.judges.interface import Decision, Outcome
from derain.distill.knowledge.references import RecordsInMemory
from derain.distill.pipeline.outputs import pyramid as noted_pyramid
from derain.distill.report.charts import colour_classes, pyramid
from derain.distill.report.feature_map import draw_feature_map, on_plane, principal_components
from derain.distill.report.gallery import make_gallery
from derain.distill.report.page import ReportLimits, write_report
from derain.distill.report.tally import tally_run
from derain.distill.report.wording import plain_judges, plain_reason
from derain.distill.results import check_run, sample_rows
from derain.distill.review.votes import VOTES_NAME, VoteFile
from derain.errors import DistillError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Pictures:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def out(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("run")
    write_run(path, pictures, kept=11, dropped=17, pending=3, refused=4)
    return path


def every_row(out):
    return [row for outcome in Outcome for row in iterate_rows(out, outcome)]


def test_the_tally_is_what_counting_row_by_row_gives(out, monkeypatch):
    monkeypatch.setattr(results, "BATCH_ROWS", 5)  # batches whose judges differ, and that begin within a table
    found, rows = tally_run(out), every_row(out)
    assert found.outcomes == Counter(row.outcome for row in rows)
    for name in ("source", "type"):
        expected = defaultdict(Counter)
        for row in rows:
            expected[getattr(row, name)][row.outcome] += 1
        assert getattr(found, f"{name}s") == expected
    assert found.reasons[Outcome.DROPPED] == {"grey_lines": 17, "duplicate_of": 4}
    for judge in found.judges:
        said = [v for row in rows for v in row.verdicts if v.judge == judge.name]
        assert judge.decisions == {decision: sum(v.decision is decision for v in said) for decision in Decision}
        assert sum(judge.abstained_because.values()) == judge.decisions[Decision.ABSTAIN]
    assert {judge.name: round(judge.seconds, 4) for judge in found.judges} == {
        "rain-layer": round(0.02 * 31, 4),
        "typicality": round(0.03 * 28, 4),
        "pairing": round(0.04 * 28, 4),
    }
    assert [(stage.name, stage.candidates) for stage in found.stages] == [
        (name, 31) for name in ("caption", "embed", "retrieve", "judge")
    ]
    assert found.stages[0].seconds_each == pytest.approx(0.05)


def test_two_judges_are_compared_where_both_voted(out):
    found = {(pair.first, pair.second): pair for pair in tally_run(out).pairs}
    assert list(found) == list(itertools.combinations(["pairing", "rain-layer", "typicality"], 2))
    for (first, second), pair in found.items():
        both = []
        for row in every_row(out):
            said = {v.judge: v.decision for v in row.verdicts if v.decision is not Decision.ABSTAIN}
            if first in said and second in said:
                both.append((said[first], said[second]))
        keep, drop = Decision.KEEP, Decision.DROP
        assert (pair.both_yes, pair.only_first, pair.only_second, pair.both_no) == tuple(
            both.count(votes) for votes in ((keep, keep), (keep, drop), (drop, keep), (drop, drop))
        )
        assert pair.rated == len(both) > 0


def test_samples_are_even_and_follow_from_seed_alone(out, pictures, tmp_path):
    rows = sample_rows(out, Outcome.DROPPED, 8, seed=0, judged_only=False, by=("reason", "type"))
    assert Counter(row.reason.partition(":")[0] for row in rows) == {"grey_lines": 4, "duplicate_of": 4}
    assert len(sample_rows(out, Outcome.DROPPED, 99, seed=0, judged_only=True)) == 17
    listed = [result_row(pictures, Outcome.DROPPED, number) for number in range(17)]
    write_rows(tmp_path, Outcome.DROPPED, [refused_row(pictures, number) for number in range(4)][::-1] + listed[::-1])
    again = sample_rows(tmp_path, Outcome.DROPPED, 8, seed=0, judged_only=False, by=("reason", "type"))
    assert [row.key for row in again] == [row.key for row in rows]
    assert [row.key for row in again] != [row.key for row in sample_rows(out, Outcome.DROPPED, 8, 1, False)]


def test_the_page_holds_everything_itself_and_is_the_same_each_time(out, pictures):
    records = [make_record(pictures.good[0], number, rain_type="nrd") for number in range(9)]
    path = write_report(out, references=RecordsInMemory(records), price_per_hour=2.0)
    assert path == out / "report.html"
    text = path.read_text("utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|\#)""", text)
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text
    for wanted in (
        "Of 35 candidate",
        "11 were kept",
        "21 dropped",
        "3 are pending",
        "real photographs",
        "unreadable_reply",
    ):
        assert wanted in text
    assert text.count("<article>") == 11 + 21
    assert list(out.glob("*.part")) == []
    first = text
    assert write_report(out, references=RecordsInMemory(records), price_per_hour=2.0).read_text("utf-8") == first


def test_the_page_is_bounded_and_says_what_it_left_out(out):
    limits = ReportLimits(gallery_pairs=10, gallery_characters=60_000, map_dots=6, table_rows=1)
    text = write_report(out, limits=limits).read_text("utf-8")
    assert len(text) < 2 * 60_000 + 60_000
    gallery = make_gallery(out, Outcome.KEPT, 10, 0, 60_000)
    assert 0 < len(gallery.cards) < 10
    assert sum(card.size for card in gallery.cards) <= 60_000
    assert f"{gallery.left_out} more found no room" in text
    assert "2 others" in text
    assert text.count("<circle") == 6


def test_names_are_text_and_files_that_are_gone_are_named(pictures, tmp_path):
    row = result_row(pictures, Outcome.KEPT, 0)
    evil = "<script>alert(1)</script>"
    row |= {"id": evil, "source": evil, "caption": evil, "reason": evil, "rainy": str(tmp_path / "gone.png")}
    row["verdicts"][0] |= {"judge": evil, "reason": '"><img src=x>'}
    dropped = [result_row(pictures, Outcome.DROPPED, number) for number in range(5)]
    write_result(tmp_path, {Outcome.KEPT: [row], Outcome.DROPPED: dropped})
    text = write_report(tmp_path).read_text("utf-8")
    assert evil not in text
    assert "<img src=x" not in text
    assert text.count("&lt;script&gt;") >= 6
    assert "gone.png cannot be shown" in text


def test_runs_with_nothing_in_them_are_reported_too(pictures, tmp_path):
    write_run(tmp_path, pictures, kept=0, dropped=0)
    text = write_report(tmp_path).read_text("utf-8")
    assert "Of 0 candidate pairs" in text
    assert "No judge was asked" in text
    write_run(tmp_path, pictures, kept=0, dropped=0, refused=3)
    assert "No judge was asked." in write_report(tmp_path).read_text("utf-8")


def test_the_top_of_the_pyramid_is_what_the_run_noted_where_no_base_is_given(pictures, tmp_path):
    write_run(tmp_path, pictures, kept=2, dropped=2)
    assert "real photographs" not in write_report(tmp_path).read_text("utf-8").partition("gallery")[0]
    noted = noted_pyramid({("drs", "street"): 4000, ("nrd", "street"): 321}, {}, {}, [])
    (tmp_path / "pyramid.json").write_text(json.dumps(noted))
    assert ">4,321</text>" in write_report(tmp_path).read_text("utf-8")
    (tmp_path / "pyramid.json").write_text('{"real": ')
    with pytest.raises(DistillError, match=r"pyramid\.json: is damaged"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", ["kept.parquet", "dropped.parquet", "pending.parquet", "manifest.csv", "pyramid.json"])
def test_an_output_that_was_deleted_is_missed(pictures, tmp_path, name):
    write_run(tmp_path, pictures, kept=1, dropped=1, pending=1)
    check_run(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DistillError, match=rf"but {re.escape(name)} is not there; .* writes what is missing"):
        check_run(tmp_path)


def test_without_pending_rows_no_table_of_them_is_missed(pictures, tmp_path):
    write_run(tmp_path, pictures, kept=1, dropped=1)
    (tmp_path / "pending.parquet").unlink()
    check_run(tmp_path)


def test_votes_of_persons_are_in_the_report(pictures, tmp_path):
    write_run(tmp_path, pictures, kept=4, dropped=4)
    votes = VoteFile(tmp_path / VOTES_NAME)
    for row in every_row(tmp_path):
        votes.add("Ada", row.key, row.id, row.outcome is Outcome.KEPT)
    text = write_report(tmp_path).read_text("utf-8")
    assert "8 blind votes of 1 person on 8 pairs" in text
    assert "100.0 %" in text
    persons = text.partition('id="persons"')[2].partition("</section>")[0]
    assert persons.count("<td>Ada</td>") == persons.count("<tr><td>") == 4, "the vote and three judges, once each"
    votes.add("Bob", next(row.key for row in every_row(tmp_path)), "id", True)
    persons = write_report(tmp_path).read_text("utf-8").partition('id="persons"')[2].partition("</section>")[0]
    assert [persons.count(f"<td>{name}</td>") for name in ("Ada", "all persons", "majority")] == [0, 4, 4]


@pytest.mark.parametrize("content", ["", "\n", '{"person": "Ada", "pa', "[1]\nnull\n"])
def test_votes_that_cannot_be_read_are_no_study_and_hold_up_no_report(pictures, tmp_path, content):
    write_run(tmp_path, pictures, kept=1, dropped=1)
    without = write_report(tmp_path).read_text("utf-8")
    (tmp_path / VOTES_NAME).write_text(content)
    assert write_report(tmp_path).read_text("utf-8") == without
    assert 'id="persons"' not in without


def test_shares_of_the_headline_and_of_the_pyramid_are_of_the_same(out):
    text = write_report(out).read_text("utf-8")  # 11 of 35 kept, 21 dropped, 3 pending
    assert "(31.4 %)" in text
    assert ">kept, 31.4 %<" in text
    assert ">dropped, 60.0 %<" in text
    assert "shares are of all 35 candidate pairs, of which pending ones are in no tier" in text


def test_pairs_that_wait_are_told_of_with_what_can_be_done(pictures, tmp_path):
    reasons = {"picture_gone: a.png is not there": 3, "no_answer: judge a: timeout": 1, "not_asked: a is down": 1}
    listed = [reason for reason, count in (reasons | {"error: judge b: KeyError": 1}).items() for _ in range(count)]
    pending = [
        result_row(pictures, Outcome.PENDING, number) | {"reason": reason} for number, reason in enumerate(listed)
    ]
    write_result(tmp_path, {Outcome.PENDING: pending})
    header = write_report(tmp_path).read_text("utf-8").partition("</header>")[0]
    said = [" ".join(re.sub("<[^>]*>", "", item).split()) for item in re.findall("<li>.*?</li>", header)]
    assert said == [
        "3 for a picture that is not where it was: put it back, and run again (with --fresh if asked to).",
        "2 for the answer of a model: see that it is up, and run again.",
        "1 for a model that failed on them: mend what the reason names, and run again.",
    ]
    write_run(tmp_path, pictures, kept=2, dropped=2)
    assert "<li>" not in write_report(tmp_path).read_text("utf-8").partition("</header>")[0]


def test_pairs_of_types_without_references_are_shown_under_that_name(pictures, tmp_path):
    reason = "no_references: the knowledge base has no photograph to compare nrd with"
    row = refused_row(pictures, 0) | {"reason": reason}
    write_result(tmp_path, {Outcome.DROPPED: [row]})
    words = "no references (the base has no other photograph of this type: index some, and run with --fresh)"
    text = write_report(tmp_path).read_text("utf-8")
    assert f'<td><span title="no_references">{words}</span></td>' in text
    assert f'<h3><span title="{reason}">{words}</span></h3>' in text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("two_of_three_keep", "2 of 3 votes to keep"),
        ("12_of_twelve_drop", "12 of twelve votes to drop"),
        ("tied_one_to_one", "votes tied 1 to 1"),
        ("typical_of_references", "like the real ones"),
        ("heavy_compression", "heavy compression"),
        ("duplicate_of:drs/7", "the same as another pair: drs/7"),
        ("sizes_differ: rainy 3x4, clean 5x6", "the two sizes differ: rainy 3x4, clean 5x6"),
        ("a_new_name: x_y", "a new name: x_y"),
        ("", ""),
    ],
)
def test_reasons_are_read_in_plain_words(reason, words):
    assert plain_reason(reason) == words


def test_judges_are_called_by_short_names_where_these_tell_them_apart():
    assert plain_judges(["builtin:rain-layer", "openai:http://a/v1#qwen", "openai:llava", "hf:org/model", "own"]) == {
        "builtin:rain-layer": "rain layer",
        "openai:http://a/v1#qwen": "qwen",
        "openai:llava": "llava",
        "hf:org/model": "org/model",
        "own": "own",
    }
    alike = ["openai:http://a/v1#qwen", "openai:http://b/v1#qwen", "builtin:pairing"]
    assert plain_judges(alike) == {alike[0]: alike[0], alike[1]: alike[1], "builtin:pairing": "pairing"}


def test_what_is_no_run_or_cannot_be_written_is_named(out, tmp_path):
    with pytest.raises(DistillError, match=r"kept\.parquet, dropped\.parquet, manifest"):
        write_report(tmp_path)
    with pytest.raises(DistillError, match=r"cannot be written.*check the folder"):
        write_report(out, _file(tmp_path / "no-folder") / "report.html")
    assert write_report(out, tmp_path / "pages" / "report.html").is_file()


def test_a_report_leaves_no_part_that_another_could_stumble_over(out, tmp_path):
    (tmp_path / "report.html.part").mkdir()
    write_report(out, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.html.part"]


def _file(path):
    path.write_text("")
    return path


def test_tables_that_lack_a_column_are_named(pictures, tmp_path):
    import pyarrow.parquet as pq

    write_run(tmp_path, pictures, kept=2, dropped=2)
    path = tmp_path / "dropped.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["verdicts"]), path)
    with pytest.raises(DistillError, match=r"dropped\.parquet: wanted the column verdicts"):
        write_report(tmp_path)


def test_principal_components_are_those_of_the_covariance():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((60, 5)) * [3, 2, 1, 0.5, 0.1] + 7
    found = principal_components(vectors, 3)
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    expected = (centred @ directions)[:, np.argsort(values)[::-1][:3]]
    assert np.allclose(np.abs(found), np.abs(expected))
    assert np.array_equal(principal_components(vectors, 3), found)
    assert np.allclose(principal_components(vectors[:, :2], 3)[:, 2], 0)


def test_the_map_keeps_neighbours_together_and_is_the_same_each_time():
    random = np.random.default_rng(0)
    centres = 4 * random.standard_normal((3, 12))
    vectors = np.concatenate([centre + 0.2 * random.standard_normal((20, 12)) for centre in centres]).astype(np.float32)
    points, method = on_plane(vectors)
    assert method == "t-SNE"
    assert points.min() >= 0
    assert points.max() <= 1
    assert np.array_equal(on_plane(vectors)[0], points)
    middles = points.reshape(3, 20, 2).mean(axis=1)
    groups = np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)
    assert (groups == np.repeat(range(3), 20)).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_small_maps_are_principal_components(count):
    points, method = on_plane(np.eye(8, dtype=np.float32)[:count])
    assert (points.shape, method) == ((count, 2), "principal components")
    assert np.isfinite(points).all()
    assert np.array_equal(on_plane(np.ones((count, 4), np.float32))[0], np.full((count, 2), 0.5))


def test_the_map_is_drawn_evenly_and_references_of_another_encoder_stay_off_it(out, pictures):
    records = [make_record(pictures.good[0], number) for number in range(30)]
    drawn = draw_feature_map(out, RecordsInMemory(records).vectors(), 24)
    assert {label: count for _, label, count in drawn.outcomes} == {"kept": 8, "dropped": 8, "real": 8}
    assert drawn.svg.count("<circle") == drawn.shown == 24
    short = [make_record(pictures.good[0], number) for number in range(3)]
    short = [type(each)(**{**vars(each), "visual": np.ones(1, np.float32)}) for each in short]
    assert {label for _, label, _ in draw_feature_map(out, RecordsInMemory(short).vectors(), 24).outcomes} == {
        "kept",
        "dropped",
    }


def test_colours_go_to_the_most_frequent_and_the_rest_share_one():
    names = [name for place, name in enumerate("abcdefghij") for _ in range(20 - place)]
    assert colour_classes(names) == {name: f"c{min(place, 8)}" for place, name in enumerate("abcdefghij")}


def test_the_pyramid_widens_downwards_and_writes_its_counts():
    svg = pyramid(1234, 50, 950, 1250)
    widths = [
        max(xs) - min(xs)
        for points in re.findall(r'<polygon class="tier \w+" points="([^"]+)"', svg)
        for xs in [[float(corner.split(",")[0]) for corner in points.split()]]
    ]
    assert widths == sorted(widths)
    assert len(widths) == 3
    for wanted in (">1,234<", ">50<", ">950<", "kept, 4.0 %", "dropped, 76.0 %"):
        assert wanted in svg
    assert pyramid(None, 0, 0, 0).count("<polygon") == 2
