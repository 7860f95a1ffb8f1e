"""One speaker's audio files -> waves, mels and a part file, which says that the speaker is finished."""

import os
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthesizer.config import PreprocessSettings
from synthesizer.corpus import augment
from synthesizer.corpus.denoise import denoise
from synthesizer.corpus.folder import Part, missing_files, read_part
from synthesizer.corpus.segment import Segment, disagreement, noise_spans, split
from synthesizer.corpus.transcript import onto_text, spoken
from synthesizer.text import SYMBOL_SETS, TextError, UnreadCounts, clean, read
from utils import corpora
from utils.corpora import Speaker, Utterance
from utils.data import audio, decoding, vad
from utils.data.audio import AudioError, MelFormat
from utils.data.decoding import MAX_SECONDS
from utils.data.names import same_file, within
from utils.data.paths import SynthesizerData, make_durable, one_field, save_npy
from utils.data.quality import Tally
from utils.data.rows import Row, copy_name
from utils.errors import UserError

SILENCE_PEAK = 1e-3  # a file that never exceeds this amplitude, -60 dB of full scale, holds no speech


class Piece(NamedTuple):
    """What becomes a row of train.txt."""

    wav: np.ndarray  # float32 (n,) at 16 kHz
    text: str
    segment: Segment | None = None  # its words and their times, where known
    is_cut: bool = False  # whether it is only a part of its file


def is_finished(data: SynthesizerData, speaker: Speaker, datasets_root: Path, settings: PreprocessSettings) -> bool:
    """Whether the speaker's part and files are there, and no word times are new. UserError if made of another folder."""
    path = data.part(speaker.id)
    if not path.is_file():
        return False
    part = read_part(path)
    if part.folder != (folder := one_field(corpora.relative(speaker.folder, datasets_root))):
        raise UserError(
            f"{path}: was made of {part.folder}, and now {folder} would go by the same name; preprocess it into another "
            "folder with --out_dir"
        )
    if not part.n_utterances and corpora.list_utterances(speaker).utterances:
        return False  # its disk was missing
    is_current = not part.unaligned and part.timed == _alignment_files(speaker, datasets_root, settings)
    return is_current and not missing_files(data, part)


def _alignment_files(speaker: Speaker, datasets_root: Path, settings: PreprocessSettings) -> list[str]:
    files = corpora.alignment_files(speaker.folder, speaker.top) if settings.alignments else []
    return [one_field(corpora.relative(path, datasets_root)) for path in files]


def preprocess_speaker(
    speaker: Speaker,
    datasets_root: Path,
    data: SynthesizerData,
    settings: PreprocessSettings,
    mel_format: MelFormat,
    max_seconds: float = MAX_SECONDS,
) -> float:
    """Write the speaker's waves and mels, and last the part file. Returns hours of audio read."""
    _forget(data, speaker)
    passages = corpora.is_passages(speaker)
    listing = corpora.list_utterances(speaker, not (passages and settings.alignments), settings.alignments)
    part = Part(unaligned=listing.chapters_without_alignments, n_utterances=len(listing.utterances))
    part.notes += [("problem in the corpus's files", problem) for problem in listing.problems]
    if not listing.utterances:
        part.notes.append(("speaker without audio", str(speaker.folder)))
    unaligned, taken, tally = set(part.unaligned), set(), Tally()
    for utterance in listing.utterances:
        if str(utterance.path.parent) in unaligned:
            part.n_unaligned += 1
            continue
        if missing := _missing(utterance, passages, settings):
            part.skipped.append((f"without {missing}", str(utterance.path)))
            continue
        stem = corpora.stem(speaker, utterance.name)
        if same_file(stem) in taken:
            part.skipped.append(("another file has this name, but for case", str(utterance.path)))
            continue
        taken.add(same_file(stem))
        try:
            recording = decoding.read_span(utterance.path, utterance.span, mel_format.sample_rate, max_seconds)
            pieces = _pieces(part, utterance, recording.wav, passages, settings, mel_format)
        except AudioError as error:
            corpora.check_there(speaker)
            part.skipped.append(("unusable audio", str(error)))
            continue
        tally.add(str(utterance.path), recording)
        for i, piece in enumerate(pieces):
            name = f"{stem}_{i:02d}"
            if _add_piece(part, name, piece, data, settings, mel_format):
                for factor in augment.factors(name, settings.speaker_augmentation):
                    _add_piece(part, copy_name(name, factor), _faster(piece, factor), data, settings, mel_format)
    part.notes += tally.notes()
    prefix = f"{datasets_root}{os.sep}"
    part.skipped = [(reason, what.replace(prefix, "")) for reason, what in part.skipped]
    part.notes = [(reason, what.replace(prefix, "")) for reason, what in part.notes]
    part.unaligned = [folder.replace(prefix, "") for folder in part.unaligned]
    part.unread = _unread([row.text for row in part.rows], settings.cleaner)
    part.timed = _alignment_files(speaker, datasets_root, settings)
    part.folder = corpora.relative(speaker.folder, datasets_root)
    make_durable(data.audio_dir, data.mels_dir)
    part.save(data.part(speaker.id))
    make_durable(data.parts_dir)
    return part.seconds / 3600


