"""What `derain restore` spends on a folder of small pictures, beside what the network alone needs, as a Markdown table.

    python benchmarks/restore_folder.py [--pictures 100] [--megapixels 0.15] [--format png] [--compare] [--repeat 3]

Three programs are timed in turn, each in a fresh process, and the one with the least wall time of each is shown:

- start: `derain restore` on a folder of which all results are there, so that it loads everything and restores nothing;
- network: the model on the same pixels in memory, without start, files or messages;
- restore: the whole command.

`overhead` is the command's wall time without its start, as a multiple of the network's; at most 1.3 is wanted.
Wall time depends on what else the machine does; processor time, of all threads and with the system's, hardly does.
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
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples" / "rainy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--megapixels", type=float, default=0.15)
    parser.add_argument("--format", default="png", choices=["png", "jpg", "webp"])
    parser.add_argument("--compare", action="store_true", help="with before/after pictures")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--network", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.network is not None:
        print(json.dumps(measure_network(arguments.network)))
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        make_photos(photos, arguments)
        best: dict[str, tuple[float, float]] = {}
        for attempt in range(arguments.repeat):
            out = Path(folder) / f"out{attempt}"
            command = [sys.executable, "-m", "derain", "restore", str(photos), "-o", str(out)]
            command += ["--compare"] if arguments.compare else []
            timed = {
                "restore": run_timed(command)[0],
                "start": run_timed(command)[0],  # all results are there
                "network": tuple(json.loads(run_timed([sys.executable, __file__, "--network", str(photos)])[1])),
            }
            best = {name: min(best.get(name, figures), figures) for name, figures in timed.items()}
    print_table(arguments, best)


def make_photos(folder: Path, arguments: argparse.Namespace) -> None:
    """Rainy pictures of 4:3 from the examples, all of one size and no two the same."""
    folder.mkdir()
    height = round((arguments.megapixels * 1e6 * 3 / 4) ** 0.5)
    examples = [path for path in sorted(EXAMPLES.rglob("*")) if path.suffix in (".jpg", ".png")]
    for index in range(arguments.pictures):
        with Image.open(examples[index % len(examples)]) as image:
            pixels = np.asarray(image.convert("RGB").resize((round(height * 4 / 3), height)))
        Image.fromarray(np.roll(pixels, 7 * index, axis=1)).save(folder / f"{index:04}.{arguments.format}", quality=92)


def run_timed(command: list[str]) -> tuple[tuple[float, float], str]:
    """Wall and processor seconds of a command, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stdout


def measure_network(folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of restoring the pictures of a folder in memory."""
    import derain
    from derain.imaging.io import read_picture

    restorer = derain.load()
    pixels = [read_picture(path).pixels for path in sorted(folder.iterdir())]
    restorer.restore(pixels[0])  # the first call chooses kernels
    wall, processor = time.perf_counter(), time.process_time()
    for picture in pixels:
        restorer.restore(picture)
    return time.perf_counter() - wall, time.process_time() - processor


def print_table(arguments: argparse.Namespace, best: dict[str, tuple[float, float]]) -> None:
    compared = ", with before/after pictures" if arguments.compare else ""
    print(f"{arguments.pictures} {arguments.format} pictures of {arguments.megapixels} megapixels{compared}\n")
    print("| part | wall, s | processor, s |")
    print("|---|---:|---:|")
    for name in ("start", "network", "restore"):
        print(f"| {name} | {best[name][0]:.2f} | {best[name][1]:.2f} |")
    overhead = [(best["restore"][i] - best["start"][i]) / best["network"][i] for i in (0, 1)]
    print(f"| overhead | {overhead[0]:.2f} | {overhead[1]:.2f} |")


if __name__ == "__main__":
    main()
