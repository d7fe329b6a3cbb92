"""Run the commands that docs/results.md and the model card name, and put what they print below them.

    python benchmarks/results.py photographs/index.csv [--only simulator]

A document marks each place with the command between `<!-- run: COMMAND -->` and `<!-- end -->`; INDEX stands for the
index given here and WORK for a folder of the run. What lies between the marks is replaced; a command that fails leaves
every document as it is. The machine must be otherwise idle, for some of the figures are times.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "docs" / "results.md", ROOT / "src" / "derain" / "weights" / "tiny.md")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="CSV of clean photographs: path, light, split, source, scene")
    parser.add_argument("--only", default="", help="run only the commands that contain this text")
    arguments = parser.parse_args()
    texts = {document: document.read_text(encoding="utf-8") for document in DOCUMENTS}
    commands = dict.fromkeys(m["command"] for text in texts.values() for m in BLOCK.finditer(text))
    outputs: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        for command in commands:
            if arguments.only in command:
                print(command, flush=True)
                outputs[command] = printed(command, arguments.index.resolve(), Path(work))

    def filled(match: re.Match[str]) -> str:
        output = outputs.get(match["command"])
        return match[0] if output is None else f"{match[1]}\n{output}\n\n{match[3]}"

    for document, text in texts.items():
        document.write_text(BLOCK.sub(filled, text), encoding="utf-8")


if __name__ == "__main__":
    main()
