"""Directions in a visual encoder's space along which photographs of rain are placed: its principal components."""

import json
from dataclasses import dataclass

import numpy as np

from derain.distill.judges.softmax import Matrix, shipped_text

BASIS = "typicality_basis"
"""Name of the shipped directions."""


@dataclass(frozen=True)
class FeatureBasis:
    """A mean and orthonormal directions."""

    encoder: str
    """Digest of the identity of the encoder whose vectors these are for."""
    mean: Matrix
    """(D,)."""
    directions: Matrix
    """(K, D)."""

    def places(self, vector: Matrix) -> Matrix:
        """(K,) coordinates of a vector (D,)."""
        return np.asarray(self.directions @ (vector - self.mean))

    def to_json(self) -> str:
        """Text that `parse_basis` reads."""
        rows = ",\n  ".join(json.dumps([round(float(x), 4) for x in row]) for row in self.directions)
        mean = json.dumps([round(float(x), 5) for x in self.mean])
        return f'{{\n "encoder": {json.dumps(self.encoder)},\n "mean": {mean},\n "directions": [\n  {rows}\n ]\n}}\n'


def principal_components(encoder: str, vectors: Matrix, count: int) -> FeatureBasis:
    """The `count` directions of largest variance of vectors (N, D), each with its largest entry positive."""
    mean = vectors.mean(axis=0)
    _, _, rows = np.linalg.svd(vectors - mean, full_matrices=False)
    rows = rows[:count]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    return FeatureBasis(encoder, mean, rows * signs[:, None])


def parse_basis(text: str) -> FeatureBasis:
    """What `FeatureBasis.to_json` wrote."""
    whole = json.loads(text)
    return FeatureBasis(whole["encoder"], np.array(whole["mean"], float), np.array(whole["directions"], float))


def read_basis(encoder: str) -> FeatureBasis | None:
    """The shipped directions, if they are those of the encoder with this digest.

    Raises:
        DistillError: the shipped file cannot be read.
    """
    basis = parse_basis(shipped_text(BASIS))
    return basis if basis.encoder == encoder else None
