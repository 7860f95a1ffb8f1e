"""The report of audio preprocessing, on the screen and in Log.txt: counts, durations, what was skipped and why."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from synthesizer.config import PreprocessSettings
from synthesizer.corpus.folder import Part
from synthesizer.text import SYMBOL_SETS, UnreadCounts
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData, save_text
from utils.errors import UserError
from utils.report_lines import indented, print_some, statistics_line

ALIGNMENTS_SOURCE = "https://github.com/CorentinJ/librispeech-alignments"


def report(
    data: SynthesizerData, parts: dict[str, Part], root: Path, settings: PreprocessSettings, mel_format: MelFormat
) -> None:
    """Write the log and print its gist. UserError, with the reasons, if there is no utterance."""
    save_text(data.log, "\n".join([*_log(parts, settings, mel_format), ""]))
    n_rows = sum(len(part.rows) for part in parts.values())
    hours = sum(row.n_samples for part in parts.values() for row in part.rows) / mel_format.sample_rate / 3600
    print(f"{n_rows} utterances ({hours:.2f} h) of {len(parts)} speakers in {data.root}; log: {data.log}")
    skipped = [f"{reason}: {what}" for part in parts.values() for reason, what in part.skipped + part.notes]
    print_some(skipped, "problems and notes")
    unaligned = [folder for part in parts.values() for folder in part.unaligned]
    print(*(f"{line}\n" for line in _unread(parts)), sep="", end="")
    if unaligned:
        print(_about_unaligned(parts), *indented(unaligned), sep="\n")
    if not n_rows:
        raise UserError(_why_nothing(data, parts, root, bool(unaligned)))


def _unread(parts: dict[str, Part]) -> list[str]:
    counts = UnreadCounts()
    for part in parts.values():
        counts.add(part.unread)
    return counts.lines(SYMBOL_SETS["english"])


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


def _about_unaligned(parts: dict[str, Part]) -> str:
    n_folders = sum(len(part.unaligned) for part in parts.values())
    n_files = sum(part.n_unaligned for part in parts.values())
    return (
        f"{n_folders} folders have no alignment file, so their {n_files} audio files were left out. LibriSpeech's are at "
        f"{ALIGNMENTS_SOURCE}; merge them into the corpus's folders and run this again with --skip_existing:"
    )


def _log(parts: dict[str, Part], settings: PreprocessSettings, mel_format: MelFormat) -> list[str]:
    rows = [row for part in parts.values() for row in part.rows]
    seconds = np.array([row.n_samples for row in rows]) / mel_format.sample_rate
    n_without = sum(not part.rows for part in parts.values())
    lines = ["Parameters"]
    lines += [f"    {name}: {value}" for name, value in (asdict(settings) | asdict(mel_format)).items()]
    lines += ["", "Counts", f"    speakers: {len(parts)}, of which {n_without} without a usable utterance"]
    lines += [f"    audio files found: {sum(part.n_utterances for part in parts.values())}"]
    lines += [f"    hours read: {sum(part.seconds for part in parts.values()) / 3600:.3f}"]
    n_timed = sum(len(part.alignments) for part in parts.values())
    lines += [
        f"    utterances written: {len(rows)}, of which with word times: {n_timed}",
        f"    hours written: {seconds.sum() / 3600:.3f}",
    ]
    lines += [f"    skipped, {reason}: {n}" for reason, n in sorted(_counts(parts).items())]
    if rows:
        characters = np.array([len(row.text) for row in rows])
        lines += ["", "Duration of an utterance (s)", statistics_line(seconds)]
        lines += ["", "Characters of an utterance", statistics_line(characters)]
        lines += ["", "Characters per second", statistics_line(characters / seconds)]
    if unread := _unread(parts):
        lines += ["", "Characters", *(f"    {line}" for line in unread)]
    if unaligned := [folder for part in parts.values() for folder in part.unaligned]:
        lines += ["", "Without alignments", _about_unaligned(parts), *indented(unaligned, len(unaligned))]
    for title, kind in (("Skipped", "skipped"), ("Notes", "notes")):
        entries = sorted(entry for part in parts.values() for entry in getattr(part, kind))
        lines += ["", title, *([f"    {reason}: {what}" for reason, what in entries] or ["    nothing"])]
    return lines
