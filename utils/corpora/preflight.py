"""What preprocessing finds, what is missing and whether the output will fit, reported before hours are spent.

Speakers are counted. Files and hours are estimated from a sample of folders and headers of fixed size, which takes seconds
even with millions of files on a slow disk.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from utils.corpora.alignments import alignment_files
from utils.corpora.layout import Asked, Found, Speaker
from utils.corpora.registry import CORPORA, find_speakers, list_utterances, relative
from utils.data import cluster, decoding
from utils.errors import UserError

N_SPEAKERS = 64  # speakers of a corpus whose folders are listed
N_HEADERS = 64  # audio files of a corpus that are opened


class Need(NamedTuple):
    """Bytes that preprocessing writes."""

    per_second: float  # for each second of audio
    per_file: float = 0.0  # for each audio file


class _Found(NamedTuple):
    """One corpus. Numbers of files are estimates, unless is_exact."""

    corpus: str
    n_speakers: int
    n_files: int
    is_exact: bool
    seconds: float | None  # None if no header could be read
    n_textless: int
    textless: str  # an example
    n_untimed: int

    @property
    def about(self) -> str:
        return "" if self.is_exact else "about "


def preflight(
    datasets_root: Path,
    speakers: Sequence[Speaker],
    out_dir: Path,
    need: Need,
    texts: bool = False,
    alignments: bool = False,
    ignore_space: bool = False,
) -> None:
    """Print what each corpus holds, what is missing, and the disk space. `speakers` are those still to be done.

    texts, alignments: whether these are needed. UserError if there is no audio, if a corpus has no transcripts although they
    are needed, and, unless ignore_space, if the output will not fit on its disk.
    """
    if not speakers:
        return
    groups = [list(members) for _, members in groupby(speakers, key=lambda speaker: speaker.corpus)]
    if texts and (silent := [members[0].corpus for members in groups if not CORPORA[members[0].layout].texts]):
        raise UserError(f"{', '.join(silent)}: has no transcripts, and so can train the encoder alone; leave it out of -d")
    found = [_look_at(members, datasets_root, texts, alignments) for members in groups]
    if not any(each.n_files for each in found):
        folders = relative(speakers[0].folder, datasets_root)
        raise UserError(f"{datasets_root}: no audio file below the folders of the {len(speakers)} speakers ({folders}, ...)")
    print(f"Found in {datasets_root}:")
    for each, members in zip(found, groups, strict=True):
        print(f"    {each.corpus}: {each.n_speakers:,} speakers, {each.about}{_rounded(each)} files, {_hours(each.seconds)}")
        print(*(f"        {line}\n" for line in CORPORA[members[0].layout].described(members[0])), sep="", end="")
    for line in _missing(found, groups):
        print(f"    {line}")
    _check_space(found, Path(out_dir), need, ignore_space)


def _look_at(speakers: list[Speaker], root: Path, texts: bool, alignments: bool) -> _Found:
    corpus = CORPORA[speakers[0].layout]
    sample = _evenly(speakers, N_SPEAKERS)
    audio = [(speaker, Found(*each)) for speaker in sample for each in corpus.audio(speaker, [])]
    listed = [(speaker, each.path) for speaker, each in audio]
    names = cache(_names)  # each folder is listed once

    def has_text(speaker: Speaker, path: Path) -> bool:
        return any(place.name in names(place.parent) for place in corpus.transcripts(speaker, path))

    textless = [(speaker, path) for speaker, path in listed if texts and not has_text(speaker, path)]
    untimed = 0
    if alignments:
        folders = {(speaker.top, path.parent) for speaker, path in listed}
        without = {key for key in folders if not alignment_files(key[1], key[0])}
        untimed = sum((speaker.top, path.parent) in without for speaker, path in listed)
    lengths = [seconds for _, each in _evenly(audio, N_HEADERS) if (seconds := _seconds(each))]
    scale = len(speakers) / len(sample)
    n_files = round(scale * len(listed))
    return _Found(
        speakers[0].corpus,
        len(speakers),
        n_files,
        len(sample) == len(speakers),
        sum(lengths) / len(lengths) * n_files if lengths else None,
        round(scale * len(textless)),
        relative(textless[0][1], root) if textless else "",
        round(scale * untimed),
    )


def _evenly(items: list, n: int) -> list:
    """At most n of them, evenly spread."""
    return items if len(items) <= n else [items[i * len(items) // n] for i in range(n)]


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _seconds(found: Found) -> float | None:
    """Duration, if need be from the file's header; None if that cannot be read."""
    return found.span[1] - found.span[0] if found.span else decoding.seconds(found.path)


