"""One speaker's utterances -> waves, mels and the part file that says that the speaker is finished."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthesizer.corpus.denoise import denoise
from synthesizer.corpus.parts import Part, one_field, read_part
from synthesizer.corpus.segment import Segment, disagreement, noise_spans, split
from synthesizer.corpus.transcript import onto_text, spoken
from synthesizer.text import SYMBOL_SETS, TextError, clean, text_to_ids
from utils import corpora
from utils.config import check_at_least
from utils.corpora import Speaker, Utterance
from utils.data import audio, vad
from utils.data.audio import AudioError, MelFormat
from utils.data.paths import SynthesizerData, save_npy
from utils.data.rows import Row
from utils.errors import UserError

SILENCE_PEAK = 1e-3  # a file that never exceeds this amplitude, -60 dB of full scale, holds no speech


@dataclass(frozen=True)
class PreprocessSettings:
    """What makes utterances of audio files; with the mel format, all that the output depends on."""

    alignments: bool = True  # cut by word times where known; else whole files with their texts, trimmed by voice activity
    denoise: bool = True  # where word times tell which stretches are silence
    silence_min_duration_split: float = 0.4  # s; utterances are split at silences from this length on
    utterance_min_duration: float = 1.6  # s; shorter pieces of a file are joined to a neighbour, or else skipped
    min_mel_frames: int = 40  # shorter utterances are skipped
    max_mel_frames: int = 900  # longer ones too
    min_chars_per_second: float = 4.0  # of the text as read; what is slower has more in its audio than in its text
    max_chars_per_second: float = 28.0  # what is faster has words in its text that are not in its audio

    def __post_init__(self) -> None:
        check_at_least(self, 1, "min_mel_frames", "max_mel_frames")
        check_at_least(self, 0, "utterance_min_duration", "min_chars_per_second")
        if self.silence_min_duration_split <= 0:
            raise ValueError("silence_min_duration_split must be positive")
        if self.min_mel_frames > self.max_mel_frames or self.min_chars_per_second >= self.max_chars_per_second:
            raise ValueError("min_mel_frames and min_chars_per_second must not be over their max_ counterparts")


class Piece(NamedTuple):
    """What becomes one row: float wave (n,) at 16 kHz, its text, and its words and their ends (s) where known."""

    wav: np.ndarray
    text: str
    segment: Segment | None = None
    is_cut: bool = False  # whether it is a part of its file


def is_finished(data: SynthesizerData, speaker: Speaker, datasets_root: Path, settings: PreprocessSettings) -> bool:
    """Whether the speaker's part is there and word times have not come since. UserError if it is of another folder."""
    path = data.part(speaker.id)
    if not path.is_file():
        return False
    part = read_part(path)
    if part.folder != (folder := one_field(corpora.relative(speaker.folder, datasets_root))):
        raise UserError(
            f"{path}: was made of {part.folder}, and now {folder} would go by the same name; preprocess it into another "
            "folder with --out_dir"
        )
    return not part.unaligned and part.timed == _time_files(speaker, datasets_root, settings)


def _time_files(speaker: Speaker, datasets_root: Path, settings: PreprocessSettings) -> list[str]:
    files = corpora.time_files(speaker.folder, speaker.top) if settings.alignments else []
    return [one_field(corpora.relative(path, datasets_root)) for path in files]


def preprocess_speaker(
    speaker: Speaker, datasets_root: Path, data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat
) -> float:
    """Write the speaker's waves and mels, and last the part file. Returns hours of audio read."""
    _forget(data, speaker)
    passages = corpora.is_passages(speaker)
    listing = corpora.list_utterances(speaker, not (passages and settings.alignments), settings.alignments)
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
            pieces = _pieces(part, utterance, passages, settings, mel_format)
        except AudioError as error:
            part.skipped.append(("unusable audio", str(error)))
            continue
        for i, piece in enumerate(pieces):
            _add_piece(part, f"{corpora.stem(speaker, utterance.name)}_{i:02d}", piece, data, settings, mel_format)
    prefix = f"{datasets_root}/"
    part.skipped = [(reason, what.replace(prefix, "")) for reason, what in part.skipped]
    part.notes = [(reason, what.replace(prefix, "")) for reason, what in part.notes]
    part.unaligned = [folder.replace(prefix, "") for folder in part.unaligned]
    part.timed = _time_files(speaker, datasets_root, settings)
    part.folder = corpora.relative(speaker.folder, datasets_root)
    part.save(data.part(speaker.id))
    return part.seconds / 3600


