"""The one atomic write: whole or absent, nothing left behind."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from derain.files import atomic_write, write_bytes, write_text


def test_the_new_content_replaces_the_old_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old\r\n")
    write_text(target, "new ü\n", durable=True)
    assert target.read_bytes() == "new ü\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_keeps_the_old_content_and_removes_the_part(tmp_path):
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")

    def fail_half_way():
        with atomic_write(target) as part:
            part.write_bytes(b"half")
            assert part.parent == target.parent
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_block_that_wrote_nothing_is_an_error_and_keeps_the_old(tmp_path):
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")
    with pytest.raises(FileNotFoundError), atomic_write(target):
        pass
    assert target.read_bytes() == b"old"


def test_writers_at_once_never_mix(tmp_path):
    target = tmp_path / "a.bin"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_bytes(target, content), contents * 4))
    assert target.read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_names_near_the_limit_of_the_file_system_are_written(tmp_path):
    target = tmp_path / ("n" * 251 + ".txt")
    write_text(target, "x")
    assert target.read_text() == "x"
