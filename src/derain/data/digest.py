"""A digest of the training data, so that weights can name what they were made from and a resumed run can check it."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal


def data_digest(rows: Iterable[tuple[str, Sequence[Path]]], root: Path, over: Literal["contents", "sizes"]) -> str:
    """A sha256 over labelled files in the order of their rows; the answer begins with what it was taken over.

    A row is a label (what decides how its files are used, such as a type or light) and its files. Order and labels
    count because samples are drawn by row number among the rows of a label. `contents`: path relative to `root` and
    sha256 of the content of each file, so that any changed byte shows. `sizes`: path and size in bytes only, for data
    too large to read.

    Raises:
        OSError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for label, files in rows:
        whole.update(f"{label}\n".encode())
        for file in files:
            if over == "contents":
                with file.open("rb") as content:
                    entry = hashlib.file_digest(content, "sha256").hexdigest()
            else:
                entry = str(file.stat().st_size)
            whole.update(f"{_name(file, root)}\0{entry}\n".encode())
    return f"sha256-{over}:{whole.hexdigest()}"


def list_digest(file: Path) -> str:
    """The digest of a manifest or index itself, for so many pictures that even their sizes take long to ask for.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as content:
        return f"sha256-manifest:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _name(file: Path, root: Path) -> str:
    file, root = file.resolve(), root.resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
