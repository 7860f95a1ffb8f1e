"""Channels -> one wave, at a level that speech has. Ordinary recordings are left exactly as they are."""

from functools import lru_cache

import numpy as np
import scipy.signal

from utils.data.mel_format import SAMPLE_RATE

MEAN_OF = 16  # samples
N_MEANS = 256  # of a block, some 4 a second
LARGEST = 2.0**31  # a sample beyond it is no sound, but a damaged number
SILENT = 1e-4  # of the loudest channel's energy: a channel under it is left out
OVERSHOOT = 1.5  # peak up to which a wave is only scaled to full scale
USUAL_PEAK = 0.5  # the middle of recordings; a wave without a true level gets it
RUMBLE_BELOW = 60.0  # Hz; voices begin above 70
RUMBLE = 0.03  # share of the energy; clean recordings have up to 0.0131


class NotSound(ValueError):
    """Samples that are not numbers, or too large."""


def channel_weights(energies: np.ndarray, mean_energy: float) -> tuple[np.ndarray, str | None]:
    """How channels become one: their mean, unless some are silent, or the mean cancels. And what to say of it.

    energies: of each channel (C,); mean_energy: of the channels' mean. Channels that have nothing in common leave 1 / C of
    their energy in the mean; if not even half of that is left, they cancel, and the loudest is taken.
    """
    n = len(energies)
    loud = energies > SILENT * energies.max()
    kept = energies[loud]
    weights = loud / max(len(kept), 1)
    if mean_energy * (n / max(len(kept), 1)) ** 2 < 0.5 * kept.sum() / max(len(kept), 1) ** 2:
        return np.eye(n)[energies.argmax()], "its channels cancel each other, so the loudest is used"
    if 0 < len(kept) < n:
        return weights, "its silent channels are left out"
    return np.full(n, 1 / n), None


def mix(frames: np.ndarray) -> np.ndarray:
    """(n, channels) -> float32 (n,), as `channel_weights` says."""
    frames = np.asarray(frames, np.float32)
    mean = frames.mean(axis=1)
    weights, note = channel_weights(np.square(frames, dtype=np.float64).sum(axis=0), float(np.dot(mean, mean)))
    return (frames @ weights).astype(np.float32) if note else mean


def settle(wav: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """float32 (n,) at 16 kHz -> the same without what no voice and no microphone makes, and a line for each change: an offset,
    hum or rumble below the voice, and samples beyond full scale. NotSound if it holds what is not a number, or too large."""
    notes, peak = [], _peak(wav)
    if not peak <= LARGEST:
        raise NotSound
    if _rumble(wav) > RUMBLE:
        wav = wav - wav.mean(dtype=np.float64).astype(np.float32)
        wav = _without_rumble(wav) if _rumble(wav) > RUMBLE else wav
        notes.append("an offset, hum or rumble below the voice is removed")
        peak = _peak(wav)
    if peak > OVERSHOOT:
        notes.append("its samples go beyond full scale, and are scaled to a usual level")
    if peak > 1:
        wav = wav * np.float32((USUAL_PEAK if peak > OVERSHOOT else 1) / peak)
    return wav, notes


def _peak(wav: np.ndarray) -> float:
    """NaN if there is one in it."""
    return float(np.maximum(wav.max(initial=0.0), -wav.min(initial=0.0)))


def _rumble(wav: np.ndarray) -> float:
    """Share of the energy below the voice; 0 for a wave too short to tell. Means of 16 samples, at 1 kHz, suffice to see it."""
    blocks = wav[: len(wav) // (N_MEANS * MEAN_OF) * N_MEANS * MEAN_OF]
    if not blocks.size:
        return 0.0
    slow = blocks.reshape(-1, MEAN_OF) @ np.full(MEAN_OF, 1 / MEAN_OF, np.float32)
    low = slow.reshape(-1, N_MEANS) @ _low_waves()
    return float(np.vdot(low, low)) * MEAN_OF / max(float(np.dot(blocks, blocks)), 1e-20)


@lru_cache
def _low_waves() -> np.ndarray:
    """(N_MEANS, 2 * waves): the cosines and sines below RUMBLE_BELOW, under a window, scaled so that the squares of what they
    find in a block add up to its energy."""
    window = scipy.signal.windows.hann(N_MEANS)
    n_waves = round(RUMBLE_BELOW * N_MEANS * MEAN_OF / SAMPLE_RATE)
    waves = np.exp(2j * np.pi * np.outer(np.arange(N_MEANS), np.arange(n_waves)) / N_MEANS) * window[:, None]
    return (np.hstack([waves.real, waves.imag]) / np.sqrt(N_MEANS / 2 * np.square(window).mean())).astype(np.float32)


def _without_rumble(wav: np.ndarray) -> np.ndarray:
    """Filtered forwards and backwards: a delay that depends on the frequency would change the embedding (cosine 0.97).
    In parts of a minute that overlap, to need little memory."""
    sections = scipy.signal.ellip(6, 0.1, 25, 66, "highpass", fs=SAMPLE_RATE, output="sos")
    filtered, margin, length = np.empty(len(wav), np.float32), SAMPLE_RATE, 60 * SAMPLE_RATE
    for start in range(0, len(wav), length):
        first = max(0, start - margin)
        part = scipy.signal.sosfiltfilt(sections, wav[first : start + length + margin])
        filtered[start : start + length] = part[start - first :][:length]
    return filtered
