"""What the synthesizer trains on: audio files -> waves, mels and train.txt; waves -> speaker embeddings.

Each speaker is finished when its part file is there. train.txt, alignments.txt and the log are put together from the parts
at the end, so that they do not tell in how many runs the corpus was done.
"""

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from synthesizer.speakers import Part, PreprocessSettings, part_path, preprocess_speaker, read_part
from utils import corpora
from utils.audio import MelFormat
from utils.cli import UserError, override, parse_overrides
from utils.manifest import format_row
from utils.parallel import run_tasks
from utils.paths import SynthesizerData, default_out_dir, remove_leftovers, save_text, write_atomically

ALIGNMENTS_SOURCE = "https://github.com/CorentinJ/librispeech-alignments"
N_SHOWN = 10  # skipped files named at the end; all of them are in the log


def preprocess_audio(
    datasets_root: Path,
    out_dir: Path | None = None,
    datasets: list[str] | None = None,
    skip_existing: bool = False,
    alignments: bool = True,
    denoise: bool = True,
    n_processes: int | None = None,
    hparams: str = "",
) -> None:
    """Write waves, mels, train.txt, alignments.txt, parameters.json and Log.txt.

    datasets None does those of corpora's "librispeech_clean" that are there. UserError where nothing is found or nothing
    is usable, and where skip_existing meets a folder that was made with other parameters.
    """
    settings = PreprocessSettings(alignments=alignments, denoise=denoise and alignments)
    settings, mel_format = override(parse_overrides(hparams), settings, MelFormat())
    data = SynthesizerData(Path(out_dir or default_out_dir(datasets_root, "synthesizer")))
    speakers = corpora.find_speakers(datasets_root, datasets or _present_defaults(datasets_root))
    _prepare(data, {"mel": asdict(mel_format), "preprocess": asdict(settings)}, skip_existing)
    todo = [speaker for speaker in speakers if not _is_finished(data, speaker.id)]
    if len(todo) < len(speakers):
        print(f"{len(speakers) - len(todo)} of {len(speakers)} speakers are finished already and skipped")

    task = partial(preprocess_speaker, datasets_root=Path(datasets_root), data=data, settings=settings, mel_format=mel_format)
    n_processes = n_processes or os.cpu_count() or 1
    for _ in run_tasks(task, todo, n_processes, "Speakers", "audio h", weigh=lambda hours: hours):
        pass
    parts = {path.stem: read_part(path) for path in sorted(data.parts_dir.glob("*.tsv"))}
    _assemble(data, list(parts.values()))
    _report(data, parts, datasets_root, settings, mel_format)


def _present_defaults(datasets_root: Path) -> list[str]:
    """The default subsets that are there; all of them where none is, for find_speakers to say what is."""
    present, absent = corpora.split_present(datasets_root, ["librispeech_clean"])
    if present and absent:
        print(f"not in {datasets_root}, done without: {', '.join(absent)}")
    return present or absent


def _prepare(data: SynthesizerData, parameters: dict, skip_existing: bool) -> None:
    """Forget what an earlier run finished, or with skip_existing make sure that it had the same parameters."""
    remove_leftovers(data.root)
    text = json.dumps(parameters, indent=2) + "\n"
    if skip_existing and data.parameters.is_file():
        if (found := data.parameters.read_text(encoding="utf-8")) != text:
            raise UserError(
                f"{data.parameters}: an earlier run had other parameters ({_differences(found, parameters)}); "
                "take those again, or leave --skip_existing out to make everything anew"
            )
        return
    data.parameters.unlink(missing_ok=True)  # first: without it the parts count for nothing
    if data.parts_dir.exists():
        shutil.rmtree(data.parts_dir)
    for stale in (data.manifest, data.alignments, data.log):
        stale.unlink(missing_ok=True)
    for folder in (data.audio_dir, data.mels_dir, data.parts_dir):
        folder.mkdir(parents=True, exist_ok=True)
    save_text(data.parameters, text)


def _differences(found: str, wanted: dict) -> str:
    try:
        values = {name: value for group in json.loads(found).values() for name, value in group.items()}
    except (ValueError, AttributeError):
        return "the file is damaged"
    wanted = {name: value for group in wanted.values() for name, value in group.items()}
    changed = [name for name in wanted if values.get(name) != wanted[name]]
    return ", ".join(f"{name}={values.get(name)} there, {wanted[name]} here" for name in changed)


def _is_finished(data: SynthesizerData, speaker_id: str) -> bool:
    """Speakers with folders that had no alignments are done again: these may have been downloaded since."""
    path = part_path(data, speaker_id)
    return path.is_file() and not read_part(path).unaligned


def _assemble(data: SynthesizerData, parts: list[Part]) -> None:
    """alignments.txt and then train.txt, whose presence says that all is there."""
    with write_atomically(data.alignments) as path, path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for part in parts for line in part.alignments)
    with write_atomically(data.manifest) as path, path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{format_row(row)}\n" for part in parts for row in part.rows)


