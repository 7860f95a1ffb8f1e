"""Settings to read under their names in Real-Time-Voice-Cloning, for notebooks written for it."""

from typing import NamedTuple

from synthesizer.config import PreprocessSettings, TacotronConfig
from utils.data.mel_format import MelFormat


class Hparams(NamedTuple):
    """Cannot be changed: a model keeps the settings it was trained with."""

    sample_rate: int
    n_fft: int
    hop_size: int
    win_size: int
    num_mels: int
    fmin: float
    fmax: float
    preemphasis: float
    rescaling_max: float
    ref_level_db: float
    min_level_db: float
    max_abs_value: float
    rescale: bool = True
    preemphasize: bool = True
    signal_normalization: bool = True
    symmetric_mels: bool = True
    allow_clipping_in_normalization: bool = True
    max_mel_frames: int = PreprocessSettings().max_mel_frames
    silence_min_duration_split: float = PreprocessSettings().silence_min_duration_split
    utterance_min_duration: float = PreprocessSettings().utterance_min_duration
    speaker_embedding_size: int = TacotronConfig().speaker_size


def hparams_of(mel: MelFormat) -> Hparams:
    return Hparams(
        sample_rate=mel.sample_rate,
        n_fft=mel.n_fft,
        hop_size=mel.hop_length,
        win_size=mel.win_length,
        num_mels=mel.n_mels,
        fmin=mel.fmin,
        fmax=mel.fmax,
        preemphasis=mel.preemphasis,
        rescaling_max=mel.rescale_peak,
        ref_level_db=mel.ref_db,
        min_level_db=mel.min_db,
        max_abs_value=mel.max_abs,
    )


hparams = hparams_of(MelFormat())
