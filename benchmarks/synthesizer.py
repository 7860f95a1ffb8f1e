"""What is measured of the synthesizer: the training step, speaking, ground-truth-aligned mels."""

from benchmarks import timing
from benchmarks.timing import autocast, device


def step(dtype: str = "fp32") -> str:
    import torch

    from synthesizer.loss import tacotron_losses
    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device())
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    text = torch.randint(2, 66, (12, 100), device=device())
    mels = torch.rand(12, 500, 80, device=device()) * 8 - 4
    text_lengths, mel_lengths = torch.full((12,), 100, device=device()), torch.full((12,), 500, device=device())
    speakers = torch.rand(12, 256, device=device())

    def train() -> None:
        with autocast(dtype):
            prediction = model(text, text_lengths, mels, mel_lengths, speakers, r=2)
        tacotron_losses(prediction, mels, mel_lengths, 2, stop_weight=5.0).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return f"{1 / timing.repeat(train, 3):.3f} steps/s (12 x 100 characters x 500 frames, r 2, {dtype})"


def speak() -> str:
    import torch

    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    text = torch.randint(2, 66, (1, 80), device=device())
    torch.nn.init.constant_(model.decoder.stop.bias, -100)  # random weights stop anywhere
    lengths, frames = torch.tensor([80], device=device()), torch.tensor([400], device=device())

    def work() -> None:
        model.generate(text, lengths, torch.rand(1, 256, device=device()), frames)

    seconds = timing.repeat(work)
    return f"{seconds:.2f} s for a sentence of 80 characters and 400 frames (real-time factor {seconds / 5:.3f})"


def aligned_mels() -> str:
    import torch

    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    text, speakers = torch.randint(2, 66, (16, 80), device=device()), torch.rand(16, 256, device=device())
    mels = torch.rand(16, 480, 80, device=device()) * 8 - 4
    text_lengths, mel_lengths = torch.full((16,), 80, device=device()), torch.full((16,), 480, device=device())

    @torch.inference_mode()
    def work() -> None:
        model(text, text_lengths, mels, mel_lengths, speakers, r=2)

    return f"{16 * 6 / timing.repeat(work, 3):.0f} audio s per s"


BENCHMARKS = {
    "synthesizer_train": step,
    "synthesizer_train_bf16": lambda: step("bf16"),
    "synthesizer_speak": speak,
    "vocoder_preprocess": aligned_mels,
}
