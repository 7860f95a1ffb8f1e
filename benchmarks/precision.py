"""`python -m benchmarks.precision vocoder_train.py my_run <data> --fine_tune FILE ...`: how far the gradients of a trainer's
first two batches are from those in fp32, in bf16 and in fp16 with loss scaling. The script takes its own options; nothing is
learned, and nothing is written."""

import contextlib
import importlib
import io
import sys
import tempfile
from typing import Any
from unittest import mock

from benchmarks.gpu import gradient_vector, off
from utils import cli
from utils.errors import UserError

SCRIPTS = ("encoder_train.py", "synthesizer_train.py", "vocoder_train.py")
SCALE = 2.0**14  # of the loss in fp16
LAST = ("--no_visdom", "--max_steps", "2", "--eval_every", "0", "-m")


def gradients(script: str, options: list[str], dtype: Any) -> list[Any]:
    """Of two batches, those of all weights in one float32 vector. dtype None: fp32."""
    import torch

    from utils.training import run
    from utils.training.stepping import MAIN, Stepper

    found, scale, said = [], SCALE if dtype == torch.float16 else 1.0, io.StringIO()

    def step(stepper: Stepper, loss: Any, clip: float, scale_gradients: Any, clipped_apart: Any, name: str) -> Any:
        if name == MAIN:
            (scale * loss).backward()
            found.append(gradient_vector(stepper._trained[MAIN].model, scale))
        for each in stepper._trained.values():
            each.optimizer.zero_grad()
        return loss.detach()

    try:
        with contextlib.ExitStack() as changed:
            enter = changed.enter_context
            enter(contextlib.redirect_stdout(said))
            enter(contextlib.redirect_stderr(said))
            enter(mock.patch.object(Stepper, "step", step))
            enter(mock.patch.object(run, "choose_dtype", lambda precision, device: dtype))
            folder = enter(tempfile.TemporaryDirectory())
            enter(mock.patch.object(sys, "argv", [script, *options, *LAST, folder]))
            importlib.import_module(script.removesuffix(".py")).main()
    except SystemExit:  # its options were not understood
        sys.stderr.write(said.getvalue())
        raise
    return found


def main() -> None:
    script, *options = sys.argv[1:] or [""]
    if script not in SCRIPTS:
        raise UserError(f"give {' or '.join(SCRIPTS)} and its options, not {script!r}", exit_code=2)
    import torch

    first, second = exact = gradients(script, options, None)
    for name, dtype in (("bf16", torch.bfloat16), ("fp16, loss scaled", torch.float16)):
        made = gradients(script, options, dtype)
        print(f"{name}: {' and '.join(map(off, made, exact))} off fp32")
    print(f"the second batch in fp32: {off(second, first)} off the first")


if __name__ == "__main__":
    cli.run(main)
