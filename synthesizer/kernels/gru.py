"""The recurrence of a bidirectional GRU compiled for this CPU (numba). Imported where it is used: numba need not be installed.

B utterances, T positions, H units of a direction, K inputs of a product; arrays C-contiguous, float32 unless said otherwise.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

from collections.abc import Callable

from numba import njit

from utils.cpu import vectors
from utils.cpu.vectors import keep, multiply, put, sigmoid, tanh, text_of

_vectorised = njit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")


@_vectorised
def _gru(of_inputs, packed, bias, lengths, backwards, hidden, hidden_in, sums, outputs):
    """of_inputs (B, T, 3 H): products of the inputs, their bias included, in the order reset, update, new; packed weights and
    bias (3 H,) of the hidden state. Each row within its own length (B,), from its end on if `backwards`. hidden (B, H) and
    hidden_in (B, K), as the product reads it: zeros; sums (B, columns of 3 H): room. Writes outputs (B, T, H)."""
    B, H = hidden.shape
    for step in range(of_inputs.shape[1]):
        multiply(hidden_in, packed, sums, B)
        for row in range(B):
            if step < lengths[row]:
                t = lengths[row] - 1 - step if backwards else step
                gru(of_inputs[row, t], sums[row], bias, hidden[row])
                outputs[row, t] = hidden[row]
                for j in range(H):
                    put(hidden_in, row, j, hidden[row, j])


@_vectorised
def gru(of_input, of_hidden, bias, hidden):
    """The next hidden state (H,), in place; of_hidden is used up."""
    H = len(hidden)
    for j in range(2 * H):
        of_hidden[j] = sigmoid(of_input[j] + of_hidden[j] + bias[j])
    reset, update, new = of_hidden[:H], of_hidden[H : 2 * H], of_hidden[2 * H : 3 * H]
    for j in range(H):
        new[j] = tanh(of_input[2 * H + j] + reset[j] * (new[j] + bias[2 * H + j]))
    for j in range(H):
        hidden[j] = new[j] + update[j] * (hidden[j] - new[j])


def _kept() -> Callable[..., None]:
    version = text_of(vectors)

    def recurrence(of_inputs, packed, bias, lengths, backwards, hidden, hidden_in, sums, outputs):
        if version:
            _gru(of_inputs, packed, bias, lengths, backwards, hidden, hidden_in, sums, outputs)

    return keep(recurrence)


recurrence = _kept()
