"""What the encoder hears: any recording becomes a wave at 16 kHz without pauses, and its mel spectrogram."""

from pathlib import Path

import numpy as np

from encoder.config import VOLUME_DBFS
from utils.data import audio, vad
from utils.errors import UserError

# The names that notebooks written for Real-Time-Voice-Cloning use.
sampling_rate = audio.SAMPLE_RATE
wav_to_mel_spectrogram = audio.encoder_mel
trim_long_silences = vad.trim_silences


def preprocess_wav(
    path_or_wav: str | Path | np.ndarray,
    source_sr: int | None = None,
    normalize: bool = True,
    trim_silence: bool = True,
) -> np.ndarray:
    """An audio file, or a float wave at source_sr Hz (None: 16 kHz) -> float32 (n,) at 16 kHz, ready for the encoder.

    Quiet audio is raised to -30 dBFS and pauses are cut. UserError if it holds no speech or is not audio.
    """
    is_file = isinstance(path_or_wav, str | Path)
    wav = audio.load(Path(path_or_wav)) if is_file else np.asarray(path_or_wav)
    if source_sr is not None and not is_file:
        wav = audio.resample(wav, source_sr, audio.SAMPLE_RATE)
    if normalize and len(wav):
        wav = audio.normalize_volume(wav, VOLUME_DBFS, increase_only=True)
    if trim_silence:
        wav = vad.trim_silences(wav)
    if not len(wav):
        raise UserError(f"{f'{path_or_wav}: ' if is_file else ''}no speech found in it; take a louder or longer recording")
    return wav
