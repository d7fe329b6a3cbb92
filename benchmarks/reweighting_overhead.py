"""What reweighting costs: seconds of a probe and its tick, against the steps between two of them.

    python benchmarks/reweighting_overhead.py --model tiny --batch 16 --threads 2

Prints a Markdown table. The crops are noise, for which the time is the same; data loading is left out, so that the
share is an upper bound. The machine must be otherwise idle.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from derain.data.paired import Batch
from derain.data.sources import RainyPicture
from derain.models import zoo
from derain.objectives.reweight import Reweighting, ReweightSettings
from derain.train.accelerator import Accelerator
from derain.train.methods.supervised import RestorationLoss
from derain.train.probe import Probe
from derain.train.schedule import build_optimizer
from derain.train.settings import LossSettings, OptimizerSettings

TYPES = ("drs", "drd", "nrs", "nrd")


class Noise:
    """A source of noise."""

    types = frozenset(TYPES)

    def draw(self, _type_name: str, generator: torch.Generator) -> RainyPicture:
        rainy, clean = torch.rand(2, 3, 128, 128, generator=generator)
        return RainyPicture(rainy, clean)

    def prepare(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        return self.draw(type_name, generator)


def timed(repeats: int, work: Callable[[], None]) -> float:
    """Median wall seconds of `work()`, after one that warms up."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=list(zoo.MODELS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    accelerator = Accelerator(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    module = accelerator.place(zoo.build(arguments.model))
    optimizer = build_optimizer(module, OptimizerSettings())
    criterion = RestorationLoss(LossSettings())
    rainy, clean = (torch.rand(arguments.batch, 3, 128, 128).to(memory_format=torch.channels_last) for _ in range(2))
    batch = Batch(
        rainy,
        clean,
        torch.full((arguments.batch,), 0.2),
        tuple(TYPES[number % 4] for number in range(arguments.batch)),
    )
    settings = ReweightSettings(method="full")
    plan = settings.plan(len(TYPES))
    probe, reweighting = Probe(Noise(), TYPES, 128, plan.probe_crops), Reweighting(TYPES, settings)

    def step() -> None:
        loss = torch.stack(list(criterion(accelerator.forward(module, batch.rainy), batch).values())).sum(dim=0).mean()
        accelerator.backward(loss)
        accelerator.step(optimizer, float(loss), clip_norm=1.0)

    def tick() -> None:
        reweighting.tick(probe(module, criterion, accelerator))

    step_s, tick_s = timed(arguments.repeats, step), timed(arguments.repeats, tick)
    share = tick_s / (plan.every_steps * step_s)
    print(
        f"Model {arguments.model}, bf16 on cpu, {arguments.threads} threads, {arguments.batch} crops a step, "
        f"{len(TYPES) * plan.probe_crops} crops in the probe\n"
    )
    print("| a step, s | a tick, s | steps between ticks | share of training time |")
    print("|---:|---:|---:|---:|")
    print(f"| {step_s:.3f} | {tick_s:.3f} | {plan.every_steps} | {100 * share:.2f} % |")


if __name__ == "__main__":
    main()
