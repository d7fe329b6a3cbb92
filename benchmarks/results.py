"""Run the commands that the documents name, and put what they print below them.

    python benchmarks/results.py photographs/index.csv [--only simulator] [--work FOLDER]

A document marks each place with the command between `<!-- run: COMMAND -->` and `<!-- end -->`; INDEX stands for the
index given here and WORK for a folder of the run, which `--work` keeps. What lies between the marks is replaced; a
command that fails leaves every document as it is. The machine must be otherwise idle, for some figures are times.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "reweighting.md",
    ROOT / "docs" / "scale.md",
    ROOT / "src" / "derain" / "weights" / "tiny.md",
)
BLOCK = re.compile(r"(<!-- run: (?P<command>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
CHATTER = ("[", "a row per picture", "Before/after pictures")


def printed(command: str, index: Path, work: Path) -> str:
    """What the last of the commands joined by && prints, without its progress lines."""
    output = ""
    for part in command.split("&&"):
        words = [word.replace("INDEX", str(index)).replace("WORK", str(work)) for word in shlex.split(part)]
        program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "derain"]
        run = subprocess.run([*program, *words[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        output = run.stdout
    lines = [line.rstrip() for line in output.splitlines() if not line.startswith(CHATTER)]
    return "\n".join(lines).strip()


def fill(documents: Sequence[Path], index: Path, work: Path, only: str = "") -> None:
    """Run every command of the documents that contains `only`, each once, and write all documents at the end.

    Raises:
        CalledProcessError: a command failed; no document was written.
    """
    texts = {document: document.read_text(encoding="utf-8") for document in documents}
    commands = dict.fromkeys(m["command"] for text in texts.values() for m in BLOCK.finditer(text))
    outputs: dict[str, str] = {}
    for command in commands:
        if only in command:
            print(command, flush=True)
            outputs[command] = printed(command, index, work)

    def filled(match: re.Match[str]) -> str:
        output = outputs.get(match["command"])
        return match[0] if output is None else f"{match[1]}\n{output}\n\n{match[3]}"

    for document, text in texts.items():
        document.write_text(BLOCK.sub(filled, text), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="CSV of photographs: path, role, type, light, split, source, scene")
    parser.add_argument("--only", default="", help="run only the commands that contain this text")
    parser.add_argument("--work", type=Path, help="folder for what commands make, instead of one that goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        fill(DOCUMENTS, arguments.index.resolve(), work.resolve(), arguments.only)


if __name__ == "__main__":
    main()
