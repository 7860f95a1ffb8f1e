"""Attention over the text.

An attention is a module with three methods: `prepare(values, mask)` does once per utterance what does not change from step
to step, `start(memory)` gives the state before the first step, and `forward(query, state, memory)` the next state, whose
`weights` (B, T) sum to one over the real characters. Whatever an attention remembers stands in its state.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR_REACH, PRIOR_ALPHA, PRIOR_BETA = 10, 0.1, 0.9  # most characters in a step, and the beta-binomial's shape (1910.10288)
LEAST_PRIOR = 1e-6  # of the mass: where the prior says never, the energies can still say otherwise


class Memory(NamedTuple):
    values: Tensor  # (B, T, V) what is attended to
    keys: Tensor  # (B, T, A), or nothing (0,) of an attention that does not look at the text
    padding: Tensor  # (B, T) bool, True where there is no character
    location: Tensor  # (A, K) filters over the location

    def float(self) -> "Memory":
        """In fp32."""
        return Memory(self.values.float(), self.keys.float(), self.padding, self.location.float())


class AttentionState(NamedTuple):
    weights: Tensor  # (B, T) where the last step looked
    cumulative: Tensor  # (B, T) the sum of the weights of all steps


class LocationSensitiveAttention(nn.Module):
    """Additive attention that sees where it has looked so far (1506.07503; cumulative weights as in 1712.05884).

    both: it sees the last step's weights beside the cumulative ones, as the published models do not.
    """

    def __init__(self, n_values: int, n_query: int, size: int, n_filters: int, kernel: int, both: bool = False) -> None:
        super().__init__()
        self.key = nn.Linear(n_values, size, bias=False)
        self.query = nn.Linear(n_query, size)
        self.filters = nn.Conv1d(2 if both else 1, n_filters, kernel, padding=kernel // 2)
        self.location = nn.Linear(n_filters, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def prepare(self, values: Tensor, mask: Tensor) -> Memory:
        """(B, T, V) and bool (B, T), True at the real characters -> Memory"""
        # The filters and the projection after them are both linear: one product instead of two at every step.
        location = self.location.weight @ self.filters.weight.flatten(1)  # (A, K), of both weights (A, 2 K)
        keys = self.key(values) + self.location.weight @ self.filters.bias
        return Memory(values, keys, ~mask, location)

    def start(self, memory: Memory) -> AttentionState:
        nowhere = memory.values.new_zeros(memory.padding.shape, dtype=torch.float32)
        return AttentionState(nowhere, nowhere)

    def forward(self, query: Tensor, state: AttentionState, memory: Memory) -> AttentionState:
        """(B, n_query) and the state of the step before -> the state of this step"""
        (kernel,) = self.filters.kernel_size
        around = _around(state.cumulative, kernel // 2, kernel // 2)  # (B, T, K)
        if self.filters.in_channels == 2:
            around = torch.cat([_around(state.weights, kernel // 2, kernel // 2), around], dim=2)  # (B, T, 2 K)
        energies = memory.keys + self.query(query)[:, None] + F.linear(around, memory.location)  # (B, T, A)
        weights = _weights(self.score(torch.tanh(energies)).squeeze(2), memory)
        return AttentionState(weights, state.cumulative + weights)


class DynamicConvolutionAttention(nn.Module):
    """Moves the last step's weights by filters: fixed ones, ones that the query chooses, and a prior that only goes forward
    (Battenberg et al. 2019, 1910.10288, section 2.3). It never compares the query with the text.
    """

    def __init__(self, n_query: int, size: int, n_filters: int, kernel: int) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, n_filters, kernel, padding=kernel // 2, bias=False)
        self.location = nn.Linear(n_filters, size, bias=False)
        self.query = nn.Linear(n_query, size)
        self.dynamic_filters = nn.Linear(size, n_filters * kernel, bias=False)
        self.dynamic = nn.Linear(n_filters, size)
        self.score = nn.Linear(size, 1, bias=False)
        self.register_buffer("prior", beta_binomial(PRIOR_REACH, PRIOR_ALPHA, PRIOR_BETA).flip(0), persistent=False)

    def prepare(self, values: Tensor, mask: Tensor) -> Memory:
        """(B, T, V) and bool (B, T), True at the real characters -> Memory"""
        location = self.location.weight @ self.filters.weight.squeeze(1)  # (A, K)
        return Memory(values, values.new_empty(0), ~mask, location)

    def start(self, memory: Memory) -> AttentionState:
        first = torch.zeros_like(memory.padding, dtype=torch.float32)
        first[:, 0] = 1
        return AttentionState(first, torch.zeros_like(first))

    def forward(self, query: Tensor, state: AttentionState, memory: Memory) -> AttentionState:
        """(B, n_query) and the state of the step before -> the state of this step"""
        (kernel,) = self.filters.kernel_size
        around = _around(state.weights, kernel // 2, kernel // 2)  # (B, T, K)
        chosen = self.dynamic_filters(torch.tanh(self.query(query))).unflatten(1, (-1, kernel))  # (B, filters, K)
        moved = torch.bmm(around.to(chosen.dtype), chosen.transpose(1, 2))  # (B, T, filters)
        energies = F.linear(around, memory.location) + self.dynamic(moved)  # (B, T, A)
        expected = (_around(state.weights, PRIOR_REACH, 0) * self.prior).sum(2)  # (B, T)
        scores = self.score(torch.tanh(energies)).squeeze(2).float() + expected.clamp(min=LEAST_PRIOR).log()
        weights = _weights(scores, memory)
        return AttentionState(weights, state.cumulative + weights)


ATTENTIONS = ("location", "location_both", "dynamic")


def make_attention(kind: str, n_values: int, n_query: int, size: int, n_filters: int, kernel: int) -> nn.Module:
    """One of ATTENTIONS: "location" as published, over the cumulative weights; "location_both", over the last step's too;
    "dynamic" convolution attention."""
    if kind == "dynamic":
        return DynamicConvolutionAttention(n_query, size, n_filters, kernel)
    return LocationSensitiveAttention(n_values, n_query, size, n_filters, kernel, both=kind == "location_both")


def beta_binomial(n: int, alpha: float, beta: float) -> Tensor:
    """The beta-binomial distribution's probabilities of 0 ... n: float32 (n + 1,)"""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    logs = [math.log(math.comb(n, k)) + log_beta(k + alpha, n - k + beta) - log_beta(alpha, beta) for k in range(n + 1)]
    return torch.tensor(logs).exp()


def _around(weights: Tensor, before: int, after: int) -> Tensor:
    """(B, T) -> (B, T, before + 1 + after): each position with its neighbours, 0 past the ends"""
    return F.pad(weights, (before, after)).unfold(1, before + 1 + after, 1)


def _weights(scores: Tensor, memory: Memory) -> Tensor:
    """Scores (B, T) -> weights (B, T), float32, 0 at the padding"""
    return torch.softmax(scores.float().masked_fill(memory.padding, -torch.inf), dim=1)
