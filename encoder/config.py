"""What can be set of the speaker encoder: its sizes, its training, its preprocessing. Imports nothing heavy."""

from dataclasses import dataclass

from utils.config import CLIP, check_at_least, check_at_most, check_positive, setting
from utils.data.mel_format import ENCODER_HOP, ENCODER_N_FFT, ENCODER_N_MELS, SAMPLE_RATE

MEL_FORMAT = {"sample_rate": SAMPLE_RATE, "n_fft": ENCODER_N_FFT, "hop_length": ENCODER_HOP, "n_mels": ENCODER_N_MELS}
PARTIAL_FRAMES = 160  # 1.6 s
VOLUME_DBFS = -30.0
FRAMES = "frames of 10 ms"


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes. The SV2TTS paper's encoder is hidden_size 768, projection_size 256."""

    n_mels: int = setting(ENCODER_N_MELS, "mel bands of the input; encoder_preprocess.py always writes the default")
    hidden_size: int = setting(256, "cells of each LSTM layer, in a new model")
    n_layers: int = setting(3, "LSTM layers, in a new model")
    projection_size: int = setting(0, "outputs of each LSTM layer, in a new model; 0 for hidden_size outputs")
    embedding_size: int = setting(256, "numbers in an embedding, in a new model")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "n_mels", "hidden_size", "n_layers", "embedding_size")
        if not 0 <= self.projection_size < self.hidden_size:
            raise ValueError(f"projection_size {self.projection_size} must be under hidden_size {self.hidden_size}")


@dataclass(frozen=True)
class EncoderTraining:
    """How the encoder is trained and evaluated."""

    learning_rate: float = setting(1e-4, "step size of Adam")
    speakers_per_batch: int = setting(64, "speakers in a batch, on each GPU")
    utterances_per_speaker: int = setting(10, "utterances of each speaker in a batch")
    partial_frames: int = setting(PARTIAL_FRAMES, "length of the crop from each utterance", FRAMES)
    clip: float = setting(3.0, CLIP)
    similarity_gradient: float = setting(0.01, "factor on the gradients of the loss's scale and offset")
    held_out_fraction: float = setting(
        0.05, "about this share of the speakers is kept for evaluation, chosen by their names; at least two"
    )
    eval_speakers: int = setting(100, "most held-out speakers in an evaluation")
    eval_utterances: int = setting(10, "most utterances of each of them")

    def __post_init__(self) -> None:
        names = ("speakers_per_batch", "utterances_per_speaker", "partial_frames", "eval_speakers", "eval_utterances")
        check_at_least(self, 2, *names)
        check_at_most(self, 10_000, *names)
        check_at_least(self, 0, "similarity_gradient")
        if not 0 <= self.held_out_fraction < 1:
            raise ValueError("held_out_fraction must be at least 0 and under 1")
        check_positive(self, "learning_rate", "clip")


@dataclass(frozen=True)
class PreprocessSettings:
    """What changes the mels; written into every file, and compared when an earlier run is continued."""

    volume_dbfs: float = setting(VOLUME_DBFS, "quieter utterances are raised to this level", "dB of full scale")
    trim_silences: bool = setting(True, "cut pauses with voice activity detection; --no_trim sets false")
    min_frames: int = setting(PARTIAL_FRAMES, "utterances with less speech are skipped: training cannot crop them", FRAMES)

    def __post_init__(self) -> None:
        check_at_least(self, 1, "min_frames")
        if self.volume_dbfs > 0:
            raise ValueError(f"volume_dbfs must be at most 0, full scale, not {self.volume_dbfs:g}")
