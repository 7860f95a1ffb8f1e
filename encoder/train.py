"""Train the speaker encoder."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from encoder.config import MEL_FORMAT, EncoderConfig, EncoderTraining
from encoder.dataset import SpeakerBatches, SpeakerDataset, SpeakerIndex, collate, read_index, split_speakers
from encoder.evaluate import choose_speakers, choose_utterances, embed_utterances, verify
from encoder.model import EncoderWithLoss, SpeakerEncoder
from encoder.published import own_content
from utils.boards import plot
from utils.config import parse_overrides
from utils.data.mel_format import ENCODER_HOP, SAMPLE_RATE
from utils.models import size
from utils.training.health import Guessing
from utils.training.memory import within_memory
from utils.training.run import Run, RunOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEAKERS_DRAWN = 10  # in the picture of embeddings: as many colours as the eye can tell apart
UTTERANCES_DRAWN = 10


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

        model = size.to_train(lambda: EncoderWithLoss(config), run.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        data = (*index.names, index.first.tolist(), index.lengths.tolist())
        in_use = {"speakers_per_batch": plan.n_speakers, "eval_speakers": len(held_out)}
        rules = {"collapse": Collapse(plan.n_speakers)}
        wrapped = run.start(model, optimizer, config, settings, mel=MEL_FORMAT, data=data, in_use=in_use, rules=rules)
        dataset = SpeakerDataset(index, settings.partial_frames)
        feed = run.feed(plan, dataset, collate)
        scale_similarity = partial(model.loss.scale_gradients, settings.similarity_gradient)
        embed = partial(_embed_held_out, run, model.encoder, index, settings.partial_frames)

        choose_utterances(index, held_out, settings.eval_utterances)  # too many are an error now, and not after hours
        for step in run.steps():
            optimizer.param_groups[0]["lr"] = settings.learning_rate  # --hparams may have changed it for a resumed run
            batch = next(feed)
            with within_memory(run, batch, lambda part: model(part.mels), "speakers_per_batch={}".format, least=2):
                with run.autocast():
                    loss = wrapped(batch.mels)
                grad_norm = run.optimize(loss, settings.clip, scale_similarity)
            run.log(loss=loss, learning_rate=settings.learning_rate, grad_norm=grad_norm, data_seconds=feed.seconds_waited)

            if run.is_main and run.due(run.options.eval_every):
                figures = verify(*embed(held_out, settings.eval_utterances)).figures()
                run.report(_sentence(figures, len(held_out)), **figures, guessing_loss=rules["collapse"].guess)
                if "eer" in figures:
                    run.keep_best(figures["eer"])
            if run.is_main and run.due(umap_every):
                embedded = embed(choose_speakers(held_out, SPEAKERS_DRAWN), UTTERANCES_DRAWN)
                run.board.figure(step, "embeddings", partial(_draw, *embedded, index, step))


class Collapse(Guessing):
    """A rule of a run: the encoder gives all voices the same embedding, so that its loss is that of guessing.

    Reported at once if an evaluation shows no difference at all between voices.
    """

    ALIKE = 0.95  # mean cosine between speakers; a healthy run is far from it, and from guessing, by step 300
    THE_SAME, RECENT = 0.99999, 10  # mean cosine of any two voices, which has 0.9999 before training; steps of loss to look at

    def __init__(self, n_speakers: int) -> None:
        """n_speakers of a batch."""
        remedy = "it has probably collapsed. Start again (-f) with a lower learning rate, more speakers in a batch, or "
        problem = "the encoder does not tell voices apart"
        super().__init__(math.log(n_speakers), 0.98, 300, problem, remedy + "--precision fp32")

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        line = super().__call__(step, values)
        if "different_cosine" not in values:
            return line
        cosine = values["different_cosine"]
        is_alike = cosine >= self.ALIKE and self.is_late(step)
        is_the_same = min(cosine, values.get("same_cosine", cosine)) >= self.THE_SAME and self.guesses(self.RECENT)
        also = f" and a cosine of {cosine:.3f} between speakers"
        return self.line(also) if line or is_alike or is_the_same else ""


def _sentence(figures: dict[str, float], n_speakers: int) -> str:
    """An evaluation in words."""
    if "eer" not in figures:
        return f"the equal error rate needs two held-out speakers with two utterances each; here are {n_speakers} speakers"
    interval = f" ({figures['eer_low']:.3f} to {figures['eer_high']:.3f})" if "eer_low" in figures else ""
    cosines = f"mean cosine {figures['same_cosine']:.2f} within a speaker, {figures['different_cosine']:.2f} between two"
    return f"equal error rate {figures['eer']:.4f}{interval} on {n_speakers} held-out speakers; {cosines}"


def _announce(index: SpeakerIndex, plan: SpeakerBatches, n_held_out: int, settings: EncoderTraining) -> None:
    hours = index.lengths.sum() * ENCODER_HOP / SAMPLE_RATE / 3600
    print(
        f"{len(index.names)} speakers, {len(index.lengths)} utterances, {hours:.1f} h in {index.root}; "
        f"training on {len(plan.speakers)}, evaluating on {n_held_out} held-out speakers"
    )
    if plan.n_speakers < settings.speakers_per_batch:
        print(f"a batch holds {plan.n_speakers} speakers instead of {settings.speakers_per_batch}: there are no more")


def _embed_held_out(
    run: Run, encoder: SpeakerEncoder, index: SpeakerIndex, partial_frames: int, speakers: list[int], n_utterances: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, E) of n_utterances of each speaker at most, and the numbers of their speakers (N,)."""
    chosen = choose_utterances(index, speakers, n_utterances)
    with run.evaluating(encoder), run.autocast():
        return embed_utterances(encoder, index, chosen, partial_frames), np.array([speaker for speaker, _ in chosen])


def _draw(embeddings: np.ndarray, speakers: np.ndarray, index: SpeakerIndex, step: int) -> "Figure":
    """Runs on another thread, as UMAP is slow."""
    return plot.embeddings(embeddings, [index.names[speaker] for speaker in speakers], f"held-out speakers, step {step}")
