"""One speaker's utterances -> waves, mels and the part file that says that the speaker is finished.

A part file has one tab-separated line per fact: source (seconds of audio read, audio files, those in folders without
word times), row (of train.txt), alignment (of alignments.txt), skipped (reason, what), note (what is odd, where),
unaligned (folder without word times).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthesizer.denoise import denoise
from synthesizer.segment import Segment, disagreement, noise_spans, split
from synthesizer.text import TextError, text_to_ids
from utils import audio, corpora, vad
from utils.audio import AudioError, MelFormat
from utils.cli import check_at_least
from utils.corpora import Speaker, Utterance
from utils.manifest import Row, format_row, parse_row
from utils.paths import SynthesizerData, save_npy, save_text

SILENCE_PEAK = 1e-3  # a file that never exceeds this amplitude, -60 dB of full scale, holds no speech


@dataclass(frozen=True)
class PreprocessSettings:
    """What makes utterances of audio files; with the mel format, all that the output depends on."""

    alignments: bool = True  # split by word times; else whole files with the text beside them, trimmed by voice activity
    denoise: bool = True  # where word times tell which stretches are silence
    silence_min_duration_split: float = 0.4  # s; utterances are split at silences from this length on
    utterance_min_duration: float = 1.6  # s; shorter pieces are joined to a neighbour, or else skipped
    max_mel_frames: int = 900  # longer utterances are skipped

    def __post_init__(self) -> None:
        check_at_least(self, 1, "max_mel_frames")
        check_at_least(self, 0, "utterance_min_duration")
        if self.silence_min_duration_split <= 0:
            raise ValueError("silence_min_duration_split must be positive")


class Piece(NamedTuple):
    """What becomes one row: float wave (n,) at 16 kHz, its text, and its words and their ends (s) where known."""

    wav: np.ndarray
    text: str
    segment: Segment | None = None


@dataclass
class Part:
    """What came of one speaker."""

    rows: list[Row] = field(default_factory=list)
    alignments: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (reason, file or line)
    notes: list[tuple[str, str]] = field(default_factory=list)
    unaligned: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of audio read
    n_utterances: int = 0  # audio files found
    n_unaligned: int = 0  # those of them in folders without word times

    def save(self, path: Path) -> None:
        lines = [("source", f"{self.seconds:.3f}", str(self.n_utterances), str(self.n_unaligned))]
        lines += [("row", format_row(row)) for row in self.rows]
        lines += [("alignment", line) for line in self.alignments]
        lines += [("skipped", *reason) for reason in self.skipped]
        lines += [("note", *note) for note in self.notes]
        lines += [("unaligned", folder) for folder in self.unaligned]
        save_text(path, "".join("\t".join(" ".join(f.split()) for f in line) + "\n" for line in lines))


def read_part(path: Path) -> Part:
    """Inverse of Part.save."""
    part = Part()
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        kind, *values = line.split("\t")
        if kind == "source":
            part.seconds, part.n_utterances, part.n_unaligned = float(values[0]), int(values[1]), int(values[2])
        elif kind == "row":
            part.rows.append(parse_row(values[0]))
        elif kind == "alignment":
            part.alignments.append(values[0])
        elif kind == "unaligned":
            part.unaligned.append(values[0])
        else:
            {"skipped": part.skipped, "note": part.notes}[kind].append((values[0], values[1]))
    return part


def preprocess_speaker(
    speaker: Speaker, datasets_root: Path, data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat
) -> float:
    """Write the speaker's waves and mels, and last the part file. Returns hours of audio read."""
    listing = corpora.list_utterances(speaker, texts=not settings.alignments, alignments=settings.alignments)
    part = Part(unaligned=listing.chapters_without_alignments, n_utterances=len(listing.utterances))
    part.notes += [("problem in the corpus's files", problem) for problem in listing.problems]
    if not listing.utterances:
        part.notes.append(("speaker without audio", str(speaker.folder)))
    unaligned = set(part.unaligned)
    for utterance in listing.utterances:
        if str(utterance.path.parent) in unaligned:
            part.n_unaligned += 1
            continue
        try:
            _add_utterance(part, speaker, utterance, data, settings, mel_format)
        except AudioError as error:
            part.skipped.append(("unusable audio", str(error)))
    prefix = f"{datasets_root}/"
    part.skipped = [(reason, what.replace(prefix, "")) for reason, what in part.skipped]
    part.notes = [(reason, what.replace(prefix, "")) for reason, what in part.notes]
    part.unaligned = [folder.replace(prefix, "") for folder in part.unaligned]
    part.save(data.part(speaker.id))
    return part.seconds / 3600


