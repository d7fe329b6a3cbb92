"""Do the built-in judges of the distillation tell good pairs from negative ones? AUC and precision, as Markdown tables.

    python benchmarks/distill_judges.py --photos photographs/index.csv --cache scratch/judges
    python benchmarks/distill_judges.py --photos photographs/index.csv --cache scratch/judges --hold-out
    python benchmarks/distill_judges.py --photos photographs/index.csv --cache scratch/judges --fit

`distill_cases.py` says what is good and what is negative. References are the three real rainy photographs of the split
train that lie nearest by the visual encoder, the picture itself left out. With `--fit` the shipped coefficients are
written, from the split train alone: thresholds are set on scores of scenes that the fit had not seen. What is reported
is measured on the split val with the shipped coefficients; `--hold-out` reports instead, for each negative kind, how
well judges that were fitted without it tell it from good. What is computed of pictures is kept in the folder given by
`--cache`.
"""

import argparse
from pathlib import Path

import torch

import distill_judges_fit as fitting
import distill_judges_report as reporting
from distill_judges_features import FeatureMaker


def main() -> None:
    """Parse the arguments; fit if asked to; report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photos", type=Path, required=True, help="index with roles clean and real (and rainy, target)"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for what is computed of pictures")
    parser.add_argument("--fit", action="store_true", help="write the shipped coefficients anew")
    parser.add_argument("--hold-out", action="store_true", help="fit without each negative kind; report these")
    parser.add_argument("--reasons", action="store_true", help="also report which reasons judges give")
    parser.add_argument("--train-scenes", type=int, default=80)
    parser.add_argument("--train-reals", type=int, default=70)
    parser.add_argument("--val-scenes", type=int, default=60)
    parser.add_argument("--val-reals", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    maker = FeatureMaker(arguments.photos, arguments.cache, arguments.train_reals)
    if arguments.fit:
        fitting.write_coefficients(maker, maker.cases("train", arguments.train_scenes, arguments.train_reals))
    val = maker.cases("val", arguments.val_scenes, arguments.val_reals)
    if arguments.hold_out:
        train = maker.cases("train", arguments.train_scenes, arguments.train_reals)
        reporting.report_held_out(maker, train, val)
    else:
        reporting.report(val, fitting.shipped_models(), arguments.reasons)


if __name__ == "__main__":
    main()
