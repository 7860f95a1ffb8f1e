"""Channels -> one wave, at a level that speech has. Ordinary recordings are left exactly as they are."""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import scipy.fft
import scipy.ndimage
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
MAINS = (50, 60)  # Hz
HUM_FRAME, HUM_HOP, HUM_FRAMES = 500, 125, 64  # means: 0.5 s, whose bins are 2 Hz apart; at most so many frames are looked at
LEAST_FRAMES = 21  # 3 s; in less, a voice may keep to a harmonic
HUM = 15.0  # dB by which harmonics stand out, added up; clean recordings have up to 11.5
FAINT_HUM = -40.0  # dB of the wave; a fainter harmonic does no harm
HUM_BELOW = 1000  # Hz; its harmonics above do no harm
HUM_STEADY = 4.0  # s in which hum hardly changes


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
    """float32 (n,) at 16 kHz -> the same without what no voice and no microphone makes, and a line for each change: mains hum,
    an offset or rumble below the voice, and samples beyond full scale. NotSound if it holds what is not a number, or too large.
    """
    notes, peak = [], _peak(wav)
    if not peak <= LARGEST:
        raise NotSound
    means = _means(wav)
    if mains := _hum(means):
        wav = _by_minutes(wav, partial(_without_hum, mains=mains))
        means = _means(wav)
        notes.append(f"mains hum of {mains} Hz is removed, with its harmonics")
    if _rumble(wav, means) > RUMBLE:
        wav = wav - wav.mean(dtype=np.float64).astype(np.float32)
        wav = _by_minutes(wav, _without_rumble) if _rumble(wav, _means(wav)) > RUMBLE else wav
        notes.append("an offset or rumble below the voice is removed")
    peak = _peak(wav) if notes else peak
    if peak > OVERSHOOT:
        notes.append("its samples go beyond full scale, and are scaled to a usual level")
    if peak > 1:
        wav = wav * np.float32((USUAL_PEAK if peak > OVERSHOOT else 1) / peak)
    return wav, notes


def _peak(wav: np.ndarray) -> float:
    """NaN if there is one in it."""
    return float(np.maximum(wav.max(initial=0.0), -wav.min(initial=0.0)))


