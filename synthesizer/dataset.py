"""Utterances that preprocessing wrote, as items and batches."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from synthesizer.text import END, Reading, UnreadCounts, read
from synthesizer.text.symbols import to_ids
from synthesizer.text.word_times import parse_word_times, read_word_times, symbol_ends
from utils.data.arrays import ArrayError, check_finite, load_npy
from utils.data.audio import MelFormat
from utils.data.names import within
from utils.data.paths import SynthesizerData
from utils.data.rows import Row, read_rows, rows_with_content, rows_with_files
from utils.errors import UserError
from utils.training.buckets import Buckets, choose_buckets

N_READ = 1000  # texts whose length in symbols is looked at


class Item(NamedTuple):
    text: np.ndarray  # int64 (T,) ids
    mel: np.ndarray  # float32 (F, n_mels)
    speaker: np.ndarray  # float32 (E,)
    ends: np.ndarray | None = None  # float32 (T,) the frame at which each symbol ends, if known


class Batch(NamedTuple):
    text: Tensor  # int64 (B, T)
    text_lengths: Tensor  # int64 (B,)
    mels: Tensor  # float32 (B, F, n_mels)
    mel_lengths: Tensor  # int64 (B,)
    speakers: Tensor  # float32 (B, E)
    ends: Tensor  # float32 (B, T) the frame at which each symbol ends; 0 if not known, infinite in the padding

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the model is called with."""
        return self[:5]

    @property
    def size(self) -> tuple[int, int]:
        """Frames and symbols, padding included."""
        return self.mels.size(1), self.text.size(1)

    def padded(self, n_frames: int, n_symbols: int) -> "Batch":
        """With more padding, which the model and its losses ignore."""
        right, below = n_symbols - self.text.size(1), n_frames - self.mels.size(1)
        return self._replace(
            text=F.pad(self.text, (0, right)),
            ends=F.pad(self.ends, (0, right), value=torch.inf),
            mels=F.pad(self.mels, (0, 0, 0, below), value=-MelFormat.max_abs),
        )


class Utterances(Dataset):
    """dataset[index] -> Item, read from disk. With `use_times` the item has `ends` if alignments.txt has its word times.

    sounds: the share of the words of the dictionary that are sounds.
    """

    def __init__(
        self,
        data: SynthesizerData,
        rows: Sequence[Row],
        symbols: str,
        cleaner: str,
        mel_format: MelFormat,
        speaker_size: int,
        use_times: bool = False,
        sounds: float = 0.0,
    ) -> None:
        self.data, self.rows, self.symbols, self.cleaner = data, list(rows), symbols, cleaner
        self.sounds = sounds
        self.mel_format, self.speaker_size = mel_format, speaker_size
        self.frames_per_second = mel_format.sample_rate / mel_format.hop_length
        self.times = read_word_times(data.alignments, {row.mel for row in rows}) if use_times else {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = self.rows[index]
        reading = self.reading(row)
        mel = _load(within(self.data.mels_dir, row.mel), (row.n_frames, self.mel_format.n_mels))
        speaker = _load(within(self.data.embeds_dir, row.embed), (self.speaker_size,))
        return Item(np.array(to_ids(reading.symbols, self.symbols)), mel, speaker, self._ends(row, reading))

    def reading(self, row: Row) -> Reading:
        """The text of the utterance as the model reads it, the same every time."""
        return read(row.text, self.symbols, self.cleaner, self.sounds, row.mel)

    def buckets(self, batch_size: int) -> Buckets:
        """The shapes for CUDA graphs. Reading all texts would take long: what a character becomes is known from some."""
        some = self.rows[:: max(1, len(self.rows) // N_READ)]
        growth = np.quantile([(len(self.reading(row).symbols) + 1) / (len(row.text) + 1) for row in some], 0.9)
        n_symbols = [math.ceil(growth * (len(row.text) + 1)) for row in self.rows]
        return choose_buckets([row.n_frames for row in self.rows], n_symbols, batch_size)

    def unread(self) -> list[str]:
        """Which characters of the texts are no symbols, for the user; of N_READ texts at most that may have such."""
        known, counts = set(self.symbols), UnreadCounts()
        odd = [row for row in self.rows if not set(row.text.lower()) <= known]
        for row in odd[:: -(-len(odd) // N_READ) or 1]:
            counts.add_text(row.text, self.symbols, self.cleaner)
        return counts.lines(self.symbols)

    def fitting_times(self, n_rows: int) -> tuple[int, int]:
        """(n, m): of the first n utterances with word times, n_rows at most, m have words that fit their text."""
        looked_at = [row for row in self.rows if row.mel in self.times][:n_rows]
        fitting = [row for row in looked_at if self._ends(row, self.reading(row)) is not None]
        return len(looked_at), len(fitting)

    def _ends(self, row: Row, reading: Reading) -> np.ndarray | None:
        """float32 (T,) the frame at which each symbol ends; None without word times, or if the words differ from the text."""
        times = parse_word_times(self.times[row.mel]) if row.mel in self.times else None
        if times is None:
            return None
        duration = row.n_frames / self.frames_per_second
        ends = symbol_ends(reading.text + END, times, duration, self.cleaner, reading.symbols + END)
        return None if ends is None else ends * np.float32(self.frames_per_second)


def collate(items: list[Item]) -> Batch:
    """Pad to the longest of the batch. The model ignores the padding."""
    texts = [torch.from_numpy(item.text) for item in items]
    mels = [torch.from_numpy(item.mel) for item in items]
    ends = [torch.zeros(len(item.text)) if item.ends is None else torch.from_numpy(item.ends) for item in items]
    return Batch(
        pad_sequence(texts, batch_first=True),
        torch.tensor([len(text) for text in texts]),
        pad_sequence(mels, batch_first=True, padding_value=-MelFormat.max_abs),
        torch.tensor([len(mel) for mel in mels]),
        torch.from_numpy(np.stack([item.speaker for item in items])),
        pad_sequence(ends, batch_first=True, padding_value=torch.inf),
    )


def usable_rows(data: SynthesizerData) -> list[Row]:
    """The rows of train.txt that have files, text and frames; says how many do not. UserError if none has."""
    rows = rows_with_files(read_rows(data.manifest), mel=data.mels_dir, embed=data.embeds_dir)
    return rows_with_content(rows, data.manifest)


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = check_finite(path, load_npy(path, np.floating, len(shape)))
    except ArrayError as error:
        raise UserError(f"{error}; delete it to leave its row out, or preprocess again") from error
    if array.shape != shape:
        problem = f"has the shape {array.shape} where {shape} is expected"
        raise UserError(f"{path}: {problem}; preprocess again, or set --hparams speaker_size")
    return array.astype(np.float32)
