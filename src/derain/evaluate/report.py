"""Tables of a benchmark: means by rain type as Markdown, and a row per picture as CSV or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from derain.errors import DatasetError
from derain.evaluate.benchmark import Score
from derain.evaluate.scoring import CEILING_DB
from derain.files import write_bytes
from derain.imaging.metrics import Protocol
from derain.infer.plan import check_folder
from derain.types import RainType


@dataclass(frozen=True)
class Row:
    """Means over the pictures of one type, or over the types."""

    label: str
    pictures: int
    input_psnr: float
    output_psnr: float
    input_ssim: float
    output_ssim: float

    @property
    def psnr_gain(self) -> float:
        """dB that restoration gained."""
        return self.output_psnr - self.input_psnr

    @property
    def ssim_gain(self) -> float:
        """Structural similarity that restoration gained."""
        return self.output_ssim - self.input_ssim


def rows_by_type(scores: Sequence[Score]) -> list[Row]:
    """One row per type, the four of `RainType` first and others after them by name."""
    present = {score.type for score in scores}
    known = [rain_type.value for rain_type in RainType if rain_type.value in present]
    others = sorted(present - set(known))
    return [_row(name, [score for score in scores if score.type == name]) for name in [*known, *others]]


def average(rows: Sequence[Row]) -> Row:
    """The mean over the types, each with the same weight however many pictures it has, as papers give it."""
    return Row(
        label="average of types",
        pictures=sum(row.pictures for row in rows),
        input_psnr=fmean(row.input_psnr for row in rows),
        output_psnr=fmean(row.output_psnr for row in rows),
        input_ssim=fmean(row.input_ssim for row in rows),
        output_ssim=fmean(row.output_ssim for row in rows),
    )


def markdown_table(scores: Sequence[Score], protocol: Protocol) -> str:
    """Input, output and gain by type, and their average; the protocol stands in the head.

    Raises:
        DatasetError: there is nothing to tabulate.
    """
    if not scores:
        raise DatasetError("no picture could be measured, so there is no table; see the reasons given for each")
    rows = rows_by_type(scores)
    if len(rows) > 1:
        rows.append(average(rows))
    head = ("type", "pictures", "PSNR in", "PSNR out", "gain, dB", "SSIM in", "SSIM out", "gain")
    lines = [f"Protocol: {protocol.value}", "", _line(head), "|" + "---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        cells = (
            row.label,
            str(row.pictures),
            f"{row.input_psnr:.2f}",
            f"{row.output_psnr:.2f}",
            f"{row.psnr_gain:+.2f}",
            f"{row.input_ssim:.4f}",
            f"{row.output_ssim:.4f}",
            f"{row.ssim_gain:+.4f}",
        )
        lines.append(_line(cells))
    if any(CEILING_DB in (score.input_psnr, score.output_psnr) for score in scores):
        lines += ["", f"Pictures that equal their target count as {CEILING_DB:g} dB."]
    return "\n".join(lines)


def check_rows_path(path: Path) -> None:
    """Raises DatasetError if rows cannot be written there, or not in the form that the path's suffix asks for."""
    if path.is_dir():
        raise DatasetError(f"{path}: a file was wanted for the rows and this is a folder; give a path within it")
    check_folder(path.parent)
    if path.suffix.lower() not in (".csv", ".json"):
        raise DatasetError(f"{path}: rows are written as .csv or .json; give a path that ends in one of them")


def write_scores(path: Path, scores: Sequence[Score], protocol: Protocol) -> None:
    """Write a row per picture, as JSON if the path ends in .json and as CSV if in .csv, in one move.

    Raises:
        DatasetError: the path has another suffix, or is in no folder that can be written to; there are no rows.
    """
    check_rows_path(path)
    if not scores:
        raise DatasetError(f"{path}: no picture could be measured, so there are no rows to write")
    rows = [_columns(score, protocol) for score in scores]
    if path.suffix.lower() == ".json":
        text = json.dumps(rows, indent=1) + "\n"
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))  # a file name that is no UTF-8 is escaped


def _columns(score: Score, protocol: Protocol) -> dict[str, object]:
    """Which pair it is, then its figures."""
    which = {"id": score.id, "type": score.type, "source": score.source, "height": score.height, "width": score.width}
    return which | asdict(score) | {"protocol": protocol.value}


def _row(name: str, scores: Sequence[Score]) -> Row:
    label = f"{name} ({RainType(name).label})" if name in set(RainType) else name
    return Row(
        label=label,
        pictures=len(scores),
        input_psnr=fmean(score.input_psnr for score in scores),
        output_psnr=fmean(score.output_psnr for score in scores),
        input_ssim=fmean(score.input_ssim for score in scores),
        output_ssim=fmean(score.output_ssim for score in scores),
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
