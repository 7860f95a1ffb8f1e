"""What the synthesizer trains on: audio files -> waves, mels and train.txt; waves -> speaker embeddings.

A speaker is finished when its part file is there. train.txt, alignments.txt and the log are made from the parts at the end,
so an interrupted run that was continued leaves the same files as one that was not interrupted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from synthesizer.config import EmbedSettings, PreprocessSettings
from synthesizer.corpus.folder import (
    Part,
    begin_anew,
    check_names,
    check_replaceable,
    empty,
    is_continuation,
    missing_files,
    read_part,
)
from synthesizer.corpus.speakers import is_finished, preprocess_speaker
from synthesizer.corpus.summary import report
from utils import corpora
from utils.config import override, parse_overrides
from utils.data.arrays import ArrayError, load_npy
from utils.data.audio import SAMPLE_RATE, MelFormat, from_int16
from utils.data.decoding import MAX_SECONDS
from utils.data.lock import changed_settings, only_writer, save_settings
from utils.data.names import same_file, within
from utils.data.parallel import run_tasks
from utils.data.paths import (
    SynthesizerData,
    default_out_dir,
    make_durable,
    own_folders,
    remove_leftovers,
    save_npy,
    save_text,
    write_atomically,
)
from utils.data.rows import Row, read_rows, write_rows
from utils.data.tables import marked
from utils.errors import UserError
from utils.report_lines import print_some

DISK_BLOCK = 4096  # bytes


def preprocess_audio(
    datasets_root: Path,
    out_dir: Path | None = None,
    datasets: list[str] | None = None,
    skip_existing: bool = False,
    alignments: bool = True,
    denoise: bool = True,
    n_processes: int | None = None,
    hparams: str = "",
    ignore_space: bool = False,
    scheduler: str | None = None,
    max_seconds: float = MAX_SECONDS,
    columns: Sequence[str] = (),
    speaker: str = "",
) -> None:
    """Write waves, mels, train.txt, alignments.txt, parameters.json and Log.txt.

    Without `datasets`, the subsets of "librispeech_clean" that exist. Files longer than max_seconds are skipped. With
    `scheduler` (tcp://host:port) the workers of a Dask cluster do the work; they must see the same folders. UserError if
    nothing is found or usable, if skip_existing meets a folder made with other parameters, if without it other speakers'
    data would be deleted, and, unless ignore_space, if the output will not fit on its disk.
    """
    settings = PreprocessSettings(alignments=alignments, denoise=denoise and alignments)
    settings, mel_format = override(parse_overrides(hparams), settings, MelFormat())
    if mel_format.sample_rate != SAMPLE_RATE:
        raise UserError(f"--hparams: sample_rate={mel_format.sample_rate}: only {SAMPLE_RATE} Hz is supported", exit_code=2)
    out = Path(out_dir or default_out_dir(datasets_root, "synthesizer"))
    names, asked = datasets or _present_defaults(datasets_root), corpora.Asked(tuple(columns), speaker)
    datasets_root, out, speakers = corpora.speakers_for(preprocess_speaker, datasets_root, out, names, asked, scheduler)
    data = SynthesizerData(out)
    with only_writer(data.root, "preprocess"):
        check_names(speakers)
        if not skip_existing:
            check_replaceable(data, {speaker.id for speaker in speakers})
        skip_existing = skip_existing and is_continuation(data, settings, mel_format)
        todo = corpora.unfinished(speakers, lambda s: skip_existing and is_finished(data, s, datasets_root, settings))
        corpora.preflight(datasets_root, todo, data.root, _need(settings, mel_format), True, alignments, ignore_space)
        own_folders(data.root, "parts", "audio", "mels", "embeds")
        remove_leftovers(data.root)
        if not skip_existing:
            begin_anew(data, settings, mel_format)

        options = {"data": data, "settings": settings, "mel_format": mel_format, "max_seconds": max_seconds}
        task = partial(preprocess_speaker, datasets_root=datasets_root, **options)
        for _ in run_tasks(task, todo, n_processes, "Speakers", "audio h", scheduler):
            pass
        if scheduler:
            remove_leftovers(data.root)  # from workers that died
        parts = _assembled(data, speakers)
        report(data, parts, datasets_root, settings, mel_format)


def _present_defaults(datasets_root: Path) -> list[str]:
    """The default subsets that exist; all of them if none does, for find_speakers to report."""
    present, absent = corpora.split_present(datasets_root, ["librispeech_clean"])
    if present and absent:
        print(f"not in {datasets_root}, done without: {', '.join(absent)}")
    return present or absent


def _need(settings: PreprocessSettings, f: MelFormat) -> corpora.Need:
    """int16 waves and float16 mels; each utterance's three files fill whole blocks, and an embedding fits on one."""
    per_second = 2 * f.sample_rate + 2 * f.n_mels * f.sample_rate / f.hop_length
    n_each = 1 + settings.speaker_augmentation
    return corpora.Need(n_each * per_second, per_file=n_each * 3 * DISK_BLOCK)


def _check_files(data: SynthesizerData, parts: dict[str, Part], speakers: Sequence[corpora.Speaker]) -> None:
    """UserError if something has removed what was written."""
    lost = [data.part(speaker.id) for speaker in speakers if speaker.id not in parts]
    lost += [path for part in parts.values() for path in missing_files(data, part)]
    if lost:
        raise UserError(f"{lost[0]}: has been removed meanwhile ({len(lost)} missing in all); continue with --skip_existing")
    corpora.check_empty(speaker for speaker in speakers if not parts[speaker.id].n_utterances)


def _assembled(data: SynthesizerData, speakers: Sequence[corpora.Speaker]) -> dict[str, Part]:
    """Write alignments.txt, and last train.txt, whose presence says that everything is there. The parts by speaker."""
    by_speaker = {path.stem: read_part(path) for path in sorted(data.parts_dir.glob("*.tsv"))}
    _check_files(data, by_speaker, speakers)
    parts = by_speaker.values()
    names = Counter(same_file(row.mel) for part in parts for row in part.rows)
    if twice := [name for name, n in names.items() if n > 1]:
        raise UserError(
            f"{data.mels_dir / min(twice)}: is of two utterances ({len(twice)} such); rename their speakers' folders"
        )
    with write_atomically(data.alignments) as path, path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(marked(line for part in parts for line in part.alignments))
    make_durable(data.root)
    write_rows(data.manifest, (row for part in parts for row in part.rows))
    make_durable(data.root)
    return by_speaker


# ---- speaker embeddings


class _Speech(NamedTuple):
    wav: np.ndarray | None  # float32 (n,), without pauses; None if there is none
    problem: str | None = None


def preprocess_embeds(
    root: Path, encoder_path: Path, n_threads: int = 4, skip_existing: bool = False, cpu: bool = False, hparams: str = ""
) -> None:
    """Write the embedding of each utterance of train.txt, on the GPU if there is one, unless `cpu`.

    n_threads load audio and cut its pauses while the encoder works. UserError if train.txt or the encoder is missing, if no
    audio is left, and if skip_existing meets embeddings of another encoder.
    """
    from encoder.inference import SpeakerEmbedder  # here, because audio preprocessing does without torch

    (settings,) = override(parse_overrides(hparams), EmbedSettings())
    data = SynthesizerData(root)
    rows = read_rows(data.manifest)
    embedder = SpeakerEmbedder(encoder_path, "cpu" if cpu else None, settings.precision)
    with only_writer(data.root, "preprocess"):
        _prepare_embeds(data, encoder_path, embedder.digests, settings, skip_existing)
        groups = [rows[i : i + settings.group_size] for i in range(0, len(rows), settings.group_size)]
        todo = [group for group in groups if not all(within(data.embeds_dir, row.embed).is_file() for row in group)]
        if n_done := len(rows) - sum(map(len, todo)):
            print(f"{n_done} of {len(rows)} embeddings are there already and skipped")

        load = partial(_load_speech, data.audio_dir, round(settings.min_speech * SAMPLE_RATE))
        problems, n_written, n_unusable = [], 0, 0
        with tqdm(total=sum(map(len, todo)), desc="Embeddings", unit="utterance", dynamic_ncols=True) as bar:
            for group, speech in zip(todo, _loaded_ahead(load, todo, n_threads), strict=True):
                problems += [each.problem for each in speech if each.problem]
                usable = [(row, each.wav) for row, each in zip(group, speech, strict=True) if each.wav is not None]
                embeddings = embedder.embed_batch([wav for _, wav in usable])
                for (row, _), embedding in zip(usable, embeddings, strict=True):
                    save_npy(within(data.embeds_dir, row.embed), embedding.astype(np.float32))
                n_written += len(usable)
                n_unusable += len(group) - len(usable)
                bar.update(len(group))
        print(f"{n_written} of {len(rows)} utterances embedded now, in {data.embeds_dir}")
        print_some(problems, "utterances had a problem")
        n_missing = sum(not within(data.embeds_dir, row.embed).is_file() for row in rows)
        if n_missing == len(rows):
            raise UserError(f"{data.audio_dir}: holds the audio of none of the {len(rows)} rows of {data.manifest}")
        if n_missing > n_unusable:
            raise UserError(
                f"{data.embeds_dir}: {n_missing - n_unusable} embeddings were removed meanwhile; use --skip_existing"
            )


def _prepare_embeds(
    data: SynthesizerData, encoder_path: Path, digests: list[str], settings: EmbedSettings, skip_existing: bool
) -> None:
    own_folders(data.root, data.embeds_dir.name)
    remove_leftovers(data.embeds_dir)
    settings_path = data.embeds_dir / "settings.json"
    encoder, text = data.embeds_encoder, "".join(f"{digest}\n" for digest in digests)
    if skip_existing and (found := data.encoder_digests):
        if digests[-1] != found[-1]:  # the file's: an export of the same encoder rounds its numbers
            raise UserError(
                f"{data.embeds_dir}: these embeddings are of another encoder than {encoder_path}; "
                "take that one again, or leave --skip_existing out to make all of them anew"
            )
        if settings_path.is_file() and (changed := changed_settings(settings_path, asdict(settings))):
            raise UserError(
                f"{data.embeds_dir}: these embeddings were made with other settings ({changed} changed); "
                "take those again, or leave --skip_existing out to make all of them anew"
            )
        if found != digests:  # written before digests of the weights were
            save_text(encoder, text)
        return
    encoder.unlink(missing_ok=True)  # first: without it the embeddings count for nothing
    make_durable(data.embeds_dir)
    empty(data.embeds_dir, "embed-*.npy")
    save_settings(settings_path, asdict(settings))
    save_text(encoder, text)


def _loaded_ahead(load: Callable[[Row], _Speech], groups: Sequence[list[Row]], n_threads: int) -> Iterator[list[_Speech]]:
    """The speech of each group, while the next one is being loaded."""
    with ThreadPoolExecutor(max(1, n_threads)) as pool:

        def submit(group: list[Row]) -> list[Future]:
            return [pool.submit(load, row) for row in group]

        waiting = submit(groups[0]) if groups else []
        for following in [*groups[1:], []] if groups else []:
            current, waiting = waiting, submit(following)
            yield [future.result() for future in current]


def _load_speech(audio_dir: Path, min_samples: int, row: Row) -> _Speech:
    from encoder.inference import preprocess_wav

    path = within(audio_dir, row.audio)
    try:
        wav = from_int16(load_npy(path, np.int16, 1))
    except ArrayError as error:
        return _Speech(None, f"{error}; its row gets no embedding")
    if not len(wav):
        return _Speech(None, f"{path}: is empty; its row gets no embedding")
    try:
        speech = preprocess_wav(wav)
    except UserError:  # no speech found
        speech = wav[:0]
    if len(speech) < min_samples:
        return _Speech(preprocess_wav(wav, trim_silence=False), f"{path}: hardly any speech found; embedded as a whole")
    return _Speech(speech)
