"""The published encoder and its utterance embedding, written independently of the project, to compare with."""

import numpy as np
import torch
from torch import nn


def load(state: dict[str, torch.Tensor]) -> tuple[nn.LSTM, nn.Linear]:
    """The LSTM, three layers of 256 cells over 40 mel bands, and the linear layer of a published model_state."""
    lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
    lstm.load_state_dict({name.removeprefix("lstm."): value for name, value in state.items() if name.startswith("lstm.")})
    linear.load_state_dict({name.removeprefix("linear."): value for name, value in state.items() if name.startswith("linear.")})
    return lstm, linear


def embed_partial(model: tuple[nn.LSTM, nn.Linear], frames: np.ndarray) -> np.ndarray:
    """(160, 40) -> (256,) of length 1: the last layer's final hidden state, linear, ReLU."""
    lstm, linear = model
    with torch.no_grad():
        _, (hidden, _) = lstm(torch.from_numpy(frames)[None])
        vector = torch.clamp(linear(hidden[-1, 0]), min=0).numpy()
    return vector / (np.sqrt((vector**2).sum()) + 1e-5)


def embed_mel(model: tuple[nn.LSTM, nn.Linear], mel: np.ndarray, n_samples: int) -> np.ndarray:
    """Mel (T, 40) of a wave of n_samples -> (256,) of length 1: the mean of partials of 160 frames, one every 80.

    Partials start as long as half of one lies in the mel; the last one counts if the wave covers 75 % of it.
    """
    n_frames, starts = n_samples // 160 + 1, [0]
    while starts[-1] + 80 < n_frames - 160 + 80 + 1:
        starts.append(starts[-1] + 80)
    if len(starts) > 1 and n_samples / 160 - starts[-1] < 0.75 * 160:
        starts = starts[:-1]
    padded = np.zeros((starts[-1] + 160, 40), dtype=np.float32)
    n_copied = min(len(padded), len(mel))
    padded[:n_copied] = mel[:n_copied]
    mean = np.mean([embed_partial(model, padded[start : start + 160]) for start in starts], axis=0)
    return mean / np.linalg.norm(mean)
