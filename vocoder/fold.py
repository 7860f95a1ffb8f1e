"""Mel -> wave: long speech as many short folds, which are generated side by side and joined to one wave.

fold 0  |-------------------------------------|
fold 1                               |------------------------------ ...
                                     | warm-up | join |

The overlap of two folds is generated twice. In its first two thirds the new fold, which knows nothing of the past, warms up; in
the last third the wave crosses from the old fold to the new one, where that is heard least.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.signal

from utils.data.audio import output_filter
from utils.data.mel_format import MelFormat
from vocoder.config import SILENCE, margin

if TYPE_CHECKING:
    from vocoder.model import WaveRNN
    from vocoder.sampling import Sampler

Progress = Callable[[int, int, int, float], None]  # samples done, samples in all, folds side by side, speed in kHz

FIRST = 6  # frames of the first folds of a stream, which should be heard at once
PACE = 0.3  # steps that are surely made while a sample is played: a group must be ready when the one before has been heard
LONGEST_FADE = 80  # samples
BLOCK = 32  # frames of each fold whose conditioning is computed at once
SPAN = 8  # frames between two reports of the progress, at which threads wait for each other


# ---- where folds begin and end


class Fold(NamedTuple):
    """Frames [start, stop) are generated; the first `overlap` of them by the fold before as well."""

    start: int
    stop: int
    overlap: int


def plan(loudness: np.ndarray, target: int, overlap: int, width: int) -> list[list[Fold]]:
    """Groups of up to `width` folds for a mel of loudness (T,). The folds of a group are generated side by side.

    The first group is small and its folds are short; later ones grow, to about `target` frames a fold. A fold shares up to
    `overlap` frames with the one before, and is cut where the speech is quiet, a little before or after the even cut.
    """
    edges, lengths, group_sizes = [0], [], []
    for n_folds, n_frames in _groups(len(loudness), target, overlap, width):
        start = edges[-1]
        edges += [start + n_frames * (k + 1) // n_folds for k in range(n_folds)]
        lengths += [n_frames // n_folds] * n_folds
        group_sizes.append(n_folds)
    overlaps = [0] + [min(overlap, (min(pair) + 1) // 2) for pair in itertools.pairwise(lengths)] + [0]
    for k in range(1, len(lengths)):
        edges[k] = _quietest(loudness, edges[k], overlaps[k], slack=min(lengths[k - 1 : k + 1]) // 16)
        overlaps[k] = min(overlaps[k], len(loudness) - edges[k])
    folds = iter([Fold(edges[k], edges[k + 1] + overlaps[k + 1], overlaps[k]) for k in range(len(lengths))])
    return [[next(folds) for _ in range(size)] for size in group_sizes]


def _groups(n_frames: int, target: int, overlap: int, width: int) -> Iterator[tuple[int, int]]:
    """The number of folds of each group, and of frames that they cover."""
    shortest = length = min(FIRST, target)
    n_folds = max(1, width // 2)  # fewer rows, faster steps
    while n_frames:
        n_left = max(1, round(n_frames / (n_folds * length)))
        taken = -(-n_frames // n_left) if length == target or n_left == 1 else n_folds * length
        yield min(n_folds, -(-taken // shortest)), taken
        n_frames -= taken
        n_folds, length = width, min(target, max(length, int(PACE * taken) - overlap))


def _quietest(loudness: np.ndarray, edge: int, overlap: int, slack: int) -> int:
    """The edge within `slack` frames at which the join would be quietest."""
    candidates = range(max(1, edge - slack), min(len(loudness) - 1, edge + slack) + 1)
    heard = [loudness[at + warm_up(overlap) : at + max(overlap, 1)].mean() for at in candidates]
    return candidates[int(np.argmin(heard))] if heard else edge


def warm_up(overlap: int) -> int:
    """The part of an overlap (frames or samples) that is warm-up; at least one is left for the join."""
    return overlap * 2 // 3


# ---- joining folds


def join(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Two versions (n,) of the overlap -> one (n,).

    After the warm-up of `new`, they are crossfaded in the few milliseconds in which they differ least: where it is quiet, or
    where the waves happen to agree. The gains depend on how well they agree, so that the power is kept.
    """
    settled = warm_up(len(old))
    fade = min(LONGEST_FADE, len(old) - settled)
    if fade < 2:
        return old.copy()
    difference = np.concatenate([[0], np.cumsum(np.square(old[settled:] - new[settled:], dtype=np.float64))])
    at = settled + int(np.argmin(difference[fade:] - difference[:-fade]))
    a, b = old[at : at + fade], new[at : at + fade]
    ramp = (np.arange(fade) + 0.5) / fade
    agreement = np.clip(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12), -0.5, 1)
    gain = 1 / np.sqrt(ramp**2 + (1 - ramp) ** 2 + 2 * agreement * ramp * (1 - ramp))
    middle = gain * (ramp * b + (1 - ramp) * a)
    return np.concatenate([old[:at], middle, new[at + fade :]]).astype(np.float32)


