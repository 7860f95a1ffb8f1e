"""The long-term half of the post-filter: what repeats from one period of the voice to the next stays, noise averages out."""

import numpy as np
import scipy.fft
import scipy.signal

GAIN = 0.6  # of the neighbouring periods, beside 1 of the present one, where they are alike
ALIKE = (0.3, 0.77)  # normalised correlations from which on, and at which, neighbours count
PITCH = (60.0, 440.0)  # Hz
WINDOW = 0.03  # s, that is compared
WANDER = 4  # samples that the period before may be longer or shorter than the one after
SHORTER = 0.1  # how much worse the longest period must do: two periods are a period as well
CROSSOVERS = (1500.0, 3500.0)  # Hz, between bands that are judged alone: breath does not repeat where the voice does
FILTER_TAPS = 129


def reach(sample_rate: int) -> int:
    """Samples before and after one that average_periods looks at for it, besides a hop."""
    return _longest(sample_rate) + WANDER + round(WINDOW * sample_rate) // 2 + FILTER_TAPS // 2 + 1


def average_periods(wave: np.ndarray, sample_rate: int, hop: int, strength: float = 1.0) -> np.ndarray:
    """Speech (n,), n whole hops -> float32 (n,), each sample averaged with those a period before and after it.

    Their weights follow in each frame and band from how alike the periods are; frames are centred on multiples of `hop` and
    overlap. strength: a factor on the weights. The long-term filter of Chen and Gersho 1995, looking ahead as well.
    """
    longest, window = _longest(sample_rate), round(WINDOW * sample_rate) // 2 * 2
    pad = 2 * longest + window + hop
    padded = np.pad(wave.astype(np.float32), (pad, pad + hop))
    centres = pad + hop * np.arange(len(wave) // hop + 1)
    before, after = _periods(padded, centres, window, round(sample_rate / PITCH[1]), longest)
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


def _longest(sample_rate: int) -> int:
    return round(sample_rate / PITCH[0])


def _periods(
    padded: np.ndarray, centres: np.ndarray, window: int, shortest: int, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples (F,) from the middle of each frame to where the period before it, and the one after it, is most alike."""
    likeness = _all_lags(padded, centres, window, longest)
    after, before = likeness[:, longest + shortest :], likeness[:, : longest - shortest + 1][:, ::-1]
    handicap = 1 - SHORTER * np.arange(after.shape[1]) / (longest - shortest)
    rough = np.argmax((before + after) * handicap, axis=1)
    near = np.clip(rough[:, None] + np.arange(-WANDER, WANDER + 1), 0, after.shape[1] - 1)
    rows = np.arange(len(centres))
    best = (near[rows, np.take_along_axis(side, near, axis=1).argmax(axis=1)] for side in (before, after))
    before, after = (shortest + index for index in best)
    return before, after


def _all_lags(padded: np.ndarray, centres: np.ndarray, window: int, longest: int) -> np.ndarray:
    """Normalised correlations (F, 2 longest + 1) of the window about each centre with those -longest to longest samples on."""
    around = padded[centres[:, None] + np.arange(-window // 2 - longest, window // 2 + longest)]
    n_fft = scipy.fft.next_fast_len(around.shape[1], real=True)
    weights = _window(window)

    def slide(over: np.ndarray, what: np.ndarray) -> np.ndarray:
        product = scipy.fft.rfft(over, n_fft) * scipy.fft.rfft(what, n_fft).conj()
        return scipy.fft.irfft(product, n_fft)[:, : 2 * longest + 1]

    energy = np.maximum(slide(around**2, weights), 0)
    return slide(around, around[:, longest:-longest] * weights) / _product_of_norms(energy, energy[:, longest : longest + 1])


def _likeness(band: np.ndarray, centres: np.ndarray, lag: np.ndarray, window: int) -> np.ndarray:
    """0 to 1 (F,): how alike the window about each centre is to the one `lag` samples on."""
    weights = _window(window)
    places = centres[:, None] + np.arange(-window // 2, window // 2)
    here, there = band[places], band[places + lag[:, None]]
    norms = _product_of_norms(here**2 @ weights, there**2 @ weights)
    return np.interp((here * there) @ weights / norms, ALIKE, (0, 1)).astype(np.float32)


def _window(length: int) -> np.ndarray:
    return np.hanning(length + 2)[1:-1].astype(np.float32)  # no weight of it is 0


def _product_of_norms(energy: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(energy * other, 1e-12))


def _bands(wave: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """Parts of a wave (n,), from low to high, that are the wave again when they are added."""
    below = [np.zeros_like(wave)]
    for frequency in CROSSOVERS:
        taps = scipy.signal.firwin(FILTER_TAPS, frequency, fs=sample_rate).astype(np.float32)
        below.append(np.convolve(wave, taps, mode="same"))
    return [high - low for low, high in zip(below, [*below[1:], wave], strict=True)]
