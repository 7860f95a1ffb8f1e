"""Removes noise that an under-trained vocoder leaves, as codecs do after decoding (Chen and Gersho 1995).

Between the harmonics of the voice, and in the valleys of its spectrum, which the mel knows better than the vocoder.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
import scipy.signal

from utils.data.audio import bands_to_bins, mel_spectrogram
from utils.data.mel_format import MelFormat

# At strength 1, chosen with two predictors of quality and one of speaker similarity (docs/experiments.md)
FORMANTS, HARMONICS = 0.5, 0.1  # how much further they stand out than in the mel
LEVELS = 0.35  # of the decibels by which the audio differs from the mel
LOWER, RAISE = 20.0, 10.0  # dB at most
BLOCK = 256  # frames that are filtered at a time
# with_contrast: quefrencies of formants and of harmonics, in periods over the whole width of the mel
FORMANT_RANGE, HARMONIC_RANGE = (1.0, 3.0), (6.0, 9.0)
# average_periods
GAIN = 0.6  # weight of a neighbouring period that is alike; that of the present one is 1
ALIKE = (0.3, 0.77)  # normalised correlations at which the weight begins, and at which it is full
PITCH = (60.0, 440.0)  # Hz
WINDOW = 0.03  # s, compared
WANDER = 4  # samples by which neighbouring periods may differ
SHORTER = 0.1  # handicap of the longest period, since two periods are a period as well
CROSSOVERS = (1500.0, 3500.0)  # Hz; bands are judged one by one, as breath does not repeat where the voice does
FILTER_TAPS = 129


class PostFilter:
    """For the speech of one mel (T, n_mels), normalised to [-1, 1]. strength multiplies all effects: 0 changes nothing, 1 suits
    a young vocoder."""

    def __init__(self, mel: np.ndarray, mel_format: MelFormat, strength: float) -> None:
        self._mel, self._format, self._strength = mel, mel_format, strength
        self._unit_db = -mel_format.min_db / 2
        self._more = with_contrast(mel, 1 + FORMANTS * strength, 1 + HARMONICS * strength, self._unit_db) - mel
        rate = mel_format.sample_rate
        reach = round(rate / PITCH[0]) + WANDER + round(WINDOW * rate) // 2 + FILTER_TAPS // 2 + 1  # of average_periods
        self._context = -(-(reach + mel_format.win_length) // mel_format.hop_length) + 2  # frames

    def stream(self, waves: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Waves, T hop samples in all -> the same filtered; each piece comes once what follows cannot change it."""
        hop, n_frames = self._format.hop_length, len(self._mel)
        known, first, done = np.zeros(0, np.float32), 0, 0  # `known` starts at frame `first`; `done` frames were given
        for wave in waves:
            known = np.concatenate([known, wave])
            n_known = first + len(known) // hop
            settled = n_frames if n_known == n_frames else n_known - self._context
            while done < settled:
                stop = min(settled, done + BLOCK)
                clean = self._filter(known[: (stop + self._context - first) * hop], first)
                yield clean[(done - first) * hop : (stop - first) * hop]
                done, kept = stop, max(0, stop - self._context)
                known, first = known[(kept - first) * hop :], kept

    def _filter(self, wave: np.ndarray, first: int) -> np.ndarray:
        """Samples from frame `first` on -> as many, wrong in the context at ends that are not the utterance's."""
        f = self._format
        averaged = average_periods(wave, f.sample_rate, f.hop_length, self._strength)
        rows = np.minimum(first + np.arange(len(wave) // f.hop_length + 1), len(self._mel) - 1)
        missing = self._mel[rows] - mel_spectrogram(averaged, f) / f.max_abs
        change = (self._more[rows] + self._strength * LEVELS * missing) * self._unit_db
        return self._equalize(averaged, np.clip(change, -LOWER, RAISE))

    def _equalize(self, wave: np.ndarray, change: np.ndarray) -> np.ndarray:
        """The wave (n,) with the levels of its bands changed by (1 + n / hop, n_mels) decibels."""
        f = self._format
        framing = {"nperseg": f.win_length, "noverlap": f.win_length - f.hop_length, "nfft": f.n_fft}
        at_least_a_window = np.pad(wave, (0, max(0, f.win_length - len(wave))))
        spectrum = scipy.signal.stft(at_least_a_window, **framing)[2]  # (bins, frames), centred on multiples of the hop
        rows = np.minimum(np.arange(spectrum.shape[1]), len(change) - 1)
        spectrum *= 10 ** (bands_to_bins(change[rows], f).T / 20)
        return scipy.signal.istft(spectrum, **framing)[1][: len(wave)].astype(np.float32)


# ---- the spectrum: formants and harmonics that stand out further


def with_contrast(mel: np.ndarray, formants: float, harmonics: float, unit_db: float) -> np.ndarray:
    """mel (T, n_mels), normalised to [-1, 1] -> the same with larger deviations from the utterance's mean spectrum.

    formants, harmonics: factors on the deviations that are as broad, or as fine; 1 changes nothing. unit_db: decibels that 1
    stands for. It is the post-filter of HMM synthesis, which emphasises the mel cepstrum (Yoshimura et al. 2005); level and
    tilt of a frame are kept, and so is the mean power of every band, by which a voice is known.
    """
    quefrency = np.arange(mel.shape[1]) / 2
    gains = np.interp(quefrency, [*FORMANT_RANGE, *HARMONIC_RANGE], [1, formants, formants, harmonics]).astype(np.float32)
    mean = mel.mean(axis=0)
    cepstrum = scipy.fft.dct(mel - mean, axis=1, norm="ortho")
    enlarged = np.clip(mean + scipy.fft.idct(cepstrum * gains, axis=1, norm="ortho"), -1, 1)
    return enlarged + _mean_power(mel, unit_db) - _mean_power(enlarged, unit_db)


def _mean_power(mel: np.ndarray, unit_db: float) -> np.ndarray:
    """(T, n_mels) -> (n_mels,): the level of the mean power of each band, in the mel's units."""
    return 10 * np.log10((10 ** (mel * (unit_db / 10))).mean(axis=0)) / unit_db


# ---- the periods of the voice: what repeats stays, noise averages out


def average_periods(wave: np.ndarray, sample_rate: int, hop: int, strength: float = 1.0) -> np.ndarray:
    """Speech (n,), n whole hops -> float32 (n,), each sample averaged with those a period before and after it.

    In each frame and band their weights depend on how alike the periods are, and are multiplied by strength. Frames are centred
    on multiples of `hop` and overlap. It is the long-term filter of Chen and Gersho 1995, with look-ahead.
    """
    shortest, longest = round(sample_rate / PITCH[1]), round(sample_rate / PITCH[0])
    window = np.hanning(round(WINDOW * sample_rate) // 2 * 2 + 2)[1:-1].astype(np.float32)  # none of its weights is 0
    pad = 2 * longest + len(window) + hop
    padded = np.pad(wave.astype(np.float32), (pad, pad + hop))
    centres = pad + hop * np.arange(len(wave) // hop + 1)
    before, after = _periods(_correlations(padded, centres, window, longest), shortest, longest)
    frames = centres[:, None] + np.arange(-hop, hop)
    averaged = np.zeros((len(centres) + 1, hop), dtype=np.float32)
    fade = scipy.signal.get_window("hann", 2 * hop).astype(np.float32)
    for band in _bands(padded, sample_rate):
        sums, weights = band[frames], np.ones((len(centres), 1), dtype=np.float32)
        for lag in (-before, after):
            weight = strength * GAIN * _likeness(band, centres, lag, window)[:, None]
            sums, weights = sums + weight * band[frames + lag[:, None]], weights + weight
        sums *= fade / weights
        averaged[:-1] += sums[:, :hop]
        averaged[1:] += sums[:, hop:]
    return averaged.reshape(-1)[hop : hop + len(wave)]


def _periods(correlations: np.ndarray, shortest: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The lengths (F,), in samples, of the period before each frame and of the one after it."""
    after, before = correlations[:, longest + shortest :], correlations[:, : longest - shortest + 1][:, ::-1]
    handicap = 1 - SHORTER * np.arange(after.shape[1]) / (longest - shortest)
    rough = np.argmax((before + after) * handicap, axis=1)
    near = np.clip(rough[:, None] + np.arange(-WANDER, WANDER + 1), 0, after.shape[1] - 1)
    best = (np.take_along_axis(side, near, axis=1).argmax(axis=1) for side in (before, after))
    before, after = (shortest + near[np.arange(len(near)), index] for index in best)
    return before, after


def _correlations(padded: np.ndarray, centres: np.ndarray, window: np.ndarray, longest: int) -> np.ndarray:
    """(F, 2 longest + 1): normalised correlations of the window at each centre with those up to `longest` samples before and
    after it."""
    around = padded[centres[:, None] + np.arange(-len(window) // 2 - longest, len(window) // 2 + longest)]
    n_fft = scipy.fft.next_fast_len(around.shape[1], real=True)

    def correlate(long: np.ndarray, short: np.ndarray) -> np.ndarray:
        product = scipy.fft.rfft(long, n_fft) * scipy.fft.rfft(short, n_fft).conj()
        return scipy.fft.irfft(product, n_fft)[:, : 2 * longest + 1]

    energy = np.maximum(correlate(around**2, window), 0)
    norms = np.sqrt(np.maximum(energy * energy[:, longest : longest + 1], 1e-12))
    return correlate(around, around[:, longest:-longest] * window) / norms


def _likeness(band: np.ndarray, centres: np.ndarray, lag: np.ndarray, window: np.ndarray) -> np.ndarray:
    """0 to 1 (F,): how alike the window at each centre is to the one `lag` samples later."""
    places = centres[:, None] + np.arange(-len(window) // 2, len(window) // 2)
    here, there = band[places], band[places + lag[:, None]]
    norms = np.sqrt(np.maximum((here**2 @ window) * (there**2 @ window), 1e-12))
    return np.interp((here * there) @ window / norms, ALIKE, (0, 1)).astype(np.float32)


def _bands(wave: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """Bands of a wave (n,), from low to high, that add up to it."""
    below = [np.zeros_like(wave)]
    for frequency in CROSSOVERS:
        taps = scipy.signal.firwin(FILTER_TAPS, frequency, fs=sample_rate).astype(np.float32)
        below.append(np.convolve(wave, taps, mode="same"))
    return [high - low for low, high in zip(below, [*below[1:], wave], strict=True)]
