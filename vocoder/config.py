"""The vocoder's settings. Imports nothing heavy."""

import math
from dataclasses import dataclass

from utils.config import (
    AVERAGE_DECAY,
    CLIP,
    PRECISION,
    PRECISIONS,
    check_at_least,
    check_at_most,
    check_choice,
    check_positive,
    setting,
)
from utils.data.mel_format import MAX_HOP, MelFormat
from utils.errors import UserError

SILENCE = -1.0  # value of a normalised mel where there is no sound
N_AUX = 4  # parts of the context: for the input layer, the second GRU and the two hidden layers
TARGET = 8000  # samples of a fold
OVERLAP = 600  # samples that neighbouring folds share
MAX_FACTOR = 1000  # of one upsampling; its filters take the square of it


@dataclass(frozen=True)
class WaveRNNConfig:
    """Sizes of the model; the defaults are the published ones."""

    mode: str = setting("RAW", "what is predicted: RAW, mu-law classes, or MOL, a mixture of logistics")
    bits: int = setting(9, "RAW has 2^bits classes")
    n_mixtures: int = setting(10, "logistics in the mixture of MOL")
    n_mels: int = setting(80, "mel bands")
    upsample_factors: tuple[int, ...] = setting((5, 5, 8), "factors of the upsampling; their product is the hop length")
    pad: int = setting(2, "context that the upsampling net sees on each side", "mel frames")
    context_dims: int = setting(128, "width of the residual net that reads the mels")
    n_context_blocks: int = setting(10, "blocks of the residual net")
    aux_dims: int = setting(128, "outputs of the residual net, a multiple of 4")
    rnn_dims: int = setting(512, "units of each GRU; more sound better and generate more slowly")
    fc_dims: int = setting(512, "units of each hidden layer; more sound better and generate more slowly")

    def __post_init__(self) -> None:
        check_choice(self, ("RAW", "MOL"), "mode")
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits is from 2 to 16, not {self.bits}")
        check_at_least(self, 1, "n_mixtures", "n_mels", "upsample_factors", "pad", "context_dims", "rnn_dims", "fc_dims")
        check_at_least(self, 0, "n_context_blocks")
        check_at_least(self, N_AUX, "aux_dims")
        if max(self.upsample_factors, default=1) > MAX_FACTOR or self.hop_length > MAX_HOP:
            raise ValueError(f"upsample_factors must be at most {MAX_FACTOR}, and their product at most {MAX_HOP}")
        if self.aux_dims % N_AUX:
            raise ValueError(f"aux_dims must be a multiple of {N_AUX}, not {self.aux_dims}")

    @property
    def hop_length(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.upsample_factors)


@dataclass(frozen=True)
class VocoderTraining:
    """How the vocoder is trained and evaluated."""

    learning_rate: float = setting(4e-4, "highest learning rate; published: 1e-4 with no warm-up and no halving")
    warmup_steps: int = setting(1000, "time in which the learning rate rises from 0", "steps")
    halving_steps: int = setting(50_000, "time in which it then falls to half; 0 keeps it constant", "steps")
    final_learning_rate: float = setting(2e-5, "learning rate at which it stops falling")
    average_decay: float = setting(0.999, AVERAGE_DECAY)
    cuda_graphs: int = setting(
        1, "1: on a single GPU, each step is launched as one CUDA graph; 2: on several GPUs too; 0: never"
    )
    batch_size: int = setting(100, "batch size on each GPU", "crops")
    seq_len: int = setting(1000, "length of a crop, in whole mel frames; longer takes more memory and time", "samples")
    clip: float = setting(4.0, CLIP)
    quiet_db: float = setting(-40.0, "level below which a crop is quiet", "dB of full scale")
    quiet_kept: float = setting(0.25, "share of the quiet crops that is kept; the others are replaced")
    eval_crops: int = setting(200, "crops in the held-out loss, at most")
    eval_shown: int = setting(2, "held-out utterances that are generated")
    eval_seconds: float = setting(3.0, "length of each generated utterance", "s")
    target: int = setting(TARGET, "length of the folds that are generated side by side", "samples")
    overlap: int = setting(OVERLAP, "overlap of neighbouring folds", "samples")
    postfilter: float = setting(
        0.0, "strength of the post-filter, kept in the checkpoint; a young vocoder sounds clearer at 1", of_weights=True
    )

    def __post_init__(self) -> None:
        check_positive(self, "learning_rate", "final_learning_rate", "clip", "eval_seconds")
        if not (0 <= self.average_decay < 1 and 0 <= self.quiet_kept <= 1):
            raise ValueError("average_decay must be from 0 to under 1, and quiet_kept from 0 to 1")
        if not 0 <= self.postfilter <= 2:
            raise ValueError("postfilter is a strength from 0 (off) to 2")
        check_at_least(self, 1, "batch_size", "seq_len", "eval_crops", "target")
        check_at_most(self, 1_000_000, "batch_size", "seq_len", "eval_crops")
        check_at_least(self, 0, "eval_shown", "overlap", "warmup_steps", "halving_steps", "cuda_graphs")
        check_at_most(self, 2, "cuda_graphs")
        check_at_most(self, 0, "quiet_db")

    def learning_rate_at(self, step: int) -> float:
        """Rises linearly, then halves every halving_steps, down to final_learning_rate."""
        rising = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        halvings = max(0, step - self.warmup_steps) / self.halving_steps if self.halving_steps else 0.0
        return rising * max(self.learning_rate * 0.5**halvings, min(self.final_learning_rate, self.learning_rate))


@dataclass(frozen=True)
class GtaSettings:
    """How ground-truth-aligned mels are made."""

    max_frames: int = setting(8000, "largest batch, padding included; a smaller one saves memory but is slower", "mel frames")
    precision: str = setting("auto", PRECISION)

    def __post_init__(self) -> None:
        check_choice(self, PRECISIONS, "precision")
        check_at_least(self, 1, "max_frames")


def margin(config: WaveRNNConfig) -> int:
    """Frames around a window that upsampling looks at. Each smoothing filter reaches less than a frame to either side."""
    return config.pad + len(config.upsample_factors)


def check_sizes(config: WaveRNNConfig, mel_format: MelFormat) -> None:
    """Raises UserError when the model cannot turn mels of this format into audio."""
    if config.hop_length != mel_format.hop_length:
        factors = " x ".join(map(str, config.upsample_factors))
        hops = f"{config.hop_length} samples per mel frame, but the mel format has a hop_length of {mel_format.hop_length}"
        raise UserError(f"upsample_factors {factors} make {hops}")
    if config.n_mels != mel_format.n_mels:
        raise UserError(f"the vocoder reads {config.n_mels} mel bands, but the mel format has {mel_format.n_mels}")
