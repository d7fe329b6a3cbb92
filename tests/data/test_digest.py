"""The digest tells data sets apart, and does not depend on where they lie or in which order they are listed."""

from pathlib import Path

from derain.data.digest import data_digest


def make(folder: Path) -> list[Path]:
    folder.mkdir()
    for name, content in (("a.jpg", b"one"), ("b.jpg", b"two")):
        (folder / name).write_bytes(content)
    return [folder / "a.jpg", folder / "b.jpg"]


def test_place_and_order_do_not_matter(tmp_path: Path) -> None:
    here, there = make(tmp_path / "here"), make(tmp_path / "there")
    for over in ("contents", "sizes"):
        digest = data_digest(here, tmp_path / "here", over)
        assert digest.startswith(f"sha256-{over}:")
        assert digest == data_digest(there[::-1], tmp_path / "there", over)


def test_changed_byte_shows_in_contents_only_and_changed_name_in_both(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    files = make(root)
    contents, sizes = data_digest(files, root, "contents"), data_digest(files, root, "sizes")
    files[0].write_bytes(b"eno")
    assert data_digest(files, root, "contents") != contents
    assert data_digest(files, root, "sizes") == sizes
    renamed = [files[0].rename(root / "c.jpg"), files[1]]
    assert data_digest(renamed, root, "sizes") != sizes
