"""Train the synthesizer."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from synthesizer.dataset import Utterances, collate, read_rows, split_rows
from synthesizer.evaluation import HeldOut
from synthesizer.loss import tacotron_losses
from synthesizer.model import Tacotron, TacotronConfig
from synthesizer.published import own_content
from synthesizer.schedule import StagedPlan, parse_schedule, stage_at
from synthesizer.text import CLEANERS, SYMBOLS
from utils import manifest
from utils.audio import MelFormat
from utils.batching import batches
from utils.cli import UserError, check_at_least, parse_overrides
from utils.paths import SynthesizerData
from utils.training import Run, RunOptions

PUBLISHED_SCHEDULE = "2:1e-3:20000:12;2:5e-4:40000:12;2:2e-4:80000:12;2:1e-4:160000:12;2:3e-5:320000:12;2:1e-5:640000:12"


@dataclasses.dataclass(frozen=True)
class SynthesizerTraining:
    """What --hparams can change besides the model's sizes."""

    schedule: str = PUBLISHED_SCHEDULE  # r:learning_rate:until_step:batch_size, stages parted by ";"
    clip: float = 1.0  # gradient norm
    stop_weight: float = 5.0  # factor on the stop loss of the last step, one among hundreds
    cleaner: str = "english"
    eval_utterances: int = 16  # held-out utterances evaluated, at most
    eval_shown: int = 2  # how many of them are drawn and heard

    def __post_init__(self) -> None:
        parse_schedule(self.schedule)
        check_at_least(self, 1, "eval_utterances")
        check_at_least(self, 0, "eval_shown")
        if self.clip <= 0 or self.stop_weight <= 0:
            raise ValueError("clip and stop_weight must be positive")
        if self.cleaner not in CLEANERS:
            raise ValueError(f"cleaner must be one of {', '.join(CLEANERS)}")


def train(data_dir: Path, options: dict[str, Any], hparams: str = "") -> None:
    """Train on what the two preprocessing scripts of the synthesizer wrote to data_dir, until max_steps or a signal."""
    with Run("synthesizer", RunOptions(**options), own_content) as run:
        config, settings = run.configure(parse_overrides(hparams), TacotronConfig(), SynthesizerTraining())
        stages = parse_schedule(settings.schedule)
        data = SynthesizerData(data_dir)
        mel_format = manifest.read_mel_format(data)
        _check(config, mel_format, max(stage.r for stage in stages))
        training, held_out = (
            Utterances(data, rows, SYMBOLS, settings.cleaner, config.n_mels, config.speaker_size)
            for rows in split_rows(read_rows(data))
        )
        watched = HeldOut(held_out, settings.eval_utterances, settings.eval_shown, mel_format)

        model = Tacotron(config).to(run.device)
        optimizer = torch.optim.Adam(model.parameters())
        wrapped = run.start(model, optimizer, config, settings, mel=dataclasses.asdict(mel_format), symbols=SYMBOLS)
        if run.is_main:
            _announce(training, len(watched.items), mel_format)
        plan = StagedPlan(stages, [row.n_frames for row in training.rows], run.seed, run.rank, run.world_size)
        feed = batches(plan, run.step + 1, training, collate, run.device, run.n_workers)

        for step in run.steps():
            stage = stage_at(stages, step)
            optimizer.param_groups[0]["lr"] = stage.learning_rate
            model.r.fill_(stage.r)
            batch = next(feed)
            with run.autocast():
                prediction = wrapped(*batch, stage.r)
            losses = tacotron_losses(prediction, batch.mels, batch.mel_lengths, stage.r, settings.stop_weight)
            grad_norm = run.optimize(losses.total, settings.clip)
            run.log(
                loss=losses.total.item(),
                mel_loss=losses.mel.item(),
                stop_loss=losses.stop.item(),
                learning_rate=stage.learning_rate,
                r=stage.r,
                grad_norm=grad_norm,
            )
            if run.is_main and run.due(run.options.eval_every) and watched.items:
                watched.evaluate(run, model, stage.r)


def _check(config: TacotronConfig, mel_format: MelFormat, largest_r: int) -> None:
    if config.n_symbols != len(SYMBOLS):
        raise UserError(f"--hparams: n_symbols is {config.n_symbols}, but there are {len(SYMBOLS)} symbols", exit_code=2)
    if config.n_mels != mel_format.n_mels:
        raise UserError(f"the data has {mel_format.n_mels} mel bands, the model {config.n_mels}; set --hparams n_mels")
    if largest_r > config.max_r:
        raise UserError(f"--hparams: schedule has r = {largest_r}, over max_r = {config.max_r}", exit_code=2)


def _announce(training: Utterances, n_watched: int, mel_format: MelFormat) -> None:
    hours = sum(row.n_frames for row in training.rows) * mel_format.hop_length / mel_format.sample_rate / 3600
    print(f"training on {len(training)} utterances, {hours:.2f} h; evaluating on {n_watched} held-out utterances")
