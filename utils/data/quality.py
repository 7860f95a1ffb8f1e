"""How good a recording is as a reference of a voice: what it holds, and what will cost likeness."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal

from utils.data import vad
from utils.data.audio import SAMPLE_RATE, normalize_volume
from utils.data.decoding import Recording

# Measured: the table in docs/data.md
LITTLE_SPEECH = 1.6  # s: one partial of the encoder
QUIET = -60.0  # dB of full scale
NOISY = 20.0  # dB
TELLS_NOISE = 4.0  # s in which speech pauses; less may be cut so tightly that its quietest tenth is speech
PAUSE = 0.1  # s
CLIPPED = 1e-3  # share of the samples
NARROW = 6000.0  # Hz; speech recorded at 8 kHz ends at 4000, at 11 kHz at 5500
TWO_VOICES = 0.62  # cosine under which a tenth of the pairs of partials lie

WINDOW = 480  # samples: 30 ms
N_FFT = 4096
N_PLACES = 4  # of so many samples, which an excerpt is made of
SPEECH_BAND = (250.0, 3000.0)  # Hz
BAND = 250.0  # Hz
EMPTY_BAND = -55.0  # dB of the speech band, below which a band holds nothing
N_NAMED = 5  # recordings with a fault
SEVERAL = ("probably more than one voice", "cut out the one to clone")


@dataclass(frozen=True)
class Quality:
    """What `assess` found in a recording."""

    seconds: float  # of speech
    level: float  # dB of full scale, of the whole recording
    snr: float  # dB, signal to noise, estimated; a clean recording has over 30. nan: it is short and has no pause
    clipping: float  # share of samples that are cut off at the top
    bandwidth: float  # Hz up to which there is sound
    several_speakers: bool | None = None  # None: not looked for, or too short to tell

    def faults(self) -> list[tuple[str, str]]:
        """What will cost likeness: (kind, how much of it and what to do)."""
        found = []
        if self.seconds < LITTLE_SPEECH:
            found.append(("little speech", f"{self.seconds:.1f} s; take 5 to 15 s"))
        if self.level < QUIET:
            found.append(("very quiet", f"{self.level:.0f} dB of full scale; record closer to the microphone"))
        if self.snr < NOISY:
            found.append(("noise or music", f"the voice is only about {self.snr:.0f} dB louder; record where it is quiet"))
        if self.clipping > CLIPPED:
            found.append(("distorted", f"{self.clipping:.1%} of the samples are cut off; record at a lower level"))
        if self.bandwidth < NARROW:
            found.append(("narrow band", f"nothing above {self.bandwidth / 1000:.1f} kHz, as on a telephone; record at 16 kHz"))
        if self.several_speakers:
            found.append(SEVERAL)
        return found

    def warnings(self) -> list[str]:
        """A line for each thing that will cost likeness."""
        return [f"{kind}: {detail}" for kind, detail in self.faults()]


def assess(wav: np.ndarray, partials: np.ndarray | None = None, seconds: float | None = None) -> Quality:
    """wav: a whole recording with its pauses, float (n,) at 16 kHz, n > 0. partials: the encoder's embeddings of its speech
    (P, E), which tell whether there are several speakers. seconds: of speech, if known; else it is looked for."""
    if seconds is None:
        seconds = len(vad.trim_silences(normalize_volume(wav))) / SAMPLE_RATE
    snr = _snr(wav)
    if snr < NOISY and len(wav) < TELLS_NOISE * SAMPLE_RATE and not _has_pause(wav):
        snr = math.nan
    return Quality(seconds, _decibels(_power(wav)), snr, _clipping(wav), _bandwidth(wav), has_two_voices(partials))


def _power(wav: np.ndarray) -> float:
    return float(np.dot(wav, wav)) / len(wav)


def _decibels(power: float) -> float:
    return 10 * math.log10(max(power, 1e-12))


def _snr(wav: np.ndarray) -> float:
    """dB from the quietest tenth of the recording, its pauses, to the mean."""
    frames = wav[: len(wav) // WINDOW * WINDOW].reshape(-1, WINDOW)
    if not len(frames):
        return 0.0
    powers = np.einsum("ij,ij->i", frames, frames) / WINDOW
    tenth = len(powers) // 10
    return _decibels(float(powers.mean())) - _decibels(float(np.partition(powers, tenth)[tenth]))


def _has_pause(wav: np.ndarray) -> bool:
    return len(wav) - len(vad.trim_silences(normalize_volume(wav))) > PAUSE * SAMPLE_RATE


def _clipping(wav: np.ndarray) -> float:
    """Share of samples within 2 % of the peak. Undistorted speech is there for moments only."""
    near = 0.98 * max(wav.max(), -wav.min())
    return float(np.count_nonzero(wav > near) + np.count_nonzero(wav < -near)) / len(wav) if near else 0.0


def _bandwidth(wav: np.ndarray) -> float:
    """The upper end of the highest band that holds sound, compared with the frequencies of speech."""
    bands = _mean_spectrum(wav)[:-1].reshape(-1, round(BAND * N_FFT / SAMPLE_RATE)).mean(axis=1)
    speech = bands[round(SPEECH_BAND[0] / BAND) : round(SPEECH_BAND[1] / BAND)].mean()
    heard = np.flatnonzero(bands > speech * 10 ** (EMPTY_BAND / 10))
    return float((heard[-1] + 1) * BAND) if heard.size else 0.0


def _mean_spectrum(wav: np.ndarray) -> np.ndarray:
    """(n,) -> power (N_FFT // 2 + 1,), averaged over blocks."""
    blocks = (np.resize(wav, N_FFT) if len(wav) < N_FFT else wav[: len(wav) // N_FFT * N_FFT]).reshape(-1, N_FFT)
    power = np.zeros(N_FFT // 2 + 1)
    for start in range(0, len(blocks), 64):  # to need little memory
        magnitudes = np.abs(scipy.fft.rfft(blocks[start : start + 64] * _window(), axis=1))
        power += np.einsum("ij,ij->j", magnitudes, magnitudes)
    return power / len(blocks)


@lru_cache
def _window() -> np.ndarray:
    return scipy.signal.windows.hann(N_FFT).astype(np.float32)


def has_two_voices(partials: np.ndarray | None) -> bool | None:
    """Whether many pairs of partials differ as two people do. Voices that speak at the same time are not found."""
    if partials is None or len(partials) < 3:
        return None
    cosines = (partials @ partials.T)[np.triu_indices(len(partials), 1)]
    return bool(np.percentile(cosines, 10) < TWO_VOICES)


def _excerpt(wav: np.ndarray) -> np.ndarray:
    """A second of a recording, from places all over it."""
    if len(wav) < N_FFT * N_PLACES:
        return wav
    return wav[: len(wav) // N_PLACES * N_PLACES].reshape(N_PLACES, -1)[:, :N_FFT].reshape(-1)


class Tally:
    """What many recordings have in common: each fault counted, with examples."""

    def __init__(self) -> None:
        self._n = 0
        self._found: dict[str, list[str]] = {}

    def add(self, name: str, recording: Recording) -> None:
        """Of a recording only what is true of it at any length is counted."""
        self._n += 1
        wav, faults = recording.wav, []
        excerpt = _excerpt(wav)  # which costs little
        if wav.size and (_snr(excerpt) < NOISY or assess(excerpt, seconds=math.inf).faults()):
            faults = assess(wav, seconds=math.inf).faults()
        for kind in [*(note.partition(":")[0] for note in recording.notes), *(kind for kind, _ in faults)]:
            self._found.setdefault(kind, []).append(name)

    def notes(self) -> list[tuple[str, str]]:
        """(what, how often, and in which)"""
        return [
            (kind, f"{len(names)} of {self._n} recordings, e.g. {', '.join(names[:N_NAMED])}")
            for kind, names in self._found.items()
        ]
