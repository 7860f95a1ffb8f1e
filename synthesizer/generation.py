"""Speaking: decoder steps one after another until every utterance of a batch has stopped.

Shapes: B utterances, T characters, r frames in each step.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from synthesizer.attention import Memory
from synthesizer.decoder import Decoder

MIN_FRAMES = 10  # only steps that start after this frame can stop
SPAN = 8  # steps between two checks whether all have stopped


class Loop(Protocol):
    """Runs a decoder whose weights do not change. The rows of a batch do not depend on each other."""

    r: int

    def start(self, memory: Memory) -> None:
        """Go to the first step of new utterances."""

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The next n steps -> mel (n, B, r, n_mels), stop logits (n, B), attention (n, B, T)"""


class TorchLoop:
    """The loop in plain torch, on any device and with any attention."""

    def __init__(self, decoder: Decoder, r: int) -> None:
        self.r, self._decoder = r, decoder

    def start(self, memory: Memory) -> None:
        self._memory, self._state = memory, self._decoder.start(memory)
        self._frame = memory.values.new_zeros(len(memory.values), self._decoder.n_mels)

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        mels, stops, attention = [], [], []
        for _ in range(n):
            mel, stop_logits, self._state = self._decoder.step(self._frame, self._state, self._memory, self.r)
            self._frame = mel[:, -1]
            mels.append(mel)
            stops.append(stop_logits)
            attention.append(self._state.attended.attention.weights)
        return torch.stack(mels), torch.stack(stops), torch.stack(attention)


class Watched:
    """A loop that calls `watch` before its steps; what that raises ends the speech."""

    def __init__(self, loop: Loop, watch: Callable[[], None]) -> None:
        self.r, self.start, self._loop, self._watch = loop.r, loop.start, loop, watch

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        self._watch()
        return self._loop.steps(n)


class StopDetection:
    """Finds out where each item of a generated batch stops."""

    def __init__(self, unspoken: Tensor, max_frames: Tensor, arrival_frames: int, r: int) -> None:
        """unspoken (B, T) bool: the characters that end the text, and the padding. max_frames (B,)."""
        self.unspoken, self.arrival_frames, self.r = unspoken, arrival_frames, r
        self.max_frames = max_frames.cpu().numpy()
        self.n_frames = 0  # generated so far
        self.lengths = self.max_frames.copy()  # (B,)
        self.stopped = np.zeros(len(self.lengths), bool)
        self.arrived = self.stopped
        self.frames_at_end = np.zeros_like(self.lengths)  # how long the attention has been on the end of the text

    def update(self, stop_logits: Tensor, attention: Tensor) -> int:
        """Take in the stop logits (n, B) and attention (n, B, T) of n steps -> how many of them were needed."""
        at_end = ((attention * self.unspoken).sum(2) > 0.5).cpu().numpy()
        for n, (stops, arrived) in enumerate(zip((stop_logits > 0).cpu().numpy(), at_end, strict=True)):
            if self.all_stopped:
                return n
            self._step(stops, arrived)
        return len(at_end)

    @property
    def all_stopped(self) -> bool:
        return bool((self.lengths <= self.n_frames).all())

    def _step(self, stops: np.ndarray, at_end: np.ndarray) -> None:
        start, self.n_frames = self.n_frames, self.n_frames + self.r
        self.frames_at_end = (self.frames_at_end + self.r) * at_end
        if start > MIN_FRAMES:
            arrives = (self.frames_at_end >= self.arrival_frames) & ~stops & bool(self.arrival_frames)
            stops_now = (stops | arrives) & ~self.stopped & (self.n_frames <= self.max_frames)
            self.lengths[stops_now] = self.n_frames
            self.stopped, self.arrived = self.stopped | stops_now, self.arrived | (arrives & stops_now)


def decode(loop: Loop, memory: Memory, stop: StopDetection) -> tuple[Tensor, Tensor]:
    """Step after step until all items have stopped -> mel (B, S r, n_mels), attention (B, S, T); `stop` then says where."""
    loop.start(memory)
    mels, attention = [], []
    while not stop.all_stopped:
        mel, stop_logits, weights = loop.steps(SPAN)
        n = stop.update(stop_logits, weights)
        mels.append(mel[:n])
        attention.append(weights[:n])
    mel = torch.cat(mels).transpose(0, 1).flatten(1, 2)
    return mel, torch.cat(attention).transpose(0, 1)
