"""What a run writes to its log and prints, and what happens when something cannot be written."""

import json
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from derain.errors import TrainingError
from derain.objectives.reweight import Reweighting, ReweightSettings
from derain.train.folder import RunFolder
from derain.train.journal import Journal, Window, numbers_of
from derain.train.methods.method import Report, StepResult
from derain.train.validation import ValidationReport, ValidationRow
from references.disk import small_disk


def folder_at(path: Path) -> RunFolder:
    path.mkdir(exist_ok=True)
    return RunFolder(path)


def rows_of(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.log.read_text().splitlines()]


def window(loss: float = 0.1) -> Window:
    """Two steps of two crops: 0.3 s of work and 0.1 s of waiting each."""
    made = Window()
    for _ in range(2):
        losses = {"loss": [loss, 3 * loss], "loss.drs": [loss], "loss.snow": [3 * loss]}
        made.add(StepResult(2, losses, {"gradient_norm": 0.5}), 0.3, 0.1)
    return made


def log_steps(journal: Journal, first: int, last: int) -> None:
    for step in range(first, last + 1):
        journal.train(step, window(), 1e-3, step / 10, 60.0 * step, 90.0)


def test_window_averages_losses_and_gives_the_wait_as_share_and_as_seconds_a_step() -> None:
    numbers = window(0.1).numbers()
    assert numbers == pytest.approx(
        {
            "gradient_norm": 0.5,
            "loss": 0.2,
            "loss.drs": 0.1,
            "loss.snow": 0.3,
            "crops_per_s": 5.0,
            "data_wait": 0.25,
            "data_wait_s": 0.1,
        }
    )


def test_every_kind_of_line_is_logged_and_printed(tmp_path: Path) -> None:
    folder, output = folder_at(tmp_path / "run"), StringIO()
    reweighting = Reweighting(("drs", "snow"), ReweightSettings(method="full"))
    report = ValidationReport((ValidationRow("drs", 1, 20.0, 23.5, 0.6, 0.8, 0.1, 0.05),))
    with Journal(folder, 0, 10, Console(file=output, width=60), ()) as journal:
        log_steps(journal, 1, 1)
        tick = reweighting.tick({"drs": 0.1, "snow": 0.2})
        journal.report(1, Report("reweighting", tick.row()))
        log_steps(journal, 2, 2)
        journal.validation(2, report, is_best=True)
        journal.event(2, "a process that prepares data was started anew")
    rows = rows_of(folder)
    assert [row["kind"] for row in rows] == ["train", "reweighting", "train", "validation", "event"]
    assert rows[0] == {"kind": "train", "step": 1, "minutes": 1.0, "lr": 1e-3, **window().numbers()}
    assert rows[1] == {"kind": "reweighting", "step": 1, **tick.row()}
    assert rows[1]["weights"] == {"drs": 0.5, "snow": 0.5}
    assert (rows[3]["drs.psnr_out"], rows[3]["best"]) == (23.5, True)
    assert rows[4] == {"kind": "event", "step": 2, "text": "a process that prepares data was started anew"}
    before_tick, after_tick, judged, event = output.getvalue().splitlines()
    assert before_tick == (
        " 10.0 %  ETA 1 min 30 s  step 1/10  loss 0.20000  lr 1.00e-03  5.0 crops/s  data wait 100 ms a step (25 %)  "
        "loss by type: drs 0.1000  snow 0.3000"
    )
    assert after_tick.endswith("weights: drs 0.500  snow 0.500")
    assert judged.startswith("validation at step 2 (best): gain +3.50 dB  drs 20.00->23.50")
    assert event == "step 2: a process that prepares data was started anew"


def test_a_terminal_gets_the_bar_and_below_it_everything_on_lines_of_their_own(tmp_path: Path) -> None:
    output = StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None, legacy_windows=False)
    reweighting = Reweighting(("drs", "snow"), ReweightSettings(method="full"))
    with Journal(folder_at(tmp_path / "run"), 0, 10, console, ()) as journal:
        journal.report(1, Report("reweighting", reweighting.tick({"drs": 0.1, "snow": 0.2}).row()))
        log_steps(journal, 5, 5)
    shown = output.getvalue()
    assert "50.0 % ETA 1 min 30 s" in shown
    for line in ("step 5/10  loss 0.20000", "loss by type: drs 0.1000  snow 0.3000", "weights: drs 0.500  snow 0.500"):
        assert line in shown


