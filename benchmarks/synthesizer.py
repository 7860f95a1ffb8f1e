"""What is measured of the synthesizer: the training step, speaking, ground-truth-aligned mels."""

from benchmarks import timing
from benchmarks.timing import autocast, device

SPEAK_ASKED = {1: 0.4, 16: 2}  # seconds on two cores, by the number of sentences
SPEAK_PUBLISHED = {1: 0.94, 16: 4.75}


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


def speak(n_sentences: int = 1, dtype: str = "bf16") -> str:
    """In turns with the loop in plain torch."""
    import torch

    from synthesizer.generation import TorchLoop
    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    text = torch.randint(2, 66, (n_sentences, 80), device=device())
    torch.nn.init.constant_(model.decoder.stop.bias, -100)  # random weights stop anywhere
    lengths, frames = text.new_full((n_sentences,), 80), text.new_full((n_sentences,), 400)
    speakers = torch.rand(n_sentences, 256, device=device())
    with autocast(dtype):
        loop, plain = model.speaking_loop(), TorchLoop(model.decoder, 2, torch.float32)

    def work() -> None:
        with autocast(dtype):
            model.generate(text, lengths, speakers, frames, loop=loop)

    def plain_work() -> None:
        model.generate(text, lengths, speakers, frames, loop=plain)

    seconds, of_plain = timing.alternate(work, plain_work, times=5 if n_sentences == 1 else 3)
    times = f"{of_plain / seconds:.1f} times as fast as plain torch in fp32"
    target = f"target: {SPEAK_ASKED[n_sentences]} on two cores; published code: {SPEAK_PUBLISHED[n_sentences]}"
    return f"{seconds:.2f} s for {n_sentences} x 400 frames ({dtype}; {target}), {times}"


def aligned_mels(dtype: str = "bf16") -> str:
    import torch

    from synthesizer.model import Tacotron, TacotronConfig

    model = Tacotron(TacotronConfig()).to(device()).eval()
    text, speakers = torch.randint(2, 66, (16, 80), device=device()), torch.rand(16, 256, device=device())
    mels = torch.rand(16, 480, 80, device=device()) * 8 - 4
    text_lengths, mel_lengths = torch.full((16,), 80, device=device()), torch.full((16,), 480, device=device())

    @torch.inference_mode()
    def work() -> None:
        with autocast(dtype):
            model(text, text_lengths, mels, mel_lengths, speakers, r=2)

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
