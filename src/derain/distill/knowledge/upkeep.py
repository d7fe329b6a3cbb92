"""What changes about photographs that a knowledge base has: quality limits, near-duplicates, places, types."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from derain.backends.view import file_digest
from derain.data.near_duplicates import SeenHashes
from derain.distill.knowledge.photographs import Photograph
from derain.distill.knowledge.prefilter import near_duplicate_of, near_duplicate_reason, quality_reasons
from derain.distill.knowledge.record import Entry, ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.errors import ImageError
from derain.types import RainType

_LOW_FOR_TYPE = "low_for_type"


def leave_out_low_quality(base: KnowledgeBase, percentile: float) -> Counter[str]:
    """Filter those of each rain type whose quality is below the type's percentile; returns how many of each type.

    All that passed the other limits count, also what a person accepted or rejected, so that the same are out however
    often and in whatever steps a base was filled and reviewed; one left out before comes back when worse ones arrive.
    What a person accepted or rejected stays as it is, and is not counted as out.
    """
    cells = base.cells("digest", "type", "status", "reason", "quality", described=True)
    rows = [row for row in cells if row[2] is not ReviewStatus.FILTERED or row[3].startswith(_LOW_FOR_TYPE)]
    reasons = quality_reasons([row[4] for row in rows], [row[1] for row in rows], percentile)
    changes: dict[str, tuple[ReviewStatus, str]] = {}
    out: Counter[str] = Counter()
    for (digest, rain_type, status, before, _), reason in zip(rows, reasons, strict=True):
        if status in (ReviewStatus.ACCEPTED, ReviewStatus.REJECTED):
            continue
        out[rain_type] += reason is not None
        if (reason or "") != before:
            changes[digest] = (ReviewStatus.UNREVIEWED, "") if reason is None else (ReviewStatus.FILTERED, reason)
    base.set_statuses(changes)
    return +out


def perceptual_hashes(base: KnowledgeBase) -> dict[str, int]:
    """By digest, of the photographs that a new one must not repeat: those described, unless filtered later on."""
    cells = base.cells("digest", "perceptual_hash", "status", described=True)
    return {digest: value for digest, value, status in cells if status is not ReviewStatus.FILTERED}


def name_near_duplicates(base: KnowledgeBase, near_bits: int) -> None:
    """Give those left out for their quality that repeat a photograph in use that reason, so that they stay out."""
    if near_bits < 0:
        return
    seen = SeenHashes(near_bits)
    for digest, value in perceptual_hashes(base).items():
        seen.add(value, digest)
    low = base.cells("digest", "perceptual_hash", where=f"reason LIKE '{_LOW_FOR_TYPE}%'", described=True)
    found = {digest: seen.nearest(value) for digest, value in low}
    base.set_statuses(
        {
            digest: (ReviewStatus.FILTERED, near_duplicate_reason(*nearest, near_bits))
            for digest, nearest in found.items()
            if nearest is not None
        }
    )


def freed_near_duplicates(base: KnowledgeBase) -> set[str]:
    """Photographs filtered for repeating one that the base does not use any more, and nobody rejected.

    A copy that is known to be no better than the one it repeats stays out: it would be left out for its quality, too.
    """
    cells = base.cells("digest", "status", "reason", where="reason LIKE 'near_duplicate%'")
    repeated = {
        digest: near_duplicate_of(reason) for digest, status, reason in cells if status is ReviewStatus.FILTERED
    }
    in_use = perceptual_hashes(base) if repeated else {}
    freed = {digest: other for digest, other in repeated.items() if other not in in_use}
    quality = dict(base.cells("digest", "quality", described=True)) if freed else {}
    return {
        digest
        for digest, other in freed.items()
        if digest not in quality or other not in quality or quality[digest] > quality[other]
    }


def update_places_and_types(
    base: KnowledgeBase, photographs: Mapping[Photograph, str], types: Mapping[Path, str]
) -> tuple[int, int]:
    """Store the new paths of known photographs that moved, and types that a person gave.

    Args:
        photographs: found by an index, with their digests.
        types: given by a person, by path.

    Returns:
        How many places and how many types were changed.
    """
    known = {entry.digest: entry for entry in base.entries(set(photographs.values()))}
    places: dict[str, tuple[str, str]] = {}
    retyped: dict[str, RainType] = {}
    for photograph, digest in photographs.items():
        entry = known.get(digest)
        if entry is None:
            continue
        if digest not in places and entry.path != str(photograph.path) and not _is_there(entry):
            places[digest] = (str(photograph.path), photograph.source)
        rain_type = types.get(photograph.path)
        if rain_type is not None and entry.type not in ("", rain_type):
            retyped[digest] = RainType(rain_type)
    base.set_places(places)
    base.set_types(retyped)
    return len(places), len(retyped)


def _is_there(entry: Entry) -> bool:
    """Whether the file of a photograph is still at the path in the base, with the same content."""
    try:
        return file_digest(Path(entry.path)) == entry.digest
    except ImageError:
        return False
