"""The pages in a real browser: keys and clicks, reloads, a whole study, and nothing on the page that tells."""

import time
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import skimage.data
from PIL import Image
from run_samples import make_record, write_run

from derain.backends.interfaces import Identity
from derain.distill.judges.interface import Outcome
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.review.agreement import VOTE, agreement
from derain.distill.review.reference_page import open_reference_review
from derain.distill.review.study import open_study, order_for
from derain.distill.review.votes import read_votes


@pytest.fixture
def page(chromium):
    """A fresh window that fails the test when a script fails or the page is refused something."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.set_default_timeout(20_000)
    yield page
    context.close()
    # What a browser notes of a server that has ended, or refuses a click with a message, is meant.
    assert [fault for fault in faults if not any(meant in fault for meant in ("net::ERR", "409 (Conflict)"))] == []


@pytest.fixture
def base(tmp_path, pictures) -> KnowledgeBase:
    one = Identity("model", "1")
    base = KnowledgeBase.create(tmp_path / "base", BaseIdentities(one, None, one, one, one, 8, 16))
    buffer = BytesIO()
    Image.fromarray(skimage.data.coffee()[::6, ::6]).save(buffer, "JPEG")
    markup = "<img src=x onerror=alert(1)>"
    base.add(
        [
            make_record(
                pictures.good[0],
                number,
                rain_type="nrs" if number % 7 == 0 else "drs",
                thumbnail=buffer.getvalue(),
                source=markup if number == 3 else "street",
            )
            for number in range(70)
        ]
    )
    return base


def until(page, expression, argument=None):
    """Wait until a script's value is true. The pages forbid themselves `eval`, which Playwright's own waiting uses."""
    patience = time.monotonic() + 20
    while not page.evaluate(expression, argument):
        assert time.monotonic() < patience, f"{expression} has not come true"
        page.wait_for_timeout(20)


def digests(page):
    return page.eval_on_selector_all("#grid figure", "cards => cards.map(card => card.dataset.digest)")


def status_count(page, status):
    return page.locator(f"#statuses [data-status={status}] b").inner_text()


def expect_count(page, status, count):
    until(
        page,
        "([status, count]) => document.querySelector(`#statuses [data-status=${status}] b`)?.textContent"
        " === String(count)",
        [status, count],
    )


def test_references_are_sorted_by_keys_and_clicks_and_survive_a_reload(page, base):
    with open_reference_review(base, port=0) as server:
        page.goto(server.url)
        expect_count(page, "unreviewed", 70)
        assert len(digests(page)) == 60
        first, second, third = digests(page)[:3]
        assert page.locator("#reason").input_value() == "rejected by hand", "says nothing that is not so"
        page.keyboard.press("a")
        page.keyboard.press("r")
        expect_count(page, "rejected", 1)
        assert base.get(first).status is ReviewStatus.ACCEPTED
        assert (base.get(second).status, base.get(second).reason) == (ReviewStatus.REJECTED, "rejected by hand")
        assert page.locator("figure.selected").get_attribute("data-digest") == third

        page.reload()
        expect_count(page, "unreviewed", 68)
        assert digests(page)[0] == third
        assert status_count(page, "accepted") == "1"

        page.keyboard.press("u")  # what was done before the reload
        expect_count(page, "rejected", 0)
        assert base.get(second).status is ReviewStatus.UNREVIEWED
        page.keyboard.press("u")
        expect_count(page, "accepted", 0)
        page.keyboard.press("u")
        page.get_by_text("There is nothing to undo.").wait_for()

        page.locator("#statuses [data-status=unreviewed]").click()
        until(page, f"document.querySelector('#grid figure').dataset.digest === '{first}'")
        shown = digests(page)
        page.locator("#grid figure").nth(4).click()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        page.select_option("#reason", "has text or frames on it")
        page.locator("#reject").click()
        expect_count(page, "rejected", 1)
        assert base.get(shown[4]).reason == "has text or frames on it"

        page.locator("#accept").click()  # a click goes on to the next as a key does
        expect_count(page, "accepted", 1)
        page.locator("#undo").click()
        expect_count(page, "accepted", 0)
        assert base.get(shown[5]).status is ReviewStatus.UNREVIEWED

        page.keyboard.press("n")
        until(page, "document.querySelectorAll('#grid figure').length === 10")
        assert page.locator("#where").inner_text() == "60 to 69 of 69"  # one has left the filter, none is passed over
        assert not set(digests(page)) & set(shown)
        page.reload()
        until(page, "document.querySelectorAll('#grid figure').length === 10")
        page.keyboard.press("p")
        until(page, "document.querySelectorAll('#grid figure').length === 60")

        page.select_option("#type", "nrs")
        night = base.count(type="nrs", status=ReviewStatus.UNREVIEWED)
        assert 0 < night < 60
        until(page, "count => document.querySelectorAll('#grid figure').length === count", night)
        page.keyboard.press("Enter")
        until(page, "document.getElementById('large').naturalWidth === 256")
        page.get_by_text("a street in the rain · street, rain").wait_for()
        page.keyboard.press("Escape")
        assert page.locator("#grid img[src=x]").count() == 0, "names are text, never markup"


REASON = "near_duplicate: 0 of 64 bits from " + "5f" * 32 + ", wanted more than 4"


@pytest.fixture
def mixed_base(base, pictures) -> KnowledgeBase:
    """Seventy photographs as in `base`, and two of no type and one of a type that were filtered out."""
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "#204060").save(buffer, "JPEG")
    nothing = {
        "text": np.empty(0, np.float32),
        "visual": np.empty(0, np.float32),
        "luminance": np.empty((0, 0), np.uint8),
    }
    refused = [
        make_record(pictures.good[0], number, ReviewStatus.FILTERED, thumbnail=buffer.getvalue()) for number in (90, 91)
    ]
    base.add([replace(each, type="", light="", reason=REASON, **nothing) for each in refused])
    low = make_record(pictures.good[0], 92, ReviewStatus.FILTERED, "nrs", buffer.getvalue())
    base.add([replace(low, reason="low_for_type: score 0.78, wanted 0.82 or more among nrs")])
    return base


def options(page):
    return page.eval_on_selector_all("#type option", "all => all.map(option => [option.value, option.text])")


def test_types_are_filtered_and_counted_within_a_status(page, mixed_base):
    with open_reference_review(mixed_base, port=0) as server:
        page.goto(server.url)
        expect_count(page, "filtered", 3)
        assert page.locator("#type").input_value() == ""
        assert options(page) == [["", "all (70)"], ["drs", "drs (60)"], ["nrs", "nrs (10)"], ["unknown", "unknown (0)"]]
        page.locator("#statuses [data-status=filtered]").click()
        until(page, "document.querySelectorAll('#grid figure').length === 3")
        assert options(page) == [["", "all (3)"], ["drs", "drs (0)"], ["nrs", "nrs (1)"], ["unknown", "unknown (2)"]]
        page.select_option("#type", "unknown")
        until(page, "document.querySelectorAll('#grid figure').length === 2")
        assert page.locator("#type").input_value() == "unknown"
        assert status_count(page, "unreviewed") == "0"
        page.reload()
        until(page, "document.querySelectorAll('#grid figure').length === 2")
        assert page.locator("#type").input_value() == "unknown"


def test_what_was_filtered_can_be_looked_at_and_its_reason_read(page, mixed_base):
    with open_reference_review(mixed_base, port=0) as server:
        page.goto(server.url + "#type=unknown&status=filtered")
        until(page, "document.querySelectorAll('#grid figure').length === 2")
        until(page, "[...document.querySelectorAll('#grid img')].every(image => image.naturalWidth > 0)")
        card = page.locator("#grid figure").first
        assert card.locator(".reason").inner_text() == REASON.replace("5f" * 32, "5f" * 6 + "…")
        parts = "#grid figcaption, #grid figcaption span"
        assert page.eval_on_selector_all(parts, "all => all.filter(part => part.scrollWidth > part.clientWidth)") == []
        for wanted in (REASON, "filtered", "type unknown"):
            assert wanted in card.get_attribute("title")
        faded = page.eval_on_selector_all(
            "#grid figure, #grid img", "all => all.map(each => getComputedStyle(each)).filter(each => each.opacity < 1)"
        )
        assert faded == []
        with Image.open(BytesIO(card.locator("img").screenshot())) as seen:
            middle = seen.convert("RGB").getpixel((seen.width // 2, seen.height // 2))
        assert np.abs(np.subtract(middle, (0x20, 0x40, 0x60))).max() <= 6
        page.keyboard.press("Enter")
        until(page, "document.getElementById('large').naturalWidth > 0")
        assert page.locator("#status").inner_text() == f"filtered: {REASON}"
        assert page.locator("#kind").inner_text() == "type unknown · street · 256×192 · quality 0.5"
        dialog, large = page.locator("#look").bounding_box(), page.locator("#large").bounding_box()
        assert dialog["width"] > large["width"] + 100, "there is room beside it"
        assert dialog["x"] + dialog["width"] / 2 == pytest.approx(large["x"] + large["width"] / 2, abs=1)
        page.keyboard.press("1")
        page.get_by_text("before it was given a type").wait_for()
        assert not page.locator("#look").is_visible(), "it would hide the message"


def test_a_wrong_type_is_corrected_by_a_key_a_click_and_while_looking(page, base):
    with open_reference_review(base, port=0) as server:
        page.goto(server.url + "#type=nrs&status=unreviewed")
        until(page, "document.querySelectorAll('#grid figure').length === 10")
        assert page.locator("#retype").inner_text().split() == ["1", "drs", "2", "drd", "3", "nrs", "4", "nrd"]
        first, second = digests(page)[:2]
        page.keyboard.press("4")
        page.keyboard.press("3")
        page.keyboard.press("4")
        until(page, "JSON.parse(sessionStorage.getItem('derain-changes'))?.length === 3")
        assert "nrd · street" in page.locator("#grid figcaption").first.inner_text()
        assert ["nrd", "nrd (1)"] in options(page)
        assert (base.get(first).type, base.get(first).light) == ("nrd", "night")
        assert page.locator("figure.selected").get_attribute("data-digest") == first, "it may yet be accepted"
        for _ in range(3):
            page.keyboard.press("u")
        until(page, "sessionStorage.getItem('derain-changes') === '[]'")
        assert base.get(first).type == "nrs"

        page.keyboard.press("ArrowRight")
        page.locator("#retype [data-type=drd]").click()
        until(page, "document.querySelectorAll('#grid figcaption')[1].textContent.includes('drd')")
        assert (base.get(second).type, base.get(second).light) == ("drd", "day")
        page.keyboard.press("Enter")
        page.keyboard.press("1")
        until(page, "document.getElementById('kind').textContent.startsWith('drs')")
        assert page.locator("#look").is_visible()
        assert base.get(second).type == "drs"
        page.keyboard.press("a")
        expect_count(page, "accepted", 0)  # of the type that is shown
        until(page, "document.querySelectorAll('#grid figure')[1].dataset.status === 'accepted'")
        assert (base.get(second).type, base.get(second).status) == ("drs", ReviewStatus.ACCEPTED)


def test_a_study_is_voted_through_blindly(page, pictures, tmp_path):
    write_run(tmp_path, pictures, kept=8, dropped=8)
    server, study = open_study(tmp_path, 6, port=0)
    order = order_for(study, "Ada")
    secrets = [text for row in study.pairs for text in (row.id, row.rainy.name, row.source, row.reason, row.caption)]
    with server:
        page.goto(server.url)
        page.fill("#name", " Ada ")
        page.keyboard.press("Enter")
        for place, row in enumerate(order):
            page.get_by_text(f"pair {place + 1} of 6").wait_for()
            until(page, "[...document.querySelectorAll('#pair img')].every(image => image.naturalWidth > 0)")
            assert page.locator("#pair img").count() == 2
            html = page.content().lower()
            assert not [secret for secret in secrets if secret.lower() in html]
            assert not [word for word in ("kept", "dropped", "verdict", "outcome", "score") if word in html]
            if place == 0:
                page.keyboard.press("r")
                until(
                    page,
                    "document.querySelectorAll('#references img').length === 3 &&"
                    " [...document.querySelectorAll('#references img')].every(image => image.naturalWidth > 0)",
                )
                page.keyboard.press("n")
            elif place == 3:
                page.reload()  # and goes on where it was
                page.get_by_text("pair 4 of 6").wait_for()
                page.locator("#yes" if row.outcome is Outcome.KEPT else "#no").click()
            else:
                page.keyboard.press("y" if row.outcome is Outcome.KEPT else "n")
        page.get_by_text("All 6 votes of Ada are stored.").wait_for()
        first = agreement(tmp_path).table(VOTE, "Ada")
        wrong = order[0].outcome is Outcome.KEPT
        assert (first.rated, first.agreed) == (6, 5 if wrong else 6)

        page.locator("#again").click()  # a changed mind
        page.get_by_text("pair 1 of 6").wait_for()
        assert page.locator("#no").get_attribute("aria-pressed") == "true"
        page.keyboard.press("y")
        page.get_by_text("pair 2 of 6").wait_for()
        changed = agreement(tmp_path).table(VOTE, "Ada")
        assert (changed.rated, changed.agreed) == (6, 6 if wrong else 5)
    assert (tmp_path / "votes.jsonl").read_text().count("\n") == 7


def vote_through(page, study, name, wants):
    """Give a name, and vote on every pair by key; `wants` says of a pair's outcome whether its rain is called real."""
    page.fill("#name", name)
    page.keyboard.press("Enter")
    for place, row in enumerate(order_for(study, name)):
        page.get_by_text(f"pair {place + 1} of 6, {place} voted, {name}").wait_for()
        page.keyboard.press("y" if wants(row.outcome) else "n")
    page.get_by_text(f"All 6 votes of {name} are stored.").wait_for()


