"""The plain loop on a CUDA GPU: all steps of a frame are recorded once, as a graph, and launched as one."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from utils.cuda_graph import record
from vocoder.loop import Inputs, State, TorchLoop
from vocoder.model import WaveRNN

ROW_DIMENSIONS = Inputs(first=1, gates2=0, hidden1=0, hidden2=0, uniform=2)


class Recorded(NamedTuple):
    """The tensors that a graph reads and writes in place."""

    inputs: Inputs
    state: State
    levels: Tensor  # (hop, R)
    replay: Callable[[], None]


class GraphLoop(TorchLoop):
    """TorchLoop whose rows stay as many as they were at the start: rows that have ended go on unheard."""

    def __init__(self, model: WaveRNN):
        super().__init__(model)
        self.width = 96  # a launch takes as long for one row
        self._hop = model.config.hop_length
        self._recorded: dict[int, Recorded] = {}  # for each number of rows

    def start(self, n_rows: int) -> None:
        if n_rows not in self._recorded:
            self._recorded[n_rows] = self._record(n_rows)
        self._now = self._recorded[n_rows]
        for tensor in self._now.state:
            tensor.zero_()

    def steps(self, inputs: Inputs) -> Tensor:
        n_rows = len(inputs.gates2)
        for held, given, dim in zip(self._now.inputs, inputs, ROW_DIMENSIONS, strict=True):
            held.narrow(dim, 0, n_rows).copy_(given)
        self._now.replay()
        return self._now.levels[:, :n_rows].clone()

    def _record(self, n: int) -> Recorded:
        m, zeros = self.matrices, self.matrices.level_to_first.new_zeros
        hidden1, hidden2 = (zeros(n, len(bias)) for bias in (m.hidden1_bias, m.hidden2_bias))
        inputs = Inputs(
            zeros(self._hop, n, len(m.first_bias)), zeros(n, len(m.gates2_bias)), hidden1, hidden2, zeros(self._hop, 2, n)
        )
        state = State(zeros(n), zeros(n, self.n_rnn), zeros(n, self.n_rnn))
        levels = zeros(self._hop, n)

        def work() -> None:
            self.state = state
            levels.copy_(TorchLoop.steps(self, inputs))
            for held, after in zip(state, self.state, strict=True):
                held.copy_(after)

        return Recorded(inputs, state, levels, record(work))
