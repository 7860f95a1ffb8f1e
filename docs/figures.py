"""Writes the figures of README.md, from the tables of docs/ and the sizes of models: `python docs/figures.py`."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PUBLISHED = "Real-Time-Voice-Cloning"
ENCODER_HOURS, SYNTHESIZER_HOURS = 497, 464  # of speech in train-other-500; in train-clean-100 and train-clean-360
N_CORES = 2
GPU_ROWS = {  # where a figure stands in docs/gpu.md: the row of benchmarks.gpu; row and column of the table before
    "encoder": ("GE2E step, 64 x 10 x 160, fp16", "GE2E step", "bf16"),
    "synthesizer": ("Tacotron step, 12 x 100 x 500, r 2, fp16, CUDA graph", "Tacotron step", "as a CUDA graph, bf16"),
    "vocoder": ("WaveRNN step, 100 x 1,000, fp16, as trained, CUDA graph", "WaveRNN step, 100", "bf16"),
    "speaking": ("WaveRNN speaks 10 s", "WaveRNN speaks 10 s", "fp32"),
}
ENCODER_STEPS, SYNTHESIZER_STEPS, VOCODER_STEPS = 1_500_000, 300_000, 400_000  # of a full training


def cell(page: str, row: str, column: str) -> str:
    """What a page's table holds in the first row that begins with `row`."""
    header: list[str] = []
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [part.strip() for part in line.strip("|").split("|")] if line.startswith("|") else []
        header = (header or cells) if cells else []
        if cells and cells[0].startswith(row) and column in header:
            return cells[header.index(column)]
    raise KeyError(f"docs/{page}: no row {row} with a column {column}")


def numbers(text: str) -> list[float]:
    """One number, or the two of a range, at the beginning of a cell."""
    low, high = re.match(r"([\d.,]+)(?: to ([\d.,]+))?", text).groups()
    return [float(number.replace(",", "")) for number in (low, high) if number]


def seconds(text: str) -> str:
    """A cell's first number or range, with its unit."""
    return re.match(r"[\d.]+(?: to [\d.]+)? s", text)[0]


def on_gpu(row: str, remark: str = "") -> str:
    """A figure of docs/gpu.md: of `python -m benchmarks.gpu --write`, else of the version before, with a remark."""
    measured, earlier, column = GPU_ROWS[row]
    try:
        return seconds(cell("gpu.md", measured, "measured"))
    except KeyError:
        return seconds(cell("gpu.md", earlier, column)) + remark


def hours(n_steps: int, said: str, row: str) -> str:
    """How long so many steps take on a GPU."""
    ends = dict.fromkeys(f"{n_steps * each / 3600:.0f}" for each in numbers(on_gpu(row)))
    return f"{' to '.join(ends)} hours for {said} steps"


def minutes(hours_of_speech: float, speed: float) -> str:
    """How long so much speech takes, at seconds of audio per second."""
    return f"{hours_of_speech * 60 / speed:.0f} minutes"


def preprocessing(row: str) -> float:
    return N_CORES * numbers(cell("performance.md", row, "seconds of audio per core-second"))[0]


def size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def disk(stage: str, model: "nn.Module", n_steps: int) -> str:
    """What a checkpoint takes: weights, Adam's two moments, and the moving average of the weights; and all backups of a run."""
    n_parameters = sum(each.numel() for each in model.parameters())
    weights = sum(each.numel() * each.element_size() for each in model.state_dict().values())
    one = weights * (1 if stage == "encoder" else 2) + 2 * 4 * n_parameters
    n = n_steps // int(re.search(r"backup_every=(\d+)", (ROOT / f"{stage}_train.py").read_text(encoding="utf-8"))[1])
    return f"{size(one)}, {n} backups {size(n * one)}"


def memory(stage: str) -> str:
    """Of a GPU, at the default batch."""
    text = cell("training.md", stage, "memory")
    measured = re.search(r"([\d.]+) GB on a GPU", text)
    return f", {measured[1]} GB" if measured else f", about {numbers(text)[0]:.0f} GB"


def figures() -> dict[str, dict[int, str]]:
    """The cells of README's tables that were measured: by the first cell of their row, and the number of their column."""
    from encoder.config import EncoderConfig
    from encoder.model import EncoderWithLoss
    from synthesizer.config import NEW_MODEL
    from synthesizer.model import Tacotron
    from vocoder.config import WaveRNNConfig
    from vocoder.model import WaveRNN

    encoder, synthesizer, vocoder = EncoderWithLoss(EncoderConfig()), Tacotron(NEW_MODEL), WaveRNN(WaveRNNConfig())
    low, high = numbers(cell("performance.md", "`encoder_embeddings`", "measured"))
    spoken = cell("performance.md", "`vocoder_speak`", "measured")  # as real-time factors
    ours, plain = (10 * float(re.search(rf"{words} ([\d.]+)", spoken)[1]) for words in ("factor", "loop at"))
    return {
        "encoder step, H200": {1: seconds(cell("gpu.md", "GE2E step", PUBLISHED)), 2: on_gpu("encoder")},
        "synthesizer step, H200": {
            1: seconds(cell("gpu.md", "Tacotron step", PUBLISHED)),
            2: on_gpu("synthesizer", remark=", measured with a prototype"),
        },
        "vocoder step, H200": {1: seconds(cell("gpu.md", "WaveRNN step, 100", PUBLISHED)), 2: on_gpu("vocoder")},
        "10 s of sound from the vocoder, H200": {
            1: seconds(cell("gpu.md", "WaveRNN speaks 10 s", PUBLISHED)),
            2: on_gpu("speaking"),
        },
        "10 s of sound from the vocoder, two CPU cores with avx512": {1: f"{plain:.0f} s", 2: f"{ours:.0f} s"},
        "`encoder_preprocess`": {3: minutes(ENCODER_HOURS, preprocessing("encoder"))},
        "`encoder_train`": {
            2: disk("encoder", encoder, ENCODER_STEPS),
            3: seconds(cell("performance.md", "`encoder_train_bf16`", "measured")) + " a step",
            4: hours(ENCODER_STEPS, "1.5 M", "encoder") + memory("encoder"),
        },
        "`synthesizer_preprocess_audio`": {3: minutes(SYNTHESIZER_HOURS, preprocessing("synthesizer"))},
        "`synthesizer_preprocess_embeds`": {3: minutes(SYNTHESIZER_HOURS, 7.5 * (low + high) / 2)},  # utterances of 7.5 s
        "`synthesizer_train`": {
            2: disk("synthesizer", synthesizer, SYNTHESIZER_STEPS),
            3: seconds(cell("performance.md", "bf16", "now")) + " a step",
            4: hours(SYNTHESIZER_STEPS, "300,000", "synthesizer") + memory("synthesizer"),
        },
        "`vocoder_train`": {
            2: disk("vocoder", vocoder, VOCODER_STEPS),
            3: f"{numbers(cell('performance.md', '`--precision bf16`', 'core-seconds'))[0] / N_CORES:.0f} s a step",
            4: hours(VOCODER_STEPS, "400,000", "vocoder") + memory("vocoder"),
        },
    }


def readme(text: str) -> str:
    """The README with these cells filled in."""
    for row, found in figures().items():
        (line,) = re.findall(rf"^\| {re.escape(row)} \|.*$", text, re.MULTILINE)
        cells = line.split("|")
        for column, figure in found.items():
            cells[column + 1] = f" {figure} "
        text = text.replace(line, "|".join(cells))
    return text


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(readme(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
