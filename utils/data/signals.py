"""Checks and converts the waves and mels that callers pass; all public functions use these two. Errors are one line."""

from typing import Any

import numpy as np

from utils.data.levels import LARGEST, mix
from utils.errors import UserError

MAX_CHANNELS = 32
MAX_PEAK = 100.0  # of a float wave that was scaled to [-1, 1]; volume may raise it, but not so far


class ArrayError(UserError, ValueError):
    """An array that is not a wave or a mel."""


def wave(array: Any, is_raw: bool = False) -> np.ndarray:
    """A wave of any layout and type -> float32 (n,), n > 0. The argument is never written to.

    array: (n,), (n, channels) or (channels, n), as numpy array, torch tensor on any device, or list; floats in [-1, 1], or
    integers of 8, 16 or 32 bits, which are scaled by their type (uint8 and uint16 have their zero in the middle). is_raw:
    a recording as it comes, whose floats may have any scale. ArrayError for anything else.
    """
    found = _numbers(array, "a wave")
    found = _unscaled(found)
    _check_finite(found, "the wave")
    if not found.size:
        raise ArrayError("the wave is empty (was it all silence before pauses were cut?)")
    found = _one_channel(found)
    if not is_raw and (peak := float(np.abs(found).max())) > MAX_PEAK:
        raise ArrayError(f"the wave has samples up to {peak:.3g}; floats lie in [-1, 1]: preprocess_wav scales them")
    return np.ascontiguousarray(found, np.float32)


def mel(array: Any, n_mels: int) -> np.ndarray:
    """A mel spectrogram (n_mels, T), T > 0, of any float type, as numpy array, torch tensor on any device, or list -> float32.
    ArrayError for another shape, and for values that are not finite."""
    found = _numbers(array, "a mel")
    if found.ndim == 3 and len(found) == 1:
        found = found[0]
    if found.ndim != 2 or found.shape[0] != n_mels or found.shape[1] == 0:
        hint = "; it is (T, n_mels): pass mel.T" if found.ndim == 2 and found.shape[1] == n_mels else ""
        raise ArrayError(f"a mel has the shape ({n_mels}, T) with T > 0, not {found.shape}{hint}")
    _check_finite(found, "the mel")
    return found.astype(np.float32)


def _numbers(array: Any, what: str) -> np.ndarray:
    if isinstance(array, tuple | list) and len(array) == 2 and np.ndim(array[0]) != np.ndim(array[1]):
        raise ArrayError(f"{what} is expected, not a pair (rate, array): pass the array, and the rate apart")
    if hasattr(array, "detach"):  # a torch tensor, which this module does not import
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    try:
        found = np.asarray(array)
    except (ValueError, TypeError) as error:
        raise ArrayError(f"{what} is expected, not a {type(array).__name__} ({error})") from error
    if found.dtype.kind not in "fiu":
        raise ArrayError(f"{what} is expected, not a {type(array).__name__} of {found.dtype}")
    return found


def _unscaled(wave: np.ndarray) -> np.ndarray:
    """Integers -> float32 in [-1, 1]; half floats -> float32, as they cannot hold the largest sample."""
    if wave.dtype.kind == "f":
        return wave if wave.itemsize > 2 else wave.astype(np.float32)
    bits = 8 * wave.dtype.itemsize
    if bits > 32:
        raise ArrayError(f"a wave of {wave.dtype} has no known scale; make it int16, or float in [-1, 1]")
    zero = 2.0 ** (bits - 1) if wave.dtype.kind == "u" else 0.0
    return ((wave - zero) / 2.0 ** (bits - 1)).astype(np.float32)


def _one_channel(wave: np.ndarray) -> np.ndarray:
    """(n,), or two dimensions of which the shorter one is the channels, besides dimensions of size 1 -> (n,)"""
    squeezed = wave.reshape([size for size in wave.shape if size != 1] or [wave.size])
    if squeezed.ndim == 1:
        return squeezed
    if squeezed.ndim > 2 or min(squeezed.shape) > MAX_CHANNELS:
        raise ArrayError(f"a wave has the shape (n,), (n, channels) or (channels, n), not {wave.shape}")
    return mix(squeezed if squeezed.shape[1] == min(squeezed.shape) else squeezed.T)


def _check_finite(array: np.ndarray, what: str) -> None:
    if not np.abs(array).max(initial=0.0) <= LARGEST:
        raise ArrayError(f"{what} holds values that are not finite numbers, or too large")
