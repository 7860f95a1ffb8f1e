"""Train the vocoder."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from utils.boards import plot
from utils.config import parse_overrides
from utils.data.audio import mel_spectrogram
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData, VocoderData
from utils.data.rows import read_mel_format
from utils.errors import UserError
from utils.models import size
from utils.report_lines import say_once
from utils.training.accelerate import recorded_step, uses_graphs
from utils.training.average import Average
from utils.training.batching import split_rows
from utils.training.health import Guessing, Parting, Rising
from utils.training.memory import within_memory
from utils.training.run import Run, RunOptions
from vocoder.accelerate import accelerate, fuse
from vocoder.config import VocoderTraining, WaveRNNConfig, check_sizes
from vocoder.dataset import Batch, CropDataset, CropPlan, Sources, collate, even_windows, find_sources
from vocoder.distribution import Distribution
from vocoder.fold import Generator
from vocoder.model import WaveRNN
from vocoder.postfilter import PostFilter
from vocoder.published import own_content


def train(
    synthesizer_dir: Path,
    vocoder_dir: Path,
    ground_truth: bool,
    generate_every: int,
    options: dict[str, Any],
    hparams: str = "",
) -> None:
    """Train on ground-truth-aligned mels, or with `ground_truth` on true mels, until max_steps or a signal."""
    with Run("vocoder", RunOptions(**options), own_content) as run:
        further = gently if run.options.fine_tune else None
        config, settings = run.configure(parse_overrides(hparams), WaveRNNConfig(), VocoderTraining(), further=further)
        data = SynthesizerData(synthesizer_dir)
        mel_format = read_mel_format(data)
        check_sizes(config, mel_format)
        crop = frames_of(settings.seq_len, mel_format.hop_length)
        sources = find_sources(data, VocoderData(vocoder_dir), ground_truth, crop, mel_format.hop_length)

        model = size.to_train(lambda: WaveRNN(config), run.device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        average, graphs = Average(model, settings.average_decay), uses_graphs(run, settings.cuda_graphs)
        fuse(model)
        mel = dataclasses.asdict(mel_format)
        training, watched = (
            CropDataset(part, mel_format, model.distribution, crop, config.pad, settings.quiet_db) for part in split(sources)
        )
        lengths = [row.n_frames for row in training.sources.rows]
        plan = CropPlan(lengths, crop, settings.batch_size, run.seed, run.rank, run.world_size, settings.quiet_kept)
        crops = collate([training[each] for each in plan(1)])
        rules = {"guessing": guessing(crops, model.distribution), "rising loss": Rising()}
        rules["overfitting"] = Parting("held_out_loss")
        kept = {"mel": mel, "average": average.state, "data": sources.rows, "rules": rules}
        in_use = {"cuda_graphs": graphs and run.device.type == "cuda"}
        wrapped = run.start(model, optimizer, config, settings, in_graphs=graphs, in_use=in_use, **kept)
        feed = run.feed(plan, training, collate)
        learn = partial(learn_from, run, wrapped, settings.clip)
        learn = (graphs and recorded_step(run, learn, optimizer)) or learn

        for step in run.steps():
            optimizer.param_groups[0]["lr"] = learning_rate = settings.learning_rate_at(step)
            batch = next(feed)
            with within_memory(run, batch, lambda part: model(part.levels, part.mel, part.targets), "batch_size={}".format):
                numbers = learn(batch, ())
            average.update(model, step)
            run.log(**numbers, learning_rate=learning_rate, data_seconds=feed.seconds_waited)
            if run.is_main and len(watched):
                if run.due(run.options.eval_every):
                    evaluate(run, average.model, model, watched, settings, rules["guessing"].guess)
                if run.due(generate_every):
                    speak(run, average.model, watched, settings)


def learn_from(run: Run, wrapped: nn.Module, clip: float, batch: Batch, numbers: Sequence[float]) -> dict[str, Tensor]:
    """One step; returns numbers to log. It depends on no `numbers` that change from step to step."""
    with run.autocast():
        loss = wrapped(batch.levels, batch.mel, batch.targets)
    return {"loss": loss.detach(), "grad_norm": run.optimize(loss, clip)}


def gently(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The settings of --fine_tune."""
    return "", {"learning_rate": 1e-4, "warmup_steps": 100, "halving_steps": 1000, "average_decay": 0.99, "batch_size": 32}


