"""The log: whole lines only, cut back on resume, and a full disk that says so."""

import json
from pathlib import Path

import pytest

from derain.errors import TrainingError
from derain.train.log import LogFile, read_log
from references.disk import small_disk


def write_log(run: Path, *rows: dict[str, object], tail: str = "") -> Path:
    run.mkdir(exist_ok=True)
    path = run / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_opening_at_a_step_forgets_what_came_after_it_and_a_torn_line(tmp_path: Path) -> None:
    rows = [{"kind": "train", "step": step, "loss": 0.1 / step} for step in range(1, 6)]
    path = write_log(tmp_path / "run", *rows, tail='{"kind": "tra')
    log = LogFile(path, 3)
    assert log.last == {"train": rows[2]}
    log.write({"kind": "event", "step": 4, "text": "again"})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        *rows[:3],
        {"kind": "event", "step": 4, "text": "again"},
    ]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("line", ["not json", "[1, 2]", '{"kind": "train"}', '{"kind": "train", "step": "four"}'])
def test_a_line_that_is_none_of_a_log_is_named_and_nothing_is_lost(tmp_path: Path, line: str) -> None:
    path = write_log(tmp_path / "run", {"kind": "train", "step": 1}, tail=f'{line}\n{{"kind": "train", "step": 2}}\n')
    before = path.read_text()
    with pytest.raises(TrainingError, match=r"log\.jsonl, line 2: not a line of a run's log .* move the file away"):
        LogFile(path, 5)
    with pytest.raises(TrainingError, match=r"log\.jsonl, line 2"):
        read_log(path.parent)
    assert path.read_text() == before


def test_a_full_disk_is_an_error_with_the_file_the_space_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = LogFile(path, 0)
    with small_disk() as fill:
        fill(100)
        log.write({"kind": "event", "step": 1, "text": "short"})
        with pytest.raises(TrainingError, match=r"log\.jsonl: .* cannot be written \(.*MiB free there\).*--resume"):
            log.write({"kind": "event", "step": 2, "text": "x" * 100})
        with pytest.raises(TrainingError, match="cannot be written"):
            log.close()
    resumed = LogFile(path, 1)  # the cut line is forgotten
    resumed.write({"kind": "event", "step": 2, "text": "there is space again"})
    resumed.close()
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["short", "there is space again"]


def test_a_full_disk_when_a_log_is_cut_back_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    path = write_log(tmp_path / "run", *({"kind": "event", "step": step, "text": "x" * 50} for step in range(1, 9)))
    before = path.read_text()
    with small_disk() as fill:
        fill(200)
        with pytest.raises(TrainingError, match="cannot be written"):
            LogFile(path, 8)
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]


def test_reading_sorts_by_kind_and_passes_over_a_line_that_is_being_written(tmp_path: Path) -> None:
    run = tmp_path / "a"
    train, event = {"kind": "train", "step": 1, "loss": 0.1}, {"kind": "event", "step": 1, "text": "hm"}
    tick = {"kind": "reweighting", "step": 1, "weights": {"drs": 1.0}}
    write_log(run, train, event, tick, tail='{"kind": "validation", "st')
    log = read_log(run)
    assert (log.name, log.train, log.validation, log.reweighting) == ("a", (train,), (), (tick,))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="absent: no such folder"):
        read_log(tmp_path / "absent")
    with pytest.raises(TrainingError, match=r"no log\.jsonl in it"):
        read_log(tmp_path)
