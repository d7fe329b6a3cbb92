"""What the data settings name, read and checked: photographs and pairs of one split, as one source."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from derain.data.check import require_pictures, require_sound
from derain.data.digest import data_digest, list_digest
from derain.data.paired import CLEAN_LABEL
from derain.data.pairs import Photo, read_photos
from derain.data.sources import Mixture, PairSource, Source, WeightedSource
from derain.data.table import PairRows, open_table
from derain.errors import DatasetError
from derain.rain.weather import SIMULATED, is_suited, simulated_type
from derain.train.rendered import rendered_source
from derain.train.settings import DataSettings
from derain.train.simulated import SimulatedSource

CACHE_SEED = 0
"""Rendered pairs do not depend on the run's seed, so that runs of all seeds share them."""

PROGRESS_EVERY_S = 10.0
"""A check of many pictures prints this often how far it is."""


@dataclass(frozen=True)
class Corpus:
    """The rows of one split that take part."""

    settings: DataSettings
    split: str
    photos: Sequence[Photo]
    pairs: Sequence[PairRows]
    """One selection per manifest, in the order of the settings; rows of unwanted types are left out."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The wanted types, and the label of clean samples."""
        return (*self.settings.types, CLEAN_LABEL)

    def source(self, console: Console | None = None) -> Mixture:
        """All of it as one source of the wanted types, with the pairs rendered ahead that a cache asks for.

        Whatever can be wrong is found before pairs are rendered, which may take hours.

        Raises:
            DatasetError: as `checked`, or a pair cannot be rendered.
        """
        settings = self.settings
        pairs = self._checked_pairs(console)
        mixture = self._mixture(self._simulated(), pairs)
        renders = bool(self.photos) and self.split == "train" and settings.photos_weight > 0
        if settings.simulation.cache is None or not renders:
            return mixture
        rendered = rendered_source(
            self.photos, settings.types, settings.simulation, settings.crop, CACHE_SEED, settings.workers, console
        )
        return self._mixture(rendered, pairs)

    def checked(self) -> Mixture:
        """The same with nothing rendered ahead.

        With `data.check: all`, the headers of all pictures of the pairs are looked at, unless that was done before.

        Raises:
            DatasetError: a wanted type is in no source, or a picture is missing, unreadable, smaller than a crop, or
                of another size than its partner.
        """
        pairs = self._checked_pairs(None)
        return self._mixture(self._simulated(), pairs)

    def _checked_pairs(self, console: Console | None) -> list[WeightedSource]:
        """The manifests; progress of the check is printed if it takes long."""
        given = []
        for manifest, pairs in zip(self.settings.manifests, self.pairs, strict=True):
            given.append(WeightedSource(PairSource(pairs), manifest.weight))
            self._check(manifest.path, pairs, console)
        return given

    def check_pictures(self, console: Console | None) -> None:
        """With `data.check: all`, look at the headers of all pictures that can be drawn without being paired.

        Raises:
            DatasetError: a picture is missing, unreadable or smaller than a crop.
        """
        for manifest, pairs in zip(self.settings.manifests, self.pairs, strict=True):
            self._check(manifest.path, pairs, console)
        if self.settings.check == "all" and self.settings.photos_weight > 0:
            require_pictures([photo.path for photo in self.photos], self.settings.crop)

    def _check(self, manifest: Path, pairs: PairRows, console: Console | None) -> None:
        if self.settings.check == "all":
            require_sound(pairs, self.settings.crop, _CheckProgress(manifest, console))

    def _simulated(self) -> SimulatedSource | None:
        settings = self.settings
        return SimulatedSource(self.photos, settings.simulation, settings.crop) if self.photos else None

    def _mixture(self, of_photos: Source | None, of_pairs: Sequence[WeightedSource]) -> Mixture:
        settings = self.settings
        simulated = [] if of_photos is None else [WeightedSource(of_photos, settings.photos_weight)]
        try:
            return Mixture([*simulated, *of_pairs], settings.types)
        except DatasetError as error:
            raise DatasetError(
                f"split {self.split!r}: {error} (simulation on data.photos makes {', '.join(SIMULATED)}; any other "
                "type needs a manifest that has it)"
            ) from error

    def type_shares(self) -> tuple[float, ...] | None:
        """How often each of the wanted types is drawn, by `data.sampling`; none where all take turns.

        With `natural` these are rows: the pairs of the type in all manifests, and for a type that is simulated the
        photographs that it can be put on. A source of weight 0 has no rows.
        """
        if self.settings.sampling == "balanced":
            return None
        return tuple(float(self._rows_of(name)) for name in self.settings.types)

    def rainy_shares(self) -> tuple[float, ...] | None:
        """The same where nothing is simulated: `natural` counts the rows of manifests alone."""
        if self.settings.sampling == "balanced":
            return None
        return tuple(float(self._pairs_of(name)) for name in self.settings.types)

    def _pairs_of(self, type_name: str) -> int:
        return sum(len(pairs.of_type(type_name)) for pairs in self.pairs)

    def _rows_of(self, type_name: str) -> int:
        rows = self._pairs_of(type_name)
        if self.settings.photos_weight > 0 and type_name in set(SIMULATED):
            kind = simulated_type(type_name)
            rows += sum(is_suited(kind, shows_night=photo.light == "night") for photo in self.photos)
        return rows

    def digest(self) -> str:
        """Digest of what takes part, see `data.digest`; empty where there is nothing.

        Raises:
            DatasetError: a file cannot be read.
        """
        listed: list[tuple[Path, Iterator[tuple[str, list[Path]]]]] = []
        if self.settings.photos is not None and self.photos:
            listed.append((self.settings.photos, ((str(photo.light), [photo.path]) for photo in self.photos)))
        for manifest, pairs in zip(self.settings.manifests, self.pairs, strict=True):
            if pairs:
                listed.append((manifest.path, _files(pairs)))
        over = self.settings.digest
        try:
            return "+".join(
                list_digest(path) if over == "manifest" else data_digest(rows, path.parent, over)
                for path, rows in listed
            )
        except OSError as error:
            raise DatasetError(
                f"{error.filename}: wanted a file that can be read to the end, got: {error.strerror}; "
                "mend it, or remove its row from the list"
            ) from error

    def left_out(self) -> dict[str, int]:
        """Pairs of the split that take no part, by the type that is not wanted; `""` are those without type."""
        counted: Counter[str] = Counter()
        for pairs in self.pairs:
            counted.update(pairs.left_out())
        return dict(sorted(counted.items()))

    def print_left_out(self, console: Console | None) -> None:
        """Print which rows take no part."""
        if console is not None and (left_out := self.left_out()):
            message = ", ".join(f"{count} of {name or 'no type'}" for name, count in left_out.items())
            console.print(f"rows that take no part, for data.types does not name them: {message}", soft_wrap=True)

    def counts(self) -> dict[str, int]:
        """Photographs by source and light, pairs by source and type, and pairs that are left out by type."""
        counted = Counter(f"photos {photo.source} {photo.light}" for photo in self.photos)
        for pairs in self.pairs:
            for (source, name), count in pairs.counts().items():
                counted[f"pairs {source} {name}"] += count
        for name, count in self.left_out().items():
            counted[f"left out: pairs {f'of type {name}' if name else 'without type'}"] = count
        return dict(sorted(counted.items()))


