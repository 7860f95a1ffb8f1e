"""Generalized end-to-end loss, softmax variant (Wan et al. 2018, section 2.1).

S speakers, U utterances of each, E embedding size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to the length of a centroid before dividing by it, as in the published code


class GE2ELoss(nn.Module):
    """Cross entropy of telling each utterance's speaker by scaled similarity to all speakers' centroids."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(S, U, E) of length 1, U >= 2 -> mean loss ()."""
        S, U, _ = embeddings.shape
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.weight * _cosines(embeddings.float()) + self.bias  # (S, U, S), equation 5
            speakers = torch.arange(S, device=logits.device)[:, None].expand(S, U)
            return F.cross_entropy(logits.flatten(0, 1), speakers.flatten())  # equation 6

    def scale_gradients(self, factor: float = 0.01) -> None:
        """Slow down the two scalars; call it after backward (the paper, section 3)."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


def _cosines(embeddings: Tensor) -> Tensor:
    """(S, U, E) -> (S, U, S): cosine of each utterance with each centroid, that of its own speaker without itself (eq. 9)."""
    S, U, _ = embeddings.shape
    totals = embeddings.sum(dim=1, keepdim=True)  # (S, 1, E)
    centroids = _unit(totals / U).flatten(0, 1)  # (S, E)
    own_centroids = _unit((totals - embeddings) / (U - 1))  # (S, U, E), equation 8
    own = (embeddings * own_centroids).sum(dim=2, keepdim=True)  # (S, U, 1)
    is_own = torch.eye(S, dtype=torch.bool, device=embeddings.device)[:, None]  # (S, 1, S)
    return torch.where(is_own, own, embeddings @ centroids.T)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.norm(dim=-1, keepdim=True) + EPSILON)
