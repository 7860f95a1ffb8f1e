"""The synthesizer's training step, speaking, and ground-truth-aligned mels."""

from typing import Any

from benchmarks import timing
from benchmarks.timing import autocast, device

SPEAK_TARGETS = {1: 0.4, 16: 2}  # seconds on two cores, by the number of sentences
SPEAK_PUBLISHED = {1: 0.94, 16: 4.75}


def _speech(model: Any, n: int, n_symbols: int, n_frames: int) -> tuple:
    """Random model inputs: text, its lengths, mels, their lengths, speakers."""
    import torch

    from utils.data.mel_format import MelFormat

    c, max_abs = model.config, MelFormat().max_abs
    text = torch.randint(2, c.n_symbols, (n, n_symbols), device=device())
    mels = (torch.rand(n, n_frames, c.n_mels, device=device()) * 2 - 1) * max_abs
    lengths = text.new_full((n,), n_symbols), text.new_full((n,), n_frames)
    return text, lengths[0], mels, lengths[1], torch.rand(n, c.speaker_size, device=device())


def step(dtype: str = "fp32") -> str:
    import torch

    from synthesizer.loss import tacotron_losses
    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    inputs = _speech(model, 12, 100, 500)

    def train() -> None:
        with autocast(dtype):
            prediction = model(*inputs, r=2)
        tacotron_losses(prediction, inputs[2], inputs[3], 2, stop_weight=5.0).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / timing.repeat(train, 3):.3f} steps/s (12 x 100 characters x 500 frames, r 2, {dtype})"


def speak(n_sentences: int = 1, dtype: str = "bf16") -> str:
    """Alternates with the loop in plain torch."""
    import torch

    from synthesizer.accelerate import accelerate
    from synthesizer.generation import TorchLoop
    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    torch.nn.init.constant_(model.decoder.stop.bias, -100)  # random weights stop anywhere
    text, lengths, _, caps, speakers = _speech(model, n_sentences, 80, 400)
    with autocast(dtype):
        loop, plain = accelerate(model), TorchLoop(model.decoder, 2)

    def work() -> None:
        with autocast(dtype):
            model.generate(text, lengths, speakers, caps, loop=loop)

    def plain_work() -> None:
        model.generate(text, lengths, speakers, caps, loop=plain)

    seconds, plain_seconds = timing.alternate(work, plain_work, times=5 if n_sentences == 1 else 3)
    speedup = f"{plain_seconds / seconds:.1f} times as fast as plain torch in fp32"
    target = f"target: {SPEAK_TARGETS[n_sentences]} on two cores; published code: {SPEAK_PUBLISHED[n_sentences]}"
    return f"{seconds:.2f} s for {n_sentences} x 400 frames ({dtype}; {target}), {speedup}"


def aligned_mels(dtype: str = "bf16") -> str:
    import torch

    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    inputs = _speech(model, 16, 80, 480)

    @torch.inference_mode()
    def work() -> None:
        with autocast(dtype):
            model(*inputs, r=2)

    seconds, core_seconds = timing.repeat(work, 3), timing.core_seconds(work)
    rates = f"{16 * 6 / seconds:.0f} audio s per s, {16 * 6 / core_seconds:.0f} per core-second"
    return f"{rates} ({dtype}; target: 60, published: 10)"


BENCHMARKS = {
    "synthesizer_train": step,
    "synthesizer_train_bf16": lambda: step("bf16"),
    "synthesizer_speak": speak,
    "synthesizer_speak_fp32": lambda: speak(dtype="fp32"),
    "synthesizer_speak_16": lambda: speak(16),
    "synthesizer_speak_16_fp32": lambda: speak(16, "fp32"),
    "vocoder_preprocess": aligned_mels,
    "vocoder_preprocess_fp32": lambda: aligned_mels("fp32"),
}
