"""Which state of a knowledge base it is, told without reading a vector."""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from derain.distill.knowledge.identities import BaseIdentities

if TYPE_CHECKING:
    import pyarrow as pa

VERSIONED = ("digest", "type", "description")
"""Columns that decide all that retrieval knows of a reference: its vectors and its luminance are what the base's models
make of the photograph of this digest, and of this description."""


def version_of(identities: BaseIdentities, references: "Iterable[pa.RecordBatch]") -> str:
    """16 hexadecimal digits of the models and of the references' `VERSIONED` columns, in whatever order they come."""
    rows: list[bytes] = []
    for batch in references:
        for row in batch.to_pylist():
            line = json.dumps([row[name] for name in VERSIONED])
            rows.append(hashlib.sha256(line.encode()).digest())
    whole = hashlib.sha256(identities.to_json().encode())
    whole.update(b"".join(sorted(rows)))
    return whole.hexdigest()[:16]
