"""The report in a real browser: it fits, prints and reads."""

import re

import pytest
from run_samples import result_row, write_result, write_run
from test_review_browser import until

from derain.distill.judges.builtin import REASONS
from derain.distill.judges.interface import Outcome
from derain.distill.report.page import write_report


@pytest.mark.parametrize(("width", "scheme"), [(1366, "light"), (390, "dark")])
def test_the_report_fits_the_window(chromium, pictures, tmp_path, width, scheme):
    write_run(tmp_path, pictures, kept=6, dropped=6, refused=2)
    path = write_report(tmp_path)
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    until(page, "[...document.images].every(image => image.naturalWidth > 0)")
    page.check("#by-outcome")
    assert page.locator(".for-outcome").is_visible()
    assert not page.locator(".for-source").is_visible()
    colours = page.eval_on_selector_all("#map circle", "all => [...new Set(all.map(c => getComputedStyle(c).fill))]")
    assert len(colours) == 2
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    context.close()


ROOMS = "[...document.images].map(image => [image.offsetTop, image.offsetWidth, image.offsetHeight])"


def report_window(chromium, path, **context):
    page = chromium.new_context(viewport={"width": 1280, "height": 800}, **context).new_page()
    page.set_default_timeout(20_000)
    page.goto(path.as_uri())
    return page


def test_a_capture_or_print_of_the_whole_report_has_every_picture(chromium, pictures, tmp_path):
    write_run(tmp_path, pictures, kept=12, dropped=12)
    path = write_report(tmp_path)
    page = report_window(chromium, path)
    assert page.evaluate("document.images.length") > 24
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)"), "unscrolled"
    rooms = page.evaluate(ROOMS)
    page.context.close()
    bare = tmp_path / "bare.html"  # as before its pictures are decoded
    bare.write_text(re.sub(r'src="data:[^"]*"', "", path.read_text("utf-8")))
    page = report_window(chromium, bare)
    page.add_style_tag(content="img { overflow: clip }")
    assert page.evaluate(ROOMS) == rooms
    page.context.close()


def test_votes_take_one_line_each_and_nothing_of_the_own_judges_is_cut(chromium, pictures, tmp_path):
    names = ["builtin:rain-layer", "builtin:typicality", "builtin:pairing"]
    reasons = [*REASONS.values(), "looks_real", "typical_of_references", "pair_is_sound", "background_is_sound"]
    rows = []
    for number, reason in enumerate(reasons):
        row = result_row(pictures, Outcome.DROPPED, number)
        for verdict, name in zip(row["verdicts"], names, strict=True):
            verdict |= {"judge": name, "reason": reason, "score": -17.37, "decision": "drop"}
        rows.append(row)
    foreign = result_row(pictures, Outcome.DROPPED, 99)
    foreign["verdicts"][0] |= {"judge": "openai:a-model-with-a-very-long-name-72b-instruct", "score": None}
    write_result(tmp_path, {Outcome.DROPPED: [*rows, foreign]})
    page = report_window(chromium, write_report(tmp_path))
    assert page.locator(".votes li").count() == 3 * len(rows) + 3
    heights = page.eval_on_selector_all(".votes li", "all => all.map(each => each.offsetHeight)")
    assert max(heights) < 30
    cut = page.eval_on_selector_all(
        ".votes li > *",
        "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText)",
    )
    assert set(cut) == {"a-model-with-a-very-long-name-72b-instruct"}
    assert "_" not in page.inner_text(".votes")
    assert page.locator(".votes [title='openai:a-model-with-a-very-long-name-72b-instruct']").count() == 1
    page.context.close()
