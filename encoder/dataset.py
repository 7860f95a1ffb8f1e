"""Preprocessed speakers: a small index in memory, batches of distinct speakers, crops read from disk when they are needed."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from encoder.utterances import read_table
from utils.data.arrays import load_npy
from utils.data.mel_format import ENCODER_N_MELS
from utils.data.paths import EncoderData
from utils.errors import UserError
from utils.report_lines import say_once
from utils.training.batching import held_out, rng

HELD_OUT_AT_LEAST = 2  # speakers
READS_AT_ONCE = 16
FRAME_BYTES = 4 * ENCODER_N_MELS


class SpeakerIndex(NamedTuple):
    """The N utterances of S speakers. Those of speaker s are at first[s] to first[s + 1] - 1 in starts and lengths."""

    root: Path
    names: list[str]  # S, sorted
    first: np.ndarray  # int64 (S + 1,)
    starts: np.ndarray  # int64 (N,), first frame in the speaker's mels.npy
    lengths: np.ndarray  # int32 (N,), frames

    def n_utterances(self, speaker: int) -> int:
        return int(self.first[speaker + 1] - self.first[speaker])

    def path(self, speaker: int) -> Path:
        """The file with the speaker's mels, float32 (frames, 40)."""
        return EncoderData(self.root).speaker_dir(self.names[speaker]) / EncoderData.MELS

    def mels(self, speaker: int) -> np.ndarray:
        """float32 (frames, 40), memory-mapped."""
        return load_npy(self.path(speaker), np.float32, 2, mapped=True)

    def utterance(self, speaker: int, number: int) -> np.ndarray:
        """The speaker's utterance `number`, float32 (T, 40)."""
        position = self.first[speaker] + number
        start = self.starts[position]
        return np.array(self.mels(speaker)[start : start + self.lengths[position]])


class CropSpec(NamedTuple):
    """One speaker's part of a batch: utterances, and the first frame of the crop in each."""

    speaker: int
    utterances: np.ndarray  # (U,)
    offsets: np.ndarray  # (U,)


class Batch(NamedTuple):
    mels: torch.Tensor  # (S, U, T, 40)


def read_index(root: Path, min_frames: int) -> SpeakerIndex:
    """Index all finished speakers in `root`, without utterances shorter than min_frames.

    Unfinished speakers are left out, and their number is printed. UserError if no speaker is left or a file is damaged.
    """
    data = EncoderData(root)
    if not data.root.is_dir():
        raise UserError(f"{root}: no such folder; encoder_preprocess.py makes it (<datasets_root>/SV2TTS/encoder)")
    names, n_each, starts, lengths, n_unfinished = [], [0], [], [], 0
    for folder in sorted(data.root.iterdir()):
        if not (folder / data.UTTERANCES).is_file():
            n_unfinished += (folder / data.MELS).is_file() or any(folder.glob(f".{data.MELS}*"))
            continue
        rows = _read_utterances(folder / data.UTTERANCES, folder / data.MELS)
        rows = rows[rows[:, 1] >= min_frames]
        if len(rows):
            names.append(folder.name)
            n_each.append(len(rows))
            starts.append(rows[:, 0])
            lengths.append(rows[:, 1].astype(np.int32))
    if n_unfinished:
        say_once(f"{n_unfinished} speakers in {root} are unfinished and left out; encoder_preprocess.py -s finishes them")
    if not names:
        raise UserError(
            f"{root}: no speaker with an utterance of {min_frames} frames or more; looked for "
            f"<corpus and speaker>/{data.UTTERANCES}, which encoder_preprocess.py writes"
        )
    return SpeakerIndex(data.root, names, np.cumsum(n_each), np.concatenate(starts), np.concatenate(lengths))


def _read_utterances(path: Path, mels: Path) -> np.ndarray:
    """int64 (n, 2): start and length of each utterance in frames."""
    rows = np.array([(row.start, row.n_frames) for row in read_table(path).rows], dtype=np.int64).reshape(-1, 2)
    n_frames = int(rows[-1].sum()) if len(rows) else 0
    n_bytes = mels.stat().st_size if mels.is_file() else 0
    if n_bytes < n_frames * FRAME_BYTES:
        raise UserError(f"{mels}: is missing or cut short ({n_bytes} bytes); preprocess this speaker again")
    return rows


