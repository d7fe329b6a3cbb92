"""What the documents promise: links that lead somewhere, no gaps, and an example that treats photographs well."""

import re
import subprocess
import sys
from pathlib import Path

import skimage.data
from PIL import Image, ImageCms

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")])


def relative_links(text: str) -> list[str]:
    """Targets of links and pictures, without those to the web and to headings of the same file."""
    return [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]


def placeholders(text: str) -> list[str]:
    return re.findall(r"@[A-Z_]+@", text)


def test_the_rules_see_a_breach():
    text = "![a](b.jpg) [c](d/e.md#f) [g](https://example.org) [h](#i) @TABLE@ someone@example.org"
    assert relative_links(text) == ["b.jpg", "d/e.md"]
    assert placeholders(text) == ["@TABLE@"]


def test_every_relative_link_leads_somewhere():
    links = [(path, link) for path in DOCUMENTS for link in relative_links(path.read_text())]
    assert [(path, link) for path, link in links if not (path.parent / link).exists()] == []


def test_every_document_is_filled_in():
    assert {path: found for path in DOCUMENTS if (found := placeholders(path.read_text()))} == {}


def test_the_readmes_example_keeps_a_phones_photograph_upright_with_its_profile(tmp_path):
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its side
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lying = Image.fromarray(skimage.data.chelsea()[:64, :96].copy()).transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "rainy.jpg", exif=exif, icc_profile=icc, quality=95)
    subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, check=True, timeout=120)
    with Image.open(tmp_path / "dry.jpg") as dry:
        assert (lying.size, dry.size) == ((64, 96), (96, 64))
        assert dry.getexif().get(274, 1) == 1
        assert dry.info["icc_profile"] == icc
        assert max(dry.quantization[0]) < 30, "written with a quality worth having"
