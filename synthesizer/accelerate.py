"""Chooses what is fastest: the loop that runs the decoder when it speaks, and its cells."""

import torch
from torch import Tensor, nn

from synthesizer.attention import LocationSensitiveAttention
from synthesizer.decoder import Decoder, ResidualLSTM
from synthesizer.generation import Loop, TorchLoop
from synthesizer.layers import PreNet, sequence_mask
from synthesizer.model import Tacotron
from utils.models.device import NOT_AVAILABLE, say_slower
from utils.models.fingerprint import Originals

COMPILED = Originals(Decoder, PreNet, ResidualLSTM, LocationSensitiveAttention, nn.Linear, nn.LSTM, nn.Conv1d)
N_STEPS, N_CHARACTERS = 8, 150  # of the comparison
TOLERANCE = 1e-3  # relative; rounding differs by 1e-6, a changed decoder by much more


@torch.no_grad()
def accelerate(model: Tacotron, dtype: torch.dtype | None = None) -> Loop:
    """What model.generate takes as `loop`. Make another when the weights or the model's r have changed.

    dtype of the large products, for a loop that is compiled; None: autocast's.
    """
    decoder, r, device = model.decoder, int(model.r), model.output.weight.device.type
    dtype = dtype or (torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32)
    with torch.autocast(device, enabled=False):
        if device == "cpu":
            return _compiled_loop(decoder, r, dtype) or TorchLoop(decoder, r)
        return _graph_loop(decoder, r) if device == "cuda" else TorchLoop(decoder, r)


def fuse(model: Tacotron) -> None:
    """Let a model on a GPU train and speak with fewer and larger kernels; its results stay the same."""
    if model.output.weight.device.type == "cuda":
        try:
            from synthesizer.cuda import fuse as fuse_cells
        except NOT_AVAILABLE as error:
            say_slower("the synthesizer trains", str(error))
            return
        fuse_cells(model.decoder)


def _compiled_loop(decoder: Decoder, r: int, dtype: torch.dtype) -> Loop | None:
    try:
        from synthesizer.cpu.loop import CompiledLoop, supports
    except NOT_AVAILABLE as error:
        say_slower("the synthesizer speaks", str(error))
        return None
    if not supports(dtype):
        return None
    is_original = COMPILED.cover(*decoder.modules())
    if not is_original or not _agrees(CompiledLoop(decoder, r, torch.float32), TorchLoop(decoder, r), decoder):
        say_slower("the synthesizer speaks", "the decoder's code was changed")
        return None
    return CompiledLoop(decoder, r, dtype)


def _graph_loop(decoder: Decoder, r: int) -> Loop:
    try:
        from synthesizer.cuda import GraphLoop, fuse
    except NOT_AVAILABLE as error:
        say_slower("the synthesizer speaks", str(error))
        return TorchLoop(decoder, r)
    fuse(decoder)
    return GraphLoop(decoder, r)


def _agrees(loop: Loop, plain: Loop, decoder: Decoder) -> bool:
    """Whether both loops give the same output for random inputs, dropout included."""
    said = []
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        values = torch.randn(2, N_CHARACTERS, decoder.query_context.in_features)
        lengths = torch.tensor([N_CHARACTERS, N_CHARACTERS // 2])
        memory = decoder.attention.prepare(values, sequence_mask(lengths, N_CHARACTERS))
        for each in (loop, plain):
            torch.manual_seed(1)
            each.start(memory)
            said.append(each.steps(N_STEPS))
    return all(_is_near(a, b) for a, b in zip(*said, strict=True))


def _is_near(a: Tensor, b: Tensor) -> bool:
    """Broken weights give NaN in both, though not always in the same places."""
    return bool((a - b).norm() <= TOLERANCE * b.norm() or (a.isnan().any() and b.isnan().any()))
