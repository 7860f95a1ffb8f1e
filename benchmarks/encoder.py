"""Benchmarks of the encoder: index, batches, training step, loss, embeddings."""

import dataclasses
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import timing
from benchmarks.timing import autocast, device

SPEAKERS, UTTERANCES, FRAMES = 64, 10, 160  # of a batch in the paper's implementations
INDEXED_SPEAKERS, INDEXED_UTTERANCES = 8000, 150  # about what LibriSpeech and both VoxCelebs hold: 1.2 million


def index() -> str:
    """Time to index 1.2 million utterances before training."""
    from encoder.dataset import read_index

    with tempfile.TemporaryDirectory() as folder:
        for number in range(INDEXED_SPEAKERS):
            _write_speaker(Path(folder) / f"corpus_{number}", INDEXED_UTTERANCES, 800, sparse=True)
        seconds = timing.repeat(lambda: read_index(Path(folder), FRAMES), 1)
    return f"{seconds:.1f} s to index {INDEXED_SPEAKERS * INDEXED_UTTERANCES:,} utterances"


def batches() -> str:
    """Time to load a batch in one process, from files in memory and from disk."""
    from encoder.dataset import SpeakerBatches, SpeakerDataset, collate, read_index

    with tempfile.TemporaryDirectory(dir=".") as folder:  # /tmp may be memory
        for number in range(SPEAKERS + 2):
            _write_speaker(Path(folder) / f"corpus_{number:02d}", 2 * UTTERANCES, 800)
        known = read_index(Path(folder), FRAMES)
        plan = SpeakerBatches(known, range(SPEAKERS), SPEAKERS, UTTERANCES, FRAMES, seed=0)
        dataset = SpeakerDataset(known, FRAMES)
        steps = iter(range(1, 1000))

        def load() -> None:
            collate(dataset.__getitems__(plan(next(steps))))

        def forget() -> None:
            for speaker in range(len(known.names)):
                _forget(known.path(speaker))

        warm, cold, forgetting = timing.alternate(load, lambda: (forget(), load()), forget, times=7)
    return f"{1000 * warm:.0f} ms a batch from memory, {1000 * (cold - forgetting):.0f} ms from disk"


def _write_speaker(folder: Path, n_utterances: int, n_frames: int, sparse: bool = False) -> None:
    from encoder.dataset import FRAME_BYTES
    from utils.data.paths import EncoderData

    folder.mkdir()
    lines = [f"{n}\t{n * n_frames}\t{n_frames}\t{folder.name}/{n}.flac\n" for n in range(n_utterances)]
    (folder / EncoderData.UTTERANCES).write_text(
        "parameters\nname\tstart\tn_frames\tsource\n" + "".join(lines), encoding="utf-8"
    )
    if sparse:  # the right length without using disk space
        with (folder / EncoderData.MELS).open("wb") as file:
            file.truncate(128 + n_utterances * n_frames * FRAME_BYTES)
    else:
        np.save(folder / EncoderData.MELS, np.random.default_rng(0).random((n_utterances * n_frames, 40), dtype=np.float32))


def _forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def step(dtype: str = "fp32") -> str:
    """A training step."""
    import torch

    from encoder.config import EncoderConfig
    from encoder.model import EncoderWithLoss

    config = EncoderConfig()
    model = EncoderWithLoss(config).to(device())
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    mels = torch.rand(SPEAKERS, UTTERANCES, FRAMES, config.n_mels, device=device())

    def work() -> None:
        with autocast(dtype):
            loss = model(mels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / timing.repeat(work):.3f} steps/s ({SPEAKERS} speakers x {UTTERANCES} utterances x {FRAMES} frames, {dtype})"


def loss() -> str:
    """Forward and backward of the GE2E loss."""
    import torch

    from encoder.ge2e import GE2ELoss

    ge2e = GE2ELoss().to(device())
    embeddings = torch.rand(SPEAKERS, UTTERANCES, 256, device=device())
    embeddings = (embeddings / embeddings.norm(dim=2, keepdim=True)).requires_grad_()

    def work() -> None:
        for _ in range(100):
            embeddings.grad = None
            ge2e(embeddings).backward()

    return f"{1000 * timing.repeat(work) / 100:.2f} ms for the loss of {SPEAKERS} x {UTTERANCES} embeddings and its gradient"


def embeddings(precision: str = "auto", n: int = 32) -> str:
    """n utterances of 7.5 s in batches and one at a time, in turns with one at a time as Resemblyzer embeds."""
    import torch

    from encoder.config import MEL_FORMAT, EncoderConfig
    from encoder.inference import SpeakerEmbedder
    from encoder.model import EncoderWithLoss
    from encoder.partials import compute_partial_slices, partials_of_wave
    from utils.models import checkpoint

    config = EncoderConfig()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.pt"
        content = {"format": checkpoint.stage_format("encoder"), "model": dataclasses.asdict(config), "mel": MEL_FORMAT}
        checkpoint.save(path, content | {"model_state": EncoderWithLoss(config).state_dict()})
        embedder = SpeakerEmbedder(path, precision=precision)
    plain = torch.nn.LSTM(config.n_mels, config.hidden_size, config.n_layers, batch_first=True).to(device())
    noise = np.random.default_rng(0).normal(0, 0.1, (n, 16000 * 15 // 2)).astype(np.float32)  # 7.5 s each

    @torch.inference_mode()
    def one_by_one() -> None:
        for wav in noise:
            partials = torch.from_numpy(partials_of_wave(wav, compute_partial_slices(len(wav))))
            plain(partials.to(device()))

    def ours_one_by_one() -> None:
        for wav in noise:
            embedder.embed_utterance(wav)

    ours, alone, theirs = timing.alternate(lambda: embedder.embed_batch(noise), ours_one_by_one, one_by_one)
    faster = f"{theirs / ours:.2f} times as many as a plain loop in fp32; one by one {theirs / alone:.2f} times"
    return f"{len(noise) / ours:.1f} utterances of 7.5 s per s, {faster}"


BENCHMARKS = {
    "encoder_index": index,
    "encoder_batches": batches,
    "encoder_train": step,
    "encoder_train_bf16": lambda: step("bf16"),
    "encoder_loss": loss,
    "encoder_embeddings": embeddings,
    "encoder_embeddings_fp32": lambda: embeddings("fp32"),
}
