"""`derain distill` as a curator uses it, with the built-in models: from photographs to kept pairs and pages."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import skimage.data
import torch
from PIL import Image
from typer.testing import CliRunner

from derain.cli import distill
from derain.cli.main import app
from derain.data.pairs import read_manifest, write_manifest
from derain.distill import settings
from derain.rain.simulate import simulate
from derain.types import RainType

Run = Callable[..., str]

SAMPLES = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "rocket": skimage.data.rocket,
}


def rained_on(pixels: np.ndarray, rain_type: str, seed: int) -> np.ndarray:
    """Rain of a type, simulated on pixels (H, W, 3) uint8."""
    clean = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
    pair = simulate(clean, RainType(rain_type), torch.Generator().manual_seed(seed))
    return (pair.rainy[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/drs/*.png, playing real ones, a text file among them, and candidates.csv: good, negative, broken."""
    root = tmp_path_factory.mktemp("shelf")
    (root / "photos" / "drs").mkdir(parents=True)
    (root / "pairs").mkdir()
    for name, load in SAMPLES.items():
        Image.fromarray(rained_on(load()[:400, :400], "drs", 1)).save(root / "photos" / "drs" / f"{name}.png")
    (root / "photos" / "notes.png").write_text("no picture")
    rows = ["id,rainy,clean,type,source,split,scene"]
    for name, load in list(SAMPLES.items())[:2]:
        clean = load()[:256, :256]
        Image.fromarray(clean).save(root / "pairs" / f"{name}.png")
        good, negative = rained_on(clean, "drs", 7), clean.copy()
        negative[:, ::6] = np.maximum(negative[:, ::6], 210)  # grey upright lines from edge to edge
        for kind, pixels in (("good", good), ("negative", negative)):
            Image.fromarray(pixels).save(root / "pairs" / f"{name}-{kind}.png")
            rows.append(f"{kind}-{name},pairs/{name}-{kind}.png,pairs/{name}.png,drs,{kind},train,{kind}-{name}")
    (root / "pairs" / "broken.png").write_bytes(b"\x89PNG broken")
    rows.append("broken,pairs/broken.png,pairs/cat.png,drs,good,train,broken")
    (root / "candidates.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, shelf: Path) -> Run:
    """Runs a command in the folder, checks its status and gives what it printed."""
    monkeypatch.setenv("DERAIN_CACHE", str(shelf / "cache" / "derain"))
    monkeypatch.chdir(shelf)

    def command(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, ["distill", *arguments])
        assert result.exit_code == status, (result.output, result.exception)
        return result.output

    return command


def test_a_curator_gets_trustworthy_pairs_out_of_photographs_and_candidates(run: Run, shelf: Path) -> None:
    printed = run("index", "photos", "--db", "base", "--types-by-folder", status=1)  # one file is no picture
    assert "added: 3 drs" in printed
    assert "filtered out: 1 low_for_type; the lowest of each type" in printed
    assert "notes.png" in printed
    assert "4 are in the base already" in run("index", "photos/drs", "--db", "base", "--types-by-folder")

    listed = run("base", "list", "--db", "base", "--type", "drs")
    digest = next(line.split()[0] for line in listed.splitlines() if line.split()[2] == "unreviewed")
    shown = run("base", "show", digest[:10], "--db", "base")
    assert "caption      A " in shown
    assert "all-MiniLM-L6-v2" in shown

    printed = run("run", "candidates.csv", "--db", "base", "-o", "out")
    assert "pending 0" in printed
    results = {
        row["id"]: row
        for name in ("kept", "dropped")
        for row in pq.read_table(shelf / "out" / f"{name}.parquet").to_pylist()
    }
    assert set(results) == {"good-astronaut", "good-cat", "negative-astronaut", "negative-cat", "broken"}
    assert results["broken"]["reason"].startswith("unreadable_picture")
    assert {results[f"negative-{name}"]["outcome"] for name in ("astronaut", "cat")} == {"dropped"}
    for name in ("good-astronaut", "negative-cat"):
        row = results[name]
        assert 1 <= len(row["references"]) <= 3
        assert [verdict["judge"] for verdict in row["verdicts"]] == [
            "builtin:rain-layer",
            "builtin:typicality",
            "builtin:pairing",
        ]
        assert all(verdict["reason"] for verdict in row["verdicts"])
    with (shelf / "out" / "manifest.csv").open() as file:
        assert {row["id"] for row in csv.DictReader(file)} == {
            name for name, row in results.items() if row["outcome"] == "kept"
        }

    again = run("run", "candidates.csv", "--db", "base", "-o", "out")
    assert "asked" not in again  # nothing was left to ask
    fresh = run("run", "candidates.csv", "--db", "base", "-o", "out", "--fresh")
    assert "asked 0 times" in fresh
    assert "asked 1 times" not in fresh

    assert run("report", "out", "--db", "base").strip() == "out/report.html"
    assert "negative-cat" in (shelf / "out" / "report.html").read_text()
    kept = json.loads((shelf / "out" / "pyramid.json").read_text())["levels"]["kept"]
    printed = run("export", "out", "-o", "laid-out")
    assert printed.startswith("laid-out: ")
    assert len(list((shelf / "laid-out").rglob("*/clean/*.png"))) == sum(kept["by_type"].values())


def test_an_export_into_a_folder_that_is_not_empty_is_refused(run: Run, shelf: Path) -> None:
    out = shelf / "handmade"
    out.mkdir()
    for name in ("kept.parquet", "dropped.parquet"):
        (out / name).touch()
    (out / "pyramid.json").write_text('{"levels": {"pending": {"total": 0}}}')
    pairs = [pair for pair in read_manifest(shelf / "candidates.csv", check_files=False) if "good" in pair.id][:2]
    write_manifest(out / "manifest.csv", pairs)
    assert run("export", "handmade", "-o", "laid") == "laid: 2 pairs, 4 files\n"
    assert "laid: wanted an empty folder to export to" in run("export", "handmade", "-o", "laid", status=2)
    assert len(list((shelf / "laid").rglob("*/rainy/*"))) == 2


def test_types_that_the_base_has_no_photograph_of_are_named_and_end_the_run(run: Run, shelf: Path) -> None:
    run("index", "photos/drs", "--db", "streaks", "--types-by-folder")
    rows = (shelf / "candidates.csv").read_text().splitlines()
    turned = [row.replace(",drs,", ",nrd,") if row.startswith(("good-cat", "negative-cat")) else row for row in rows]
    (shelf / "nights.csv").write_text("\n".join(turned) + "\n")
    printed = run("run", "nights.csv", "--db", "streaks", "-o", "nights")
    (line,) = [line for line in printed.splitlines() if line.startswith("no photograph in the base to compare with")]
    assert "nrd (2 pairs); " in line
    assert "--fresh" in line
    assert "pending 0" in printed
    assert "the same command" not in printed
    dropped = {row["id"]: row["reason"] for row in pq.read_table(shelf / "nights" / "dropped.parquet").to_pylist()}
    assert {dropped[name].partition(":")[0] for name in ("good-cat", "negative-cat")} == {"no_references"}
    again = run("run", "nights.csv", "--db", "streaks", "-o", "nights")
    assert line in again, "also where nothing was left to do"
    assert "no_references" in run_page(run, shelf / "nights")


def run_page(run: Run, out: Path) -> str:
    return Path(run("report", str(out)).strip()).read_text()


def test_an_export_asks_whether_the_result_is_whole(run: Run, shelf: Path) -> None:
    run("run", "candidates.csv", "-o", "halved", "--variant", "only-vlm")
    (shelf / "halved" / "pyramid.json").unlink()
    printed = run("export", "halved", "-o", "laid-out-halved", status=2)
    assert "pyramid.json is not there" in printed
    assert not (shelf / "laid-out-halved").exists()


def test_removed_photographs_come_back_with_their_folder(run: Run) -> None:
    run("index", "photos/drs", "--db", "other", "--types-by-folder")
    digest = run("base", "list", "--db", "other").split()[0]
    assert "1 removed" in run("base", "remove", digest, "--db", "other")
    assert digest not in run("base", "list", "--db", "other")
    run("index", "photos/drs", "--db", "other", "--types-by-folder")
    assert digest in run("base", "list", "--db", "other")


def test_refused_photographs_are_removed_together_and_measured_again_by_other_limits(run: Run, shelf: Path) -> None:
    strict, index = shelf / "strict.yaml", ["index", "photos/drs", "--db", "strict", "--types-by-folder"]
    strict.write_text("shortest_side: 401\n")
    printed = run(*index, "--prefilter", str(strict))
    assert "filtered out: 4 too_small" in printed
    assert "added: none" in run(*index)
    printed = run("base", "remove", "--db", "strict", "--status", "filtered", "--reason", "blurred")
    assert printed.splitlines() == ["0 removed", "none is filtered as blurred; reasons of those that are: 4 too_small"]
    assert run("base", "remove", "--db", "strict", "--status", "filtered", "--reason", "too_small") == "4 removed\n"
    assert "added: 3 drs" in run(*index)
    assert run("base", "remove", "--db", "strict", "--status", "filtered") == "1 removed\n"
    assert "references in use: 3 drs\n" in run("base", "list", "--db", "strict")


def test_what_a_table_of_types_names_in_vain_is_told(run: Run, shelf: Path) -> None:
    table = shelf / "types.csv"
    table.write_text("path,type\nphotos/drs/cat.png,nrd\nphotos/drs/dog.png,nrd\n")
    printed = run("index", "photos/drs/cat.png", "--db", "by-hand", "--types", "types.csv")
    assert "added: 1 nrd" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("types.csv")]
    assert line.endswith(
        f"1 of the 2 photographs that it names are not among those found, the first: {shelf}/photos/drs/dog.png"
    )
    (shelf / "photos" / "types.csv").write_text(table.read_text())
    printed = run("index", "photos/drs", "--db", "by-none", "--types", "photos/types.csv", status=2)
    assert f"{shelf}/photos/photos/drs/cat.png" in printed
    assert "relative to its own folder" in printed
    assert not (shelf / "by-none").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run", "candidates.csv", "-o", "o", "--db", "b", "--preset", "offlin"], "no preset 'offlin'"),
        (["run", "candidates.csv", "-o", "o", "--db", "b", "--set", "retrieval.k9=1"], "k9"),
        (["run", "candidates.csv", "-o", "o", "--db", "b", "--ray", "ray.yaml"], "--engine ray"),
        (["index", "photos", "--db", "b", "--set", "describe.captioner=blip"], "hf:MODEL"),
        (["review"], "either --db DIR"),
        (["review", "--db", "b", "--study", "5"], "give OUT instead of --db"),
        (["run", "candidates.csv", "-o", "o", "--db", "b", "--limit", "3"], "No such option"),
        (["base", "remove", "--db", "b"], "give either digests or --status"),
        (["base", "remove", "--db", "b", "--reason", "blurred"], "give either digests or --status"),
        (["base", "remove", "ab", "--db", "b", "--status", "filtered"], "give either digests or --status"),
        (["base", "remove", "ab", "--db", "b", "--reason", "blurred"], "--reason goes with --status"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, arguments: list[str], wanted: str) -> None:
    assert wanted in run(*arguments, status=2)


