"""Generalized end-to-end loss, softmax variant (Wan et al. 2018, section 2.1, equations 5, 6, 8 and 9)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5  # added to the length of a centroid before dividing by it, as published
TINY = 1e-12  # the square root of 0 has no gradient


class GE2ELoss(nn.Module):
    """Cross entropy of telling each utterance's speaker by scaled similarity to all speakers' centroids."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(S speakers, U utterances of each, E), U >= 2 -> mean loss ()."""
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = similarities(embeddings.float()) * self.weight + self.bias  # (S * U, S)
            speakers = torch.arange(len(embeddings), device=embeddings.device)
            return functional.cross_entropy(logits, speakers.repeat_interleave(embeddings.shape[1]))

    def scale_gradients(self, factor: float = 0.01) -> None:
        """Slow the two scalars down; to be called after backward (the paper, section 3)."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


def similarities(embeddings: Tensor) -> Tensor:
    """(S, U, E) of length 1 -> cosine of each utterance with each speaker's centroid (S * U, S).

    The centroid of an utterance's own speaker is that of the speaker's other utterances: (total - e) / (U - 1). Its cosine
    and its length follow from e . total, |total|^2 and |e|^2, so that one product is all that is computed of E numbers.
    """
    n_speakers, n_utterances, _ = embeddings.shape
    flat = embeddings.flatten(0, 1)  # (S * U, E)
    totals = embeddings.sum(dim=1)  # (S, E)
    with_totals = flat @ totals.T  # (S * U, S)
    total_squared = totals.square().sum(dim=1)  # (S,)
    to_centroids = with_totals / (total_squared.sqrt() + EPSILON * n_utterances)  # (S * U, S)

    speakers = torch.arange(n_speakers, device=embeddings.device).repeat_interleave(n_utterances)[:, None]  # (S * U, 1)
    with_own = with_totals.gather(1, speakers)  # (S * U, 1)
    squared = torch.linalg.vecdot(flat, flat)[:, None]  # (S * U, 1)
    others_squared = total_squared[speakers] - 2 * with_own + squared  # |total - e|^2
    to_others = (with_own - squared) / (others_squared.clamp(min=TINY).sqrt() + EPSILON * (n_utterances - 1))
    return to_centroids.scatter(1, speakers, to_others)
