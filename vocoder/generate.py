"""Mel spectrogram -> wave, in groups of folds that are generated side by side and joined as they come."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional as F

from utils.data.audio import MelFormat, output_filter
from vocoder.fold import Fold, Joiner, plan
from vocoder.loop import Loop, Tables, filter_taps, margin, prepare, split
from vocoder.loops import fastest
from vocoder.model import WaveRNN, pad_mels

Progress = Callable[[int, int, int, float], None]  # samples done, samples in all, folds side by side, speed in kHz

BLOCK = 32  # frames of each fold whose conditioning is computed at once
SPAN = 8  # frames between two reports of the progress: threads wait for each other there


class Generator:
    """A model made ready to speak: packs weights, so keep it for the next utterance. The model is not watched: one whose
    weights change needs another."""

    @torch.inference_mode()
    def __init__(self, model: WaveRNN, precision: str = "auto"):
        self._model = model
        self._loop: Loop = fastest(model, precision)
        self._matrices = split(model)
        self._taps = filter_taps(model)
        self._margin = margin(model, self._taps)
        self._lock = threading.Lock()  # the loop holds one group of folds: a second stream waits for its end
        self._stride = BLOCK + self._taps.size(1) - 1  # rows of a table for each fold

    def stream(
        self,
        mel: Tensor,
        mel_format: MelFormat,
        target: int | None,
        overlap: int,
        seed: int,
        progress: Progress | None = None,
    ) -> Iterator[np.ndarray]:
        """mel (T, n_mels), normalised -> float32 waves, T hop samples in all, one for each group of folds.

        target: samples of a fold, about, or None for a single one; overlap: samples that a fold generates again of what
        the one before it has; both are rounded up to whole frames. The noise of a fold follows from the seed alone.
        """
        hop = self._model.config.hop_length
        n_frames = len(mel)
        loudness = mel.mean(-1).cpu().numpy()
        if target is None:
            groups = [[Fold(0, n_frames, 0)]]
        else:
            groups = plan(loudness, _frames(target, hop), _frames(overlap, hop), self._loop.width)
        noise = np.random.SeedSequence(seed % 2**64)
        padded = pad_mels([mel], self._model.config.pad)[0]
        outside = self._margin - self._model.config.pad
        padded = F.pad(padded, (0, 0, outside, outside + BLOCK))  # zeros, as training's convolutions see beyond the mel
        report = _Report(progress, n_frames * hop, sum(fold.stop - fold.start for group in groups for fold in group))
        joiner, sections = Joiner(), output_filter(mel_format)
        memory = np.zeros((len(sections), 2))
        following = [*(fold.overlap for group in groups for fold in group), 0][1:]
        for group in groups:
            draws = [np.random.default_rng(fold_seed) for fold_seed in noise.spawn(len(group))]
            with self._lock:
                levels = self._generate(padded, group, draws, report)
            kept, following = following[: len(group)], following[len(group) :]
            waves = (self._model.distribution.decode(part) for part in levels)
            wave = np.concatenate([joiner.add(part, n * hop) for part, n in zip(waves, kept, strict=True)])
            wave, memory = scipy.signal.sosfilt(sections, wave, zi=memory)
            yield wave.astype(np.float32)

    @torch.inference_mode()
    def _generate(
        self, padded: Tensor, group: list[Fold], noise: list[np.random.Generator], report: "_Report"
    ) -> list[np.ndarray]:
        """Levels of each fold of a group, ((stop - start) hop,). Longer folds stand first, so that those still busy are
        always the first rows."""
        hop = self._model.config.hop_length
        lengths = np.array([fold.stop - fold.start for fold in group])
        order = np.argsort(-lengths, kind="stable")
        starts = torch.tensor([group[row].start for row in order])
        self._loop.start(len(group))
        pieces: list[list[np.ndarray]] = [[] for _ in group]
        t = 0
        while t < lengths.max():
            busy = order[: np.count_nonzero(lengths > t)]
            place = t % BLOCK
            if place == 0:
                self._loop.load(self._tables(padded, starts[: len(busy)] + t))
            span = min(SPAN, BLOCK - place, lengths[busy[-1]] - t)  # until a fold ends
            uniform = np.stack([1 - noise[row].random((span * hop, 2), dtype=np.float32) for row in busy])  # in (0, 1]
            levels = self._loop.frames(np.arange(len(busy)) * self._stride + place, uniform)
            for row, samples in zip(busy, levels, strict=True):
                pieces[row].append(samples)
            report(span * len(busy), len(group))
            t += span
        return [np.concatenate(piece) for piece in pieces]

    def _tables(self, padded: Tensor, starts: Tensor) -> Tables:
        """The conditioning of the next BLOCK frames of each fold: so memory does not grow with the speech."""
        indices = starts.unsqueeze(1) + torch.arange(BLOCK + 2 * self._margin)
        return prepare(self._model, self._matrices, self._taps, padded[indices])


class _Report:
    """Tells the progress in samples of the finished wave, though some are generated twice."""

    def __init__(self, progress: Progress | None, n_samples: int, n_frames: int) -> None:
        self._progress, self._n_samples, self._n_frames = progress, n_samples, n_frames
        self._done = 0
        self._start = time.perf_counter()

    def __call__(self, n_frames: int, n_folds: int) -> None:
        self._done += n_frames
        if self._progress is not None:
            done = self._n_samples * self._done // self._n_frames
            self._progress(done, self._n_samples, n_folds, done / (time.perf_counter() - self._start) / 1000)


def _frames(samples: int, hop: int) -> int:
    return -(-samples // hop)


def generate_wave(
    model: WaveRNN,
    mel: Tensor,
    mel_format: MelFormat,
    target: int | None,
    overlap: int,
    seed: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """mel (T, n_mels), normalised -> float32 wave (T hop,): Generator.stream in one piece."""
    return np.concatenate(list(Generator(model).stream(mel, mel_format, target, overlap, seed, progress)))
