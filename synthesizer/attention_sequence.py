"""Location-sensitive attention over all steps of known frames, on a CPU, with a backward of its own.

Shapes: B utterances, S steps, T characters, A size of the attention, E channels of what it reads, N taps of its filters.
autograd keeps a dozen tensors of each step and adds up the weights' gradients step by step. Here a step is four products and
three passes over memory (synthesizer.kernels.attention), and the gradient of a weight one product over all steps.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from synthesizer.training_products import array, kernels, weight_gradient
from utils.cpu.packed_linear import Product


class Weights(NamedTuple):
    """What each step multiplies with: the GRU that queries, and the attention."""

    context: Tensor  # (3 A, E)
    hidden: Tensor  # (3 A, A)
    hidden_bias: Tensor  # (3 A,)
    query: Tensor  # (A, A)
    query_bias: Tensor  # (A,)
    location: Tensor  # (A, N)
    score: Tensor  # (1, A)


class AttentionSequence(torch.autograd.Function):
    """queries (B, S, 3 A), keys (B, T, A), values (B, T, E), lengths (B,), n_seen, dtype of the products, and Weights ->
    hidden state (S, B, A), context (S, B, E) and attention weights (S, B, T) of each step

    n_seen: 1 if the filter sees the sum of all weights, 2 if the last step's stand before it. States, sums and results are
    float32, whatever the dtype. Its backward can be done once.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
        n_seen: int,
        dtype: torch.dtype,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = Weights(*(weight.detach().float() for weight in weights))
        keys, values = (t.detach().to(dtype).contiguous() for t in (keys, values))
        queries = queries.detach().transpose(0, 1).float().contiguous()  # (S, B, 3 A)
        kept = Kept.empty(queries, values, w, all_steps=any(ctx.needs_input_grad))
        _forward(kept, queries, keys, lengths.numpy(), n_seen, w)
        if any(ctx.needs_input_grad):
            ctx.kept, ctx.weights, ctx.lengths, ctx.n_seen = kept, w, lengths, n_seen
        return kept.hidden[1:], kept.context[1:], kept.weights

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *above: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kept is None:
            raise RuntimeError("backward was done already, and its gradients took the place of what it needs")
        (kept, w), ctx.kept = (ctx.kept, ctx.weights), None
        steps = _backward(kept, [d.float().contiguous() for d in above], ctx.lengths.numpy(), ctx.n_seen, w)
        dtype = kept.values.dtype
        d_values = torch.bmm(kept.weights.permute(1, 2, 0).to(dtype), steps.context.transpose(0, 1).to(dtype))
        of_weights = Weights(
            context=weight_gradient(steps.input, kept.context[:-1], dtype),
            hidden=weight_gradient(steps.recurrent, kept.hidden[:-1], dtype),
            hidden_bias=steps.recurrent.sum((0, 1)),
            query=weight_gradient(steps.query, kept.hidden[1:], dtype),
            query_bias=steps.query.sum((0, 1)),
            location=weight_gradient(kept.energies.flatten(1, 2), kept.around.flatten(1, 2), dtype),
            score=steps.score[None],
        )
        return steps.input.transpose(0, 1), steps.keys, d_values, None, None, None, *of_weights


class Kept(NamedTuple):
    """What forward keeps: of each step, but for values; float32 where no other dtype stands."""

    values: Tensor  # (B, T, E) dtype of the products
    hidden: Tensor  # (S + 1, B, A), zeros before the first step
    context: Tensor  # (S + 1, B, E), zeros before the first step
    weights: Tensor  # (S, B, T)
    gates: Tensor  # (S, B, 3 A)
    new_recurrent: Tensor  # (S, B, A)
    around: Tensor  # (S, B, T, N) dtype
    energies: Tensor  # (S, B, T, A) dtype

    @staticmethod
    def empty(queries: Tensor, values: Tensor, w: Weights, all_steps: bool) -> "Kept":
        """all_steps: else around and energies, most of all memory, are those of the last step alone."""
        (S, B, _), (_, T, E), (A, N) = queries.shape, values.shape, w.location.shape
        n_large = S if all_steps else 1
        hidden, context = queries.new_zeros(S + 1, B, A), queries.new_zeros(S + 1, B, E)
        weights, gates, new_recurrent = (queries.new_empty(S, B, n) for n in (T, 3 * A, A))
        around, energies = values.new_empty(n_large, B, T, N), values.new_empty(n_large, B, T, A)
        return Kept(values, hidden, context, weights, gates, new_recurrent, around, energies)


