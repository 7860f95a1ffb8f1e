"""The speaker encoder: speech -> one unit vector (Wan et al. 2018, arXiv 1710.10467; SV2TTS, section 2.1).

B utterances, T mel frames of 10 ms, E embedding size, S speakers, U utterances of each.
"""

import torch
from torch import Tensor, nn

from encoder.config import EncoderConfig
from encoder.ge2e import GE2ELoss
from utils.training.ranks import has_ranks, sum_over_ranks


class SpeakerEncoder(nn.Module):
    """LSTM over the mel frames; its last output goes through a linear layer and ReLU and is scaled to length 1."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(
            config.n_mels, config.hidden_size, config.n_layers, proj_size=config.projection_size, batch_first=True
        )
        self.linear = nn.Linear(config.projection_size or config.hidden_size, config.embedding_size)

    def forward(self, mels: Tensor) -> Tensor:
        """(B, T, n_mels) -> (B, E) of length 1, in float32."""
        if torch.is_autocast_enabled(mels.device.type):  # on CPUs without bf16, torch's LSTM takes it, but does not cast to it
            mels = mels.to(torch.get_autocast_dtype(mels.device.type))
        outputs, _ = self.lstm(mels)  # (B, T, hidden)
        raw = torch.relu(self.linear(outputs[:, -1])).float()  # (B, E)
        return raw / (raw.norm(dim=1, keepdim=True) + 1e-5)


class EncoderWithLoss(nn.Module):
    """Encoder and loss in one module, so that DistributedDataParallel keeps the loss's parameters equal on all ranks too."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = SpeakerEncoder(config)
        self.loss = GE2ELoss()

    def forward(self, mels: Tensor) -> Tensor:
        """(S, U, T, n_mels) -> loss () over the speakers of all ranks."""
        embeddings = self.encoder(mels.flatten(0, 1)).unflatten(0, mels.shape[:2])  # (S, U, E)
        return self.loss(gather_ranks(embeddings))


def gather_ranks(embeddings: Tensor) -> Tensor:
    """(S, U, E) of each rank -> (ranks * S, U, E) on every rank, with gradient; unchanged with a single rank.

    Every rank computes the whole loss. The gradients of a rank's own embeddings are summed over the ranks, and the mean that
    DistributedDataParallel takes makes this the gradient of the whole batch.
    """
    if not has_ranks():
        return embeddings
    rank, n_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    others = [torch.zeros_like(embeddings)] * n_ranks
    return sum_over_ranks(torch.cat([*others[:rank], embeddings, *others[rank + 1 :]]))
