"""Throughput of every stage at the published sizes, on this machine: `make bench`, or `python -m benchmarks.bench NAME...`.

Each figure is measured in a process of its own, so that its peak memory is its own; medians over a few repetitions.
"""

import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from utils import cli

SAMPLES = Path(__file__).parent.parent / "samples"


def repeat(work: Callable[[], object], times: int = 5) -> float:
    """Median seconds of `work`, after one call that does not count."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        if _on_gpu():
            import torch

            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(dtype: str):
    import contextlib

    import torch

    return contextlib.nullcontext() if dtype == "fp32" else torch.autocast(device().type, torch.bfloat16)


# ---- preprocessing: one process, so that the figure is per core


def encoder_preprocess() -> str:
    from benchmarks import preprocessing

    return preprocessing.encoder(SAMPLES)


def synthesizer_preprocess_audio() -> str:
    from benchmarks import preprocessing

    return preprocessing.synthesizer(SAMPLES)


def encoder_embeddings() -> str:
    import numpy as np

    from encoder.inference import SpeakerEmbedder
    from encoder.model import MEL_FORMAT, EncoderConfig, EncoderWithLoss
    from utils import checkpoint

    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder) / "encoder.pt", EncoderConfig()
        content = {"format": checkpoint.stage_format("encoder"), "model": dataclasses.asdict(config), "mel": MEL_FORMAT}
        checkpoint.save(path, content | {"model_state": EncoderWithLoss(config).state_dict()})
        embedder = SpeakerEmbedder(path)
    noise = np.random.default_rng(0).normal(0, 0.1, (32, 16000 * 15 // 2)).astype(np.float32)  # 7.5 s each
    return f"{len(noise) / repeat(lambda: embedder.embed_batch(noise)):.1f} utterances of 7.5 s per s"


# ---- training steps at the published batch sizes


def encoder_step(dtype: str = "fp32") -> str:
    import torch

    from encoder.model import EncoderConfig, EncoderWithLoss

    model = EncoderWithLoss(EncoderConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters())
    mels = torch.rand(64, 10, 160, 40, device=device())

    def step():
        with autocast(dtype):
            loss = model(mels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / repeat(step, 3):.3f} steps/s (64 speakers x 10 utterances x 160 frames, {dtype})"


def synthesizer_step(dtype: str = "fp32") -> str:
    import torch

    from synthesizer.loss import tacotron_losses
    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters())
    text = torch.randint(2, 66, (12, 100), device=device())
    mels = torch.rand(12, 500, 80, device=device()) * 8 - 4
    text_lengths, mel_lengths = torch.full((12,), 100, device=device()), torch.full((12,), 500, device=device())
    speakers = torch.rand(12, 256, device=device())

    def step():
        with autocast(dtype):
            prediction = model(text, text_lengths, mels, mel_lengths, speakers, r=2)
        tacotron_losses(prediction, mels, mel_lengths, 2, stop_weight=5.0).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / repeat(step, 3):.3f} steps/s (12 x 100 characters x 500 frames, r 2, {dtype})"


def vocoder_step(dtype: str = "fp32") -> str:
    import torch

    from vocoder.model import WaveRNN, WaveRNNConfig

    model = WaveRNN(WaveRNNConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters())
    levels = torch.rand(100, 1000, device=device()) * 2 - 1
    mel = torch.rand(100, 9, 80, device=device()) * 2 - 1
    labels = torch.randint(512, (100, 1000), device=device())

    def step():
        with autocast(dtype):
            loss = torch.nn.functional.cross_entropy(model(levels, mel).flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / repeat(step, 1 if dtype == 'fp32' else 2):.3f} steps/s (100 x 1000 samples, {dtype})"


# ---- generation


def synthesizer_generation() -> str:
    import torch

    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    text = torch.randint(2, 66, (1, 80), device=device())
    torch.nn.init.constant_(model.decoder.stop.bias, -100)  # random weights stop anywhere
    lengths, frames = torch.tensor([80], device=device()), torch.tensor([400], device=device())

    def work():
        model.generate(text, lengths, torch.rand(1, 256, device=device()), frames)

    seconds = repeat(work)
    return f"{seconds:.2f} s for a sentence of 80 characters and 400 frames (real-time factor {seconds / 5:.3f})"


def ground_truth_aligned_mels() -> str:
    import torch

    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    text, speakers = torch.randint(2, 66, (16, 80), device=device()), torch.rand(16, 256, device=device())
    mels = torch.rand(16, 480, 80, device=device()) * 8 - 4
    text_lengths, mel_lengths = torch.full((16,), 80, device=device()), torch.full((16,), 480, device=device())

    @torch.inference_mode()
    def work():
        model(text, text_lengths, mels, mel_lengths, speakers, r=2)

    return f"{16 * 6 / repeat(work, 3):.0f} audio s per s"


def random_vocoder():
    """A vocoder of the published size with random weights, and a mel of 10 s."""
    import torch

    from vocoder.model import WaveRNN, WaveRNNConfig

    torch.manual_seed(0)
    return WaveRNN(WaveRNNConfig()).to(device()).eval(), torch.rand(800, 80, device=device()) * 2 - 1


def vocoder_generation(precision: str = "auto", times: int = 5) -> str:
    """Speed of 10 s of speech, and of the plain loop: its time for a part of the steps, as each takes as long. They take
    turns, so that what else the machine does slows both."""
    from benchmarks.plain_wavernn import PlainLoop
    from vocoder.generate import Generator

    model, mel = random_vocoder()
    generator, plain = Generator(model, precision), PlainLoop(model, mel)
    n_steps = plain.n_steps // 50
    pairs = [
        (
            repeat(lambda: list(generator.stream(mel, 0.97, 8000, 800, seed=0)), 1) / 10,
            repeat(lambda: plain.run(n_steps), 1) / n_steps * plain.n_steps / 10,
        )
        for _ in range(times)
    ]
    fast, slow = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"real-time factor {fast:.3f}; {slow / fast:.1f} times as fast as a plain loop, {slow:.2f} (10 s, {precision})"


def vocoder_unfolded() -> str:
    from vocoder.generate import Generator

    model, mel = random_vocoder()
    generator = Generator(model)
    took = repeat(lambda: list(generator.stream(mel[:40], 0.97, None, 0, seed=0)), 2)
    return f"real-time factor {took / 0.5:.2f} (one pass, 0.5 s)"


def vocoder_first_audio() -> str:
    from vocoder.generate import Generator

    model, mel = random_vocoder()
    generator = Generator(model)
    took = repeat(lambda: next(generator.stream(mel, 0.97, 8000, 800, seed=0)))
    return f"{took:.2f} s until the first audio of a stream"


BENCHMARKS: dict[str, Callable[[], str]] = {
    "encoder_preprocess": encoder_preprocess,
    "encoder_train": encoder_step,
    "encoder_train_bf16": lambda: encoder_step("bf16"),
    "encoder_embeddings": encoder_embeddings,
    "synthesizer_preprocess": synthesizer_preprocess_audio,
    "synthesizer_train": synthesizer_step,
    "synthesizer_train_bf16": lambda: synthesizer_step("bf16"),
    "synthesizer_speak": synthesizer_generation,
    "vocoder_preprocess": ground_truth_aligned_mels,
    "vocoder_train": vocoder_step,
    "vocoder_train_bf16": lambda: vocoder_step("bf16"),
    "vocoder_speak": vocoder_generation,
    "vocoder_speak_fp32": lambda: vocoder_generation("fp32"),
    "vocoder_speak_unfolded": vocoder_unfolded,
    "vocoder_first_audio": vocoder_first_audio,
}


def run_all(names: list[str]) -> None:
    rows = []
    for name in (bar := tqdm(names, desc="benchmarks", leave=False)):
        bar.set_postfix_str(name)
        done = subprocess.run([sys.executable, "-m", "benchmarks.bench", "--here", name], capture_output=True, text=True)
        if done.returncode:
            raise cli.UserError(f"{name}: failed\n{done.stderr[-2000:]}")
        rows.append((name, *json.loads(done.stdout.splitlines()[-1])))
    print("| stage | throughput | peak memory |\n|---|---|---|")
    for name, figure, gigabytes in rows:
        print(f"| {name} | {figure} | {gigabytes:.2f} GB |")


def main() -> None:
    parser = cli.parser("Measure the throughput and the peak memory of every stage at the published sizes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure, of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        raise cli.UserError(f"{unknown[0]}: no such benchmark; there are {', '.join(BENCHMARKS)}", exit_code=2)
    if args.here:
        figure = BENCHMARKS[args.names[0]]()
        print(json.dumps([figure, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
    else:
        run_all(args.names or list(BENCHMARKS))


if __name__ == "__main__":
    cli.run(main)
