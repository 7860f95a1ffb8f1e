"""The speaker encoder: speech -> one unit vector (Wan et al. 2018, arXiv 1710.10467; SV2TTS, section 2.1).

B utterances, T mel frames of 10 ms, E embedding size, S speakers, U utterances of each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoder.ge2e import GE2ELoss
from encoder.recurrence import LSTM
from utils.config import check_at_least
from utils.data import audio
from utils.training.ranks import has_ranks

MEL_FORMAT = {
    "sample_rate": audio.SAMPLE_RATE,
    "n_fft": audio.ENCODER_N_FFT,
    "hop_length": audio.ENCODER_HOP,
    "n_mels": audio.ENCODER_N_MELS,
}


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes. The SV2TTS paper's encoder is hidden_size 768, projection_size 256."""

    n_mels: int = audio.ENCODER_N_MELS
    hidden_size: int = 256
    n_layers: int = 3
    projection_size: int = 0  # size of each LSTM layer's output; 0 for no projection
    embedding_size: int = 256

    def __post_init__(self) -> None:
        check_at_least(self, 1, "n_mels", "hidden_size", "n_layers", "embedding_size")
        if not 0 <= self.projection_size < self.hidden_size:
            raise ValueError(f"projection_size {self.projection_size} must be under hidden_size {self.hidden_size}")


class SpeakerEncoder(nn.Module):
    """LSTM over the mel frames, then linear, ReLU and length 1 from the state after the last frame."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = LSTM(config.n_mels, config.hidden_size, config.n_layers, proj_size=config.projection_size, batch_first=True)
        self.linear = nn.Linear(config.projection_size or config.hidden_size, config.embedding_size)

    def forward(self, mels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, n_mels), true frames of each (B,) if padded -> (B, E) of length 1, in float32."""
        states = self.lstm(mels)  # (B, T, hidden)
        last = (
            states[:, -1] if lengths is None else states[torch.arange(len(mels), device=mels.device), lengths - 1]
        )  # (B, hidden)
        raw = torch.relu(self.linear(last)).float()  # (B, E)
        return raw / (raw.norm(dim=1, keepdim=True) + 1e-5)


class EncoderWithLoss(nn.Module):
    """Encoder and loss as one module, so that several ranks keep the loss's two parameters equal as well."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = SpeakerEncoder(config)
        self.loss = GE2ELoss()

    def forward(self, mels: Tensor) -> Tensor:
        """(S, U, T, n_mels) -> loss () over the speakers of all ranks."""
        embeddings = self.encoder(mels.flatten(0, 1)).unflatten(0, mels.shape[:2])  # (S, U, E)
        return self.loss(gather_ranks(embeddings))


def gather_ranks(embeddings: Tensor) -> Tensor:
    """(S, U, E) of each rank -> (ranks * S, U, E) on every rank, with gradient; as it is without ranks.

    Every rank computes the whole loss. The gradient that comes back to a rank's own embeddings is the sum of what all
    ranks computed, and averaging over ranks, as DistributedDataParallel does, makes the gradient of the whole batch.
    """
    if not has_ranks():
        return embeddings
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(embeddings.contiguous()))
