"""Signal processing: pure functions of numpy arrays, with caches keyed by their arguments."""

import contextlib
import inspect
import math
import wave
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.signal

from utils.data.decoding import MAX_SECONDS, read
from utils.data.decoding import AudioError as AudioError  # beside `load`, for its callers
from utils.data.mel_format import ENCODER_HOP, ENCODER_N_FFT, ENCODER_N_MELS, SAMPLE_RATE, MelFormat
from utils.data.paths import write_atomically

BLOCK_FRAMES = 128  # frames of a spectrogram computed at a time, to stay in the CPU's cache
MAX_PEAK = 0.99  # of written audio

Filters = list[tuple[slice, slice, np.ndarray]]  # of mel bands: some bands, the bins they take, and their weights (bins, bands)


# ---- files


def load(path: Path, sample_rate: int = SAMPLE_RATE, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Decode any audio file to float32 mono (n,) at `sample_rate`; see `decoding.read`. AudioError if it cannot be used."""
    return read(path, sample_rate, max_seconds).wav


def resample(wav: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(n,) at `rate` Hz -> float32 (n * to / rate,) at `to` Hz."""
    if rate == to:
        return np.ascontiguousarray(wav, dtype=np.float32)
    import soxr

    return soxr.resample(wav.astype(np.float32), rate, to)


def write_wav(path: Path, wav: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write float (n,) as 16-bit PCM, atomically. A peak above 0.99 is scaled down to 0.99, to avoid clipping."""
    peak = float(np.abs(wav).max(initial=0.0))
    with wav_writer(path, sample_rate) as write:
        write(wav * (MAX_PEAK / max(peak, MAX_PEAK)))


@contextlib.contextmanager
def wav_writer(path: Path, sample_rate: int) -> Iterator[Callable[[np.ndarray], None]]:
    """`with wav_writer(path, rate) as write:` writes a WAV file of 16-bit PCM bit by bit, from float waves (n,) within [-1, 1].

    The file appears when the block succeeds.
    """
    with write_atomically(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        yield lambda wav: file.writeframesraw(to_int16(wav).astype("<i2").tobytes())


def wav_blocks(path: Path) -> Iterator[np.ndarray]:
    """The seconds of a file of `wav_writer`, one after another, as float32 waves."""
    with wave.open(str(path)) as file:
        while block := file.readframes(file.getframerate()):
            yield from_int16(np.frombuffer(block, "<i2"))


# ---- samples


def to_int16(wav: np.ndarray) -> np.ndarray:
    """Float -> int16, clipped to [-1, 1]"""
    scaled = wav * 32767
    np.clip(scaled, -32767, 32767, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.int16)


def from_int16(wav: np.ndarray) -> np.ndarray:
    """Inverse of to_int16, to float32."""
    return wav.astype(np.float32) / 32767


def rescale(wav: np.ndarray, peak: float) -> np.ndarray:
    """Scale to a peak amplitude. Silence is unchanged."""
    return wav * (peak / max(float(np.abs(wav).max(initial=0.0)), 1e-8))


def normalize_volume(wav: np.ndarray, target_dbfs: float = -30.0, increase_only: bool = True) -> np.ndarray:
    """Scale to a root-mean-square level in dB of full scale. Silence is unchanged."""
    rms = math.sqrt(sum(float(np.dot(part, part)) for part in _parts(wav)) / max(len(wav), 1))
    gain_db = target_dbfs - 20 * math.log10(max(rms, 1e-10))
    if rms == 0 or (increase_only and gain_db < 0):
        return wav
    return (wav * 10 ** (gain_db / 20)).astype(np.float32, copy=False)


def _parts(wav: np.ndarray) -> Iterator[np.ndarray]:
    """(n,) in parts short enough for float32 sums to keep six digits."""
    whole = np.asarray(wav, dtype=np.result_type(wav, np.float32))
    return (whole[start : start + 65536] for start in range(0, len(whole), 65536))


def preemphasize(wav: np.ndarray, coefficient: float) -> np.ndarray:
    """y[t] = x[t] - coefficient * x[t - 1]."""
    emphasized = np.array(wav, dtype=np.float32)
    emphasized[1:] -= coefficient * emphasized[:-1]
    return emphasized


def deemphasize(wav: np.ndarray, coefficient: float) -> np.ndarray:
    """Inverse of preemphasize."""
    return scipy.signal.lfilter([1], [1, -coefficient], wav).astype(np.float32)


def output_filter(f: MelFormat) -> np.ndarray:
    """Second-order sections (n, 6) for scipy.signal.sosfilt that turn a vocoder's pre-emphasised samples into speech:
    de-emphasis, and a high-pass filter below the lowest mel band.

    The mel says nothing about those frequencies, and de-emphasis raises them by up to 1 / (1 - preemphasis), 30 dB, so that
    small errors would become a loud rumble.
    """
    sections = np.array([[1.0, 0, 0, 1, -f.preemphasis, 0]])
    if f.fmin == 0:
        return sections
    return np.vstack([sections, scipy.signal.butter(4, f.fmin, "highpass", fs=f.sample_rate, output="sos")])


# ---- mel spectrograms


def encoder_mel(wav: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz -> float32 (1 + n // 160, 40): power in 40 Slaney bands, 0-8000 Hz; 25 ms windows every 10 ms; no log."""
    filters = _filter_parts(SAMPLE_RATE, ENCODER_N_FFT, ENCODER_N_MELS, 0.0, 8000.0)
    return _mel_bands(wav, ENCODER_N_FFT, ENCODER_HOP, ENCODER_N_FFT, filters, power=True)


def mel_spectrogram(wav: np.ndarray, mel_format: MelFormat) -> np.ndarray:
    """(n,) -> float32 (1 + n // hop_length, n_mels) in [-max_abs, max_abs]; the pre-emphasis is applied here."""
    f = mel_format
    filters = _filter_parts(f.sample_rate, f.n_fft, f.n_mels, f.fmin, f.fmax)
    emphasized = preemphasize(wav, f.preemphasis)
    mel = _mel_bands(emphasized, f.n_fft, f.hop_length, f.win_length, filters, power=False)
    level_db = 20 * np.log10(np.maximum(1e-5, mel)) - f.ref_db
    return np.clip(2 * f.max_abs * (level_db - f.min_db) / -f.min_db - f.max_abs, -f.max_abs, f.max_abs)


def griffin_lim(mel: np.ndarray, mel_format: MelFormat, n_iter: int = 60, seed: int = 0) -> np.ndarray:
    """(T, n_mels) -> float32 wave of (T - 1) * hop_length samples whose spectrogram resembles it (Griffin and Lim 1984)."""
    import librosa

    f = mel_format
    level_db = (np.clip(mel, -f.max_abs, f.max_abs) + f.max_abs) * -f.min_db / (2 * f.max_abs) + f.min_db + f.ref_db
    inverse = _inverse_mel_filters(f.sample_rate, f.n_fft, f.n_mels, f.fmin, f.fmax)
    magnitudes = np.maximum(1e-10, 10 ** (level_db / 20) @ inverse.T)  # (T, 1 + n_fft / 2)
    wav = librosa.griffinlim(
        magnitudes.T.astype(np.float32) ** 1.5,  # sharpened as in Tacotron, to reduce artefacts
        n_iter=n_iter,
        hop_length=f.hop_length,
        win_length=f.win_length,
        n_fft=f.n_fft,
        **{_seed_argument(): seed},
    )
    return deemphasize(wav, f.preemphasis)


@lru_cache
def _seed_argument() -> str:
    """librosa 1.0 has another name for it, and warns at the old one."""
    import librosa

    return "rng" if "rng" in inspect.signature(librosa.griffinlim).parameters else "random_state"


def bands_to_bins(values: np.ndarray, f: MelFormat) -> np.ndarray:
    """Values of mel bands (T, n_mels) -> of frequency bins (T, 1 + n_fft // 2), interpolated between the bands' centres."""
    return values @ _bin_weights(f.sample_rate, f.n_fft, f.n_mels, f.fmin, f.fmax)


def _mel_bands(wav: np.ndarray, n_fft: int, hop: int, window_length: int, filters: Filters, power: bool) -> np.ndarray:
    """(n,) -> float32 (1 + n // hop, n_mels): bands of |STFT|, or with `power` of |STFT|^2.

    Frames are centred on multiples of the hop, with zeros beyond the ends, under a Hann window. They are computed in small
    blocks, which need little memory and stay in the CPU's cache.
    """
    n_frames, left = 1 + len(wav) // hop, n_fft // 2
    padded = np.empty(left + len(wav) + n_fft, dtype=np.float32)
    padded[:left], padded[left : left + len(wav)], padded[left + len(wav) :] = 0, wav, 0
    frames = np.ndarray((n_frames, n_fft), np.float32, padded, strides=(hop * padded.itemsize, padded.itemsize))
    bands = np.empty((n_frames, filters[-1][0].stop), dtype=np.float32)
    windowed = np.empty((min(n_frames, BLOCK_FRAMES), n_fft), dtype=np.float32)
    magnitudes = np.empty((len(windowed), 1 + n_fft // 2), dtype=np.float32)
    window = _window(window_length, n_fft)
    for start in range(0, n_frames, BLOCK_FRAMES):
        n = min(n_frames - start, BLOCK_FRAMES)
        np.multiply(frames[start : start + n], window, out=windowed[:n])
        np.abs(scipy.fft.rfft(windowed[:n], axis=1), out=magnitudes[:n])
        if power:
            np.square(magnitudes[:n], out=magnitudes[:n])
        for group, bins, part in filters:
            np.matmul(magnitudes[:n, bins], part, out=bands[start : start + n, group])
    return bands


@lru_cache
def _filter_parts(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> Filters:
    """The bands in four groups, each with its bins and its part of the filters. Leaving out most of the zeros halves the time
    of the product."""
    filters, parts = _mel_filters(sample_rate, n_fft, n_mels, fmin, fmax), []
    for group in (slice(i * len(filters) // 4, (i + 1) * len(filters) // 4) for i in range(4)):
        used = np.flatnonzero(filters[group].any(axis=0))
        bins = slice(used[0], used[-1] + 1) if used.size else slice(0, 0)
        parts.append((group, bins, np.ascontiguousarray(filters[group, bins].T)))
    return parts


@lru_cache
def _window(length: int, n_fft: int) -> np.ndarray:
    window = scipy.signal.get_window("hann", length).astype(np.float32)
    left = (n_fft - length) // 2
    return np.pad(window, (left, n_fft - length - left))


@lru_cache
def _mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """(n_mels, 1 + n_fft // 2): triangles between neighbouring centres, of equal area (Slaney's Auditory Toolbox)."""
    edges = mel_frequencies(n_mels + 2, fmin, fmax)
    distance = np.arange(1 + n_fft // 2) * (sample_rate / n_fft) - edges[:, None]  # Hz from each edge to each bin
    rising, falling = distance[:-2] / np.diff(edges)[:-1, None], -distance[2:] / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters


def mel_frequencies(n: int, fmin: float, fmax: float) -> np.ndarray:
    """n frequencies, evenly spaced on Slaney's mel scale: linear up to 1 kHz, logarithmic above."""

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)

    mels = np.linspace(to_mel(fmin), to_mel(fmax), n)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))


@lru_cache
def _inverse_mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    return np.linalg.pinv(_mel_filters(sample_rate, n_fft, n_mels, fmin, fmax))


@lru_cache
def _bin_weights(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """(n_mels, 1 + n_fft // 2): the weight of each band in each frequency bin."""
    centres = mel_frequencies(n_mels + 2, fmin, fmax)[1:-1]
    frequencies = np.arange(1 + n_fft // 2) * (sample_rate / n_fft)
    return np.stack([np.interp(frequencies, centres, row) for row in np.eye(n_mels)]).astype(np.float32)