def _add_utterance(
    part: Part, speaker: Speaker, utterance: Utterance, data: SynthesizerData, settings: PreprocessSettings, f: MelFormat
) -> None:
    words, text = utterance.words, utterance.text
    if (words if settings.alignments else text) is None:
        missing = "word times" if settings.alignments else "text"
        part.skipped.append((f"without {missing}", str(utterance.path)))
        return
    wav = audio.load(utterance.path, f.sample_rate)
    part.seconds += len(wav) / f.sample_rate
    if np.abs(wav).max() < SILENCE_PEAK:
        raise AudioError(f"{utterance.path}: is silent")
    wav = audio.rescale(wav, f.rescale_peak)
    if settings.alignments:
        if problem := disagreement(utterance.ends, len(wav) / f.sample_rate):
            part.skipped.append(("alignment disagrees with audio", f"{utterance.path}: {problem}"))
            return
        pieces = aligned_pieces(wav, words, utterance.ends, settings, f)
    else:
        pieces = iter([Piece(vad.trim_silences(wav), text)])
    # names as published: <speaker>-<chapter>-<utterance>_<piece>, the speaker first in any corpus
    stem = utterance.name if utterance.name.startswith(f"{speaker.name}-") else f"{speaker.name}-{utterance.name}"
    for i, piece in enumerate(pieces):
        _add_piece(part, f"{stem}_{i:02d}", piece, data, settings, f)


def aligned_pieces(
    wav: np.ndarray, words: tuple[str, ...], ends: tuple[float, ...], settings: PreprocessSettings, f: MelFormat
) -> Iterator[Piece]:
    """The pieces of a wave (n,) between its long pauses, denoised by what is heard in all of its pauses."""
    duration = len(wav) / f.sample_rate
    longest = settings.max_mel_frames * f.hop_length / f.sample_rate
    segments = split(words, ends, duration, settings.silence_min_duration_split, settings.utterance_min_duration, longest)
    if settings.denoise and segments:
        spans = noise_spans(words, ends, duration)
        wav = denoise(wav, [(round(start * f.sample_rate), round(end * f.sample_rate)) for start, end in spans])
    for segment in segments:
        first, past = round(segment.start * f.sample_rate), round(segment.end * f.sample_rate)
        yield Piece(wav[first:past], segment.text, segment)


def _add_piece(part: Part, name: str, piece: Piece, data: SynthesizerData, settings: PreprocessSettings, f: MelFormat) -> None:
    seconds, n_frames = len(piece.wav) / f.sample_rate, 1 + len(piece.wav) // f.hop_length
    text = _one_line(piece.text)
    try:
        text_to_ids(text)
    except TextError:
        part.skipped.append(("text without a readable letter", f"{name}: {text[:80]}"))
        return
    if seconds < settings.utterance_min_duration:
        part.skipped.append(("too short", f"{name}: {seconds:.2f} s"))
        return
    if n_frames > settings.max_mel_frames:
        part.skipped.append(("too long", f"{name}: {n_frames} frames"))
        return
    if "|" in piece.text:
        part.notes.append(("a | in the text was replaced by a space", name))
    stored = np.zeros(n_frames * f.hop_length, np.int16)  # whole frames, as the vocoder wants: zeros follow the wave
    stored[: len(piece.wav)] = audio.to_int16(piece.wav)
    mel = audio.mel_spectrogram(audio.from_int16(stored)[:-1], f)  # (n_frames, n_mels): one sample more makes a frame more
    save_npy(data.audio(name), stored)
    save_npy(data.mel(name), mel.astype(np.float16))
    row = Row(data.audio(name).name, data.mel(name).name, data.embed(name).name, len(stored), len(mel), text)
    part.rows.append(row)
    if piece.segment:
        spoken = ",".join(_one_line(word) for word in piece.segment.words)
        part.alignments.append(f"{row.mel}|{spoken}|{','.join(f'{end:.3f}' for end in piece.segment.ends)}")


def _one_line(text: str) -> str:
    """Without what separates columns and lines on disk."""
    return " ".join(text.replace("|", " ").split())
