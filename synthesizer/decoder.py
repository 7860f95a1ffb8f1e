"""Tacotron's decoder: a step is a pre-net, attention, two residual LSTMs, r frames and a stop output.

Shapes: B utterances, T characters, E encoder channels, A size of the attention, S steps of r frames each.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.attention import Memory
from synthesizer.layers import PreNet
from utils.models.recurrent import LoopProduct, as_autocast, gru_cell, lstm_cell


class ResidualLSTM(nn.Module):
    """x + LSTM(x). In training zoneout keeps part of the hidden state at its last value (1606.01305)."""

    cell = staticmethod(lstm_cell)

    def __init__(self, size: int, zoneout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, size, batch_first=True)
        self.zoneout = zoneout

    def forward(self, x: Tensor) -> Tensor:
        """All steps: (B, S, C) -> (B, S, C)"""
        if not (self.training and self.zoneout):
            return x + self.lstm(x)[0]
        kept = torch.rand(x.shape, device=x.device) < self.zoneout
        hidden = cell = torch.zeros_like(x[:, 0], dtype=torch.float32)
        gates, steps = LoopProduct(self.lstm.weight_hh_l0, self._x_gates(x)), []
        for zoned_out in kept.unbind(1):
            new_hidden, cell = self.cell(gates(hidden), cell)
            hidden = torch.where(zoned_out, hidden, new_hidden)
            steps.append(hidden)
        return x + torch.stack(steps, dim=1)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step without zoneout: (B, C) and (hidden, cell), (B, C) each -> (B, C) and the next state"""
        state = self.cell(self._x_gates(x) + F.linear(state[0], self.lstm.weight_hh_l0), state[1])
        return x + state[0], state

    def _x_gates(self, x: Tensor) -> Tensor:
        return F.linear(x, self.lstm.weight_ih_l0, self.lstm.bias_ih_l0 + self.lstm.bias_hh_l0)


class Attended(NamedTuple):
    hidden: Tensor  # (B, A) of the GRU that queries the attention
    context: Tensor  # (B, E) what the attention read
    attention: Any  # the attention's own state, whose `weights` are (B, T)


class DecoderState(NamedTuple):
    attended: Attended
    lstm1: tuple[Tensor, Tensor]  # hidden and cell, (B, size) each
    lstm2: tuple[Tensor, Tensor]


class Decoder(nn.Module):
    """The attention and its GRU do not read the LSTMs' output. With teacher forcing the attention therefore goes over all
    steps first and the LSTMs follow, and everything that is not recurrent is computed once for all steps."""

    cell = staticmethod(gru_cell)

    def __init__(
        self,
        *,
        n_mels: int,
        n_context: int,
        prenet_sizes: tuple[int, int],
        prenet_dropout: float,
        attention: nn.Module,
        attention_size: int,
        size: int,
        zoneout: float,
        max_r: int,
    ) -> None:
        super().__init__()
        self.n_mels, self.max_r = n_mels, max_r
        self.prenet = PreNet(n_mels, prenet_sizes, prenet_dropout)
        # A GRU cell in three products, as teacher forcing knows the pre-net's part of all steps beforehand.
        self.query_prenet = nn.Linear(prenet_sizes[1], 3 * attention_size)
        self.query_context = nn.Linear(n_context, 3 * attention_size, bias=False)
        self.query_hidden = nn.Linear(attention_size, 3 * attention_size)
        self.attention = attention
        self.join = nn.Linear(n_context + attention_size, size)
        self.lstm1 = ResidualLSTM(size, zoneout)
        self.lstm2 = ResidualLSTM(size, zoneout)
        self.frames = nn.Linear(size, n_mels * max_r, bias=False)
        self.stop = nn.Linear(size + n_context, 1)

    def forward(self, frames: Tensor, memory: Memory, r: int) -> tuple[Tensor, Tensor, Tensor]:
        """The frame that each step sees (B, S, n_mels) -> mel (B, S r, n_mels), stop logits (B, S), attention (B, S, T)"""
        memory = memory._replace(values=as_autocast(memory.values))
        attended, steps = self.start(memory).attended, []
        x_gates = LoopProduct(self.query_context.weight, self.query_prenet(self.prenet(frames)))
        h_gates = LoopProduct(self.query_hidden.weight, self.query_hidden.bias.expand(*frames.shape[:2], -1))
        for _ in range(frames.size(1)):
            attended = self.attend(x_gates(attended.context), h_gates(attended.hidden), attended, memory)
            steps.append((attended.hidden, attended.context, attended.attention.weights))
        hidden, context, weights = (torch.stack(each, dim=1) for each in zip(*steps, strict=True))
        x = self.lstm2(self.lstm1(self.join(torch.cat([context, hidden], dim=2))))  # (B, S, size)
        mel = F.linear(x, self.frame_weights(r)).flatten(1).unflatten(1, (-1, self.n_mels))  # (B, S r, n_mels)
        return mel, self.stop(torch.cat([x, context], dim=2)).squeeze(2), weights

    def start(self, memory: Memory) -> DecoderState:
        batch, _, n_context = memory.values.size()
        hidden = memory.values.new_zeros(batch, self.query_hidden.in_features)
        rest = memory.values.new_zeros(batch, self.join.out_features)
        attended = Attended(hidden, memory.values.new_zeros(batch, n_context), self.attention.start(memory))
        return DecoderState(attended, (rest, rest), (rest, rest))

    def step(self, frame: Tensor, state: DecoderState, memory: Memory, r: int) -> tuple[Tensor, Tensor, DecoderState]:
        """Last frame (B, n_mels) -> r frames (B, r, n_mels), stop logits (B,), next state"""
        attended = self.query(frame, state.attended, memory)
        x = self.join(torch.cat([attended.context, attended.hidden], dim=1))  # (B, size)
        x, lstm1 = self.lstm1.step(x, state.lstm1)
        x, lstm2 = self.lstm2.step(x, state.lstm2)
        mel = F.linear(x, self.frame_weights(r)).unflatten(1, (-1, self.n_mels))  # (B, r, n_mels)
        stop = self.stop(torch.cat([x, attended.context], dim=1)).squeeze(1)
        return mel, stop, DecoderState(attended, lstm1, lstm2)

    def query(self, frame: Tensor, last: Attended, memory: Memory) -> Attended:
        """Last frame (B, n_mels) -> where the attention goes next, and what it reads there"""
        x_gates = self.query_prenet(self.prenet(frame)) + self.query_context(last.context)
        return self.attend(x_gates, self.query_hidden(last.hidden), last, memory)

    def attend(self, x_gates: Tensor, h_gates: Tensor, last: Attended, memory: Memory) -> Attended:
        """The same, given what pre-net and context, and the hidden state, add to the gates of the GRU, (B, 3 A) each"""
        hidden = self.cell(x_gates, h_gates, last.hidden.float())  # (B, A)
        attention = self.attention(hidden, last.attention, memory)
        context = torch.bmm(attention.weights[:, None], memory.values).squeeze(1)  # (B, E)
        return Attended(hidden, context, attention)

    def frame_weights(self, r: int) -> Tensor:
        """The rows of the mel projection that give the first r frames, frame after frame: (r n_mels, size)"""
        by_band = self.frames.weight.unflatten(0, (self.n_mels, self.max_r))
        return by_band[:, :r].transpose(0, 1).flatten(0, 1)
