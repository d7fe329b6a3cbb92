import os
import socket

import pytest

from derain.errors import DatasetError
from derain.infer.photos import find_photos


@pytest.fixture
def lock(monkeypatch):
    """Takes away the right to read a folder, also from root, whom permissions do not stop."""
    locked = set()
    listdir = os.listdir

    def guarded(place="."):
        if os.path.realpath(place) in locked:
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return listdir(place)

    monkeypatch.setattr(os, "listdir", guarded)
    monkeypatch.setattr(os, "access", lambda place, _: os.path.realpath(place) not in locked)
    return lambda folder: locked.add(os.path.realpath(folder))


def names(found):
    return [relative.as_posix() for _, relative in found.photos]


def test_a_photograph_named_twice_is_taken_once(photos):
    assert len(find_photos([photos, photos / "cat.png", f"{photos}/*.png"]).photos) == 3


def test_an_empty_path_is_refused_and_not_taken_for_this_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(DatasetError, match="an empty path was given"):
        find_photos([""])


def test_files_of_other_formats_are_left_out_by_name(photos):
    (photos / "notes.txt").write_text("rain")
    (photos / "trip" / "raw.dng").write_bytes(b"x")
    left_out = [photos / "notes.txt", photos / "trip" / "raw.dng"]
    for inputs in ([photos], [photos, photos / "trip"], [f"{photos}/**/*"]):
        found = find_photos(inputs)
        assert found.left_out == left_out
        assert len(found.photos) == 3


@pytest.mark.parametrize("pattern", ["", "/*", "/**/*.jpg", "/*/*", "/**"])
def test_a_folder_that_cannot_be_read_is_a_problem_and_the_rest_is_found(photos, lock, pattern):
    lock(photos / "trip" / "evening")
    found = find_photos([f"{photos}{pattern}"])
    assert "trip/coffee.jpg" in names(found)
    (problem,) = found.problems
    assert problem.path == photos / "trip" / "evening"
    assert "Permission denied" in problem.problem


def test_a_pattern_that_ends_above_a_folder_does_not_ask_for_it(photos, lock):
    lock(photos / "trip")
    assert not find_photos([f"{photos}/*.png"]).problems


def test_the_only_input_that_cannot_be_read_is_refused(photos, lock):
    lock(photos)
    with pytest.raises(DatasetError, match=r"photos: the folder cannot be read \(Permission denied\)"):
        find_photos([photos])


def test_linked_folders_are_followed_once_and_loops_end(photos, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    (photos / "cat.png").rename(album / "cat.png")
    (photos / "linked").symlink_to(album)
    (photos / "linked_again").symlink_to(album)
    (album / "back").symlink_to(photos)
    (photos / "trip" / "loop").symlink_to(".")
    (photos / "a_trip").symlink_to("trip")  # its files are found by the path without a link
    expected = ["linked/cat.png", "trip/coffee.jpg", "trip/evening/rocket.png"]
    for inputs in (photos, f"{photos}/**", f"{photos}/**/*.*g"):
        found = find_photos([inputs])
        assert names(found) == expected
        assert not found.problems


def test_results_behind_a_link_are_no_input(photos, tmp_path):
    out = tmp_path / "dry"
    out.mkdir()
    (out / "cat.png").write_bytes((photos / "cat.png").read_bytes())
    (photos / "results").symlink_to(out)
    assert len(find_photos([photos], outside=out).photos) == 3


def test_a_name_may_begin_with_a_tilde(photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "~cat.png").write_bytes((photos / "cat.png").read_bytes())
    assert [path.name for path, _ in find_photos(["~cat.png"]).photos] == ["~cat.png"]
    monkeypatch.setenv("HOME", str(photos))
    assert [path for path, _ in find_photos(["~/cat.png"]).photos] == [photos / "cat.png"]


def test_dangling_links_are_named(photos):
    (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    (photos / "album").symlink_to("/nowhere/album")
    for inputs in (photos, f"{photos}/**", f"{photos}/*"):
        found = find_photos([inputs])
        assert [entry.path.name for entry in found.problems] == ["album", "dangling.jpg"]
        assert "a link to nowhere.jpg, which is not there" in found.problems[1].problem
        assert len(found.photos) == 3


def test_only_regular_files_are_photographs(photos):
    os.mkfifo(photos / "pipe.jpg")
    os.mkfifo(photos / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(photos / "socket.png"))
    found = find_photos([photos])
    assert [entry.path.name for entry in found.problems] == ["pipe.jpg", "socket.png"]
    assert len(found.photos) == 3
    for path in (photos / "pipe.jpg", "/dev/null"):
        with pytest.raises(DatasetError, match="device, pipe or socket, not a regular file"):
            find_photos([path])
    beside = find_photos([photos / "cat.png", "/dev/null"])
    assert [entry.path.name for entry in beside.problems] == ["null"]
