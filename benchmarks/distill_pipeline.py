"""What a distillation costs by stage, and a whole run: its time, memory and cache, also after a kill.

    python benchmarks/distill_pipeline.py --photos photographs/index.csv --only stages --references 40
    python benchmarks/distill_pipeline.py --photos photographs/index.csv --only runs --candidates 1000
    python benchmarks/distill_pipeline.py --photos photographs/index.csv --only whole --candidates 10000 --size 192 256

Candidates and references are crops of the clean photographs of the split train that are large enough, with rain
simulated on them, each different. `stages` times each stage on all candidates, after one batch of others for warming
up, with nothing in the cache; then everything again, out of the cache. `runs` makes a whole run in a process of its
own, with an empty cache; memory is the largest resident of that process. Then it is killed half-way in another folder
with another cache, and run again. `whole` leaves the killed one out.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from derain.backends.view import read_view
from derain.data.pairs import Pair, read_manifest, read_photos, write_manifest
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.indexing import index_photos
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import open_describers, open_models, preset_settings
from derain.distill.pipeline.engine import WorkerConfig, WorkerContext, work_through
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.run import distill
from derain.distill.pipeline.stages import Stage
from derain.distill.settings import DistillSettings, stage_names
from derain.imaging.io import read_picture, to_tensor, write_image
from derain.rain.simulate import simulate
from derain.types import RainType
from manifests import memory_mb

FIRST_REFERENCE, FIRST_WARMING = 10**6, 2 * 10**6
"""Numbers of the first reference and of the first candidate for warming up."""
LABELS = {
    "caption": "caption",
    "embed": "embed (keywords, text and visual vector)",
    "retrieve": "retrieve, three levels",
}


@dataclass(frozen=True)
class Crops:
    """Pieces of photographs, and rain on them: the same for the same number."""

    photos: Sequence[Path]
    height: int
    width: int

    @classmethod
    def of(cls, index: Path, height: int, width: int) -> "Crops":
        """Of the clean photographs of the split train that are large enough."""
        found = []
        for photo in read_photos(index, "train"):
            with Image.open(photo.path) as image:
                if image.width >= width and image.height >= height:
                    found.append(photo.path)
        return cls(found, height, width)

    def save_pair(self, number: int, rain_type: RainType, rainy: Path, clean: Path) -> None:
        """One crop with rain on it and one without; files that are there stay."""
        if rainy.exists() and clean.exists():
            return
        rng = np.random.default_rng(number)
        pixels = read_picture(self.photos[number % len(self.photos)]).pixels
        top = int(rng.integers(pixels.shape[0] - self.height + 1))
        left = int(rng.integers(pixels.shape[1] - self.width + 1))
        image = to_tensor(np.ascontiguousarray(pixels[top : top + self.height, left : left + self.width]))
        pair = simulate(image, rain_type, torch.Generator().manual_seed(number))
        for path, made in ((clean, pair.target), (rainy, pair.rainy)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, made)

    def save_manifest(self, folder: Path, first: int, count: int) -> Path:
        """Pairs in a folder, types in turn, and their manifest."""
        pairs, types = [], list(RainType)
        for number in range(first, first + count):
            rain_type = types[number % len(types)]
            rainy, clean = (folder / side / f"{number:07d}.jpg" for side in ("rainy", "clean"))
            self.save_pair(number, rain_type, rainy, clean)
            pairs.append(Pair(f"c{number:07d}", rainy, clean, rain_type.value, "crops", "train", f"s{number // 4}"))
        write_manifest(folder / "manifest.csv", pairs)
        return folder / "manifest.csv"


def main() -> None:
    """Make pictures and base; then the tables, or one run of which they tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="CSV index of photographs")
    parser.add_argument("--only", choices=("stages", "runs", "whole"), help="one of the tables")
    parser.add_argument("--candidates", type=int, default=96)
    parser.add_argument("--references", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 384), metavar=("HEIGHT", "WIDTH"), help="in pixels")
    parser.add_argument("--preset", default="offline")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep everything here instead of a folder that goes")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = preset_settings(arguments.preset)
    if arguments.run is not None:
        print(json.dumps(whole_run(arguments.work, arguments.run, settings)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        crops = Crops.of(arguments.photos, *arguments.size)
        manifest = crops.save_manifest(work, 0, arguments.candidates)
        make_base(crops, work, arguments.references, settings)
        print(
            f"{arguments.candidates} candidates of {crops.width} x {crops.height}, {arguments.references} references, "
            f"preset {arguments.preset}, threads: {arguments.threads}.\n",
            flush=True,
        )
        if arguments.only in (None, "stages"):
            warming = crops.save_manifest(work / "warming", FIRST_WARMING, settings.batch_rows)
            stage_table(candidates(manifest), candidates(warming), work / "base", settings)
        if arguments.only is None:
            print()
        if arguments.only != "stages":
            run_table(work, sys.argv[1:], killed=arguments.only != "whole")


def make_base(crops: Crops, work: Path, count: int, settings: DistillSettings) -> None:
    """A knowledge base of simulated photographs: what they show does not matter for the time."""
    if (work / "base").exists():
        return
    types = {}
    for number in range(FIRST_REFERENCE, FIRST_REFERENCE + count):
        rain_type = list(RainType)[number % 4]
        path = (work / "references" / f"{number}.jpg").absolute()
        crops.save_pair(number, rain_type, path, work / "references_clean" / path.name)
        types[path] = rain_type.value
    models = open_describers(settings.describe)
    index_photos(list(types), KnowledgeBase.create(work / "base", BaseIdentities.of(models)), models, types=types)


def candidates(manifest: Path) -> list[Row]:
    """Rows of a run that nobody has looked at yet."""
    rows = []
    for pair in read_manifest(manifest):
        row = Row(pair.id, str(pair.rainy), str(pair.clean), pair.type, pair.source, pair.split, pair.scene)
        row.digest, row.clean_digest = read_view(pair.rainy).digest, read_view(Path(row.clean)).digest
        rows.append(row)
    return rows


def stage_table(rows: Sequence[Row], warming: Sequence[Row], base: Path, settings: DistillSettings) -> None:
    """Time of each stage that asks a model or the base; the sum is of all stages."""
    judges = settings.judging.judges
    with tempfile.TemporaryDirectory() as cache:
        context = WorkerContext(WorkerConfig(open_models, settings, str(base), None, len(judges), Path(cache)))
        stages = {name: context.stage(name) for name in stage_names(settings.variant, len(judges))}
        times(stages, warming, settings.batch_rows)
        fresh = times(stages, rows, settings.batch_rows)
        again = times(stages, [row.begin_again() for row in rows], settings.batch_rows)
        context.close()
    labels = LABELS | {f"judge {place}": f"judge {name.removeprefix('builtin:')}" for place, name in enumerate(judges)}
    print("| stage | ms a candidate |")
    print("|---|---:|")
    for name in stages:
        if name in labels:
            print(f"| {labels[name]} | {1e3 * fresh[name] / len(rows):.0f} |")
    print(f"| all | {1e3 * sum(fresh.values()) / len(rows):.0f} |")
    print(f"| all, out of the cache | {1e3 * sum(again.values()) / len(rows):.0f} |", flush=True)


def times(stages: dict[str, Stage], rows: Sequence[Row], batch: int) -> dict[str, float]:
    """Seconds of each stage, batch by batch as the local engine goes."""
    spent = dict.fromkeys(stages, 0.0)
    for start in range(0, len(rows), batch):
        for name, stage in stages.items():
            began = time.perf_counter()
            work_through(stage, rows[start : start + batch])
            spent[name] += time.perf_counter() - began
    return spent


def run_table(work: Path, options: Sequence[str], killed: bool) -> None:
    """The whole run, the same again, and one that is killed half-way if wanted."""
    print("| run | s | candidates/s | processor s | memory, MB | cache, MB | kept | dropped |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    whole = tell("whole", start(work, work / "out", options))
    tell("again, finished", start(work, work / "out", options))
    if not killed:
        return
    process = start(work, work / "killed", options)
    time.sleep(max(5.0, 0.5 * whole))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    tell("after a kill half-way", start(work, work / "killed", options))


def start(work: Path, out: Path, options: Sequence[str]) -> "subprocess.Popen[str]":
    """One run in a process of its own."""
    command = [sys.executable, __file__, *options, "--work", str(work), "--run", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def tell(name: str, process: "subprocess.Popen[str]") -> float:
    """A row of the table, once the run has ended; its seconds."""
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


def whole_run(work: Path, out: Path, settings: DistillSettings) -> dict[str, float]:
    """In this process."""
    cache = out.with_name(f"{out.name}_cache")
    report = distill([work / "manifest.csv"], str(work / "base"), out, settings, open_models, cache=cache)
    return {
        "s": report.seconds,
        "cpu_s": time.process_time(),
        "mb": memory_mb("VmHWM"),
        "cache_mb": report.cache.size_bytes / 1e6,
        "candidates": report.outputs.candidates,
        "kept": report.outputs.kept,
        "dropped": report.outputs.dropped,
    }


if __name__ == "__main__":
    main()
