"""Train the speaker encoder."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from encoder.dataset import SpeakerBatches, SpeakerDataset, SpeakerIndex, collate, read_index, split_speakers
from encoder.model import MEL_FORMAT, EncoderConfig, EncoderWithLoss, SpeakerEncoder
from encoder.published import own_content
from encoder.verification import Embedded, choose_speakers, choose_utterances, embed_utterances, verify
from encoder.visualize import draw_embeddings
from utils.config import check_at_least, parse_overrides
from utils.data import audio
from utils.training.batching import batches
from utils.training.run import Run, RunOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEAKERS_DRAWN = 10  # in the picture of embeddings: as many colours as an eye keeps apart
UTTERANCES_DRAWN = 10


@dataclass(frozen=True)
class EncoderTraining:
    """What --hparams can change besides the model's sizes."""

    learning_rate: float = 1e-4
    speakers_per_batch: int = 64  # on each rank
    utterances_per_speaker: int = 10
    partial_frames: int = 160  # of 10 ms, cut from each utterance
    clip: float = 3.0  # gradient norm
    similarity_gradient: float = 0.01  # factor on the gradients of the loss's scale and offset
    held_out_fraction: float = 0.05  # of the speakers; two at least
    eval_speakers: int = 100  # held-out speakers evaluated, at most
    eval_utterances: int = 10  # of each of them, at most

    def __post_init__(self) -> None:
        names = ("speakers_per_batch", "utterances_per_speaker", "partial_frames", "eval_speakers", "eval_utterances")
        check_at_least(self, 2, *names)
        check_at_least(self, 0, "similarity_gradient")
        if not 0 <= self.held_out_fraction < 1:
            raise ValueError("held_out_fraction must be at least 0 and under 1")
        if self.learning_rate <= 0 or self.clip <= 0:
            raise ValueError("learning_rate and clip must be positive")


def train(data_dir: Path, options: dict[str, Any], hparams: str = "", umap_every: int = 100) -> None:
    """Train on the speakers that encoder_preprocess.py wrote to data_dir, until max_steps or a signal."""
    with Run("encoder", RunOptions(**options), own_content) as run:
        config, settings = run.configure(parse_overrides(hparams), EncoderConfig(), EncoderTraining())
        index = read_index(data_dir, settings.partial_frames)
        speakers, held_out = split_speakers(index, settings.held_out_fraction)
        held_out = choose_speakers(held_out, settings.eval_speakers)
        plan = SpeakerBatches(
            index,
            speakers,
            settings.speakers_per_batch,
            settings.utterances_per_speaker,
            settings.partial_frames,
            run.seed,
            run.rank,
            run.world_size,
        )
        if run.is_main:
            _announce(index, plan, len(held_out), settings)

        model = EncoderWithLoss(config).to(run.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        wrapped = run.start(model, optimizer, config, settings, mel=MEL_FORMAT)
        dataset = SpeakerDataset(index, settings.partial_frames)
        feed = batches(plan, run.step + 1, dataset, collate, run.device, run.n_workers)
        scale_similarity = partial(model.loss.scale_gradients, settings.similarity_gradient)
        evaluate = partial(_embed_held_out, run, model.encoder, index, held_out, settings)

        for step in run.steps():
            optimizer.param_groups[0]["lr"] = settings.learning_rate  # a resumed run may have been told another
            batch = next(feed)
            with run.autocast():
                loss = wrapped(batch.mels)
            grad_norm = run.optimize(loss, settings.clip, scale_similarity)
            run.log(loss=loss, learning_rate=settings.learning_rate, grad_norm=grad_norm, data_seconds=feed.seconds_waited)

            if run.is_main and run.due(run.options.eval_every):
                run.report(**verify(evaluate(settings.eval_utterances)).figures())
            if run.is_main and run.due(umap_every):
                embedded = evaluate(UTTERANCES_DRAWN, SPEAKERS_DRAWN)
                run.board.figure(step, "embeddings", partial(_draw, embedded, index, step))


def _announce(index: SpeakerIndex, plan: SpeakerBatches, n_held_out: int, settings: EncoderTraining) -> None:
    hours = index.lengths.sum() * audio.ENCODER_HOP / audio.SAMPLE_RATE / 3600
    print(
        f"{len(index.names)} speakers, {len(index.lengths)} utterances, {hours:.1f} h in {index.root}; "
        f"training on {len(plan.speakers)}, evaluating on {n_held_out} held-out speakers"
    )
    if plan.n_speakers < settings.speakers_per_batch:
        print(f"a batch holds {plan.n_speakers} speakers instead of {settings.speakers_per_batch}: there are no more")


def _embed_held_out(
    run: Run,
    encoder: SpeakerEncoder,
    index: SpeakerIndex,
    held_out: np.ndarray,
    settings: EncoderTraining,
    n_utterances: int,
    n_speakers: int | None = None,
) -> Embedded:
    chosen = choose_utterances(index, choose_speakers(held_out, n_speakers or len(held_out)), n_utterances)
    with run.evaluating(encoder), run.autocast():
        return embed_utterances(encoder, index, chosen, settings.partial_frames)


def _draw(embedded: Embedded, index: SpeakerIndex, step: int) -> "Figure":
    names = [index.names[speaker] for speaker in embedded.speakers]
    return draw_embeddings(embedded.embeddings, names, f"held-out speakers, step {step}")
