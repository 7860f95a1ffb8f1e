"""The samples of a wave one after another, in plain torch.

R rows (folds generated side by side), T mel frames, C outputs of the distribution.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vocoder.model import State, WaveRNN


class Sampler(Protocol):
    """Generates rows side by side, frame by frame. A row's samples do not depend on the other rows."""

    width: int  # rows at which a step is used to the full

    def start(self, n_rows: int) -> None:
        """New rows, all in silence."""

    def load(self, windows: np.ndarray) -> None:
        """The mels of the next T frames: (R, margin + T + margin, n_mels), see vocoder.config.margin."""

    def frames(self, place: int, uniform: np.ndarray) -> np.ndarray:
        """The next k frames of the first n rows, from frame `place` of the windows on: uniform random numbers (n, k hop, 2),
        float32 in (0, 1] -> levels (n, k hop), float32. n never grows between two starts."""

    def teacher_forced(self, levels: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """After `start` and `load`, levels (n, k) before each of the first k samples of a frame, uniform (n, k, 2) -> the
        outputs (n, k, C), and the levels drawn from them (n, k)."""


class PlainSampler:
    """WaveRNN.predict, called for one sample at a time, on any device."""

    width = 12

    def __init__(self, model: WaveRNN):
        self._model = model
        self._device = model.output.weight.device

    def start(self, n_rows: int) -> None:
        self._level = torch.zeros(n_rows, device=self._device)
        self._state: State | None = None

    @torch.inference_mode()
    def load(self, windows: np.ndarray) -> None:
        config = self._model.config
        outside = len(config.upsample_factors)  # upsample removes the rest of the margin
        fine, aux = self._model.upsample(torch.as_tensor(windows, device=self._device))
        self._fine = fine.transpose(0, 1)[outside * config.hop_length :].contiguous()  # (samples, R, n_mels)
        self._aux = aux.transpose(0, 1)[outside:].contiguous()  # (frames, R, aux_dims)

    @torch.inference_mode()
    def frames(self, place: int, uniform: np.ndarray) -> np.ndarray:
        n_rows, n_samples, _ = uniform.shape
        noise = torch.from_numpy(uniform).to(self._device).permute(1, 2, 0)  # (n_samples, 2, n)
        first, levels = place * self._model.config.hop_length, []
        self._level = self._level[:n_rows]
        for i in range(n_samples):
            outputs = self._step(first + i, self._level)
            self._level = self._model.distribution.sample(outputs, noise[i])
            levels.append(self._level)
        return torch.stack(levels, dim=1).cpu().numpy()

    def teacher_forced(self, levels: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before, noise = torch.from_numpy(levels).to(self._device), torch.from_numpy(uniform).to(self._device)
        outputs = [self._step(i, before[:, i]) for i in range(before.size(1))]
        drawn = [self._model.distribution.sample(each, noise[:, i].t()) for i, each in enumerate(outputs)]
        return torch.stack(outputs, dim=1).cpu().numpy(), torch.stack(drawn, dim=1).cpu().numpy()

    def _step(self, i: int, level: Tensor) -> Tensor:
        """The level before sample i of the windows (n,) -> outputs (n, C)"""
        n, t = len(level), i // self._model.config.hop_length
        state = self._state and tuple(h[:, :n].contiguous() for h in self._state)
        fine, aux = self._fine[i : i + 1, :n], self._aux[t : t + 1, :n]
        outputs, self._state = self._model.predict(level.unsqueeze(0), fine, aux, state)
        return outputs[0]
