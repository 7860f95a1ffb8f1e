"""WaveRNN (Kalchbrenner et al. 2018, in the variant with two GRUs and a residual upsampling net).

B batch, T mel frames, N = T hop audio samples, H rnn_dims, C outputs of the distribution (512 classes, or 30).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.config import check_at_least
from utils.data.audio import MelFormat
from utils.errors import UserError
from vocoder import recurrence
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
        self.gru1 = nn.GRU(c.rnn_dims, c.rnn_dims)
        self.gru2 = nn.GRU(c.rnn_dims + aux, c.rnn_dims)
        self.hidden1 = nn.Linear(c.rnn_dims + aux, c.fc_dims)
        self.hidden2 = nn.Linear(c.fc_dims + aux, c.fc_dims)
        self.output = nn.Linear(c.fc_dims, self.distribution.n_outputs)

    def forward(self, levels: Tensor, mel: Tensor, targets: Tensor | None = None) -> Tensor:
        """levels (B, N), the sample before each; mel (B, T + 2 pad, n_mels) -> (B, N, C), or with targets (B, N) the loss ()"""
        fine, aux = self.upsample(mel)
        features = torch.cat([levels.unsqueeze(-1), fine], dim=-1).transpose(0, 1)  # (N, B, 1 + n_mels)
        aux1, aux2, aux3, aux4 = aux.transpose(0, 1).chunk(N_AUX, dim=-1)  # (T, B, aux_dims / 4)
        recurrent = self._recurrent_in_bf16 if recurrence.is_faster(features) else self._recurrent
        x = recurrent(features, aux1, aux2)  # (N, B, H)
        x = F.relu(_with_context(self.hidden1, x, aux3))  # (N, B, fc_dims)
        x = F.relu(_with_context(self.hidden2, x, aux4))
        outputs = self.output(x)
        return outputs.transpose(0, 1) if targets is None else self.distribution.loss(outputs, targets.t())

    def _recurrent(self, features: Tensor, aux1: Tensor, aux2: Tensor) -> Tensor:
        """(N, B, 1 + n_mels), twice (T, B, aux_dims / 4) -> (N, B, H)"""
        x = _with_context(self.input, features, aux1)
        x = x + self.gru1(x)[0]
        return x + self.gru2(torch.cat([x, torch.repeat_interleave(aux2, self.config.hop_length, dim=0)], dim=-1))[0]

    def _recurrent_in_bf16(self, features: Tensor, aux1: Tensor, aux2: Tensor) -> Tensor:
        """The same. What the first GRU does with the input layer's output is one product with the input layer's input."""
        of_features, of_aux = self.input.weight.split([features.size(-1), aux1.size(-1)], dim=1)
        with torch.autocast("cpu", enabled=False):
            to_gates = self.gru1.weight_ih_l0
            features_to_gates, aux_to_gates = to_gates @ of_features, to_gates @ of_aux
            bias_to_gates = to_gates @ self.input.bias
        x = _with_context(self.input, features, aux1)
        gates, conditioning = F.linear(features, features_to_gates), F.linear(aux1, aux_to_gates, bias_to_gates)
        x = recurrence.residual(self.gru1, x, gates, conditioning)
        of_x, of_aux = self.gru2.weight_ih_l0.split([x.size(-1), aux2.size(-1)], dim=1)
        return recurrence.residual(self.gru2, x, F.linear(x, of_x), F.linear(aux2, of_aux))


def _with_context(layer: nn.Linear, x: Tensor, aux: Tensor) -> Tensor:
    """layer([x, aux]), x (N, B, C), aux (T, B, A), the same for the N / T samples of a frame -> (N, B, outputs)"""
    of_x, of_aux = layer.weight.split([x.size(-1), aux.size(-1)], dim=1)
    frames = F.linear(x, of_x).unflatten(0, (aux.size(0), -1))  # (T, hop, B, outputs)
    return (frames + F.linear(aux, of_aux, layer.bias).unsqueeze(1)).flatten(0, 1)


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
