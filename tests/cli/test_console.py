import io

from rich.console import Console

from derain.cli import console as console_module
from derain.cli.console import FileProgress


def test_outside_a_terminal_every_file_gets_a_line_with_the_time_left(capsys):
    with FileProgress(3) as progress:
        progress.advance("a.jpg", "restored", 1.5)
        progress.advance("b.jpg", "failed")
        progress.advance("c.jpg", "restored", 0.2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/3] a.jpg: restored in 1.5 s, about ")
    assert lines[1].startswith("[2/3] b.jpg: failed, about ")
    assert lines[2] == "[3/3] c.jpg: restored in 0.2 s"


def test_the_time_left_counts_work_to_do_and_not_what_was_there(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    with FileProgress(5, amount=100.0) as progress:  # the first two are there: no work of them is to do
        for name in ("a", "b"):
            now[0] += 30
            progress.advance(name, "skipped", amount=0, worked=False)
        now[0] += 2
        progress.advance("c", "restored", amount=10)
        now[0] += 18
        progress.advance("d", "restored", amount=80)
        progress.advance("e", "restored", amount=10)
    said = [line.partition(", about ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == ["", "", "18 s left", "2 s left", ""]


def test_warnings_stand_below_their_file(capsys):
    with FileProgress(2) as progress:
        progress.advance("a.jpg", "restored", warnings=["gain map not kept"])
        progress.advance("b.jpg", "restored")
    assert capsys.readouterr().out.splitlines()[1] == "  warning: gain map not kept"


def test_quiet_lines_come_ten_times_or_so(capsys):
    with FileProgress(100, quiet_lines=True) as progress:
        for index in range(100):
            progress.advance(f"{index}", "done")
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_in_a_terminal_there_is_a_bar_with_names_taken_literally(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console_module, "Console", lambda: Console(file=screen, force_terminal=True, width=120))
    with FileProgress(2) as progress:
        progress.within(0.5)
        progress.advance("holiday[bold].jpg", "restored", 1.0)
        progress.advance("b.jpg", "restored", 1.0)
    assert "2/2" in screen.getvalue()
