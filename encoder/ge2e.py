"""Generalized end-to-end loss, softmax variant (Wan et al. 2018, section 2.1, equations 5, 6, 8 and 9).

S speakers, U utterances of each, E embedding size, N = S * U.
"""

import torch
from torch import Tensor, nn

EPSILON = 1e-5  # added to the length of a centroid before dividing by it, as published
TINY = 1e-12  # under a square root, whose derivative at 0 is infinite


class GE2ELoss(nn.Module):
    """Cross entropy of telling each utterance's speaker by scaled similarity to all speakers' centroids."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(S, U, E) of length 1, U >= 2 -> mean loss ()."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return LossAndGradient.apply(embeddings.float(), self.weight, self.bias)

    def scale_gradients(self, factor: float = 0.01) -> None:
        """Slow the two scalars down; to be called after backward (the paper, section 3)."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


class LossAndGradient(torch.autograd.Function):
    """embeddings (S, U, E), weight (), bias () -> loss ().

    The gradient is written out: it takes three small products where autograd passes some twenty times over all embeddings.
    The cosine of an utterance e with the centroid of its speaker's others, (total - e) / (U - 1), needs no numbers beyond
    e . total, |total|^2 and |e|^2.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        S, U, _ = embeddings.shape
        flat = embeddings.flatten(0, 1)  # (N, E)
        totals = embeddings.sum(dim=1)  # (S, E)
        products = flat @ totals.T  # (N, S)
        total_squared = torch.linalg.vecdot(totals, totals)  # (S,)
        lengths = total_squared.clamp(min=TINY).sqrt() + EPSILON * U  # of U times the centroids, (S,)
        cosines = products / lengths  # (N, S)

        own = _of_own_speaker(products, S, U).clone()  # (S, U)
        squared = torch.linalg.vecdot(embeddings, embeddings)  # (S, U)
        distances = (total_squared[:, None] - 2 * own + squared).clamp(min=TINY).sqrt()  # |total - e|, (S, U)
        other_lengths = distances + EPSILON * (U - 1)
        to_others = (own - squared) / other_lengths
        _of_own_speaker(cosines, S, U).copy_(to_others)

        log_shares = torch.log_softmax(cosines * weight + bias, dim=1)  # (N, S)
        loss = -_of_own_speaker(log_shares, S, U).mean()

        d_logits = log_shares.exp_().div_(S * U)
        _of_own_speaker(d_logits, S, U).sub_(1 / (S * U))
        d_weight, d_bias = torch.dot(d_logits.flatten(), cosines.flatten()), d_logits.sum()
        d_cosines = d_logits.mul_(weight)
        d_to_others = _of_own_speaker(d_cosines, S, U).clone()
        _of_own_speaker(d_cosines, S, U).zero_()

        d_lengths = -torch.linalg.vecdot(d_cosines, cosines, dim=0) / lengths  # (S,)
        d_squared_distance = -d_to_others * to_others / other_lengths / (2 * distances)  # (S, U)
        d_total_squared = d_lengths / (2 * (lengths - EPSILON * U)) + d_squared_distance.sum(dim=1)
        d_products = d_cosines.div_(lengths)
        _of_own_speaker(d_products, S, U).copy_(d_to_others / other_lengths - 2 * d_squared_distance)
        d_squared = d_squared_distance - d_to_others / other_lengths

        d_totals = torch.addcmul(d_products.T @ flat, totals, 2 * d_total_squared[:, None])  # (S, E)
        d_embeddings = (d_products @ totals).view_as(embeddings)
        d_embeddings.addcmul_(embeddings, 2 * d_squared[:, :, None]).add_(d_totals[:, None])
        ctx.save_for_backward(d_embeddings, d_weight, d_bias)
        return loss

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, d_loss: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradient * d_loss for gradient in ctx.saved_tensors)


def _of_own_speaker(values: Tensor, n_speakers: int, n_utterances: int) -> Tensor:
    """View (S, U) of (N, S): what each utterance has with its own speaker."""
    return values.view(n_speakers, n_utterances, n_speakers).diagonal(dim1=0, dim2=2).T
