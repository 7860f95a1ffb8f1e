"""`python -m benchmarks.gpu`: is everything right on this GPU, and how fast? On a GPU it ends within four minutes.

Prints as it goes; with --write, the tables go into docs/gpu.md. Without a GPU it runs the checks that a CPU can.
"""

import argparse
import contextlib
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from utils import cli
from utils.errors import UserError

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gpu.md"
MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")
CHECKS = (  # what a CPU cannot check comes first
    "test_gpu",
    "synthesizer/test_cuda_graphs",
    "training/test_cuda_kernels",
    "training/test_cuda_gru",
    "training/test_memory",
    "training/test_precision",
)
SECONDS = 1.5  # of measuring for each figure, after a warm-up
SECONDS_IN_ALL, SECONDS_OF_CHECKS = 200, 110  # on a GPU, when the last figure is begun


class Sizes(NamedTuple):
    """What is measured; on a CPU everything is tiny, to try the command."""

    ge2e: tuple[int, int, int] = (64, 10, 160)  # speakers, utterances, frames
    embedded: int = 20  # utterances
    tacotron: tuple[int, int, int] = (12, 100, 500)  # utterances, characters, frames
    wavernn: tuple[int, ...] = (100, 256, 512)  # crops
    crop: int = 1000  # samples
    trained: int = 200  # steps of the trainer
    trained_in: float = 30.0  # seconds at most, for the trainer's process
    speech: int = 800  # frames of 12.5 ms
    sentence: int = 400  # frames
    product: int = 8192


TINY = Sizes((2, 2, 20), 2, (2, 10, 20), (8,), 200, 8, 600.0, 8, 8, 64)


class Training:
    """The parts of a Run that a training step needs."""

    def __init__(self, model: Any, precision: str, clip: float) -> None:
        import torch

        from utils.training.stepping import MAIN, Stepper, Trained

        self.device, self._clip = next(model.parameters()).device, clip
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
        scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self._stepper = Stepper({MAIN: Trained(model, self.optimizer)}, scaler, same_loss_on_all_ranks=True)
        self.abandon_step = self._stepper.abandon

    def autocast(self) -> contextlib.AbstractContextManager:
        import torch

        return torch.autocast(self.device.type, self._dtype) if self._dtype else contextlib.nullcontext()

    def optimize(self, loss: Any, clip: float, clipped_apart: Any = ()) -> Any:
        return self._stepper.step(loss, clip, clipped_apart=clipped_apart)

    def step_on(self, loss_of: Callable[[], Any]) -> None:
        self._stepper.remember()
        with self.autocast():
            loss = loss_of()
        self.optimize(loss, self._clip)


