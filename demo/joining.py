"""Waves of pieces as parts of one reading: without the silence around them, equally loud, and without clicks at their ends."""

import numpy as np

from utils.data.audio import MAX_PEAK

FRAME = 0.01  # s
SPEECH = 30.0  # dB under the loudest frame; softer frames are pauses
SOUND = 40.0  # dB under the level of the speech; softer ends are silence
MARGIN = 0.03  # s kept around the sound, as it begins and ends softly
FADE = 0.005  # s
MOST_GAIN = 10.0  # a piece that needs more is not speech, and its noise should not be raised


def fitted(wav: np.ndarray, sample_rate: int, loudness: float) -> tuple[np.ndarray, int]:
    """A piece (n,) -> the piece as it is joined with others, float32, and how many samples were cut from its beginning.

    loudness: level of its speech (RMS) in dBFS. It is lower where the peak would be over 0.99.
    """
    level = speech_level(wav, sample_rate)
    start, end = _sound(wav, sample_rate, level)
    piece = wav[start:end].astype(np.float32)
    peak = float(np.abs(piece).max(initial=0.0))
    if level:
        piece *= min(10 ** (loudness / 20) / level, MAX_PEAK / peak, MOST_GAIN)
    n_faded = min(round(FADE * sample_rate), len(piece) // 2)
    fade = np.linspace(0, 1, n_faded, dtype=np.float32)
    piece[:n_faded] *= fade
    piece[len(piece) - n_faded :] *= fade[::-1]
    return piece, start


def speech_level(wav: np.ndarray, sample_rate: int) -> float:
    """Root mean square of a wave (n,) where it is not silent."""
    power = _power(wav, sample_rate)
    speech = power[power >= power.max(initial=0) * 10 ** (-SPEECH / 10)]
    return float(np.sqrt(speech.mean())) if len(speech) else 0.0


def _sound(wav: np.ndarray, sample_rate: int, level: float) -> tuple[int, int]:
    """First and last sample of the sound in a wave, with a margin; all of it where there is none."""
    frame, margin = round(FRAME * sample_rate), round(MARGIN * sample_rate)
    loud = np.flatnonzero(_power(wav, sample_rate) > (level * 10 ** (-SOUND / 20)) ** 2)
    if not len(loud):
        return 0, len(wav)
    return max(0, int(loud[0]) * frame - margin), min(len(wav), (int(loud[-1]) + 1) * frame + margin)


def _power(wav: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean square of each frame (n_frames,), the last one padded with zeros."""
    frame = round(FRAME * sample_rate)
    frames = np.pad(wav, (0, -len(wav) % frame)).reshape(-1, frame)
    return np.square(frames, dtype=np.float64).mean(axis=1)
