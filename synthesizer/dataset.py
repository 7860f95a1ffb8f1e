"""Utterances that preprocessing wrote, as items and batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from synthesizer.text import text_to_ids
from utils import manifest
from utils.batching import held_out
from utils.cli import UserError
from utils.paths import SynthesizerData

HELD_OUT_FRACTION = 0.01
HELD_OUT_AT_LEAST = 4  # utterances


class Item(NamedTuple):
    text: np.ndarray  # int64 (T,) ids
    mel: np.ndarray  # float32 (F, n_mels)
    speaker: np.ndarray  # float32 (E,)


class Batch(NamedTuple):
    text: Tensor  # int64 (B, T)
    text_lengths: Tensor  # int64 (B,)
    mels: Tensor  # float32 (B, F, n_mels)
    mel_lengths: Tensor  # int64 (B,)
    speakers: Tensor  # float32 (B, E)


class Utterances(Dataset):
    """dataset[index] -> Item, read from disk."""

    def __init__(
        self, data: SynthesizerData, rows: Sequence[manifest.Row], symbols: str, cleaner: str, n_mels: int, speaker_size: int
    ) -> None:
        self.data, self.rows, self.symbols, self.cleaner = data, list(rows), symbols, cleaner
        self.n_mels, self.speaker_size = n_mels, speaker_size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = self.rows[index]
        text = np.array(text_to_ids(row.text, self.symbols, self.cleaner))
        mel = _load(self.data.mels_dir / row.mel, (row.n_frames, self.n_mels))
        return Item(text, mel, _load(self.data.embeds_dir / row.embed, (self.speaker_size,)))


def collate(items: list[Item]) -> Batch:
    """Pad to the longest of the batch; what the padding holds has no influence."""
    texts = [torch.from_numpy(item.text) for item in items]
    mels = [torch.from_numpy(item.mel) for item in items]
    return Batch(
        pad_sequence(texts, batch_first=True),
        torch.tensor([len(text) for text in texts]),
        pad_sequence(mels, batch_first=True, padding_value=-4.0),
        torch.tensor([len(mel) for mel in mels]),
        torch.from_numpy(np.stack([item.speaker for item in items])),
    )


def read_rows(data: SynthesizerData) -> list[manifest.Row]:
    """The rows of train.txt that can be used; what cannot is counted in one line. UserError when none can."""
    rows = manifest.existing(manifest.read(data.manifest), mel=data.mels_dir, embed=data.embeds_dir)
    return manifest.with_content(rows, data.manifest)


def split_rows(rows: list[manifest.Row]) -> tuple[list[manifest.Row], list[manifest.Row]]:
    """(to train on, held out): the choice depends on the utterances' names alone."""
    chosen = held_out([row.name for row in rows], HELD_OUT_FRACTION, HELD_OUT_AT_LEAST)
    return [row for row in rows if row.name not in chosen], [row for row in rows if row.name in chosen]


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: is missing or damaged; delete it to leave its row out, or preprocess again") from error
    if array.shape != shape:
        raise UserError(f"{path}: has the shape {array.shape} where {shape} is expected; preprocess again, or set "
                        "--hparams n_mels or speaker_size")  # fmt: skip
    return np.array(array, dtype=np.float32)
