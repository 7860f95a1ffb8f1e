"""Which loop generates fastest here: found out by trying, once for each size of model."""

import time
from collections.abc import Callable

import numpy as np
import torch

from vocoder.compiled import CompiledLoop, has_bf16
from vocoder.graph import GraphLoop
from vocoder.loop import Loop, TorchLoop, filter_taps, margin, prepare, split
from vocoder.model import SILENCE, WaveRNN

PRECISIONS = ("auto", "fp32", "bf16")
_chosen: dict[tuple[int, ...], Callable[[WaveRNN], Loop]] = {}


def fastest(model: WaveRNN, precision: str = "auto") -> Loop:
    """auto: compiled with bfloat16 products where the CPU has them, else as fp32. fp32: compiled or plain torch, whichever
    is faster. A model on a GPU runs in plain torch, in
    fp32. Raises ValueError for bf16 on a machine that cannot do it."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    on_cpu = model.output.weight.device.type == "cpu"
    if precision != "fp32" and on_cpu and has_bf16():
        return CompiledLoop(model, "bf16")
    if precision == "bf16":
        raise ValueError("bf16 needs a CPU with bfloat16 products (avx512_bf16), and numba")
    if not on_cpu:
        return GraphLoop(model) if model.output.weight.is_cuda else TorchLoop(model)
    key = (model.config.rnn_dims, model.config.fc_dims, model.output.out_features, torch.get_num_threads())
    if key not in _chosen:
        _chosen[key] = _measure(model)
    return _chosen[key](model)


def _compiled_fp32(model: WaveRNN) -> Loop:
    return CompiledLoop(model, "fp32")


def _measure(model: WaveRNN) -> Callable[[WaveRNN], Loop]:
    """The faster of the two loops in fp32, by a few steps of each; well under a second, but for compiling."""
    try:
        compiled = _compiled_fp32(model)
    except ImportError:
        return TorchLoop
    return _compiled_fp32 if _seconds(model, compiled) < _seconds(model, TorchLoop(model)) else TorchLoop


def _seconds(model: WaveRNN, loop: Loop, n_rows: int = 12, n_steps: int = 10) -> float:
    """The fastest of three attempts to take a few steps."""
    taps = filter_taps(model)[:n_steps]
    silence = torch.full((1, 1 + 2 * margin(model, taps), model.config.n_mels), SILENCE)
    tables = prepare(model, split(model), taps, silence)
    loop.load(tables)
    loop.start(n_rows)
    at, uniform = np.zeros(n_rows, np.int64), np.full((n_rows, len(tables.taps), 2), 0.5, np.float32)
    loop.frames(at, uniform)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        loop.frames(at, uniform)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