def test_two_persons_vote_one_after_the_other_in_one_browser(page, pictures, tmp_path):
    write_run(tmp_path, pictures, kept=8, dropped=8)
    server, study = open_study(tmp_path, 6, port=0)
    with server:
        page.goto(server.url)
        vote_through(page, study, "Ada", lambda outcome: outcome is Outcome.KEPT)
        page.locator("#done .another").click()
        assert page.locator("#welcome").is_visible()
        assert not page.locator("#done").is_visible()
        assert page.locator("#name").input_value() == ""
        assert page.evaluate("document.activeElement.id") == "name"
        page.reload()
        page.locator("#welcome").wait_for()  # the name is forgotten, not only hidden
        vote_through(page, study, "Bela", lambda outcome: outcome is not Outcome.KEPT)

        page.locator("#again").click()
        page.get_by_text("pair 1 of 6, 6 voted, Bela").wait_for()
        page.locator("#voting .another").click()
        assert page.locator("#welcome").is_visible()
        assert not page.locator("#voting").is_visible()
        page.keyboard.type("Ada")  # and what was hers is hers again
        page.keyboard.press("Enter")
        page.get_by_text("All 6 votes of Ada are stored.").wait_for()
    table = agreement(tmp_path)
    assert (table.table(VOTE, "Ada").rated, table.table(VOTE, "Ada").agreed) == (6, 6)
    assert (table.table(VOTE, "Bela").rated, table.table(VOTE, "Bela").agreed) == (6, 0)
    assert (tmp_path / "votes.jsonl").read_text().count("\n") == 12


