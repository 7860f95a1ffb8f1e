"""Mels with more contrast: formants and harmonics that stand out further than they did."""

import numpy as np
import scipy.fft

# Quefrencies, in periods over the whole width of the mel. The first tell the balance of low and high alone.
ENVELOPE, HARMONICS = (1.0, 3.0), (6.0, 9.0)


def with_contrast(mel: np.ndarray, formants: float, harmonics: float, unit_db: float) -> np.ndarray:
    """mel (T, n_mels), normalised to [-1, 1] -> the same, its deviations from the utterance's mean spectrum enlarged.

    formants, harmonics: the factors of what is as broad as the ones and as fine as the others; at 1 nothing changes.
    unit_db: decibels that 1 stands for. As the post-filter of HMM synthesis that enlarges the mel cepstrum (Yoshimura et
    al. 2005); level and tilt of a frame stay, and so does the mean power of every band, by which a voice is known.
    """
    n_mels = mel.shape[1]
    quefrency = np.arange(n_mels) / 2
    gains = np.interp(quefrency, [*ENVELOPE, *HARMONICS], [1, formants, formants, harmonics]).astype(np.float32)
    mean = mel.mean(axis=0)
    cepstrum = scipy.fft.dct(mel - mean, axis=1, norm="ortho")
    enlarged = np.clip(mean + scipy.fft.idct(cepstrum * gains, axis=1, norm="ortho"), -1, 1)
    return enlarged + _mean_power(mel, unit_db) - _mean_power(enlarged, unit_db)


def _mean_power(mel: np.ndarray, unit_db: float) -> np.ndarray:
    """(T, n_mels) -> (n_mels,): the level of the mean power of each band, in the units of the mel."""
    return 10 * np.log10((10 ** (mel * (unit_db / 10))).mean(axis=0)) / unit_db
