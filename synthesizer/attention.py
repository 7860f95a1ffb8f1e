"""Attention over the text.

An attention is a module with three methods. `prepare(values, mask)` computes once per utterance what does not change between
steps, `start(memory)` gives the state before the first step, and `forward(query, state, memory)` the next state. The state is
a NamedTuple of tensors, of which `weights` (B, T) sum to one over the real characters.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR_LENGTH, PRIOR_ALPHA, PRIOR_BETA = 10, 0.1, 0.9  # characters per step at most, and the beta-binomial's shape (1910.10288)
LEAST_PRIOR = 1e-6  # keeps the log finite, so that the energies can overrule the prior


class Memory(NamedTuple):
    """What `prepare` gives."""

    values: Tensor  # (B, T, V) what is attended to
    keys: Tensor  # (B, T, A), or (0,) where the attention does not look at the text
    padding: Tensor  # (B, T) bool, True at the padding
    location: Tensor  # (A, K) location filters

    def float(self) -> "Memory":
        return Memory(self.values.float(), self.keys.float(), self.padding, self.location.float())


class AttentionState(NamedTuple):
    weights: Tensor  # (B, T) of the last step
    cumulative: Tensor  # (B, T) sum over all steps


def location_scores(keys: Tensor, query: Tensor, seen: tuple[Tensor, ...], location: Tensor, score: Tensor) -> Tensor:
    """How well each character fits: keys (B, T, A), query (B, A), C earlier weights (B, T), location filters (A, C K),
    score (1, A) -> (B, T)"""
    reach = location.size(1) // len(seen) // 2
    windows = torch.cat([_windows(each, reach, reach) for each in seen], dim=2)  # (B, T, C K)
    energies = keys + query[:, None] + F.linear(windows, location)  # (B, T, A)
    return F.linear(torch.tanh(energies), score).squeeze(2)


class LocationSensitiveAttention(nn.Module):
    """Additive attention that sees its own earlier weights (1506.07503; cumulative as in 1712.05884).

    both: it sees the last step's weights beside the cumulative ones, unlike the published models.
    """

    scores = staticmethod(location_scores)

    def __init__(self, n_values: int, n_query: int, size: int, n_filters: int, kernel: int, both: bool = False) -> None:
        super().__init__()
        self.key = nn.Linear(n_values, size, bias=False)
        self.query = nn.Linear(n_query, size)
        self.filters = nn.Conv1d(2 if both else 1, n_filters, kernel, padding=kernel // 2)
        self.location = nn.Linear(n_filters, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def prepare(self, values: Tensor, mask: Tensor) -> Memory:
        """(B, T, V) and bool (B, T), True at the real characters -> Memory"""
        # Filters and projection are both linear: merged, they are one product at every step instead of two.
        location = self.location.weight @ self.filters.weight.flatten(1)  # (A, K), or (A, 2 K) with both
        keys = self.key(values) + self.location.weight @ self.filters.bias
        return Memory(values, keys, ~mask, location)

    def start(self, memory: Memory) -> AttentionState:
        zeros = memory.values.new_zeros(memory.padding.shape, dtype=torch.float32)
        return AttentionState(zeros, zeros)

    def forward(self, query: Tensor, state: AttentionState, memory: Memory) -> AttentionState:
        """(B, n_query) and the last step's state -> the state of this step"""
        seen = (state.weights, state.cumulative) if self.filters.in_channels == 2 else (state.cumulative,)
        scores = self.scores(memory.keys, self.query(query), seen, memory.location, self.score.weight)
        weights = _weights(scores, memory)
        return AttentionState(weights, state.cumulative + weights)


class DynamicConvolutionAttention(nn.Module):
    """Moves the last step's weights by static filters, by dynamic filters made from the query, and by a prior that only moves
    forward (1910.10288, section 2.3). It never compares the query with the text.
    """

    def __init__(self, n_query: int, size: int, n_filters: int, kernel: int) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, n_filters, kernel, padding=kernel // 2, bias=False)
        self.location = nn.Linear(n_filters, size, bias=False)
        self.query = nn.Linear(n_query, size)
        self.dynamic_filters = nn.Linear(size, n_filters * kernel, bias=False)
        self.dynamic = nn.Linear(n_filters, size)
        self.score = nn.Linear(size, 1, bias=False)
        self.register_buffer("prior", beta_binomial(PRIOR_LENGTH, PRIOR_ALPHA, PRIOR_BETA).flip(0), persistent=False)

    def prepare(self, values: Tensor, mask: Tensor) -> Memory:
        """(B, T, V) and bool (B, T), True at the real characters -> Memory"""
        location = self.location.weight @ self.filters.weight.squeeze(1)  # (A, K)
        return Memory(values, values.new_empty(0), ~mask, location)

    def start(self, memory: Memory) -> AttentionState:
        first = torch.zeros_like(memory.padding, dtype=torch.float32)
        first[:, 0] = 1
        return AttentionState(first, torch.zeros_like(first))

    def forward(self, query: Tensor, state: AttentionState, memory: Memory) -> AttentionState:
        """(B, n_query) and the last step's state -> the state of this step"""
        (kernel,) = self.filters.kernel_size
        seen = _windows(state.weights, kernel // 2, kernel // 2)  # (B, T, K)
        filters = self.dynamic_filters(torch.tanh(self.query(query))).unflatten(1, (-1, kernel))  # (B, filters, K)
        filtered = torch.bmm(seen.to(filters.dtype), filters.transpose(1, 2))  # (B, T, filters)
        energies = F.linear(seen, memory.location) + self.dynamic(filtered)  # (B, T, A)
        prior = (_windows(state.weights, PRIOR_LENGTH, 0) * self.prior).sum(2)  # (B, T)
        scores = self.score(torch.tanh(energies)).squeeze(2).float() + prior.clamp(min=LEAST_PRIOR).log()
        weights = _weights(scores, memory)
        return AttentionState(weights, state.cumulative + weights)


def make_attention(kind: str, n_values: int, n_query: int, size: int, n_filters: int, kernel: int) -> nn.Module:
    """kind: one of synthesizer.config.ATTENTIONS."""
    if kind == "dynamic":
        return DynamicConvolutionAttention(n_query, size, n_filters, kernel)
    return LocationSensitiveAttention(n_values, n_query, size, n_filters, kernel, both=kind == "location_both")


def beta_binomial(n: int, alpha: float, beta: float) -> Tensor:
    """Probabilities of 0 ... n under the beta-binomial distribution: float32 (n + 1,)"""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    logs = [math.log(math.comb(n, k)) + log_beta(k + alpha, n - k + beta) - log_beta(alpha, beta) for k in range(n + 1)]
    return torch.tensor(logs).exp()


def _windows(weights: Tensor, before: int, after: int) -> Tensor:
    """(B, T) -> (B, T, before + 1 + after): each position with its neighbours, zeros beyond the ends"""
    return F.pad(weights, (before, after)).unfold(1, before + 1 + after, 1)


def _weights(scores: Tensor, memory: Memory) -> Tensor:
    """Scores (B, T) -> weights (B, T), float32, 0 at the padding"""
    return torch.softmax(scores.float().masked_fill(memory.padding, -torch.inf), dim=1)
