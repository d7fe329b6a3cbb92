"""PSNR by type of weights on the validation pictures of a training run, as the run measures it: a Markdown table.

    python benchmarks/run_validation.py RUN/settings.yaml tiny RUN/checkpoints/final.safetensors

Run it in the folder that the run was started in: paths in its settings are as they were given.
"""

import argparse
from pathlib import Path

from derain.models.checkpoints import load_checkpoint
from derain.models.find import find_checkpoint
from derain.settings import load_settings
from derain.train.settings import TrainSettings
from derain.train.validation import fixed_validation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path, help="settings.yaml of a run")
    parser.add_argument("weights", nargs="+", help="names of shipped models, or files")
    arguments = parser.parse_args()
    validate = fixed_validation(load_settings(TrainSettings, arguments.settings))
    for place, weights in enumerate(arguments.weights):
        report = validate(load_checkpoint(find_checkpoint(weights))[0].eval())
        if place == 0:
            labels = [row.label for row in report.rows]
            print(f"| weights | {' | '.join(labels)} | mean gain |\n|---|{'---:|' * (len(labels) + 1)}")
            print(f"| input | {' | '.join(f'{row.psnr_in:.2f}' for row in report.rows)} | |")
        print(f"| {weights} | {' | '.join(f'{row.psnr_out:.2f}' for row in report.rows)} | {report.gain:+.2f} |")


if __name__ == "__main__":
    main()
