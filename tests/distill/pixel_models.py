"""Models that answer from pixels alone, and files to ask them about. Every finished call is written to a log."""

import csv
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data

from derain.backends.interfaces import Identity, Vectors
from derain.backends.view import View, read_view
from derain.data.near_duplicates import perceptual_hash
from derain.distill.answers.cached import Question, answer_key
from derain.distill.judges.interface import Case, Decision, Verdict
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import Record, ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.structure import luminance
from derain.distill.models import CacheEncoder, Models, uncached
from derain.distill.settings import DistillSettings, RetrievalSettings
from derain.errors import ModelError
from derain.imaging.io import Picture, write_picture

JUDGES = ("bright", "detailed", "paired")
WORDS = ("grey", "red", "green", "blue", "dark", "bright", "smooth", "rough")


@dataclass(frozen=True)
class Log:
    """Lines `ROLE KEY`, one for each answer, written when a call has its answers; and models that are shut.

    A file `shut-ROLE` in the folder shuts a model; `odd-DIGEST` makes every model stumble over that picture.
    """

    folder: Path
    seconds: float = 0.0
    """That each call takes."""

    def enter(self, role: str, digests: Sequence[str] = ()) -> None:
        if (self.folder / f"shut-{role}").exists():
            raise ModelError(f"{role} is shut; open it")
        for digest in digests:
            if (self.folder / f"odd-{digest}").exists():
                raise ZeroDivisionError(f"odd picture {digest[:4]}")

    def note(self, role: str, keys: Sequence[bytes]) -> None:
        time.sleep(self.seconds)
        lines = "".join(f"{role} {key.hex()}\n" for key in keys)
        file = os.open(self.folder / "calls.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, lines.encode())
        os.close(file)

    def lines(self) -> list[tuple[str, bytes]]:
        file = self.folder / "calls.log"
        words = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(role, bytes.fromhex(key)) for role, key in words]


@dataclass(frozen=True)
class PixelCaptioner:
    log: Log
    identity = Identity("pixel-captioner", "1")
    batch_size = 2

    def caption(self, views: Sequence[View]) -> list[str]:
        self.log.enter("captioner", [view.digest for view in views])
        captions = [
            f"a {_tone(view)} picture of {view.pixels.mean():.3f} and {view.pixels.std():.3f}" for view in views
        ]
        self.log.note("captioner", [answer_key("caption", self.identity, [view.digest]) for view in views])
        return captions


@dataclass(frozen=True)
class PixelExpander:
    log: Log
    identity = Identity("pixel-expander", "1")
    batch_size = 2

    def expand(self, captions: Sequence[str]) -> list[str]:
        self.log.enter("expander")
        self.log.note("expander", [answer_key("expansion", self.identity, [caption]) for caption in captions])
        return [f"{caption}, with {WORDS[len(caption) % len(WORDS)]} rain" for caption in captions]


@dataclass(frozen=True)
class WordPicker:
    log: Log
    identity = Identity("word-picker", "1")

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        self.log.note("keywords", [answer_key("keywords", self.identity, [text]) for text in texts])
        return [tuple(dict.fromkeys(word for word in text.split() if word in WORDS)) for text in texts]


@dataclass(frozen=True)
class WordEncoder:
    log: Log
    identity = Identity("word-encoder", "1")
    dimensions = 12

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.log.enter("text_encoder")
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            rows.append(np.random.default_rng(seed).normal(size=self.dimensions))
        self.log.note("text_encoder", [answer_key("text", self.identity, [text]) for text in texts])
        return _unit(np.array(rows))


@dataclass(frozen=True)
class ThumbnailEncoder:
    log: Log
    identity = Identity("thumbnail-encoder", "1")
    dimensions = 48

    def encode_views(self, views: Sequence[View]) -> Vectors:
        self.log.enter("visual_encoder", [view.digest for view in views])
        rows = []
        for view in views:
            blocks = [np.array_split(band, 4, axis=1) for band in np.array_split(view.pixels, 4, axis=0)]
            rows.append(np.array([[block.mean((0, 1)) for block in band] for band in blocks]).ravel() + 1)
        self.log.note("visual_encoder", [answer_key("visual", self.identity, [view.digest]) for view in views])
        return _unit(np.array(rows))


@dataclass(frozen=True)
class PixelJudge:
    """`bright`: no darker than its references by much; `detailed`: has contrast; `paired`: rain only adds light."""

    name: str
    log: Log
    batch_size = 1

    @property
    def identity(self) -> Identity:
        return Identity("pixel-judge", "1", {"way": self.name})

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        self.log.enter(self.name, [case.candidate.digest for case in cases])
        verdicts = [self._verdict(case) for case in cases]
        self.log.note(self.name, [answer_key("verdict", self.identity, Question.of(case).content) for case in cases])
        return verdicts

    def _verdict(self, case: Case) -> Verdict:
        mean = float(case.candidate.pixels.mean())
        if self.name == "bright":
            score = mean - float(np.mean([view.pixels.mean() for view in case.references] or [100]))
        elif self.name == "detailed":
            score = float(case.candidate.pixels.std()) - 45
        else:
            assert case.clean is not None
            score = mean - float(case.clean.pixels.mean()) - 4
        if abs(score) < 0.2:
            return Verdict(self.name, Decision.ABSTAIN, None, "unreadable_reply", "hm")
        decision = Decision.KEEP if score > 0 else Decision.DROP
        return Verdict(self.name, decision, score, f"{self.name}_{decision}", "yes" if score > 0 else "no")


