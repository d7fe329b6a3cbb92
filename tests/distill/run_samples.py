"""A finished run on real pictures: simulated rain and grey lines on sample photographs, and the run's tables."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import skimage.data
import torch

from derain.backends.view import file_digest
from derain.data.pairs import write_manifest
from derain.distill.judges.interface import Outcome
from derain.distill.knowledge.record import Record, ReviewStatus
from derain.distill.pipeline.outputs import pyramid
from derain.distill.pipeline.schema import result_schema
from derain.distill.results import ResultRow, iterate_batches, pair_key, rows_of
from derain.imaging.io import Picture, read_image, read_picture, write_image, write_picture
from derain.rain.simulate import simulate
from derain.types import RainType

JUDGES = ("rain-layer", "typicality", "pairing")
SCENES = {
    "astronaut": lambda: skimage.data.astronaut()[:192, :256],
    "chelsea": lambda: skimage.data.chelsea()[40:232, 60:316],
    "coffee": lambda: skimage.data.coffee()[::2, ::2],
    "rocket": lambda: skimage.data.rocket()[::2, ::2],
}


@dataclass(frozen=True)
class Pictures:
    """Files of sample pictures."""

    clean: list[Path]
    good: list[Path]
    """With simulated rain, in the order of `clean`."""
    negative: list[Path]
    """With grey lines, in the order of `clean`."""


def write_pictures(folder: Path) -> Pictures:
    """The sample photographs and two kinds of rain on each."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Pictures([], [], [])
    for number, (name, pixels) in enumerate(SCENES.items()):
        paths = [folder / f"{name}_{kind}.png" for kind in ("clean", "good", "negative")]
        write_picture(paths[0], Picture(pixels=np.ascontiguousarray(pixels())))
        rain_type = list(RainType)[number % 4]
        clean = read_image(paths[0])
        write_image(paths[1], simulate(clean, rain_type, torch.Generator().manual_seed(number)).rainy)
        write_picture(paths[2], Picture(pixels=negative_rain(read_picture(paths[0]).pixels, number)))
        for path, listed in zip(paths, (found.clean, found.good, found.negative), strict=True):
            listed.append(path)
    return found


