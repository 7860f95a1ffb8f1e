"""Generalized end-to-end loss, softmax variant (Wan et al. 2018, section 2.1, equations 5, 6, 8 and 9)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


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

    The centroid of an utterance's own speaker is that of the speaker's other utterances.
    """
    n_speakers, n_utterances, _ = embeddings.shape
    total = embeddings.sum(dim=1, keepdim=True)  # (S, 1, E)
    others = _unit((total - embeddings) / (n_utterances - 1))  # (S, U, E)
    flat = embeddings.flatten(0, 1)  # (S * U, E)
    to_centroids = flat @ _unit(total / n_utterances).squeeze(1).T  # (S * U, S)
    to_others = (embeddings * others).sum(dim=2).flatten()  # (S * U,)
    own = torch.eye(n_speakers, dtype=torch.bool, device=embeddings.device).repeat_interleave(n_utterances, dim=0)
    return torch.where(own, to_others.unsqueeze(1), to_centroids)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-5)
