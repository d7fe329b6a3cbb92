"""What a recipe's data settings name, read and checked: photographs and pairs of one split, as one source."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.data.digest import data_digest
from derain.data.pairs import Pair, Photo, read_manifest, read_photos
from derain.data.sources import Mixture, PairSource, WeightedSource
from derain.errors import DatasetError
from derain.train.settings import DataSettings
from derain.train.simulated import SimulatedSource


@dataclass(frozen=True)
class Corpus:
    """The rows of one split that take part."""

    settings: DataSettings
    split: str
    photos: Sequence[Photo]
    pairs: Sequence[Sequence[Pair]]
    """One sequence per manifest, in the order of the settings; pairs of unwanted types are left out."""

    def source(self) -> Mixture:
        """All of it as one source of the wanted types.

        Raises:
            DatasetError: a wanted type is in no source, or a picture is missing, unreadable or smaller than a crop.
        """
        sources = []
        if self.photos:
            simulated = SimulatedSource(self.photos, self.settings.simulation, self.settings.crop)
            sources.append(WeightedSource(simulated, self.settings.photos_weight))
        for manifest, pairs in zip(self.settings.manifests, self.pairs, strict=True):
            sources.append(WeightedSource(PairSource(pairs, self.settings.crop), manifest.weight))
        return Mixture(sources, self.settings.types)

    def digest(self) -> str:
        """Digest of all files that take part, see `data.digest`; empty where there are none.

        Raises:
            DatasetError: a file cannot be read.
        """
        listed: list[tuple[Path, list[tuple[str, list[Path]]]]] = []
        if self.settings.photos is not None and self.photos:
            listed.append((self.settings.photos, [(str(photo.light), [photo.path]) for photo in self.photos]))
        for manifest, pairs in zip(self.settings.manifests, self.pairs, strict=True):
            rows = [(str(pair.type), [file for file in (pair.rainy, pair.clean) if file is not None]) for pair in pairs]
            if rows:
                listed.append((manifest.path, rows))
        try:
            return "+".join(data_digest(rows, path.parent, self.settings.digest) for path, rows in listed)
        except OSError as error:
            raise DatasetError(
                f"{error.filename}: wanted a file that can be read to the end, got: {error.strerror}; "
                "mend it, or remove its row from the list"
            ) from error

    def counts(self) -> dict[str, int]:
        """Photographs by source and light, pairs by source and type."""
        counted = Counter(f"photos {photo.source} {photo.light}" for photo in self.photos)
        counted.update(f"pairs {pair.source} {pair.type}" for pairs in self.pairs for pair in pairs)
        return dict(sorted(counted.items()))


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


def _read_pairs(path: Path, split: str, settings: DataSettings) -> list[Pair]:
    pairs = [pair for pair in read_manifest(path) if pair.split == split and pair.type in settings.types]
    if not pairs and split == "train":
        raise DatasetError(
            f"{path}: no pairs of split 'train' and types {', '.join(settings.types)}; "
            "take it out of data.manifests or correct the columns split and type"
        )
    return pairs