def negative_rain(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Grey lines of one width, as drawing programs make them."""
    random = np.random.default_rng(seed)
    rainy = pixels.astype(np.int32)
    for _ in range(60):
        top, left = random.integers(0, pixels.shape[0] - 30), random.integers(8, pixels.shape[1])
        steps = np.arange(30)
        rainy[top + steps, left - steps // 4] = 200
    return rainy.clip(0, 255).astype(np.uint8)


def write_run(out: Path, pictures: Pictures, kept: int, dropped: int, pending: int = 0, refused: int = 0) -> None:
    """A run's tables with so many rows; `refused` rows are dropped before any judge saw them."""
    out.mkdir(parents=True, exist_ok=True)
    rows = {
        Outcome.KEPT: [result_row(pictures, Outcome.KEPT, number) for number in range(kept)],
        Outcome.DROPPED: [result_row(pictures, Outcome.DROPPED, number) for number in range(dropped)]
        + [refused_row(pictures, number) for number in range(refused)],
        Outcome.PENDING: [result_row(pictures, Outcome.PENDING, number) for number in range(pending)],
    }
    write_result(out, rows)


def write_result(out: Path, rows: Mapping[Outcome, Sequence[dict[str, object]]]) -> None:
    """All files of a run's result, of rows by outcome; without photographs in the base and without splits."""
    for outcome in Outcome:
        write_rows(out, outcome, rows.get(outcome, []))
    counts = Counter((outcome.value, row["type"], row["source"]) for outcome in rows for row in rows[outcome])
    (out / "pyramid.json").write_text(json.dumps(pyramid({}, counts, {}, [])))
    write_manifest(out / "manifest.csv", [])


def write_rows(out: Path, outcome: Outcome, rows: Sequence[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=result_schema()), out / f"{outcome.value}.parquet")


def result_row(pictures: Pictures, outcome: Outcome, number: int) -> dict[str, object]:
    """A judged candidate. Kept ones have simulated rain and two or three votes for them, dropped ones grey lines."""
    place = number % len(pictures.clean)
    is_kept = outcome is Outcome.KEPT
    rainy = (pictures.good if is_kept else pictures.negative)[place]
    source = ("simulated", "street") if is_kept else ("drawn", "simulated", "street")
    random = np.random.default_rng([number, is_kept])
    decisions = ["keep", "keep", "keep"] if is_kept else ["drop", "drop", "drop"]
    if number % 3 == 0:
        decisions[number // 3 % 3] = "drop" if is_kept else "keep"
    elif number % 5 == 1:
        decisions[0] = "abstain"
    if outcome is Outcome.PENDING:
        decisions = decisions[:1]
    reasons = {"keep": "looks_real", "drop": "grey_lines", "abstain": "unreadable_reply"}
    centre = np.zeros(16)
    centre[place + (0 if is_kept else 4)] = 1
    visual = centre + 0.15 * random.standard_normal(16)
    return {
        **_manifest_columns(pictures, number, outcome.value, rainy, place, source[number % len(source)]),
        "caption": f"a photograph with {'soft' if is_kept else 'hard'} streaks",
        "keywords": ["streaks", "rain"],
        "visual": list(visual / np.linalg.norm(visual)),
        "references": [
            {
                "digest": file_digest(path),
                "path": str(path),
                "text_distance": 0.2 + 0.01 * number,
                "cosine": 0.9,
                "ssim": 0.31,
            }
            for path in [pictures.good[(place + step) % len(pictures.good)] for step in range(3)]
        ],
        "verdicts": [
            {
                "judge": judge,
                "decision": decision,
                "score": None if decision == "abstain" else (1 if decision == "keep" else -1) * random.uniform(0.1, 2),
                "reason": reasons[decision],
                "reply": "",
                "seconds": 0.02 + 0.01 * seat,
            }
            for seat, (judge, decision) in enumerate(zip(JUDGES, decisions, strict=False))
        ],
        "outcome": outcome.value,
        "reason": {
            Outcome.KEPT: f"{'three' if decisions.count('keep') == 3 else 'two'}_of_three_keep",
            Outcome.DROPPED: "grey_lines",
            Outcome.PENDING: "no_answer: judge typicality",
        }[outcome],
        "stage_seconds": [("caption", 0.05), ("embed", 0.02), ("retrieve", 0.004), ("judge", 0.09)],
    }


def refused_row(pictures: Pictures, number: int) -> dict[str, object]:
    """A candidate that was dropped before it came to any model."""
    place = number % len(pictures.clean)
    row = _manifest_columns(pictures, number, "refused", pictures.good[place], place, "street")
    return {**row, "outcome": "dropped", "reason": f"duplicate_of:kept-{number}", "stage_seconds": []}


def _manifest_columns(
    pictures: Pictures, number: int, kind: str, rainy: Path, place: int, source: str
) -> dict[str, object]:
    return {
        "id": f"{kind}-{number}",
        "rainy": str(rainy),
        "clean": str(pictures.clean[place]),
        "type": list(RainType)[place].value,
        "source": source,
        "split": "train",
        "scene": f"{kind}-{number // 2}",
        "digest": file_digest(rainy),
        "clean_digest": file_digest(pictures.clean[place]),
        "perceptual_hash": number,
        "width": 256,
        "height": 192,
        "type_origin": "manifest",
    }


def make_record(
    path: Path,
    number: int,
    status: ReviewStatus = ReviewStatus.UNREVIEWED,
    rain_type: str = "drs",
    thumbnail: bytes = b"",
    source: str = "street",
) -> Record:
    """A record of a knowledge base; its digest is made of the number."""
    random = np.random.default_rng(number)
    text, visual = random.standard_normal(8).astype(np.float32), random.standard_normal(16).astype(np.float32)
    return Record(
        digest=hashlib.sha256(str(number).encode()).hexdigest(),
        path=str(path),
        source=source,
        width=256,
        height=192,
        type=rain_type,
        light="night" if rain_type.startswith("n") else "day",
        status=status,
        reason="sharpness 0.1 below 0.3" if status is ReviewStatus.FILTERED else "",
        quality=0.5,
        perceptual_hash=number,
        caption="a street in the rain",
        expansion="",
        keywords=("street", "rain"),
        description="street, rain",
        text=text / np.linalg.norm(text),
        visual=visual / np.linalg.norm(visual),
        luminance=np.full((256, 256), number % 256, np.uint8),
        thumbnail=thumbnail,
    )


def iterate_rows(out: Path, outcome: Outcome) -> list[ResultRow]:
    """All rows of an outcome in file order."""
    names = ["id", "digest", "clean_digest"]
    cells = [row for batch in iterate_batches(out, outcome, names) for row in batch.to_pylist()]
    return rows_of(out, outcome, [pair_key(*(row[name] or "" for name in names)) for row in cells])
