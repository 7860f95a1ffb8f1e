"""Which loop speaks."""

import torch

from synthesizer.compiled_loop import CompiledLoop, can_compile
from synthesizer.decoder import Decoder
from synthesizer.generation import Loop, TorchLoop
from synthesizer.graph import GraphLoop


def fastest_loop(decoder: Decoder, r: int, dtype: torch.dtype = torch.float32) -> Loop:
    """Compiled where that can be, as graphs on a GPU, else in plain torch. dtype: of the products with the largest weights."""
    if can_compile(decoder, dtype):
        return CompiledLoop(decoder, r, dtype)
    return (GraphLoop if decoder.frames.weight.is_cuda else TorchLoop)(decoder, r, dtype)
