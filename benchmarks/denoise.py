"""Compare ways to remove noise from speech: quality and speed.

python -m benchmarks.denoise make <datasets_root> <folder>     write noisy speech and the output of each way
python -m benchmarks.denoise judge <folder>                    print a table of measures and of judges' opinions
"""

import csv
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.denoisers import DENOISERS
from utils import cli
from utils.errors import UserError

RATE = 16_000  # Hz
LEVELS = (5, 10, 20)  # dB of speech over noise, in whole utterances
N_BABBLE = 6  # voices
MAX_LAG = RATE // 20  # samples of delay that a way may add
HEARD = 9 * RATE + RATE // 50  # samples that DNSMOS needs
FIGURES = "figures.tsv"
NO_NOISE = "none"
COLUMNS = ("name", "noise", "way", "si_sdr", "gain", "core_seconds", "seconds")


class Speech(NamedTuple):
    name: str
    wav: np.ndarray  # (n,) float32
    spans: list[tuple[int, int]]  # samples without speech


# ---- noise


def noise(kind: str, n_samples: int, others: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """(n_samples,) of this kind of noise, with power one."""
    if kind == "babble":
        voices = generator.choice(len(others), N_BABBLE)
        wave = sum(np.resize(others[i] / others[i].std(), n_samples) for i in voices)
    elif kind == "hum":  # mains hum, 50 Hz and its multiples, with an amplifier's hiss
        times = np.arange(n_samples) / RATE
        phases = generator.uniform(0, 2 * np.pi, 40)
        wave = sum(np.sin(2 * np.pi * 50 * k * times + phases[k]) / k for k in range(1, 40))
        wave = wave + 0.1 * generator.normal(size=n_samples)
    else:
        spectrum = np.fft.rfft(generator.normal(size=n_samples))
        if kind == "pink":
            spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), len(spectrum) * 50 / (RATE / 2)))
        wave = np.fft.irfft(spectrum, n_samples)
    return wave / np.sqrt(np.mean(np.square(wave)))


def conditions() -> list[tuple[str, int]]:
    return [(kind, level) for kind in ("white", "pink", "babble", "hum") for level in LEVELS]


def noisy_versions(speech: list[Speech], per_condition: int) -> Iterator[tuple[str, Speech, np.ndarray]]:
    """(name of the noise, speech, noisy speech): per_condition utterances of each noise and level, and clean ones too."""
    for number, (kind, level) in enumerate(conditions()):
        for i in range(per_condition):
            one = speech[(number * per_condition + i) % len(speech)]
            generator = np.random.default_rng([number, i])
            others = [other.wav for other in speech if speaker_of(other) != speaker_of(one)]
            added = noise(kind, len(one.wav), others, generator) * one.wav.std() * 10 ** (-level / 20)
            yield f"{kind} {level} dB", one, (one.wav + added).astype(np.float32)
    for i in range(per_condition * len(LEVELS)):
        yield NO_NOISE, speech[i % len(speech)], speech[i % len(speech)].wav


# ---- making


def read_speech(datasets_root: Path, n_utterances: int) -> list[Speech]:
    """Utterances with word times, spread over the corpus, at the volume that preprocessing gives them."""
    from synthesizer.corpus.segment import noise_spans
    from utils import corpora
    from utils.data import audio

    utterances = [
        utterance
        for speaker in corpora.find_speakers(datasets_root, ["LibriSpeech/train-clean-100"])
        for utterance in corpora.list_utterances(speaker, False, True).utterances
        if utterance.words
    ]
    speech = []
    for utterance in utterances[:: max(1, len(utterances) // n_utterances)][:n_utterances]:
        wav = audio.rescale(audio.load(utterance.path), 0.9)
        spans = noise_spans(utterance.words, utterance.ends, len(wav) / RATE)
        speech.append(Speech(utterance.name, wav, [(round(start * RATE), round(end * RATE)) for start, end in spans]))
    if len({speaker_of(one) for one in speech}) < 2 or len(speech) < 2 * N_BABBLE:
        raise UserError(f"{datasets_root}: holds too little speech with word times, or only one speaker")
    return speech


def speaker_of(speech: Speech) -> str:
    return speech.name.split("-")[0]


def make(datasets_root: Path, folder: Path, n_utterances: int, per_condition: int) -> None:
    """Write the waves of every condition and way, and the measures that need no judge."""
    import soundfile

    ways = available_ways()
    speech = read_speech(datasets_root, n_utterances)
    rows = []
    for condition, one, noisy in tqdm(list(noisy_versions(speech, per_condition)), desc="denoising"):
        before = si_sdr(noisy, one.wav)
        for way in ways:
            how = DENOISERS[way][0]
            started = time.process_time()
            cleaned = how(noisy, one.spans)
            taken = time.process_time() - started
            cleaned = aligned(cleaned, noisy)
            name = f"{condition}-{way}-{one.name}.wav".replace(" ", "_").replace(",", "")
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, cleaned, RATE)
            after = si_sdr(cleaned, one.wav)
            rows.append(
                (name, condition, way, after, after - before if condition != NO_NOISE else 0.0, taken, len(noisy) / RATE)
            )
    write_rows(folder / FIGURES, COLUMNS, rows)


def available_ways() -> list[str]:
    """The ways whose package is installed. Each runs once, so that loading and compiling are not timed."""
    found = []
    for name, (how, package) in DENOISERS.items():
        try:
            print(f"{name}: {version(package) if package else 'part of this project'}")
        except PackageNotFoundError:
            print(f"{name}: left out, because {package} is missing (pip install {package})")
            continue
        how(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32), [(0, RATE)])
        found.append(name)
    return found


