"""Pictures of embeddings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.boards import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_POINTS = 24  # UMAP looks at neighbourhoods of 15 points; where these are nearly all there are, it says nothing


def draw_embeddings(embeddings: np.ndarray, speakers: Sequence[str], title: str) -> "Figure":
    """(N, E) in two dimensions, one colour per speaker: by UMAP, or by principal components if N is small."""
    points, method = project(embeddings)
    return plot.projection(points, speakers, f"{title} ({method})")


def project(embeddings: np.ndarray) -> tuple[np.ndarray, str]:
    """(N, E) -> (N, 2), and the name of the method."""
    if len(embeddings) < MIN_POINTS:
        return principal_components(embeddings), "PCA"
    try:
        import umap
    except ImportError:
        return principal_components(embeddings), "PCA; umap-learn is not installed"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fixed seed means one thread, which is what is wanted here
        return umap.UMAP(n_epochs=200, random_state=0, metric="cosine", n_jobs=1).fit_transform(embeddings), "UMAP"


def principal_components(embeddings: np.ndarray) -> np.ndarray:
    """(N, E) -> (N, 2): the two directions of largest variance."""
    centred = embeddings - embeddings.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(embeddings), 2), dtype=embeddings.dtype)
    points[:, : min(2, len(scale))] = left[:, :2] * scale[:2]
    return points