def split_speakers(index: SpeakerIndex, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """(speakers to train on, held-out speakers): positions in the index, chosen by the speakers' names alone.

    At least `fraction` of the speakers and HELD_OUT_AT_LEAST are held out, but never more than half.
    """
    at_least = max(HELD_OUT_AT_LEAST, math.ceil(fraction * len(index.names)))
    chosen = held_out(index.names, fraction, at_least)
    is_held_out = np.array([name in chosen for name in index.names])
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


class SpeakerBatches:
    """plan(step) -> one CropSpec per speaker: speakers distinct across all ranks, utterances distinct if there are enough.

    A pure function of seed, rank and step; all ranks together draw what a single rank would for the whole batch.
    Every window of `n_frames` frames of an utterance is equally likely.
    """

    def __init__(
        self,
        index: SpeakerIndex,
        speakers: Sequence[int],
        n_speakers: int,
        n_utterances: int,
        n_frames: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """n_speakers is per rank; all speakers are used if there are fewer. UserError with fewer than two."""
        self.index, self.speakers = index, np.asarray(speakers)
        self.n_utterances, self.n_frames, self.seed, self.rank = n_utterances, n_frames, seed, rank
        self.n_speakers = min(n_speakers, len(self.speakers) // world_size)
        self.n_drawn = self.n_speakers * world_size
        if self.n_drawn < 2:
            raise UserError(
                f"{index.root}: {len(self.speakers)} speakers to train on; at least {max(2, world_size)} are needed"
            )

    def __call__(self, step: int) -> list[CropSpec]:
        drawn = rng(self.seed, step).choice(self.speakers, self.n_drawn, replace=False)
        mine = range(self.rank * self.n_speakers, (self.rank + 1) * self.n_speakers)
        return [self._crops(int(drawn[place]), rng(self.seed, step, place)) for place in mine]

    def _crops(self, speaker: int, generator: np.random.Generator) -> CropSpec:
        n_available = self.index.n_utterances(speaker)
        n_rounds = -(-self.n_utterances // n_available)  # more than one if the speaker has too few utterances
        orders = [generator.permutation(n_available) for _ in range(n_rounds)]
        utterances = np.concatenate(orders)[: self.n_utterances]  # (U,)
        lengths = self.index.lengths[self.index.first[speaker] + utterances]
        offsets = generator.integers(0, lengths - self.n_frames, endpoint=True)  # (U,)
        return CropSpec(speaker, utterances, offsets)


class SpeakerDataset(Dataset):
    """dataset[CropSpec] -> float32 (U, T, 40), reading only the bytes of each crop.

    The speakers of a batch are read in parallel: a disk answers many requests in hardly more time than one.
    """

    def __init__(self, index: SpeakerIndex, n_frames: int) -> None:
        self.index, self.n_frames = index, n_frames

    def __getitem__(self, spec: CropSpec) -> np.ndarray:
        path = self.index.path(spec.speaker)
        starts = self.index.starts[self.index.first[spec.speaker] + spec.utterances] + spec.offsets
        crops = np.empty((len(starts), self.n_frames, ENCODER_N_MELS), dtype=np.float32)
        try:
            with path.open("rb", buffering=0) as file:
                _expect_random_reads(file.fileno())
                header = _header_bytes(file)
                for crop, start in zip(crops, starts.tolist(), strict=True):
                    file.seek(header + start * FRAME_BYTES)
                    if file.readinto(crop) != crop.nbytes or not np.isfinite(crop).all():
                        raise ValueError("it ends too early, or holds what is not a number")
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path) from error
        return crops

    def __getitems__(self, specs: list[CropSpec]) -> list[np.ndarray]:
        """Called by DataLoader for a whole batch."""
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            return list(pool.map(self.__getitem__, specs))


def _expect_random_reads(descriptor: int) -> None:
    """Stop the system from reading ahead, which would read several times the size of a crop."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)


def _header_bytes(file: IO[bytes]) -> int:
    """Length of the header of a .npy file that _MelWriter wrote."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"format {version}")
    return file.tell() + 2 + int.from_bytes(file.read(2), "little")


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: is missing or damaged; preprocess this speaker again")


def collate(speakers: list[np.ndarray]) -> Batch:
    return Batch(torch.from_numpy(np.stack(speakers)))  # (S, U, T, 40)
