"""Takes noise from the speech of a young vocoder, as codecs do from what they decode (Chen and Gersho 1995): between the
harmonics of the voice (vocoder.periods), and in the valleys of its spectrum, which the mel knows better than the vocoder."""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.signal

from utils.data.audio import MelFormat, bands_to_bins, mel_spectrogram
from vocoder.contrast import with_contrast
from vocoder.periods import average_periods, reach

# At strength 1; found by two judges of quality and one of the voice (docs/training-notes.md)
FORMANTS, HARMONICS = 0.5, 0.1  # by which they stand out further than in the mel
LEVELS = 0.35  # of the decibels that the mel asks for and the audio has not
LOWER, RAISE = 20.0, 10.0  # dB at most
BLOCK = 256  # frames that are filtered at a time


class PostFilter:
    """For the speech of one mel (T, n_mels), normalised to [-1, 1]. strength: 0 changes nothing, 1 is what a young vocoder
    needs; between and beyond, it is a factor on all that is done."""

    def __init__(self, mel: np.ndarray, mel_format: MelFormat, strength: float) -> None:
        self._mel, self._format, self._strength = mel, mel_format, strength
        self._unit_db = -mel_format.min_db / 2
        contrasted = with_contrast(mel, 1 + FORMANTS * strength, 1 + HARMONICS * strength, self._unit_db)
        self._more = contrasted - mel
        self._context = -(-(reach(mel_format.sample_rate) + mel_format.win_length) // mel_format.hop_length) + 2  # frames

    def stream(self, waves: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Waves, T hop samples in all -> the same filtered, each piece as soon as what follows it cannot change it."""
        hop, n_frames = self._format.hop_length, len(self._mel)
        known, first, done = np.zeros(0, np.float32), 0, 0  # known begins with frame `first`; `done` frames were given
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
        """Samples from frame `first` on -> as many, right but for the context at an end that is not the utterance's."""
        f = self._format
        averaged = average_periods(wave, f.sample_rate, f.hop_length, self._strength)
        rows = np.minimum(first + np.arange(len(wave) // f.hop_length + 1), len(self._mel) - 1)
        missing = self._mel[rows] - mel_spectrogram(averaged, f) / f.max_abs
        change = (self._more[rows] + self._strength * LEVELS * missing) * self._unit_db
        return self._shape(averaged, np.clip(change, -LOWER, RAISE))

    def _shape(self, wave: np.ndarray, change: np.ndarray) -> np.ndarray:
        """The wave (n,), the level of its bands changed by (1 + n / hop, n_mels) decibels."""
        f = self._format
        framing = {"nperseg": f.win_length, "noverlap": f.win_length - f.hop_length, "nfft": f.n_fft}
        at_least_a_window = np.pad(wave, (0, max(0, f.win_length - len(wave))))
        spectrum = scipy.signal.stft(at_least_a_window, **framing)[2]  # (bins, frames, centred on multiples of the hop)
        rows = np.minimum(np.arange(spectrum.shape[1]), len(change) - 1)
        spectrum *= 10 ** (bands_to_bins(change[rows], f).T / 20)
        return scipy.signal.istft(spectrum, **framing)[1][: len(wave)].astype(np.float32)