def test_a_missing_base_is_named(run: Run) -> None:
    printed = run("run", "candidates.csv", "-o", "elsewhere", "--db", "nowhere", status=2)
    assert "nowhere" in printed


@pytest.fixture(scope="module")
def known(shelf: Path) -> tuple[Path, Path]:
    """good.csv and negative.csv: pairs of each kind, six and five."""
    (shelf / "known").mkdir()
    rows: dict[str, list[str]] = {"good": [], "negative": []}
    for seed, (name, load) in enumerate([*SAMPLES.items(), *list(SAMPLES.items())[:2]]):
        clean = load()[seed * 20 :, 40:][:256, :256]
        negative = clean.copy()
        negative[:, ::6] = np.maximum(negative[:, ::6], 210)
        Image.fromarray(clean).save(shelf / "known" / f"{seed}-clean.png")
        for kind, pixels in (("good", rained_on(clean, "drs", seed + 20)), ("negative", negative)):
            Image.fromarray(pixels).save(shelf / "known" / f"{seed}-{kind}.png")
            rows[kind].append(f"{seed},known/{seed}-{kind}.png,known/{seed}-clean.png,drs,{name},train,{name}")
    for kind, count in (("good", 6), ("negative", 5)):
        text = "\n".join(["id,rainy,clean,type,source,split,scene", *rows[kind][:count]])
        (shelf / f"{kind}.csv").write_text(text + "\n")
    return shelf / "good.csv", shelf / "negative.csv"


