"""Seconds per megapixel and peak memory of restoring pictures of several sizes, as a Markdown table.

    python benchmarks/restore_speed.py [--model tiny] [--megapixels 1 4 12 50] [--tile N] [--threads N]

Every size runs in a fresh process, whose peak memory is that of the whole process: interpreter, torch, weights, input
and output included. A model without shipped weights runs with random ones; speed does not depend on them.
Wall time depends on what else the machine does, so the processor's time stands beside it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import derain
from derain.infer.restore import Restorer
from derain.models.checkpoints import CheckpointHeader, save_checkpoint
from derain.models.find import shipped_weights
from derain.models.zoo import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="name of a model, or a checkpoint")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 4, 12, 50])
    parser.add_argument("--tile", type=int, default=None)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=None, help="torch's threads; its own choice by default")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    rows = []
    for megapixels in arguments.megapixels:
        rows.append(in_fresh_process(megapixels))
        print(f"{megapixels:g} megapixels done", file=sys.stderr)
    first = rows[0]
    print(
        f"Model {arguments.model}, {first['precision']} on {first['device']}, {first['threads']} threads, "
        f"tiles of {first['tile']} pixels, torch {torch.__version__}\n"
    )
    print("| megapixels | size | wall, s | s per megapixel | processor s per megapixel | peak memory, GB |")
    print("|---:|---|---:|---:|---:|---:|")
    for megapixels, row in zip(arguments.megapixels, rows, strict=True):
        print(
            f"| {megapixels:g} | {row['width']} x {row['height']} | {row['wall']:.1f} | {row['wall'] / megapixels:.2f} "
            f"| {row['processor'] / megapixels:.2f} | {row['peak_gb']:.2f} |"
        )


def in_fresh_process(megapixels: float) -> dict[str, float]:
    """This script's own arguments again, for one size."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", "--megapixels", str(megapixels)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(arguments: argparse.Namespace) -> dict[str, float | str]:
    """Restore one picture of noise in 4:3."""
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    restorer = load(arguments)
    height = round((arguments.megapixels[0] * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    restorer(pixels[:256, :256])  # the first call chooses kernels
    wall, processor = time.perf_counter(), time.process_time()
    restorer(pixels)
    return {
        "width": width,
        "height": height,
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "device": restorer.runtime.device,
        "precision": restorer.runtime.precision.value,
        "tile": restorer.tile,
        "threads": torch.get_num_threads(),
    }


def load(arguments: argparse.Namespace) -> Restorer:
    """The model, with random weights if none are shipped or named."""
    model = arguments.model
    if model in shipped_weights() or Path(model).exists():
        return derain.load(model, precision=arguments.precision, tile=arguments.tile)
    network = build(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_checkpoint(path, network, CheckpointHeader(model=model, settings=network.settings.model_dump(mode="json")))
        del network
        return derain.load(path, precision=arguments.precision, tile=arguments.tile)


if __name__ == "__main__":
    main()
