"""Weather rendered ahead: pairs in a folder, made once and drawn from by every run that wants the same.

Simulating costs more than learning from a small crop. With `SimulationSettings.cache`, the pairs are rendered before
the run starts, each on its own random square of its photograph, and found again by their names, which hold the
photograph's content, the seed, the variation, the settings and the version of the simulator. A killed rendering
continues where it was.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from derain.data.pairs import Photo
from derain.data.sources import RainyPicture, Source
from derain.errors import DatasetError, TrainingError
from derain.imaging.io import read_image
from derain.rain.render import CleanPhoto, Rendered, RenderJob, content_digest, plan_renders, render
from derain.rain.weather import SIMULATED, SimulatedType, simulated_type
from derain.train.simulated import PhotoChoice, SimulationSettings, check_sides


class RenderedSource:
    """Draws from rendered pairs: photographs are chosen as a simulating source does, then evenly of its variations."""

    def __init__(self, choice: PhotoChoice, jobs: dict[tuple[SimulatedType, Path], list[RenderJob]]) -> None:
        self._choice = choice
        self._jobs = jobs

    @property
    def types(self) -> frozenset[str]:
        """The types that were rendered."""
        return frozenset(kind.value for kind, _ in self._jobs)

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """Decode one pair of a type.

        Raises:
            ImageError: it cannot be read any more.
        """
        kind = simulated_type(type_name)
        variations = self._jobs[kind, self._choice.choose(kind, generator).path]
        job = variations[int(torch.randint(len(variations), (1,), generator=generator))]
        return RainyPicture(read_image(job.rainy)[0], read_image(job.clean)[0])

    def prepare(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """The same as `draw`: it is rendered already."""
        return self.draw(type_name, generator)


def rendered_source(
    photos: Sequence[Photo],
    types: Sequence[str],
    settings: SimulationSettings,
    crop: int,
    seed: int,
    workers: int,
    console: Console | None = None,
) -> Source:
    """Render what is missing in `settings.cache` and give a source that draws from it.

    Args:
        photos: of one split, which gets a folder of its own in the cache.
        types: those wanted; what cannot be simulated, or not on these photographs, is left to other sources.
        settings: must name a cache.
        crop: smallest side of the pairs in pixels.
        seed: of the run; another one renders other pairs.
        workers: processes that render; 0 renders in this one.
        console: for progress and the numbers of pairs reused and rendered; none prints nothing.

    Raises:
        DatasetError: a photograph is missing, unreadable or too small, photographs are of several splits, or a pair
            could not be rendered.
    """
    if settings.cache is None:
        raise DatasetError("wanted a folder for rendered pairs, got none; set data.simulation.cache")
    splits = sorted({photo.split for photo in photos})
    if len(splits) != 1:
        raise DatasetError(f"wanted photographs of one split, got {', '.join(splits) or 'none'}; render each apart")
    check_sides(photos, settings, crop)
    choice = PhotoChoice(photos, settings)
    kinds = [kind for kind in SIMULATED if kind in types and kind in choice.types]
    if not kinds:
        return RenderedSource(choice, {})
    clean = {photo.path: _named_by_content(photo) for photo in photos}
    planned: list[RenderJob] = []
    by_name: dict[tuple[SimulatedType, Path], list[RenderJob]] = {}
    jobs: dict[tuple[SimulatedType, Path], list[RenderJob]] = {}
    for kind in kinds:
        chosen = [clean[photo.path] for photo in choice.photos_of(kind)]
        # The same photograph may be listed twice, from two places; it is rendered once.
        unique = {photo.name: photo for photo in chosen}
        folder, squares = settings.cache / splits[0], (settings.side_min, settings.side_max)
        of_kind = plan_renders(
            list(unique.values()), [kind], folder, seed, settings.variations, settings=settings.rain, squares=squares
        )
        for job in of_kind:
            by_name.setdefault((kind, job.photo.name), []).append(job)
        jobs |= {(kind, photo.path): by_name[kind, photo.name] for photo in chosen}
        planned += of_kind
    _render_missing(planned, settings.cache, workers, console or Console(quiet=True))
    return RenderedSource(choice, jobs)


def _named_by_content(photo: Photo) -> CleanPhoto:
    """The photograph under a name that stays when the file or the list of files is moved."""
    shows_night = photo.light == "night"
    try:
        content = content_digest(photo.path)
    except OSError as error:
        raise DatasetError(f"{photo.path}: cannot be read ({error.strerror}); mend it or remove its row") from error
    name = Path(f"{content[:20]}{'n' if shows_night else 'd'}")
    return CleanPhoto(photo.path, name, shows_night, content)


def _render_missing(planned: Sequence[RenderJob], cache: Path, workers: int, console: Console) -> None:
    missing = [job for job in planned if not (job.rainy.exists() and job.clean.exists())]
    failed: list[Rendered] = []
    step = max(1, len(missing) // 10)
    with Progress(console=console, disable=not (missing and console.is_terminal)) as progress:
        task = progress.add_task("rendering", total=len(missing))
        for count, rendered in enumerate(_rendered(missing, workers), start=1):
            progress.advance(task)
            if rendered.reason:
                failed.append(rendered)
            if not console.is_terminal and count % step == 0 and count < len(missing):
                console.print(f"{cache}: rendered {count} of {len(missing)}", highlight=False, markup=False)
    if failed:
        raise DatasetError(
            f"{failed[0].job.photo.path}: its {failed[0].job.rain_type} could not be rendered: {failed[0].reason} "
            f"({len(failed)} of {len(missing)} pairs failed); mend the photograph or its folder, or remove its row"
        )
    reused = len(planned) - len(missing)
    console.print(f"{cache}: reused {reused}, rendered {len(missing)}", highlight=False, markup=False)


def _rendered(jobs: Sequence[RenderJob], workers: int) -> Iterator[Rendered]:
    """What became of each job, in the order in which they were done; those of a photograph together."""
    by_photo: dict[Path, list[RenderJob]] = {}
    for job in jobs:
        by_photo.setdefault(job.photo.path, []).append(job)
    if workers == 0 or not jobs:
        for of_photo in by_photo.values():
            yield from render(of_photo)
        return
    # So that few photographs keep all processes busy, each is shared by some of them.
    shares = -(-workers // len(by_photo))
    tasks = [task for of_photo in by_photo.values() for k in range(shares) if (task := of_photo[k::shares])]
    # A forked copy of a process that runs threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_begin_worker)
    try:
        for done in as_completed([pool.submit(_render_all, task) for task in tasks]):
            yield from done.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process that renders pairs was killed, perhaps for want of memory; "
            "start again with fewer data.workers; it continues where it was"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _render_all(jobs: Sequence[RenderJob]) -> list[Rendered]:
    return list(render(jobs))


def _begin_worker() -> None:
    """One thread for each process; the parent decides when to stop, and none outlives it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
