"""The sampling loop: everything that does not depend on samples computed beforehand, one short chain of products a sample.

Faster back ends belong here; they take and return what `generate` does.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from utils import audio
from vocoder.fold import crossfade, fold, unfold
from vocoder.model import N_AUX, SILENCE, State, WaveRNN, pad_mels

Progress = Callable[[int, int, int, float], None]  # samples done, samples in all, folds, speed in kHz (all folds together)


class Prepared(NamedTuple):
    """The conditioning's share of one frame's products, biases included; G = 3 H gates."""

    x: Tensor  # (hop, B, H) input layer, for each sample
    gates1: Tensor  # (hop, B, G) first GRU, for each sample
    gates2: Tensor  # (B, G) second GRU, the same for the whole frame, like the following
    hidden1: Tensor  # (B, fc_dims)
    hidden2: Tensor  # (B, fc_dims)


class Loop:
    """WaveRNN's weights as the loop wants them. The input layer is linear, so the first GRU's input product collapses
    into what the conditioning gives plus one vector times the previous level."""

    def __init__(self, model: WaveRNN):
        self.upsample = model.upsample
        self.sample = model.distribution.sample
        self.pad = model.config.pad
        self.n_rnn = model.config.rnn_dims
        n_fc = model.config.fc_dims
        gru1, gru2, layer = model.gru1, model.gru2, model.input
        self.level_to_x = layer.weight[:, :1].t().contiguous()  # (1, H)
        self.conditioning_to_x = layer.weight[:, 1:].t().contiguous()  # (n_mels + aux, H)
        self.x_bias = layer.bias
        into_gates = gru1.weight_ih_l0.t()  # (H, G)
        self.level_to_gates = self.level_to_x @ into_gates  # (1, G)
        self.conditioning_to_gates = self.conditioning_to_x @ into_gates  # (n_mels + aux, G)
        self.gates1_bias = layer.bias @ into_gates + gru1.bias_ih_l0
        self.h1_to_gates, self.h1_bias = gru1.weight_hh_l0.t(), gru1.bias_hh_l0
        self.x_to_gates2, self.aux_to_gates2 = _split(gru2.weight_ih_l0, self.n_rnn)
        self.gates2_bias = gru2.bias_ih_l0
        self.h2_to_gates, self.h2_bias = gru2.weight_hh_l0.t(), gru2.bias_hh_l0
        self.to_hidden1, self.aux_to_hidden1 = _split(model.hidden1.weight, self.n_rnn)
        self.to_hidden2, self.aux_to_hidden2 = _split(model.hidden2.weight, n_fc)
        self.hidden1_bias, self.hidden2_bias = model.hidden1.bias, model.hidden2.bias
        self.to_output, self.output_bias = model.output.weight.t().contiguous(), model.output.bias

    def prepare(self, mel: Tensor) -> Prepared:
        """One frame with its surroundings, (B, 1 + 2 pad, n_mels)"""
        fine, aux = self.upsample(mel)  # (B, hop, n_mels), (B, 1, aux_dims)
        aux1, aux2, aux3, aux4 = aux.chunk(N_AUX, dim=-1)
        conditioning = torch.cat([fine, aux1.expand(-1, fine.size(1), -1)], dim=-1).transpose(0, 1)  # (hop, B, n_mels + aux)
        return Prepared(
            x=conditioning @ self.conditioning_to_x + self.x_bias,
            gates1=conditioning @ self.conditioning_to_gates + self.gates1_bias,
            gates2=torch.addmm(self.gates2_bias, aux2[:, 0], self.aux_to_gates2),
            hidden1=torch.addmm(self.hidden1_bias, aux3[:, 0], self.aux_to_hidden1),
            hidden2=torch.addmm(self.hidden2_bias, aux4[:, 0], self.aux_to_hidden2),
        )

    def step(self, level: Tensor, x: Tensor, gates1: Tensor, frame: Prepared, state: State) -> tuple[Tensor, State]:
        """level (B,), x (B, H) and gates1 (B, G) of this sample -> outputs (B, C), next state. As WaveRNN.step."""
        level = level.unsqueeze(-1)  # (B, 1)
        x = torch.addcmul(x, level, self.level_to_x)
        gates1 = torch.addcmul(gates1, level, self.level_to_gates)
        h1 = self._gru(gates1, torch.addmm(self.h1_bias, state.h1, self.h1_to_gates), state.h1)
        x = x + h1
        gates2 = torch.addmm(frame.gates2, x, self.x_to_gates2)
        h2 = self._gru(gates2, torch.addmm(self.h2_bias, state.h2, self.h2_to_gates), state.h2)
        x = x + h2
        x = torch.addmm(frame.hidden1, x, self.to_hidden1).relu_()
        x = torch.addmm(frame.hidden2, x, self.to_hidden2).relu_()
        return torch.addmm(self.output_bias, x, self.to_output), State(h1, h2)

    def _gru(self, from_input: Tensor, from_state: Tensor, h: Tensor) -> Tensor:
        """Reset, update and new gates (Cho et al. 2014, as torch orders them), from the two products (B, G)."""
        n = self.n_rnn
        reset, update = (from_input[:, : 2 * n] + from_state[:, : 2 * n]).sigmoid_().chunk(2, dim=-1)
        new = torch.addcmul(from_input[:, 2 * n :], reset, from_state[:, 2 * n :]).tanh_()
        return torch.lerp(new, h, update)


def _split(weight: Tensor, n_first: int) -> tuple[Tensor, Tensor]:
    """Weight (out, n_first + rest) of a product with two concatenated inputs -> (n_first, out), (rest, out)"""
    return weight[:, :n_first].t().contiguous(), weight[:, n_first:].t().contiguous()


@torch.inference_mode()
def generate(model: WaveRNN, mel: Tensor, seed: int, progress: Progress | None = None) -> Tensor:
    """mel (B, T + 2 pad, n_mels), normalised and padded -> levels (B, T hop); rows are generated side by side.

    The noise comes from a generator of its own on the CPU: a seed gives the same draws on every device.
    """
    batch, n_frames = mel.size(0), mel.size(1) - 2 * model.config.pad
    hop = model.config.hop_length
    loop = Loop(model)
    noise = torch.Generator().manual_seed(seed)
    state = model.initial_state(batch)
    level = mel.new_zeros(batch)  # silence before the first sample
    levels = mel.new_empty(n_frames * hop, batch)
    start = time.perf_counter()
    for t in range(n_frames):
        frame = loop.prepare(mel[:, t : t + 1 + 2 * loop.pad])
        uniform = (1 - torch.rand(hop, 2, batch, generator=noise)).to(mel)  # in (0, 1]
        for i in range(hop):
            outputs, state = loop.step(level, frame.x[i], frame.gates1[i], frame, state)
            level = loop.sample(outputs, uniform[i])
            levels[t * hop + i] = level
        if progress is not None:
            done = (t + 1) * hop
            progress(done, n_frames * hop, batch, done * batch / (time.perf_counter() - start) / 1000)
    return levels.t()


def generate_wave(
    model: WaveRNN,
    mel: Tensor,
    preemphasis: float,
    target: int | None,
    overlap: int,
    seed: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """mel (T, n_mels), normalised -> float32 wave (T hop,).

    Long mels are cut into folds of about `target` samples between overlaps of `overlap`, both rounded up to whole frames,
    which are generated side by side and crossfaded; without a target there is one long pass. Silence is added around the
    mel, so that the first fold too has a warm-up that can be cut off.
    """
    hop, pad = model.config.hop_length, model.config.pad
    around = -(-overlap // hop)  # frames
    between = -(-target // hop) if target is not None else len(mel)
    n_folds = -(-(len(mel) + around) // (between + around))
    if n_folds < 2:
        levels = generate(model, pad_mels([mel], pad), seed, progress)
        wave = model.distribution.decode(levels[0].cpu().numpy())
    else:
        between = max(0, -(-(len(mel) + around) // n_folds) - around)  # all folds alike, none mostly empty
        missing = -(len(mel) + around) % (between + around)
        padded = F.pad(mel, (0, 0, around + pad, around + pad + missing), value=SILENCE)
        levels = generate(model, fold(padded[None], between, around, context=pad), seed, progress)
        pieces = model.distribution.decode(levels.cpu().numpy())  # (n_folds, (between + 2 around) hop)
        wave = unfold(pieces, *crossfade(around * hop))[around * hop : (around + len(mel)) * hop]
    return audio.deemphasize(wave, preemphasis)
