"""A blind study: which pairs are drawn, in which order they are shown, and that nothing gives the outcome away."""

import http.client
import json
import re
from collections import Counter
from io import BytesIO

import pytest
from PIL import Image
from run_samples import Pictures, refused_row, result_row, write_pictures, write_result, write_rows, write_run

from derain.distill.judges.interface import Outcome
from derain.distill.review.server import TOKEN_HEADER
from derain.distill.review.study import CHECKS, draw_study, open_study, order_for
from derain.distill.review.votes import VOTES_NAME, read_votes
from derain.errors import DistillError
from derain.imaging.io import read_picture


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Pictures:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def out(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("run")
    write_run(path, pictures, kept=30, dropped=200, pending=3, refused=40)
    return path


@pytest.mark.parametrize("count", [2, 7, 20])
def test_half_are_kept_and_half_dropped_evenly_by_type(out, count):
    study = draw_study(out, count)
    outcomes = Counter(row.outcome for row in study.pairs)
    assert outcomes == {Outcome.KEPT: count - count // 2, Outcome.DROPPED: count // 2}
    for outcome, size in outcomes.items():
        types = Counter(row.type for row in study.pairs if row.outcome is outcome)
        assert max(types.values()) <= -(-size // 4)
    assert all(row.verdicts for row in study.pairs), "only what judges saw"


def test_the_draw_follows_from_the_seed_and_not_from_the_order_of_rows(out, pictures, tmp_path):
    keys = [row.key for row in draw_study(out, 12).pairs]
    assert keys == [row.key for row in draw_study(out, 12).pairs]
    assert keys != [row.key for row in draw_study(out, 12, seed=1).pairs]
    sizes = {Outcome.KEPT: 30, Outcome.DROPPED: 200}
    write_result(
        tmp_path,
        {
            outcome: [result_row(pictures, outcome, number) for number in reversed(range(size))]
            for outcome, size in sizes.items()
        },
    )
    assert keys == [row.key for row in draw_study(tmp_path, 12).pairs]


def test_each_person_has_an_order_and_keeps_it(out):
    study = draw_study(out, 20)
    orders = {name: [row.key for row in order_for(study, name)] for name in ("Ada", "Bob")}
    assert orders["Ada"] == [row.key for row in order_for(study, "Ada")]
    assert orders["Ada"] != orders["Bob"]
    assert sorted(orders["Ada"]) == sorted(orders["Bob"])


def test_a_half_that_is_short_does_not_make_the_other_longer(pictures, tmp_path):
    write_run(tmp_path, pictures, kept=3, dropped=50)
    study = draw_study(tmp_path, 20)
    assert (study.kept, len(study.pairs), study.wanted) == (3, 13, 20)


def test_runs_that_cannot_be_studied_are_refused(pictures, tmp_path):
    with pytest.raises(DistillError, match="not there"):
        draw_study(tmp_path, 20)
    write_run(tmp_path, pictures, kept=0, dropped=5)
    with pytest.raises(DistillError, match="wanted 10 kept pairs that were judged, and the run has none"):
        draw_study(tmp_path, 20)
    with pytest.raises(DistillError, match="at least 2"):
        draw_study(tmp_path, 1)
    write_run(tmp_path, pictures, kept=5, dropped=0)
    write_rows(tmp_path, Outcome.DROPPED, [refused_row(pictures, 0)])
    with pytest.raises(DistillError, match="10 dropped pairs that were judged"):
        draw_study(tmp_path, 20)
    (tmp_path / "kept.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DistillError, match="cannot be read"):
        draw_study(tmp_path, 20)


class Browser:
    """Asks a server as its own page does."""

    def __init__(self, server) -> None:
        self._port = server.port
        page = self.get("/")[1].decode()
        self.token = re.search(r'name="derain-token" content="([^"]+)"', page).group(1)

    def get(self, path):
        return self._ask("GET", path, None, {})

    def post(self, path, body):
        return self._ask("POST", path, json.dumps(body), {TOKEN_HEADER: self.token})

    def _ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content


@pytest.fixture
def served(out):
    server, study = open_study(out, 6, port=0)
    with server:
        yield Browser(server), study
    (out / VOTES_NAME).unlink(missing_ok=True)


def test_what_the_page_is_told_gives_nothing_away(served):
    browser, study = served
    status, content = browser.get("/api/study?person=Ada")
    answer = json.loads(content)
    assert status == 200
    assert [pair["key"] for pair in answer["pairs"]] == [row.key for row in order_for(study, "Ada")]
    assert {tuple(sorted(pair)) for pair in answer["pairs"]} == {("checks", "clean", "key", "real", "references")}
    assert {tuple(pair["checks"]) for pair in answer["pairs"]} <= set(CHECKS.values())
    text = content.decode().lower()
    for row in study.pairs:
        for secret in (row.id, row.rainy.name, row.rainy.stem, row.source, row.reason, row.scene, row.caption):
            assert secret.lower() not in text
    assert not re.search(r"kept|dropp|verdict|outcome|score|judge", text)


def test_pictures_are_whole_and_without_metadata_or_name(served):
    browser, study = served
    row = study.pairs[0]
    for name, path in (("rainy", row.rainy), ("clean", row.clean), ("reference/0", row.references[0].path)):
        status, content = browser.get(f"/picture/{row.key}/{name}")
        assert status == 200
        with Image.open(BytesIO(content)) as image:
            assert image.format == "JPEG"
            assert image.size[::-1] == read_picture(path).pixels.shape[:2]
            assert not image.getexif()
            assert "comment" not in image.info
        assert path.name.encode() not in content


@pytest.mark.parametrize(
    "path",
    [
        "/picture/../kept.parquet",
        "/picture/%2e%2e/kept.parquet",
        "/picture//etc/passwd",
        "/picture/{key}/../../kept.parquet",
        "/picture/{key}/reference/99",
        "/picture/{key}",
        "/static/../study.py",
        "/static/..%2fstudy.py",
        "/static/study.py",
        "/votes.jsonl",
    ],
)
def test_nothing_but_listed_pictures_is_served(served, path):
    browser, study = served
    assert browser.get(path.replace("{key}", study.pairs[0].key))[0] == 404


def test_votes_are_stored_and_come_back_to_their_person_only(served, out):
    browser, study = served
    key = study.pairs[2].key
    assert browser.post("/api/vote", {"person": " Ada  L ", "pair": key, "real": True})[0] == 200
    assert browser.post("/api/vote", {"person": "Ada L", "pair": key, "real": False})[0] == 200
    votes = read_votes(out / VOTES_NAME)
    assert {who: line.real for who, line in votes.latest.items()} == {("Ada L", key): False}
    assert (out / VOTES_NAME).read_text().count("\n") == 2
    for person, expected in (("Ada%20L", {key: False}), ("Bob", {})):
        answer = json.loads(browser.get(f"/api/study?person={person}")[1])["pairs"]
        assert {pair["key"]: pair["real"] for pair in answer if pair["real"] is not None} == expected


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"person": "Ada", "pair": "0" * 16, "real": True}, 409),
        ({"person": "", "pair": "{key}", "real": True}, 409),
        ({"person": "Ada", "pair": "{key}", "real": "yes"}, 400),
        ({"person": "Ada", "pair": "{key}"}, 400),
        ({"person": 3, "pair": "{key}", "real": True}, 400),
    ],
)
def test_votes_that_are_none_are_refused(served, out, body, status):
    browser, study = served
    filled = {name: study.pairs[0].key if value == "{key}" else value for name, value in body.items()}
    found, content = browser.post("/api/vote", filled)
    assert (found, bool(json.loads(content)["message"])) == (status, True)
    assert not (out / VOTES_NAME).exists()


def test_a_picture_that_was_moved_is_told_of(pictures, tmp_path):
    gone = {"rainy": str(tmp_path / "gone.png")}
    write_result(
        tmp_path,
        {outcome: [result_row(pictures, outcome, 0) | gone] for outcome in (Outcome.KEPT, Outcome.DROPPED)},
    )
    server, study = open_study(tmp_path, 2, port=0)
    with server:
        status, content = Browser(server).get(f"/picture/{study.pairs[0].key}/rainy")
    assert status == 409
    assert "gone.png" not in content.decode(), "the name of a file may tell"