def test_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "run")
    for first, last in ((0, 6), (3, 8)):
        with Journal(folder, first, 10, Console(file=StringIO()), ()) as journal:
            log_steps(journal, first + 1, last)
    assert [row["step"] for row in rows_of(folder)] == list(range(1, 9))


def test_resumed_run_shows_the_weights_of_the_last_tick_that_the_log_keeps(tmp_path: Path) -> None:
    folder, output = folder_at(tmp_path / "run"), StringIO()
    reweighting = Reweighting(("drs", "snow"), ReweightSettings(method="full", window=2, warmup=1))
    with Journal(folder, 0, 10, Console(file=StringIO()), ()) as journal:
        for step in range(1, 7):
            journal.report(step, Report("reweighting", reweighting.tick({"drs": 0.1 / step, "snow": 0.2}).row()))
            log_steps(journal, step, step)
    kept = next(row["weights"] for row in rows_of(folder) if row["kind"] == "reweighting" and row["step"] == 4)
    assert kept != rows_of(folder)[-2]["weights"]
    with Journal(folder, 4, 10, Console(file=output, width=200), ()) as journal:
        log_steps(journal, 5, 5)
    assert output.getvalue().rstrip().endswith(f"weights: drs {kept['drs']:.3f}  snow {kept['snow']:.3f}")


def tell_until_the_disk_is_full(folder: RunFolder, fill: Callable[[int], None]) -> None:
    """Two steps, and then two more on a disk that has 50 bytes left for the log. TensorBoard's files lie on it too."""
    with Journal(folder, 0, 10, Console(file=StringIO())) as journal:
        log_steps(journal, 1, 2)
        fill(folder.log.stat().st_size + 50)
        log_steps(journal, 3, 4)


def end_with_another_error_and_a_log_that_cannot_be_closed(folder: RunFolder, fill: Callable[[int], None]) -> None:
    with Journal(folder, 0, 10, Console(file=StringIO()), ()) as journal:
        fill(10)
        with pytest.raises(TrainingError, match="cannot be written"):
            journal.event(1, "x" * 100)
        raise ValueError("the loss is strange")


def test_full_disk_ends_the_run_with_what_and_where_and_it_can_go_on(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "run")
    full = pytest.raises(TrainingError, match=r"log\.jsonl: the run's log cannot be written .*--resume")
    with small_disk() as fill, full:
        tell_until_the_disk_is_full(folder, fill)
    with Journal(folder, 2, 10, Console(file=StringIO())) as journal:
        log_steps(journal, 3, 4)
    assert [row["step"] for row in rows_of(folder)] == [1, 2, 3, 4]


def test_the_error_that_ended_the_run_outlives_a_log_that_cannot_be_closed(tmp_path: Path) -> None:
    with small_disk() as fill, pytest.raises(ValueError, match="the loss is strange"):
        end_with_another_error_and_a_log_that_cannot_be_closed(folder_at(tmp_path / "run"), fill)


# The thread that writes TensorBoard's files ends with the error that it met.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_tensorboard_that_cannot_write_is_closed_with_an_event_and_the_run_continues(tmp_path: Path) -> None:
    folder, output, others = folder_at(tmp_path / "run"), StringIO(), threading.enumerate()
    with Journal(folder, 0, 10, Console(file=output)) as journal:
        log_steps(journal, 1, 1)
        (events,) = folder.tensorboard.iterdir()
        events.unlink()
        events.symlink_to("/dev/full")
        log_steps(journal, 2, 4)
    for thread in set(threading.enumerate()) - set(others):
        thread.join(timeout=30)
    rows = rows_of(folder)
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4]
    (event,) = [row for row in rows if row["kind"] == "event"]
    assert event["step"] == 2
    assert "tensorboard gets no more figures (OSError: [Errno 28] No space left on device" in event["text"]
    assert output.getvalue().count("tensorboard gets no more figures") == 1


def test_unwritable_folder_is_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "run")
    folder.log.mkdir()
    with pytest.raises(TrainingError, match=r"log\.jsonl: the run's log cannot be written"):
        Journal(folder, 0, 10, Console(file=StringIO()), ())
    folder.log.rmdir()
    folder.tensorboard.write_text("no folder")
    with pytest.raises(TrainingError, match="tensorboard: the run's logger cannot begin"):
        Journal(folder, 0, 10, Console(file=StringIO()))


def test_numbers_of_a_line_leave_out_what_is_none() -> None:
    row = {"losses": {"drs": 0.5, "nrd": None}, "af": None, "weights": {"drs": 1.0}, "lr": 0.25}
    assert numbers_of(row) == {"losses.drs": 0.5, "weights.drs": 1.0, "lr": 0.25}