def _missing(found: list[_Found], groups: list[list[Speaker]]) -> list[str]:
    lines = []
    for each, members in zip(found, groups, strict=True):
        if each.n_textless:
            lines.append(f"missing: {each.about}{each.n_textless:,} files of {each.corpus} have no text, e.g. {each.textless}")
        if each.n_untimed:
            what = f"{each.about}{each.n_untimed:,} files of {each.corpus} are without word times"
            passages = CORPORA[members[0].layout].passages
            lines.append(f"missing: {what}; " + ("they are left out" if passages else "they are used whole, as one utterance"))
        if each.n_files and each.seconds is None:
            lines.append(f"missing: audio that can be read, in a sample of the files of {each.corpus}")
    return lines


def _rounded(found: _Found) -> str:
    n = found.n_files
    return f"{n if found.is_exact else round(n, 2 - len(str(n))):,}"


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return "hours unknown"
    hours = seconds / 3600
    return f"about {hours:,.0f} h" if hours >= 10 else f"about {hours:.2g} h"


def _check_space(found: list[_Found], out_dir: Path, need: Need, ignore: bool) -> None:
    n_bytes = sum(need.per_second * (each.seconds or 0) + need.per_file * each.n_files for each in found)
    existing = next(folder for folder in (out_dir, *out_dir.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    print(f"Disk: about {_size(n_bytes)} needed in {out_dir}, {_size(free)} free", flush=True)
    if n_bytes > free and not ignore:
        raise UserError(
            f"{out_dir}: about {_size(n_bytes)} will be written, but only {_size(free)} are free there; make room, choose "
            "another disk with --out_dir, or go on all the same with --ignore_space"
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def speakers_for(
    work: Callable, datasets_root: Path, out: Path, names: list[str], asked: Asked, scheduler: str | None
) -> tuple[Path, Path, list[Speaker]]:
    """datasets_root, the output folder and the speakers that `work` is for; absolute where the workers of a scheduler do it,
    whose working directory is another. UserError if nothing is found, or these workers lack the folders or the code."""
    speakers = find_speakers(datasets_root, names, asked)
    if not scheduler:
        return Path(datasets_root), out, speakers
    datasets_root, out = Path(datasets_root).absolute(), out.absolute()
    cluster.check(scheduler, work, datasets_root, out)
    return datasets_root, out, [speaker.absolute() for speaker in speakers]


def unfinished(speakers: list[Speaker], is_finished: Callable[[Speaker], bool]) -> list[Speaker]:
    """Those that are still to be done. A line says how many are not."""
    todo = [speaker for speaker in speakers if not is_finished(speaker)]
    if len(todo) < len(speakers):
        print(f"{len(speakers) - len(todo)} of {len(speakers)} speakers are finished already and skipped")
    return todo


def check_there(speaker: Speaker) -> None:
    """UserError if the speaker's folder has gone since it was found: then a file that is missing is no fault of the file."""
    if not speaker.folder.exists():
        raise UserError(f"{speaker.folder}: has gone; bring its disk back, then continue with --skip_existing")


def check_empty(speakers: Iterable[Speaker]) -> None:
    """UserError if one of the speakers that were found to be empty has audio after all."""
    if seen := [speaker for speaker in speakers if list_utterances(speaker).utterances]:
        problem = f"has audio, but was empty to the process that read it ({len(seen)} speakers)"
        raise UserError(f"{seen[0].folder}: {problem}; bring the disk back on each host, then continue with --skip_existing")
