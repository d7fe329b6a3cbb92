"""Speed of the rain simulator: seconds per picture and type.

    python benchmarks/simulator.py --threads 2

prints wall time, CPU time of the process and the slowest picture, for a 512 x 512 photograph.
"""

import argparse
import time

import torch

from derain.imaging.pixels import to_tensor
from derain.rain.simulate import simulate
from derain.types import RainType


def main() -> None:
    """Parse the arguments and print one row per type."""
    from skimage import data

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads that torch may use")
    parser.add_argument("--pictures", type=int, default=20, help="pictures per type")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clean = to_tensor(data.astronaut())
    print(
        f"{clean.shape[-2]} x {clean.shape[-1]} pixels, {arguments.threads} threads, {arguments.pictures} pictures.\n"
    )
    print("| type | wall, s | processor, s | slowest, s |")
    print("|---|---:|---:|---:|")
    for rain_type in RainType:
        walls, cpus = measure(clean, rain_type, arguments.pictures)
        mean_wall, mean_cpu = sum(walls) / len(walls), sum(cpus) / len(cpus)
        print(f"| {rain_type} | {mean_wall:.3f} | {mean_cpu:.3f} | {max(walls):.3f} |", flush=True)


def measure(clean: torch.Tensor, rain_type: RainType, pictures: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each picture, after one that is not counted."""
    walls, cpus = [], []
    for seed in range(pictures + 1):
        generator = torch.Generator().manual_seed(seed)
        wall, cpu = time.perf_counter(), time.process_time()
        simulate(clean, rain_type, generator)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return walls[1:], cpus[1:]


if __name__ == "__main__":
    main()
