"""Numbers that tell whether an attention follows the text."""

import numpy as np


def attention_peak(attention: np.ndarray) -> float:
    """(S, T) -> mean over the steps of the largest weight: 1 / T where nothing is learned, towards 1 where it is."""
    return float(attention.max(axis=1).mean())


def monotonicity(attention: np.ndarray, furthest: int = 3) -> float:
    """(S, T) -> share of the steps at which the peak stays or moves at most `furthest` symbols forward."""
    if len(attention) < 2:
        return 1.0
    moves = np.diff(attention.argmax(axis=1))
    return float(((moves >= 0) & (moves <= furthest)).mean())


def coverage(attention: np.ndarray) -> float:
    """(S, T) -> share of the symbols that are the peak, or right beside the peak, of at least one step."""
    peaks = attention.argmax(axis=1)
    near = np.concatenate([peaks - 1, peaks, peaks + 1])
    return len(np.unique(near[(near >= 0) & (near < attention.shape[1])])) / attention.shape[1]


def alignment_score(attention: np.ndarray, furthest: int = 3) -> float:
    """(S, T) -> peak times monotonicity times coverage: near 0 where one of them is, 1 where every symbol has its turn."""
    return attention_peak(attention) * monotonicity(attention, furthest) * coverage(attention)


def position_error(attention: np.ndarray, spoken: np.ndarray) -> float:
    """(S, T) and the symbol that is spoken at each step (S,) -> how many symbols the peak is off, the mean over the steps."""
    return float(np.abs(attention.argmax(axis=1) - spoken).mean())
