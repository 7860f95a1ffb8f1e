"""Device, ranks, precision and random number state of a run."""

import atexit
import contextlib
import functools
import gc
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed.nn.functional  # if torch._dynamo imported it later, its defaults would keep the process group alive
from torch import nn

from utils.config import PRECISIONS
from utils.data.memory import keep_all_freed_memory
from utils.errors import UserError
from utils.report_lines import say_once

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def join_ranks(cpu: bool, timeout: float) -> tuple[int, int, torch.device]:
    """Rank, number of ranks and device, from the environment that torchrun sets. timeout: seconds to wait for other ranks."""
    world_size, rank, local_rank = (int(os.environ.get(n, d)) for n, d in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))
    use_gpu = torch.cuda.is_available() and not cpu
    device = torch.device("cuda", local_rank) if use_gpu else torch.device("cpu")
    if use_gpu:
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32 for what autocast leaves in fp32
    else:
        keep_all_freed_memory()
    if world_size > 1:
        # Longer than that, as utils.training.peers then says which rank it was.
        patience = timedelta(seconds=timeout + 60)
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if use_gpu else "gloo", timeout=patience)
        atexit.register(leave_ranks)
    return rank, world_size, device


def leave_ranks() -> None:
    """End the threads that talk to other ranks, at the end of the process.

    They live as long as a model that uses them, hence the garbage collection. A thread that frees a tensor after the end of the
    interpreter aborts the process, and torchrun then kills the other ranks.
    """
    gc.collect()
    torch.distributed.destroy_process_group()
    gc.collect()


NOT_AVAILABLE = (ImportError, OSError)  # a fast path's folder, numba or a library of its is not there, or does not load


@functools.cache
def say_slower(what: str, reason: str) -> None:
    """One line, once in a process. what: "the synthesizer speaks", for example."""
    say_once(f"{what} in plain torch, slower: {reason}".split("\n")[0])


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware supports bfloat16, instead of emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # undocumented, so possibly missing
    return any(getattr(torch.cpu, name, bool)() for name in questions)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype of autocast for "auto", "fp32", "bf16" or "fp16"; None for no autocast.

    auto: fp16 on a GPU, where it is as fast as bf16 and, its loss scaled, nearer to fp32 (docs/gpu.md); bf16 on a CPU that
    computes in it, else fp32.
    """
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "bf16" if computes_bf16(device) else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; use bf16 or fp32 on a CPU", exit_code=2)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    return DTYPES.get(precision)


def rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of torch's random number generators."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restore what rng_state returned."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


@contextlib.contextmanager
def evaluating(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards modules and random numbers are as before."""
    state = rng_state(device)
    modes = [(module, module.training) for module in model.modules()]  # frozen batch norms are in evaluation mode already
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        set_rng_state(state, device)
