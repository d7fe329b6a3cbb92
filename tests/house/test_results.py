"""Documents name the commands behind their tables: these exist, and what they print comes to stand below them."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from results import BLOCK, DOCUMENTS, ROOT, fill, printed

COMMANDS = sorted({match["command"] for path in DOCUMENTS for match in BLOCK.finditer(path.read_text())})
BENCHMARKS = {part.strip() for command in COMMANDS for part in command.split("&&") if "python " in part}
SAID = {
    line.removesuffix(" -->").rstrip(").,")
    for path in sorted(ROOT.joinpath("docs").rglob("*.md"))
    for line in re.findall(r"python (?:benchmarks|examples)/[^\n`<]*", re.sub(r"\\\n *", "", path.read_text()))
}


@pytest.mark.parametrize("command", sorted(BENCHMARKS | SAID))
def test_every_benchmark_that_documents_name_takes_the_options_that_they_give_it(command):
    _, script, *words = command.split()
    text = flat((ROOT / script).read_text())
    for word, following in pairwise([*words, "--"]):
        if word.startswith("--"):
            option = re.search(rf'add_argument\("{word}"[^\n]*', text)
            assert option, word
            assert ('action="store_true"' in option[0]) == following.startswith("--"), f"{word} {following}"


def test_every_block_is_filled():
    assert [m["command"] for path in DOCUMENTS for m in BLOCK.finditer(path.read_text()) if m[0].count("\n") == 1] == []


def test_every_mark_in_a_document_belongs_to_a_block():
    for path in DOCUMENTS:
        text = path.read_text()
        assert len(re.findall("<!-- (?:run:|end)", text)) == 2 * len(BLOCK.findall(text)), path


def flat(text):
    """Calls on one line, however they are broken."""
    return re.sub(r"\(\s+", "(", text)


def block(command, content):
    return f"<!-- run: {command} -->\n{content}<!-- end -->\n"


def test_a_block_is_filled_with_what_its_command_prints(tmp_path):
    say = "python -c \"import sys; print('[1/2] picture'); print('| a |   '); print(*sys.argv[1:])\" INDEX WORK/val"
    document, other = tmp_path / "a.md", tmp_path / "b.md"
    document.write_text(f"Before.\n\n{block(say, 'old')}Between.\n{block('python -c 1', 'kept')}")
    other.write_text(block(say, ""))
    fill([document, other], Path("/photos.csv"), Path("/here"), only="import sys")
    new = block(say, "\n| a |\n/photos.csv /here/val\n\n")
    assert document.read_text() == f"Before.\n\n{new}Between.\n{block('python -c 1', 'kept')}"
    assert other.read_text() == new


def test_what_is_filled_in_is_replaced_by_the_next_run(tmp_path):
    document = tmp_path / "a.md"
    document.write_text(block("python -c 'print(1)'", ""))
    fill([document], tmp_path, tmp_path)
    once = document.read_text()
    fill([document], tmp_path, tmp_path)
    assert document.read_text() == once == block("python -c 'print(1)'", "\n1\n\n")


def test_only_the_last_of_commands_in_a_row_is_shown(tmp_path):
    assert printed("python -c 'print(1)' && python -c 'print(2)'", tmp_path, tmp_path) == "2"


def test_a_command_that_fails_leaves_every_document_as_it_is(tmp_path):
    document = tmp_path / "a.md"
    before = block("python -c 'print(1)'", "old") + block("python -c 'raise SystemExit(3)'", "old")
    document.write_text(before)
    with pytest.raises(subprocess.CalledProcessError):
        fill([document], tmp_path, tmp_path)
    assert document.read_text() == before
