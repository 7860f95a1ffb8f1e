"""What is measured of the vocoder: the training step, and generation."""

import statistics

from benchmarks import timing
from benchmarks.timing import autocast, device
from utils.data.audio import MelFormat


def step(dtype: str = "fp32") -> str:
    """A training step; the one in bf16 in turns with a fifth of one in fp32, whose GRUs are torch's."""
    import torch

    from vocoder.model import WaveRNN, WaveRNNConfig

    model = WaveRNN(WaveRNNConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    levels = torch.rand(100, 1000, device=device()) * 2 - 1
    mel = torch.rand(100, 9, 80, device=device()) * 2 - 1
    labels = torch.randint(512, (100, 1000), device=device())

    def train(dtype: str, n_frames: int) -> None:
        n_samples = 200 * n_frames
        with autocast(dtype):
            loss = model(levels[:, :n_samples], mel[:, : n_frames + 4], labels[:, :n_samples])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    shape = f"100 x 1000 samples, {dtype}"
    if dtype == "fp32":
        return f"{1 / timing.repeat(lambda: train('fp32', 5), 1):.3f} steps/s ({shape})"
    ours, plain = timing.alternate(lambda: train(dtype, 5), lambda: train("fp32", 1), times=3)
    return f"{1 / ours:.3f} steps/s, {5 * plain / ours:.2f} times as fast as in fp32 ({shape})"


def random_vocoder():
    """A vocoder of the published size with random weights, and a mel of 10 s."""
    import torch

    from vocoder.model import WaveRNN, WaveRNNConfig

    torch.manual_seed(0)
    return WaveRNN(WaveRNNConfig()).to(device()).eval(), torch.rand(800, 80, device=device()) * 2 - 1


def speak(precision: str = "auto", times: int = 5) -> str:
    """Speed of 10 s of speech, and of the plain loop: its time for a part of the steps, as each takes as long. They take
    turns, so that what else the machine does slows both."""
    from benchmarks.plain_wavernn import PlainLoop
    from vocoder.generate import Generator

    model, mel = random_vocoder()
    generator, plain = Generator(model, precision), PlainLoop(model, mel)
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
    from vocoder.generate import Generator

    model, mel = random_vocoder()
    generator = Generator(model)
    took = timing.repeat(lambda: list(generator.stream(mel[:40], MelFormat(), None, 0, seed=0)), 2)
    return f"real-time factor {took / 0.5:.2f} (one pass, 0.5 s)"


def first_audio() -> str:
    from vocoder.generate import Generator

    model, mel = random_vocoder()
    generator = Generator(model)
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
