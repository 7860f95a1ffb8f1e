"""Random weights in the layout of the published checkpoints (names, shapes, types), the same on every machine.

They are what data/expected.npz was computed with: matrices and convolutions N(0, 1 / fan-in), vectors N(0, 0.1), weights of
batch norms around 1, their running variances U(0.5, 1.5), counters 0; drawn in the order of data/published/<model>.txt.
"""

import numpy as np
import torch

from tests import ROOT

LAYOUTS = ROOT / "tests" / "data" / "published"
CONSTANTS = {"similarity_weight": 10.0, "similarity_bias": -5.0, "stop_threshold": -3.4, "decoder.r": 2.0}


def layout(model: str) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    """Name, shape and type of every entry of a published "encoder", "synthesizer" or "vocoder"."""
    rows = [line.split("\t") for line in (LAYOUTS / f"{model}.txt").read_text().splitlines()]
    return [
        (name, tuple(int(n) for n in shape.strip("()").split(",") if n), getattr(torch, dtype.removeprefix("torch.")))
        for name, shape, dtype in rows
    ]


def published_state(model: str, seed: int = 1) -> dict[str, torch.Tensor]:
    draw = np.random.RandomState(seed)
    return {name: torch.tensor(_values(name, shape, draw), dtype=dtype) for name, shape, dtype in layout(model)}


def _values(name, shape, draw):
    if name in CONSTANTS:
        return np.full(shape, CONSTANTS[name])
    if name == "step" or name.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if name.endswith("running_var"):
        return draw.uniform(0.5, 1.5, shape)
    if len(shape) > 1:
        return draw.randn(*shape) / np.sqrt(np.prod(shape[1:]))
    is_norm = "norm" in name and name.endswith("weight")
    return draw.randn(*shape) * 0.1 + (1.0 if is_norm else 0.0)
