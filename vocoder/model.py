"""WaveRNN (Kalchbrenner et al. 2018, in the variant with two GRUs and a residual upsampling net).

B batch, T mel frames, N = T hop audio samples, H rnn_dims, C outputs of the distribution (512 classes, or 30).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocoder.config import N_AUX, WaveRNNConfig
from vocoder.distribution import Distribution, distribution
from vocoder.upsample import Upsample

State = tuple[Tensor, Tensor]  # hidden states of the two GRUs, (1, B, H) each


def in_turn(gru1: nn.GRU, gru2: nn.GRU, x: Tensor, aux: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Two GRUs with residual connections, the second of which reads aux too: x (N, B, H), aux (N, B, A) -> (N, B, H), state"""
    h1, h2 = state or (None, None)
    residual, h1 = gru1(x, h1)
    x = x + residual
    residual, h2 = gru2(torch.cat([x, aux], dim=-1), h2)
    return x + residual, (h1, h2)


class WaveRNN(nn.Module):
    """Mel and previous samples -> distribution of the next sample. vocoder.inference normalises the mel, and the samples are
    the distribution's levels."""

    recurrence = staticmethod(in_turn)

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
        outputs, _ = self.predict(levels.t(), fine.transpose(0, 1), aux.transpose(0, 1))
        return outputs.transpose(0, 1) if targets is None else self.distribution.loss(outputs, targets.t())

    def predict(self, levels: Tensor, fine: Tensor, aux: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """levels (N, B), fine (N, B, n_mels), aux (T, B, aux_dims), state before the first sample (None: zeros)
        -> outputs (N, B, C), state after the last. Generation calls it for one sample at a time."""
        aux1, aux2, aux3, aux4 = aux.chunk(N_AUX, dim=-1)  # (T, B, aux_dims / 4)
        with torch.autocast(levels.device.type, enabled=False):  # neighbouring levels are the same in bf16
            x = _with_context(self.input, torch.cat([levels.unsqueeze(-1), fine], dim=-1), aux1.float())  # (N, B, H)
        aux2 = aux2.repeat_interleave(len(x) // len(aux2), dim=0)  # (N, B, aux_dims / 4)
        x, state = self.recurrence(self.gru1, self.gru2, x, aux2, state)
        x = F.relu(_with_context(self.hidden1, x, aux3))  # (N, B, fc_dims)
        x = F.relu(_with_context(self.hidden2, x, aux4))
        return self.output(x), state


def _with_context(layer: nn.Linear, x: Tensor, aux: Tensor) -> Tensor:
    """layer([x, aux]) with x (N, B, C) and aux (T, B, A), repeated for the N / T samples of a frame -> (N, B, outputs)

    x and aux are multiplied separately, so that aux is multiplied once per frame instead of once per sample.
    """
    x_weight, aux_weight = layer.weight.split([x.size(-1), aux.size(-1)], dim=1)
    frames = F.linear(x, x_weight).unflatten(0, (aux.size(0), -1))  # (T, hop, B, outputs)
    return (frames + F.linear(aux, aux_weight, layer.bias).unsqueeze(1)).flatten(0, 1)
