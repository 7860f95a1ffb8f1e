"""One long sequence as several short ones that are generated side by side, and back to one by crossfading.

fold 0  |------------- target + 2 overlap -------------|
fold 1                                      |---------------------- ...   starts target + overlap later
                                            |  overlap |   warm-up half, then crossfade half
"""

import numpy as np
from torch import Tensor
from torch.nn import functional as F


def fold(x: Tensor, target: int, overlap: int, context: int = 0) -> Tensor:
    """(1, context + N + context, C) -> (n_folds, context + target + 2 overlap + context, C)

    Neighbours share `overlap` steps; N <= n_folds (target + overlap) + overlap, and zeros stand for what is missing. The
    `context` on either side is what a convolution has to see of the neighbours: it belongs to no fold itself.
    """
    step = target + overlap
    length = x.size(1) - 2 * context
    n_folds = max(1, -(-(length - overlap) // step))
    missing = n_folds * step + overlap - length
    x = F.pad(x, (0, 0, 0, missing))  # (1, context + n_folds step + overlap + context, C)
    return x[0].unfold(0, step + overlap + 2 * context, step).transpose(1, 2)


def unfold(pieces: np.ndarray, fade_in: np.ndarray, fade_out: np.ndarray) -> np.ndarray:
    """(n_folds, target + 2 overlap) -> (n_folds (target + overlap) + overlap,), the overlaps added with the gains (overlap,).

    The very beginning and end are faded like every seam: whoever wants the signal whole generates `overlap` samples around
    it and cuts them off.
    """
    n_folds, length = pieces.shape
    overlap = len(fade_in)
    step = length - overlap
    gains = np.ones(length, dtype=pieces.dtype)
    gains[:overlap] = fade_in
    gains[step:] *= fade_out
    wave = np.zeros(n_folds * step + overlap, dtype=pieces.dtype)
    for i, piece in enumerate(pieces):
        wave[i * step : i * step + length] += gains * piece
    return wave


def crossfade(overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains (overlap,) of the fold that begins and of the one that ends; their squares always add up to one.

    The fold that begins is muted for the first half: there its recurrent state, which started from nothing, settles.
    """
    muted, ramp = _halves(overlap)
    return np.concatenate([muted, np.sqrt(ramp)]), np.concatenate([1 - muted, np.sqrt(1 - ramp)])


def published_crossfade(overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """The gains of the published code, where the old fold has faded out before the new one fades in: each seam dips to
    silence in its middle. Kept to reproduce its output."""
    muted, ramp = _halves(overlap)
    return np.concatenate([muted, np.sqrt(ramp)]), np.concatenate([np.sqrt(1 - ramp), muted])


def _halves(overlap: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(overlap // 2), np.linspace(0, 1, overlap - overlap // 2)
