"""What a model does to photographs without rain: PSNR of its output against its input, protocol `rgb`, as one sentence.

python benchmarks/clean_harm.py photographs/index.csv --split val --model tiny
"""

import argparse
from pathlib import Path
from statistics import mean

import derain
from derain.data.pairs import read_photos
from derain.imaging.io import read_picture, to_tensor
from derain.imaging.metrics import Protocol, psnr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="CSV of clean photographs: path, light, split, source, scene")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    restorer = derain.load(arguments.model)
    values = []
    for photo in read_photos(arguments.index, arguments.split):
        pixels = read_picture(photo.path).pixels
        values.append(float(psnr(to_tensor(restorer(pixels)), to_tensor(pixels), Protocol.RGB)))
    print(f"Output against input of {len(values)} photographs: mean {mean(values):.1f} dB, least {min(values):.1f} dB.")


if __name__ == "__main__":
    main()
