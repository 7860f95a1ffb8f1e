"""What the encoder hears: any recording becomes a wave at 16 kHz without pauses, and its mel spectrogram."""

from pathlib import Path

import numpy as np

from encoder.config import VOLUME_DBFS
from utils.data import audio, levels, signals, vad
from utils.data.decoding import RATES
from utils.errors import UserError

# The names that notebooks written for Real-Time-Voice-Cloning use.
sampling_rate = audio.SAMPLE_RATE
wav_to_mel_spectrogram = audio.encoder_mel
trim_long_silences = vad.trim_silences


def preprocess_wav(
    path_or_wav: str | Path | np.ndarray, source_sr: int | None = None, normalize: bool = True, trim_silence: bool = True
) -> np.ndarray:
    """An audio file, or a wave at source_sr Hz -> float32 (n,) at 16 kHz, ready for the encoder.

    path_or_wav: a file of any format, or an array as `utils.data.signals.wave` takes it. source_sr: an array does not tell its
    sample rate; without it, speech at 44.1 kHz is taken for slow, deep speech at 16 kHz, and no error is raised. Not used for
    files. Quiet audio is raised to -30 dBFS and pauses are cut. UserError if it holds no speech or is not audio.
    """
    is_file = isinstance(path_or_wav, str | Path)
    wav = audio.load(Path(path_or_wav)) if is_file else _settled(path_or_wav, source_sr)
    if normalize:
        wav = audio.normalize_volume(wav, VOLUME_DBFS, increase_only=True)
    if trim_silence:
        wav = vad.trim_silences(wav)
    if not len(wav):
        raise UserError(f"{f'{path_or_wav}: ' if is_file else ''}no speech found in it; take a louder or longer recording")
    return wav


def _settled(array: np.ndarray, source_sr: int | None) -> np.ndarray:
    """An array as `audio.load` gives a file: at 16 kHz, and at a level that speech has."""
    wav = signals.wave(array, is_raw=True)
    rate = audio.SAMPLE_RATE if source_sr is None else source_sr
    if not RATES[0] <= rate <= RATES[1]:
        raise signals.ArrayError(f"source_sr is {rate} Hz; {RATES[0]} to {RATES[1]} can be read")
    return levels.settle(audio.resample(wav, rate, audio.SAMPLE_RATE))[0]
