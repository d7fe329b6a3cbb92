"""Whole runs: they learn, are written down, stop by a signal or are killed, and resume as if they had not stopped."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
import yaml
from PIL import Image
from torch import Tensor

from derain.data.paired import Batch
from derain.data.pairs import Pair, write_manifest
from derain.errors import CheckpointError, SettingsError, TrainingError
from derain.models.checkpoints import load_checkpoint, read_header
from derain.settings import load_settings
from derain.train.loop import Outcome
from derain.train.methods.supervised import RestorationLoss
from derain.train.schedule import learning_rate
from derain.train.settings import LossSettings, TrainSettings
from references.runs import Scaled, StopAfter, run_training

MakeSettings = Callable[..., TrainSettings]
TESTS = Path(__file__).parents[1]


def rows(settings: TrainSettings, kind: str = "train") -> list[dict[str, Any]]:
    lines = (settings.run / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def losses(settings: TrainSettings) -> dict[int, float]:
    found = [(row["step"], row["loss"]) for row in rows(settings)]
    assert len(dict(found)) == len(found), "a step is logged twice"
    return dict(found)


def weights_equal(first: Path, second: Path) -> bool:
    one, other = load_checkpoint(first)[0].state_dict(), load_checkpoint(second)[0].state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


class SixSecondsAStep:
    """A loss that is its own clock: whatever the machine does meanwhile, a step takes six seconds."""

    def __init__(self, now_s: float) -> None:
        self.loss = RestorationLoss(LossSettings())
        self.now_s = now_s

    def __call__(self, restored: Tensor, batch: Batch) -> dict[str, Tensor]:
        self.now_s += 6
        return self.loss(restored, batch)

    def clock(self) -> float:
        return self.now_s


KILLED_AT_STEP_6 = """
import signal, sys
from pathlib import Path
from derain.settings import load_settings
from derain.train.settings import TrainSettings
sys.path.append(sys.argv[2])
from references.runs import StopAfter, run_training