@dataclass(frozen=True)
class PixelModels:
    """Opens all of them; can be pickled."""

    folder: Path
    seconds: float = 0.0
    judges: tuple[str, ...] = JUDGES
    has_expander: bool = True

    def __call__(self, _settings: DistillSettings, cached: CacheEncoder = uncached) -> Models:  # noqa: ARG002
        log = self.log
        return Models(
            PixelCaptioner(log),
            PixelExpander(log) if self.has_expander else None,
            WordPicker(log),
            WordEncoder(log),
            ThumbnailEncoder(log),
            tuple(PixelJudge(name, log) for name in self.judges),
        )

    @property
    def log(self) -> Log:
        return Log(self.folder, self.seconds)

    def shut(self, role: str) -> None:
        (self.folder / f"shut-{role}").touch()

    def open(self, role: str) -> None:
        (self.folder / f"shut-{role}").unlink()


def small_settings(**changes: object) -> DistillSettings:
    retrieval = RetrievalSettings(k1=6, k2=4, k3=2)
    return DistillSettings(retrieval=retrieval, shard_rows=6, batch_rows=4, test_pairs=2, val_pairs=1).model_copy(
        update=changes
    )


def crop(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A piece of a sample photograph; different numbers give different pieces."""
    sample = (skimage.data.astronaut, skimage.data.chelsea, skimage.data.coffee, skimage.data.rocket)[number % 4]()
    rng = np.random.default_rng(number)
    top = int(rng.integers(0, sample.shape[0] - 2 * height))
    left = int(rng.integers(0, sample.shape[1] - 2 * width))
    return np.ascontiguousarray(sample[top : top + 2 * height : 2, left : left + 2 * width : 2, :3])


def streaked(pixels: np.ndarray, number: int) -> np.ndarray:
    """The picture with slanted lines of light."""
    rng = np.random.default_rng(1000 + number)
    rainy = pixels.astype(np.int32)
    for _ in range(int(rng.integers(4, 40))):
        y, x = int(rng.integers(0, pixels.shape[0] - 12)), int(rng.integers(0, pixels.shape[1] - 4))
        for step in range(12):
            rainy[y + step, x + step // 4] += int(rng.integers(20, 90))
    return np.clip(rainy, 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, Picture(pixels=pixels))
    return path


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A manifest; cells that are not given have usual values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    usual = {"clean": "", "type": "drs", "source": "set", "split": "train", "scene": ""}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "rainy", "clean", "type", "source", "split", "scene"])
        writer.writeheader()
        writer.writerows([usual | row for row in rows])
    return path


def make_candidates(
    folder: Path, count: int, types: Sequence[str] = ("drs", "drd"), size: tuple[int, int] = (48, 64)
) -> Path:
    """A manifest of pairs, three to a scene."""
    rows = []
    for number in range(count):
        clean = crop(number, *size)
        save(folder / "clean" / f"{number}.png", clean)
        save(folder / "rainy" / f"{number}.png", streaked(clean, number))
        cells = {"id": f"pair-{number}", "rainy": f"rainy/{number}.png", "clean": f"clean/{number}.png"}
        rows.append(cells | {"type": types[number % len(types)], "scene": f"scene-{number // 3}"})
    return write_table(folder / "manifest.csv", rows)


def make_base(folder: Path, models: Models, count: int = 8, size: tuple[int, int] = (48, 64)) -> str:
    """A knowledge base of streaked pieces, described by the models."""
    records = []
    for number in range(count):
        path = save(folder / "real" / f"{number}.png", streaked(crop(500 + number, *size), 500 + number))
        view = read_view(path)
        (caption,) = models.captioner.caption([view])
        records.append(
            Record(
                digest=view.digest,
                path=str(path),
                source="real",
                width=view.width,
                height=view.height,
                type=("drs", "drd")[number % 2],
                light="day",
                status=ReviewStatus.UNREVIEWED,
                reason="",
                quality=0.5,
                perceptual_hash=perceptual_hash(view.pixels),
                caption=caption,
                expansion="",
                keywords=(),
                description=caption,
                text=models.text_encoder.encode_texts([caption])[0],
                visual=models.visual_encoder.encode_views([view])[0],
                luminance=luminance(view),
                thumbnail=b"",
            )
        )
    base = KnowledgeBase.create(folder / "base", BaseIdentities.of(models))
    base.add(records)
    return str(folder / "base")


def _tone(view: View) -> str:
    return WORDS[int(view.pixels.mean()) % len(WORDS)]


def _unit(rows: np.ndarray) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
