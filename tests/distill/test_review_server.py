"""The page of references: what it is asked and stores, on a real knowledge base; and whom the server answers."""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from run_samples import make_record

from derain.backends.interfaces import Identity
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import Entry, ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.review.reference_page import open_reference_review
from derain.distill.review.server import TOKEN_HEADER
from derain.errors import DistillError
from derain.imaging.io import Picture, write_picture


def entry(number: int, status: ReviewStatus = ReviewStatus.UNREVIEWED, rain_type: str = "drs") -> Entry:
    return Entry(f"{number:064x}", f"/photos/{number}.jpg", "street", rain_type, "day", status, "", 0.5, 640, 480)


class Shelf:
    """Photographs that are held in memory."""

    def __init__(self, entries: list[Entry]) -> None:
        self.by_digest = {each.digest: each for each in entries}
        self.stored: list[tuple[str, ReviewStatus, str]] = []

    def entries(self):
        return self.by_digest.values()

    def thumbnail(self, digest):
        return digest.encode()

    def get(self, digest):
        raise AssertionError(f"{digest}: pages of many photographs need no whole record")

    def set_statuses(self, statuses):
        self.stored.extend((digest, *each) for digest, each in statuses.items())

    def set_types(self, types):
        self.stored += types.items()


def thumbnail() -> bytes:
    buffer = BytesIO()
    Image.fromarray(skimage.data.coffee()[::8, ::8]).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "large <b>.png"
    write_picture(path, Picture(pixels=skimage.data.retina()[:, 200:1000].repeat(3, axis=1)))
    return path


@pytest.fixture
def base(tmp_path, photo) -> KnowledgeBase:
    identities = BaseIdentities(
        captioner=Identity("captioner", "1"),
        expander=None,
        keywords=Identity("keywords", "1"),
        text_encoder=Identity("text", "1"),
        visual_encoder=Identity("visual", "1"),
        text_dimensions=8,
        visual_dimensions=16,
    )
    base = KnowledgeBase.create(tmp_path / "base", identities)
    types = ["drs", "drd", "nrs", "nrd"]
    base.add([make_record(photo, number, rain_type=types[number % 4], thumbnail=thumbnail()) for number in range(9)])
    return base


