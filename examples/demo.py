"""Restore the example photographs with the shipped weights and show what was gained.

    python examples/demo.py [OUT]

writes restored photographs and before/after pictures to OUT (demo/ by default) and prints the gain by rain type.
"""

import sys
import time
from pathlib import Path

import derain
from derain.data.layouts import read_paired_folder
from derain.evaluate.benchmark import Score, benchmark
from derain.evaluate.report import markdown_table
from derain.imaging.metrics import Protocol
from derain.infer.files import FileRun, Status
from derain.infer.plan import plan_jobs

HERE = Path(__file__).parent


def main(out: Path) -> int:
    started = time.perf_counter()
    restorer = derain.load("tiny")
    failed = 0
    for outcome in FileRun(restorer, plan_jobs([HERE / "rainy"], out, compare=True).jobs, overwrite=True):
        failed += outcome.status is Status.FAILED
        print(f"{outcome.job.source.relative_to(HERE)}: {outcome.reason or f'restored in {outcome.seconds:.1f} s'}")
    pairs, _ = read_paired_folder(HERE)
    results = list(benchmark(restorer, pairs, Protocol.UNIRAIN))
    scores = [result for result in results if isinstance(result, Score)]
    gain = sum(score.output_psnr - score.input_psnr for score in scores) / len(scores)
    print()
    print(markdown_table(scores, Protocol.UNIRAIN))
    print()
    print(f"Before/after pictures: {out / 'compare'}   restored photographs: {out}")
    print(f"{len(scores)} rainy photographs, {gain:+.2f} dB on average, in {time.perf_counter() - started:.0f} s")
    return 1 if failed or len(scores) < len(results) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
