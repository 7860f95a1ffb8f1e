"""Writes the measured figures of README.md from the tables of docs/: `python docs/figures.py`."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PUBLISHED = "Real-Time-Voice-Cloning"
ENCODER_HOURS, SYNTHESIZER_HOURS = 497, 464  # of speech in train-other-500; in train-clean-100 and train-clean-360
N_CORES = 2


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


def hours(n_steps: int, said: str, row: str, column: str) -> str:
    """How long so many steps take."""
    ends = dict.fromkeys(f"{n_steps * each / 3600:.0f}" for each in numbers(cell("gpu.md", row, column)))
    return f"{' to '.join(ends)} hours for {said} steps"


def minutes(hours_of_speech: float, speed: float) -> str:
    """How long so much speech takes, at seconds of audio per second."""
    return f"{hours_of_speech * 60 / speed:.0f} minutes"


def preprocessing(row: str) -> float:
    return N_CORES * numbers(cell("performance.md", row, "seconds of audio per core-second"))[0]


def figures() -> dict[str, dict[int, str]]:
    """The cells of README's tables that were measured: by the first cell of their row, and the number of their column."""
    graph = seconds(cell("gpu.md", "Tacotron step", "as a CUDA graph, bf16"))
    low, high = numbers(cell("performance.md", "`encoder_embeddings`", "measured"))
    memory = re.search(r"([\d.]+) GB on a GPU", cell("training.md", "synthesizer", "memory"))[1]
    return {
        "encoder step on one H200": {
            1: seconds(cell("gpu.md", "GE2E step", PUBLISHED)),
            2: seconds(cell("gpu.md", "GE2E step", "bf16")),
        },
        "synthesizer step": {
            1: seconds(cell("gpu.md", "Tacotron step", PUBLISHED)),
            2: f"{graph} as a CUDA graph ([a trial](docs/gpu.md))",
        },
        "vocoder step": {
            1: seconds(cell("gpu.md", "WaveRNN step, 100", PUBLISHED)),
            2: seconds(cell("gpu.md", "WaveRNN step, 100", "bf16")),
        },
        "10 s of sound from the vocoder": {
            1: seconds(cell("gpu.md", "WaveRNN speaks 10 s", PUBLISHED)),
            2: seconds(cell("gpu.md", "WaveRNN speaks 10 s", "fp32")),
        },
        "`encoder_preprocess`": {3: f"{minutes(ENCODER_HOURS, preprocessing('encoder'))} for train-other-500"},
        "`encoder_train`": {4: hours(1_500_000, "1.5 M", "GE2E step", "bf16")},
        "`synthesizer_preprocess_audio`": {3: minutes(SYNTHESIZER_HOURS, preprocessing("synthesizer"))},
        "`synthesizer_preprocess_embeds`": {3: minutes(SYNTHESIZER_HOURS, 7.5 * (low + high) / 2)},  # utterances of 7.5 s
        "`synthesizer_train`": {4: hours(300_000, "300,000", "Tacotron step", "as a CUDA graph, bf16") + f", {memory} GB"},
        "`vocoder_train`": {4: hours(400_000, "400,000", "WaveRNN step, 100", "bf16")},
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
