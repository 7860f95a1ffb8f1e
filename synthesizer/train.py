"""Train the synthesizer."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.dataset import Utterances, collate, split_rows, usable_rows
from synthesizer.evaluation import HeldOut
from synthesizer.loss import attention_loss, tacotron_losses
from synthesizer.model import Tacotron, TacotronConfig
from synthesizer.published import own_content
from synthesizer.schedule import StagedPlan, fade, parse_schedule, stage_at
from synthesizer.text import CLEANERS, resolve_symbols
from utils.config import check_at_least, parse_overrides
from utils.data.audio import MelFormat
from utils.data.paths import SynthesizerData
from utils.data.rows import read_mel_format
from utils.errors import UserError
from utils.training.average import Average
from utils.training.batching import batches
from utils.training.ranks import share_of_mean
from utils.training.run import Run, RunOptions

ATTENTION = "location_both"  # of a new model, unless --hparams says otherwise
LOOKED_AT = 200  # utterances whose word times are compared with their text before the training
PUBLISHED_SCHEDULE = "2:1e-3:20000:12;2:5e-4:40000:12;2:2e-4:80000:12;2:1e-4:160000:12;2:3e-5:320000:12;2:1e-5:640000:12"


@dataclasses.dataclass(frozen=True)
class SynthesizerTraining:
    """What --hparams can change besides the model's sizes."""

    schedule: str = PUBLISHED_SCHEDULE  # r:learning_rate:until_step:batch_size, stages parted by ";"
    average_decay: float = 0.999  # of the moving average of the weights, per step; 0 averages nothing
    clip: float = 1.0  # gradient norm
    stop_weight: float = 5.0  # factor on the stop loss of the last step, one among hundreds
    speaker_noise: float = 0.0  # length of a random vector added to the speaker embeddings, whose length is 1
    word_times: bool = True  # teach the attention where alignments.txt has them
    attention_weight: float = 0.2  # of the attention's loss where there are word times
    attention_width: float = 2.0  # symbols beside the expected one, the Gaussian's standard deviation
    diagonal_weight: float = 1.0  # of the guided attention loss, of utterances without
    attention_fade: tuple[int, int] = (20000, 40000)  # steps between which the attention's loss goes to nothing
    symbols: str = "english"  # see resolve_symbols; a checkpoint has them written out
    cleaner: str = "english"
    eval_utterances: int = 16  # held-out utterances evaluated, at most
    eval_shown: int = 2  # how many of them are drawn and heard

    def __post_init__(self) -> None:
        parse_schedule(self.schedule)
        if not 0 <= self.average_decay < 1:
            raise ValueError("average_decay is a share, from 0 to under 1")
        check_at_least(self, 1, "eval_utterances")
        check_at_least(self, 0, "eval_shown")
        check_at_least(self, 0, "speaker_noise", "attention_weight", "diagonal_weight", "attention_fade")
        if min(self.clip, self.stop_weight, self.attention_width) <= 0:
            raise ValueError("clip, stop_weight and attention_width must be positive")
        if self.attention_fade[0] > self.attention_fade[1]:
            raise ValueError("attention_fade: its first step must not come after its last one")
        if self.cleaner not in CLEANERS:
            raise ValueError(f"cleaner must be one of {', '.join(CLEANERS)}")