def seconds(work: Callable[[], Any]) -> float:
    """Median, after a warm-up of two calls."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    for _ in range(2):
        work()
    wait()
    taken, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(taken) < 3:
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def encoder_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    import torch

    from benchmarks.encoder import embeddings
    from benchmarks.plain_steps import PlainGE2E, train_step
    from encoder.config import EncoderConfig
    from encoder.model import EncoderWithLoss

    mels, name = torch.rand(*sizes.ge2e, 40, device=device), "GE2E step, " + " x ".join(map(str, sizes.ge2e))
    plain = PlainGE2E().to(device)
    yield f"{name}, plain", f"{seconds(train_step(list(plain.parameters()), lambda: plain(mels), 3.0)):.4f} s"
    for precision in precisions(device):
        model = EncoderWithLoss(EncoderConfig()).to(device)
        training = Training(model, precision, 3.0)
        yield f"{name}, {precision}", f"{seconds(partial(training.step_on, partial(model, mels))):.4f} s"
    yield f"embedding {sizes.embedded} utterances", embeddings(n=sizes.embedded)


def synthesizer_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    import torch

    from benchmarks.plain_steps import PlainTacotron, train_step
    from synthesizer.accelerate import fuse
    from synthesizer.config import NEW_MODEL, SynthesizerTraining
    from synthesizer.dataset import Batch
    from synthesizer.model import Tacotron
    from synthesizer.train import learn_from
    from utils.training.accelerate import recorded_step

    n, n_symbols, n_frames = sizes.tacotron
    text = torch.randint(2, 60, (n, n_symbols), device=device)
    lengths = text.new_full((n,), n_symbols), text.new_full((n,), n_frames)
    mels, speakers = torch.rand(n, n_frames, 80, device=device) * 8 - 4, torch.rand(n, 256, device=device)
    ends = torch.linspace(1, n_frames, n_symbols, device=device).expand(n, -1).contiguous()
    batch = Batch(text, lengths[0], mels, lengths[1], speakers, ends)
    name = f"Tacotron step, {n} x {n_symbols} x {n_frames}, r 2"
    plain = PlainTacotron(Tacotron(NEW_MODEL)).to(device)
    yield f"{name}, plain", f"{seconds(train_step(list(plain.parameters()), lambda: plain(*batch.inputs, 2), 1.0)):.3f} s"
    for precision in precisions(device):
        model = Tacotron(NEW_MODEL).to(device)
        fuse(model)
        training = Training(model, precision, 1.0)
        step = partial(learn_from, training, model, model, SynthesizerTraining(), None)
        yield f"{name}, {precision}", f"{seconds(lambda step=step: step(batch, (1.0,), 2, True)):.3f} s"
        graphs = recorded_step(training, step, training.optimizer)
        if graphs:
            took, held = with_memory(lambda graphs=graphs: seconds(lambda: graphs(batch, (1.0,), 2, True)))
            yield f"{name}, {precision}, CUDA graph", f"{took:.3f} s, {held}"


def vocoder_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    import torch

    from benchmarks.plain_steps import PlainWaveRNN, train_step
    from utils.training.accelerate import recorded_step
    from vocoder.accelerate import fuse
    from vocoder.dataset import Batch
    from vocoder.model import WaveRNN, WaveRNNConfig
    from vocoder.train import learn_from

    ways = {"": lambda model: None, ", as trained": fuse}
    if device.type == "cuda":
        from vocoder.cuda import overlapped

        ways[", two streams"] = lambda model: setattr(model, "recurrence", overlapped)
    for n in sizes.wavernn:
        levels, mel = (torch.rand(n, *size, device=device) * 2 - 1 for size in ((sizes.crop,), (sizes.crop // 200 + 4, 80)))
        batch = Batch(mel, levels, torch.randint(512, levels.shape, device=device))
        if n == sizes.wavernn[0]:
            plain = PlainWaveRNN(WaveRNN(WaveRNNConfig()).to(device))
            took = seconds(train_step(list(plain.parameters()), partial(plain, levels, mel, batch.targets), 4.0))
            yield f"WaveRNN step, {n} x {sizes.crop:,}, plain", f"{took:.4f} s"
        for precision in precisions(device) if n == sizes.wavernn[0] else precisions(device)[-1:]:
            for how, prepare in ways.items():
                model = WaveRNN(WaveRNNConfig()).to(device)
                prepare(model)
                training = Training(model, precision, 4.0)
                step = partial(learn_from, training, model, 4.0)
                graphs = recorded_step(training, step, training.optimizer)
                for launched, each in ((how, step), (f"{how}, CUDA graph", graphs)):
                    if each:
                        took = seconds(partial(each, batch, ()))
                        speed = f"{levels.numel() / took / 1e6:.2f} million samples a second"
                        yield f"WaveRNN step, {n} x {sizes.crop:,}, {precision}{launched}", f"{took:.4f} s, {speed}"


def speaking_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    import torch

    from benchmarks.plain_wavernn import PlainLoop
    from synthesizer.accelerate import accelerate as loop_of
    from synthesizer.config import NEW_MODEL
    from synthesizer.model import Tacotron
    from utils.data.mel_format import MelFormat
    from vocoder.accelerate import accelerate as sampler_of
    from vocoder.fold import Generator
    from vocoder.model import WaveRNN, WaveRNNConfig

    vocoder = WaveRNN(WaveRNNConfig()).to(device).eval()
    generator, mel = Generator(vocoder, sampler_of(vocoder)), torch.rand(sizes.speech, 80) * 2 - 1
    length = sizes.speech / 80
    stream = partial(generator.stream, mel.numpy(), MelFormat(), 8000, 600, seed=0)
    plain = PlainLoop(vocoder, mel.to(device))
    n_steps = plain.n_steps // 50
    took = seconds(lambda: plain.run(n_steps)) / n_steps * plain.n_steps
    yield f"WaveRNN speaks {length:g} s", f"{seconds(lambda: list(stream())):.2f} s"
    yield f"WaveRNN speaks {length:g} s, plain", f"{took:.1f} s"
    yield "WaveRNN's first audio", f"{seconds(lambda: next(stream())):.3f} s"
    synthesizer = Tacotron(NEW_MODEL).to(device).eval()
    torch.nn.init.constant_(synthesizer.decoder.stop.bias, -100)  # random weights stop anywhere
    for n in (1, 16):
        text = torch.randint(2, 60, (n, 80), device=device)
        inputs = text, text.new_full((n,), 80), torch.rand(n, 256, device=device), text.new_full((n,), sizes.sentence)
        if n == 1:  # before its cells are fused
            took = seconds(lambda inputs=inputs: synthesizer.generate(*inputs))
            yield f"Tacotron speaks {sizes.sentence} frames, plain", f"{took:.3f} s"
        loop = loop_of(synthesizer)
        took = seconds(lambda inputs=inputs, loop=loop: synthesizer.generate(*inputs, loop=loop))
        yield f"Tacotron speaks {sizes.sentence} frames, {n} sentences", f"{took:.3f} s"


def limit_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    import torch

    for name, dtype in (("fp32 (TF32)", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        a = torch.rand(sizes.product, sizes.product, device=device, dtype=dtype)
        yield f"product {sizes.product}^3, {name}", f"{2 * sizes.product**3 / seconds(lambda a=a: a @ a) / 1e12:.3g} TFLOP/s"
    a = torch.rand(sizes.product, sizes.product, device=device)
    b = torch.empty_like(a)
    yield "copying", f"{2 * a.nbytes / seconds(lambda: b.copy_(a)) / 1e12:.2f} TB/s"


def gradient_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    """How far the gradients of a precision are from fp32's: the norm of the difference over the norm, all weights together."""
    import torch

    from encoder.config import EncoderConfig
    from encoder.model import EncoderWithLoss
    from synthesizer.config import TacotronConfig
    from synthesizer.model import Tacotron
    from vocoder.model import WaveRNN, WaveRNNConfig

    torch.manual_seed(0)
    n, n_symbols, n_frames = sizes.tacotron
    text = torch.randint(2, 60, (n, n_symbols), device=device)
    lengths = text.new_full((n,), n_symbols), text.new_full((n,), n_frames)
    mels = torch.rand(n, n_frames, 80, device=device) * 8 - 4
    tacotron = Tacotron(TacotronConfig(prenet_dropout=0.0, zoneout=0.0)).to(device)
    inputs = text, lengths[0], mels, lengths[1], torch.rand(n, 256, device=device), 2
    wavernn, crops = WaveRNN(WaveRNNConfig()).to(device), torch.rand(sizes.wavernn[0], sizes.crop, device=device) * 2 - 1
    labels = torch.randint(512, crops.shape, device=device)
    context = torch.rand(len(crops), sizes.crop // 200 + 4, 80, device=device) * 2 - 1
    ge2e, speech = EncoderWithLoss(EncoderConfig()).to(device), torch.rand(*sizes.ge2e, 40, device=device)
    losses = {
        "GE2E": (ge2e, lambda: ge2e(speech)),
        "Tacotron": (tacotron, lambda: (tacotron(*inputs).after.float() - mels).abs().mean()),
        "WaveRNN": (wavernn, lambda: wavernn(crops, context, labels)),
    }
    for name, (model, loss_of) in losses.items():
        exact = gradient(model, loss_of, None)
        for dtype in (torch.bfloat16, torch.float16)[: 2 if device.type == "cuda" else 1]:
            found = off(gradient(model, loss_of, dtype), exact)
            yield f"gradient of {name}, {str(dtype).removeprefix('torch.')}", f"{found} off fp32"


def gradient(model: Any, loss_of: Callable[[], Any], dtype: Any) -> Any:
    """All gradients in one vector, in float32; fp16 with its loss scaled."""
    import torch

    device, scale = next(model.parameters()).device.type, 2.0**12 if dtype == torch.float16 else 1.0
    model.zero_grad()
    with torch.autocast(device, dtype) if dtype else contextlib.nullcontext():
        loss = loss_of()
    (scale * loss).backward()
    return gradient_vector(model, scale)


def gradient_vector(model: Any, scale: float) -> Any:
    """All gradients of a scaled loss in one float32 vector, as those of the loss itself."""
    import torch

    return torch.cat([p.grad.float().flatten() / scale for p in model.parameters() if p.grad is not None])


def off(one: Any, other: Any) -> str:
    """How far a vector is from another, beside it."""
    return f"{((one - other).norm() / other.norm()).item():.2%}"


def precisions(device: Any) -> list[str]:
    from utils.models.device import computes_bf16

    return ["fp32", *(["bf16"] if computes_bf16(device) else []), *(["fp16"] if device.type == "cuda" else [])]


def with_memory(work: Callable[[], float]) -> tuple[float, str]:
    """What `work` returns, and the most memory that the process holds on the GPU meanwhile."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return work(), f"{torch.cuda.max_memory_reserved() / 1e9:.1f} GB"


def write(rows: list[tuple[str, str]], title: str) -> None:
    table = "\n".join(f"| {name} | {figure} |" for name, figure in [("what", "measured"), ("---", "---"), *rows])
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n{title}\n\n{table}\n{MARKS[1]}{after}", encoding="utf-8")


def pattern(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser("Check that everything is right on this GPU, and measure how fast it is.", "python -m benchmarks.gpu")
    parser.add_argument("--no_checks", action="store_true", help="measure at once, without the tests")
    either = parser.add_mutually_exclusive_group()  # the page gets all figures or none
    either.add_argument("--only", type=pattern, default="", metavar="RE", help="measure the parts with this in their names")
    either.add_argument("--write", action="store_true", help=f"put the figures into {PAGE.relative_to(ROOT)}")
    return parser.parse_args()


def check(until: float) -> list[str] | None:
    """What failed of the tests; None without pytest. Each file has a process of its own, as one may spoil the GPU's state for
    the others."""
    try:
        import pytest  # noqa: F401
    except ImportError:
        print("no pytest here: nothing is checked")
        return None
    failed = []
    for name in CHECKS:
        left = None if math.isinf(until) else max(1.0, until - time.perf_counter())
        options = ["-q", "-rfEs", "--tb=line", "-p", "no:cacheprovider"]
        try:
            command = [sys.executable, "-m", "pytest", *options, f"tests/{name}.py"]
            code = subprocess.run(command, cwd=ROOT, timeout=left).returncode
        except subprocess.TimeoutExpired:
            code = "did not end in time"
        if code:
            failed.append(f"{name} ({code})")
    return failed


def measure(parts: list[Callable], device: Any, sizes: Sizes, until: float) -> tuple[list[tuple[str, str]], list[str]]:
    """The figures, and which parts failed. What is left when time is up is named too."""
    rows, failed = [], []
    for part in parts:
        try:
            if time.perf_counter() > until:
                raise TimeoutError("no time left")
            for name, figure in part(device, sizes):
                rows.append((name, figure))
                print(f"{name}: {figure}", flush=True)
                if time.perf_counter() > until:
                    raise TimeoutError(f"no time left after {name}")
        except Exception as error:  # the other parts are still worth their time
            failed.append(f"{part.__name__} ({type(error).__name__}: {error})".partition("\n")[0])
            print(f"failed: {failed[-1]}", flush=True)
    return rows, failed


def trainer_rows(device: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    from benchmarks.trainer import rows

    model = "" if device.type == "cuda" else "rnn_dims=16,fc_dims=16,"
    yield from rows(sizes.trained, f"{model}batch_size={sizes.wavernn[0]},seq_len={sizes.crop}", sizes.trained_in)


PARTS = (limit_rows, encoder_rows, synthesizer_rows, vocoder_rows, speaking_rows, trainer_rows, gradient_rows)


def main() -> None:
    args, start = parse_arguments(), time.perf_counter()
    wanted = [part for part in PARTS if args.only.search(part.__name__)]
    if not wanted:
        names = ", ".join(part.__name__ for part in PARTS)
        raise UserError(f"--only: no part has {args.only.pattern!r} in its name; there are {names}", exit_code=2)
    import torch

    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cpu":
        start = math.inf  # it takes as long as it needs
        unwritten = f"; nothing is written into {PAGE.relative_to(ROOT)}" if args.write else ""
        print(f"no GPU here: only the checks that a CPU can do, and tiny sizes, which say nothing about speed{unwritten}")
    else:
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    failed = None if args.no_checks else check(start + SECONDS_OF_CHECKS)
    rows, not_measured = measure(wanted, device, Sizes() if device.type == "cuda" else TINY, start + SECONDS_IN_ALL)
    if args.write and device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        write(rows, f"On one {name} (torch {torch.__version__}), `python -m benchmarks.gpu`:")
    if problems := (failed or []) + not_measured:
        sys.exit("failed: " + "; ".join(problems))
    print("measured; nothing was checked" if failed is None else "all checks passed")


if __name__ == "__main__":
    cli.run(main)
