"""Photographs on disk in, rainy pictures with their targets on disk out: `simulate` for whole folders.

The rain of a picture depends on the seed, the photograph's content, the type and the number of the variation, and on
nothing else: not on the order, on what was there before, or on where the photograph lies.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.errors import DatasetError, DerainError
from derain.files import is_disk_full
from derain.imaging.io import read_image, write_image
from derain.rain.cut import cut_scene
from derain.rain.settings import RainSettings
from derain.rain.simulate import SIMULATOR_VERSION, simulate
from derain.rain.weather import SimulatedType, is_suited


@dataclass(frozen=True)
class CleanPhoto:
    """A photograph that rain is to fall on."""

    path: Path
    name: Path
    """Its path relative to where the photographs lie, which names what is rendered from it."""
    is_night: bool
    """It shows night; such photographs serve the types of rain by night, and snow and haze."""
    content: str = ""
    """`content_digest` of the file, by whoever knows it already; empty lets `plan_renders` take it."""


@dataclass(frozen=True)
class RenderJob:
    """One rainy picture and its target to render."""

    photo: CleanPhoto
    """With its content, unless it could not be read."""
    rain_type: SimulatedType
    seed: int
    variation: int
    """0, 1, ...: several pictures of one photograph and type differ in this."""
    settings: RainSettings
    longest_side: int | None
    """Larger photographs are reduced to this many pixels first."""
    squares: tuple[int, int] | None
    """Smallest and largest side of the random square that is cut out first; none renders the whole photograph."""
    id: str
    rainy: Path
    clean: Path


@dataclass(frozen=True)
class Rendered:
    """The outcome of a job."""

    job: RenderJob
    is_new: bool
    """False if both files were there already, or if it failed."""
    reason: str
    """Why it failed; empty otherwise."""
    is_disk_full: bool = False
    """Whether it failed because nothing more can be written to the disk."""


def plan_renders(
    photos: Sequence[CleanPhoto],
    rain_types: Sequence[SimulatedType],
    out: Path,
    seed: int,
    per_photo: int = 1,
    count: int | None = None,
    longest_side: int | None = None,
    settings: RainSettings = RainSettings(),  # noqa: B008 -- frozen
    squares: tuple[int, int] | None = None,
) -> list[RenderJob]:
    """The pictures to render: `per_photo` of each photograph and type, at most `count` of each type.

    With `squares`, each on a random square of its photograph at a random scale, see `derain.rain.cut`.

    They go to out/rainy/TYPE/ and out/clean/TYPE/. Their names hold the seed, the variation, and a digest of the
    photograph's content and of what is done to it: what is there under a job's name is that job's picture, and
    photographs of one name but for the ending are kept apart.

    Raises:
        DatasetError: a name is not UTF-8, or no photograph suits a type.
    """
    for photo in photos:
        _check_name(photo)
    photos = [_with_content(photo) for photo in photos]
    digest_of = {photo.path: _work_digest(photo, settings, longest_side, squares) for photo in photos}
    jobs: list[RenderJob] = []
    planned_ids: set[str] = set()
    for rain_type in rain_types:
        suited = [photo for photo in photos if is_suited(rain_type, photo.is_night)]
        if not suited:
            raise DatasetError(
                f"type {rain_type}: needs photographs taken by day and only night ones are given; "
                "add some, or leave out drs and drd, as with --types nrs,nrd"
            )
        # Every photograph once before any of them twice, so that `count` takes as many scenes as there are.
        planned = [(photo, variation) for variation in range(per_photo) for photo in suited]
        for photo, variation in planned[:count]:
            name = f"{rain_type}/{photo.name.with_suffix('').as_posix()}_s{seed}_{variation}"
            identity = f"{name}_{digest_of[photo.path]}"
            if identity in planned_ids and photo.content:
                continue  # a copy of one name, which gives the same picture
            planned_ids.add(identity)
            jobs.append(
                RenderJob(
                    photo=photo,
                    rain_type=rain_type,
                    seed=seed,
                    variation=variation,
                    settings=settings,
                    longest_side=longest_side,
                    squares=squares,
                    id=identity,
                    rainy=out / "rainy" / f"{identity}.png",
                    clean=out / "clean" / f"{identity}.png",
                )
            )
    return jobs


def render(jobs: Sequence[RenderJob]) -> Iterator[Rendered]:
    """Render every job in turn and yield its outcome.

    Jobs whose files are there are not rendered again. A photograph that cannot be read, or a picture that cannot be
    written, is reported with its reason and the next job follows. Jobs of one photograph that follow one another decode
    it once.
    """
    decoder = _Decoder()
    for job in jobs:
        if job.rainy.exists() and job.clean.exists():
            yield Rendered(job, is_new=False, reason="")
            continue
        try:
            _render(job, decoder)
        except (DerainError, OSError, MemoryError, RuntimeError) as error:
            reason = str(error) or type(error).__name__
            yield Rendered(job, is_new=False, reason=reason, is_disk_full=is_disk_full(error))
            continue
        yield Rendered(job, is_new=True, reason="")


def content_digest(path: Path) -> str:
    """SHA-256 of a file, which names a photograph wherever it lies.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rain_seed(content: str, rain_type: SimulatedType, seed: int, variation: int) -> int:
    """The seed of one picture's rain, from the digest of the photograph's content and what is asked of it."""
    key = f"{seed}|{rain_type}|{variation}|{content}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")


def _work_digest(
    photo: CleanPhoto, settings: RainSettings, longest_side: int | None, squares: tuple[int, int] | None
) -> str:
    """Eight characters that differ when the photograph's content, or what is done to it, differs."""
    work = f"{SIMULATOR_VERSION}|{photo.content}|{photo.is_night}|{longest_side}|{settings.model_dump_json()}"
    if squares is not None:
        work += f"|{squares[0]}-{squares[1]}"
    return hashlib.sha256(work.encode()).hexdigest()[:8]


def _with_content(photo: CleanPhoto) -> CleanPhoto:
    if photo.content:
        return photo
    try:
        return replace(photo, content=content_digest(photo.path))
    except OSError:  # its jobs will fail with the reason, and the other photographs' go on
        return photo


def _check_name(photo: CleanPhoto) -> None:
    try:
        str(photo.name).encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f"{photo.path}: its name is not UTF-8, which a manifest has to be; rename the photograph"
        ) from None


@dataclass
class _Decoder:
    """Keeps the photograph that was decoded last."""

    path: Path | None = None
    image: Tensor | None = None

    def read(self, path: Path) -> Tensor:
        if self.image is None or self.path != path:
            self.path, self.image = path, None  # the last one is let go before the next one is decoded
            self.image = read_image(path)
        return self.image


def _render(job: RenderJob, decoder: _Decoder) -> None:
    clean = _reduce(decoder.read(job.photo.path), job.longest_side)
    seed = rain_seed(job.photo.content, job.rain_type, job.seed, job.variation)
    generator = torch.Generator().manual_seed(seed)
    if job.squares is not None:
        clean = cut_scene(clean, *job.squares, generator)
    pair = simulate(clean, job.rain_type, generator, job.settings, is_night=job.photo.is_night)
    for path, image in ((job.clean, pair.target), (job.rainy, pair.rainy)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image)


def _reduce(image: Tensor, longest_side: int | None) -> Tensor:
    longest = max(image.shape[-2:])
    if longest_side is None or longest <= longest_side:
        return image
    size = [max(1, round(side * longest_side / longest)) for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