def _forget(data: SynthesizerData, speaker: Speaker) -> None:
    """Delete what an earlier run made of a speaker who is done again: its pieces need not be those of this run."""
    path = data.part(speaker.id)
    if path.is_file():
        for row in read_part(path).rows:
            for file in (data.audio_dir / row.audio, data.mels_dir / row.mel, data.embeds_dir / row.embed):
                file.unlink(missing_ok=True)
        path.unlink()


def _pieces(part: Part, utterance: Utterance, passages: bool, settings: PreprocessSettings, f: MelFormat) -> list[Piece]:
    """What becomes of one audio file: its parts between long pauses where word times are known, else the whole.

    The words of a passage are its text; other texts keep their punctuation, and must be spelt as the words are. Where
    they are once written out in full, that is what is kept.
    """
    has_times = utterance.words is not None
    if not has_times and (utterance.text is None or (passages and settings.alignments)):
        missing = "word times" if passages and settings.alignments else "text"
        part.skipped.append((f"without {missing}", str(utterance.path)))
        return []
    wav = audio.load(utterance.path, f.sample_rate)
    part.seconds += len(wav) / f.sample_rate
    if np.abs(wav).max() < SILENCE_PEAK:
        raise AudioError(f"{utterance.path}: is silent")
    wav = audio.rescale(wav, f.rescale_peak)
    if has_times:
        if problem := disagreement(utterance.ends, len(wav) / f.sample_rate):
            part.skipped.append(("alignment disagrees with audio", f"{utterance.path}: {problem}"))
            return []
        times = (utterance.words, utterance.ends)
        if not passages and utterance.text is not None:
            # Aligners often know words alone: "five pounds" of £5.
            times = onto_text(utterance.text, *times) or onto_text(clean(utterance.text), *times)
        if times:
            return aligned_pieces(wav, *times, settings, f)
        part.notes.append(("text and timed words differ, used whole", f"{utterance.path}: {utterance.text[:80]}"))
    return [Piece(vad.trim_silences(wav), utterance.text)]


def aligned_pieces(
    wav: np.ndarray, words: tuple[str, ...], ends: tuple[float, ...], settings: PreprocessSettings, f: MelFormat
) -> list[Piece]:
    """The pieces of a wave (n,) between its long pauses, denoised by what is heard in all of its pauses."""
    duration = len(wav) / f.sample_rate
    longest = settings.max_mel_frames * f.hop_length / f.sample_rate
    segments = split(words, ends, duration, settings.silence_min_duration_split, settings.utterance_min_duration, longest)
    if settings.denoise and segments:
        spans = noise_spans(words, ends, duration)
        wav = denoise(wav, [(round(start * f.sample_rate), round(end * f.sample_rate)) for start, end in spans])
    pieces = []
    for segment in segments:
        first, past = round(segment.start * f.sample_rate), round(segment.end * f.sample_rate)
        pieces.append(Piece(wav[first:past], segment.text, segment, is_cut=len(segments) > 1))
    return pieces


def _add_piece(part: Part, name: str, piece: Piece, data: SynthesizerData, settings: PreprocessSettings, f: MelFormat) -> None:
    n_frames, text = 1 + len(piece.wav) // f.hop_length, _one_line(piece.text)
    if misfit := _misfit(piece, text, n_frames, settings, f):
        reason, what = misfit
        part.skipped.append((reason, f"{name}: {what}"))
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
        words = ",".join(_one_line(spoken(word)) for word in piece.segment.words)
        part.alignments.append(f"{row.mel}|{words}|{','.join(f'{end:.3f}' for end in piece.segment.ends)}")


def _misfit(piece: Piece, text: str, n_frames: int, settings: PreprocessSettings, f: MelFormat) -> tuple[str, str] | None:
    """(reason, detail) why a piece is not to be trained on; None if it is."""
    try:
        n_characters = len(text_to_ids(text, SYMBOL_SETS["arpabet"])) - 1
    except TextError:
        return "text without a readable letter", text[:80]
    seconds = len(piece.wav) / f.sample_rate
    if piece.is_cut and seconds < settings.utterance_min_duration:
        return "too short a piece", f"{seconds:.2f} s"
    if n_frames < settings.min_mel_frames:
        return "too short", f"{n_frames} frames"
    if n_frames > settings.max_mel_frames:
        return "too long", f"{n_frames} frames"
    if n_characters < settings.min_chars_per_second * seconds:
        return "too few characters per second", f"{n_characters / seconds:.1f}, {text[:80]}"
    if n_characters > settings.max_chars_per_second * seconds:
        return "too many characters per second", f"{n_characters / seconds:.1f}, {text[:80]}"
    return None


def _one_line(text: str) -> str:
    """Without what separates columns and lines on disk."""
    return " ".join(text.replace("|", " ").split())
