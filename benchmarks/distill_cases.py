"""The labelled pairs that judges of the distillation are tried on: good rain, and synthetic negatives on its scenes.

Good are pairs simulated on clean photographs (without the looks of public benchmarks, which break physics themselves)
and real rainy photographs, which have no partner. Negatives are of the kinds of `derain.rain.negatives`: each on the
very scene and, where only the pair is spoiled, the very rain of a good pair, and two on each real photograph. So
neither the scene nor where a picture came from tells good from negative.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derain.backends.view import View
from derain.data.pairs import Photo, read_photos
from derain.imaging.io import read_image, to_pixels
from derain.rain.negatives import NEGATIVES, SEEN_WITHOUT_TARGET, GoodPair, make_negative
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.types import RainType

LONGEST = 512
"""Pictures are reduced to this before anything is done to them."""

PHYSICAL = RainSettings(look_share=0.0)


@dataclass(frozen=True)
class Labelled:
    """A case without its references."""

    name: str
    kind: str
    """`simulated` or `real`, which are good, `other_simulator`, which is neither, or a negative kind."""
    origin: str
    """`photo` where the scene is a clean photograph, `real` where it is a real rainy one, `collection` for others."""
    type: str
    rainy: View
    clean: View | None

    @property
    def is_good(self) -> bool:
        return self.kind in ("simulated", "real")


def view_of(image: Tensor) -> View:
    """An image (1, 3, H, W) as a view, by the digest of its pixels."""
    pixels = np.ascontiguousarray(to_pixels(image))
    return View(hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(), pixels)


def seed_of(*parts: str) -> int:
    """A seed that follows from names."""
    return int.from_bytes(hashlib.sha256("|".join(parts).encode()).digest()[:6], "big")


def spread(items: list[str], count: int) -> list[int]:
    """Indices of `count` items, evenly over the groups that `items` names, in an order that follows from nothing else.

    Within a group the order is that of a seeded permutation; groups take turns.
    """
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(11)).tolist()
    groups: dict[str, list[int]] = {}
    for index in order:
        groups.setdefault(items[index], []).append(index)
    chosen: list[int] = []
    while len(chosen) < min(count, len(items)):
        for name in sorted(groups):
            if groups[name] and len(chosen) < count:
                chosen.append(groups[name].pop())
    return chosen


def real_photos(index: Path, split: str) -> list[tuple[Path, str]]:
    """Path and rain type of the real rainy photographs of an index."""
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "real" and row["split"] == split]
    return [(index.parent / row["path"], row["type"]) for row in rows]


def other_pairs(index: Path, split: str) -> list[tuple[Path, Path, str]]:
    """Rainy picture, target and type of the pairs of other simulators."""
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    targets = {Path(row["path"]).name: row["path"] for row in rows if row["role"] == "target"}
    rainy = [row for row in rows if row["role"] == "rainy" and Path(row["path"]).name in targets]
    return [(index.parent / r["path"], index.parent / targets[Path(r["path"]).name], r["type"]) for r in rainy]


def reduced(path: Path) -> Tensor:
    """The picture in a file, no side longer than `LONGEST`, both a multiple of 8 cut from the top left."""
    image = read_image(path)
    longest = max(image.shape[-2:])
    if longest > LONGEST:
        size = [round(side * LONGEST / longest) for side in image.shape[-2:]]
        image = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return image[..., : image.shape[-2] // 8 * 8, : image.shape[-1] // 8 * 8]


def labelled_cases(index: Path, split: str, scenes: int, reals: int) -> Iterator[Labelled]:
    """All cases of a split; the same for the same index."""
    photos = read_photos(index, split)
    chosen = [photos[i] for i in spread([f"{photo.light} {photo.source}" for photo in photos], scenes)]
    for number, photo in enumerate(chosen):
        yield from cases_of_scene(photo, chosen[(number + 1) % len(chosen)], list(RainType)[number % 4])
    found = real_photos(index, split)
    for place in spread([f"{path.parent} {path.stem[:4]}" for path, _ in found], reals):
        yield from cases_of_real(*found[place])
    for rainy, target, rain_type in other_pairs(index, split)[: scenes // 2]:
        name = f"other {rainy.parent.parent.name} {rainy.stem}"
        pair = (view_of(reduced(rainy)), view_of(reduced(target)))
        yield Labelled(name, "other_simulator", "collection", rain_type, *pair)


def cases_of_scene(photo: Photo, other: Photo, rain_type: RainType) -> Iterator[Labelled]:
    """A good pair on a clean photograph, and each negative kind."""
    if photo.light == "night" and not rain_type.is_night:
        rain_type = RainType(f"n{rain_type.value[1:]}")
    name = f"{photo.source} {photo.scene} {rain_type}"
    generator = torch.Generator().manual_seed(seed_of(name, "good"))
    pair = simulate(reduced(photo.path), rain_type, generator, PHYSICAL, is_night=photo.light == "night")
    yield Labelled(name, "simulated", "photo", rain_type, view_of(pair.rainy), view_of(pair.target))
    good = GoodPair(pair.rainy, pair.target, reduced(other.path))
    for kind in NEGATIVES:
        negative = make_negative(kind, good, torch.Generator().manual_seed(seed_of(name, kind)))
        yield Labelled(name, kind, "photo", rain_type, view_of(negative.rainy), view_of(negative.target))


def cases_of_real(path: Path, rain_type: str) -> Iterator[Labelled]:
    """A real rainy photograph, and two negative kinds over it."""
    image = reduced(path)
    name = f"real {path.parent.name} {path.stem}"
    yield Labelled(name, "real", "real", rain_type, view_of(image), None)
    draw = torch.randperm(len(SEEN_WITHOUT_TARGET), generator=torch.Generator().manual_seed(seed_of(name)))
    for number in draw[:2].tolist():
        kind = SEEN_WITHOUT_TARGET[number]
        good = GoodPair(image, image, image)
        negative = make_negative(kind, good, torch.Generator().manual_seed(seed_of(name, kind)))
        yield Labelled(name, kind, "real", rain_type, view_of(negative.rainy), None)
