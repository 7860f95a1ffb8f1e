"""What one sample after another is made from: WaveRNN's weights split into what depends on the samples and what does not,
the latter multiplied beforehand, and the loop in plain torch. vocoder.compiled has the same loop for this CPU.

R rows (folds side by side), T mel frames, H rnn_dims, C outputs of the distribution.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vocoder.model import N_AUX, WaveRNN


class Matrices(NamedTuple):
    """Weights (inputs, outputs), and biases. The input layer is linear, so that the first GRU's input product collapses
    with it: "first" is x (H) and the gates of the first GRU (3 H) side by side."""

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
    """The conditioning's share of the products, biases included, a row per mel frame; N rows.

    The mel's share of "first" is linear in the mel, and upsampling is the same filter for every band: so frames are
    multiplied, and only then stretched. Sample i of the frame in row t is first[t] + taps[i] @ mel[t : t + n_taps].
    """

    mel: Tensor  # (N, 4 H)
    first: Tensor  # (N, 4 H)
    gates2: Tensor  # (N, 3 H)
    hidden1: Tensor  # (N, fc_dims)
    hidden2: Tensor  # (N, fc_dims)
    taps: Tensor  # (hop, n_taps), n_taps odd


class Loop(Protocol):
    """Generates rows side by side, frame by frame. A row's samples do not depend on what other rows hold."""

    width: int  # rows from which on more of them cost in proportion

    def start(self, n_rows: int) -> None:
        """New rows, all in silence."""

    def load(self, tables: Tables) -> None:
        """The conditioning of the next frames."""

    def frames(self, at: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """The next k frames of the first n rows: at (n,) int64, the row of the tables of the first of them; uniform
        (n, k hop, 2) float32 in (0, 1] -> levels (n, k hop) float32. n never grows between two starts."""


def split(model: WaveRNN) -> Matrices:
    """The model's weights as the loop wants them."""
    n_rnn, n_fc, n_mels = model.config.rnn_dims, model.config.fc_dims, model.config.n_mels
    gru1, gru2, layer = model.gru1, model.gru2, model.input
    into_gates = gru1.weight_ih_l0.t()  # (H, 3 H)
    into_first = torch.cat([torch.eye(n_rnn).to(into_gates), into_gates], dim=1)  # (H, 4 H)
    level, mel, aux1 = layer.weight.t().split([1, n_mels, model.config.aux_dims // N_AUX])
    x_to_gates2, aux2 = gru2.weight_ih_l0.t().tensor_split([n_rnn])
    to_hidden1, aux3 = model.hidden1.weight.t().tensor_split([n_rnn])
    to_hidden2, aux4 = model.hidden2.weight.t().tensor_split([n_fc])
    matrices = Matrices(
        level_to_first=(level @ into_first)[0],
        mel_to_first=mel @ into_first,
        aux_to_first=aux1 @ into_first,
        first_bias=layer.bias @ into_first + F.pad(gru1.bias_ih_l0, (n_rnn, 0)),
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
    """How upsampling weighs the frames around a sample's own: (hop, n_taps), the own frame in the middle."""
    n_stages = len(model.config.upsample_factors)  # each sees one step to either side: never more than a frame
    impulses = torch.eye(2 * n_stages + 1, device=model.output.weight.device).unsqueeze(0)  # (1, frames as bands, frames)
    hop = model.config.hop_length
    taps = model.upsample.stretch(impulses)[0, :, n_stages * hop : (n_stages + 1) * hop].t()
    while taps.size(1) > 1 and not taps[:, 0].any() and not taps[:, -1].any():
        taps = taps[:, 1:-1]
    return taps.contiguous()


def prepare(model: WaveRNN, matrices: Matrices, taps: Tensor, windows: Tensor) -> Tables:
    """Tables of T frames in each of R places: windows (R, margin + T + margin, n_mels) of the padded mel, see `margin`.
    Row r (T + n_taps - 1) + t is for frame t of place r."""
    m, pad, around = matrices, model.config.pad, taps.size(1) // 2
    outside = margin(model, taps)
    n_frames = windows.size(1) - 2 * outside
    context = windows[:, outside - pad : outside + n_frames + pad]
    aux = model.upsample.context(context.transpose(1, 2)).transpose(1, 2)  # (R, T, aux_dims)
    aux = F.pad(aux, (0, 0, 0, 2 * around)).flatten(0, 1)  # as many rows as the mel has
    aux1, aux2, aux3, aux4 = aux.chunk(N_AUX, dim=-1)
    mel = windows[:, outside - around : outside + n_frames + around].flatten(0, 1)
    return Tables(
        mel=mel @ m.mel_to_first,
        first=torch.addmm(m.first_bias, aux1, m.aux_to_first),
        gates2=torch.addmm(m.gates2_bias, aux2, m.aux_to_gates2),
        hidden1=torch.addmm(m.hidden1_bias, aux3, m.aux_to_hidden1),
        hidden2=torch.addmm(m.hidden2_bias, aux4, m.aux_to_hidden2),
        taps=taps,
    )


def margin(model: WaveRNN, taps: Tensor) -> int:
    """Frames that the conditioning of a frame sees on either side."""
    return max(model.config.pad, taps.size(1) // 2)


class Inputs(NamedTuple):
    """A frame's conditioning, row by row."""

    first: Tensor  # (hop, R, 4 H), for each sample; the others are the same for all of them
    gates2: Tensor  # (R, 3 H)
    hidden1: Tensor  # (R, fc_dims)
    hidden2: Tensor  # (R, fc_dims)
    uniform: Tensor  # (hop, 2, R)


class State(NamedTuple):
    """What goes from sample to sample."""

    level: Tensor  # (R,), the sample before
    h1: Tensor  # (R, H)
    h2: Tensor


class TorchLoop:
    """The loop in plain torch, on any device."""

    def __init__(self, model: WaveRNN):
        self.matrices = split(model)
        self.sample = model.distribution.sample
        self.n_rnn = model.config.rnn_dims
        self.device = model.output.weight.device
        self.width = 12

    def start(self, n_rows: int) -> None:
        zeros = self.matrices.h1_to_gates.new_zeros(n_rows, self.n_rnn)
        self.state = State(zeros[:, 0], zeros, zeros)

    def load(self, tables: Tables) -> None:
        self.tables = tables

    def frames(self, at: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        parts = np.split(uniform, uniform.shape[1] // len(self.tables.taps), axis=1)
        return np.concatenate([self._frame(at + k, part) for k, part in enumerate(parts)], axis=1)

    def _frame(self, at: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        tables = self.tables
        rows = torch.from_numpy(at).to(self.device)
        n_taps = tables.taps.size(1)
        around = tables.mel[rows.unsqueeze(1) + torch.arange(n_taps, device=self.device)]  # (n, n_taps, 4 H)
        first = tables.first[rows] + torch.einsum("ik,rkg->irg", tables.taps, around)
        noise = torch.from_numpy(np.ascontiguousarray(uniform.transpose(1, 2, 0))).to(self.device)
        inputs = Inputs(first, tables.gates2[rows], tables.hidden1[rows], tables.hidden2[rows], noise)
        return self.steps(inputs).t().cpu().numpy()

    def steps(self, inputs: Inputs) -> Tensor:
        """All samples of a frame -> levels (hop, R)"""
        levels, state = [], State(*(tensor[: len(inputs.gates2)] for tensor in self.state))
        for first, uniform in zip(inputs.first, inputs.uniform, strict=True):
            outputs, h1, h2 = self.step(first, inputs, state)
            state = State(self.sample(outputs, uniform), h1, h2)
            levels.append(state.level)
        self.state = state
        return torch.stack(levels)

    def step(self, first: Tensor, frame: Inputs, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """first (R, 4 H) of this sample -> outputs (R, C), h1, h2. As WaveRNN.forward gives them."""
        m = self.matrices
        x, gates1 = torch.addcmul(first, state.level.unsqueeze(-1), m.level_to_first).tensor_split([self.n_rnn], dim=-1)
        h1 = self._gru(gates1, torch.addmm(m.h1_bias, state.h1, m.h1_to_gates), state.h1)
        x = x + h1
        h2 = self._gru(torch.addmm(frame.gates2, x, m.x_to_gates2), torch.addmm(m.h2_bias, state.h2, m.h2_to_gates), state.h2)
        x = x + h2
        x = torch.addmm(frame.hidden1, x, m.to_hidden1).relu_()
        x = torch.addmm(frame.hidden2, x, m.to_hidden2).relu_()
        return torch.addmm(m.output_bias, x, m.to_output), h1, h2

    def _gru(self, from_input: Tensor, from_state: Tensor, h: Tensor) -> Tensor:
        """Reset, update and new gates (Cho et al. 2014, as torch orders them), from the two products (R, 3 H)."""
        n = self.n_rnn
        reset, update = (from_input[:, : 2 * n] + from_state[:, : 2 * n]).sigmoid_().chunk(2, dim=-1)
        new = torch.addcmul(from_input[:, 2 * n :], reset, from_state[:, 2 * n :]).tanh_()
        return torch.lerp(new, h, update)
