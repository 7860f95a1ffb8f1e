"""Short crops of utterances, read from memory-mapped files: mel frames and their samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from utils.data import audio
from utils.data.arrays import ArrayError, load_npy
from utils.data.mel_format import MelFormat
from utils.data.names import within
from utils.data.paths import SynthesizerData, VocoderData
from utils.data.rows import Row, read_rows, rows_with_files
from utils.errors import UserError
from utils.report_lines import say_once
from utils.training.batching import rng
from vocoder.config import SILENCE
from vocoder.distribution import Distribution


class Batch(NamedTuple):
    """N = frames x hop samples. Sample t belongs to mel frame pad + t // hop."""

    mel: Tensor  # (B, pad + frames + pad, n_mels), in [-1, 1]
    levels: Tensor  # (B, N) the sample before each target
    targets: Tensor  # (B, N) for the distribution's loss


class Sources(NamedTuple):
    """Usable utterances and the folders of their files."""

    rows: list[Row]
    audio_dir: Path
    mel_dir: Path

    def audio(self, row: Row) -> Path:
        return within(self.audio_dir, row.audio)

    def mel(self, row: Row) -> Path:
        return within(self.mel_dir, row.mel)


def find_sources(synthesizer: SynthesizerData, vocoder: VocoderData, ground_truth: bool, crop: int, hop: int) -> Sources:
    """The utterances to train on, with ground-truth-aligned mels, or with `ground_truth` with true ones.

    Rows whose files are missing, disagree or are shorter than `crop` frames are left out and counted. Raises UserError when the
    list is missing or nothing is left.
    """
    path = synthesizer.manifest if ground_truth else vocoder.manifest
    if not ground_truth and not path.is_file():
        other = "or train on true mels with --ground_truth"
        raise UserError(f"{path}: not found; make ground-truth-aligned mels with vocoder_preprocess.py, {other}")
    mel_dir = synthesizer.mels_dir if ground_truth else vocoder.mels_gta_dir
    rows = rows_with_files(read_rows(path), mel=mel_dir, audio=synthesizer.audio_dir)
    sources = Sources([], synthesizer.audio_dir, mel_dir)
    problems, n_short = [], 0
    for row in rows:
        if problem := _inconsistency(row, sources, hop):
            problems.append(problem)
        elif row.n_frames < crop:
            n_short += 1
        else:
            sources.rows.append(row)
    left_out = f"of {len(rows)} utterances are left out because"
    if problems:
        say_once(f"{len(problems)} {left_out} their files disagree; the first: {problems[0]}")
    if n_short:
        say_once(f"{n_short} {left_out} they are shorter than a crop of {crop} frames")
    if not sources.rows:
        raise UserError(f"{path}: no utterance is usable; {problems[0] if problems else f'all are under {crop} frames'}")
    return sources


def _inconsistency(row: Row, sources: Sources, hop: int) -> str | None:
    """What is wrong with the lengths of an utterance, if anything. Reads only the headers of its files."""
    mel_path, audio_path = sources.mel(row), sources.audio(row)
    try:
        n_frames, n_samples = len(_mel(mel_path)), len(_wave(audio_path))
    except ArrayError as error:
        return f"{row.name} cannot be read ({error})"
    if (n_frames, n_samples) != (row.n_frames, row.n_samples):
        listed = f"the list says {row.n_frames} and {row.n_samples}"
        return f"{mel_path} and its audio hold {n_frames} frames and {n_samples} samples, {listed}"
    if n_samples != n_frames * hop:
        return f"{audio_path} holds {n_samples} samples, its {n_frames} mel frames need {n_frames * hop}"
    return None


Window = tuple[int, int]  # utterance, first frame


class CropPlan:
    """plan(step) -> for each crop of a batch the candidate windows, of which CropDataset takes the first that is not quiet.

    Windows are drawn with replacement, and all windows of all utterances are equally likely. A share `quiet_kept` of the crops
    has only one candidate, so that this share of the quiet windows is kept.
    """

    N_WINDOWS = 4  # candidates of the other crops

    def __init__(
        self,
        n_frames: Sequence[int],
        crop: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        quiet_kept: float = 1.0,
    ) -> None:
        self.ends = np.cumsum(np.asarray(n_frames) - crop + 1)  # number of windows up to and including each utterance
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.quiet_kept = quiet_kept

    def __call__(self, step: int) -> list[list[Window]]:
        generator, n = rng(self.seed, step), self.batch_size * self.world_size
        drawn = generator.integers(self.ends[-1], size=(n, self.N_WINDOWS))
        counts = np.where(generator.random(n) < self.quiet_kept, 1, self.N_WINDOWS)
        mine = slice(self.rank, None, self.world_size)
        return [self.windows(numbers[:count]) for numbers, count in zip(drawn[mine], counts[mine], strict=True)]

    def windows(self, numbers: np.ndarray) -> list[Window]:
        """Windows by their number, counted over all utterances."""
        utterances = np.searchsorted(self.ends, numbers, side="right")
        starts = np.concatenate([[0], self.ends[:-1]])[utterances]
        return list(zip(utterances.tolist(), (numbers - starts).tolist(), strict=True))


