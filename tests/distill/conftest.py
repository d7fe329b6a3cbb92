"""A real browser for the pages, pictures to show on them, and small models for runs."""

import os
import shutil
from pathlib import Path

import pytest
from pixel_models import PixelModels
from run_samples import write_pictures

CHROMIUM = os.environ.get("DERAIN_CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="module")
def chromium():
    """A browser without windows yet; tests that want one are skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium; name one in DERAIN_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def models(tmp_path: Path) -> PixelModels:
    """That note every question in a folder of the test."""
    (tmp_path / "log").mkdir()
    return PixelModels(tmp_path / "log")
