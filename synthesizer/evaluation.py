"""How far the training is: measures, pictures and audio of the same held-out utterances every time."""

from functools import partial
from typing import Any

import numpy as np
import torch

from synthesizer import measures
from synthesizer.dataset import Utterances, collate
from synthesizer.loss import tacotron_losses
from synthesizer.model import Generated, Prediction, Tacotron
from synthesizer.text import ids_to_text
from utils import audio, plot
from utils.audio import MelFormat
from utils.batching import to_device
from utils.training import Run

LONGEST = 2  # times its target: a free-running utterance is cut there


class HeldOut:
    """Held-out utterances in memory, and what is measured on them."""

    def __init__(self, utterances: Utterances, n_utterances: int, n_shown: int, mel_format: MelFormat) -> None:
        self.names = [row.name for row in utterances.rows[:n_utterances]]
        self.items = [utterances[i] for i in range(len(self.names))]
        self.symbols, self.n_shown, self.format = utterances.symbols, n_shown, mel_format

    def evaluate(self, run: Run, model: Tacotron, r: int) -> None:
        """Measure, report, draw and write audio. Leaves no trace in the training."""
        batch = to_device(collate(self.items), run.device)
        with run.evaluating(model), run.autocast():
            torch.manual_seed(0)  # the pre-net's dropout is always on: the same every time, so that numbers compare
            forced = model(*batch, r)
            free = model.generate(batch.text, batch.text_lengths, batch.speakers, LONGEST * batch.mel_lengths, r)
            losses = tacotron_losses(forced, batch.mels, batch.mel_lengths, r)
        run.report(eval_mel_loss=losses.mel, eval_stop_loss=losses.stop, **self._measures(forced, free, r))
        for number in range(min(self.n_shown, len(self.items))):
            self._show(run, number, forced, free, r)

    def _measures(self, forced: Prediction, free: Generated, r: int) -> dict[str, float]:
        aligned = [self._attention(forced.attention, n, len(item.mel), r) for n, item in enumerate(self.items)]
        lengths = free.lengths.cpu().numpy() / np.array([len(item.mel) for item in self.items])
        return {
            "alignment_peak": np.mean([measures.attention_peak(attention) for attention in aligned]),
            "alignment_monotonicity": np.mean([measures.monotonicity(attention, max(3, r)) for attention in aligned]),
            "alignment_coverage": np.mean([measures.coverage(attention) for attention in aligned]),
            "free_length_ratio": np.mean(lengths),
            "free_stop_misses": 1 - free.stopped.float().mean().item(),
        }

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
