"""What do a synthesizer's mels lack? `python -m benchmarks.mels SYN_DIR` compares them with the true ones.

SYN_DIR is preprocessed speech that the synthesizer was not trained on. Each figure is the root mean square of what it makes,
divided by that of the recordings: 1 is as lively as they are, and less is smoother.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthesizer.text import text_to_ids
from utils import cli
from utils.config import default_model
from utils.data.arrays import load_npy
from utils.data.paths import SynthesizerData
from utils.data.rows import Row, read_rows

if TYPE_CHECKING:
    from synthesizer.inference import Synthesizer

BATCH = 8  # utterances
LOUD = -3.0  # mean of a frame's mel; quieter ones are pauses
WINDOW = 64  # frames whose changes over time are looked at, 0.8 s
BANDS = ((0, 20), (20, 40), (40, 60), (60, 80))  # of 80 mel bands: 0 to 0.8, 1.7, 3.5 and 7.6 kHz
RIPPLES = ((1, 2), (2, 4), (4, 10), (10, 20), (20, 40))  # periods over all bands
RATES = ((1, 4), (4, 8), (8, 16), (16, 41))  # Hz


def variation(mels: Sequence[np.ndarray], frames_per_second: float) -> dict[str, float]:
    """Mean squares of mels (F, n_mels): around each utterance's mean, of ripples along frequency, of changes over time."""
    loud = [mel[mel.mean(axis=1) > LOUD] for mel in mels]
    around = np.concatenate([mel - mel.mean(axis=0) for mel in loud if len(mel)])
    found = {"all bands": np.mean(around**2)}
    found |= {f"bands {low}-{high}": np.mean(around[:, low:high] ** 2) for low, high in BANDS}
    found |= {f"{low}-{high} periods": power for (low, high), power in _ripples(np.concatenate(loud))}
    spectra = np.mean([_modulation(window) for mel in mels for window in _windows(mel)], axis=0)  # (WINDOW / 2 + 1,)
    rates = np.arange(len(spectra)) * frames_per_second / WINDOW
    return found | {f"{low}-{high} Hz": spectra[(rates >= low) & (rates < high)].sum() for low, high in RATES}


def _ripples(frames: np.ndarray) -> list[tuple[tuple[int, int], float]]:
    from scipy.fft import dct

    power = np.mean(dct(frames, norm="ortho", axis=1) ** 2, axis=0)  # coefficient 2 p has p periods
    return [((low, high), power[2 * low : 2 * high].sum()) for low, high in RIPPLES]


def _windows(mel: np.ndarray) -> list[np.ndarray]:
    return [mel[start : start + WINDOW] for start in range(0, len(mel) - WINDOW + 1, WINDOW // 2)]


def _modulation(window: np.ndarray) -> np.ndarray:
    """(WINDOW, n_mels) -> power of each rate, the mean over bands."""
    return np.mean(np.abs(np.fft.rfft((window - window.mean(axis=0)) * np.hanning(WINDOW)[:, None], axis=0)) ** 2, axis=1)


def speak(synthesizer: "Synthesizer", rows: Sequence[Row], data: SynthesizerData, seed: int) -> dict[str, list[np.ndarray]]:
    """Mels (F, n_mels) of each kind: true; teacher-forced and free, each before and after the post-net."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    true = [load_npy(data.mels_dir / row.mel, np.floating, 2).astype(np.float32) for row in rows]
    ids = [torch.tensor(text_to_ids(row.text, synthesizer.symbols, synthesizer.cleaner, synthesizer.sounds)) for row in rows]
    text, text_lengths = pad_sequence(ids, True), torch.tensor(list(map(len, ids)))
    speakers = torch.from_numpy(np.stack([load_npy(data.embeds_dir / row.embed, np.floating, 1) for row in rows]))
    mels, lengths = pad_sequence(list(map(torch.from_numpy, true)), True), torch.tensor(list(map(len, true)))
    model, r = synthesizer.model, synthesizer.r
    torch.manual_seed(seed)
    with torch.inference_mode():
        forced = model(text, text_lengths, mels, lengths, speakers.float(), r)
        free = model.generate(text, text_lengths, speakers.float(), -(-2 * lengths // r) * r)
    found = {"true": true}
    for name, made, ends in (("teacher-forced", forced, lengths), ("free", free, free.lengths)):
        for stage in ("before", "after"):
            found[f"{name}, {stage}"] = [mel[:end].numpy() for mel, end in zip(getattr(made, stage), ends, strict=True)]
    return found


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser("Compare the variation of a synthesizer's mels with that of recordings.", "python -m benchmarks.mels")
    add = parser.add_argument
    add("syn_dir", type=Path, metavar="SYN_DIR", help="preprocessed speech that the synthesizer was not trained on")
    add("-s", "--synthesizer", type=Path, default=default_model("synthesizer"), metavar="FILE", help="whose mels")
    add("--utterances", type=cli.whole_number(at_least=1), default=96, metavar="N", help="how many")
    add("--seed", type=cli.SEED, default=0, metavar="N", help="seed of the dropout")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from synthesizer.inference import Synthesizer

    data, synthesizer = SynthesizerData(args.syn_dir), Synthesizer(args.synthesizer, "cpu", precision="fp32")
    rows = read_rows(data.manifest)
    rows = rows[:: -(-len(rows) // args.utterances)]  # of all speakers
    mels: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(rows), BATCH):
        for kind, made in speak(synthesizer, rows[start : start + BATCH], data, args.seed + start).items():
            mels.setdefault(kind, []).extend(made)
    f = synthesizer.mel_format
    figures = {kind: variation(made, f.sample_rate / f.hop_length) for kind, made in mels.items()}
    true = figures.pop("true")
    print(f"{len(rows)} utterances\n\n| share of the recordings' | {' | '.join(figures)} |")
    print("|---" * (len(figures) + 1) + "|")
    for name, power in true.items():
        print(f"| {name} | " + " | ".join(f"{(each[name] / power) ** 0.5:.2f}" for each in figures.values()) + " |")


if __name__ == "__main__":
    cli.run(main)
