"""How far the training is: measures, pictures and audio of the same held-out utterances every time."""

from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthesizer import measures
from synthesizer.dataset import Batch, Utterances, collate
from synthesizer.loss import expected_symbols, tacotron_losses
from synthesizer.model import Generated, Prediction, Tacotron
from synthesizer.text import ids_to_text, spoken_length
from utils.boards import plot
from utils.data import audio
from utils.training.batching import to_device
from utils.training.run import Run

FORMED = 0.2  # of the alignment score: from here on the picture shows a line, broad as it may be (docs/training-notes.md)
LONGEST = 2  # times its target: a free-running utterance is cut there


class HeldOut:
    """Held-out utterances in memory, and what is measured on them."""

    def __init__(self, utterances: Utterances, n_utterances: int, n_shown: int, formed_by: int) -> None:
        """n_shown of them are drawn and heard. A warning tells when no alignment has formed by the step formed_by."""
        self.names = [row.name for row in utterances.rows[:n_utterances]]
        self.items = [utterances[i] for i in range(len(self.names))]
        self.symbols, self.format = utterances.symbols, utterances.mel_format
        self.n_shown, self.formed_by = n_shown, formed_by
        self._formed: bool | None = None  # at the evaluation before, if there was one

    def evaluate(self, run: Run, model: Tacotron, r: int) -> None:
        """Measure, report, draw and write audio. Leaves no trace in the training."""
        batch = to_device(collate(self.items), run.device)
        spoken_lengths = torch.tensor(
            [spoken_length(item.text.tolist(), self.symbols) for item in self.items], device=run.device
        )
        with run.evaluating(model), run.autocast():
            torch.manual_seed(0)  # the pre-net's dropout is always on: the same every time, so that numbers compare
            forced = model(*batch.inputs, r)
            caps = LONGEST * batch.mel_lengths
            free = model.generate(batch.text, batch.text_lengths, batch.speakers, caps, r, spoken_lengths)
            losses = tacotron_losses(forced, batch.mels, batch.mel_lengths, r)
        values = self._measures(forced, free, r) | self._position_error(batch, forced, r)
        run.report(eval_mel_loss=losses.mel, eval_stop_loss=losses.stop, **values)
        self._tell(run.step, values)
        for number in range(min(self.n_shown, len(self.items))):
            self._show(run, number, forced, free, r)

    def _tell(self, step: int, values: dict[str, float]) -> None:
        """What the measures mean, in a line."""
        score, n = values["alignment_score"], len(self.items)
        formed = bool(score >= FORMED)
        if formed:
            attention = (
                "the attention follows the text" if self._formed else "the alignment has formed: the attention follows the text"
            )
        elif self._formed:
            attention = "the alignment was lost again"
        elif step >= self.formed_by:
            attention = (
                "WARNING: no alignment has formed, though it should have by now; docs/training-notes.md tells what helps"
            )
        else:
            attention = "no alignment yet"
        n_missed = round(values["free_stop_misses"] * n)
        endings = f"{n - n_missed} of {n} held-out texts come to an end" + f", {n_missed} do not" * (n_missed > 0)
        tqdm.write(f"step {step}: {attention} (score {score:.2f} of 1); speaking freely, {endings} "
                   f"(score {values['free_alignment_score']:.2f})")  # fmt: skip
        self._formed = formed

    def _measures(self, forced: Prediction, free: Generated, r: int) -> dict[str, float]:
        true_lengths, free_lengths = [len(item.mel) for item in self.items], free.lengths.tolist()
        aligned = [self._attention(forced.attention, n, length, r) for n, length in enumerate(true_lengths)]
        free_aligned = [self._attention(free.attention, n, length, r) for n, length in enumerate(free_lengths)]
        furthest = max(3, r)  # symbols in a step
        return {
            "alignment_score": np.mean([measures.alignment_score(attention, furthest) for attention in aligned]),
            "alignment_peak": np.mean([measures.attention_peak(attention) for attention in aligned]),
            "alignment_monotonicity": np.mean([measures.monotonicity(attention, furthest) for attention in aligned]),
            "alignment_coverage": np.mean([measures.coverage(attention) for attention in aligned]),
            "free_alignment_score": np.mean([measures.alignment_score(attention, furthest) for attention in free_aligned]),
            "free_coverage": np.mean([measures.coverage(attention) for attention in free_aligned]),
            "free_length_ratio": np.mean(np.array(free_lengths) / np.array(true_lengths)),
            "free_stop_misses": 1 - free.stopped.float().mean().item(),
            "free_stopped_by_attention": free.arrived.float().mean().item(),
        }

    def _position_error(self, batch: Batch, forced: Prediction, r: int) -> dict[str, float]:
        """Symbols that the teacher-forced attention is off, over the utterances whose word times are known."""
        spoken = expected_symbols(batch.ends, batch.text_lengths, forced.attention.size(1), r).cpu().numpy()  # (B, S)
        timed = [n for n, item in enumerate(self.items) if item.ends is not None]
        attentions = {n: self._attention(forced.attention, n, len(self.items[n].mel), r) for n in timed}
        errors = [measures.position_error(attention, spoken[n, : len(attention)]) for n, attention in attentions.items()]
        return {"position_error": np.mean(errors)} if errors else {}

    def _attention(self, attention: torch.Tensor, number: int, n_frames: int, r: int) -> np.ndarray:
        """One item's part of attention (B, S, T), without padding."""
        return attention[number, : -(-n_frames // r), : len(self.items[number].text)].float().cpu().numpy()

    def _show(self, run: Run, number: int, forced: Prediction, free: Generated, r: int) -> None:
        name, item = self.names[number], self.items[number]
        text = ids_to_text(item.text.tolist(), self.symbols)
        mels = {
            "target": item.mel,
            "teacher-forced": forced.after[number, : len(item.mel)].float().cpu().numpy(),
            "free-running": free.after[number, : int(free.lengths[number])].float().cpu().numpy(),
        }
        hop_seconds = self.format.hop_length / self.format.sample_rate
        run.board.figure(run.step, f"mel-{name}", partial(plot.mels, mels, hop_seconds), "mel-spectrograms")
        attentions = {
            "teacher-forced": self._attention(forced.attention, number, len(item.mel), r),
            "free-running": self._attention(free.attention, number, len(mels["free-running"]), r),
        }
        for kind, attention in attentions.items():
            draw: Any = partial(plot.alignment, attention, text, f"{kind}, step {run.step}", r)
            run.board.figure(run.step, f"alignment-{kind}-{name}", draw)
        for kind, mel in mels.items():
            run.board.audio(run.step, f"{name}-{kind}", partial(audio.griffin_lim, mel, self.format), self.format.sample_rate)
