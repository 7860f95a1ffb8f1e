"""Speech enhancement by the log-spectral amplitude estimator of Ephraim and Malah (1985), log-MMSE.

The noise is estimated from the pauses. Only the recursion over frames is sequential; each step works on all frequencies at
once and takes the exponential integral from a table.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal
import scipy.special

N_FFT = 512  # samples, 32 ms
HOP = 256  # samples
SMOOTHING = 0.98  # weight of the previous frame in the a-priori SNR, alpha in the paper
MIN_SNR = 10**-2.5  # floor of the a-priori SNR, -25 dB: the noise that stays masks musical tones
MAX_SNR = 1e4  # a priori and a posteriori, of a bin; above it the gain is one anyway
MIN_NOISE_FRAMES = 4
TABLE_STEP, TABLE_END = 1 / 256, 20.0


def denoise(wav: np.ndarray, noise_spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """float32 (n,) at 16 kHz -> float32 (n,) with less of the noise heard in the spans (start, end in samples).

    Unchanged if the spans hold fewer than four windows of 32 ms, or only digital silence.
    """
    power = noise_power(wav, noise_spans)
    if power is None:
        return wav
    window = _window()
    frames = _frames(wav)  # (T, N_FFT)
    spectrum = scipy.fft.rfft(frames * window, axis=1)  # (T, N_FFT / 2 + 1)
    spectrum *= gains(np.square(np.abs(spectrum)), power)
    return _overlap_add(scipy.fft.irfft(spectrum, N_FFT, axis=1) * window, len(wav))


def noise_power(wav: np.ndarray, noise_spans: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """float32 (N_FFT / 2 + 1,) mean power spectrum of the spans; None if they are too short or silent."""
    starts = [start for first, end in noise_spans for start in range(first, min(end, len(wav)) - N_FFT + 1, HOP // 2)]
    if len(starts) < MIN_NOISE_FRAMES:
        return None
    frames = wav[np.asarray(starts)[:, None] + np.arange(N_FFT)]  # (frames, N_FFT)
    power = np.square(np.abs(scipy.fft.rfft(frames * _window(), axis=1))).mean(axis=0)
    return power if power.max() > 0 else None


def gains(power: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Power (T, F) of noisy speech and (F,) of noise -> gain (T, F) of the amplitudes.

    With xi the a-priori and gamma the a-posteriori SNR, r = xi / (1 + xi) and v = r gamma, the gain is r exp(E1(v) / 2)
    (eq. 20). The decision-directed estimate of the next xi (eq. 51 of their 1984 paper) needs gain^2 gamma, which is r h(v)
    with h(v) = v exp(E1(v)). h is smooth, so a table is exact enough.
    """
    floor = np.maximum(noise, max(float(noise.max()) * 1e-6, 1e-20))
    gamma = np.minimum(power / floor, MAX_SNR)
    innovation = np.maximum((1 - SMOOTHING) * (gamma - 1), 0)
    wiener = np.empty_like(gamma)  # r
    speech = np.maximum(gamma[0] - 1, 0) if len(gamma) else floor  # gain^2 gamma of the previous frame
    for t in range(len(gamma)):
        xi = np.maximum(SMOOTHING * speech + innovation[t], MIN_SNR)
        np.divide(xi, 1 + xi, out=wiener[t])
        speech = wiener[t] * _times_exp_e1(wiener[t] * gamma[t])
    v = np.maximum(wiener * gamma, 1e-6)
    return np.minimum(wiener * np.sqrt(_times_exp_e1(v) / v), 1)


def _times_exp_e1(v: np.ndarray) -> np.ndarray:
    """h(v) = v exp(E1(v)) for v >= 0: v plus a remainder that falls from 0.56 to 0."""
    return v + _remainders().take((v * (1 / TABLE_STEP) + 0.5).astype(np.int32), mode="clip")


@lru_cache
def _remainders() -> np.ndarray:
    v = np.arange(0, TABLE_END, TABLE_STEP)
    v[0] = 1e-9
    return (v * np.exp(scipy.special.exp1(v)) - v).astype(np.float32)


@lru_cache
def _window() -> np.ndarray:
    """Root of a Hann window: applied before and after the gain, overlapping halves add up to one."""
    return np.sqrt(scipy.signal.get_window("hann", N_FFT)).astype(np.float32)


def _frames(wav: np.ndarray) -> np.ndarray:
    """(n,) -> (2 + n // HOP, N_FFT), so that every sample lies in two frames."""
    n_frames = 2 + len(wav) // HOP
    padded = np.zeros((n_frames + 1) * HOP, dtype=np.float32)
    padded[HOP : HOP + len(wav)] = wav
    return np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]


def _overlap_add(frames: np.ndarray, n_samples: int) -> np.ndarray:
    """Inverse of _frames: (T, N_FFT) -> (n_samples,)."""
    out = np.zeros((len(frames) + 1, HOP), dtype=np.float32)
    out[:-1] += frames[:, :HOP]
    out[1:] += frames[:, HOP:]
    return out.reshape(-1)[HOP : HOP + n_samples]
