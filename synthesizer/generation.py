"""Speaking freely: the decoder's steps one after another until every utterance of a batch has ended.

Shapes: B utterances, T characters, r frames in each step.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from synthesizer.attention import Memory
from synthesizer.decoder import Decoder

MIN_FRAMES = 10  # the stop output is heeded only in steps that start after this frame
SPAN = 8  # steps after which it is seen whether all have ended


class Spoken(NamedTuple):
    """S steps."""

    mel: Tensor  # (B, S r, n_mels)
    attention: Tensor  # (B, S, T)


class Loop(Protocol):
    """Steps of a decoder whose weights do not change. A row's answers do not depend on the other rows."""

    r: int

    def start(self, memory: Memory) -> None:
        """New utterances, from their first step on."""

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The next n steps -> mel (n, B, r, n_mels), stop logits (n, B), attention (n, B, T)"""


class TorchLoop:
    """The loop in plain torch, on any device and for any attention."""

    def __init__(self, decoder: Decoder, r: int, dtype: torch.dtype) -> None:
        self.r, self._decoder, self._dtype = r, decoder, dtype

    def start(self, memory: Memory) -> None:
        B = memory.values.size(0)
        self._memory, self._state = memory, self._decoder.start(memory)
        self._weights = self._decoder.step_weights(B, self.r, self._dtype)
        self._frame = memory.values.new_zeros(B, self._decoder.n_mels)

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        mels, stops, attention = [], [], []
        for _ in range(n):
            mel, stop_logits, self._state = self._decoder.step(self._frame, self._state, self._memory, self._weights)
            self._frame = mel[:, -1]
            mels.append(mel)
            stops.append(stop_logits)
            attention.append(self._state.attended.attention.weights)
        return torch.stack(mels), torch.stack(stops), torch.stack(attention)


class Ends:
    """Where each item of a batch that is generated ends."""

    def __init__(self, unspoken: Tensor, max_frames: Tensor, arrival_frames: int, r: int) -> None:
        """unspoken (B, T) bool: the characters that end the text, and the padding. max_frames (B,)."""
        self.unspoken, self.arrival_frames, self.r = unspoken, arrival_frames, r
        self.max_frames = max_frames.cpu().numpy()
        self.n_frames = 0  # generated so far
        self.lengths = self.max_frames.copy()  # (B,)
        self.stopped = np.zeros(len(self.lengths), bool)
        self.arrived = self.stopped
        self.frames_at_end = np.zeros_like(self.lengths)  # for how long the attention has been there

    def update(self, stop_logits: Tensor, attention: Tensor) -> int:
        """After several steps, with their stop logits (n, B) and attention (n, B, T) -> how many of them were needed."""
        at_end = ((attention * self.unspoken).sum(2) > 0.5).cpu().numpy()
        for n, (stops, arrived) in enumerate(zip((stop_logits > 0).cpu().numpy(), at_end, strict=True)):
            if self.all_reached:
                return n
            self._step(stops, arrived)
        return len(at_end)

    @property
    def all_reached(self) -> bool:
        return bool((self.lengths <= self.n_frames).all())

    def _step(self, stops: np.ndarray, at_end: np.ndarray) -> None:
        begin, self.n_frames = self.n_frames, self.n_frames + self.r
        self.frames_at_end = (self.frames_at_end + self.r) * at_end
        if begin > MIN_FRAMES:
            arrives = (self.frames_at_end >= self.arrival_frames) & ~stops & bool(self.arrival_frames)
            ends_now = (stops | arrives) & ~self.stopped & (self.n_frames <= self.max_frames)
            self.lengths[ends_now] = self.n_frames
            self.stopped, self.arrived = self.stopped | ends_now, self.arrived | (arrives & ends_now)


def speak(loop: Loop, memory: Memory, ends: Ends) -> Spoken:
    """Step after step until all items have ended; `ends` then tells where."""
    loop.start(memory)
    mels, attention = [], []
    while not ends.all_reached:
        mel, stop_logits, weights = loop.steps(SPAN)
        n = ends.update(stop_logits, weights)
        mels.append(mel[:n])
        attention.append(weights[:n])
    mel = torch.cat(mels).transpose(0, 1).flatten(1, 2)
    return Spoken(mel, torch.cat(attention).transpose(0, 1))
