"""Train the synthesizer."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.accelerate import fuse
from synthesizer.config import NEW_MODEL, PUBLISHED_SCHEDULE, SynthesizerTraining, TacotronConfig, parse_schedule
from synthesizer.dataset import Batch, Utterances, collate, usable_rows
from synthesizer.discriminator import Adversary
from synthesizer.held_out import HeldOut
from synthesizer.loss import attention_loss, tacotron_losses
from synthesizer.model import Tacotron
from synthesizer.published import own_content
from synthesizer.schedule import StagedPlan, fade, remaining, stage_at, with_batches_of
from synthesizer.text import PHONES, is_readable, resolve_symbols
from synthesizer.text.new_symbols import with_symbols
from utils.config import parse_overrides
from utils.data.audio import MelFormat
from utils.data.paths import SynthesizerData
from utils.data.rows import read_mel_format, readable_rows
from utils.errors import UserError
from utils.models import size
from utils.training.accelerate import recorded_step, uses_graphs
from utils.training.average import Average
from utils.training.batching import split_rows
from utils.training.buckets import PaddedSteps
from utils.training.health import Parting
from utils.training.memory import within_memory
from utils.training.ranks import share_of_mean
from utils.training.run import Run, RunOptions

N_CHECKED = 200  # utterances whose word times are compared with their text before training, and whose symbols are counted


def train(data_dir: Path, options: dict[str, Any], hparams: str = "") -> None:
    """Train on what the synthesizer's two preprocessing scripts wrote to data_dir, until max_steps or a signal."""
    with Run("synthesizer", RunOptions(**options), own_content) as run:
        further = gently if run.options.fine_tune else continued
        config, settings = run.configure(parse_overrides(hparams), NEW_MODEL, SynthesizerTraining(), further=further)
        config, settings = _with_symbols(run, config, settings)
        stages = parse_schedule(settings.schedule)
        data = SynthesizerData(data_dir)
        mel_format = read_mel_format(data)
        _check(config, mel_format, max(stage.r for stage in stages))
        can_read = partial(is_readable, symbols=settings.symbols, cleaner=settings.cleaner)
        rows = readable_rows(usable_rows(data), data.manifest, can_read)
        in_text = (settings.symbols, settings.cleaner, mel_format, config.speaker_size, settings.word_times)
        learned, watched_rows = split_rows(rows, fraction=0.01, at_least=4)
        training = Utterances(data, learned, *in_text, settings.sounds)
        held_out = Utterances(data, watched_rows, *in_text, float(settings.sounds > 0))  # as the model speaks
        config = with_longest(config, training)
        aligned_by = min(settings.attention_fade[0], stages[-1].until // 3)
        watched = HeldOut(held_out, settings.eval_utterances, settings.eval_shown, aligned_by)

        model = size.to_train(lambda: Tacotron(config), run.device)
        fuse(model)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        average, mel = Average(model, settings.average_decay), dataclasses.asdict(mel_format)
        graphs = uses_graphs(run, settings.cuda_graphs)
        kept = {"mel": mel, "symbols": settings.symbols, "average": average.state, "data": training.rows}
        kept["rules"] = {"overfitting": Parting("eval_mel_loss", "mel_loss")}
        in_use = {"cuda_graphs": graphs and run.device.type == "cuda", "eval_utterances": len(watched.items)}
        adversary = Adversary(run, graphs) if settings.adversarial_weight else None
        kept["further"] = {"discriminator": adversary.trained} if adversary else {}
        wrapped = run.start(model, optimizer, config, settings, embeds=data, in_graphs=graphs, in_use=in_use, **kept)
        if run.is_main:
            _warn_of_r(run, int(model.r), stages[0].r)
            _announce(training, len(watched.items), uses_times=settings.attention_weight > 0)
        plan = StagedPlan(stages, [row.n_frames for row in training.rows], run.seed, run.rank, run.world_size)
        feed = run.feed(plan, training, collate)
        learn = partial(learn_from, run, model, wrapped, settings, adversary)
        others = [trained.optimizer for trained in kept["further"].values()]
        if graphs and (recorded := recorded_step(run, learn, optimizer, *others)):
            learn = PaddedSteps(learn, recorded, training.buckets)

        for step in run.steps():
            stage = stage_at(stages, step)
            optimizer.param_groups[0]["lr"] = stage.learning_rate
            model.r.fill_(stage.r)
            attention_weight = fade(step, *settings.attention_fade)
            batch = next(feed)
            trial = partial(trial_loss, model, adversary, training, stage.r)
            with within_memory(run, batch, trial, partial(with_batches_of, stages)):
                numbers = learn(batch, (attention_weight,), stage.r, attention_weight > 0)
            average.update(model, step)
            run.log(**numbers, learning_rate=stage.learning_rate, r=stage.r, data_seconds=feed.seconds_waited)
            if run.is_main and run.due(run.options.eval_every) and watched.items:
                watched.evaluate(run, average.model, stage.r)


def learn_from(
    run: Run,
    model: Tacotron,
    wrapped: nn.Module,
    settings: SynthesizerTraining,
    adversary: Adversary | None,
    batch: Batch,
    attention_weight: Sequence[float] | Tensor,
    r: int,
    has_attention_loss: bool,
) -> dict[str, Tensor]:
    """One step. attention_weight: one number, by which the attention loss counts; returns numbers to log."""
    batch = batch._replace(speakers=jittered(batch.speakers, settings.speaker_noise))
    with run.autocast():
        prediction = wrapped(*batch.inputs, r)
    losses = tacotron_losses(prediction, batch.mels, batch.mel_lengths, r, settings.stop_weight, share_of_mean)
    weights = settings.attention_weight, settings.diagonal_weight
    lengths = batch.text_lengths, batch.mel_lengths
    aligned = attention_loss(prediction.attention, batch.ends, *lengths, r, settings.attention_width, *weights, share_of_mean)
    # The attention loss must not shrink the gradients of parameters it does not reach, so they are clipped separately.
    apart = model.attention_parameters() if has_attention_loss and any(weights) else ()
    total = losses.total + attention_weight[0] * aligned
    numbers = {"loss": losses.total, "mel_loss": losses.mel, "stop_loss": losses.stop, "attention_loss": aligned}
    if adversary:
        told_apart = prediction, batch.mels, batch.mel_lengths
        numbers["discriminator_loss"] = adversary.learn(*told_apart, settings.clip)
        numbers["adversarial_loss"] = adversary.loss(*told_apart)
        total = total + settings.adversarial_weight * numbers["adversarial_loss"]
    grad_norm = run.optimize(total, settings.clip, clipped_apart=apart)
    return {name: number.detach() for name, number in numbers.items()} | {"grad_norm": grad_norm}


def trial_loss(model: Tacotron, adversary: Adversary | None, training: Utterances, r: int, batch: Batch) -> Tensor:
    """A stand-in for the loss that needs as much memory as that of the longest utterances."""
    longest = training.buckets(len(batch.text)).shapes[-1]
    batch = batch.padded(*map(max, longest, batch.size))
    prediction = model(*batch.inputs, r)
    loss = sum(output.float().mean() for output in prediction)
    return loss + adversary.loss(prediction, batch.mels, batch.mel_lengths) if adversary else loss


def continued(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a run that starts from a file takes besides its settings: its r, and its schedule from where it stopped."""
    r, step = int(content["model_state"]["r"]), int(content["step"])
    try:
        stages, known = parse_schedule(content["training"]["schedule"]), ""
    except (KeyError, ValueError):
        stages, known = parse_schedule(PUBLISHED_SCHEDULE), " (its schedule is not known; the published one is taken)"
    return f", r {r}{known}", {"schedule": remaining(stages, step, r)}


def gently(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The settings of --fine_tune: the r of the file, and a tenth of the learning rate of a new model."""
    r = int(content["model_state"]["r"])
    return f", r {r}", {"schedule": f"{r}:2e-4:300:16;{r}:5e-5:600:16", "average_decay": 0.98, "diagonal_weight": 0.0}


def _warn_of_r(run: Run, of_file: int, first: int) -> None:
    if run.starts_from_weights and first != of_file:
        print(f"warning: the schedule begins with r = {first}, but the weights were trained with r = {of_file}")


def _with_symbols(
    run: Run, config: TacotronConfig, settings: SynthesizerTraining
) -> tuple[TacotronConfig, SynthesizerTraining]:
    """With the symbols written out, and their number in the model and in the weights that the run starts from."""
    symbols = resolve_symbols(settings.symbols)
    if settings.sounds:
        symbols += "".join(phone for phone in PHONES.values() if phone not in symbols)
    if run.starts_from_weights:
        run.adapt_start(partial(with_symbols, symbols=symbols))
    elif config.n_symbols not in (TacotronConfig.n_symbols, len(symbols)):
        raise UserError(f"--hparams: n_symbols is {config.n_symbols}, but symbols has {len(symbols)}", exit_code=2)
    return dataclasses.replace(config, n_symbols=len(symbols)), dataclasses.replace(settings, symbols=symbols)


def with_longest(config: TacotronConfig, training: Utterances) -> TacotronConfig:
    """With the longest utterance that the model has been trained on: of this data, or of the file it starts from."""
    seconds = max(row.n_frames for row in training.rows) / training.frames_per_second
    longest = sorted(training.rows, key=lambda row: len(row.text))[-N_CHECKED:]  # as reading all texts would take long
    # In letters, as a text to say is divided before its words become sounds.
    n_symbols = max(len(training.reading(row).text) + 1 for row in longest)
    return dataclasses.replace(
        config,
        longest_seconds=max(config.longest_seconds, round(seconds, 3)),
        longest_symbols=max(config.longest_symbols, n_symbols),
    )


def jittered(speakers: Tensor, noise: float) -> Tensor:
    """Speaker embeddings (B, E) of length 1, each with random noise of length about `noise` added, normalized again.

    It makes the model work for voices between those of the training data.
    """
    if not noise:
        return speakers
    moved = speakers + torch.randn_like(speakers) * (noise / speakers.size(1) ** 0.5)
    return F.normalize(moved, dim=1)


def _check(config: TacotronConfig, mel_format: MelFormat, max_r: int) -> None:
    if config.n_mels != mel_format.n_mels:
        raise UserError(f"the data has {mel_format.n_mels} mel bands, the model {config.n_mels}; set --hparams n_mels")
    if max_r > config.max_r:
        raise UserError(f"--hparams: schedule has r = {max_r}, over max_r = {config.max_r}", exit_code=2)


def _announce(training: Utterances, n_held_out: int, uses_times: bool) -> None:
    hours = sum(row.n_frames for row in training.rows) / training.frames_per_second / 3600
    print(f"training on {len(training)} utterances, {hours:.2f} h; evaluating on {n_held_out} held-out utterances")
    print(*(f"{line}\n" for line in training.unread()), sep="", end="")
    if training.times and uses_times:
        n_checked, n_fitting = training.fitting_times(N_CHECKED)
        share = "" if n_fitting == n_checked else f" ({n_checked - n_fitting} of {n_checked} checked do not fit their text)"
        print(f"the word times of {len(training.times)} of them teach the attention{share}")
