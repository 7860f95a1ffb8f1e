"""Does the alignment tell which words were not said? `python -m benchmarks.faults JUDGE TEXTS OUT` asks Whisper.

JUDGE is a folder as for benchmarks.judged. Every piece is spoken once. The thresholds of synthesizer/reading/faults.py may be
chosen on the first half, which is drawn at random; the figures of the second half are those to report.
"""

import argparse
import difflib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.judged import prepare
from synthesizer.reading.faults import Limits, Word, beside, word_faults, words
from synthesizer.text import read
from utils import cli
from utils.config import default_model
from utils.corpora.layout import AUDIO_SUFFIXES
from utils.data import audio
from utils.data.paths import save_text


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Compare the words that the alignment says were skipped or repeated with what Whisper heard.",
        "python -m benchmarks.faults",
    )
    add = parser.add_argument
    add("judge", type=Path, metavar="JUDGE", help="folder with the judges' packages in venv/ and Whisper's files")
    add("texts", type=Path, metavar="TEXTS", help="UTF-8 file with a name, a tab and a text in each line")
    add("out", type=Path, metavar="OUT", help="folder for the speech and what was heard; what is there is kept")
    add("--references", type=Path, metavar="DIR", help="recordings of the voices, a file each (default: JUDGE/references)")
    add("--models", type=Path, default=default_model("synthesizer").parent, metavar="DIR", help="folder of the three models")
    add("--seed", type=cli.SEED, default=0, metavar="N", help="seed of the speech and of the halves")
    return parser.parse_args()


def speak(models: Path, voices: list[Path], texts: dict[str, str], out: Path, seed: int) -> None:
    """Say every text once, the voices in turns: <name>.wav and <name>.npy (the alignment), and pieces.json about all."""
    from demo.cloner import Cloner, read_references

    files = (models / f"{stage}.pt" for stage in ("encoder", "synthesizer", "vocoder"))
    cloner = Cloner.load(*files, "retries=0", seed, cpu=True)
    cloner.synthesizer.longest_piece = 10_000  # pieces that are too long are those in which words are missed
    step_seconds = cloner.synthesizer.r * cloner.synthesizer.mel_format.hop_length / cloner.sample_rate
    names = list(texts)
    for number, path in enumerate(voices):
        voice = cloner.voice_of(read_references([path]))
        named = [(f"{name}_{i}", piece) for name in names[number :: len(voices)]
                 for i, piece in enumerate(cloner.synthesizer.pieces(texts[name]))]  # fmt: skip
        if all((out / f"{name}.json").is_file() for name, _ in named):
            continue
        spoken = cloner.say(voice, "\n\n".join(piece.text for _, piece in named))
        for (name, piece), each in zip(named, spoken, strict=True):
            audio.write_wav(out / f"{name}.wav", each.wav, cloner.sample_rate)
            np.save(out / f"{name}.npy", each.said.alignment.astype(np.float16))
            about = {"text": piece.text, "voice": path.stem, "stopped": each.said.stopped, "step_seconds": step_seconds}
            about["sounds"] = cloner.synthesizer.sounds
            save_text(out / f"{name}.json", json.dumps(about))


