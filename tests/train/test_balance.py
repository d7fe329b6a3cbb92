"""Reweighting in a run: the probe watches, samples are weighted, and a stopped run resumes with the same weights."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from derain.errors import DatasetError, TrainingError
from derain.objectives.losses import l1
from derain.objectives.reweight import ReweightSettings
from derain.settings import load_settings
from derain.train.accelerator import Accelerator
from derain.train.balance import Balance
from derain.train.devices import build_fabric
from derain.train.methods.supervised import RestorationLoss
from derain.train.probe import fixed_probe
from derain.train.process_group import ProcessGroup
from derain.train.settings import TrainSettings
from references.runs import StopAfter, run_training

MakeSettings = Callable[..., TrainSettings]
RECIPES = Path(__file__).parents[2] / "recipes"
QUICK = {"method": "full", "every_steps": 1, "window": 3, "warmup": 2, "probe_crops": 2}
TYPES = ("drs", "drd", "nrs", "nrd")


def ticks(settings: TrainSettings) -> list[dict[str, Any]]:
    rows = map(json.loads, (settings.run / "log.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "reweighting"]


@pytest.mark.parametrize("changes", [{}, {"method": "paper"}, {"signal": "training", "method": "full"}])
def test_stopped_run_resumes_with_the_same_weights(make_settings: MakeSettings, changes: dict[str, str]) -> None:
    balanced = {**QUICK, **changes}
    whole, parted = (make_settings(name, reweighting=balanced, steps=8) for name in ("whole", "parted"))
    run_training(whole)
    run_training(parted, criterion=StopAfter(5, signal.SIGTERM))
    state = torch.load(parted.run / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] == 5
    assert max(state["method"]["reweighting"]["reweighting"]["weights"].values()) > 0.26, (
        "the weights have left the start"
    )
    run_training(parted, resume=True)
    assert len(ticks(whole)) == 8
    assert ticks(parted) == ticks(whole)
    weights = ticks(whole)[-1]["weights"]
    assert isinstance(weights, dict)
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights.values()) > 0.26, "the weights have left the start"


def test_types_are_weighted_in_the_loss(make_settings: MakeSettings) -> None:
    settings = make_settings(reweighting=QUICK)
    balance = Balance(TYPES, settings.reweighting, ProcessGroup(build_fabric(settings)), None)
    balance.reweighting.weights = {"drs": 0.1, "drd": 0.2, "nrs": 0.3, "nrd": 0.4}
    factors = balance.factors(("nrd", "clean", "drs", "nrd"))
    assert factors.tolist() == pytest.approx([1.6, 1.0, 0.4, 1.6])


def test_uniform_is_plain_training(make_settings: MakeSettings) -> None:
    plain, uniform = make_settings("plain"), make_settings("uniform", reweighting={"method": "uniform"})
    run_training(plain)
    run_training(uniform)
    assert (plain.run / "log.jsonl").read_text().count("reweighting") == 0
    first, second = (
        [json.loads(line)["loss"] for line in (s.run / "log.jsonl").read_text().splitlines() if "data_wait" in line]
        for s in (plain, uniform)
    )
    assert first == second


def test_probe_is_of_its_own_split_and_always_the_same(make_settings: MakeSettings, index: Path) -> None:
    settings = make_settings(reweighting=QUICK)
    probe, again = fixed_probe(settings), fixed_probe(settings.model_copy(update={"seed": 7}))
    assert probe is not None
    assert again is not None
    for name, (batch,) in probe.batches().items():
        assert batch.rainy.shape == batch.clean.shape == (2, 3, 32, 32)
        assert torch.equal(batch.rainy, again.batches()[name][0].rainy)
        assert not torch.equal(batch.rainy, batch.clean)
    text = index.read_text()
    index.write_text("".join(line for line in text.splitlines(keepends=True) if ",probe," not in line))
    with pytest.raises(DatasetError, match=r"'full' wants rows of split 'probe' .* reweighting.signal=training"):
        fixed_probe(settings)


@pytest.mark.parametrize("rain_share", [0.0, 0.5])
def test_probe_measures_the_loss_of_the_run(make_settings: MakeSettings, rain_share: float) -> None:
    settings = make_settings(reweighting={**QUICK, "probe_crops": 18}, loss={"rain_share": rain_share})
    probe = fixed_probe(settings)
    assert probe is not None
    module = nn.Identity().train()
    losses = probe(module, RestorationLoss(settings.loss), Accelerator(build_fabric(settings)))
    assert module.training
    for name, batches in probe.batches().items():
        assert [len(batch.labels) for batch in batches] == [16, 2]
        plain = float(torch.cat([l1(batch.rainy, batch.clean) for batch in batches]).mean())
        if rain_share == 0:
            assert losses[name] == pytest.approx(plain, rel=1e-5)
        else:
            assert losses[name] > 1.1 * plain


def test_the_probe_rounds_inputs_as_a_step_in_mixed_precision_does(make_settings: MakeSettings) -> None:
    settings = make_settings(reweighting=QUICK, loss={"rain_share": 0}, precision="bf16-mixed", device="cpu")
    probe, accelerator = fixed_probe(settings), Accelerator(build_fabric(settings))
    assert probe is not None
    losses = probe(nn.Identity(), RestorationLoss(settings.loss), accelerator)
    for name, batches in probe.batches().items():
        plain, rounded = (
            float(torch.cat([l1(rainy, batch.clean) for batch, rainy in given]).mean())
            for given in (
                [(batch, batch.rainy) for batch in batches],
                [(batch, accelerator.forward(nn.Identity(), batch.rainy)) for batch in batches],
            )
        )
        assert losses[name] == pytest.approx(rounded, rel=1e-6)
        assert losses[name] != pytest.approx(plain, rel=1e-6)


def test_training_losses_are_smoothed_by_type(make_settings: MakeSettings) -> None:
    wanted = ReweightSettings(method="full", signal="training", every_steps=1, smoothing=0.5)
    balance = Balance(("drs", "drd"), wanted, ProcessGroup(build_fabric(make_settings())), None)
    assert balance.after_step(1, torch.tensor([0.4, 0.2, 9.0]), ("drs", "drs", "clean")) is not None
    second = balance.after_step(2, torch.tensor([0.1, 0.6]), ("drs", "drd"))
    assert second is not None
    assert second.losses == pytest.approx({"drs": 0.5 * 0.3 + 0.5 * 0.1, "drd": 0.6})


def test_probe_that_is_not_finite_three_times_ends_the_run(make_settings: MakeSettings) -> None:
    settings = make_settings(reweighting=QUICK)
    values = iter([{"drs": float("nan"), "drd": 0.1, "nrs": 0.1, "nrd": 0.1}] * 3)
    balance = Balance(TYPES, settings.reweighting, ProcessGroup(build_fabric(settings)), lambda: next(values))
    losses, labels = torch.zeros(1), ("drs",)
    for step in (1, 2):
        tick = balance.after_step(step, losses, labels)
        assert tick is not None
        assert tick.skipped
        assert set(tick.weights.values()) == {0.25}
    with pytest.raises(TrainingError, match=r"drs .*3 ticks in a row"):
        balance.after_step(3, losses, labels)


def test_rain_snow_and_haze_are_learnt_and_balanced_in_one_model(make_settings: MakeSettings, index: Path) -> None:
    recipe = load_settings(TrainSettings, RECIPES / "weather.yaml")
    data = {"types": recipe.data.types, "photos": index, "crop": 32, "crops_per_picture": 3, "workers": 0}
    settings = make_settings(
        data={**data, "simulation": {"side_min": 48, "side_max": 64}},
        reweighting={"method": recipe.reweighting.method, "every_steps": 1, "window": 2, "warmup": 2, "probe_crops": 1},
        batch_size=6,
        steps=6,
    )
    run_training(settings)
    weights = [tick["weights"] for tick in ticks(settings)]
    assert weights[1] == pytest.approx(dict.fromkeys(recipe.data.types, 1 / 6))
    assert list(weights[-1]) == list(recipe.data.types)
    assert sum(weights[-1].values()) == pytest.approx(1)
    assert max(weights[-1].values()) > 1.01 / 6 > 0.99 / 6 > min(weights[-1].values())