# ---- what is told at the end


def _report(
    data: SynthesizerData, parts: dict[str, Part], root: Path, settings: PreprocessSettings, mel_format: MelFormat
) -> None:
    save_text(data.log, "\n".join([*_log(parts, settings, mel_format), ""]))
    n_rows = sum(len(part.rows) for part in parts.values())
    hours = sum(row.n_samples for part in parts.values() for row in part.rows) / mel_format.sample_rate / 3600
    print(f"{n_rows} utterances ({hours:.2f} h) of {len(parts)} speakers in {data.root}; log: {data.log}")
    skipped = [f"{reason}: {what}" for part in parts.values() for reason, what in part.skipped + part.notes]
    print(*(f"    {line}" for line in skipped[:N_SHOWN]), sep="\n", end="\n" if skipped else "")
    if len(skipped) > N_SHOWN:
        print(f"    ... and {len(skipped) - N_SHOWN} more, all in {data.log}")
    unaligned = [folder for part in parts.values() for folder in part.unaligned]
    if unaligned:
        print(*_about_unaligned(parts, unaligned[:N_SHOWN]), sep="\n")
    if not n_rows:
        raise UserError(_why_nothing(data, parts, root, bool(unaligned)))


def _why_nothing(data: SynthesizerData, parts: dict[str, Part], root: Path, unaligned: bool) -> str:
    n_files = sum(part.n_utterances for part in parts.values())
    counts = _counts(parts)
    why = ", ".join(f"{n} {reason}" for reason, n in counts.items()) or "there is no audio at all"
    hint = (
        f"; get the alignments from {ALIGNMENTS_SOURCE} and merge them into the corpus's folders, "
        "or pass --no_alignments to use whole files with the text beside them"
    )
    return f"{root}: of {n_files} audio files of {len(parts)} speakers not one utterance is usable: {why}" + (
        hint if unaligned else f"; see {data.log}"
    )


def _counts(parts: dict[str, Part]) -> Counter[str]:
    """How many were skipped for each reason."""
    counts = Counter(reason for part in parts.values() for reason, _ in part.skipped)
    if n_unaligned := sum(part.n_unaligned for part in parts.values()):
        counts["in folders without alignments"] = n_unaligned
    return counts


def _about_unaligned(parts: dict[str, Part], shown: list[str]) -> list[str]:
    n_folders = sum(len(part.unaligned) for part in parts.values())
    n_files = sum(part.n_unaligned for part in parts.values())
    lines = [
        f"{n_folders} folders have no alignment file, so their {n_files} audio files were left out. LibriSpeech's are at "
        f"{ALIGNMENTS_SOURCE}; merge them into the corpus's folders and run this again with --skip_existing:"
    ]
    more = n_folders - len(shown)
    return [*lines, *(f"    {folder}" for folder in shown), *([f"    ... and {more} more"] if more else [])]


def _log(parts: dict[str, Part], settings: PreprocessSettings, mel_format: MelFormat) -> list[str]:
    rows = [row for part in parts.values() for row in part.rows]
    seconds = np.array([row.n_samples for row in rows]) / mel_format.sample_rate
    n_without = sum(not part.rows for part in parts.values())
    lines = ["Parameters"]
    lines += [f"    {name}: {value}" for name, value in (asdict(settings) | asdict(mel_format)).items()]
    lines += ["", "Counts", f"    speakers: {len(parts)}, of which {n_without} without a usable utterance"]
    lines += [f"    audio files found: {sum(part.n_utterances for part in parts.values())}"]
    lines += [f"    hours read: {sum(part.seconds for part in parts.values()) / 3600:.3f}"]
    lines += [f"    utterances written: {len(rows)}", f"    hours written: {seconds.sum() / 3600:.3f}"]
    lines += [f"    skipped, {reason}: {n}" for reason, n in sorted(_counts(parts).items())]
    if rows:
        characters = np.array([len(row.text) for row in rows])
        lines += ["", "Duration of an utterance (s)", _statistics(seconds)]
        lines += ["", "Characters of an utterance", _statistics(characters)]
        lines += ["", "Characters per second", _statistics(characters / seconds)]
    if unaligned := [folder for part in parts.values() for folder in part.unaligned]:
        lines += ["", "Without alignments", *_about_unaligned(parts, unaligned)]
    for title, kind in (("Skipped", "skipped"), ("Notes", "notes")):
        entries = sorted(entry for part in parts.values() for entry in getattr(part, kind))
        lines += ["", title, *([f"    {reason}: {what}" for reason, what in entries] or ["    nothing"])]
    return lines


def _statistics(values: np.ndarray) -> str:
    figures = {"min": np.min, "mean": np.mean, "median": np.median, "max": np.max, "std": np.std}
    return "    " + "   ".join(f"{name} {function(values):.2f}" for name, function in figures.items())
