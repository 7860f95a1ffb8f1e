"""Embeds an utterance as the mean of its overlapping partials, each as long as the crops in training."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from encoder.config import PARTIAL_FRAMES
from utils.data.audio import encoder_mel
from utils.data.mel_format import ENCODER_HOP

if TYPE_CHECKING:
    from encoder.model import SpeakerEncoder

PARTIALS_PER_BATCH = 256


class Slices(NamedTuple):
    """The partials of one utterance."""

    wave: list[slice]  # in samples; the last may end past the wave, which is then padded with zeros
    mel: list[slice]  # in frames


def compute_partial_slices(
    n_samples: int, partial_utterance_n_frames: int = PARTIAL_FRAMES, min_pad_coverage: float = 0.75, overlap: float = 0.5
) -> Slices:
    """Cut a wave of n_samples at 16 kHz into partials of partial_utterance_n_frames (of 10 ms).

    The last one is dropped if the wave fills less than min_pad_coverage of it, unless it is the only one.
    """
    if not 0 <= overlap < 1 or not 0 < min_pad_coverage <= 1:
        raise ValueError(f"overlap {overlap} must be in [0, 1) and min_pad_coverage {min_pad_coverage} in (0, 1]")
    n_frames = n_samples // ENCODER_HOP + 1
    step = max(round(partial_utterance_n_frames * (1 - overlap)), 1)
    starts = list(range(0, max(1, n_frames - partial_utterance_n_frames + step + 1), step))
    covered = n_samples / ENCODER_HOP - starts[-1]  # frames of the last partial inside the wave
    if covered < min_pad_coverage * partial_utterance_n_frames and len(starts) > 1:
        starts.pop()
    mel = [slice(start, start + partial_utterance_n_frames) for start in starts]
    return Slices([slice(part.start * ENCODER_HOP, part.stop * ENCODER_HOP) for part in mel], mel)


def partials_of_mel(mel: np.ndarray, partial_frames: int = PARTIAL_FRAMES) -> np.ndarray:
    """(T, 40) -> (P, partial_frames, 40), zero-padded where the last partial ends past the utterance."""
    slices = compute_partial_slices(max(len(mel) - 1, 0) * ENCODER_HOP, partial_frames).mel
    missing = max(0, slices[-1].stop - len(mel))
    padded = np.pad(mel, ((0, missing), (0, 0)))
    return np.stack([padded[part] for part in slices])


def partials_of_wave(wav: np.ndarray, slices: Slices) -> np.ndarray:
    """(n,) at 16 kHz -> mels of its partials (P, T, 40)."""
    missing = max(0, slices.wave[-1].stop - len(wav))
    mel = encoder_mel(np.pad(wav, (0, missing)))  # (T, 40)
    return np.stack([mel[part] for part in slices.mel])


def embed_partials(model: "SpeakerEncoder", utterances: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The partials (P, T, 40) of each utterance -> their embeddings (P, E).

    Partials of several utterances share a batch; utterances are read one by one, as batches fill.
    """
    waiting: list[np.ndarray] = []
    finished = np.zeros((0, model.config.embedding_size), dtype=np.float32)  # embeddings not yet yielded
    n_each: list[int] = []
    for partials in utterances:
        waiting.append(partials)
        n_each.append(len(partials))
        while sum(map(len, waiting)) >= PARTIALS_PER_BATCH:
            batch = np.concatenate(waiting)
            waiting = [batch[PARTIALS_PER_BATCH:]]
            finished = np.concatenate([finished, _embed(model, batch[:PARTIALS_PER_BATCH])])
        while n_each and len(finished) >= n_each[0]:
            yield finished[: n_each[0]]
            finished = finished[n_each.pop(0) :]
    if sum(map(len, waiting)):
        finished = np.concatenate([finished, _embed(model, np.concatenate(waiting))])
    for n_partials in n_each:
        yield finished[:n_partials]
        finished = finished[n_partials:]


def mean_embedding(embeddings: np.ndarray) -> np.ndarray:
    """(N, E) -> (E,): the mean, scaled to length 1."""
    mean = embeddings.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _embed(model: "SpeakerEncoder", partials: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(partials).to(next(model.parameters()).device)).float().cpu().numpy()
