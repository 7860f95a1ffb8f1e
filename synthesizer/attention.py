"""Attention over the text.

An attention is a module with three methods: `prepare(values, mask)` does once per utterance what does not change from step
to step, `start(memory)` gives the state before the first step, and `forward(query, state, memory)` the next state, whose
`weights` (B, T) sum to one over the real characters. Whatever an attention remembers stands in its state.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Memory(NamedTuple):
    values: Tensor  # (B, T, V) what is attended to
    keys: Tensor  # (B, T, A)
    padding: Tensor  # (B, T) bool, True where there is no character
    location: Tensor  # (A, K) filters over the location


class AttentionState(NamedTuple):
    weights: Tensor  # (B, T) where the last step looked
    cumulative: Tensor  # (B, T) the sum of the weights of all steps


class LocationSensitiveAttention(nn.Module):
    """Additive attention that sees where it has looked so far (1506.07503; cumulative weights as in 1712.05884)."""

    def __init__(self, n_values: int, n_query: int, size: int, n_filters: int, kernel: int) -> None:
        super().__init__()
        self.key = nn.Linear(n_values, size, bias=False)
        self.query = nn.Linear(n_query, size)
        self.filters = nn.Conv1d(1, n_filters, kernel, padding=kernel // 2)
        self.location = nn.Linear(n_filters, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def prepare(self, values: Tensor, mask: Tensor) -> Memory:
        """(B, T, V) and bool (B, T), True at the real characters -> Memory"""
        # The filters and the projection after them are both linear: one product instead of two at every step.
        location = self.location.weight @ self.filters.weight.squeeze(1)  # (A, K)
        keys = self.key(values) + self.location.weight @ self.filters.bias
        return Memory(values, keys, ~mask, location)

    def start(self, memory: Memory) -> AttentionState:
        nowhere = memory.values.new_zeros(memory.padding.shape, dtype=torch.float32)
        return AttentionState(nowhere, nowhere)

    def forward(self, query: Tensor, state: AttentionState, memory: Memory) -> AttentionState:
        """(B, n_query) and the state of the step before -> the state of this step"""
        kernel = memory.location.size(1)
        around = F.pad(state.cumulative, (kernel // 2, kernel // 2)).unfold(1, kernel, 1)  # (B, T, K)
        energies = memory.keys + self.query(query)[:, None] + F.linear(around, memory.location)  # (B, T, A)
        scores = self.score(torch.tanh(energies)).squeeze(2).float()  # (B, T)
        weights = torch.softmax(scores.masked_fill(memory.padding, -torch.inf), dim=1)
        return AttentionState(weights, state.cumulative + weights)
