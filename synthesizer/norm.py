"""Masked batch norm in training on a CPU: two passes over memory forward and two back (synthesizer.kernels.norm).

Shapes: B sequences, C channels, T positions.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from synthesizer.training_products import array, kernels
from utils.training.ranks import has_ranks


class BankNorm(torch.autograd.Function):
    """Sequences (B, C, >= T) of one or more convolutions, with as many batch norms -> (B, sum of C, T) side by side, means and
    variances (sum of C,), which have no gradient.

    lengths (B,), relu: before the norm, pool: each position becomes the larger one of itself and the one before, dtype of the
    result, eps, then sequences, weights (C,) and biases (C,). Sequences are 0 in the result's padding, whatever they were.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        lengths: Tensor,
        n_positions: int,
        options: tuple[bool, bool],
        dtype: torch.dtype,
        eps: float,
        *parts: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        xs, weights, biases = _thirds([part.detach().contiguous() for part in parts])
        (relu, pool), k, n = options, kernels().norm, lengths.numpy()
        mean, variance = (torch.empty(sum(len(weight) for weight in weights)) for _ in range(2))
        y = torch.empty(len(lengths), len(mean), n_positions, dtype=dtype)
        for x, bias, weight, at in zip(xs, biases, weights, _offsets(weights), strict=True):
            here = slice(at, at + len(weight))
            of_x, m, v = array(x), array(mean[here]), array(variance[here])
            _share(len(weight), lambda *span, x=of_x, m=m, v=v: k.moments(x, n, relu, m, v, *span))
            scale, b = array(weight * (variance[here] + eps).rsqrt()), array(bias)
            _share(
                len(weight),
                lambda *span, x=of_x, m=m, s=scale, b=b, at=at: k.normalize(x, n, relu, pool, m, s, b, array(y), at, *span),
            )
        ctx.save_for_backward(lengths, mean, (variance + eps).rsqrt(), *xs, *weights)
        ctx.options = options
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, d_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        lengths, mean, rstd, *parts = ctx.saved_tensors
        xs, weights = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        (relu, pool), k, n, d_y = ctx.options, kernels().norm, lengths.numpy(), array(d_y.contiguous())
        found = [[torch.empty_like(part) for part in of_one] for of_one in zip(xs, weights, weights, strict=True)]
        for x, weight, gradients, at in zip(xs, weights, found, _offsets(weights), strict=True):
            here = slice(at, at + len(weight))
            inputs = array(x), n, relu, pool, array(mean[here]), array(rstd[here]), array(weight)
            outputs = [array(gradient) for gradient in gradients]
            _share(len(weight), lambda *span, i=inputs, o=outputs, at=at: k.gradients(d_y, *i, *o, at, *span))
        return None, None, None, None, None, *(gradient for kind in zip(*found, strict=True) for gradient in kind)


def can_normalize(x: Tensor) -> bool:
    """Whether BankNorm takes x: in training on a CPU with numba, and where no other process has a share of the batch."""
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return known and not has_ranks() and torch.is_grad_enabled() and kernels() is not None


def _share(n_channels: int, work: Callable[[int, int], None]) -> None:
    """work(first, last) on as many threads as torch uses."""
    n_threads = min(torch.get_num_threads(), n_channels)
    if n_threads == 1:
        return work(0, n_channels)
    cuts = [n_channels * i // n_threads for i in range(n_threads + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
    return None


def _offsets(weights: list[Tensor]) -> list[int]:
    """The first channel of each."""
    return [sum(len(before) for before in weights[:i]) for i in range(len(weights))]


def _thirds(parts: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    n = len(parts) // 3
    return parts[:n], parts[n : 2 * n], parts[2 * n :]
