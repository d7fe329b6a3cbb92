"""How large the rooms of the code are, and through how many files a wish goes before its work is done.

    python benchmarks/structure.py
    python benchmarks/structure.py --since 0bb854a

Prints two Markdown tables: Python lines and files by room (of a revision too with `--since`), and the files on the call
stack where a photograph meets the network, and where a training run reads a picture, sets the learning rate and runs
the network. The way from a candidate to a request of a server crosses threads, so no stack shows it; it is told in
docs/architecture.md.
"""

import argparse
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "derain"


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout


def sizes(revision: str) -> tuple[Counter[str], Counter[str]]:
    """Lines and files by room at a revision."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for name in git("ls-tree", "-r", "--name-only", revision, "src/derain").splitlines():
        if name.endswith(".py"):
            parts = Path(name).relative_to("src/derain").parts
            room = parts[0] if len(parts) > 1 else "(ground)"
            lines[room] += git("show", f"{revision}:{name}").count("\n")
            files[room] += 1
    return lines, files


def size_table(since: str | None) -> None:
    lines, files = sizes("HEAD")
    before, files_before = sizes(since) if since else (Counter(), Counter())
    print("| room | lines | files |" + (f" lines at {since} | files at {since} |" if since else ""))
    print("|---|---:|---:|" + ("---:|---:|" if since else ""))
    rows = [(room, lines[room], files[room], before[room], files_before[room]) for room in sorted(lines | before)]
    rows.append(("all", lines.total(), files.total(), before.total(), files_before.total()))
    for room, *counts in rows:
        print(f"| {room} | " + " | ".join(map(str, counts[: 4 if since else 2])) + " |")


def stack() -> list[str]:
    """Files of the package on the call stack, outermost first, each once."""
    paths = [Path(frame.filename) for frame in traceback.extract_stack()]
    return list(dict.fromkeys(path.relative_to(PACKAGE).as_posix() for path in paths if PACKAGE in path.parents))


def traced(arguments: list[str], leaves: dict[str, str]) -> dict[str, list[str]]:
    """Run a command; the files on the stack at the first call of each leaf, "module:name" by what it is called."""
    from derain.cli.main import app

    found: dict[str, list[str]] = {}

    def watch(wish: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            found.setdefault(wish, stack())
            return function(*args, **kwargs)

        return watched

    patches = []
    for wish, leaf in leaves.items():
        module, _, name = leaf.partition(":")
        owner: Any = __import__(module, fromlist=["_"])
        *classes, last = name.split(".")
        for part in classes:
            owner = getattr(owner, part)
        patches.append(mock.patch.object(owner, last, watch(wish, getattr(owner, last))))
    for patch in patches:
        patch.start()
    try:
        app(arguments)
    except SystemExit as end:
        if end.code not in (0, None):
            sys.exit(f"derain {' '.join(arguments)} failed")
    finally:
        for patch in patches:
            patch.stop()
    return found


def way_table() -> None:
    network = "derain.models.unirain_tiny:UniRainTiny._run"
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.csv"
        photos = sorted((ROOT / "examples" / "clean").rglob("*.jpg"))
        splits = ["val" if path.parent.name == "nrd" else "train" for path in photos]
        rows = [f"{path},day,{split},examples,{split}" for path, split in zip(photos, splits, strict=True)]
        index.write_text("\n".join(["path,light,split,source,scene", *rows]) + "\n")
        photo = str(ROOT / "examples" / "rainy" / "drs" / "chelsea.jpg")
        ways = traced(["restore", photo, "-o", f"{folder}/out"], {"restore: a photograph to the network": network})
        settings = [f"data.photos={index}", f"run={folder}/run", "steps=1", "data.workers=0", "batch_size=4"]
        options = [word for setting in [*settings, "validation.pictures_per_type=1"] for word in ("--set", setting)]
        ways |= traced(
            ["train", str(ROOT / "recipes" / "tiny.yaml"), *options],
            {
                "train: a picture of a batch is read": "derain.train.simulated:read_image",
                "train: the learning rate is set": "derain.train.loop:learning_rate",
                "train: a batch meets the network": network,
            },
        )
    print("| way | files | through |")
    print("|---|---:|---|")
    for wish, files in ways.items():
        print(f"| {wish} | {len(files)} | {', '.join(f'`{name}`' for name in files)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", help="a git revision to compare sizes with")
    arguments = parser.parse_args()
    size_table(arguments.since)
    print()
    way_table()


if __name__ == "__main__":
    main()