def train(data_dir: Path, options: dict[str, Any], hparams: str = "") -> None:
    """Train on what the two preprocessing scripts of the synthesizer wrote to data_dir, until max_steps or a signal."""
    with Run("synthesizer", RunOptions(**options), own_content) as run:
        config, settings = run.configure(parse_overrides(hparams), TacotronConfig(attention=ATTENTION), SynthesizerTraining())
        config, settings = _with_symbols(config, settings)
        stages = parse_schedule(settings.schedule)
        data = SynthesizerData(data_dir)
        mel_format = read_mel_format(data)
        _check(config, mel_format, max(stage.r for stage in stages))
        training, held_out = (
            Utterances(data, rows, settings.symbols, settings.cleaner, mel_format, config.speaker_size, settings.word_times)
            for rows in split_rows(usable_rows(data))
        )
        watched = HeldOut(held_out, settings.eval_utterances, settings.eval_shown, settings.attention_fade[0])

        model = Tacotron(config).to(run.device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        average, mel = Average(model, settings.average_decay), dataclasses.asdict(mel_format)
        wrapped = run.start(model, optimizer, config, settings, mel=mel, symbols=settings.symbols, average=average.state)
        if run.is_main:
            _announce(training, len(watched.items), taught=settings.attention_weight > 0)
        plan = StagedPlan(stages, [row.n_frames for row in training.rows], run.seed, run.rank, run.world_size)
        feed = batches(plan, run.step + 1, training, collate, run.device, run.n_workers)

        for step in run.steps():
            stage = stage_at(stages, step)
            optimizer.param_groups[0]["lr"] = stage.learning_rate
            model.r.fill_(stage.r)
            batch = next(feed)
            batch = batch._replace(speakers=jittered(batch.speakers, settings.speaker_noise))
            weight = fade(step, *settings.attention_fade)
            with run.autocast():
                prediction = wrapped(*batch.inputs, stage.r)
            losses = tacotron_losses(prediction, batch.mels, batch.mel_lengths, stage.r, settings.stop_weight, share_of_mean)
            weights = settings.attention_weight, settings.diagonal_weight
            taught = attention_loss(
                prediction.attention, batch, stage.r, settings.attention_width, *weights, mean=share_of_mean
            )
            # Clipped apart, so that the gradient of the attention's loss does not make that of what it does not reach smaller.
            reached = model.attention_parameters() if weight and any(weights) else ()
            grad_norm = run.optimize(losses.total + weight * taught, settings.clip, clipped_apart=reached)
            average.update(model, step)
            run.log(
                loss=losses.total,
                mel_loss=losses.mel,
                stop_loss=losses.stop,
                attention_loss=taught,
                learning_rate=stage.learning_rate,
                r=stage.r,
                grad_norm=grad_norm,
                data_seconds=feed.seconds_waited,
            )
            if run.is_main and run.due(run.options.eval_every) and watched.items:
                watched.evaluate(run, average.model, stage.r)


def _with_symbols(config: TacotronConfig, settings: SynthesizerTraining) -> tuple[TacotronConfig, SynthesizerTraining]:
    """The symbols written out, and as many of them in the model."""
    symbols = resolve_symbols(settings.symbols)
    if config.n_symbols not in (TacotronConfig.n_symbols, len(symbols)):
        raise UserError(f"--hparams: the model has {config.n_symbols} symbols, but symbols names {len(symbols)}", exit_code=2)
    return dataclasses.replace(config, n_symbols=len(symbols)), dataclasses.replace(settings, symbols=symbols)


def jittered(speakers: Tensor, noise: float) -> Tensor:
    """Speaker embeddings (B, E) of length 1, each moved by a random vector of length about `noise` and made of length 1 again.

    So that a voice between those heard in training is served too.
    """
    if not noise:
        return speakers
    moved = speakers + torch.randn_like(speakers) * (noise / speakers.size(1) ** 0.5)
    return F.normalize(moved, dim=1)


def _check(config: TacotronConfig, mel_format: MelFormat, largest_r: int) -> None:
    if config.n_mels != mel_format.n_mels:
        raise UserError(f"the data has {mel_format.n_mels} mel bands, the model {config.n_mels}; set --hparams n_mels")
    if largest_r > config.max_r:
        raise UserError(f"--hparams: schedule has r = {largest_r}, over max_r = {config.max_r}", exit_code=2)


def _announce(training: Utterances, n_watched: int, taught: bool) -> None:
    hours = sum(row.n_frames for row in training.rows) / training.frames_per_second / 3600
    print(f"training on {len(training)} utterances, {hours:.2f} h; evaluating on {n_watched} held-out utterances")
    if training.times and taught:
        looked_at, n_fitting = training.fitting_times(LOOKED_AT)
        share = "" if n_fitting == looked_at else f" ({looked_at - n_fitting} of {looked_at} looked at do not fit their text)"
        print(f"the word times of {len(training.times)} of them teach the attention{share}")
