"""Replaces layers of the encoder by faster ones with the same parameters and results."""

from torch import nn


def accelerate(model: nn.Module) -> None:
    """Make each nn.LSTM in the model, though no subclass of it, train faster in bfloat16 on a CPU. Works in place."""
    try:
        from encoder.cpu.lstm import FastLSTM
    except Exception:  # without numba, or without the folder, plain torch does it
        return
    for module in model.modules():
        if type(module) is nn.LSTM:
            module.__class__ = FastLSTM
