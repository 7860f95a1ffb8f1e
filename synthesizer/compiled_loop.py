"""The loop of synthesizer.kernels.speaking: weights packed once, work shared out among threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from synthesizer.attention import LocationSensitiveAttention, Memory
from synthesizer.decoder import Decoder
from synthesizer.recurrence import ResidualLSTM


def can_compile(decoder: Decoder, dtype: torch.dtype) -> bool:
    """Whether CompiledLoop knows this decoder, and this machine the arithmetic. False without numba."""
    on_cpu = decoder.frames.weight.device.type == "cpu"
    if not (on_cpu and isinstance(decoder.attention, LocationSensitiveAttention)):
        return False
    try:
        from utils.cpu import vectors
    except ImportError:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and vectors.HAS_BF16)


class CompiledLoop:
    """See synthesizer.generation.Loop. In bfloat16 the weights and inputs of the LSTMs and of the layer before them are rounded
    to it, which are nearly all that a step reads; sums, states and everything else are float32."""

    def __init__(self, decoder: Decoder, r: int, dtype: torch.dtype) -> None:
        from synthesizer.kernels import speaking
        from utils.cpu import vectors

        self._speaking, self._pack, self._columns = speaking, vectors.pack, vectors.COLUMNS
        self.r, self.dtype, self._n_mels = r, dtype, decoder.n_mels
        self._start, self._dropout = decoder.start, decoder.prenet.dropout
        self._n_threads = torch.get_num_threads()
        self._weights = self._packed(decoder)

    def start(self, memory: Memory) -> None:
        lengths = (~memory.padding).sum(1)
        self._text = self._speaking.Text(_array(memory.keys), _array(memory.values), lengths.numpy())
        self._buffers = self._rows(*memory.padding.shape)
        self._n_steps = 0

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        w, (B, T) = self._weights, self._text.keys.shape[:2]
        noise = torch.empty(n, B, len(w.prenet1_bias) + len(w.prenet2_bias))
        noise.bernoulli_(1 - self._dropout).div_(1 - self._dropout)
        widths = ((B, self.r * self._n_mels), (B,), (B, T))
        answer = self._speaking.Answer(*(np.empty((n, *width), np.float32) for width in widths))
        met = np.zeros(1, np.int64)

        def work(thread: int) -> None:
            self._speaking.speak(
                w, self._text, self._buffers, noise.numpy(), answer, self._n_steps, thread, self._n_threads, met
            )

        if self._n_threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(self._n_threads) as pool:
                list(pool.map(work, range(self._n_threads)))
        self._n_steps += n
        mel = torch.from_numpy(answer.mel).unflatten(2, (self.r, self._n_mels))
        return mel, torch.from_numpy(answer.stop), torch.from_numpy(answer.attention)

    def _packed(self, d: Decoder) -> tuple:
        rounded = self.dtype == torch.bfloat16
        attention = d.attention
        n_seen, kernel = attention.filters.in_channels, attention.filters.kernel_size[0]
        location = attention.location.weight @ attention.filters.weight.flatten(1)  # (A, what is seen times kernel)
        query = torch.cat([d.query_prenet.weight, d.query_context.weight], dim=1)

        def packed(weight: Tensor, bf16: bool = False) -> np.ndarray:
            return self._pack(_array(weight.t()), bf16)

        lstms = (self._packed_lstm(lstm, rounded) for lstm in (d.lstm1, d.lstm2))
        return self._speaking.Weights(
            packed(d.prenet.first.weight), _array(d.prenet.first.bias),
            packed(d.prenet.second.weight), _array(d.prenet.second.bias),
            packed(query), _array(d.query_prenet.bias),
            packed(d.query_hidden.weight), _array(d.query_hidden.bias),
            packed(attention.query.weight), _array(attention.query.bias),
            _array(location.unflatten(1, (n_seen, kernel)).permute(1, 2, 0)), _array(attention.score.weight[0]),
            packed(d.join.weight, rounded), _array(d.join.bias),
            *(array for lstm in lstms for array in lstm),
            packed(d.frame_weights(self.r)), _array(d.stop.weight[0]), _array(d.stop.bias),
        )  # fmt: skip

    def _packed_lstm(self, residual: ResidualLSTM, bf16: bool) -> tuple[np.ndarray, np.ndarray]:
        """Weights and bias with the four gates of a panel's units side by side; units of zeros fill up the last panel."""
        w, units = residual.lstm, self._columns // 4
        bias = w.bias_ih_l0 + w.bias_hh_l0
        by_gate = torch.cat([w.weight_ih_l0, w.weight_hh_l0, bias[:, None]], dim=1).unflatten(0, (4, -1))  # (4, C, 2 C + 1)
        filled = torch.nn.functional.pad(by_gate, (0, 0, 0, -by_gate.size(1) % units))
        rows = filled.unflatten(1, (-1, units)).transpose(0, 1).flatten(0, 2)  # (panels 4 units, 2 C + 1)
        return self._pack(_array(rows[:, :-1].t()), bf16), _array(rows[:, -1])

    def _rows(self, B: int, T: int) -> tuple:
        """Fresh buffers."""
        w = self._weights

        def zeros(*shape: int) -> np.ndarray:
            return np.zeros(shape, np.float32)

        def inputs_of(packed: np.ndarray, *times: int) -> np.ndarray:
            return np.zeros((*times, B, packed.shape[1]), packed.dtype)

        n_seen, kernel, A = w.location.shape
        small = max(len(p) for p in (w.prenet1, w.prenet2, w.query, w.query_hidden, w.attention_query, w.frames))
        units = len(w.lstm1) * self._columns // 4
        return self._speaking.Buffers(
            frame=inputs_of(w.prenet1), prenet=inputs_of(w.prenet2), query_in=inputs_of(w.query),
            hidden=zeros(B, A), context=zeros(B, self._text.values.shape[2]),
            seen=zeros(n_seen, B, T + kernel - 1), energies=zeros(B, A), join_in=inputs_of(w.join),
            x=zeros(B, units), lstm1_in=inputs_of(w.lstm1, 2), lstm2_in=inputs_of(w.lstm2, 2),
            cell1=zeros(B, units), cell2=zeros(B, units), frames_in=inputs_of(w.frames),
            sums1=zeros(B, small * self._columns), sums2=zeros(B, small * self._columns),
            gates=zeros(B, max(len(w.lstm1), len(w.join)) * self._columns),
        )  # fmt: skip


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
