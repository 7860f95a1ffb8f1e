"""What fast samplers compute before the first sample: products of the weights with each other and with the conditioning.

R windows, T mel frames each, H rnn_dims, C outputs of the distribution.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vocoder.config import N_AUX, margin
from vocoder.model import WaveRNN


class Matrices(NamedTuple):
    """Weights (inputs, outputs), and biases. The input layer is linear, so its output x (H) and the input gates of the first
    GRU (3 H) come from one product: "first", side by side."""

    level_to_first: Tensor  # (4 H,)
    mel_to_first: Tensor  # (n_mels, 4 H)
    aux_to_first: Tensor
    first_bias: Tensor
    h1_to_gates: Tensor  # (H, 3 H)
    h1_bias: Tensor
    x_to_gates2: Tensor
    aux_to_gates2: Tensor
    gates2_bias: Tensor
    h2_to_gates: Tensor
    h2_bias: Tensor
    to_hidden1: Tensor
    aux_to_hidden1: Tensor
    hidden1_bias: Tensor
    to_hidden2: Tensor
    aux_to_hidden2: Tensor
    hidden2_bias: Tensor
    to_output: Tensor
    output_bias: Tensor


class Tables(NamedTuple):
    """The conditioning's share of the products, biases included, for each mel frame; S = T + n_taps - 1.

    The mel's share of "first" is linear in the mel, and upsampling filters all bands alike. So frames are multiplied before
    they are upsampled: sample i of frame t of row r is first[r, t] + taps[i] @ mel[r, t : t + n_taps].
    """

    mel: Tensor  # (R, S, 4 H)
    first: Tensor  # (R, S, 4 H)
    gates2: Tensor  # (R, S, 3 H)
    hidden1: Tensor  # (R, S, fc_dims)
    hidden2: Tensor  # (R, S, fc_dims)
    taps: Tensor  # (hop, n_taps), n_taps odd


def split(model: WaveRNN) -> Matrices:
    """The model's weights as a sampler needs them."""
    n_rnn, n_fc, n_mels = model.config.rnn_dims, model.config.fc_dims, model.config.n_mels
    gru1, gru2, layer = model.gru1, model.gru2, model.input
    to_gates1 = gru1.weight_ih_l0.t()  # (H, 3 H)
    to_first = torch.cat([torch.eye(n_rnn).to(to_gates1), to_gates1], dim=1)  # (H, 4 H)
    level, mel, aux1 = layer.weight.t().split([1, n_mels, model.config.aux_dims // N_AUX])
    x_to_gates2, aux2 = gru2.weight_ih_l0.t().tensor_split([n_rnn])
    to_hidden1, aux3 = model.hidden1.weight.t().tensor_split([n_rnn])
    to_hidden2, aux4 = model.hidden2.weight.t().tensor_split([n_fc])
    matrices = Matrices(
        level_to_first=(level @ to_first)[0],
        mel_to_first=mel @ to_first,
        aux_to_first=aux1 @ to_first,
        first_bias=layer.bias @ to_first + F.pad(gru1.bias_ih_l0, (n_rnn, 0)),
        h1_to_gates=gru1.weight_hh_l0.t(),
        h1_bias=gru1.bias_hh_l0,
        x_to_gates2=x_to_gates2,
        aux_to_gates2=aux2,
        gates2_bias=gru2.bias_ih_l0,
        h2_to_gates=gru2.weight_hh_l0.t(),
        h2_bias=gru2.bias_hh_l0,
        to_hidden1=to_hidden1,
        aux_to_hidden1=aux3,
        hidden1_bias=model.hidden1.bias,
        to_hidden2=to_hidden2,
        aux_to_hidden2=aux4,
        hidden2_bias=model.hidden2.bias,
        to_output=model.output.weight.t(),
        output_bias=model.output.bias,
    )
    return Matrices(*(tensor.detach().contiguous() for tensor in matrices))


def filter_taps(model: WaveRNN) -> Tensor:
    """How upsampling weighs the frames around a sample's own frame: (hop, n_taps), the own frame in the middle."""
    reach = len(model.config.upsample_factors)
    impulses = torch.eye(2 * reach + 1, device=model.output.weight.device).unsqueeze(0)  # (1, frames as bands, frames)
    hop = model.config.hop_length
    taps = model.upsample.stretch(impulses)[0, :, reach * hop : (reach + 1) * hop].t()
    while taps.size(1) > 1 and not taps[:, 0].any() and not taps[:, -1].any():
        taps = taps[:, 1:-1]
    return taps.contiguous()


def prepare(model: WaveRNN, matrices: Matrices, taps: Tensor, windows: Tensor) -> Tables:
    """Tables of windows (R, margin + T + margin, n_mels) of the padded mel, see vocoder.sampling.margin."""
    m, pad, around, outside = matrices, model.config.pad, taps.size(1) // 2, margin(model.config)
    n_frames = windows.size(1) - 2 * outside
    context = windows[:, outside - pad : outside + n_frames + pad]
    aux = model.upsample.context(context.transpose(1, 2)).transpose(1, 2)  # (R, T, aux_dims)
    aux1, aux2, aux3, aux4 = F.pad(aux, (0, 0, 0, 2 * around)).chunk(N_AUX, dim=-1)  # (R, S, aux_dims / 4)
    return Tables(
        mel=windows[:, outside - around : outside + n_frames + around] @ m.mel_to_first,
        first=aux1 @ m.aux_to_first + m.first_bias,
        gates2=aux2 @ m.aux_to_gates2 + m.gates2_bias,
        hidden1=aux3 @ m.aux_to_hidden1 + m.hidden1_bias,
        hidden2=aux4 @ m.aux_to_hidden2 + m.hidden2_bias,
        taps=taps,
    )
