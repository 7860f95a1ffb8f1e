"""Ground-truth-aligned mels: what the synthesizer predicts with teacher forcing (1712.05884, section 3.3).

They are aligned with the true audio and have the synthesizer's flaws, which the vocoder so learns to make up for.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthesizer.inference import Synthesizer
from utils.config import override, parse_overrides
from utils.data.arrays import ArrayError, check_finite, load_npy
from utils.data.lock import changed_settings, only_writer, save_settings
from utils.data.names import within
from utils.data.paths import SynthesizerData, VocoderData, make_durable, own_folders, remove_leftovers, save_npy, sha256
from utils.data.rows import (
    Row,
    format_row,
    read_mel_format,
    read_rows,
    readable_rows,
    rows_with_content,
    rows_with_files,
    write_rows,
)
from utils.errors import UserError
from utils.models.identity import warn_if_different
from vocoder.config import GtaSettings


def preprocess(
    synthesizer_path: Path,
    in_dir: Path,
    out_dir: Path,
    batch_size: int = 16,
    skip_existing: bool = False,
    cpu: bool = False,
    hparams: str = "",
) -> None:
    """Write mels_gta/ and then synthesized.txt, with a row for every utterance of train.txt whose files exist.

    A batch holds the same utterances and uses the same random numbers every time. With `skip_existing` a batch is made again
    unless all of it exists, so an interrupted run that is continued ends with the same bytes as one that was not.
    """
    (settings,) = override(parse_overrides(hparams), GtaSettings())
    source, out = SynthesizerData(in_dir), VocoderData(out_dir)
    rows = rows_with_files(read_rows(source.manifest), mel=source.mels_dir, embed=source.embeds_dir)
    rows = rows_with_content(rows, source.manifest)
    synthesizer = Synthesizer(synthesizer_path, "cpu" if cpu else None, precision=settings.precision)
    rows = readable_rows(rows, source.manifest, synthesizer.can_read)
    settings = dataclasses.replace(settings, precision=synthesizer.precision)  # auto depends on the machine
    _check_formats(synthesizer, synthesizer.path, source)
    warn_if_different(source.embeds_dir, source.encoder_digests, synthesizer.path, synthesizer.encoder_digests)
    with only_writer(out.root, "preprocess"):
        _prepare(out, _fingerprint(synthesizer.path, rows, batch_size, settings), skip_existing)
        with tqdm(total=len(rows), desc="GTA mels", unit="utterance", dynamic_ncols=True) as bar:
            for number, batch in enumerate(cut_batches(rows, batch_size, settings.max_frames)):
                if not (skip_existing and all(within(out.mels_gta_dir, row.mel).is_file() for row in batch)):
                    _make(synthesizer, batch, source, out, seed=number)
                bar.update(len(batch))
        _check(out, rows)
        make_durable(out.mels_gta_dir)
        write_rows(out.manifest, rows)
        make_durable(out.root)
        print(f"{len(rows)} ground-truth-aligned mels in {out.mels_gta_dir}, listed in {out.manifest}")


def _fingerprint(synthesizer_path: Path, rows: list[Row], batch_size: int, settings: GtaSettings) -> dict[str, Any]:
    """Everything that the mels depend on."""
    listed = "\n".join(map(format_row, rows))
    return {
        "synthesizer": sha256(synthesizer_path),
        "utterances": hashlib.sha256(listed.encode()).hexdigest(),
        "batch_size": batch_size,
        **dataclasses.asdict(settings),
    }


def _prepare(out: VocoderData, fingerprint: dict[str, Any], skip_existing: bool) -> None:
    """Delete what an earlier run made, or with skip_existing check that it was made from the same."""
    own_folders(out.root, out.mels_gta_dir.name)
    remove_leftovers(out.root)
    made_from = out.mels_gta_dir / "made_from.json"
    if skip_existing and made_from.is_file():
        if changed := changed_settings(made_from, fingerprint):
            raise UserError(
                f"{out.mels_gta_dir}: an earlier run made these mels from something else ({changed} changed); "
                "leave --skip_existing out to make all of them anew"
            )
        return
    out.manifest.unlink(missing_ok=True)  # first, as the mels are of no use without it
    made_from.unlink(missing_ok=True)
    make_durable(out.root, out.mels_gta_dir)
    for stale in out.mels_gta_dir.glob("mel-*.npy"):
        stale.unlink()
    make_durable(out.mels_gta_dir)
    save_settings(made_from, fingerprint)


def cut_batches(rows: Sequence[Row], batch_size: int, max_frames: int) -> list[list[Row]]:
    """Batches of utterances of similar length, the longest first, so that one too large for the memory fails at once.

    A batch has at most batch_size utterances, and with its padding at most max_frames frames, unless it is a single one.
    """
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (-row.n_frames, row.mel)):
        fits = batches and len(batches[-1]) < batch_size and (len(batches[-1]) + 1) * batches[-1][0].n_frames <= max_frames
        if fits:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


@torch.inference_mode()
def _make(synthesizer: Synthesizer, batch: list[Row], source: SynthesizerData, out: VocoderData, seed: int) -> None:
    mels = [_load(within(source.mels_dir, row.mel), 2) for row in batch]  # (T, n_mels) each
    embeddings = np.stack([_load(within(source.embeds_dir, row.embed), 1) for row in batch])
    aligned = synthesizer.gta_mels([row.text for row in batch], embeddings, mels, seed=seed)
    for row, mel, true in zip(batch, aligned, mels, strict=True):
        if len(mel) != row.n_frames or len(true) != row.n_frames:
            listed = f"{source.manifest} says {row.n_frames}"
            raise UserError(
                f"{within(source.mels_dir, row.mel)}: {len(true)} frames became {len(mel)}, {listed}; preprocess again"
            )
        save_npy(within(out.mels_gta_dir, row.mel), mel.astype(np.float16))


def _check(out: VocoderData, rows: list[Row]) -> None:
    """Raises UserError, naming the first problem, unless the mels are exactly those of the rows, each of its row's length.
    Reads only the headers."""
    again = "delete it and run the same command with --skip_existing"
    for row in rows:
        path = within(out.mels_gta_dir, row.mel)
        try:
            n_frames = len(load_npy(path, np.floating, 2, mapped=True))
        except ArrayError as error:
            raise UserError(f"{error}; {again}") from error
        if n_frames != row.n_frames:
            raise UserError(f"{path}: has {n_frames} frames, its row says {row.n_frames}; {again}")
    names = [row.mel for row in rows]
    if twice := next((name for name, n in Counter(names).items() if n > 1), None):
        raise UserError(f"{twice}: is the mel of more than one row; preprocess again")
    if unnamed := sorted({path.name for path in out.mels_gta_dir.glob("*.npy")} - set(names)):
        raise UserError(f"{out.mels_gta_dir / unnamed[0]}: belongs to no row; {again}")


def _load(path: Path, n_axes: int) -> np.ndarray:
    try:
        return check_finite(path, load_npy(path, np.floating, n_axes)).astype(np.float32)
    except ArrayError as error:
        raise UserError(f"{error}; delete it to leave its row out, or preprocess again") from error


def _check_formats(synthesizer: Synthesizer, path: Path, source: SynthesizerData) -> None:
    of_data, of_model = read_mel_format(source), synthesizer.mel_format
    if of_data != of_model:
        formats = f"synthesizer: {of_model}; data: {of_data}"
        raise UserError(f"{path}: the synthesizer was trained on other mels than {source.root} holds. {formats}")
