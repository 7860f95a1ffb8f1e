"""Benchmarks of the vocoder: the training step, and generation."""

import statistics

from benchmarks import timing
from benchmarks.timing import autocast, device
from utils.data.audio import MelFormat


def step(dtype: str = "fp32") -> str:
    import torch

    from vocoder.model import WaveRNN, WaveRNNConfig

    model = WaveRNN(WaveRNNConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    levels = torch.rand(100, 1000, device=device()) * 2 - 1
    mel = torch.rand(100, 9, 80, device=device()) * 2 - 1
    labels = torch.randint(512, (100, 1000), device=device())

    def train() -> None:
        with autocast(dtype):
            loss = model(levels, mel, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / timing.repeat(train, 1):.3f} steps/s (100 x 1000 samples, {dtype})"


def random_generator(precision: str = "auto"):
    """A vocoder of the published size with random weights, and 10 s of mel."""
    import torch

    from vocoder.accelerate import accelerate
    from vocoder.fold import Generator
    from vocoder.inference import PRECISIONS
    from vocoder.model import WaveRNN, WaveRNNConfig

    torch.manual_seed(0)
    model = WaveRNN(WaveRNNConfig()).to(device()).eval()
    return Generator(model, accelerate(model, PRECISIONS[precision])), torch.rand(800, 80).numpy() * 2 - 1


def speak(precision: str = "auto", times: int = 5) -> str:
    """Real-time factor of 10 s of speech, and how much slower a plain loop is. The loop runs a fiftieth of its steps, as all
    take the same time, and alternates with ours, so that other work on the machine slows both."""
    import torch

    from benchmarks.plain_wavernn import PlainLoop

    generator, mel = random_generator(precision)
    plain = PlainLoop(generator.model, torch.from_numpy(mel).to(device()))
    n_steps = plain.n_steps // 50
    pairs = [
        (
            timing.repeat(lambda: list(generator.stream(mel, MelFormat(), 8000, 600, seed=0)), 1) / 10,
            timing.repeat(lambda: plain.run(n_steps), 1) / n_steps * plain.n_steps / 10,
        )
        for _ in range(times)
    ]
    fast, slow = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"real-time factor {fast:.3f}; {slow / fast:.1f} times as fast as a plain loop, {slow:.2f} (10 s, {precision})"


def unfolded() -> str:
    generator, mel = random_generator()
    took = timing.repeat(lambda: list(generator.stream(mel[:40], MelFormat(), None, 0, seed=0)), 2)
    return f"real-time factor {took / 0.5:.2f} (one pass, 0.5 s)"


def first_audio() -> str:
    generator, mel = random_generator()
    took = timing.repeat(lambda: next(generator.stream(mel, MelFormat(), 8000, 600, seed=0)))
    return f"{took:.2f} s until the first audio of a stream"


BENCHMARKS = {
    "vocoder_train": step,
    "vocoder_train_bf16": lambda: step("bf16"),
    "vocoder_speak": speak,
    "vocoder_speak_fp32": lambda: speak("fp32"),
    "vocoder_speak_unfolded": unfolded,
    "vocoder_first_audio": first_audio,
}
