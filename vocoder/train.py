"""Train the vocoder."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.boards import plot
from utils.config import check_at_least, parse_overrides
from utils.data.audio import MelFormat, mel_spectrogram
from utils.data.paths import SynthesizerData, VocoderData
from utils.data.rows import read_mel_format
from utils.errors import UserError
from utils.training.average import Average
from utils.training.batching import batches, held_out
from utils.training.run import Run, RunOptions
from vocoder.dataset import Batch, CropDataset, CropPlan, Sources, collate, even_windows, find_sources
from vocoder.fold import OVERLAP, TARGET
from vocoder.generate import generate_wave
from vocoder.model import WaveRNN, WaveRNNConfig, check_sizes
from vocoder.postfilter import PostFilter
from vocoder.published import own_content


@dataclasses.dataclass(frozen=True)
class VocoderTraining:
    """What --hparams can change besides the model's sizes."""

    learning_rate: float = 4e-4  # the highest
    warmup_steps: int = 1000  # in which it rises from 0
    halving_steps: int = 50_000  # from then on, in which it falls to half; 0 is never
    final_learning_rate: float = 2e-5  # where it stops to fall
    average_decay: float = 0.999  # of the moving average of the weights, per step; 0 averages nothing
    batch_size: int = 100  # crops per step and GPU
    seq_len: int = 1000  # samples per crop, whole mel frames
    clip: float = 4.0  # gradient norm
    quiet_db: float = -40.0  # crops under this level, in decibels of full scale, are quiet
    quiet_kept: float = 0.25  # the share of quiet crops that is trained on
    eval_crops: int = 200  # of held-out utterances, the same every time
    eval_shown: int = 2  # held-out utterances that are generated
    eval_seconds: float = 3.0  # of each, from its beginning
    target: int = TARGET  # samples of a fold, when generating
    overlap: int = OVERLAP  # samples that a fold repeats of the one before
    postfilter: float = 0.0  # strength of what takes noise from its speech

    def __post_init__(self) -> None:
        if min(self.learning_rate, self.final_learning_rate, self.clip, self.eval_seconds) <= 0:
            raise ValueError("learning_rate, final_learning_rate, clip and eval_seconds must be positive")
        if not (0 <= self.average_decay < 1 and 0 <= self.quiet_kept <= 1):
            raise ValueError("average_decay and quiet_kept are shares, from 0 to 1")
        if not 0 <= self.postfilter <= 2:
            raise ValueError("postfilter is a strength, from 0 (off) to 2")
        check_at_least(self, 1, "batch_size", "seq_len", "eval_crops", "target")
        check_at_least(self, 0, "eval_shown", "overlap", "warmup_steps", "halving_steps")

    def learning_rate_at(self, step: int) -> float:
        """Rises in a line, then falls by half every halving_steps. The published one is constant: no warm-up, no halving."""
        rising = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        halvings = max(0, step - self.warmup_steps) / self.halving_steps if self.halving_steps else 0.0
        return rising * max(self.learning_rate * 0.5**halvings, min(self.final_learning_rate, self.learning_rate))


