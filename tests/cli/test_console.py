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


def test_quiet_lines_come_ten_times_or_so(capsys):
    with FileProgress(100, quiet_lines=True) as progress:
        for index in range(100):
            progress.advance(f"{index}", "done")
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_in_a_terminal_there_is_a_bar_with_names_taken_literally(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console_module, "Console", lambda: Console(file=screen, force_terminal=True, width=120))
    with FileProgress(2) as progress:
        progress.within(1, 2)
        progress.advance("holiday[bold].jpg", "restored", 1.0)
        progress.advance("b.jpg", "restored", 1.0)
    assert "2/2" in screen.getvalue()
