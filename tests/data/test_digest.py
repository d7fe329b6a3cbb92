"""The digest tells data sets apart, and does not depend on where they lie."""

from pathlib import Path

from derain.data.digest import data_digest

Rows = list[tuple[str, list[Path]]]


def make(folder: Path) -> Rows:
    folder.mkdir()
    for name, content in (("a.jpg", b"one"), ("b.jpg", b"two")):
        (folder / name).write_bytes(content)
    return [("day", [folder / "a.jpg"]), ("night", [folder / "b.jpg"])]


def test_place_does_not_matter(tmp_path: Path) -> None:
    here, there = make(tmp_path / "here"), make(tmp_path / "there")
    for over in ("contents", "sizes"):
        digest = data_digest(here, tmp_path / "here", over)
        assert digest.startswith(f"sha256-{over}:")
        assert digest == data_digest(there, tmp_path / "there", over)


def test_order_and_label_matter_for_they_decide_what_is_drawn(tmp_path: Path) -> None:
    rows = make(tmp_path / "photos")
    digest = data_digest(rows, tmp_path / "photos", "sizes")
    assert data_digest(rows[::-1], tmp_path / "photos", "sizes") != digest
    assert data_digest([("night", rows[0][1]), rows[1]], tmp_path / "photos", "sizes") != digest


def test_changed_byte_shows_in_contents_only_and_changed_name_in_both(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    rows = make(root)
    contents, sizes = data_digest(rows, root, "contents"), data_digest(rows, root, "sizes")
    rows[0][1][0].write_bytes(b"eno")
    assert data_digest(rows, root, "contents") != contents
    assert data_digest(rows, root, "sizes") == sizes
    renamed: Rows = [("day", [rows[0][1][0].rename(root / "c.jpg")]), rows[1]]
    assert data_digest(renamed, root, "sizes") != sizes
