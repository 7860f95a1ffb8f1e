"""Evaluates a synthesizer in training: measures, pictures and audio of the same held-out utterances every time."""

from functools import partial
from typing import Any

import numpy as np
import torch

from synthesizer.accelerate import accelerate
from synthesizer.dataset import Batch, Utterances, collate
from synthesizer.loss import expected_symbols, tacotron_losses
from synthesizer.model import Generated, Prediction, Tacotron
from synthesizer.text import spoken_length
from synthesizer.text.sounds import spelled
from utils.boards import plot
from utils.data import audio
from utils.training.batching import to_device
from utils.training.run import Run

ALIGNED = 0.2  # alignment score from which the picture shows a line, broad as it may be (docs/experiments.md)
LATE = (
    "the attention does not follow the text, though it should by now: the model does not learn to read. Transcripts that do "
    "not fit the audio, long silences and too little data do this; word times help most (docs/experiments.md)"
)
MAX_RATIO = 2  # free-running utterances are cut at this many times their target's length


class HeldOut:
    """Held-out utterances in memory, and their evaluation."""

    def __init__(self, utterances: Utterances, n_utterances: int, n_shown: int, aligned_by: int) -> None:
        """n_shown of them are drawn and heard. A model that has not aligned by the step aligned_by gets a warning."""
        self.names = [row.name for row in utterances.rows[:n_utterances]]
        self.items = [utterances[i] for i in range(len(self.names))]
        readings = [utterances.reading(row) for row in utterances.rows[:n_shown]]
        self.labels = [[*spelled(reading.text, reading.symbols), "end"] for reading in readings]
        self.symbols, self.format = utterances.symbols, utterances.mel_format
        self.n_shown, self.aligned_by = n_shown, aligned_by
        self._was_aligned: bool | None = None  # at the last evaluation, if there was one

    def evaluate(self, run: Run, model: Tacotron, r: int) -> None:
        """Measure, report, draw and write audio. Training goes on as if it had not happened."""
        batch = to_device(collate(self.items), run.device)
        spoken_lengths = torch.tensor(
            [spoken_length(item.text.tolist(), self.symbols) for item in self.items], device=run.device
        )
        with run.evaluating(model), run.autocast():
            torch.manual_seed(0)  # the pre-net's dropout is always on; a fixed seed keeps the numbers comparable
            forced = model(*batch.inputs, r)
            caps, loop = MAX_RATIO * batch.mel_lengths, accelerate(model)
            free = model.generate(batch.text, batch.text_lengths, batch.speakers, caps, r, spoken_lengths, loop)
            losses = tacotron_losses(forced, batch.mels, batch.mel_lengths, r)
        values = self._measures(forced, free, r) | self._position_error(batch, forced, r)
        is_aligned = bool(values["alignment_score"] >= ALIGNED)
        sentence = self._sentence(is_aligned, values, float(losses.mel))
        run.report(sentence, eval_mel_loss=losses.mel, eval_stop_loss=losses.stop, **values)
        run.keep_best(losses.mel)
        self._was_aligned = is_aligned
        if not is_aligned and run.step >= self.aligned_by:
            run.tell("no alignment", f"step {run.step}: {LATE}")
        for number in range(min(self.n_shown, len(self.items))):
            self._show(run, number, forced, free, r)

    def _sentence(self, is_aligned: bool, values: dict[str, float], mel_loss: float) -> str:
        """An evaluation in words."""
        if is_aligned:
            attention = "the attention follows the text"
            if self._was_aligned is False:
                attention = f"the alignment has formed: {attention}"
        elif self._was_aligned:
            attention = "the alignment was lost again"
        else:
            attention = "no alignment yet"
        n = len(self.items)
        n_missed = round(values["free_stop_misses"] * n)
        stops = f"{n - n_missed} of {n} held-out texts come to an end" + f", {n_missed} do not" * (n_missed > 0)
        free = f"free-running, {stops} (score {values['free_alignment_score']:.2f})"
        return f"{attention} (score {values['alignment_score']:.2f} of 1); {free}; held-out mel loss {mel_loss:.3f}"

    def _measures(self, forced: Prediction, free: Generated, r: int) -> dict[str, float]:
        true_lengths, free_lengths = [len(item.mel) for item in self.items], free.lengths.tolist()
        aligned = [self._attention(forced.attention, n, length, r) for n, length in enumerate(true_lengths)]
        free_aligned = [self._attention(free.attention, n, length, r) for n, length in enumerate(free_lengths)]
        max_step = max(3, r)  # symbols the attention may move in a decoder step
        return {
            "alignment_score": np.mean([alignment_score(attention, max_step) for attention in aligned]),
            "alignment_peak": np.mean([attention_peak(attention) for attention in aligned]),
            "alignment_monotonicity": np.mean([monotonicity(attention, max_step) for attention in aligned]),
            "alignment_coverage": np.mean([coverage(attention) for attention in aligned]),
            "free_alignment_score": np.mean([alignment_score(attention, max_step) for attention in free_aligned]),
            "free_coverage": np.mean([coverage(attention) for attention in free_aligned]),
            "free_length_ratio": np.mean(np.array(free_lengths) / np.array(true_lengths)),
            "free_stop_misses": 1 - free.stopped.float().mean().item(),
            "free_stopped_by_attention": free.arrived.float().mean().item(),
        }

    def _position_error(self, batch: Batch, forced: Prediction, r: int) -> dict[str, float]:
        """How many symbols the teacher-forced attention is off, over the utterances with word times."""
        spoken = expected_symbols(batch.ends, batch.text_lengths, forced.attention.size(1), r).cpu().numpy()  # (B, S)
        timed = [n for n, item in enumerate(self.items) if item.ends is not None]
        attentions = {n: self._attention(forced.attention, n, len(self.items[n].mel), r) for n in timed}
        errors = [position_error(attention, spoken[n, : len(attention)]) for n, attention in attentions.items()]
        return {"position_error": np.mean(errors)} if errors else {}

    def _attention(self, attention: torch.Tensor, number: int, n_frames: int, r: int) -> np.ndarray:
        """One item's part of attention (B, S, T), without padding."""
        return attention[number, : -(-n_frames // r), : len(self.items[number].text)].float().cpu().numpy()

    def _show(self, run: Run, number: int, forced: Prediction, free: Generated, r: int) -> None:
        name, item = self.names[number], self.items[number]
        mels = {
            "target": item.mel,
            "teacher-forced": forced.after[number, : len(item.mel)].float().cpu().numpy(),
            "free-running": free.after[number, : int(free.lengths[number])].float().cpu().numpy(),
        }
        hop_seconds = self.format.hop_length / self.format.sample_rate
        draw: Any = partial(plot.mels, mels, self.format, f"{name}, step {run.step}")
        run.board.figure(run.step, f"mel-{name}", draw, "mel-spectrograms")
        attentions = {
            "teacher-forced": self._attention(forced.attention, number, len(item.mel), r),
            "free-running": self._attention(free.attention, number, len(mels["free-running"]), r),
        }
        for kind, attention in attentions.items():
            draw = partial(plot.alignment, attention, self.labels[number], f"{name}, {kind}, step {run.step}", r * hop_seconds)
            run.board.figure(run.step, f"alignment-{kind}-{name}", draw)
        for kind, mel in mels.items():
            run.board.audio(run.step, f"{name}-{kind}", partial(audio.griffin_lim, mel, self.format), self.format.sample_rate)


# ---- whether an attention follows the text


def attention_peak(attention: np.ndarray) -> float:
    """(S, T) -> mean over the steps of the largest weight: from 1 / T, nothing learned, towards 1."""
    return float(attention.max(axis=1).mean())


def monotonicity(attention: np.ndarray, max_step: int = 3) -> float:
    """(S, T) -> share of the steps whose peak stays or moves forward by at most `max_step` symbols."""
    if len(attention) < 2:
        return 1.0
    moves = np.diff(attention.argmax(axis=1))
    return float(((moves >= 0) & (moves <= max_step)).mean())


def coverage(attention: np.ndarray) -> float:
    """(S, T) -> share of the symbols that are the peak of a step, or next to it."""
    peaks = attention.argmax(axis=1)
    near = np.concatenate([peaks - 1, peaks, peaks + 1])
    return len(np.unique(near[(near >= 0) & (near < attention.shape[1])])) / attention.shape[1]


def alignment_score(attention: np.ndarray, max_step: int = 3) -> float:
    """(S, T) -> peak times monotonicity times coverage: near 0 where one of them is, 1 for a perfect alignment."""
    return attention_peak(attention) * monotonicity(attention, max_step) * coverage(attention)


def position_error(attention: np.ndarray, spoken: np.ndarray) -> float:
    """(S, T) and the symbol spoken at each step (S,) -> mean distance of the peak from it, in symbols."""
    return float(np.abs(attention.argmax(axis=1) - spoken).mean())
