"""Data of the training methods, as the settings name it: pairs with replay of earlier ones, unpaired pictures."""

from functools import partial
from typing import Any

import torch
from rich.console import Console

from derain.data.paired import Batch, PairedDataset
from derain.data.replay import ReplayDataset
from derain.data.schedule import seed_of_sample
from derain.data.stream import SampleDataset
from derain.data.unpaired import CleanColumn, CleanFiles, RainyRows, UnpairedBatch, UnpairedDataset, UnpairedSource
from derain.errors import DatasetError
from derain.objectives.losses import rain_mask
from derain.train.corpus import Corpus, read_corpus
from derain.train.settings import TrainSettings
from derain.train.simulated import simulate_pending

REPLAY_STREAM = 2**61
"""A sample number that no run reaches: earlier data is drawn with a seed of its own."""


class PairedData:
    """Pairs of manifests and simulated ones; with `data.replay`, earlier pairs among them."""

    def __init__(self, settings: TrainSettings) -> None:
        """Read the lists of split `train`.

        Raises:
            DatasetError: nothing is named, or an index or manifest is not what it should be.
        """
        self._settings = settings
        self._present = read_corpus(settings.data, "train")
        self._former: Corpus | None = None
        if settings.data.replay is not None:
            self._former = read_corpus(settings.data.replayed(), "train")
        self._corpora = [self._present] if self._former is None else [self._present, self._former]

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that a sample can have."""
        return tuple(dict.fromkeys(name for corpus in self._corpora for name in corpus.labels))

    def open(self, device: torch.device, console: Console | None) -> SampleDataset[Any, Batch]:
        """The samples; see `Corpus.source` for what is checked and rendered.

        Raises:
            DatasetError: data is missing or wrong.
        """
        present = self._dataset(self._present, self._settings.seed, device, console)
        if self._former is None or self._settings.data.replay is None:
            return present
        seed = seed_of_sample(self._settings.seed, REPLAY_STREAM)
        former = self._dataset(self._former, seed, device, console)
        return ReplayDataset(present, former, self._settings.data.replay.share)

    def check(self) -> None:
        """Check what `open` would, and render nothing.

        Raises:
            DatasetError: data is missing or wrong.
        """
        for corpus in self._corpora:
            corpus.checked()

    def digest(self) -> str:
        """Of the files of split `train`, and of those replayed."""
        return "+".join(filter(None, (corpus.digest() for corpus in self._corpora)))

    def watched_digest(self) -> str | None:
        """Of the files that the probe of the reweighting is drawn from."""
        is_probed = self._settings.reweighting.uses_probe(len(self._settings.data.types))
        return read_corpus(self._settings.data, "probe").digest() or None if is_probed else None

    def counts(self) -> dict[str, int]:
        """Rows by source and type."""
        former = {} if self._former is None else self._former.counts()
        return self._present.counts() | {f"replayed: {name}": count for name, count in former.items()}

    def _dataset(self, corpus: Corpus, seed: int, device: torch.device, console: Console | None) -> PairedDataset:
        data = corpus.settings
        source = corpus.source(console)
        corpus.print_left_out(console)
        in_trainer = data.simulation.is_in_trainer(device)
        return PairedDataset(
            source,
            data.types,
            seed,
            data.crop,
            data.crops_per_picture,
            data.clean_fraction,
            data.turn,
            rain_mask,
            corpus.type_shares(),
            partial(simulate_pending, settings=data.simulation.rain, device=device) if in_trainer else None,
        )


class UnpairedData:
    """Rainy pictures of manifests (their rainy column) and clean ones: photographs, and the manifests' clean column.

    A clean picture is drawn from `data.photos` by `data.photos_weight`, from the clean column of a manifest by the
    manifest's weight; `photos_weight: 0` leaves the photographs out, an empty clean column the manifest.
    """

    def __init__(self, settings: TrainSettings) -> None:
        """Read the lists of split `train`.

        Raises:
            DatasetError: an index or manifest is not what it should be, a type has no rainy picture, or there is no
                clean one.
        """
        self._settings = settings
        self._corpus = read_corpus(settings.data, "train")
        data = settings.data
        rainy = [RainyRows(rows, entry.weight) for entry, rows in zip(data.manifests, self._corpus.pairs, strict=True)]
        clean = [CleanFiles([photo.path for photo in self._corpus.photos], data.photos_weight)]
        clean += [CleanFiles(CleanColumn(entry.rows), entry.weight) for entry in rainy]
        try:
            self._source = UnpairedSource(rainy, clean, data.types)
        except DatasetError as error:
            raise DatasetError(f"split 'train', unpaired: {error}") from error

    def open(
        self,
        device: torch.device,  # noqa: ARG002 - nothing is simulated
        console: Console | None,
    ) -> SampleDataset[Any, UnpairedBatch]:
        """The samples; with `data.check: all`, the headers of all pictures are looked at first.

        Raises:
            DatasetError: a picture is missing, unreadable or smaller than a crop.
        """
        data = self._settings.data
        self._corpus.check_pictures(console)
        self._corpus.print_left_out(console)
        return UnpairedDataset(
            self._source,
            data.types,
            self._settings.seed,
            data.crop,
            data.crops_per_picture,
            data.turn,
            self._corpus.rainy_shares(),
        )

    def check(self) -> None:
        """With `data.check: all`, look at the headers of all pictures.

        Raises:
            DatasetError: a picture is missing, unreadable or smaller than a crop.
        """
        self._corpus.check_pictures(None)

    def digest(self) -> str:
        """Of the files of split `train`."""
        return self._corpus.digest()

    def watched_digest(self) -> str | None:
        """Nothing is watched."""
        return None

    def counts(self) -> dict[str, int]:
        """Rows by source and type."""
        return self._corpus.counts()
