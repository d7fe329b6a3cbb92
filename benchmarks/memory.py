"""Peak memory and time of restoring a picture by the size of the tiles, as a Markdown table.

    python benchmarks/memory.py [--model tiny] [--megapixels 12] [--tiles 256 384 512 768 1024]

The default tile of `derain.infer.restore` is chosen by this table. Every row is a fresh process (see restore_speed.py).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SPEED = Path(__file__).with_name("restore_speed.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--tiles", type=int, nargs="+", default=[256, 384, 512, 768, 1024])
    arguments = parser.parse_args()
    print(f"Model {arguments.model}, {arguments.megapixels:g} megapixels\n")
    print("| tile | s per megapixel | processor s per megapixel | peak memory, GB |")
    print("|---:|---:|---:|---:|")
    for tile in arguments.tiles:
        command = [sys.executable, str(SPEED), "--one", "--model", arguments.model, "--tile", str(tile)]
        command += ["--megapixels", str(arguments.megapixels)]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        per_megapixel = [row[key] / arguments.megapixels for key in ("wall", "processor")]
        print(f"| {tile} | {per_megapixel[0]:.2f} | {per_megapixel[1]:.2f} | {row['peak_gb']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
