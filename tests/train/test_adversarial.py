"""A method of a user's own, with two networks, two optimizers and unpaired pictures, through the same loop."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
import yaml
from PIL import Image
from rich.console import Console

from derain.data.pairs import Pair, write_manifest
from derain.errors import DatasetError, SettingsError, TrainingError
from derain.models.checkpoints import load_checkpoint
from derain.train.loop import Outcome, start_training
from derain.train.methods.registry import METHODS, method_named
from derain.train.settings import TrainSettings
from references import adversarial

SCRIPT = Path(adversarial.__file__)


@pytest.fixture(autouse=True)
def method_list() -> Iterator[None]:
    """The list of methods as it is, for importing the method above adds it."""
    METHODS["adversarial"] = adversarial.ADVERSARIAL
    yield
    del METHODS["adversarial"]


@pytest.fixture
def make_run(make_settings: Callable[..., TrainSettings], tmp_path: Path) -> Callable[..., TrainSettings]:
    """Rainy pictures without partners, clean photographs of other scenes, and pairs to validate on."""
    scenes = {"coffee": skimage.data.coffee(), "cat": skimage.data.chelsea(), "astronaut": skimage.data.astronaut()}
    pairs, photos = [], ["path,light,split,source,scene"]
    for name, pixels in scenes.items():
        clean = np.ascontiguousarray(pixels[::4, ::4])
        files = tmp_path / f"{name}-rainy.png", tmp_path / f"{name}-clean.png"
        Image.fromarray((0.6 * clean + 100).astype(np.uint8)).save(files[0])
        Image.fromarray(clean).save(files[1])
        if name == "astronaut":
            photos.append(f"{files[1].name},day,train,own,{name}")
        else:
            split = "val" if name == "cat" else "train"
            partner = files[1] if split == "val" else None
            pairs.append(Pair(name, files[0], partner, "drs", "own", split, name))
    write_manifest(tmp_path / "rainy.csv", pairs)
    (tmp_path / "clean.csv").write_text("\n".join(photos) + "\n")

    def make(folder: str, **changes: Any) -> TrainSettings:
        values: dict[str, Any] = {
            "model": {"name": "unet-tiny", "changes": {"widths": [8, 8, 8, 8], "encoder_blocks": [1, 1, 1, 1]}},
            "method": {"name": "adversarial"},
            "data": {
                "types": ["drs"],
                "manifests": [{"path": tmp_path / "rainy.csv"}],
                "photos": tmp_path / "clean.csv",
                "crop": 32,
                "crops_per_picture": 3,
                "workers": 0,
            },
            "steps": 12,
            "loggers": [],
        }
        return make_settings(folder, **{**values, **changes})

    return make


def run(settings: TrainSettings, resume: bool = False) -> Outcome:
    outcome = start_training(settings, method_named(settings.method.name), Console(quiet=True), resume).train()
    assert outcome.is_finished
    return outcome


def run_apart(settings: TrainSettings, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same by the command, in a process of its own."""
    file = settings.run.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return subprocess.run(
        [sys.executable, str(SCRIPT), "train", str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def rows(settings: TrainSettings, *names: str) -> list[tuple[float, ...]]:
    lines = map(json.loads, (settings.run / "log.jsonl").read_text().splitlines())
    return [tuple(row[name] for name in names) for row in lines if row["kind"] == "train"]


def state(settings: TrainSettings) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(settings.run / "checkpoints" / "last.pt", weights_only=True)
    return content


@pytest.mark.slow
def test_killed_run_resumes_to_the_bit(make_run: Callable[..., TrainSettings]) -> None:
    whole, killed = make_run("whole"), make_run("killed")
    run(whole)
    course = rows(whole, "critic")
    assert course[-1][0] < 0.7 * course[0][0], "the critic learns"
    done = run_apart(killed, KILL_AT_STEP="7")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert state(killed)["step"] == 4
    run(killed, resume=True)
    names = ("step", "lr", "loss", "content", "critic", "gradient_norm")
    assert rows(killed, *names) == rows(whole, *names)
    one, other = state(whole), state(killed)
    assert one["modules"].keys() == one["optimizers"].keys() == {"network", "critic"}
    assert one["method"] == other["method"]
    for name, weights in one["modules"].items():
        assert all(torch.equal(value, other["modules"][name][key]) for key, value in weights.items()), name
        moments, same = one["optimizers"][name]["state"], other["optimizers"][name]["state"]
        assert all(torch.equal(moments[p]["exp_avg_sq"], same[p]["exp_avg_sq"]) for p in moments), name
    network, _ = load_checkpoint(killed.run / "checkpoints" / "final.safetensors")
    assert all(torch.equal(value, one["modules"]["network"][key]) for key, value in network.state_dict().items())


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(make_run: Callable[..., TrainSettings]) -> None:
    changes = {"method": {"name": "adversarial", "options": {"noise": 0.0}}, "steps": 8}
    one, two = make_run("one", **changes), make_run("two", **changes, devices=2, device="cpu")
    run(one)
    done = run_apart(two)
    assert done.returncode == 0, done.stdout + done.stderr
    names = ("loss", "content", "critic")
    for ours, theirs in zip(rows(two, *names), rows(one, *names), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for name, weights in state(one)["modules"].items():
        for key, value in weights.items():
            torch.testing.assert_close(state(two)["modules"][name][key], value, rtol=1e-3, atol=1e-5)
    best = state(one)["method"]["best"]
    assert best.keys() == {"coffee-rainy.png"}
    assert state(two)["method"]["best"] == pytest.approx(best, rel=1e-3)


def test_a_method_that_has_nothing_more_to_learn_ends_the_run(make_run: Callable[..., TrainSettings]) -> None:
    settings = make_run("run", method={"name": "adversarial", "options": {"enough": 100.0}})
    assert run(settings).step == 1
    _, header = load_checkpoint(settings.run / "checkpoints" / "final.safetensors")
    assert header.step == 1
    assert run(settings, resume=True).step == 1
    assert len(rows(settings, "step")) == 1


def test_a_run_without_a_single_pair_is_judged_by_its_own_validation(
    make_run: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    manifest = tmp_path / "rainy.csv"
    manifest.write_text(manifest.read_text().replace("cat-clean.png", ""))
    with pytest.raises(DatasetError, match=r"cat.*has no clean partner"):
        run(make_run("pairs"))
    settings = make_run("own", method={"name": "adversarial", "options": {"validation": "darkness"}}, steps=2)
    run(settings)
    lines = map(json.loads, (settings.run / "log.jsonl").read_text().splitlines())
    judged = [row for row in lines if row["kind"] == "validation"]
    assert [(row["step"], row["best"]) for row in judged] == [(2, True)]
    _, header = load_checkpoint(settings.run / "checkpoints" / "best.safetensors")
    assert header.metrics == {"darkness": judged[0]["darkness"]}
    assert json.loads((settings.run / "data.json").read_text())["validation_digest"] is not None


def test_a_run_begins_with_all_networks_of_an_earlier_one(make_run: Callable[..., TrainSettings]) -> None:
    first = make_run("first", steps=4)
    run(first)
    start = {"name": "adversarial", "options": {"start": str(first.run / "checkpoints" / "last.pt")}}
    second = make_run("second", method=start, steps=1, optimizer={"lr": 1e-12, "lr_min": 1e-12})
    run(second)
    for name, weights in state(first)["modules"].items():
        for key, value in weights.items():
            torch.testing.assert_close(state(second)["modules"][name][key], value, rtol=0, atol=1e-8)


def test_options_are_written_down_whole_and_may_be_left_out_on_resuming(
    make_run: Callable[..., TrainSettings],
) -> None:
    settings = make_run("run", method={"name": "adversarial", "options": {"noise": 0.0}}, steps=1)
    run(settings)
    recorded = yaml.safe_load((settings.run / "settings.yaml").read_text())["method"]["options"]
    assert recorded.keys() == adversarial.AdversarialSettings.model_fields.keys()
    assert (recorded["noise"], recorded["content_weight"]) == (0.0, 1.0)
    written = settings.run / "settings.yaml"
    values = yaml.safe_load(written.read_text())
    del values["method"]["options"]["content_weight"]  # as an earlier version did not have it
    written.write_text(yaml.safe_dump(values))
    longer = {"steps": 2, "method": {"name": "adversarial", "options": {"noise": 0.0, "content_weight": 1.0}}}
    assert run(make_run("run", **longer), resume=True).step == 2
    other = {"steps": 3, "method": {"name": "adversarial"}}
    with pytest.raises(TrainingError, match=r"method\.options\.noise was 0\.0, is 0\.02"):
        run(make_run("run", **other), resume=True)


def test_method_and_its_options_are_checked_before_the_run(make_run: Callable[..., TrainSettings]) -> None:
    with pytest.raises(SettingsError, match=r"method.options: noise: no such setting; known here: none"):
        run(make_run("run", method={"options": {"noise": 0}}))
    with pytest.raises(SettingsError, match=r"method.name: no training method 'adverserial'; did you mean 'adversar"):
        run(make_run("run", method={"name": "adverserial"}))
    with pytest.raises(SettingsError, match=r"method.options: content: no such setting; did you mean 'content_weight'"):
        run(make_run("run", method={"name": "adversarial", "options": {"content": 2}}))