def _files(pairs: PairRows) -> Iterator[tuple[str, list[Path]]]:
    for pair in pairs:
        yield str(pair.type), [file for file in (pair.rainy, pair.clean) if file is not None]


def read_corpus(settings: DataSettings, split: str) -> Corpus:
    """Read what the settings name.

    A photograph or pair of an unwanted type is no part of the corpus. An index or manifest without rows of
    the split is an error for `train`, and an empty part of the corpus for other splits.

    Raises:
        DatasetError: nothing is named, or an index or manifest is not what it should be.
    """
    if settings.photos is None and not settings.manifests:
        raise DatasetError(
            "wanted something to learn from, but neither data.photos nor data.manifests is set; "
            "give an index of clean photographs, such as --set data.photos=photos/index.csv"
        )
    photos = read_photos(settings.photos, "train" if split == "train" else None) if settings.photos is not None else []
    photos = [photo for photo in photos if photo.split == split]
    return Corpus(settings, split, photos, [_read_pairs(entry.path, split, settings) for entry in settings.manifests])


def _read_pairs(path: Path, split: str, settings: DataSettings) -> PairRows:
    pairs = open_table(path).select(split, settings.types)
    if not pairs and split == "train":
        raise DatasetError(
            f"{path}: no pairs of split 'train' and types {', '.join(settings.types)}; "
            "take it out of data.manifests or correct the columns split and type"
        )
    return pairs


class _CheckProgress:
    """Prints now and then how far a check is."""

    def __init__(self, path: Path, console: Console | None) -> None:
        self.path = path
        self.console = console
        self.began_s = self.printed_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if self.console is None or now_s - self.printed_s < PROGRESS_EVERY_S:
            return
        self.printed_s = now_s
        left_min = (now_s - self.began_s) * (total - done) / done / 60
        self.console.print(
            f"{self.path}: {done} of {total} pairs looked at, about {left_min:.1f} min left",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
