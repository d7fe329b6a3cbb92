"""Embeddings on a plane: the feature map of data sets (UniRain, Figure 6b)."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

NEIGHBOURS_NEED = 30
"""Points that t-SNE needs; with fewer, principal components say as much."""

_DIMENSIONS_BEFORE_TSNE = 30


def principal_components(vectors: Floats, dimensions: int) -> npt.NDArray[np.float64]:
    """Coordinates (N, `dimensions`) of vectors (N, D) along the directions of their greatest variance.

    A direction's sign is such that its largest weight (the first of equals) is positive, so that the same vectors give
    the same map. Where there are fewer directions than asked for, the other coordinates are 0.
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:dimensions]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    coordinates = np.zeros((len(centred), dimensions))
    coordinates[:, : len(directions)] = centred @ (directions * signs[:, None]).T
    return coordinates


def on_plane(vectors: Floats) -> tuple[npt.NDArray[np.float64], str]:
    """Points (N, 2) within [0, 1], neighbours near each other, and the name of the method.

    t-SNE where scikit-learn is installed and there are at least `NEIGHBOURS_NEED` points, on one thread, started from
    the principal components: the same vectors give the same map. Principal components otherwise.
    """
    if len(vectors) < 2:
        return np.full((len(vectors), 2), 0.5), "principal components"
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        return _within_unit(principal_components(vectors, 2)), "principal components"
    if len(vectors) < NEIGHBOURS_NEED:
        return _within_unit(principal_components(vectors, 2)), "principal components"
    with threadpool_limits(1):
        start = principal_components(vectors, _DIMENSIONS_BEFORE_TSNE)
        first = start[:, :2] / max(float(start[:, 0].std()), 1e-12) * 1e-4
        method = TSNE(2, perplexity=min(30.0, len(vectors) / 4), init=first, learning_rate="auto", random_state=0)
        return _within_unit(method.fit_transform(start)), "t-SNE"


def _within_unit(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    low = points.min(axis=0)
    span = float((points.max(axis=0) - low).max())
    return np.asarray((points - low) / span if span > 0 else np.full_like(points, 0.5), np.float64)