def _means(wav: np.ndarray) -> np.ndarray:
    """Of 16 samples each, at 1 kHz: enough to see what is below the voice."""
    return wav[: len(wav) // MEAN_OF * MEAN_OF].reshape(-1, MEAN_OF) @ np.full(MEAN_OF, 1 / MEAN_OF, np.float32)


def _by_minutes(wav: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change a wave in parts of a minute that overlap, to need little memory."""
    changed, margin, length = np.empty(len(wav), np.float32), int(HUM_STEADY * SAMPLE_RATE), 60 * SAMPLE_RATE
    for start in range(0, len(wav), length):
        first = max(0, start - margin)
        changed[start : start + length] = change(wav[first : start + length + margin])[start - first :][:length]
    return changed


# ---- mains hum


def _hum(means: np.ndarray) -> int | None:
    """The frequency of the mains that hum in a recording; None if they do not, and for one that is too short to tell.

    Voices move and pause, and hum does not: at its harmonics even the quietest frames are louder than beside them.
    """
    if len(means) < HUM_FRAME + (LEAST_FRAMES - 1) * HUM_HOP:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(means, HUM_FRAME)[:: max(HUM_HOP, len(means) // HUM_FRAMES)]
    window = _hum_window()
    spectra = scipy.fft.rfft(frames * window, axis=1)[:, : 8 * max(MAINS) * HUM_FRAME * MEAN_OF // SAMPLE_RATE]
    powers, n_quiet = spectra.real**2 + spectra.imag**2, len(spectra) // 20
    quiet = np.partition(powers, n_quiet, axis=0)[n_quiet]
    least = 10 ** (FAINT_HUM / 10) * float(np.dot(means, means)) / len(means) * np.square(window.sum()) / 2
    found = {mains: _standing_out(quiet, mains * HUM_FRAME * MEAN_OF // SAMPLE_RATE, least) for mains in MAINS}
    best = max(MAINS, key=found.get)
    return best if found[best] > HUM else None


def _standing_out(powers: np.ndarray, bins: int, least: float) -> float:
    """By how many dB harmonics that are this many bins apart stand out from what is beside them, up to 20 dB each, in all."""
    at = np.arange(bins, len(powers) - 7, bins)
    beside = np.maximum(*(sum(powers[at + side * i] for i in range(4, 8)) / 4 for side in (-1, 1)))
    ratios = 10 * np.log10(np.maximum(powers[at], 1e-30) / np.maximum(beside, 1e-30))
    return float(np.clip(ratios, 0, 20)[powers[at] > least].sum())


@lru_cache
def _hum_window() -> np.ndarray:
    return scipy.signal.windows.hann(HUM_FRAME, sym=False).astype(np.float32)


def _without_hum(wav: np.ndarray, mains: int) -> np.ndarray:
    """Each harmonic is estimated in blocks of three periods, in which they do not disturb each other, averaged over seconds,
    and subtracted. What is quiet without the hum counts most: a filter would take some of the voice too (cosine 0.83)."""
    length = 3 * SAMPLE_RATE // mains
    blocks = np.pad(wav, (0, -len(wav) % length)).reshape(-1, length)  # (B, L)
    harmonics = np.arange(1, HUM_BELOW // mains + 1)  # (K,)
    waves = np.exp(2j * np.pi * np.outer(harmonics, np.arange(length)) * mains / SAMPLE_RATE).astype(np.complex64)
    found, rest = blocks @ waves.conj().T / length, blocks  # (B, K)
    window = scipy.signal.windows.hann(int(HUM_STEADY * SAMPLE_RATE / length) | 1)
    for _ in range(3):
        weights = 1 / (np.einsum("ij,ij->i", rest, rest)[:, None] / length + 1e-12)
        turning = _turning(found * weights, harmonics, len(blocks))
        mean = _smooth(found * weights * turning, window) / _smooth(weights, window)
        rest = blocks - 2 * ((mean * turning.conj()).astype(np.complex64) @ waves).real
    return rest.reshape(-1)[: len(wav)]


def _turning(found: np.ndarray, harmonics: np.ndarray, n_blocks: int) -> np.ndarray:
    """(B, K): what undoes the turning of the phases from block to block, as the mains are not exactly at their frequency."""
    steps = (found[1:] * found[:-1].conj()).sum(axis=0)
    clearest = np.abs(steps).argmax()
    step = np.angle(steps[clearest]) / harmonics[clearest]
    return np.exp(-1j * np.outer(np.arange(n_blocks), harmonics) * step)


def _smooth(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return scipy.ndimage.convolve1d(values, window, axis=0, mode="constant")


# ---- rumble


def _rumble(wav: np.ndarray, means: np.ndarray) -> float:
    """Share of the energy below the voice; 0 for a wave too short to tell."""
    n_blocks = len(means) // N_MEANS
    if not n_blocks:
        return 0.0
    low = means[: n_blocks * N_MEANS].reshape(-1, N_MEANS) @ _low_waves()
    whole = wav[: n_blocks * N_MEANS * MEAN_OF]
    return float(np.vdot(low, low)) * MEAN_OF / max(float(np.dot(whole, whole)), 1e-20)


@lru_cache
def _low_waves() -> np.ndarray:
    """(N_MEANS, 2 * waves): the cosines and sines below RUMBLE_BELOW, under a window, scaled so that the squares of what they
    find in a block add up to its energy."""
    window = scipy.signal.windows.hann(N_MEANS)
    n_waves = round(RUMBLE_BELOW * N_MEANS * MEAN_OF / SAMPLE_RATE)
    waves = np.exp(2j * np.pi * np.outer(np.arange(N_MEANS), np.arange(n_waves)) / N_MEANS) * window[:, None]
    return (np.hstack([waves.real, waves.imag]) / np.sqrt(N_MEANS / 2 * np.square(window).mean())).astype(np.float32)


def _without_rumble(wav: np.ndarray) -> np.ndarray:
    """Filtered forwards and backwards: a delay that depends on the frequency would change the embedding (cosine 0.97)."""
    return scipy.signal.sosfiltfilt(scipy.signal.ellip(6, 0.1, 25, 66, "highpass", fs=SAMPLE_RATE, output="sos"), wav)