run_training(load_settings(TrainSettings, Path(sys.argv[1])), criterion=StopAfter(6, signal.SIGKILL))
"""


def test_run_writes_down_everything_and_its_weights_restore(make_settings: MakeSettings) -> None:
    settings = make_settings()
    printed = StringIO()
    outcome = run_training(settings, output=printed)
    assert outcome.is_finished
    assert outcome.step == 8
    assert load_settings(TrainSettings, settings.run / "settings.yaml") == settings
    environment = json.loads((settings.run / "environment.json").read_text())
    assert environment["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    digest = json.loads((settings.run / "data.json").read_text())["digest"]
    train, validation = rows(settings), rows(settings, "validation")
    assert [row["step"] for row in train] == list(range(1, 9))
    assert [row["step"] for row in validation] == [4, 8]
    assert {"loss", "loss.drs", "lr", "crops_per_s", "data_wait", "gradient_norm", "minutes"} <= train[0].keys()
    assert list((settings.run / "tensorboard").glob("events.*"))
    assert "step 8/8" in printed.getvalue()
    assert "ETA" in printed.getvalue()
    best = max(validation, key=lambda row: row["score_db"])
    network, header = load_checkpoint(outcome.folder.best)
    assert (header.model, header.step, header.data_digest) == ("tiny", best["step"], digest)
    assert header.metrics["gain_db"] == best["gain_db"]
    assert read_header(outcome.folder.final).step == 8
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert network(image).shape == image.shape
    assert not list(settings.run.rglob("*.part"))


def test_run_learns_from_a_manifest_alone(make_settings: MakeSettings, tmp_path: Path) -> None:
    clean = np.ascontiguousarray(skimage.data.coffee()[::4, ::4])
    pairs = []
    for split in ("train", "val"):
        files = tmp_path / f"{split}-rainy.png", tmp_path / f"{split}-clean.png"
        Image.fromarray((0.5 * clean + 110).astype(np.uint8)).save(files[0])
        Image.fromarray(clean).save(files[1])
        pairs.append(Pair(split, *files, "haze", "own", split, "coffee"))
    write_manifest(tmp_path / "manifest.csv", pairs)
    data = {"types": ["haze"], "manifests": [{"path": tmp_path / "manifest.csv"}], "crop": 32, "workers": 0}
    settings = make_settings(
        steps=60,
        data=data,
        optimizer={"lr": 5e-3, "ema_decay": 0.9},
        validation={"every_steps": 60, "pictures_per_type": 1, "side": 48},
    )
    run_training(settings)
    course = list(losses(settings).values())
    assert sum(course[-5:]) < 0.7 * sum(course[:5])
    assert rows(settings, "validation")[-1]["gain_db"] > 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_stopped_by_a_signal_resumes_exactly(make_settings: MakeSettings, number: signal.Signals) -> None:
    whole, parted = make_settings("whole"), make_settings("parted")
    run_training(whole)
    before = signal.getsignal(number)
    stopped = run_training(parted, criterion=StopAfter(3, number))
    assert (stopped.is_finished, stopped.signal_number, stopped.step) == (False, number, 3)
    assert signal.getsignal(number) is before
    resumed = run_training(parted, resume=True)
    assert resumed.is_finished
    assert losses(parted) == losses(whole)
    assert weights_equal(resumed.folder.final, whole.run / "checkpoints" / "final.safetensors")
    assert [row["gain_db"] for row in rows(parted, "validation")] == [
        row["gain_db"] for row in rows(whole, "validation")
    ]


def test_killed_run_loses_only_the_steps_since_its_last_state(make_settings: MakeSettings, tmp_path: Path) -> None:
    whole, killed = make_settings("whole", steps=16), make_settings("killed", steps=16)
    run_training(whole)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(killed.model_dump(mode="json")))
    log = killed.run / "log.jsonl"
    with (tmp_path / "said.txt").open("w") as said:
        command = [sys.executable, "-c", KILLED_AT_STEP_6, str(tmp_path / "settings.yaml"), str(TESTS)]
        done = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
    assert rows(killed)[-1]["step"] == 5
    (killed.run / "checkpoints" / ".last.pt.1.part").write_bytes(b"half a state")
    with log.open("a") as file:
        file.write('{"kind": "train", "st')
    assert torch.load(killed.run / "checkpoints" / "last.pt", weights_only=True)["step"] == 4
    run_training(killed, resume=True)
    assert losses(killed) == losses(whole)
    assert weights_equal(
        killed.run / "checkpoints" / "final.safetensors", whole.run / "checkpoints" / "final.safetensors"
    )


def test_loss_that_is_not_a_number_ends_the_run_and_keeps_the_last_state(make_settings: MakeSettings) -> None:
    settings = make_settings()
    with pytest.raises(TrainingError, match=r"step 7: the loss is nan .*last.pt.*lower optimizer.lr"):
        run_training(settings, criterion=Scaled(7, float("nan")))
    state = torch.load(settings.run / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in state["modules"]["network"].values())
    assert run_training(settings, resume=True).is_finished


def test_used_folder_is_refused_without_resume_and_an_unused_one_with_it(make_settings: MakeSettings) -> None:
    settings = make_settings(steps=2)
    with pytest.raises(TrainingError, match=r"no such folder: check `run`, or leave --resume out$"):
        run_training(settings, resume=True)
    settings.run.mkdir()
    (settings.run / "holiday.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"no run to resume, settings.yaml is missing; check `run`") as caught:
        run_training(settings, resume=True)
    assert "empty" not in str(caught.value)
    (settings.run / "holiday.txt").unlink()
    run_training(settings)
    with pytest.raises(TrainingError, match=r"wanted a new or empty folder .* --resume"):
        run_training(settings)


def test_changed_settings_are_refused_unless_harmless(make_settings: MakeSettings) -> None:
    run_training(make_settings(steps=2))
    with pytest.raises(TrainingError, match=r"optimizer.lr was 0.002, is 0.1; seed was 0, is 3"):
        run_training(make_settings(steps=2, optimizer={"lr": 0.1, "warmup_steps": 2}, seed=3), resume=True)
    longer = make_settings(steps=3, checkpoint_every_steps=1, log_every_steps=2)
    assert run_training(longer, resume=True).step == 3


def test_length_may_change_but_not_to_less_than_is_done(make_settings: MakeSettings) -> None:
    run_training(make_settings(steps=12), criterion=StopAfter(6, signal.SIGINT))
    with pytest.raises(TrainingError, match=r"beyond what is done, 6 steps in .* got steps=5; give a greater length"):
        run_training(make_settings(steps=5), resume=True)
    with pytest.raises(TrainingError, match=r"6 steps in .* got steps=6;"):  # done so far, but not as a whole run is
        run_training(make_settings(steps=6), resume=True)
    with pytest.raises(TrainingError, match=r"got steps=12 and max_minutes=1e-09;"):
        run_training(make_settings(steps=12, max_minutes=1e-9), resume=True)
    shorter = make_settings(steps=8)
    assert run_training(shorter, resume=True).is_finished
    assert rows(shorter)[-1]["lr"] == learning_rate(7, 7 / 8, shorter.optimizer)
    assert run_training(shorter, resume=True).step == 8  # a finished run may be asked again


@pytest.mark.parametrize(("split", "name"), [("train", "training"), ("val", "validation")])
def test_changed_data_is_refused(make_settings: MakeSettings, index: Path, split: str, name: str) -> None:
    settings = make_settings(steps=2)
    run_training(settings)
    photo = index.parent / "clean" / f"{split}-coffee.png"
    photo.write_bytes((index.parent / "clean" / f"{split}-astronaut.png").read_bytes())
    with pytest.raises(TrainingError, match=f"the {name} data is not what the run was started with"):
        run_training(settings, resume=True)


def test_run_that_recorded_no_validation_data_can_go_on(make_settings: MakeSettings) -> None:
    settings = make_settings(steps=2)
    run_training(settings)
    data = json.loads((settings.run / "data.json").read_text())
    assert data.pop("validation_digest") != data["digest"]
    (settings.run / "data.json").write_text(json.dumps(data))
    assert run_training(settings, resume=True).is_finished
    (settings.run / "data.json").write_text("[")
    with pytest.raises(TrainingError, match=r"data.json: cannot be read"):
        run_training(settings, resume=True)


def test_folder_that_cannot_be_written_is_one_clear_error(make_settings: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"file/run: wanted a folder that the run can be written to, got: Not a"):
        run_training(make_settings("file/run"))
    settings = make_settings(steps=2)
    run_training(settings)
    (settings.run / "log.jsonl").unlink()
    (settings.run / "log.jsonl").mkdir()
    with pytest.raises(TrainingError, match=r"log.jsonl: the run's log cannot be written \(Is a directory"):
        run_training(settings, resume=True)


def test_device_that_is_not_there_is_one_clear_error(make_settings: MakeSettings) -> None:
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(SettingsError, match=f"device: wanted '{absent}', which this machine does not have"):
        run_training(make_settings(device=absent))


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "pickle"])
def test_damaged_state_is_one_clear_error(make_settings: MakeSettings, damage: str) -> None:
    settings = make_settings(steps=2)
    run_training(settings)
    state = settings.run / "checkpoints" / "last.pt"
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, state)
    else:
        torch.save({"format": Outcome}, state)
    with pytest.raises(CheckpointError, match=r"last.pt: (cannot be read as a training state|wanted a training state)"):
        run_training(settings, resume=True)


def test_time_limit_ends_the_run_with_the_learning_rate_down(make_settings: MakeSettings) -> None:
    settings = make_settings(steps=100_000, max_minutes=1, optimizer={"lr": 2e-3})
    stopped = run_training(
        settings.model_copy(update={"steps": 3}), criterion=(first := SixSecondsAStep(50.0)), clock=first.clock
    )
    assert stopped.is_finished
    second = SixSecondsAStep(7000.0)  # the clock of another start of the machine
    outcome = run_training(settings, resume=True, criterion=second, clock=second.clock)
    assert (outcome.is_finished, outcome.step) == (True, 10)
    train = rows(settings)
    assert [row["minutes"] for row in train] == pytest.approx([step / 10 for step in range(1, 11)])
    assert [row["lr"] for row in train[3:]] == [
        pytest.approx(learning_rate(step, step / 10, settings.optimizer)) for step in range(3, 10)
    ]


def test_run_can_begin_with_the_weights_of_another(make_settings: MakeSettings) -> None:
    first = run_training(make_settings("first", steps=4))
    model = {**make_settings().model.model_dump(), "initial_weights": first.folder.final}
    still = make_settings("second", steps=1, model=model, optimizer={"lr": 1e-12, "lr_min": 0.0})
    second = run_training(still)
    one, other = (load_checkpoint(folder.final)[0].state_dict() for folder in (first.folder, second.folder))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-6)
    with pytest.raises(CheckpointError, match=r"wanted weights of which 50 % or more .* can be taken"):
        run_training(make_settings("third", model={"name": "tiny", "initial_weights": first.folder.final}))


def test_bf16_run_keeps_float32_weights(make_settings: MakeSettings) -> None:
    settings = make_settings(steps=3, precision="bf16-mixed")
    outcome = run_training(settings)
    state = torch.load(outcome.folder.state, weights_only=True)
    assert {value.dtype for value in state["modules"]["network"].values() if value.is_floating_point()} == {
        torch.float32
    }


def test_loss_names_its_terms_per_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 32, 32, generator=generator)
    rainy = clean.clone()
    rainy[0, :, :8] = 1.0
    batch = Batch(rainy, clean, torch.tensor([0.25, 0.0]), ("drs", "clean"))

    def terms(**settings: Any) -> dict[str, Tensor]:
        return RestorationLoss(LossSettings(**settings))(batch.rainy, batch)

    plain, weighted = terms(rain_share=0.0)["pixel"], terms(rain_share=0.5)["pixel"]
    assert plain.shape == weighted.shape == (2,)
    assert float(weighted[0]) > 1.5 * float(plain[0])
    assert float(weighted[1]) == float(plain[1]) == 0
    assert terms(pixel="charbonnier", rain_share=0.0)["pixel"].shape == (2,)
    both = terms(frequency_weight=0.1)
    assert both.keys() == {"pixel", "frequency"}