def train(
    synthesizer_dir: Path,
    vocoder_dir: Path,
    ground_truth: bool,
    generate_every: int,
    options: dict[str, Any],
    hparams: str = "",
) -> None:
    """Train on ground-truth-aligned mels, or (`ground_truth`) on true ones, until max_steps or a signal."""
    with Run("vocoder", RunOptions(**options), own_content) as run:
        config, settings = run.configure(parse_overrides(hparams), WaveRNNConfig(), VocoderTraining())
        data = SynthesizerData(synthesizer_dir)
        mel_format = read_mel_format(data)
        check_sizes(config, mel_format)
        crop, rest = divmod(settings.seq_len, mel_format.hop_length)
        if rest or not crop:
            raise UserError(f"seq_len {settings.seq_len} is no multiple of the hop of {mel_format.hop_length} samples", 2)
        sources = find_sources(data, VocoderData(vocoder_dir), ground_truth, crop, mel_format.hop_length)

        model = WaveRNN(config).to(run.device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        average = Average(model, settings.average_decay)
        mel = dataclasses.asdict(mel_format)
        wrapped = run.start(model, optimizer, config, settings, mel=mel, average=average.state)
        training, watched = (
            CropDataset(part, mel_format, model.distribution, crop, config.pad, settings.quiet_db)
            for part in split(sources, run.is_main)
        )
        lengths = [row.n_frames for row in training.sources.rows]
        plan = CropPlan(lengths, crop, settings.batch_size, run.seed, run.rank, run.world_size, settings.quiet_kept)
        feed = batches(plan, run.step + 1, training, collate, run.device, run.n_workers)

        for step in run.steps():
            optimizer.param_groups[0]["lr"] = learning_rate = settings.learning_rate_at(step)
            batch = next(feed)
            with run.autocast():
                loss = wrapped(batch.levels, batch.mel, batch.targets)
            grad_norm = run.optimize(loss, settings.clip)
            average.update(model, step)
            run.log(loss=loss, learning_rate=learning_rate, grad_norm=grad_norm, data_seconds=feed.seconds_waited)
            if run.is_main and len(watched):
                if run.due(run.options.eval_every):
                    losses = [held_out_loss(run, each, watched, settings) for each in (average.model, model)]
                    run.report(held_out_loss=losses[0], held_out_loss_not_averaged=losses[1])
                if run.due(generate_every):
                    speak(run, average.model, watched, settings)


def split(sources: Sources, announce: bool) -> tuple[Sources, Sources]:
    """Utterances to train on and to evaluate on; which ones are held out does not depend on the run."""
    chosen = held_out([row.name for row in sources.rows], fraction=0.02, at_least=4)
    training, watched = (
        sources._replace(rows=[row for row in sources.rows if (row.name in chosen) == wanted]) for wanted in (False, True)
    )
    if announce:
        print(f"training on {len(training.rows)} utterances; evaluating on {len(watched.rows)} held-out utterances")
    return training, watched


def held_out_loss(run: Run, model: WaveRNN, watched: CropDataset, settings: VocoderTraining) -> float:
    """Nats per sample on crops that are the same every time."""
    lengths = [row.n_frames for row in watched.sources.rows]
    windows = even_windows(CropPlan(lengths, watched.crop, 1, seed=0), settings.eval_crops)
    total = 0.0
    with run.evaluating(model), run.autocast():
        for start in range(0, len(windows), settings.batch_size):
            crops = collate([watched.at(*window) for window in windows[start : start + settings.batch_size]])
            batch = Batch(*(tensor.to(run.device) for tensor in crops))
            loss = model(batch.levels, batch.mel, batch.targets)
            total += loss.item() * len(batch.mel)
    return total / len(windows)


def speak(run: Run, model: WaveRNN, watched: CropDataset, settings: VocoderTraining) -> None:
    """Generate the beginning of the same held-out utterances, folded as in use, and put it beside the true audio."""
    mel_format = watched.mel_format
    max_frames = max(1, round(settings.eval_seconds * mel_format.sample_rate / mel_format.hop_length))
    for index, row in enumerate(watched.sources.rows[: settings.eval_shown]):
        mel, true = watched.utterance(index, max_frames)
        with run.evaluating(model):
            frames = torch.from_numpy(mel).to(run.device)
            generated = generate_wave(model, frames, mel_format, settings.target, settings.overlap, seed=0)
        if settings.postfilter:
            generated = np.concatenate(list(PostFilter(mel, mel_format, settings.postfilter).stream([generated])))
        run.board.audio(run.step, f"{row.name}-true", true, mel_format.sample_rate)
        run.board.audio(run.step, f"{row.name}-generated", generated, mel_format.sample_rate)
        draw = _Picture(mel * mel_format.max_abs, true, generated, mel_format)
        run.board.figure(run.step, row.name, draw.mels, folder="mel-spectrograms")
        run.board.figure(run.step, f"{row.name}-waves", draw.waves)


@dataclasses.dataclass
class _Picture:
    """What the board draws on its own thread."""

    mel: Any  # (T, n_mels)
    true: Any  # (n,)
    generated: Any  # (n,)
    mel_format: MelFormat

    def mels(self) -> Any:
        spectrograms = {"given to the vocoder": self.mel, "of the audio it generated": self._of_generated()}
        return plot.mels(spectrograms, self.mel_format.hop_length / self.mel_format.sample_rate)

    def waves(self) -> Any:
        return plot.waves({"true": self.true, "generated": self.generated}, self.mel_format.sample_rate)

    def _of_generated(self) -> Any:
        return mel_spectrogram(self.generated, self.mel_format)[: len(self.mel)]