class Browser:
    """Asks a server as its own page does, by default."""

    def __init__(self, server) -> None:
        self.port = server.port
        self.token = re.search(r'name="derain-token" content="([^"]+)"', self.get("/")[1].decode()).group(1)

    def get(self, path, **headers):
        return self.ask("GET", path, None, headers)

    def json(self, path):
        status, content, _ = self.get(path)
        assert status == 200, content
        return json.loads(content)

    def post(self, path, body, **headers):
        return self.ask("POST", path, json.dumps(body), {TOKEN_HEADER: self.token} | headers)

    def ask(self, method, path, body, headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.read(), response.headers


@pytest.fixture
def stored(base):
    """A browser at a knowledge base on disk."""
    with open_reference_review(base, port=0) as server:
        yield Browser(server)


@pytest.fixture
def shelf() -> Shelf:
    refused = replace(entry(9, ReviewStatus.FILTERED), reason="sharpness 0.1 below 0.3")
    return Shelf([*(entry(number) for number in range(9)), refused])


@pytest.fixture
def browser(shelf):
    """A browser at photographs in memory."""
    with open_reference_review(shelf, port=0) as server:
        yield Browser(server)


def test_a_click_is_in_the_knowledge_base_when_it_is_answered(stored, base):
    shown = stored.json("/api/references?status=unreviewed")
    assert (shown["total"], shown["statuses"]["unreviewed"], shown["statuses"]["rejected"]) == (9, 9, 0)
    digest = shown["entries"][3]["digest"]
    status, content, _ = stored.post(
        "/api/status", {"digest": digest, "status": "rejected", "reason": " shows no rain "}
    )
    assert status == 200, content
    assert json.loads(content)["before"]["status"] == "unreviewed"
    assert (base.get(digest).status, base.get(digest).reason) == (ReviewStatus.REJECTED, "shows no rain")
    stored.get("/")  # the page is loaded again
    again = stored.json("/api/references?status=rejected")
    assert [(each["digest"], each["reason"]) for each in again["entries"]] == [(digest, "shows no rain")]
    assert stored.json("/api/references?status=unreviewed")["total"] == 8


def test_a_type_by_hand_is_in_the_knowledge_base_with_its_light_when_it_is_answered(stored, base):
    digest = stored.json("/api/references?type=drs")["entries"][0]["digest"]
    status, content, _ = stored.post("/api/type?type=drs", {"digest": digest, "type": "nrd"})
    assert status == 200, content
    answer = json.loads(content)
    assert (answer["before"]["type"], answer["types"]) == ("drs", {"drd": 2, "drs": 2, "nrd": 3, "nrs": 2})
    assert answer["statuses"]["unreviewed"] == 2, "of those that the page shows, which are drs"
    assert (base.get(digest).type, base.get(digest).light) == ("nrd", "night")
    shown = next(each for each in stored.json("/api/references?type=nrd")["entries"] if each["digest"] == digest)
    assert (shown["type"], shown["light"]) == ("nrd", "night")
    base.remove([digest])
    status, content, _ = stored.post("/api/type", {"digest": digest, "type": "drd"})
    assert (status, "no photograph has the digest" in json.loads(content)["message"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"digest": "{digest}", "type": "unknown"}, 400),
        ({"digest": "{digest}", "type": ["drs"]}, 400),
        ({"digest": 7, "type": "drs"}, 400),
        ({"type": "drs"}, 400),
        ({"digest": "f" * 64, "type": "drs"}, 409),
        ({"digest": "{refused}", "type": "drs"}, 409),
    ],
)
def test_types_that_are_none_are_refused(browser, shelf, body, status):
    shelf.by_digest["r"] = replace(entry(20, ReviewStatus.FILTERED, ""), reason="too_small: 20 x 20")
    browser.get("/")
    marks = {"{digest}": entry(1).digest, "{refused}": entry(20).digest}
    body = {name: marks.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    found, content, _ = browser.post("/api/type", body)
    assert found == status
    assert ("too_small: 20 x 20" in json.loads(content)["message"]) == (body.get("digest") == entry(20).digest)
    assert shelf.stored == []


def test_photographs_that_others_add_are_seen_when_the_page_is_loaded_again(stored, base, photo):
    base.add([make_record(photo, 50, thumbnail=thumbnail())])
    stored.get("/")
    assert stored.json("/api/references")["total"] == 10


def test_thumbnails_and_reduced_pictures_are_served_by_digest(stored, base):
    digest = stored.json("/api/references")["entries"][0]["digest"]
    assert stored.get(f"/thumbnail/{digest}")[1] == base.get(digest).thumbnail
    with Image.open(BytesIO(stored.get(f"/picture/{digest}")[1])) as picture:
        assert max(picture.size) == 1600, "of 2400 pixels"
    assert stored.json(f"/api/record/{digest}")["keywords"] == ["street", "rain"]


def test_what_the_prefilter_refused_is_not_for_a_person_to_accept(browser):
    digest = browser.json("/api/references?status=filtered")["entries"][0]["digest"]
    status, content, _ = browser.post("/api/status", {"digest": digest, "status": "accepted"})
    assert status == 409
    message = json.loads(content)["message"]
    assert "sharpness 0.1 below 0.3" in message
    assert f"derain distill base remove {digest[:12]} " in message


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"digest": "f" * 64, "status": "accepted"}, 409),
        ({"digest": "x' OR '1'='1", "status": "accepted"}, 409),
        ({"digest": "{digest}", "status": "filtered"}, 400),
        ({"digest": "{digest}", "status": ["accepted"]}, 400),
        ({"digest": 7, "status": "accepted"}, 400),
        ({"digest": "{digest}", "status": "accepted", "reason": 7}, 400),
        ([], 400),
    ],
)
def test_clicks_that_are_none_are_refused(browser, shelf, body, status):
    digest = browser.json("/api/references")["entries"][0]["digest"]
    if isinstance(body, dict):
        body = {name: digest if value == "{digest}" else value for name, value in body.items()}
    assert browser.post("/api/status", body)[0] == status
    assert shelf.stored == []


