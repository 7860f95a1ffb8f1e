"""Mels with more contrast than the speech is to have, for a vocoder that blurs what it reads."""

import numpy as np
import scipy.fft

NEUTRAL = (1.0, 1.0)
# Quefrencies, in periods over the whole width of the mel. The first tell the balance of low and high alone.
ENVELOPE, HARMONICS = (1.0, 3.0), (6.0, 9.0)


def with_contrast(mel: np.ndarray, contrast: tuple[float, float]) -> np.ndarray:
    """mel (T, n_mels), normalised to [-1, 1] -> the same, its deviations from the utterance's mean spectrum enlarged.

    contrast: the factor of what is broad as formants, and that of what is fine as harmonics; at 1 nothing changes. A young
    vocoder fills the valleys of the spectrum with noise, most of all those between harmonics. As the post-filters of speech
    codecs and of HMM synthesis (Yoshimura et al. 2005, which enlarges the mel cepstrum) this hides it.
    """
    if tuple(contrast) == NEUTRAL:
        return mel
    n_mels = mel.shape[1]
    formants, harmonics = contrast
    quefrency = np.arange(n_mels) / 2
    gains = np.interp(quefrency, [*ENVELOPE, *HARMONICS], [1, formants, formants, harmonics]).astype(np.float32)
    mean = mel.mean(axis=0)
    cepstrum = scipy.fft.dct(mel - mean, axis=1, norm="ortho")
    enlarged = mean + scipy.fft.idct(cepstrum * gains, axis=1, norm="ortho")
    return np.clip(enlarged, -1, 1)
