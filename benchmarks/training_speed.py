"""Training speed: crops a second of whole optimizer steps (forward, backward, clipping, AdamW) without data loading.

    python benchmarks/training_speed.py --model tiny --batch 32 --threads 2

Prints a Markdown table. The machine must be otherwise idle: a second busy process slows a two-thread run several times.
"""

import argparse
import statistics
import time

import torch
from torch.nn.utils import clip_grad_norm_

from derain.models import zoo


def seconds_a_step(model: str, precision: str, channels_last: bool, batch: int, steps: int) -> list[float]:
    """Wall seconds of each of `steps` optimizer steps on (batch, 3, 128, 128), after two that warm up."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = zoo.build(model).train().to(memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    rainy, clean = (torch.rand(batch, 3, 128, 128).to(memory_format=layout) for _ in range(2))
    seconds = []
    for _ in range(steps + 2):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            restored = network(rainy)
        (restored.float() - clean).abs().mean().backward()
        clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
    return seconds[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=list(zoo.MODELS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"Model {arguments.model}, {arguments.batch} crops of 128x128 a step, {arguments.threads} threads.\n")
    print("| precision | layout | crops/s (median) | crops/s (best) |")
    print("|---|---|---|---|")
    for precision, channels_last in (("bf16", True), ("bf16", False), ("fp32", True), ("fp32", False)):
        seconds = seconds_a_step(arguments.model, precision, channels_last, arguments.batch, arguments.steps)
        layout = "channels_last" if channels_last else "contiguous"
        median, best = (arguments.batch / s for s in (statistics.median(seconds), min(seconds)))
        print(f"| {precision} | {layout} | {median:.1f} | {best:.1f} |", flush=True)


if __name__ == "__main__":
    main()
