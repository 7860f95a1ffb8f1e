"""The loop of vocoder.kernels: weights packed once, rows shared out among threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vocoder.loop import Matrices, Tables, split
from vocoder.model import WaveRNN


def has_bf16() -> bool:
    """Whether products in bfloat16 can be compiled here."""
    try:
        from utils.cpu import vectors
    except ImportError:  # no numba
        return False
    return vectors.HAS_BF16


class CompiledLoop:
    """See vocoder.loop.Loop. Raises ImportError where numba is missing.

    precision: "fp32", or "bf16" for weights and inputs of the products in the recurrence (sums, states, gates and the
    conditioning are float32 in both), which `has_bf16` must allow.
    """

    def __init__(self, model: WaveRNN, precision: str):
        from utils.cpu import vectors
        from vocoder import kernels

        self._kernels, self._bf16 = kernels, precision == "bf16"
        self._n_threads = torch.get_num_threads()
        self.width = vectors.TILE_ROWS * max(2, self._n_threads)
        self._pack = vectors.pack
        self._weights = self._packed(split(model))
        self._n_mixtures = 0 if model.config.mode == "RAW" else model.config.n_mixtures

    def load(self, tables: Tables) -> None:
        self._tables = self._kernels.Tables(*map(_array, tables))

    def start(self, n_rows: int) -> None:
        self._threads = [range(i, n_rows, self._n_threads) for i in range(min(n_rows, self._n_threads))]
        self._buffers = [self._rows(len(rows)) for rows in self._threads]

    def frames(self, at: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        levels = np.empty(uniform.shape[:2], np.float32)
        hop = len(self._tables.taps)

        def work(thread: int) -> None:
            rows = slice(thread, len(at), self._n_threads)
            if len(at[rows]):
                for k in range(uniform.shape[1] // hop):
                    samples = slice(k * hop, (k + 1) * hop)
                    levels[rows, samples] = self._frame(thread, at[rows] + k, np.ascontiguousarray(uniform[rows, samples]))

        if len(self._threads) == 1:
            work(0)
        else:
            with ThreadPoolExecutor(len(self._threads)) as pool:
                list(pool.map(work, range(len(self._threads))))
        return levels

    def _frame(self, thread: int, at: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        levels = np.empty(uniform.shape[:2], np.float32)
        self._kernels.frame(self._weights, self._tables, self._buffers[thread], at, uniform, levels, self._n_mixtures)
        return levels

    def _packed(self, m: Matrices) -> tuple:
        products = (m.h1_to_gates, m.x_to_gates2, m.h2_to_gates, m.to_hidden1, m.to_hidden2, m.to_output)
        vectors = (m.h1_bias, m.h2_bias, m.output_bias, m.level_to_first)
        return self._kernels.Weights(*(self._pack(_array(p), self._bf16) for p in products), *map(_array, vectors))

    def _rows(self, n: int) -> tuple:
        """Fresh buffers for n rows of one thread."""
        w = self._weights

        def inputs_of(packed: np.ndarray) -> np.ndarray:
            return np.zeros((n, packed.shape[1]), packed.dtype)

        def outputs_of(packed: np.ndarray) -> np.ndarray:
            return np.zeros((n, packed.shape[0] * packed.shape[2]), np.float32)

        n_h = len(w.h1_bias) // 3
        h1, h2, x = (np.zeros((n, n_h), np.float32) for _ in range(3))
        hidden = max((outputs_of(w.to_hidden1), outputs_of(w.to_hidden2)), key=np.size)
        return self._kernels.Buffers(
            np.zeros(n, np.float32), h1, h2, x,
            inputs_of(w.h1_to_gates), inputs_of(w.h2_to_gates), inputs_of(w.x_to_gates2),
            inputs_of(w.to_hidden2), inputs_of(w.to_output),
            outputs_of(w.x_to_gates2), outputs_of(w.h1_to_gates), hidden, outputs_of(w.to_output),
            np.zeros(len(w.output_bias) + self._kernels.BLOCK, np.float32),
        )  # fmt: skip


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
