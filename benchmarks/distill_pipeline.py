"""Throughput of a distillation run: each stage by itself, then the whole, with its time, memory and cache size.

    python benchmarks/distill_pipeline.py --photos FOLDER [--candidates 1000] [--preset offline] [--references 64]

Candidates and references are crops of the photographs (JPEG, PNG, ... below FOLDER) with rain simulated on them, each
different. A stage is timed on the first `--staged` candidates after one batch of warming up, with nothing in the cache;
`from the cache` is the same again. The whole run is a process of its own, with an empty cache; memory is the largest
resident memory of that process. Then it is killed half-way in another folder with another cache, and run again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from derain.data.pairs import Pair, write_manifest
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import Record, Standing
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.structure import luminance
from derain.distill.measure.perceptual_hash import perceptual_hash
from derain.distill.opening import open_models, preset_settings
from derain.distill.pipeline.engine import Opening, Workplace, stage_names, work_through
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.run import distill
from derain.distill.view import read_view
from derain.imaging.io import Picture, read_picture, to_tensor, write_picture
from derain.imaging.writing import IMAGE_SUFFIXES
from derain.rain.simulate import simulate
from derain.types import RainType

SIDES = (288, 384)
"""Height and width of a candidate in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--references", type=int, default=64)
    parser.add_argument("--staged", type=int, default=48)
    parser.add_argument("--preset", default="offline")
    parser.add_argument("--work", type=Path, help="keep everything here instead of a folder that goes")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        print(json.dumps(whole_run(arguments.work, arguments.run, arguments.preset)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        print(
            f"{arguments.candidates} candidates of {SIDES[1]}x{SIDES[0]}, {arguments.references} references, "
            f"preset {arguments.preset}, {torch.get_num_threads()} threads.\n"
        )
        manifest = make_pairs(arguments.photos, work, arguments.candidates)
        make_base(arguments.photos, work, arguments.references, arguments.preset)
        stage_table(manifest, work, arguments.staged, arguments.preset)
        run_table(work, arguments.preset)


def make_pairs(photos: Path, work: Path, count: int) -> Path:
    """Rainy and clean files with a manifest; what is there already stays."""
    pairs, types = [], list(RainType)
    for number in range(count):
        rain_type = types[number % len(types)]
        rainy, clean = (work / side / f"{number:06d}.jpg" for side in ("rainy", "clean"))
        if not rainy.exists():
            save_pair(photos, number, rain_type, rainy, clean)
        pairs.append(Pair(f"c{number:06d}", rainy, clean, rain_type.value, "crops", "train", f"s{number // 4}"))
    write_manifest(work / "manifest.csv", pairs)
    return work / "manifest.csv"


def save_pair(photos: Path, number: int, rain_type: RainType, rainy: Path, clean: Path) -> None:
    """One crop with rain on it."""
    files = sorted(file for file in photos.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    rng = np.random.default_rng(number)
    pixels = read_picture(files[number % len(files)]).pixels
    height, width = SIDES
    top = int(rng.integers(0, max(1, pixels.shape[0] - height)))
    left = int(rng.integers(0, max(1, pixels.shape[1] - width)))
    image = to_tensor(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
    pair = simulate(image, rain_type, torch.Generator().manual_seed(number))
    for path, made in ((clean, pair.target), (rainy, pair.rainy)):
        path.parent.mkdir(parents=True, exist_ok=True)
        array = (made[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        write_picture(path, Picture(pixels=np.ascontiguousarray(array)))


def make_base(photos: Path, work: Path, count: int, preset: str) -> None:
    """A knowledge base of simulated photographs: what they show does not matter for the time."""
    if (work / "base").exists():
        return
    models = open_models(preset_settings(preset))
    records = []
    for number in range(count):
        rain_type = list(RainType)[number % 4]
        path = work / "real" / f"{number:06d}.jpg"
        save_pair(photos, 10**6 + number, rain_type, path, work / "real_clean" / f"{number:06d}.jpg")
        view = read_view(path)
        (caption,) = models.captioner.caption([view])
        records.append(
            Record(
                digest=view.digest,
                path=str(path),
                source="crops",
                width=view.width,
                height=view.height,
                type=rain_type.value,
                light="night" if rain_type.is_night else "day",
                standing=Standing.CANDIDATE,
                reason="",
                quality=0.5,
                perceptual_hash=perceptual_hash(view),
                caption=caption,
                expansion="",
                keywords=(),
                description=caption,
                text=models.text_encoder.encode_texts([caption])[0],
                visual=models.visual_encoder.encode_views([view])[0],
                luminance=luminance(view),
                thumbnail=b"",
            )
        )
    KnowledgeBase.create(work / "base", BaseIdentities.of(models)).add(records)


def stage_table(manifest: Path, work: Path, count: int, preset: str) -> None:
    """Candidates a second of each stage."""
    settings = preset_settings(preset)
    base, judges = str(work / "base"), len(settings.judging.judges)
    with tempfile.TemporaryDirectory() as cache:
        opening = Opening(open_models, settings, base, None, judges, Path(cache))
        names = stage_names(settings.variant, judges)
        workplace = Workplace(opening)
        stages = [(name, workplace.stage(name)) for name in names]
        rows = candidates(manifest)
        batch = settings.batch_rows
        for _, stage in stages:
            work_through(stage, rows[-batch:])
        print("| stage | candidates/s | ms a candidate | from the cache, ms |")
        print("|---|---:|---:|---:|")
        fresh = times(stages, rows[:count], batch)
        again = times(stages, [row.begin_again() for row in rows[:count]], batch)
        for name, _ in stages:
            each = fresh[name] / count
            print(f"| {name} | {1 / each:.1f} | {1e3 * each:.1f} | {1e3 * again[name] / count:.1f} |")
        total = sum(fresh.values()) / count
        print(f"| all | {1 / total:.1f} | {1e3 * total:.1f} | {1e3 * sum(again.values()) / count:.1f} |\n", flush=True)
        workplace.close()


def candidates(manifest: Path) -> list[Row]:
    from derain.data.pairs import read_manifest

    rows = []
    for pair in read_manifest(manifest):
        row = Row(pair.id, str(pair.rainy), str(pair.clean), pair.type, pair.source, pair.split, pair.scene)
        row.digest, row.clean_digest = read_view(pair.rainy).digest, read_view(Path(row.clean)).digest
        rows.append(row)
    return rows


def times(stages: list, rows: list[Row], batch: int) -> dict[str, float]:
    """Seconds of each stage, batch by batch as the local engine goes."""
    spent = dict.fromkeys((name for name, _ in stages), 0.0)
    for start in range(0, len(rows), batch):
        for name, stage in stages:
            began = time.perf_counter()
            work_through(stage, rows[start : start + batch])
            spent[name] += time.perf_counter() - began
    return spent


def run_table(work: Path, preset: str) -> None:
    """The whole run, the same again, and one that is killed half-way."""
    print("| run | s | candidates/s | processor s | memory, MB | cache, MB | kept | dropped |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    whole = tell("whole", start(work, work / "out", preset))
    tell("again, finished", start(work, work / "out", preset))
    process = start(work, work / "killed", preset)
    time.sleep(max(5.0, 0.5 * whole))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    tell("after a kill half-way", start(work, work / "killed", preset))


def start(work: Path, out: Path, preset: str) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--photos", "-", "--work", str(work), "--run", str(out), "--preset", preset]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def tell(name: str, process: "subprocess.Popen[str]") -> float:
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name}: the run ended with {process.returncode}")
    found = json.loads(printed)
    print(
        f"| {name} | {found['s']:.1f} | {found['candidates'] / found['s']:.1f} | {found['cpu_s']:.1f} | "
        f"{found['mb']} | {found['cache_mb']:.1f} | {found['kept']} | {found['dropped']} |",
        flush=True,
    )
    return float(found["s"])


def whole_run(work: Path, out: Path, preset: str) -> dict[str, float]:
    """In this process."""
    report = distill(
        [work / "manifest.csv"],
        str(work / "base"),
        out,
        preset_settings(preset),
        open_models,
        cache=out.with_name(f"{out.name}_cache"),
    )
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return {
        "s": report.seconds,
        "cpu_s": time.process_time(),
        "mb": kib * 1024 // 1_000_000,
        "cache_mb": report.cache.size_bytes / 1e6,
        "candidates": report.outputs.candidates,
        "kept": report.outputs.kept,
        "dropped": report.outputs.dropped,
    }


if __name__ == "__main__":
    main()