def test_a_judge_is_calibrated_on_known_pairs_and_its_bias_is_taken_by_a_run(
    run: Run, shelf: Path, known: tuple[Path, Path]
) -> None:
    run("index", "photos/drs", "--db", "calibrating", "--types-by-folder")
    calibrate = ["calibrate", *map(str, known), "--db", "calibrating", "--judge", "builtin:pairing"]
    printed = run(*calibrate)
    assert "builtin:pairing on 6 good and 5 negative pairs: AUC " in printed
    assert run(*calibrate) == printed  # from the cache
    area = float(printed.split("AUC ")[1].split()[0].rstrip(";"))
    assert area > 0.5
    shares = [int(word.rstrip("%")) for word in printed.split("a bias of")[1].split() if word.endswith("%")]
    assert "a rough guess" in printed
    assert shares[0] > 0
    assert shares[1] <= 20
    (setting,) = shlex.split(printed.splitlines()[-1].partition("--set ")[2])
    assert setting.startswith('judging.bias={"builtin:pairing": ')

    plain = run("run", "candidates.csv", "--db", "calibrating", "-o", "plain")
    assert "pending 0" in plain
    moved = run("run", "candidates.csv", "--db", "calibrating", "-o", "moved", "--set", setting)
    assert "judge builtin:pairing: asked 0 times" in moved  # another bias asks nobody again
    bias = float(setting.rpartition(" ")[2].rstrip("}"))
    before, after = (scores(shelf / name, "builtin:pairing") for name in ("plain", "moved"))
    assert after == pytest.approx({name: score - bias for name, score in before.items()}, abs=1e-5)


def scores(out: Path, judge: str) -> dict[str, float]:
    return {
        row["id"]: verdict["score"]
        for name in ("kept", "dropped")
        for row in pq.read_table(out / f"{name}.parquet").to_pylist()
        for verdict in row["verdicts"] or []
        if verdict["judge"] == judge
    }


def test_variants_of_the_command_are_those_of_the_settings() -> None:
    assert get_args(distill.Variant) == get_args(settings.Variant)