def test_a_vote_on_its_way_stays_with_who_gave_it(page, pictures, tmp_path):
    write_run(tmp_path, pictures, kept=8, dropped=8)
    server, _ = open_study(tmp_path, 6, port=0)
    with server:
        page.goto(server.url)
        page.fill("#name", "Ada")
        page.keyboard.press("Enter")
        page.get_by_text("pair 1 of 6").wait_for()
        # All in one go: the second vote and the leave wait for the answer to the first.
        page.evaluate(
            "all => all.forEach(chosen => document.querySelector(chosen).click())", ["#yes", "#voting .another", "#no"]
        )
        page.locator("#welcome").wait_for()
        page.fill("#name", "Bela")
        page.keyboard.press("Enter")
        page.get_by_text("pair 1 of 6, 0 voted, Bela").wait_for()
    votes = read_votes(tmp_path / "votes.jsonl").latest
    assert [(person, line.real) for (person, _), line in votes.items()] == [("Ada", False)]
    assert (tmp_path / "votes.jsonl").read_text().count("\n") == 2


def test_a_server_that_ended_is_told_of(page, base):
    with open_reference_review(base, port=0) as server:
        page.goto(server.url)
        expect_count(page, "unreviewed", 70)
    page.keyboard.press("a")
    page.get_by_text("The server does not answer").wait_for()
    assert base.count(status=ReviewStatus.ACCEPTED) == 0