def even_windows(plan: CropPlan, n: int) -> list[Window]:
    """At most n windows, evenly spread over all there are, the same every time."""
    total = int(plan.ends[-1])
    return plan.windows(np.linspace(0, total - 1, min(n, total)).astype(np.int64))


class CropDataset(Dataset):
    """dataset[candidate windows] -> Batch of one crop, without the batch axis: the first window that is not quiet, or else the
    last. Quiet means that the root mean square of the audio is under quiet_db decibels of full scale."""

    def __init__(
        self,
        sources: Sources,
        mel_format: MelFormat,
        distribution: Distribution,
        crop: int,
        pad: int,
        quiet_db: float = -np.inf,
    ) -> None:
        self.sources, self.mel_format, self.distribution = sources, mel_format, distribution
        self.crop, self.pad, self.quiet_level = crop, pad, 10 ** (quiet_db / 20)

    def __len__(self) -> int:
        return len(self.sources.rows)

    def __getitem__(self, windows: Sequence[Window]) -> Batch:
        return self.at(*next((window for window in windows[:-1] if not self.is_quiet(*window)), windows[-1]))

    def is_quiet(self, utterance: int, first: int) -> bool:
        """Whether the window that begins with frame `first` is quiet."""
        hop = self.mel_format.hop_length
        wave = _wave(self.sources.audio(self.sources.rows[utterance]))
        crop = audio.from_int16(wave[first * hop : (first + self.crop) * hop])
        return bool(np.sqrt(np.mean(np.square(crop))) < self.quiet_level)

    def at(self, utterance: int, first: int) -> Batch:
        """The crop that begins with frame `first`."""
        row = self.sources.rows[utterance]
        wave = _wave(self.sources.audio(row))
        mel = _mel(self.sources.mel(row))
        hop = self.mel_format.hop_length
        wave = preemphasized(wave, first * hop - 1, (first + self.crop) * hop, self.mel_format.preemphasis)
        levels, targets = self.distribution.encode(wave)  # (1 + N,) each
        mel = normalized(mel, first - self.pad, first + self.crop + self.pad, self.mel_format.max_abs)
        if mel.shape[1] != self.mel_format.n_mels or not np.isfinite(mel).all():
            raise UserError(f"{self.sources.mel(row)}: has {mel.shape[1]} bands, or numbers that are not finite; make it again")
        return Batch(*map(torch.from_numpy, (mel, levels[:-1], targets[1:])))

    def utterance(self, index: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """The beginning of an utterance: normalised mel (T, n_mels), and its wave (T hop,) without pre-emphasis."""
        row = self.sources.rows[index]
        n_frames = min(max_frames, row.n_frames)
        mel = _mel(self.sources.mel(row))
        wave = _wave(self.sources.audio(row))[: n_frames * self.mel_format.hop_length]
        return normalized(mel, 0, n_frames, self.mel_format.max_abs), audio.from_int16(wave)


def _wave(path: Path) -> np.ndarray:
    return load_npy(path, np.int16, 1, mapped=True)


def _mel(path: Path) -> np.ndarray:
    return load_npy(path, np.floating, 2, mapped=True)


def preemphasized(wave: np.ndarray, start: int, end: int, coefficient: float) -> np.ndarray:
    """Samples [start, end) of the pre-emphasised int16 wave, float32 in [-1, 1]; silence before the first."""
    first = start - 1  # each sample needs the one before it
    raw = audio.from_int16(wave[max(0, first) : end])
    raw = np.pad(raw, (max(0, -first), 0))
    return np.clip(raw[1:] - coefficient * raw[:-1], -1, 1)


def normalized(mel: np.ndarray, start: int, end: int, max_abs: float) -> np.ndarray:
    """Frames [start, end) of a stored mel (T, n_mels), float32 in [-1, 1]; silence beyond its ends."""
    missing = (max(0, -start), max(0, end - len(mel)))
    frames = mel[max(0, start) : end].astype(np.float32) / max_abs
    return np.pad(frames, (missing, (0, 0)), constant_values=SILENCE)


def collate(crops: list[Batch]) -> Batch:
    """Crops of the same length -> Batch."""
    return Batch(*(torch.stack(parts) for parts in zip(*crops, strict=True)))
