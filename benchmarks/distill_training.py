"""Whether it pays to train on what `derain distill` keeps: the paper's claim at our scale.

A pool of good pairs and synthetic negatives is rendered on photographs of the split `train` that the built-in judges
were not fitted on, and distilled; then three trainings of equal length see (a) everything, (b) as many pairs of each
type as were kept, drawn blindly, (c) what was kept. Which pairs are good is known here, and told to nobody but the
last table.

    python benchmarks/distill_training.py pool INDEX.csv POOL
    derain distill index POOL/references --types POOL/references.csv --db POOL/base
    derain distill run POOL/pool.csv --db POOL/base -o POOL/distilled --set prepare.per_scene=1000 --set test_pairs=0
    python benchmarks/distill_training.py subsets POOL
    derain train recipes/ablations/base.yaml --set 'data.manifests=[{path: POOL/everything.csv}]' --set run=RUN ...
    derain evaluate val/manifest.csv --model RUN/checkpoints/final.safetensors
"""

import argparse
import csv
import random
from collections import Counter
from pathlib import Path

import torch

from derain.data.pairs import Pair, Photo, read_manifest, read_photos, write_manifest
from derain.imaging.io import write_image
from derain.rain.negatives import NEGATIVES, GoodPair, make_negative
from derain.rain.simulate import simulate
from derain.types import RainType
from distill_cases import LONGEST, PHYSICAL, real_photos, reduced, seed_of, spread

FITTED_SCENES = 80
"""Scenes of the split `train` that `distill_judges.py --fit` takes by default."""

SUBSETS = ("everything", "random", "distilled")


def render_pair(photo: Photo, other: Photo, kind: str, rain_type: RainType, folder: Path, split: str) -> Pair:
    """One pair of the pool as two PNG files; `kind` is `good` or a negative one."""
    name = f"{split}-{photo.source}-{photo.scene}-{rain_type}-{kind}"
    generator = torch.Generator().manual_seed(seed_of(name))
    rain = simulate(reduced(photo.path), rain_type, generator, PHYSICAL, is_night=photo.light == "night")
    rainy, target = rain.rainy, rain.target
    if kind != "good":
        negative = make_negative(kind, GoodPair(rainy, target, reduced(other.path)), generator)
        rainy, target = negative.rainy, negative.target
    files = [folder / f"{part}-{name}.png" for part in ("rainy", "clean")]
    for file, image in zip(files, (rainy, target), strict=True):
        if not file.exists():
            write_image(file, image)
    return Pair(name, files[0], files[1], rain_type, kind, split, f"{photo.source}-{photo.scene}")


def render_pool(index: Path, pool: Path, good_share: float, per_type: int, val_per_type: int) -> None:
    """The pool's pairs, and the real photographs of the split `train` as references."""
    folder = pool / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    photos = read_photos(index, "train")
    fitted = set(spread([f"{photo.light} {photo.source}" for photo in photos], FITTED_SCENES))
    unseen = [photo for number, photo in enumerate(photos) if number not in fitted]
    validation = read_photos(index, "val")
    pairs: list[Pair] = []
    for rain_type in RainType:
        fitting = [photo for photo in unseen if rain_type.is_night or photo.light != "night"]
        sampler = random.Random(f"pool {rain_type}")
        for number in range(per_type):
            kind = "good" if number < good_share * per_type else list(NEGATIVES)[number % len(NEGATIVES)]
            photo, other = sampler.sample(fitting, 2)
            pairs.append(render_pair(photo, other, kind, rain_type, folder, "train"))
        held = [photo for photo in validation if rain_type.is_night or photo.light != "night"]
        for photo in random.Random(f"val {rain_type}").sample(held, val_per_type):
            pairs.append(render_pair(photo, photo, "good", rain_type, folder, "val"))
    unique = list({pair.id: pair for pair in pairs}.values())
    write_manifest(pool / "pool.csv", [pair for pair in unique if pair.split == "train"])
    write_manifest(pool / "val.csv", [pair for pair in unique if pair.split == "val"])
    references = pool / "references"
    references.mkdir(exist_ok=True)
    with (pool / "references.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "type"])
        for path, type_name in real_photos(index, "train"):
            link = references / f"{path.parent.name}-{path.name}"
            if not link.exists():
                link.symlink_to(path.resolve())
            writer.writerow([link.relative_to(pool), type_name])
    print(f"{len(unique)} pairs of pictures up to {LONGEST} pixels in {pool}")


def write_subsets(pool: Path) -> None:
    """A manifest for each training, all with the same validation pairs, and a table of what is in them."""
    everything, validation = read_manifest(pool / "pool.csv"), read_manifest(pool / "val.csv")
    kept = {pair.id for pair in read_manifest(pool / "distilled" / "manifest.csv")}
    distilled = [pair for pair in everything if pair.id in kept]
    drawn: list[Pair] = []
    for rain_type in RainType:
        of_type = [pair for pair in everything if pair.type == rain_type]
        count = sum(pair.type == rain_type for pair in distilled)
        drawn += random.Random(f"random {rain_type}").sample(of_type, count)
    print("| subset | pairs | " + " | ".join(RainType) + " | good |")
    print("|---|---:|" + "---:|" * 5)
    for name, pairs in zip(SUBSETS, (everything, drawn, distilled), strict=True):
        write_manifest(pool / f"{name}.csv", [*pairs, *validation])
        types = Counter(pair.type for pair in pairs)
        good = sum(pair.source == "good" for pair in pairs) / max(len(pairs), 1)
        print(f"| {name} | {len(pairs)} | " + " | ".join(str(types[t]) for t in RainType) + f" | {good:.0%} |")
    print("\n| kind | in the pool | kept |\n|---|---:|---:|")
    for kind in ("good", *NEGATIVES):
        ids = [pair.id for pair in everything if pair.source == kind]
        print(f"| {kind} | {len(ids)} | {sum(identity in kept for identity in ids) / max(len(ids), 1):.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    pool = commands.add_parser("pool", help="render the pool")
    pool.add_argument("index", type=Path)
    pool.add_argument("pool", type=Path)
    pool.add_argument("--per-type", type=int, default=600)
    pool.add_argument("--good-share", type=float, default=0.3)
    pool.add_argument("--val-per-type", type=int, default=25)
    subsets = commands.add_parser("subsets", help="write the manifests of the three trainings")
    subsets.add_argument("pool", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "pool":
        render_pool(arguments.index, arguments.pool, arguments.good_share, arguments.per_type, arguments.val_per_type)
    else:
        write_subsets(arguments.pool)


if __name__ == "__main__":
    main()