def _forget(data: SynthesizerData, speaker: Speaker) -> None:
    """Delete what an earlier run made of the speaker, which may be pieces that this run does not make."""
    part, old = data.part(speaker.id), data.old_part(speaker.id)
    path = part if part.is_file() else old
    if path.is_file():
        rows = read_part(path).rows
        path.replace(old)  # now the speaker is unfinished, but it is still known what to delete
        make_durable(data.parts_dir)
        for row in rows:
            for folder, name in ((data.audio_dir, row.audio), (data.mels_dir, row.mel), (data.embeds_dir, row.embed)):
                within(folder, name).unlink(missing_ok=True)
        make_durable(*filter(Path.is_dir, (data.audio_dir, data.mels_dir, data.embeds_dir)))
        old.unlink()


def _missing(utterance: Utterance, passages: bool, settings: PreprocessSettings) -> str | None:
    """What an utterance lacks to be used."""
    if utterance.words is None and (utterance.text is None or (passages and settings.alignments)):
        return "word times" if passages and settings.alignments else "text"
    return None


def _pieces(
    part: Part, utterance: Utterance, wav: np.ndarray, passages: bool, settings: PreprocessSettings, f: MelFormat
) -> list[Piece]:
    """One audio file (n,), cut at its long pauses if its word times are known, else whole.

    The text of a passage is its words. Other texts keep their punctuation, and must spell the same as the words, as they
    are or written out by the cleaner; the text is then kept written out.
    """
    part.seconds += len(wav) / f.sample_rate
    if np.abs(wav).max() < SILENCE_PEAK:
        raise AudioError(f"{utterance.path}: is silent")
    wav = audio.rescale(wav, f.rescale_peak)
    if utterance.words is not None:
        if problem := disagreement(utterance.ends, len(wav) / f.sample_rate):
            part.skipped.append(("alignment disagrees with audio", f"{utterance.path}: {problem}"))
            return []
        times = (utterance.words, utterance.ends)
        if not passages and utterance.text is not None:
            # Aligners often write texts out: "five pounds" for £5.
            text = utterance.text
            times = onto_text(text, *times) or onto_text(clean(text, settings.cleaner), *times)
        if times:
            return aligned_pieces(wav, *times, settings, f)
        part.notes.append(("text and timed words differ, used whole", f"{utterance.path}: {utterance.text[:80]}"))
    return [Piece(vad.trim_silences(wav), utterance.text)]


def aligned_pieces(
    wav: np.ndarray, words: tuple[str, ...], ends: tuple[float, ...], settings: PreprocessSettings, f: MelFormat
) -> list[Piece]:
    """The pieces of a wave (n,) between its long pauses, without the noise that is heard in its pauses."""
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


def _faster(piece: Piece, factor: float) -> Piece:
    segment = piece.segment and augment.faster_segment(piece.segment, factor)
    return piece._replace(wav=augment.faster(piece.wav, factor), segment=segment)


def _add_piece(part: Part, name: str, piece: Piece, data: SynthesizerData, settings: PreprocessSettings, f: MelFormat) -> bool:
    """Whether the piece is good; if so, it is written."""
    n_frames, text = 1 + len(piece.wav) // f.hop_length, one_field(piece.text.replace("|", " "))
    if misfit := _misfit(piece, text, n_frames, settings, f):
        reason, what = misfit
        part.skipped.append((reason, f"{name}: {what}"))
        return False
    if "|" in piece.text:
        part.notes.append(("a | in the text was replaced by a space", name))
    stored = np.zeros(n_frames * f.hop_length, np.int16)  # padded to whole frames, as the vocoder needs
    stored[: len(piece.wav)] = audio.to_int16(piece.wav)
    mel = audio.mel_spectrogram(
        audio.from_int16(stored)[:-1], f
    )  # (n_frames, n_mels); with the last sample there would be one frame more
    save_npy(data.audio(name), stored)
    save_npy(data.mel(name), mel.astype(np.float16))
    row = Row(data.audio(name).name, data.mel(name).name, data.embed(name).name, len(stored), len(mel), text)
    part.rows.append(row)
    if piece.segment:
        words = ",".join(one_field(spoken(word).replace("|", " ")) for word in piece.segment.words)
        part.alignments.append(f"{row.mel}|{words}|{','.join(f'{end:.3f}' for end in piece.segment.ends)}")
    return True


def _misfit(piece: Piece, text: str, n_frames: int, settings: PreprocessSettings, f: MelFormat) -> tuple[str, str] | None:
    """(reason, detail) why a piece is skipped; None if it is good."""
    try:
        n_characters = len(_as_read(text, settings.cleaner))
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


def _unread(texts: list[str], cleaner: str) -> list[tuple[str, int, int]]:
    """The characters that a model with the default symbols, or the sounds in braces, does not say."""
    counts, known = UnreadCounts(), set(SYMBOL_SETS["arpabet"])
    for text in texts:
        if not set(text.lower()) <= known:
            counts.add_text(text, SYMBOL_SETS["arpabet"], cleaner)
    return [(character, n, counts.texts[character]) for character, n in sorted(counts.times.items())]


def _as_read(text: str, cleaner: str) -> str:
    """The text as a model will read it. Which letters a model knows is its own choice, except in English."""
    symbols = SYMBOL_SETS["arpabet"]
    if cleaner != "english":  # letters, accents and digits
        symbols += "".join(c for c in clean(text, cleaner) if unicodedata.category(c)[0] in "LMN")
    return read(text, symbols, cleaner).text
