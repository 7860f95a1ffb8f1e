"""WaveRNN (Kalchbrenner et al. 2018, in the variant with two GRUs and a residual upsampling net).

B batch, T mel frames, N = T hop audio samples, H rnn_dims, C outputs of the distribution (512 classes, or 30).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.audio import MelFormat
from utils.cli import UserError, check_at_least
from vocoder.distribution import Distribution, distribution
from vocoder.upsample import Upsample

SILENCE = -1.0  # what a normalised mel holds where there is no sound
N_AUX = 4  # parts of the context: for the input layer, the second GRU and the two hidden layers


@dataclass(frozen=True)
class WaveRNNConfig:
    """Sizes; the defaults are the published ones."""

    mode: str = "RAW"  # RAW: mu-law classes; MOL: mixture of logistics
    bits: int = 9  # RAW: 2^bits classes
    n_mixtures: int = 10  # MOL: logistics in the mixture
    n_mels: int = 80
    upsample_factors: tuple[int, ...] = (5, 5, 8)  # their product is the hop of the mel format
    pad: int = 2  # mel frames seen on each side
    context_dims: int = 128  # width of the residual net
    n_context_blocks: int = 10
    aux_dims: int = 128  # its output, cut in four
    rnn_dims: int = 512
    fc_dims: int = 512

    def __post_init__(self) -> None:
        if self.mode not in ("RAW", "MOL"):
            raise ValueError(f"mode is RAW or MOL, not {self.mode!r}")
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits is from 2 to 16, not {self.bits}")
        check_at_least(self, 1, "n_mixtures", "n_mels", "upsample_factors", "pad", "context_dims", "rnn_dims", "fc_dims")
        check_at_least(self, 0, "n_context_blocks")
        check_at_least(self, N_AUX, "aux_dims")
        if self.aux_dims % N_AUX:
            raise ValueError(f"aux_dims is cut in {N_AUX}: {self.aux_dims} does not divide")

    @property
    def hop_length(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.upsample_factors)


class WaveRNN(nn.Module):
    """Mel and previous samples -> distribution of the next sample, for known samples. vocoder.loop is the same function one
    sample after another. Neither samples nor mels are normalised here: see vocoder.inference."""

    def __init__(self, config: WaveRNNConfig):
        super().__init__()
        c = config
        self.config = config
        self.distribution: Distribution = distribution(c.mode, c.bits, c.n_mixtures)
        aux = c.aux_dims // N_AUX
        self.upsample = Upsample(c.n_mels, c.context_dims, c.aux_dims, c.n_context_blocks, c.pad, c.upsample_factors)
        self.input = nn.Linear(1 + c.n_mels + aux, c.rnn_dims)
        self.gru1 = nn.GRU(c.rnn_dims, c.rnn_dims, batch_first=True)
        self.gru2 = nn.GRU(c.rnn_dims + aux, c.rnn_dims, batch_first=True)
        self.hidden1 = nn.Linear(c.rnn_dims + aux, c.fc_dims)
        self.hidden2 = nn.Linear(c.fc_dims + aux, c.fc_dims)
        self.output = nn.Linear(c.fc_dims, self.distribution.n_outputs)

    def forward(self, levels: Tensor, mel: Tensor) -> Tensor:
        """levels (B, N), the sample before each; mel (B, T + 2 pad, n_mels) -> (B, N, C)"""
        fine, aux = self.upsample(mel)
        aux = torch.repeat_interleave(aux, self.config.hop_length, dim=1)  # (B, N, aux_dims)
        aux1, aux2, aux3, aux4 = aux.chunk(N_AUX, dim=-1)
        x = self.input(torch.cat([levels.unsqueeze(-1), fine, aux1], dim=-1))  # (B, N, H)
        x = x + self.gru1(x)[0]
        x = x + self.gru2(torch.cat([x, aux2], dim=-1))[0]
        x = F.relu(self.hidden1(torch.cat([x, aux3], dim=-1)))  # (B, N, fc_dims)
        x = F.relu(self.hidden2(torch.cat([x, aux4], dim=-1)))
        return self.output(x)


def check_sizes(config: WaveRNNConfig, mel_format: MelFormat) -> None:
    """Raises UserError when the model cannot turn mels of this format into audio."""
    if config.hop_length != mel_format.hop_length:
        factors = " x ".join(map(str, config.upsample_factors))
        raise UserError(f"upsample_factors {factors} make {config.hop_length} samples per mel frame, but the mel format has a "
                        f"hop_length of {mel_format.hop_length}")  # fmt: skip
    if config.n_mels != mel_format.n_mels:
        raise UserError(f"the vocoder reads {config.n_mels} mel bands, but the mel format has {mel_format.n_mels}")


def pad_mels(mels: list[Tensor], pad: int) -> Tensor:
    """Mels (T_i, n_mels) -> (B, pad + max T_i + pad, n_mels), silence around and after each.

    A shorter item in a batch of longer ones so gives the numbers that it gives alone.
    """
    longest = max(len(mel) for mel in mels)
    return torch.stack([F.pad(mel, (0, 0, pad, pad + longest - len(mel)), value=SILENCE) for mel in mels])
