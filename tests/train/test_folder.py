"""When a run may be gone on with: which settings may change, and that what may change is taken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from derain.errors import CheckpointError, DatasetError, TrainingError
from derain.train.folder import MAY_CHANGE
from derain.train.settings import TrainSettings
from references.runs import run_training

MakeSettings = Callable[..., TrainSettings]

BALANCED = {"method": "full", "every_steps": 1, "window": 2, "warmup": 1, "probe_crops": 1}


def test_every_setting_that_may_change_is_one() -> None:
    known = set(TrainSettings.model_fields)
    for name, field in TrainSettings.model_fields.items():
        known |= {f"{name}.{inner}" for inner in getattr(field.annotation, "model_fields", {})}
    assert known >= MAY_CHANGE


def test_resumed_run_takes_another_sharpness_of_its_reweighting_but_no_other_history(
    make_settings: MakeSettings,
) -> None:
    run_training(make_settings(steps=3, checkpoint_every_steps=1, reweighting=BALANCED))
    milder = {**BALANCED, "tau": 1.0, "forget": 0.5, "floor": 0.25, "warmup": 2}
    longer = make_settings(steps=4, checkpoint_every_steps=1, reweighting=milder)
    assert run_training(longer, resume=True).step == 4
    last = longer.run.joinpath("log.jsonl").read_text().splitlines()
    assert sum('"weights": {"drs": 0.25, "drd": 0.25, "nrs": 0.25, "nrd": 0.25}' in line for line in last[-4:]) == 1
    for key, value in (("window", 3), ("every_steps", 2), ("method", "no-tss")):
        changed = make_settings(steps=5, checkpoint_every_steps=1, reweighting={**milder, key: value})
        with pytest.raises((TrainingError, CheckpointError), match=rf"reweighting.{key} was .*, is {value!r}"):
            run_training(changed, resume=True)


def test_settings_that_do_not_fit_are_refused_before_the_data_is_looked_at(
    make_settings: MakeSettings, index: Path
) -> None:
    run_training(make_settings(steps=1))
    (index.with_name("clean") / "train-cat.png").write_text("no picture")
    with pytest.raises(TrainingError, match=r"cannot resume with other settings: seed was 0, is 3"):
        run_training(make_settings(steps=2, seed=3), resume=True)
    with pytest.raises(DatasetError, match=r"train-cat\.png"):
        run_training(make_settings(steps=2), resume=True)
