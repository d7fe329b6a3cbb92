"""Which candidates are dropped for what they are beside others, on whole columns of millions of rows.

That are pictures of test sets, duplicates, and frames of a scene that has enough.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from derain.data.digest import list_digest
from derain.data.duplicates import hash_strings
from derain.data.near_duplicates import find_near, hamming
from derain.data.table import open_table
from derain.distill.pipeline.facts import FileMeasure, Unreadable
from derain.distill.settings import PrepareSettings
from derain.errors import DatasetError
from derain.imaging.folders import walk_files
from derain.imaging.formats import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa


Booleans = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Digests = npt.NDArray[np.bytes_]
"""(N,) of 32 bytes."""

FILES_AT_ONCE = 512

NONE = -1
"""In place of a row number."""

PIXEL_DIGEST, CLEAN_PIXEL_DIGEST = "pixel_digest", "clean_pixel_digest"
"""Columns of what was measured that only the search for duplicates needs, and that no candidate keeps."""


@dataclass(frozen=True)
class Registered:
    """All pictures of all sets, rainy and clean."""

    names: list[str]
    """Of the set that each belongs to."""
    digests: Digests
    hashes: Hashes


@dataclass
class Filters:
    """Which rows are left, and why the others are not judged, in a few bytes a row."""

    digests: Digests
    clean_digests: Digests
    pixel_digests: Digests
    clean_pixel_digests: Digests
    hashes: Hashes
    clean_hashes: Hashes
    ranks: Numbers
    """Of the ids, when sorted."""
    is_open: Booleans
    duplicate_of: Numbers
    """Row number, NONE for most."""
    shows: Numbers
    """Place among `set_names`, NONE for most."""
    set_names: list[str] = field(default_factory=list)

    @staticmethod
    def of(rows: "pa.Table") -> "Filters":
        """Rows without a reason of their own are open."""
        import pyarrow.compute as pc

        order = pc.sort_indices(rows, sort_keys=[("id", "ascending")]).to_numpy()
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return Filters(
            _digests(rows, "digest"),
            _digests(rows, "clean_digest"),
            _digests(rows, PIXEL_DIGEST),
            _digests(rows, CLEAN_PIXEL_DIGEST),
            _hashes(rows, "perceptual_hash"),
            _hashes(rows, "clean_hash"),
            ranks,
            np.asarray(rows.column("reason").is_null().to_numpy()).astype(np.bool_),
            np.full(len(order), NONE, np.int64),
            np.full(len(order), NONE, np.int64),
        )

    def drop_registered(self, rows: "pa.Table", registered: Registered, near_bits: int) -> None:
        """Pictures of test sets: of registered ones, and of rows whose own split is `test`."""
        import pyarrow.compute as pc

        # Also of rows that are dropped themselves, for a broken partner for instance: every picture that could be read.
        is_test = np.asarray(pc.equal(rows.column("split"), "test").to_numpy())
        rainy = np.flatnonzero(is_test & np.asarray(rows.column("digest").is_valid().to_numpy()))
        clean = np.flatnonzero(is_test & np.asarray(rows.column("clean_digest").is_valid().to_numpy()))
        sources = rows.column("source").take(np.concatenate([rainy, clean])).to_pylist()
        names = [*registered.names, *(f"test split of {source}" for source in sources)]
        digests = np.concatenate([registered.digests, self.digests[rainy], self.clean_digests[clean]])
        hashes = np.concatenate([registered.hashes, self.hashes[rainy], self.clean_hashes[clean]])
        self.set_names = sorted(set(names))
        number = {name: place for place, name in enumerate(self.set_names)}
        numbers = np.array([number[name] for name in names], np.int64)
        open_rows = np.flatnonzero(self.is_open)
        for side, side_hashes in ((self.digests, self.hashes), (self.clean_digests, self.clean_hashes)):
            found = registered_as(side[open_rows], side_hashes[open_rows], digests, hashes, near_bits)
            is_new = (found != NONE) & (self.shows[open_rows] == NONE)
            self.shows[open_rows[is_new]] = numbers[found[is_new]]
        self.is_open &= self.shows == NONE

    def drop_duplicates(self) -> None:
        """Of the same rainy picture several times the one with the first id stays, whatever their partners.

        The same are files of the same bytes, and files of the same pixels, such as PNGs that were compressed otherwise.
        """
        # Both, for equal bytes may have been measured by decoders of two versions.
        for digests in (self.digests, self.pixel_digests):
            found = first_of_equals(digests, self.ranks, self.is_open)
            self.is_open &= found == NONE
            self.duplicate_of = np.where(found != NONE, found, self.duplicate_of)
        # Of a row whose first one went for its pixels, the first is that of those.
        again = self.duplicate_of[self.duplicate_of]
        self.duplicate_of = np.where((self.duplicate_of != NONE) & (again != NONE), again, self.duplicate_of)

    def drop_frames(self, rows: "pa.Table", settings: PrepareSettings) -> None:
        """Frames beyond so many of a scene of a source."""
        import pyarrow.compute as pc

        named = self.is_open & np.asarray(pc.not_equal(rows.column("scene"), "").to_numpy())
        scenes = np.concatenate(
            [
                hash_strings(pc.binary_join_element_wise(batch.column("source"), batch.column("scene"), "\0"))
                for batch in rows.to_batches()
            ]
        )
        frames = np.flatnonzero(named)
        frames = frames[np.argsort(scenes[frames], kind="stable")]
        ids = rows.column("id").take(frames).to_pylist()
        edges = [0, *(np.flatnonzero(np.diff(scenes[frames])) + 1).tolist(), len(frames)]
        for begin, end in pairwise(edges):
            if end - begin > settings.per_scene:
                places = sorted(range(begin, end), key=lambda place: (natural_key(ids[place]), ids[place]))
                scene = frames[places]
                chosen = frames_to_judge(self.hashes[scene].tolist(), settings.per_scene, settings.near_bits)
                self.is_open[np.delete(scene, chosen)] = False

    def order(self, is_open: bool) -> Numbers:
        """The rows that are open, or those that are not, by digest and id."""
        rows = np.flatnonzero(self.is_open == is_open)
        return rows[np.lexsort((self.ranks[rows], self.digests[rows]))]

    def reason(self, row: int, own: str | None, rows: "pa.Table") -> str:
        """Why a row is not judged, in words."""
        if own is not None:
            return own
        if self.shows[row] != NONE:
            return f"registered_test_picture:{self.set_names[self.shows[row]]}"
        if self.duplicate_of[row] != NONE:
            first = int(self.duplicate_of[row])
            partners = (self.clean_digests, self.clean_pixel_digests)
            is_same = any(digests[first] == digests[row] for digests in partners)
            return f"{'duplicate_of' if is_same else 'conflicting_partner'}:{rows.column('id')[first].as_py()}"
        return "scene_has_enough"


def _digests(rows: "pa.Table", column: str) -> Digests:
    parts = [[bytes.fromhex(digest or "") for digest in chunk.to_pylist()] for chunk in rows.column(column).chunks]
    return np.concatenate([np.zeros(0, "S32"), *(np.array(part, "S32") for part in parts)])


def _hashes(rows: "pa.Table", column: str) -> Hashes:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(rows.column(column), 0).to_numpy(), np.uint64)


def first_of_equals(digests: Digests, ranks: Numbers, takes_part: Booleans) -> Numbers:
    """(N,) for each row that takes part and is not the first with its digest the number of that first row, else NONE.

    Args:
        ranks: (N,) which of equals comes first: the least.
    """
    first = np.full(len(digests), NONE, np.int64)
    rows = np.flatnonzero(takes_part)
    if not rows.size:
        return first
    rows = rows[np.lexsort((ranks[rows], digests[rows]))]
    begins = np.concatenate([[True], digests[rows[1:]] != digests[rows[:-1]]])
    leader = rows[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    first[rows[~begins]] = leader[~begins]
    return first


def registered_as(
    digests: Digests, hashes: Hashes, registered: Digests, registered_hashes: Hashes, near_bits: int
) -> Numbers:
    """(N,) for each picture the first registered one that it shows, NONE where it shows none.

    The same file, or one whose perceptual hash differs in at most `near_bits` bits.
    """
    found = np.full(len(digests), len(registered), np.int64)
    if not len(registered):
        return np.full(len(digests), NONE, np.int64)
    # Flat pictures may be near to all registered ones, so each hash is looked for once.
    values, first_row = np.unique(registered_hashes, return_index=True)
    query, near = find_near(hashes, values, near_bits)
    np.minimum.at(found, query, first_row[near])
    names, first = np.unique(registered, return_index=True)
    place = np.minimum(np.searchsorted(names, digests), len(names) - 1)
    is_same = names[place] == digests
    found[is_same] = np.minimum(found[is_same], first[place[is_same]])
    found[found == len(registered)] = NONE
    return found


def frames_to_judge(hashes: Sequence[int], most: int, near_bits: int) -> list[int]:
    """Which frames of a scene are judged: numbers in rising order, `most` of them where there are more.

    Frames that differ from the last different one in at most `near_bits` bits are near-identical: they are taken only
    where different ones do not suffice. Within either kind the choice is spread evenly.

    Args:
        hashes: perceptual hashes of the frames, in the order in which they were taken.
    """
    if len(hashes) <= most:
        return list(range(len(hashes)))
    different: list[int] = []
    alike: list[int] = []
    for number, value in enumerate(hashes):
        is_alike = bool(different) and hamming(value, hashes[different[-1]]) <= near_bits
        (alike if is_alike else different).append(number)
    chosen = [different[place] for place in spread(len(different), most)]
    chosen += [alike[place] for place in spread(len(alike), most - len(chosen))]
    return sorted(chosen)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly: the middles of equal parts."""
    wanted = min(count, most)
    return [(2 * place + 1) * count // (2 * wanted) for place in range(wanted)]


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts `frame9` before `frame10`."""
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name))


def registered_pictures(places: Sequence[str], files: FileMeasure) -> Registered:
    """The pictures of registered test sets: manifests and folders.

    Raises:
        DatasetError: a place is not there or shows no picture, or a picture cannot be read.
    """
    names: list[str] = []
    digests: list[bytes] = []
    hashes: list[int] = []
    for place in places:
        path, before = Path(place), len(names)
        pictures = _pictures(path)
        while some := list(islice(pictures, FILES_AT_ONCE)):
            for facts in files.facts(some):
                if isinstance(facts, Unreadable):
                    raise DatasetError(f"{place}: a registered picture cannot be read ({facts.reason}); mend the set")
                names.append(path.stem if path.is_file() else path.name)
                digests.append(bytes.fromhex(facts.digest))
                hashes.append(facts.perceptual_hash)
        if len(names) == before:
            raise DatasetError(f"{place}: wanted the pictures of a test set, got none; give its manifest or its folder")
    return Registered(names, np.array(digests, "S32"), np.array(hashes, np.uint64))


def state_of(place: str) -> str:
    """A digest that changes when a set does: of a manifest its content, of a folder the names, sizes and times.

    Raises:
        DatasetError: it is not there.
    """
    path = Path(place)
    if path.is_file():
        return list_digest(path)
    whole = hashlib.sha256()
    for file in _pictures(path):
        status = Path(file).stat()
        whole.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"sha256-listing:{whole.hexdigest()}"


def _pictures(path: Path) -> Iterator[str]:
    if path.is_dir():
        for entry in walk_files(path.resolve()):
            if entry.problem:
                raise DatasetError(f"{entry.path}: {entry.problem}; a test set has to be read whole")
            if entry.path.suffix.lower() in IMAGE_SUFFIXES:
                yield str(entry.path)
        return
    if not path.is_file():
        raise DatasetError(f"{path}: no such test set; give its manifest or its folder")
    for pair in open_table(path):
        yield str(pair.rainy)
        if pair.clean is not None:
            yield str(pair.clean)
