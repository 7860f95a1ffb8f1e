"""Channels -> one wave, at a level that speech has. Ordinary recordings are left exactly as they are."""

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal

from utils.data.mel_format import SAMPLE_RATE

N_FFT = 4096
LARGEST = 2.0**31  # a sample beyond it is no sound, but a damaged number
SILENT = 1e-4  # of the loudest channel's energy: a channel under it is left out
OVERSHOOT = 1.5  # peak up to which a wave is only scaled to full scale
USUAL_PEAK = 0.5  # the middle of recordings; a wave without a true level gets it
RUMBLE_BELOW = 60.0  # Hz; voices begin above 70
RUMBLE = 0.03  # share of the energy; clean recordings have up to 0.0125


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
    hum or rumble below the voice, and samples beyond full scale."""
    notes = []
    if _rumble(wav) > RUMBLE:
        wav = wav - wav.mean(dtype=np.float64).astype(np.float32)
        wav = _without_rumble(wav) if _rumble(wav) > RUMBLE else wav
        notes.append("an offset, hum or rumble below the voice is removed")
    peak = float(np.abs(wav).max(initial=0.0))
    if peak > OVERSHOOT:
        notes.append("its samples go beyond full scale, and are scaled to a usual level")
    if peak > 1:
        wav = wav * np.float32((USUAL_PEAK if peak > OVERSHOOT else 1) / peak)
    return wav, notes


def mean_spectrum(wav: np.ndarray) -> np.ndarray:
    """(n,) -> power (N_FFT // 2 + 1,), averaged over blocks."""
    blocks = np.resize(wav, (max(1, len(wav) // N_FFT), N_FFT)) if len(wav) < N_FFT else wav[: len(wav) // N_FFT * N_FFT]
    power = np.zeros(N_FFT // 2 + 1)
    for block in np.array_split(blocks.reshape(-1, N_FFT), 1 + len(wav) // (64 * N_FFT)):  # in parts, to need little memory
        power += np.square(np.abs(scipy.fft.rfft(block * _window(), axis=1))).sum(axis=0)
    return power / max(1, len(wav) // N_FFT)


@lru_cache
def _window() -> np.ndarray:
    return scipy.signal.windows.hann(N_FFT).astype(np.float32)


def _rumble(wav: np.ndarray) -> float:
    """Share of the energy below the voice; 0 for a wave too short to tell."""
    if len(wav) < N_FFT:
        return 0.0
    power = mean_spectrum(wav)
    return float(power[: round(RUMBLE_BELOW * N_FFT / SAMPLE_RATE)].sum() / max(power.sum(), 1e-20))


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
