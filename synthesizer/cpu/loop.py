"""The decoder's loop compiled for a CPU: packs the weights once and shares the work out among threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.attention import Memory
from synthesizer.cpu import kernels
from synthesizer.decoder import Decoder, ResidualLSTM
from utils.cpu import vectors


def supports(dtype: torch.dtype) -> bool:
    """Whether this machine has the arithmetic."""
    return dtype == torch.float32 or (dtype == torch.bfloat16 and vectors.HAS_BF16)


class CompiledLoop:
    """Does what synthesizer.generation.TorchLoop does, for a decoder with location-sensitive attention.

    dtype bfloat16 rounds the weights and inputs of the LSTMs and of the layer before them, which are most of what a step
    reads. Sums, states and everything else are float32.
    """

    def __init__(self, decoder: Decoder, r: int, dtype: torch.dtype) -> None:
        self.r, self._n_mels, self._dropout = r, decoder.n_mels, decoder.prenet.dropout
        self._n_threads = torch.get_num_threads()
        self._weights = _packed(decoder, r, dtype == torch.bfloat16)

    def start(self, memory: Memory) -> None:
        lengths = (~memory.padding).sum(1)
        self._text = kernels.Text(_array(memory.keys), _array(memory.values), lengths.numpy())
        self._buffers = _buffers(self._weights, *self._text.values.shape)
        self._n_steps = 0

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        B, T = self._text.keys.shape[:2]
        noise = self._noise(n, B)
        widths = ((B, self.r * self._n_mels), (B,), (B, T))
        outputs = kernels.Outputs(*(np.empty((n, *width), np.float32) for width in widths))
        met = np.zeros(1, np.int64)

        def work(thread: int) -> None:
            kernels.speak(self._weights, self._text, self._buffers, noise, outputs, self._n_steps, thread, self._n_threads, met)

        if self._n_threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(self._n_threads) as pool:
                list(pool.map(work, range(self._n_threads)))
        self._n_steps += n
        mel = torch.from_numpy(outputs.mel).unflatten(2, (self.r, self._n_mels))
        return mel, torch.from_numpy(outputs.stop), torch.from_numpy(outputs.attention)

    def _noise(self, n: int, B: int) -> np.ndarray:
        """The pre-net's dropout masks (n, B, both layers), drawn in the pre-net's order, so that seeds match."""
        sizes = len(self._weights.prenet1_bias), len(self._weights.prenet2_bias)
        steps = [[F.dropout(torch.ones(B, size), self._dropout, training=True) for size in sizes] for _ in range(n)]
        return torch.stack([torch.cat(step, dim=1) for step in steps]).numpy()


def _packed(d: Decoder, r: int, bf16: bool) -> kernels.Weights:
    attention = d.attention
    n_seen, kernel = attention.filters.in_channels, attention.filters.kernel_size[0]
    location = attention.location.weight @ attention.filters.weight.flatten(1)  # (A, n_seen * kernel)
    lstm1, lstm1_bias = _packed_lstm(d.lstm1, bf16)
    lstm2, lstm2_bias = _packed_lstm(d.lstm2, bf16)
    return kernels.Weights(
        prenet1=_pack(d.prenet.first.weight),
        prenet1_bias=_array(d.prenet.first.bias),
        prenet2=_pack(d.prenet.second.weight),
        prenet2_bias=_array(d.prenet.second.bias),
        query=_pack(torch.cat([d.query_prenet.weight, d.query_context.weight], dim=1)),
        query_bias=_array(d.query_prenet.bias),
        query_hidden=_pack(d.query_hidden.weight),
        query_hidden_bias=_array(d.query_hidden.bias),
        attention_query=_pack(attention.query.weight),
        attention_query_bias=_array(attention.query.bias),
        location=_array(location.unflatten(1, (n_seen, kernel)).permute(1, 2, 0)),
        score=_array(attention.score.weight[0]),
        join=_pack(d.join.weight, bf16),
        join_bias=_array(d.join.bias),
        lstm1=lstm1,
        lstm1_bias=lstm1_bias,
        lstm2=lstm2,
        lstm2_bias=lstm2_bias,
        frames=_pack(d.frame_weights(r)),
        stop=_array(d.stop.weight[0]),
        stop_bias=_array(d.stop.bias),
    )


def _packed_lstm(residual: ResidualLSTM, bf16: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias with the four gates of a panel's units side by side; units of zeros fill up the last panel."""
    w, units = residual.lstm, kernels.UNITS
    bias = w.bias_ih_l0 + w.bias_hh_l0
    by_gate = torch.cat([w.weight_ih_l0, w.weight_hh_l0, bias[:, None]], dim=1).unflatten(0, (4, -1))  # (4, C, 2 C + 1)
    filled = F.pad(by_gate, (0, 0, 0, -by_gate.size(1) % units))
    rows = filled.unflatten(1, (-1, units)).transpose(0, 1).flatten(0, 2)  # (panels * 4 * units, 2 C + 1)
    return _pack(rows[:, :-1], bf16), _array(rows[:, -1])


def _buffers(w: kernels.Weights, B: int, T: int, E: int) -> kernels.Buffers:
    """Everything at its state before the first step."""

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def inputs_of(packed: np.ndarray, *times: int) -> np.ndarray:
        return np.zeros((*times, B, packed.shape[1]), packed.dtype)

    n_seen, kernel, A = w.location.shape
    small = max(len(p) for p in (w.prenet1, w.prenet2, w.query, w.query_hidden, w.attention_query, w.frames))
    units = len(w.lstm1) * kernels.UNITS
    return kernels.Buffers(
        frame=inputs_of(w.prenet1),
        prenet=inputs_of(w.prenet2),
        query_in=inputs_of(w.query),
        hidden=zeros(B, A),
        context=zeros(B, E),
        seen=zeros(n_seen, B, T + kernel - 1),
        energies=zeros(B, A),
        join_in=inputs_of(w.join),
        x=zeros(B, units),
        lstm1_in=inputs_of(w.lstm1, 2),
        lstm2_in=inputs_of(w.lstm2, 2),
        cell1=zeros(B, units),
        cell2=zeros(B, units),
        frames_in=inputs_of(w.frames),
        sums1=zeros(B, small * vectors.COLUMNS),
        sums2=zeros(B, small * vectors.COLUMNS),
        gates=zeros(B, max(len(w.lstm1), len(w.join)) * vectors.COLUMNS),
    )


def _pack(weight: Tensor, bf16: bool = False) -> np.ndarray:
    return vectors.pack(_array(weight.t()), bf16)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
