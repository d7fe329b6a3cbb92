"""Studies: what is trained and what is not, what is refused, and what the table says."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from derain.errors import SettingsError, TrainingError
from derain.models.complexity import measure
from derain.models.zoo import build
from derain.settings import load_settings
from derain.train.ablation import (
    OUT_OF_REACH,
    Budget,
    Ending,
    Trial,
    plan_trials,
    sole_use,
    train_trials,
    write_configuration,
)
from derain.train.ablation_table import Result, StudyTable, judge_trials, judging_pictures, probe_spread
from derain.train.log import RunLog
from derain.train.settings import TrainSettings
from derain.train.validation import ValidationReport, ValidationRow, fixed_validation
from references.runs import run_training

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def studies(make_settings: Callable[..., TrainSettings], tmp_path: Path) -> Path:
    """A folder with one study of two variants, whose runs are of two steps."""
    root = tmp_path / "studies"
    (root / "routes").mkdir(parents=True)
    base = make_settings(steps=2, reweighting={"method": "full", "every_steps": 1, "warmup": 1, "probe_crops": 1})
    (root / "base.yaml").write_text(yaml.safe_dump(base.model_dump(mode="json")))
    for name, routing in {"soft_hard": "soft", "none": "none"}.items():
        model = {"changes": {"encoder_routing": routing}}
        (root / "routes" / f"{name}.yaml").write_text(yaml.safe_dump({"base": "../base.yaml", "model": model}))
    return root


def train_here(trial: Trial, resume: bool) -> Ending:
    """As `train_apart`, in this process."""
    settings = load_settings(TrainSettings, trial.configuration)
    outcome = run_training(settings, resume)
    return Ending(0 if outcome.is_finished else 143)


def test_every_recipe_of_ours_is_valid() -> None:
    found = sorted(RECIPES.rglob("*.yaml"))
    assert {path.stem for path in found} >= {"unirain_full", "small", "tiny", "base", "soft_hard", "fixed_af"}
    for path in found:
        load_settings(TrainSettings, path)


def test_the_papers_recipe_states_the_papers_values() -> None:
    paper = load_settings(TrainSettings, RECIPES / "unirain_full.yaml")
    assert (paper.optimizer.lr, paper.optimizer.lr_min, paper.optimizer.warmup_steps) == (2e-4, 1e-6, 0)
    assert (paper.data.crop, paper.batch_size, paper.devices, paper.steps) == (128, 8, 4, 300_000)
    assert (paper.reweighting.method, paper.reweighting.window, paper.reweighting.tau) == ("full", 10, 5)
    assert (paper.loss.pixel, paper.loss.rain_share, paper.loss.frequency_weight) == ("l1", 0, 0)
    assert (paper.model.name, paper.model.changes, paper.model.initial_weights) == ("full", {}, None)


def test_our_studies_have_the_variants_of_the_papers_tables() -> None:
    out = Path("out")
    mixtures = plan_trials(RECIPES / "ablations", "moe", out)
    routes = {trial.variant: tuple(trial.settings.model.changes.values()) for trial in mixtures}
    assert list(routes.items()) == [
        (name, tuple(name.split("_")) if name != "none" else ("none", "none"))
        for name in ("none", "hard_hard", "soft_soft", "hard_soft", "soft_hard")
    ]
    weights = plan_trials(RECIPES / "ablations", "reweighting", out)
    methods = {trial.variant: trial.settings.reweighting.method for trial in weights}
    assert list(methods) == ["uniform", "paper", "released", "full", "fixed_af", "no_tss", "no_tbs"]
    assert all(method == name.replace("_", "-") for name, method in methods.items())
    ticks = {trial.variant: trial.settings.reweighting.plan(4).every_steps for trial in weights}
    assert ticks == {name: 1 if name == "paper" else 50 for name in methods}


@pytest.mark.parametrize("name", ["tiny", "full"])
def test_routes_of_the_variants_are_those_of_the_networks(name: str) -> None:
    """Soft mixtures keep all experts, hard ones the largest k, on the side they are named for; none has no mixture."""
    narrow = {"widths": [8, 16, 16, 16]} if name == "tiny" else {"width": 16, "refinement_blocks": 1}
    narrow |= {"encoder_blocks": [1, 1, 1, 1], "decoder_blocks": [1, 1, 1]}
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for trial in plan_trials(RECIPES / "ablations", "moe", Path("out")):
        torch.manual_seed(0)
        network = build(name, {**narrow, **trial.settings.model.changes})
        seen = dict(zip(network.mixture_names(), network.gates(image), strict=True))
        assert bool(seen) == (trial.variant != "none")
        for place, gates in seen.items():
            side = 0 if place.startswith("encoder") else 1
            experts = gates.shape[-1]
            is_soft = trial.variant.split("_")[side] == "soft"
            kept = experts if is_soft else min(experts, network.settings.top_k)
            assert int((gates > 0).sum(dim=-1).min()) == int((gates > 0).sum(dim=-1).max()) == kept
        (network.train()(image) - 0.5).abs().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        sizes[trial.variant] = sum(p.numel() for p in network.parameters()), measure(network.fold(), 32, 32).macs
    assert len(set(sizes.values())) == 2
    assert sizes["none"] < sizes["soft_hard"]


def test_trials_take_seeds_in_turn_and_the_budget(studies: Path, tmp_path: Path) -> None:
    trials = plan_trials(studies, "routes", tmp_path / "out", seeds=(3, 1), budget=Budget(steps=7))
    assert [(trial.variant, trial.seed) for trial in trials] == [
        ("none", 3),
        ("soft_hard", 3),
        ("none", 1),
        ("soft_hard", 1),
    ]
    assert {(trial.settings.seed, trial.settings.steps) for trial in trials} == {(3, 7), (1, 7)}
    assert trials[0].settings.run == tmp_path / "out" / "none" / "seed3"
    timed = plan_trials(studies, "routes", tmp_path, budget=Budget(minutes=1.5), only=["none"])
    assert [(t.settings.steps, t.settings.max_minutes) for t in timed] == [(OUT_OF_REACH, 1.5)]
    assert not (tmp_path / "out").exists()


def test_studies_that_cannot_be_made_are_refused(studies: Path, tmp_path: Path) -> None:
    def refused(message: str, study: str = "routes", root: Path = studies, **arguments: object) -> None:
        with pytest.raises(SettingsError, match=message):
            plan_trials(root, study, tmp_path / "out", **arguments)  # type: ignore[arg-type]

    refused(r"studies/moe: no study with training configurations there; there are: routes", "moe")
    refused(r"give the folder of recipes/ablations by --recipes", root=tmp_path / "nowhere")
    refused("no variant 'non'; did you mean 'none'", only=["non"])
    refused("no variant 'xyz'; there are: none, soft_hard", only=["xyz"])
    refused("--set seed=3: seed is the study's to give; use --seeds", overrides=["seed=3"])
    refused("use --steps", overrides=["steps=3"])
    refused("--seeds: wanted one or more different whole numbers from 0 on, got 1, 1", seeds=[1, 1])
    refused("got -1", seeds=[-1])
    refused("--steps and --minutes are two budgets", budget=Budget(1, 1.0))
    refused("none and soft_hard have the same settings", overrides=["model.changes.encoder_routing=hard"])
    text = (studies / "routes" / "none.yaml").read_text()
    (studies / "routes" / "none.yaml").write_text(f"{text}\ndata: {{crop: 48}}\nbatch_size: 8\n")
    refused("none and soft_hard cannot be compared, for they differ in batch_size 8 and 4; data.crop 48 and 32")
    (studies / "routes" / "none.yaml").write_text(f"{text}\nmodle: 3\n")
    refused(r"none.yaml: modle: no such setting; did you mean 'model'")
    (studies / "base.yaml").write_text("base: routes/none.yaml\n")
    refused("builds on this file in turn")


def test_a_study_trains_what_is_missing_and_judges_all_alike(studies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed: list[str] = []
    trials = plan_trials(studies, "routes", out)
    assert train_trials(trials[:1], train_here, printed.append).failed == ()
    stamp = trials[0].folder.final.stat().st_mtime_ns
    assert train_trials(trials, train_here, printed.append).signal_number is None
    assert trials[0].folder.final.stat().st_mtime_ns == stamp
    assert "[1/2] none, seed 0: is finished already" in printed[1]
    pictures = judging_pictures(trials[0].settings, 2)
    first, second = judge_trials(trials, pictures, printed.append)
    assert (first.variant, first.steps, second.variant) == ("none", 2, "soft_hard")
    assert first.parameters < second.parameters
    assert first.macs < second.macs
    assert [row.psnr_in for row in first.report.rows] == [row.psnr_in for row in second.report.rows]
    own = fixed_validation(trials[0].settings)
    torch.manual_seed(0)
    untrained = build("tiny", trials[0].settings.model.changes).eval()
    assert own(untrained).rows[1].psnr_in != first.report.rows[1].psnr_in
    assert first.probe_spread is not None
    table = StudyTable("routes", 2, [first, second], [])
    table.write(out)
    text, numbers = (out / "table.md").read_text(), json.loads((out / "table.json").read_text())
    head, _, given, *rows = text.splitlines()[:5]
    assert "parameters, M | GMACs" in head
    assert given.startswith(f"| rainy input | {first.report.rows[1].psnr_in:.2f} |")
    assert [row.split(" | ")[0] for row in rows] == ["| none", "| soft_hard"]
    assert f"{second.parameters / 1e6:.3f} | {second.macs / 1e9:.3f} |" in rows[1]
    assert numbers["variants"]["none"]["psnr.drs"]["mean"] == pytest.approx(first.report.rows[1].psnr_out)
    assert [trial["variant"] for trial in numbers["trials"]] == ["none", "soft_hard"]


def test_a_trial_is_resumed_and_refuses_other_settings_and_budgets(studies: Path, tmp_path: Path) -> None:
    out, printed = tmp_path / "out", list[str]()
    (trial,) = plan_trials(studies, "routes", out, only=["none"], overrides=["checkpoint_every_steps=1"])
    session: list[bool] = []

    def stop_after_one(trial: Trial, resume: bool) -> Ending:
        session.append(resume)
        shorter = trial.settings.model_copy(update={"steps": 1})
        write_configuration(replace(trial, settings=shorter))
        train_here(trial, resume)
        trial.folder.final.unlink()
        trial.folder.settings.write_text(yaml.safe_dump(trial.settings.model_dump(mode="json")))
        write_configuration(trial)
        return Ending(143, 15)

    assert train_trials([trial], stop_after_one, printed.append).signal_number == 15
    assert trial.progress() == "begun"

    def resumed(trial: Trial, resume: bool) -> Ending:
        session.append(resume)
        return train_here(trial, resume)

    train_trials([trial], resumed, printed.append)
    assert session == [False, True]
    assert trial.progress() == "finished"
    assert "is resumed" in printed[1]

    def refused(message: str, *overrides: str, steps: int | None = None) -> None:
        (other,) = plan_trials(studies, "routes", out, only=["none"], overrides=overrides, budget=Budget(steps))
        with pytest.raises(TrainingError, match=message):
            train_trials([other], resumed, printed.append)

    refused("cannot be resumed with other settings: optimizer.lr was 0.002, is 0.1", "optimizer.lr=0.1")
    refused("reweighting.tau was None, is 2.0", "reweighting.tau=2.0")  # a run may go on so, but a trial may not
    refused("steps was 2, is 3. Give the old values, or another -o", steps=3)
    trial.folder.settings.write_text("a: [")
    refused("settings.yaml: cannot be read")
    trial.folder.settings.unlink()
    refused("wanted a run of this study, or nothing")


def test_trials_that_break_off_do_not_keep_the_others(studies: Path, tmp_path: Path) -> None:
    trials = plan_trials(studies, "routes", tmp_path / "out")
    printed: list[str] = []
    endings = iter([Ending(1), Ending(0)])
    session = train_trials(trials, lambda *_: next(endings), printed.append)
    assert [(trial.variant, status) for trial, status in session.failed] == [("none", 1)]
    assert next(endings, None) is None
    with pytest.raises(TrainingError, match="none, seed 0 cannot be trained as it was asked for"):
        train_trials(trials, lambda *_: Ending(2), printed.append)
    assert train_trials(trials, lambda *_: Ending(143), printed.append).signal_number == 15


def test_trials_of_different_data_are_not_compared(studies: Path, index: Path, tmp_path: Path) -> None:
    trials = plan_trials(studies, "routes", tmp_path / "out")
    train_trials(trials[:1], train_here, lambda _: None)
    index.write_text("\n".join(line for line in index.read_text().splitlines() if "train-coffee" not in line))
    train_trials(trials[1:], train_here, lambda _: None)
    with pytest.raises(TrainingError, match="soft_hard, seed 0 did not learn from the same files as none, seed 0"):
        judge_trials(trials, judging_pictures(trials[0].settings, 1), lambda _: None)


def test_a_folder_has_one_study_at_a_time(tmp_path: Path) -> None:
    with sole_use(tmp_path / "out"), pytest.raises(TrainingError, match="another study"), sole_use(tmp_path / "out"):
        pass
    with sole_use(tmp_path / "out") as inherited:
        assert len(inherited) == 1
    with sole_use(tmp_path / "out") as inherited:  # a trial that outlives its study holds the folder
        orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=inherited)
    with (
        orphan,
        pytest.raises(TrainingError, match="a trial that a killed one left behind"),
        sole_use(tmp_path / "out"),
    ):
        pass
    with sole_use(tmp_path / "out"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be written"), sole_use(tmp_path / "file"):
        pass


def result(
    variant: str, seed: int, out: dict[str, float], probe: float | None = 0.1, parameters: int = 10**6
) -> Result:
    """Of pictures with 20 dB before, whose L1 falls with the gain."""
    rows = [ValidationRow("clean", 2, 100.0, 40.0 + seed, 1.0, 1.0, 0.0, 0.001)]
    rows += [
        ValidationRow(name, 2, 20.0, psnr, 0.5, 0.6, 0.1, 0.1 * 10 ** (-(psnr - 20) / 20)) for name, psnr in out.items()
    ]
    return Result(variant, seed, ValidationReport(tuple(rows)), 10, 1.5, parameters, 2 * 10**9, probe)


def test_table_has_worst_type_spread_and_range_over_seeds() -> None:
    results = [
        result("full", 0, {"drs": 26.0, "drd": 22.0}),
        result("uniform", 0, {"drs": 27.0, "drd": 20.5}, probe=None),
        result("full", 1, {"drs": 26.5, "drd": 23.0}, probe=0.3),
    ]
    table = StudyTable("reweighting", 2, results, ["uniform, seed 1"])
    lines = table.markdown().splitlines()
    assert lines[0] == (
        "| variant | drs | drd | average | worst gain | clean | spread | spread, probe | steps | minutes |"
    )
    assert lines[2] == "| rainy input | 20.00 | 20.00 | 20.00 |  |  |  |  |  |  |"
    assert lines[3].startswith("| full | 26.25 [26.00, 26.50] | 22.50 [22.00, 23.00] | 24.38 [24.00, 24.75] | +2.50 [")
    assert "[+2.00, +3.00] (drd) | 40.50 [40.00, 41.00] |" in lines[3]
    assert lines[3].endswith("| 0.200 [0.100, 0.300] | 10 | 1.5 |")
    left = [10 ** (-7 / 20), 10 ** (-0.5 / 20)]
    assert f"| +0.50 (drd) | 40.00 | {abs(left[0] - left[1]) / 2:.3f} | - | 10 |" in lines[4]
    notes = "\n".join(lines[5:])
    assert "pictures of each type: 2; seeds 0, 1. Means over the seeds" in notes
    assert "All have 1.000 M parameters, 2.000 GMACs" in notes
    assert "Not finished: uniform, seed 1." in notes
    full = table.json()["variants"]["full"]
    spot = {"mean": pytest.approx(2.5), "least": pytest.approx(2.0), "most": pytest.approx(3.0)}
    assert (full["worst_type"], full["gain.drd"]) == ("drd", spot)
    assert table.json()["variants"]["uniform"]["spread.probe"] is None
    assert json.loads(json.dumps(table.json())) == table.json()
    assert StudyTable("reweighting", 2, [], []).markdown() == "No trial is finished yet.\n"


def test_worst_gain_is_of_the_type_it_names_where_seeds_have_different_ones() -> None:
    table = StudyTable(
        "moe",
        2,
        [result("full", 0, {"drs": 21.0, "drd": 25.0}), result("full", 1, {"drs": 24.0, "drd": 23.0})],
        [],
    )
    assert "| +2.50 [+1.00, +4.00] (drs) |" in table.markdown()  # not the mean of +1 (drs) and +3 (drd)


def test_probe_spread_is_over_the_first_and_last_tick_that_are_whole() -> None:
    def spread(*losses: dict[str, float | None]) -> float | None:
        return probe_spread(RunLog("run", (), (), tuple({"losses": tick} for tick in losses)))

    first, last = {"drs": 0.1, "drd": 0.2}, {"drs": 0.05, "drd": 0.18}
    assert spread(first, {"drs": 1.0, "drd": 1.0}, last) == pytest.approx((0.9 - 0.5) / 2)
    assert spread({"drs": 0.1, "drd": None}, first, last, {"drs": math.nan, "drd": 0.1}) == pytest.approx(0.2)
    assert spread(first) is None
    assert spread() is None