class _Gradients(NamedTuple):
    """Of each step, but for keys and score; float32."""

    input: Tensor  # (S, B, 3 A) of the GRU's gates
    recurrent: Tensor  # (S, B, 3 A) of the product with its hidden state
    query: Tensor  # (S, B, A)
    context: Tensor  # (S, B, E)
    keys: Tensor  # (B, T, A)
    score: Tensor  # (A,)


def _forward(kept: Kept, queries: Tensor, keys: Tensor, lengths: np.ndarray, n_seen: int, w: Weights) -> None:
    k, dtype, (B, T, _) = kernels(), keys.dtype, keys.shape
    of_context, of_hidden = _product(w.context, B, dtype), _product(w.hidden, B, dtype, w.hidden_bias)
    of_query, of_location = _product(w.query, B, dtype, w.query_bias), _product(w.location, B * T, dtype)
    seen, score, key, values = np.zeros((n_seen, B, T), np.float32), w.score[0].numpy(), array(keys), array(kept.values)
    hidden, context, weights, gates, new = (
        t.numpy() for t in (kept.hidden, kept.context, kept.weights, kept.gates, kept.new_recurrent)
    )
    around, energies = array(kept.around.unflatten(3, (n_seen, -1))), array(kept.energies)
    for s in range(len(queries)):
        large = s % len(kept.around)
        inputs = array(queries[s] + of_context(kept.context[s]))
        k.cells.gru_forward(inputs, array(of_hidden(kept.hidden[s])), gates[s], new[s], hidden[s], hidden[s + 1])
        k.attention.unfold(seen, around[large])
        location = array(of_location(kept.around[large].flatten(0, 1)).view(B, T, -1))
        asked = array(of_query(kept.hidden[s + 1]))
        k.attention.attend_forward(
            location, key, asked, score, lengths, values, energies[large], weights[s], seen, context[s + 1]
        )


def _backward(kept: Kept, above: list[Tensor], lengths: np.ndarray, n_seen: int, w: Weights) -> _Gradients:
    k, dtype, (S, B, T, A) = kernels(), kept.values.dtype, kept.energies.shape
    to_context, to_hidden = _product(w.context.t(), B, dtype), _product(w.hidden.t(), B, dtype)
    to_query, to_around = _product(w.query.t(), B, dtype), _product(w.location.t(), B * T, dtype)
    d_query, d_keys, d_score = torch.empty(S, B, A), torch.zeros(B, T, A), torch.zeros(A)
    d = _Gradients(torch.empty_like(kept.gates), torch.empty_like(kept.gates), d_query, above[1].clone(), d_keys, d_score)
    d_input, d_recurrent, d_query, d_context, d_keys, d_score = (t.numpy() for t in d)
    above_hidden, _, above_weights = (t.numpy() for t in above)
    hidden, weights, gates, new = (t.numpy() for t in (kept.hidden, kept.weights, kept.gates, kept.new_recurrent))
    d_state, d_seen = torch.zeros(B, A), np.zeros((n_seen, B, T), np.float32)
    score, values = w.score[0].numpy(), array(kept.values)
    for s in reversed(range(S)):
        if s + 1 < S:
            d.context[s] += to_context(d.input[s + 1])
            d_state += to_hidden(d.recurrent[s + 1])
        energies = array(kept.energies[s])
        k.attention.attend_backward(
            energies, weights[s], values, score, lengths, above_weights[s], d_seen, d_context[s], d_keys, d_score, d_query[s]
        )
        k.attention.fold(array(to_around(kept.energies[s].flatten(0, 1)).view(B, T, n_seen, -1)), d_seen)
        through = array(to_query(d.query[s]))
        k.cells.gru_backward(gates[s], new[s], hidden[s], above_hidden[s], through, d_state.numpy(), d_input[s], d_recurrent[s])
    return d


def _product(weight: Tensor, n_rows: int, dtype: torch.dtype, bias: Tensor | None = None) -> Product:
    return Product(weight.to(dtype), n_rows, None if bias is None else bias.to(dtype))
