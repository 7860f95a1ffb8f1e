"""Chooses what draws the samples: the fastest sampler that gives what the model gives."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from utils.models.device import NOT_AVAILABLE, say_slower
from utils.models.fingerprint import Originals
from utils.report_lines import say_once
from vocoder.distribution import LogisticMixture, MuLaw
from vocoder.model import WaveRNN
from vocoder.sampling import PlainSampler, Sampler
from vocoder.upsample import Stretch, Upsample

COMPILED = Originals(WaveRNN, Upsample, Stretch, MuLaw, LogisticMixture, nn.Linear, nn.GRU, nn.Sequential)


@torch.inference_mode()
def accelerate(model: WaveRNN, dtype: torch.dtype | None = None) -> Sampler:
    """The fastest sampler here. Make another when the weights have changed.

    dtype of the recurrent products: float32, bfloat16 on CPUs that have it, or None, the faster one. Raises ValueError for
    bfloat16 where there is none.

    Fast samplers compute WaveRNN.predict and the distribution's sample in their own way. So they are compared with them, and
    are not used if someone has changed those.
    """
    plain, (fast, tried) = PlainSampler(model), _fast(model, dtype)
    trial = _Trial(model)
    outputs, _ = trial.run(plain)
    if not _are_near(outputs, trial.expected, 1e-2):
        say_once("vocoder: WaveRNN.forward and WaveRNN.predict disagree; generation uses predict")
    if fast is None:
        return plain
    fast_outputs, drawn = trial.run(tried)
    computed = [each for name, each in model.named_modules() if not name.startswith("upsample.context")]  # that runs as it is
    is_original = COMPILED.cover(model.distribution, *computed)
    draws_alike = np.isclose(drawn, trial.draw(fast_outputs), atol=1e-3).mean() > 0.9  # a few may fall between two classes
    tolerance = 1e-3 if model.output.weight.device.type == "cpu" else 5e-2  # a GPU multiplies in TF32
    if is_original and draws_alike and _are_near(fast_outputs, outputs, tolerance):
        return fast
    say_slower("the vocoder speaks", "the code of WaveRNN or its distribution was changed")
    return plain


def fuse(model: WaveRNN) -> None:
    """Let a model on a GPU train with fewer and larger kernels; its results stay the same."""
    if model.output.weight.device.type == "cuda":
        try:
            from vocoder.cuda import fuse as fuse_grus
        except NOT_AVAILABLE as error:
            say_slower("the vocoder trains", str(error))
            return
        fuse_grus(model)


def _fast(model: WaveRNN, dtype: torch.dtype | None) -> tuple[Sampler | None, Sampler | None]:
    """A fast sampler if there is one, and its fp32 counterpart, which is compared."""
    device, in_bf16, made = model.output.weight.device.type, False, (None, None)
    try:
        if device == "cuda":
            from vocoder.cuda import GraphSampler

            made = (GraphSampler(model),) * 2
        elif device == "cpu":
            from vocoder.cpu.sampler import HAS_BF16, CompiledSampler

            in_bf16, tried = HAS_BF16 and dtype != torch.float32, CompiledSampler(model, False)
            made = CompiledSampler(model, True) if in_bf16 else tried, tried
    except NOT_AVAILABLE as error:
        say_slower("the vocoder speaks", str(error))
    if dtype == torch.bfloat16 and not in_bf16:
        raise ValueError("bf16 needs a CPU with bfloat16 products (avx512_bf16), and numba")
    return made


def _are_near(outputs: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return bool(np.abs(outputs - expected).max() <= tolerance * np.abs(expected).max())


class _Trial:
    """A few samples of a frame of random mel, with random samples before them."""

    n_rows, n_samples = 3, 8

    def __init__(self, model: WaveRNN) -> None:
        config, rng, device = model.config, np.random.default_rng(0), model.output.weight.device
        mel = rng.uniform(-1, 1, (self.n_rows, 1 + 2 * config.pad, config.n_mels)).astype(np.float32)
        levels = rng.uniform(-1, 1, (self.n_rows, config.hop_length)).astype(np.float32)
        noise = 1 - rng.random((self.n_rows, self.n_samples, 2), dtype=np.float32)
        mels = torch.from_numpy(mel).to(device)
        outputs = model(torch.from_numpy(levels).to(device), mels)[:, : self.n_samples]
        self.expected = outputs.float().cpu().numpy()  # (R, n_samples, C)
        outside = len(config.upsample_factors)
        self._windows = F.pad(mels, (0, 0, outside, outside))
        self._levels, self._noise = levels[:, : self.n_samples], noise[:, : outputs.size(1)]
        self._distribution = model.distribution

    def run(self, sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
        sampler.start(self.n_rows)
        sampler.load(self._windows)
        return sampler.teacher_forced(self._levels, self._noise)

    def draw(self, outputs: np.ndarray) -> np.ndarray:
        """What the distribution draws from outputs (R, n_samples, C)."""
        flat, noise = torch.from_numpy(outputs).flatten(0, 1), torch.from_numpy(self._noise).flatten(0, 1)
        return self._distribution.sample(flat, noise.t()).view(outputs.shape[:2]).numpy()
