"""When a run may be resumed: which settings may change, and that what may change is taken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from derain.errors import CheckpointError, DatasetError, TrainingError
from derain.settings import Settings, load_settings
from derain.train.folder import MAY_CHANGE, RunFolder
from derain.train.settings import TrainSettings
from references.runs import run_training

MakeSettings = Callable[..., TrainSettings]

BALANCED = {"method": "full", "every_steps": 1, "window": 2, "warmup": 1, "probe_crops": 1, "weight_momentum": 0.0}


def test_every_setting_that_may_change_is_one() -> None:
    assert keys_of(TrainSettings) >= MAY_CHANGE


def keys_of(settings: type[Settings], before: str = "") -> set[str]:
    """Names of all fields, of those within fields as `a.b`."""
    found = {before + name for name in settings.model_fields}
    for name, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            found |= keys_of(field.annotation, f"{before}{name}.")
    return found


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


def test_a_resumed_run_writes_down_what_it_goes_by_and_keeps_what_it_began_with(make_settings: MakeSettings) -> None:
    first = make_settings(steps=1)
    folder = RunFolder(first.run)
    run_training(first)
    began = folder.settings.read_text()
    run_training(first, resume=True)
    assert not folder.first_settings.exists(), "nothing changed"
    run_training(make_settings(steps=2), resume=True)
    assert load_settings(TrainSettings, folder.settings).steps == 2
    assert folder.first_settings.read_text() == began
    with pytest.raises(TrainingError, match="wanted a length beyond what is done"):
        run_training(make_settings(steps=1), resume=True)
    assert load_settings(TrainSettings, folder.settings).steps == 2, "refused settings are not written down"
    run_training(make_settings(steps=3, log_every_steps=3), resume=True)
    assert folder.first_settings.read_text() == began
    assert run_training(load_settings(TrainSettings, folder.settings), resume=True).step == 3
    with pytest.raises(TrainingError, match=rf"Give the old values, as `derain train {folder.settings} --resume` does"):
        run_training(make_settings(steps=4, seed=3), resume=True)


def test_what_a_run_began_with_counts_as_much_as_what_it_goes_by(make_settings: MakeSettings) -> None:
    run_training(make_settings(steps=1))
    run_training(make_settings(steps=2), resume=True)
    folder = RunFolder(make_settings().run)
    assert folder.changes(make_settings(steps=2), ()) == {"steps": (1, 2)}, "it was not this long from the start"
    assert folder.changes(make_settings(steps=1), ()) == {"steps": (2, 1)}
    assert folder.changes(make_settings(steps=1), {"steps"}) == {}