def listen(out: Path, judge) -> None:
    for path in sorted(out.glob("*.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        if "heard" not in about:
            about["heard"] = judge.listen(audio.load(path.with_suffix(".wav")))
            save_text(path, json.dumps(about))
        if "heard_again" not in about:
            about["heard_again"] = listen_again(path, about, judge)
            save_text(path, json.dumps(about))


def listen_again(path: Path, about: dict, judge) -> list[tuple[int, int, str]]:
    """(first word, past the last, what is heard) of each run of words that were not heard, with some words around it."""
    said, written = words_of(about)
    true, _ = heard_words(written, about["heard"])
    wav = np.trim_zeros(audio.load(path.with_suffix(".wav")), "f")  # without the pause before it
    step, reached = round(about["step_seconds"] * audio.SAMPLE_RATE), np.load(path.with_suffix(".npy")).argmax(axis=1)
    again = []
    for run in runs(true["skipped"] | true["cut"]):
        first, past = max(0, run.start - CONTEXT), min(len(said), run.stop + CONTEXT)
        steps = np.flatnonzero((reached >= said[first].start) & (reached < said[past - 1].stop))
        heard = judge.listen(wav[steps[0] * step : (steps[-1] + 1) * step]) if len(steps) else ""
        again.append((first, past, heard))
    return again


def runs(which: np.ndarray) -> list[range]:
    """bool (n,) -> the runs of True."""
    edges = np.flatnonzero(np.diff(np.pad(which.astype(int), 1)))
    return [range(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


# ---- what was really said, by what was heard

SUBSTITUTED, OPENED, EXTENDED = 1.0, 1.5, 0.5  # costs of a letter heard otherwise, of the first of a gap, and of the others
UNHEARD = 0.75  # of the letters of a word that was not said
ADDED = 5  # letters heard besides; fewer are a word heard otherwise
CONTEXT = 4  # words around those that are listened to again
NEAR = 10  # words; what was heard besides repeats some of those around it
LIKE = 0.6  # if it is as like them
SURE = 4  # letters; Whisper leaves out and writes in shorter words as it likes
KINDS = ("skipped", "cut", "repeated")
TRIED = {
    "share": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
    "per_letter": (0.003, 0.005, 0.01, 0.015),
    "most_share": (3, 4, 5, 7),
    "held": (0.1, 0.15, 0.2),
    "far": (2, 5, 10),
}


class Piece(NamedTuple):
    """What was said once, and which of its words were not said as they should, by what Whisper heard."""

    alignment: np.ndarray  # (decoder steps, symbols)
    said: list[Word]
    true: dict[str, np.ndarray]  # kind: bool (words,)
    is_judged: np.ndarray  # bool (words,): whether Whisper can tell
    step_seconds: float  # of a decoder step


def spelling(text: str) -> str:
    """Letters alone, numbers in words, and American."""
    from demo.judging.words import words as in_one_spelling

    return re.sub(r"[\W\d_]", "", "".join(in_one_spelling(text)))


def letters_unheard(said: str, heard: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """The cheapest way from one row of letters to the other, in which long gaps are cheap (Gotoh 1982).

    Returns which letters of `said` have none in `heard`, and what was heard besides: (letters said before it, letters).
    """
    first = [(0.0, 0), (math.inf, 0), (math.inf, 0)]  # (cost, state before) of both, only said, only heard
    rows: list[list[list[tuple[float, int]]]] = []
    for i in range(len(said) + 1):
        row: list[list[tuple[float, int]]] = []
        for j in range(len(heard) + 1):
            nothing = (math.inf, 0)
            both = _least(rows[-1][j - 1], [SUBSTITUTED * (said[i - 1] != heard[j - 1])] * 3) if i and j else nothing
            only_said = _least(rows[-1][j], (OPENED, EXTENDED, OPENED)) if i else nothing
            only_heard = _least(row[-1], (OPENED, OPENED, EXTENDED)) if j else nothing
            row.append([both, only_said, only_heard] if i or j else first)
        rows.append(row)
    unheard, added = np.zeros(len(said), bool), []
    i, j, state = len(said), len(heard), min(range(3), key=lambda state: rows[-1][-1][state])
    while i or j:
        before = rows[i][j][state][1]
        if state == 1:
            unheard[i - 1] = True
        elif state == 2 and added and added[-1][0] == i:
            added[-1] = (i, heard[j - 1] + added[-1][1])
        elif state == 2:
            added.append((i, heard[j - 1]))
        i, j, state = i - (state != 2), j - (state != 1), before
    return unheard, added


def _least(cells: list[tuple[float, int]], costs: Sequence[float]) -> tuple[float, int]:
    return min((cells[state][0] + costs[state], state) for state in range(3))


def heard_words(written: list[str], heard: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Which of the words Whisper did not hear, or heard twice, and of which it can tell."""
    parts = [spelling(word) for word in written]
    unheard, added = letters_unheard("".join(parts), spelling(heard))
    ends = np.cumsum([len(part) for part in parts])
    missing = np.array(
        [unheard[end - len(part) : end].mean() >= UNHEARD if part else False for part, end in zip(parts, ends, strict=True)]
    )
    repeated = np.zeros(len(parts), bool)
    for at, letters in (each for each in added if len(each[1]) >= ADDED):
        last = int(np.searchsorted(ends, at))
        likeness = {
            (a, b): difflib.SequenceMatcher(None, "".join(parts[a:b]), letters, autojunk=False).ratio()
            for a in range(max(0, last - NEAR), min(len(parts), last + NEAR))
            for b in range(a + 1, min(len(parts), a + NEAR) + 1)
            if len(letters) / 2 <= sum(map(len, parts[a:b])) <= 2 * len(letters)
        }
        if likeness and max(likeness.values()) > LIKE:
            a, b = max(likeness, key=likeness.__getitem__)
            repeated[a:b] = True
    reached = len(parts) - np.argmin(missing[::-1]) if not missing.all() else 0  # words up to the last one that was heard
    is_cut = missing & (np.arange(len(parts)) >= reached)
    is_twin = np.array([part in (parts[i - 1 : i] + parts[i + 1 : i + 2]) for i, part in enumerate(parts)])
    is_judged = ~missing | (~is_twin & (beside(missing) | np.array([len(part) >= SURE for part in parts])))
    return {"skipped": missing & ~is_cut, "cut": is_cut, "repeated": repeated}, is_judged


def words_of(about: dict) -> tuple[list[Word], list[str]]:
    """The words of a piece, and how each is read."""
    reading = read(about["text"], sounds=about.get("sounds", 0))
    said = words(about["text"], reading.text, symbols=reading.symbols)
    return said, [reading.text[word.start : word.stop] for word in words(about["text"], reading.text)]


def read_piece(path: Path) -> Piece:
    """A word was not said if Whisper hears it neither in the whole nor in a cut around it."""
    about = json.loads(path.read_text(encoding="utf-8"))
    said, written = words_of(about)
    true, is_judged = heard_words(written, about["heard"])
    for first, past, heard in about["heard_again"]:
        again, _ = heard_words(written[first:past], heard)
        for kind in ("skipped", "cut"):
            true[kind][first:past] &= again["skipped"] | again["cut"]
    return Piece(np.load(path.with_suffix(".npy")).astype(np.float32), said, true, is_judged, about["step_seconds"])


# ---- what the alignment says, and how far that is right


def flags(piece: Piece, limits: Limits) -> dict[str, np.ndarray]:
    """kind: bool (words,)"""
    found = word_faults(piece.alignment, piece.said, piece.step_seconds, limits)
    return found | {"skipped": found["skipped"] | found["stuck"]}


def counts(pieces: list[Piece], limits: Limits, kinds: Sequence[str], by_word: bool) -> tuple[int, int, int]:
    """How many words, or pieces, were flagged rightly, flagged wrongly, and not flagged."""
    right = wrong = left = 0
    for piece in pieces:
        flagged, true = (
            np.any([which[kind] for kind in kinds], axis=0) & piece.is_judged for which in (flags(piece, limits), piece.true)
        )
        if not by_word:
            flagged, true = (each.any(keepdims=True) for each in (flagged, true))
        right, wrong, left = right + (flagged & true).sum(), wrong + (flagged & ~true).sum(), left + (true & ~flagged).sum()
    return int(right), int(wrong), int(left)


def table(pieces: list[Piece]) -> list[list[str]]:
    rows = [["", "flagged, not heard", "flagged, but heard", "not flagged, not heard", "precision", "recall"]]
    for unit, by_word in (("pieces", False), ("words", True)):
        for name, kinds in (("any fault", KINDS), *((kind, (kind,)) for kind in KINDS)):
            right, wrong, left = counts(pieces, Limits(), kinds, by_word)
            shares = [f"{right / n:.2f}" if n else "–" for n in (right + wrong, right + left)]
            rows.append([f"{unit}: {name}", *map(str, (right, wrong, left)), *shares])
    return rows


def report(out: Path, seed: int) -> None:
    """Figures of both halves, and what other limits would give on the first."""
    from demo.judging.results import markdown

    pieces = [read_piece(path) for path in sorted(out.glob("*.json"))]
    order = np.random.default_rng(seed).permutation(len(pieces))
    halves = [[pieces[i] for i in part] for part in (order[: len(order) // 2], order[len(order) // 2 :])]
    rows = [["limit", "", "pieces: right, wrong, left", "words: right, wrong, left"]]
    for name, values in TRIED.items():
        for value in values:
            found = (counts(halves[0], Limits(**{name: value}), KINDS, by_word) for by_word in (False, True))
            rows.append([name, f"{value:g}", *(", ".join(map(str, each)) for each in found)])
    print(markdown(rows))
    for name, half in zip(("First", "Second"), halves, strict=True):
        print(f"{name} half, {len(half)} pieces:\n\n{markdown(table(half))}")


def main() -> None:
    args = parse_arguments()
    whisper = prepare(args.judge)
    from demo.judging import judges, studio

    args.out.mkdir(parents=True, exist_ok=True)
    voices = sorted(path for path in (args.references or args.judge / "references").iterdir() if path.suffix in AUDIO_SUFFIXES)
    speak(args.models, voices, studio.read_texts(args.texts), args.out, args.seed)
    (listener,) = judges.load(["whisper"], judges.Options(str(whisper), args.models / "encoder.pt", cpu=True))
    listen(args.out, listener)
    report(args.out, args.seed)


if __name__ == "__main__":
    cli.run(main)