@pytest.mark.parametrize(
    "headers",
    [
        {TOKEN_HEADER: "guessed"},
        {TOKEN_HEADER: ""},
        {TOKEN_HEADER: "ü"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
    ],
    ids=str,
)
def test_other_sites_change_nothing(browser, shelf, headers):
    digest = browser.json("/api/references")["entries"][0]["digest"]
    assert browser.post("/api/status", {"digest": digest, "status": "rejected"}, **headers)[0] == 403
    assert shelf.stored == []


@pytest.mark.parametrize("path", ["/", "/api/references", "/static/review.css"])
def test_a_foreign_host_header_is_answered_nothing(browser, path):
    status, content, _ = browser.get(path, Host=f"evil.example:{browser.port}")
    assert (status, browser.token.encode() in content) == (403, False)


def test_the_page_may_load_nothing_from_elsewhere_and_be_framed_by_no_one(browser):
    for path in ("/", "/static/references.js", "/api/references"):
        headers = browser.get(path)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    [
        "/thumbnail/..%2f..%2fetc",
        "/picture//etc/passwd",
        "/picture/large%20%3Cb%3E.png",
        "/static/../reference_page.py",
        "/static/reference_page.py",
        "/static/",
        "/static/nothing.js",
        "/api/record/" + "f" * 64,
        "/nothing",
    ],
)
def test_nothing_but_listed_photographs_is_served(browser, path):
    assert browser.get(path)[0] == 404


@pytest.mark.parametrize("query", ["status=none", "type=rain", "size=0", "size=501", "size=x", "size=%C2%B2"])
def test_questions_that_are_none_are_refused(browser, query):
    assert browser.get(f"/api/references?{query}")[0] == 400


def test_too_long_bodies_are_refused(browser):
    for length in (70_000, 3_000_000):
        assert browser.post("/api/status", {"digest": "0" * length})[0] == 413


def test_a_fault_of_ours_is_told_and_shown(browser, shelf, capfd):
    shelf.by_digest = None
    status, content, _ = browser.get("/")
    assert (status, json.loads(content)["message"]) == (500, "the server failed; its terminal shows where")
    assert "Traceback" in capfd.readouterr().err


def test_a_taken_port_and_other_hosts_are_named(shelf):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DistillError, match=f"port {port}: another program serves there.*--port"):
            open_reference_review(shelf, port=port)
    with pytest.raises(DistillError, match=r"knows no passwords.*ssh -L"):
        open_reference_review(shelf, "0.0.0.0")
    with pytest.raises(DistillError, match="port 70000"):
        open_reference_review(shelf, port=70000)


def test_a_browser_that_goes_away_leaves_no_trace(browser, capfd):
    with socket.create_connection(("127.0.0.1", browser.port)) as connection:
        connection.sendall(b"GET /static/references.js HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % browser.port)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert browser.get("/")[0] == 200
    time.sleep(0.1)
    assert capfd.readouterr() == ("", "")


def test_what_was_being_stored_is_stored_when_the_server_ends():
    shelf = Shelf([entry(1)])
    begun, allowed = threading.Event(), threading.Event()

    def slowly(statuses):
        begun.set()
        allowed.wait(10)
        shelf.stored.extend((digest, *each) for digest, each in statuses.items())

    shelf.set_statuses = slowly
    with open_reference_review(shelf, port=0) as server:
        click = threading.Thread(
            target=Browser(server).post, args=("/api/status", {"digest": entry(1).digest, "status": "accepted"})
        )
        click.start()
        begun.wait(10)
        threading.Timer(0.2, allowed.set).start()
    assert shelf.stored == [(entry(1).digest, ReviewStatus.ACCEPTED, "")]
    click.join()


def test_ctrl_c_ends_it_quietly(base):
    program = (
        "import sys; from derain.distill.knowledge.store import KnowledgeBase\n"
        "from derain.distill.review.reference_page import serve_references\n"
        "serve_references(KnowledgeBase.open(sys.argv[1]), port=0, on_ready=lambda url: print(url, flush=True))\n"
        "print('ended')"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, base.uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", running.stdout.readline())
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (0, "ended\n", "")
