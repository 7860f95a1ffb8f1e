"""The GE2E loss, written as in the paper, to compare with."""

import torch
from torch import Tensor
from torch.nn import functional


def similarities(embeddings: Tensor) -> Tensor:
    """(S, U, E) -> (S * U, S): cosine with each centroid; that of its own speaker is the mean of the other utterances."""
    n_speakers, n_utterances, _ = embeddings.shape
    rows = []
    for speaker in range(n_speakers):
        for utterance in range(n_utterances):
            others = torch.cat([embeddings[speaker, :utterance], embeddings[speaker, utterance + 1 :]])
            centroids = [others.mean(dim=0) if j == speaker else embeddings[j].mean(dim=0) for j in range(n_speakers)]
            unit = [centroid / (centroid.norm() + 1e-5) for centroid in centroids]
            rows.append(torch.stack([embeddings[speaker, utterance] @ centroid for centroid in unit]))
    return torch.stack(rows)


def loss(embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    speakers = torch.arange(len(embeddings)).repeat_interleave(embeddings.shape[1])
    return functional.cross_entropy(similarities(embeddings) * weight + bias, speakers)
