"""How hard simulated rain is: PSNR of the rainy input against its target, per type, over clean photographs.

    python benchmarks/rain_statistics.py photographs/index.csv --split val --count 100

prints for each type the median, the quartiles and the extremes of PSNR and the median SSIM, under the `rgb` protocol.
"""

import argparse
from pathlib import Path

import torch

from derain.data.pairs import Photo, read_photos
from derain.imaging.io import read_image
from derain.imaging.metrics import Protocol, psnr, ssim
from derain.rain.simulate import simulate
from derain.types import RainType

REAL_MEDIANS = {RainType.DRS: 23.8, RainType.DRD: 20.8, RainType.NRS: 26.9, RainType.NRD: 21.1}
"""Median PSNR in dB of the inputs in real collections; the simulator should come within 2 dB."""


def main() -> None:
    """Parse the arguments and print one row per type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="CSV of clean photographs: path, light, split, source, scene")
    parser.add_argument("--split", default="val", help="which part of the photographs")
    parser.add_argument("--count", type=int, default=100, help="pictures per type; photographs repeat with new rain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=int, default=720, help="larger photographs are cropped to their centre")
    parser.add_argument("--types", default=",".join(RainType), help="comma-separated types")
    arguments = parser.parse_args()
    photos = read_photos(arguments.index, arguments.split)
    print("| type | pictures | median | wanted | least | lower quartile | upper quartile | greatest | median SSIM |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in arguments.types.split(","):
        rain_type = RainType(name)
        values, similarities = measure(photos, rain_type, arguments.count, arguments.seed, arguments.longest)
        low, q25, median, q75, high = torch.quantile(
            values, torch.tensor([0, 0.25, 0.5, 0.75, 1.0], dtype=values.dtype)
        ).tolist()
        print(
            f"| {rain_type} | {len(values)} | {median:.2f} | {REAL_MEDIANS[rain_type]:.1f} | {low:.1f} | {q25:.1f} "
            f"| {q75:.1f} | {high:.1f} | {similarities.median():.3f} |",
            flush=True,
        )


def measure(
    photos: list[Photo], rain_type: RainType, count: int, seed: int, longest: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """PSNR and SSIM of `count` rainy pictures against their targets, each (count,).

    Day photographs serve the types of day; those of night also the types of night, which turn the former into night.
    """
    usable = [photo for photo in photos if rain_type.is_night or photo.light != "night"]
    values, similarities = [], []
    for number in range(count):
        photo = usable[number % len(usable)]
        clean = centre_crop(read_image(photo.path), longest)
        generator = torch.Generator().manual_seed(seed + number)
        pair = simulate(clean, rain_type, generator, is_night=photo.light == "night")
        values.append(psnr(pair.rainy, pair.target, Protocol.RGB))
        similarities.append(ssim(pair.rainy, pair.target, Protocol.RGB))
    return torch.cat(values), torch.cat(similarities)


def centre_crop(image: torch.Tensor, longest: int) -> torch.Tensor:
    """The centre of (B, 3, H, W), at most `longest` pixels on a side."""
    height, width = image.shape[-2:]
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[..., top : top + longest, left : left + longest]


if __name__ == "__main__":
    main()
