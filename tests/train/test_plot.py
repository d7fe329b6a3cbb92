"""Plots of runs: what is drawn from which lines, what is left out, and that the pictures show something."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derain.errors import TrainingError
from derain.objectives.reweight import Reweighting, ReweightSettings
from derain.train.log import read_log
from derain.train.plot import (
    CLEAN_STYLE,
    STYLES,
    course,
    draw,
    gain_db,
    mean_psnr,
    relative_l1,
    smoothed,
    types_of,
    worst_psnr,
)

TYPES = ("drs", "drd", "nrs", "nrd")


def write_run(run: Path, types: tuple[str, ...] = TYPES, validated: bool = True, reweighted: bool = True) -> Path:
    """A run's log: losses that fall at different speeds, and weights that the real reweighting makes of them."""
    reweighting = Reweighting(types, ReweightSettings(method="full"))
    rows: list[dict[str, object]] = []
    for step in range(10, 410, 10):
        losses = {name: 0.1 * math.exp(-step / (200 * (i + 1))) for i, name in enumerate(types)}
        mean = sum(losses.values()) / len(types)
        by_type = {f"loss.{name}": loss for name, loss in losses.items()}
        rows.append({"kind": "train", "step": step, "loss": mean, **by_type, "loss.clean": 0.01, "lr": 1e-3})
        if reweighted:
            rows.append({"kind": "reweighting", "step": step, **reweighting.tick(losses).row()})
        if validated and step % 100 == 0:
            psnr = {f"{name}.psnr_in": 20.0 + i for i, name in enumerate(types)}
            psnr |= {f"{name}.psnr_out": 20.0 + i + step / (100 * (i + 1)) for i, name in enumerate(types)}
            l1 = {f"{name}.l1_in": 0.1 for name in types} | {f"{name}.l1_out": 10 / (100 + step) for name in types}
            rows.append({"kind": "validation", "step": step, "gain_db": 1.0, "clean.psnr_out": 39.0, **psnr, **l1})
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def colours_in(path: Path) -> set[str]:
    """Colours of at least 40 pixels, as #RRGGBB."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02X}{:02X}{:02X}".format(*value) for value in values[counts >= 40]}


def test_one_run_gets_a_picture_of_each_kind_with_every_type_in_its_colour(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    drawn = draw([run], tmp_path / "plots")
    names = ["loss.png", "psnr_gain.png", "validation_loss.png", "weights.png", "relative_loss.png"]
    assert [path.relative_to(tmp_path / "plots").as_posix() for path in drawn.written] == names
    assert drawn.left_out == ()
    for path in drawn.written:
        wanted = {"#0072B2", "#D55E00", "#009E73", "#CC79A7"}
        if path.name == "validation_loss.png":  # all four lie on one line, the last above the others
            wanted = {"#CC79A7"}
        assert wanted <= colours_in(path), path.name


def test_what_the_log_has_nothing_for_is_left_out_and_named(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "plain", validated=False, reweighted=False)
    drawn = draw([plain], tmp_path / "plots")
    assert [path.name for path in drawn.written] == ["loss.png"]
    assert drawn.left_out == (
        "psnr_gain.png: no validation yet",
        "validation_loss.png: no validation with L1 yet",
        "weights.png: no reweighting in the log",
        "relative_loss.png: no reweighting in the log",
    )
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["loss.png"]


def test_several_runs_stand_side_by_side_and_are_compared(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a" / "run"),
        write_run(tmp_path / "b" / "run", reweighted=False),  # of the same name
        write_run(tmp_path / "other", types=("snow", "haze", "drs")),
        write_run(tmp_path / "fourth"),
    ]
    drawn = draw(runs, tmp_path / "plots")
    assert [path.name for path in drawn.written][-1] == "runs.png"
    assert len(drawn.written) == 6
    one = draw(runs[:1], tmp_path / "one")
    with Image.open(one.written[0]) as narrow, Image.open(drawn.written[0]) as wide:
        assert wide.width > 1.5 * narrow.width
        assert wide.height > 1.5 * narrow.height  # the fourth begins another line
    assert {"#0072B2", "#D55E00", "#009E73", "#CC79A7"} <= colours_in(drawn.written[-1])


def test_losses_of_exactly_zero_are_drawn_on_a_plain_scale(tmp_path: Path) -> None:
    zeros = tmp_path / "zeros"
    zeros.mkdir()
    rows = [{"kind": "train", "step": step, "loss": 0.0, "loss.drs": 0.0} for step in range(1, 9)]
    (zeros / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "#0072B2" in colours_in(draw([zeros], tmp_path / "alone").written[0])
    beside = draw([zeros, write_run(tmp_path / "run", validated=False, reweighted=False)], tmp_path / "beside")
    assert {"#0072B2", "#CC79A7"} <= colours_in(beside.written[0])


def test_runs_are_drawn_again_over_their_former_pictures(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first = draw([run], tmp_path / "plots").written[0].read_bytes()
    log = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(log[: len(log) // 2]))
    assert draw([run], tmp_path / "plots").written[0].read_bytes() != first


def test_nothing_to_draw_and_nowhere_to_draw_to_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="absent: no such folder"):
        draw([tmp_path / "absent"], tmp_path / "plots")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "log.jsonl").write_text("")
    with pytest.raises(TrainingError, match="nothing to draw yet"):
        draw([empty], tmp_path / "plots")
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(TrainingError, match=r"cannot be written .* name another folder by -o"):
        draw([write_run(tmp_path / "run")], tmp_path / "plots")


def test_types_come_in_their_order_and_clean_is_none(tmp_path: Path) -> None:
    log = read_log(write_run(tmp_path / "run", types=("snow", "nrd", "haze", "drs")))
    assert types_of([log]) == ["drs", "nrd", "haze", "snow"]


def test_figures_of_a_validation() -> None:
    row = {"step": 1, "drs.psnr_in": 20.0, "drs.psnr_out": 23.5, "nrd.psnr_in": 25.0, "nrd.psnr_out": 24.5}
    row |= {"drs.l1_in": 0.2, "drs.l1_out": 0.05}
    assert gain_db("drs", row) == 3.5
    assert gain_db("nrd", row) == -0.5
    assert gain_db("nrs", row) is None
    assert relative_l1("drs", row) == 0.25
    assert relative_l1("nrd", row) is None
    assert worst_psnr(("drs", "nrd", "nrs"), row) == 23.5
    assert mean_psnr(("drs", "nrd", "nrs"), row) == 24.0
    assert worst_psnr(("nrs",), row) is mean_psnr(("nrs",), row) is None


def test_course_passes_over_what_is_no_finite_number() -> None:
    rows = [{"step": 1, "af": None}, {"step": 2, "af": 0.5}, {"step": 3, "af": math.nan}, {"step": 4}]
    assert course(rows, lambda row: row.get("af")) == ([2], [0.5])


def test_smoothing_keeps_a_straight_line_and_its_ends_and_calms_noise() -> None:
    line = [0.1 * i for i in range(100)]
    assert smoothed(line) == pytest.approx(line)
    noise = [(-1.0) ** i for i in range(101)]
    calmed = smoothed(noise)
    assert calmed[0] == noise[0]
    assert max(abs(value) for value in calmed[3:-3]) <= 1 / 7 + 1e-12
    assert smoothed([]) == []


def test_clean_pictures_and_types_are_distinguished_without_colour() -> None:
    assert CLEAN_STYLE not in STYLES
    assert len({*STYLES, CLEAN_STYLE}) == len(TYPES) + 1
