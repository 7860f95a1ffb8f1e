"""Tacotron's decoder: one step is a pre-net, attention, two residual LSTMs, r frames and a stop output.

Shapes: B utterances, T characters, E encoder channels, A size of the attention, S steps of r frames each.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.attention import AttentionState, LocationSensitiveAttention, Memory
from synthesizer.attention_sequence import AttentionSequence, Weights
from synthesizer.layers import PreNet
from synthesizer.recurrence import ResidualLSTM
from synthesizer.training_products import product_dtype
from utils.cpu.packed_linear import Product


class Attended(NamedTuple):
    hidden: Tensor  # (B, A) of the GRU that queries the attention
    context: Tensor  # (B, E) what the attention read
    attention: AttentionState


class DecoderState(NamedTuple):
    attended: Attended
    lstm1: tuple[Tensor, Tensor]  # hidden and cell, (B, size) each
    lstm2: tuple[Tensor, Tensor]


class StepWeights(NamedTuple):
    """What a step that generates reads, prepared once for all of them."""

    frames: Tensor  # (r n_mels, size)
    lstm1: Product
    lstm2: Product


class Decoder(nn.Module):
    """The attention and its GRU do not read the LSTMs.

    So where all frames are known, `attend` goes over the steps first and the LSTMs follow, and everything that is not a
    recurrence (pre-net, input and output projections) is done once for all steps.
    """

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
        # A GRU cell in three products, since the pre-net's is known for all steps before the first one.
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
        hidden, context, weights = self.attend_all(self.query_prenet(self.prenet(frames)), memory)
        x = self.lstm2(self.lstm1(self.join(torch.cat([context, hidden], dim=2))))  # (B, S, size)
        mel = F.linear(x, self.frame_weights(r)).flatten(1).unflatten(1, (-1, self.n_mels))  # (B, S r, n_mels)
        return mel, self.stop(torch.cat([x, context], dim=2)).squeeze(2), weights

    def start(self, memory: Memory) -> DecoderState:
        batch, _, n_context = memory.values.size()
        hidden = memory.values.new_zeros(batch, self.query_hidden.in_features)
        rest = memory.values.new_zeros(batch, self.join.out_features)
        attended = Attended(hidden, memory.values.new_zeros(batch, n_context), self.attention.start(memory))
        return DecoderState(attended, (rest, rest), (rest, rest))

    def step(
        self, frame: Tensor, state: DecoderState, memory: Memory, weights: StepWeights
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Last frame (B, n_mels), state, memory, step_weights(B, r) -> r frames (B, r, n_mels), stop logits (B,), next state"""
        attended = self.attend(self.query_prenet(self.prenet(frame)), state.attended, memory)
        x = self.join(torch.cat([attended.context, attended.hidden], dim=1))  # (B, size)
        x, lstm1 = self.lstm1.step(x, state.lstm1, weights.lstm1)
        x, lstm2 = self.lstm2.step(x, state.lstm2, weights.lstm2)
        mel = F.linear(x, weights.frames).unflatten(1, (-1, self.n_mels))  # (B, r, n_mels)
        stop = self.stop(torch.cat([x, attended.context], dim=1)).squeeze(1)
        return mel, stop, DecoderState(attended, lstm1, lstm2)

    def step_weights(self, n_rows: int, r: int, dtype: torch.dtype = torch.float32) -> StepWeights:
        """For n_rows utterances. dtype: of the LSTMs' products, which are nearly all of a step's work."""
        return StepWeights(self.frame_weights(r).contiguous(), self.lstm1.fused(n_rows, dtype), self.lstm2.fused(n_rows, dtype))

    def attend(self, query: Tensor, last: Attended, memory: Memory) -> Attended:
        """query_prenet's output at this step (B, 3 A) -> where the attention goes next, and what it reads there"""
        reset_in, update_in, new_in = (query + self.query_context(last.context)).float().chunk(3, dim=1)
        reset, update, new = self.query_hidden(last.hidden).float().chunk(3, dim=1)
        candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset) * new)
        hidden = torch.lerp(candidate, last.hidden.float(), torch.sigmoid(update_in + update))  # (B, A)
        attention = self.attention(hidden, last.attention, memory)
        context = torch.bmm(attention.weights[:, None], memory.values).squeeze(1)  # (B, E)
        return Attended(hidden, context, attention)

    def attend_all(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """query_prenet's output at all steps (B, S, 3 A) -> hidden (B, S, A), context (B, S, E), weights (B, S, T)"""
        dtype = product_dtype(memory.values)
        if dtype is None or not isinstance(self.attention, LocationSensitiveAttention):
            attended, steps = self.start(memory).attended, []
            for query in queries.unbind(1):
                attended = self.attend(query, attended, memory)
                steps.append((attended.hidden, attended.context, attended.attention.weights))
            return tuple(torch.stack(of_steps, dim=1) for of_steps in zip(*steps, strict=True))
        a, lengths = self.attention, (~memory.padding).sum(1)
        hidden = self.query_hidden.weight, self.query_hidden.bias
        weights = Weights(self.query_context.weight, *hidden, a.query.weight, a.query.bias, memory.location, a.score.weight)
        found = AttentionSequence.apply(queries, memory.keys, memory.values, lengths, a.filters.in_channels, dtype, *weights)
        return tuple(of_steps.transpose(0, 1) for of_steps in found)

    def frame_weights(self, r: int) -> Tensor:
        """The rows of the mel projection that give the first r frames, frame after frame: (r n_mels, size)"""
        by_band = self.frames.weight.unflatten(0, (self.n_mels, self.max_r))
        return by_band[:, :r].transpose(0, 1).flatten(0, 1)