class Joiner:
    """Joins folds as they come; the end of each is held back until the next one is there."""

    def __init__(self) -> None:
        self._end = np.zeros(0, np.float32)

    def add(self, wave: np.ndarray, kept: int) -> np.ndarray:
        """The wave of the next fold, whose last `kept` samples overlap the one after -> the samples that are final."""
        shared = len(self._end)
        whole = np.concatenate([join(self._end, wave[:shared]), wave[shared:]])
        self._end = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]


# ---- generating


class Generator:
    """Generates speech with a model and a sampler made for it. After a change of the weights, make both anew."""

    def __init__(self, model: "WaveRNN", sampler: "Sampler") -> None:
        self.model, self._sampler = model, sampler
        self._margin = margin(model.config)
        self._lock = threading.Lock()  # the sampler holds one group of folds: other streams wait

    def stream(
        self,
        mel: np.ndarray,
        mel_format: MelFormat,
        target: int | None,
        overlap: int,
        seed: int,
        progress: Progress | None = None,
    ) -> Iterator[np.ndarray]:
        """mel (T, n_mels), normalised -> float32 waves, one for each group of folds, T hop samples in all.

        target: samples of a fold, about, or None for a single fold; overlap: samples that neighbours share; both are rounded
        up to whole frames. The random numbers of a fold depend on the seed alone.
        """
        mel = np.asarray(mel, dtype=np.float32)
        hop, pad = self.model.config.hop_length, self.model.config.pad
        groups = [[Fold(0, len(mel), 0)]]
        if target is not None:
            groups = plan(mel.mean(-1), -(-target // hop), -(-overlap // hop), self._sampler.width)
        outside = self._margin - pad
        padded = np.pad(mel, ((pad, pad), (0, 0)), constant_values=SILENCE)
        padded = np.pad(padded, ((outside, outside + BLOCK), (0, 0)))  # zeros, as convolutions pad in training
        report = _Report(progress, len(mel) * hop, sum(fold.stop - fold.start for group in groups for fold in group))
        seeds, joiner, sections = np.random.SeedSequence(seed % 2**64), Joiner(), output_filter(mel_format)
        filter_state = np.zeros((len(sections), 2))
        overlaps = iter([*(fold.overlap for group in groups for fold in group), 0][1:])  # of each fold with the next one
        for group in groups:
            noise = [np.random.default_rng(fold_seed) for fold_seed in seeds.spawn(len(group))]
            with self._lock:
                levels = self._generate(padded, group, noise, report)
            wave = np.concatenate([joiner.add(self.model.distribution.decode(part), next(overlaps) * hop) for part in levels])
            wave, filter_state = scipy.signal.sosfilt(sections, wave, zi=filter_state)
            yield wave.astype(np.float32)

    def _generate(
        self, padded: np.ndarray, group: list[Fold], noise: list[np.random.Generator], report: "_Report"
    ) -> list[np.ndarray]:
        """Levels ((stop - start) hop,) of each fold of a group. The sampler's rows are sorted by length, the longest first, so
        that the folds still busy are its first rows."""
        hop = self.model.config.hop_length
        lengths = np.array([fold.stop - fold.start for fold in group])
        order = np.argsort(-lengths, kind="stable")
        starts = np.array([group[row].start for row in order])
        window = np.arange(BLOCK + 2 * self._margin)
        self._sampler.start(len(group))
        pieces: list[list[np.ndarray]] = [[] for _ in group]
        t = 0
        while t < lengths.max():
            busy = order[: np.count_nonzero(lengths > t)]
            place = t % BLOCK
            if place == 0:  # a block at a time, so that memory does not grow with the speech
                self._sampler.load(padded[starts[: len(busy), None] + t + window])
            span = min(SPAN, BLOCK - place, lengths[busy[-1]] - t)  # until a fold ends
            uniform = np.stack([1 - noise[row].random((span * hop, 2), dtype=np.float32) for row in busy])  # in (0, 1]
            for row, samples in zip(busy, self._sampler.frames(place, uniform), strict=True):
                pieces[row].append(samples)
            report(span * len(busy), len(group))
            t += span
        return [np.concatenate(piece) for piece in pieces]


class _Report:
    """Reports the progress in samples of the finished wave, though those of overlaps are generated twice."""

    def __init__(self, progress: Progress | None, n_samples: int, n_frames: int) -> None:
        self._progress, self._n_samples, self._n_frames = progress, n_samples, n_frames
        self._done = 0
        self._start = time.perf_counter()

    def __call__(self, n_frames: int, n_folds: int) -> None:
        self._done += n_frames
        if self._progress is not None:
            done = self._n_samples * self._done // self._n_frames
            self._progress(done, self._n_samples, n_folds, done / (time.perf_counter() - self._start) / 1000)
