"""Official trial lists: which pairs of recordings are of one speaker, a line `label path path` for each, as VoxCeleb1-O has.

F files, P trials.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from encoder.inference import SpeakerEmbedder, preprocess_wav
from encoder.verification import Verification, verify_pairs
from utils.errors import UserError

LABELS = {"0": False, "1": True}
FILES_AT_A_TIME = 64  # held in memory as waves


class Trials(NamedTuple):
    """first and second say which two of the files a trial compares."""

    files: list[str]  # F, as they stand in the list
    first: np.ndarray  # (P,)
    second: np.ndarray  # (P,)
    is_same: np.ndarray  # bool (P,)

    def of_files(self, usable: np.ndarray) -> "Trials":
        """The trials whose two files are both `usable` (F,). UserError where none of one kind is left."""
        wanted = usable[self.first] & usable[self.second]
        left = Trials(self.files, self.first[wanted], self.second[wanted], self.is_same[wanted])
        left.check_both_kinds("what is left")
        return left

    def check_both_kinds(self, place: object) -> None:
        """UserError unless there are trials of one speaker and of two."""
        n_same = int(self.is_same.sum())
        if n_same in (0, len(self.is_same)):
            raise UserError(f"{place}: {n_same} trials of one speaker and {len(self.is_same) - n_same} of two; both are needed")

    def speakers(self) -> np.ndarray | None:
        """(F,) a number for each file's speaker: the first folder of its path, if that agrees with every label."""
        folders = [file.replace("\\", "/").lstrip("/").partition("/")[0] for file in self.files]
        _, speakers = np.unique(folders, return_inverse=True)
        agrees = (speakers[self.first] == speakers[self.second]) == self.is_same
        return speakers if agrees.all() else None


class EmbeddedFiles(NamedTuple):
    embeddings: list[np.ndarray]  # (F, E) for each model; nan where a file could not be used
    problems: list[str]  # a line for each such file


def read_trials(path: Path) -> Trials:
    """UserError, naming the line, where one is not `1 path path` or `0 path path`, and where one kind is not there at all."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text; a trial list or a preprocessed folder is needed") from error
    numbers: dict[str, int] = {}
    rows = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in LABELS:
            raise UserError(f"{path}, line {number}: {line[:80]!r} is not `label path path` with label 1 (same speaker) or 0")
        rows.append((*(numbers.setdefault(name, len(numbers)) for name in fields[1:]), LABELS[fields[0]]))
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)  # (P, 3)
    trials = Trials(list(numbers), table[:, 0], table[:, 1], table[:, 2].astype(bool))
    trials.check_both_kinds(path)
    return trials


def embed_files(embedders: Sequence[SpeakerEmbedder], root: Path, files: Sequence[str]) -> EmbeddedFiles:
    """Load and prepare every file below root once, and embed it with all models, several files in a batch."""
    vectors = [np.full((len(files), embedder.embedding_size), np.nan, dtype=np.float32) for embedder in embedders]
    problems = []
    with tqdm(total=len(files), desc="Embedding", unit="file", dynamic_ncols=True) as bar:
        for start, prepared in _in_groups(root, files):
            problems += [each for each in prepared if isinstance(each, str)]
            usable = [i for i, each in enumerate(prepared) if not isinstance(each, str)]
            for own, embedder in zip(vectors, embedders, strict=True):
                own[[start + i for i in usable]] = embedder.embed_batch([prepared[i] for i in usable])
            bar.update(len(prepared))
    return EmbeddedFiles(vectors, problems)


def _in_groups(root: Path, files: Sequence[str]) -> Iterator[tuple[int, list[np.ndarray | str]]]:
    """(number of the first, waves (n,) or what is wrong) of one group of files after the other."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(files), FILES_AT_A_TIME):
            yield start, list(pool.map(_prepare, [root / name for name in files[start : start + FILES_AT_A_TIME]]))


def _prepare(path: Path) -> np.ndarray | str:
    try:
        return preprocess_wav(path)
    except UserError as error:
        return str(error)


def verify_trials(trials: Trials, embeddings: np.ndarray) -> Verification:
    """embeddings (F, E); the interval is over speakers where the paths tell them, else over trials."""
    scores = np.einsum("pe,pe->p", embeddings[trials.first], embeddings[trials.second])
    speakers = trials.speakers()
    if speakers is None:
        drawn = np.arange(len(scores))
        return verify_pairs(scores, trials.is_same, drawn, drawn)
    return verify_pairs(scores, trials.is_same, speakers[trials.first], speakers[trials.second])