def frames_of(seq_len: int, hop: int) -> int:
    """The frames of a crop of seq_len samples."""
    frames, rest = divmod(seq_len, hop)
    if rest or not frames:
        raise UserError(f"seq_len {seq_len} is no multiple of the hop length of {hop} samples", 2)
    return frames


def split(sources: Sources) -> tuple[Sources, Sources]:
    """Utterances to train on, and held-out ones to evaluate on, the same in every run."""
    training, watched = (sources._replace(rows=rows) for rows in split_rows(sources.rows, fraction=0.02, at_least=4))
    say_once(f"training on {len(training.rows)} utterances; evaluating on {len(watched.rows)} held-out utterances")
    return training, watched


def guessing(crops: Batch, distribution: Distribution) -> Guessing:
    """A rule of a run: after thousands of steps it guesses each sample of such crops, as if none came before."""
    problem = "the vocoder has not learned how a sample follows from those before"
    remedy = "the learning rate is probably too low, or so high that the model has collapsed. Start again (-f) with the default"
    return Guessing(distribution.guess(crops.targets.flatten().numpy()), 0.95, 2000, problem, remedy)


def evaluate(
    run: Run, average: WaveRNN, model: WaveRNN, watched: CropDataset, settings: VocoderTraining, guessing_loss: float
) -> None:
    """The held-out loss with averaged weights and without, sent to all dashboards."""
    losses = [held_out_loss(run, each, watched, settings) for each in (average, model)]
    sentence = f"held-out loss {losses[0]:.4f} nats per sample, without averaged weights {losses[1]:.4f}"
    named = {"held_out_loss": losses[0], "held_out_loss_not_averaged": losses[1]}
    run.report(sentence, **named, guessing_loss=guessing_loss)
    run.keep_best(losses[0])


def held_out_loss(run: Run, model: WaveRNN, watched: CropDataset, settings: VocoderTraining) -> float:
    """Nats per sample, on the same crops every time."""
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
    """Generate the beginnings of held-out utterances, the same every time, and show them beside the true audio."""
    f = watched.mel_format
    with run.evaluating(model):
        generator = Generator(model, accelerate(model))
    max_frames = max(1, round(settings.eval_seconds * f.sample_rate / f.hop_length))
    for index, row in enumerate(watched.sources.rows[: settings.eval_shown]):
        mel, true = watched.utterance(index, max_frames)
        with run.evaluating(model):
            waves = generator.stream(mel, f, settings.target, settings.overlap, seed=0)
            if settings.postfilter:
                waves = PostFilter(mel, f, settings.postfilter).stream(waves)
            generated = np.concatenate(list(waves))
        run.board.audio(run.step, f"{row.name}-true", true, f.sample_rate)
        run.board.audio(run.step, f"{row.name}-generated", generated, f.sample_rate)
        title, sounds = f"{row.name}, step {run.step}", {"true": true, "generated": generated}
        draw = partial(_draw_mels, mel * f.max_abs, generated, f, title)
        run.board.figure(run.step, row.name, draw, folder="mel-spectrograms")
        run.board.figure(run.step, f"{row.name}-waves", partial(plot.waves, sounds, f.sample_rate, title))


def _draw_mels(mel: np.ndarray, generated: np.ndarray, f: MelFormat, title: str) -> Any:
    """mel (T, n_mels), generated (n,). The board draws in a thread of its own."""
    spectrograms = {"given to the vocoder": mel, "of the audio it generated": mel_spectrogram(generated, f)[: len(mel)]}
    return plot.mels(spectrograms, f, title)