def aligned(wav: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The wave without its delay, as long as the other."""
    wav = np.pad(wav, (0, MAX_LAG + max(0, len(to) - len(wav))))
    size = 1 << (len(wav) + len(to)).bit_length()
    agreement = np.fft.irfft(np.fft.rfft(wav, size) * np.conj(np.fft.rfft(to, size)), size)[:MAX_LAG]
    return wav[int(agreement.argmax()) :][: len(to)]


def si_sdr(wav: np.ndarray, clean: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (1811.02508, eq. 3)."""
    wav, clean = wav - wav.mean(), clean - clean.mean()
    wanted = clean * (np.dot(wav, clean) / np.dot(clean, clean))
    rest = np.sum(np.square(wav - wanted))
    return float(10 * np.log10(np.sum(np.square(wanted)) / max(rest, 1e-10)))


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([columns, *rows])


# ---- judging


class Judges:
    """DNSMOS (2110.01763) and Distill-MOS (2502.05356), if installed."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self._dnsmos = self._distilled = None
        try:
            from speechmos import dnsmos

            self._dnsmos, self.columns = dnsmos, ["ovrl", "sig", "bak"]
        except ImportError as error:
            print(f"no DNSMOS: {error.name} is missing (pip install speechmos)")
        try:
            import torch
            from distillmos import ConvTransformerSQAModel

            self._torch, self._distilled = torch, ConvTransformerSQAModel().eval()
            self.columns = [*self.columns, "distill_mos"]
        except ImportError as error:
            print(f"no Distill-MOS: {error.name} is missing (pip install distillmos)")

    def __call__(self, wav: np.ndarray) -> list[float]:
        """float32 (n,) -> an opinion from 1 to 5 for each column."""
        opinions = []
        if self._dnsmos:
            long = np.resize(wav, max(len(wav), HEARD))  # it repeats shorter waves itself, but more slowly
            scores = self._dnsmos.run(long / max(1.0, np.abs(wav).max()), RATE)
            opinions += [scores["ovrl_mos"], scores["sig_mos"], scores["bak_mos"]]
        if self._distilled:
            with self._torch.no_grad():
                opinions.append(float(self._distilled(self._torch.from_numpy(wav)[None])[0]))
        return opinions


def judge(folder: Path) -> None:
    """Print the means by noise and way, and write the opinions beside the measures."""
    import soundfile

    with (folder / FIGURES).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    judges = Judges()
    for row in tqdm(rows, desc="judging"):
        wav, _ = soundfile.read(folder / row["name"], dtype="float32")
        row |= dict(zip(judges.columns, judges(wav), strict=True))
    if judges.columns:
        columns = (*COLUMNS, *judges.columns)
        write_rows(folder / "opinions.tsv", columns, [[row[name] for name in columns] for row in rows])
    print_table(rows, ["si_sdr", "gain", *judges.columns])


def print_table(rows: list[dict], columns: list[str]) -> None:
    """For every noise and level, for every noise, and for all noises."""
    print(f"| noise | way | {' | '.join(columns)} | audio s per core-second |\n|---|---|{'---|' * (len(columns) + 1)}")
    levels = dict.fromkeys(row["noise"] for row in rows if row["noise"] != NO_NOISE)
    kinds = {level.split()[0]: [each for each in levels if each.split()[0] == level.split()[0]] for level in levels}
    groups = {level: [level] for level in levels} | kinds | {"all noises": [*levels], NO_NOISE: [NO_NOISE]}
    for group, members in groups.items():
        for way in dict.fromkeys(row["way"] for row in rows):
            chosen = [row for row in rows if row["way"] == way and row["noise"] in members]
            means = [np.mean([float(row[name]) for row in chosen]) for name in columns]
            speed = sum(float(row["seconds"]) for row in chosen) / sum(float(row["core_seconds"]) for row in chosen)
            fast = f"{speed:.0f}" if way != "nothing" else ""
            print(f"| {group} | {way} | {' | '.join(f'{mean:.2f}' for mean in means)} | {fast} |")


def main() -> None:
    parser = cli.parser("Compare ways to remove noise from speech. Ways whose package is not installed are left out.")
    does = parser.add_subparsers(dest="does", required=True)
    making = does.add_parser("make", help="write noisy speech, the output of each way, and figures.tsv")
    making.add_argument("datasets_root", type=Path, help="holds LibriSpeech/train-clean-100 with word times")
    making.add_argument("folder", type=Path, help="folder to write to")
    making.add_argument("--utterances", type=cli.whole_number(1), default=40, help="of the corpus")
    making.add_argument("--per_condition", type=cli.whole_number(1), default=4, help="utterances of each noise at each level")
    judging = does.add_parser("judge", help="print measures and opinions (pip install speechmos distillmos)")
    judging.add_argument("folder", type=Path, help="folder that make wrote")
    args = parser.parse_args()
    if args.does == "make":
        make(args.datasets_root, args.folder, args.utterances, args.per_condition)
    else:
        judge(args.folder)


if __name__ == "__main__":
    cli.run(main)
