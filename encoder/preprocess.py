"""Corpora -> two files per speaker: the mels of all utterances end to end, and a table of where each one starts."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from encoder.config import PreprocessSettings
from encoder.utterances import Placed, Table, read_table, write_table
from utils import corpora
from utils.config import override, parse_overrides
from utils.corpora import Speaker
from utils.data import audio, decoding, vad
from utils.data.decoding import MAX_SECONDS
from utils.data.lock import only_writer
from utils.data.names import within
from utils.data.parallel import run_tasks
from utils.data.paths import (
    EncoderData,
    default_out_dir,
    make_durable,
    one_field,
    own_folders,
    remove_leftovers,
    save_text,
    write_atomically,
)
from utils.data.quality import Tally
from utils.errors import UserError
from utils.report_lines import print_some, statistics_line

DEFAULT_CORPORA = ["librispeech_other", "voxceleb1", "voxceleb2"]
NO_AUDIO = "holds no audio files"


def preprocess(
    datasets_root: Path,
    out_dir: Path | None = None,
    datasets: list[str] | None = None,
    skip_existing: bool = False,
    trim: bool = True,
    n_processes: int | None = None,
    hparams: str = "",
    ignore_space: bool = False,
    scheduler: str | None = None,
    max_seconds: float = MAX_SECONDS,
    columns: Sequence[str] = (),
    speaker: str = "",
) -> None:
    """Write each speaker's mels, utterances and skipped files, and a log per corpus.

    datasets None takes those of DEFAULT_CORPORA that are present. With a scheduler (tcp://host:port), the workers of a Dask
    cluster do the work; they must see the same folders. Files longer than max_seconds are skipped. UserError if nothing is
    found or usable, if skip_existing meets speakers that were made with other settings, and, unless ignore_space, if the
    output will not fit on the disk.
    """
    (settings,) = override(parse_overrides(hparams), PreprocessSettings(trim_silences=trim))
    out = Path(out_dir or default_out_dir(datasets_root, "encoder"))
    names, asked = datasets or _present_defaults(datasets_root), corpora.Asked(tuple(columns), speaker)
    datasets_root, out, speakers = corpora.speakers_for(preprocess_speaker, datasets_root, out, names, asked, scheduler)
    data = EncoderData(out)
    with only_writer(data.root, "preprocess"):
        remove_leftovers(data.root)
        todo = corpora.unfinished(speakers, lambda speaker: skip_existing and _is_finished(data, speaker, settings))
        _check_others(data, {speaker.id for speaker in todo}, settings)
        need = corpora.Need(per_second=audio.SAMPLE_RATE / audio.ENCODER_HOP * audio.ENCODER_N_MELS * 4)
        corpora.preflight(datasets_root, todo, data.root, need, ignore_space=ignore_space)

        task = partial(preprocess_speaker, datasets_root=datasets_root, data=data, settings=settings, max_seconds=max_seconds)
        try:
            for _ in run_tasks(task, todo, n_processes, "Speakers", "audio h", scheduler):
                pass
        except OSError as error:
            place = error.filename or data.root
            raise UserError(f"{place}: {error.strerror or error}; fix this, then continue with --skip_existing") from error
        if scheduler:
            remove_leftovers(data.root)  # from workers that died
        _check_files(data, speakers)
        _write_logs(data, speakers, settings)
        _report(data, speakers, datasets_root)


def _present_defaults(datasets_root: Path) -> list[str]:
    present, absent = corpora.split_present(datasets_root, DEFAULT_CORPORA)
    if not present:
        found = sorted(path.name for path in Path(datasets_root).glob("LibriSpeech/*") if path.is_dir())
        raise UserError(
            f"{datasets_root}: found none of {', '.join(absent)}; "
            f"LibriSpeech subsets there: {', '.join(found) or 'none'} (choose with -d LibriSpeech/<subset>)"
        )
    if absent:
        print(f"not in {datasets_root}, continuing without: {', '.join(absent)}")
    return present


# ---- one speaker, in a worker process


def preprocess_speaker(
    speaker: Speaker, datasets_root: Path, data: EncoderData, settings: PreprocessSettings, max_seconds: float = MAX_SECONDS
) -> float:
    """Write one speaker's files -> hours of speech. utterances.tsv is deleted first and written last, so that it marks a
    finished speaker."""
    own_folders(data.root, speaker.id)
    folder = data.speaker_dir(speaker.id)
    for stale in (data.UTTERANCES, data.SKIPPED, data.NOTES):
        within(folder, stale).unlink(missing_ok=True)
    make_durable(folder)
    listing = corpora.list_utterances(speaker)
    skipped = list(listing.problems)
    if not listing.utterances:
        skipped.append(f"{speaker.folder}: {NO_AUDIO}")
    rows: list[Placed] = []
    start, tally = 0, Tally()
    with _MelWriter(folder / data.MELS) as writer:
        for utterance in listing.utterances:
            try:
                recording = decoding.read_span(utterance.path, utterance.span, max_seconds=max_seconds)
                mel = utterance_mel(recording.wav, utterance.path, settings)
            except audio.AudioError as error:
                corpora.check_there(speaker)
                skipped.append(str(error))
                continue
            writer.append(mel)
            tally.add(utterance.name, recording)
            source = corpora.relative(utterance.path, datasets_root)
            rows.append(Placed(one_field(utterance.name), start, len(mel), one_field(source)))
            start += len(mel)
    if skipped:
        relative = [one_field(line.replace(f"{datasets_root}{os.sep}", "")) for line in skipped]
        save_text(folder / data.SKIPPED, "".join(f"{line}\n" for line in relative))
    if notes := tally.notes():
        save_text(folder / data.NOTES, "".join(f"{speaker.name}: {what}: {how_often}\n" for what, how_often in notes))
    make_durable(folder)
    write_table(folder / data.UTTERANCES, Table(_parameters(settings), rows))
    make_durable(folder)
    return start * audio.ENCODER_HOP / audio.SAMPLE_RATE / 3600


def utterance_mel(wav: np.ndarray, path: Path, settings: PreprocessSettings) -> np.ndarray:
    """(n,) at 16 kHz -> float32 (T, 40). AudioError, with the name of its file, if it cannot be used."""
    wav = audio.normalize_volume(wav, settings.volume_dbfs, increase_only=True)
    if settings.trim_silences:
        wav = vad.trim_silences(wav)
        if not len(wav):
            raise audio.AudioError(f"{path}: no speech found in it")
    n_frames = len(wav) // audio.ENCODER_HOP + 1
    if n_frames < settings.min_frames:
        raise audio.AudioError(f"{path}: {n_frames} frames of speech, under {settings.min_frames}")
    return audio.encoder_mel(wav)


class _MelWriter:
    """Writes mels to one .npy file, atomically, with only one of them in memory."""

    def __init__(self, path: Path) -> None:
        self._atomic = write_atomically(path)
        self._n_frames = 0

    def __enter__(self) -> "_MelWriter":
        self._file = self._atomic.__enter__().open("wb")
        self._write_header()
        return self

    def append(self, mel: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(mel, dtype="<f4"))
        self._n_frames += len(mel)

    def _write_header(self) -> None:
        """It can be rewritten at the end, as numpy leaves room in a header for the first axis to grow."""
        self._file.seek(0)
        shape = (self._n_frames, audio.ENCODER_N_MELS)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<f4", "fortran_order": False, "shape": shape})

    def __exit__(self, *error: object) -> None:
        self._write_header()
        self._file.close()
        self._atomic.__exit__(*error)


# ---- what is on disk


def _parameters(settings: PreprocessSettings) -> str:
    return "# " + " ".join(f"{name}={value}" for name, value in asdict(settings).items())


def _is_made_alike(data: EncoderData, speaker: str, settings: PreprocessSettings) -> bool:
    """Whether the speaker's files are there. UserError if they were made with other settings."""
    path = data.speaker_dir(speaker) / data.UTTERANCES
    if not (path.is_file() and path.with_name(data.MELS).is_file()):
        return False
    made_with = read_table(path).made_with
    if made_with != _parameters(settings):
        raise UserError(
            f"{path} was made with {made_with[2:]}, not with {_parameters(settings)[2:]}: use the same settings, make "
            "everything again without --skip_existing, or write to another folder with --out_dir"
        )
    return True


def _is_finished(data: EncoderData, speaker: Speaker, settings: PreprocessSettings) -> bool:
    if not _is_made_alike(data, speaker.id, settings):
        return False
    had_no_audio = any(line.endswith(NO_AUDIO) for line in _lines(data, speaker, data.SKIPPED))  # perhaps its disk was missing
    return not (had_no_audio and corpora.list_utterances(speaker).utterances)


def _check_others(data: EncoderData, todo: set[str], settings: PreprocessSettings) -> None:
    """UserError if the folder holds speakers made with other settings that are not made again."""
    for path in data.root.glob(f"*/{data.UTTERANCES}"):
        if path.parent.name not in todo:
            _is_made_alike(data, path.parent.name, settings)


def _check_files(data: EncoderData, speakers: list[Speaker]) -> None:
    """UserError if something has removed what was written."""
    files = (data.speaker_dir(speaker.id) / name for speaker in speakers for name in (data.MELS, data.UTTERANCES))
    if lost := [path for path in files if not path.is_file()]:
        raise UserError(f"{lost[0]}: has been removed meanwhile ({len(lost)} missing in all); continue with --skip_existing")
    empty = (each for each in speakers if any(line.endswith(NO_AUDIO) for line in _lines(data, each, data.SKIPPED)))
    corpora.check_empty(empty)


def _lengths(data: EncoderData, speaker: Speaker) -> Iterator[int]:
    return (row.n_frames for row in read_table(data.speaker_dir(speaker.id) / data.UTTERANCES).rows)


def _lines(data: EncoderData, speaker: Speaker, name: str) -> list[str]:
    path = within(data.speaker_dir(speaker.id), name, to_write=True)  # what it holds goes into logs
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _write_logs(data: EncoderData, speakers: list[Speaker], settings: PreprocessSettings) -> None:
    """One for each corpus."""
    by_corpus: dict[str, list[Speaker]] = {}
    for speaker in speakers:
        by_corpus.setdefault(speaker.corpus, []).append(speaker)
    for corpus, members in by_corpus.items():
        _write_log(data, corpus, members, settings)


def _write_log(data: EncoderData, corpus: str, speakers: list[Speaker], settings: PreprocessSettings) -> None:
    """Made from the files on disk, so that it is the same however many runs it took."""
    n_each = {speaker.name: [*_lengths(data, speaker)] for speaker in speakers}
    seconds = np.array([n for lengths in n_each.values() for n in lengths]) * audio.ENCODER_HOP / audio.SAMPLE_RATE
    skipped, notes = ([line for each in speakers for line in _lines(data, each, name)] for name in (data.SKIPPED, data.NOTES))
    n_used = sum(bool(lengths) for lengths in n_each.values())
    lines = [corpus, "", "Parameters"]
    fixed = {"sample_rate": audio.SAMPLE_RATE, "n_mels": audio.ENCODER_N_MELS, "hop_length": audio.ENCODER_HOP}
    lines += [f"    {name}: {value}" for name, value in (asdict(settings) | fixed).items()]
    lines += ["", "Counts"]
    lines += [f"    speakers: {len(speakers)}, of which {len(speakers) - n_used} without a usable utterance"]
    lines += [f"    utterances: {len(seconds)}", f"    skipped: {len(skipped)}", f"    hours: {seconds.sum() / 3600:.3f}"]
    if len(seconds):
        lines += ["", "Utterances per speaker", statistics_line([len(lengths) for lengths in n_each.values() if lengths])]
        lines += ["", "Duration of an utterance (s)", statistics_line(seconds)]
        lines += ["", "Duration of a speaker (min)", statistics_line([sum(n) * 0.01 / 60 for n in n_each.values() if n])]
    lines += ["", "Skipped", *(f"    {line}" for line in skipped or ["nothing"])]
    lines += ["", "Notes", *(f"    {line}" for line in notes or ["nothing"])]
    save_text(data.log(corpora.disk_name(corpus)), "\n".join([*lines, ""]))


def _report(data: EncoderData, speakers: list[Speaker], datasets_root: Path) -> None:
    lengths = [n for speaker in speakers for n in _lengths(data, speaker)]
    skipped, notes = ([line for each in speakers for line in _lines(data, each, name)] for name in (data.SKIPPED, data.NOTES))
    logs = ", ".join(str(data.log(corpora.disk_name(corpus))) for corpus in sorted({speaker.corpus for speaker in speakers}))
    hours = sum(lengths) * audio.ENCODER_HOP / audio.SAMPLE_RATE / 3600
    print(f"{len(lengths)} utterances ({hours:.2f} h) of {len(speakers)} speakers in {data.root}; logs: {logs}")
    print_some(skipped, "files were skipped")
    print_some(notes, "notes on recordings")
    if not lengths:
        raise UserError(
            f"{datasets_root}: not one usable utterance in the audio of {len(speakers)} speakers "
            f"({', '.join(sorted({speaker.corpus for speaker in speakers}))}); the reasons are in {logs}"
        )
