"""The speaker encoder as an ONNX graph."""

from encoder.model import SpeakerEncoder
from utils.errors import UserError
from utils.export.graph import Graph


def encoder_graph(model: SpeakerEncoder, precision: str) -> Graph:
    """mels (B, T, n_mels) -> embeddings (B, E)"""
    c, g = model.config, Graph("encoder", precision)
    if c.projection_size:
        raise UserError("an encoder with projection_size cannot be exported as ONNX, whose LSTM has no projection")
    x = g.op("Transpose", g.input("mels", ("B", "T", c.n_mels)), perm=[1, 0, 2])  # (T, B, n_mels)
    for layer in range(c.n_layers):
        x = g.op("Squeeze", g.lstm_or_gru(x, [model.lstm], layer), g.ints(1))  # (T, B, hidden)
    last = g.op("Gather", x, g.constant(-1, int))  # (B, hidden)
    raw = g.op("Relu", g.layer(last, model.linear))
    norm = g.op("Add", g.op("ReduceL2", raw, axes=[1], keepdims=1), g.constant(1e-5))
    g.output(g.op("Div", raw, norm), "embeddings", ("B", c.embedding_size))
    return g
