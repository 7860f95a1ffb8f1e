"""`python -m synthesizer.transcribe`: texts and word times for recordings that have none, by Whisper."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from synthesizer.corpus.transcript import spoken
from utils import cli
from utils.corpora.alignments import FILE_NAME, LINE, alignment_line
from utils.corpora.layout import audio_below
from utils.data import audio
from utils.data.audio import SAMPLE_RATE, AudioError
from utils.data.paths import append_text, one_field, remove_leftovers, save_text
from utils.errors import UserError
from utils.report_lines import print_some

REQUIREMENTS = "requirements-transcribe.txt"
FRAME = 160  # samples over which the level is measured
SHORTEST_PAUSE = 8  # frames; within a word it may be as quiet for as long
QUIET = -35.0  # dB below the level of speech


class Word(NamedTuple):
    """A word as it is written, with its punctuation, and when it is spoken in s."""

    text: str
    start: float
    end: float


def transcribe(folder: Path, hear: Callable[[np.ndarray], list[Word]]) -> None:
    """Write <name>.txt beside each recording in `folder` and its sub-folders, and the times of their words in alignment.txt.

    `hear` gives the words of a wave (n,) at 16 kHz. A recording that has a text is left as it is, so an interrupted run goes
    on where it stopped. UserError if there is no recording, or nothing was heard in any of them.
    """
    paths = audio_below(folder)
    if not paths:
        raise UserError(f"{folder}: no audio file in it or below it")
    remove_leftovers(folder)
    todo = [path for path in paths if not path.with_suffix(".txt").exists()]
    if len(todo) < len(paths):
        print(f"{len(paths) - len(todo)} of {len(paths)} recordings have a text already and are skipped")
    lines, skipped, seconds = _lines(folder / FILE_NAME), [], 0.0
    for path in tqdm(todo, desc="Recordings", unit="file", dynamic_ncols=True):
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            skipped.append(f"{path}: lies behind a link that leads out of {folder}, where nothing is written")
            continue
        try:
            wav = audio.load(path)
        except AudioError as error:
            skipped.append(str(error))
            continue
        words = hear(wav)
        if not words:
            skipped.append(f"{path}: no speech was heard in it")
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        line = alignment_line(name, *timed(words, wav))
        if seconds and name not in lines:
            append_text(folder / FILE_NAME, f"{line}\n")
        else:  # a file of an earlier run may hold half a line, be a link, or have another line for this recording
            save_text(folder / FILE_NAME, "".join(f"{each}\n" for each in (lines | {name: line}).values()))
        lines[name] = line
        save_text(path.with_suffix(".txt"), one_field(" ".join(word.text for word in words)) + "\n")  # last: it is done
        seconds += len(wav) / SAMPLE_RATE
    print(f"{len(todo) - len(skipped)} recordings, {seconds / 60:.1f} min, now have a text; word times: {folder / FILE_NAME}")
    print_some(skipped, "recordings were skipped")
    if todo and len(skipped) == len(paths):
        raise UserError(f"{folder}: none of {len(paths)} recordings got a text; the reasons are above")


def timed(words: Iterable[Word], wav: np.ndarray) -> tuple[list[str], list[float]]:
    """Bare words and silences ("") and the end of each in s, as in alignment.txt. Signs without a letter are left out.

    Whisper puts the ends of pauses into words, and the ends of words into pauses, so a pause is where the wave (n,) is quiet.
    """
    n_frames = -(-len(wav) // FRAME)
    loud = _is_loud(wav)
    bare, ends, now = [], [], 0  # frames
    for text, start, end in [*words, Word("", len(wav) / SAMPLE_RATE, len(wav) / SAMPLE_RATE)]:
        start = min(max(now, round(start * SAMPLE_RATE / FRAME)), n_frames)
        end = min(max(start, round(end * SAMPLE_RATE / FRAME)), n_frames)
        if len(spoken_frames := np.flatnonzero(loud[start:end])):
            start, end = start + spoken_frames[0], start + spoken_frames[-1] + 1
        quiet = np.flatnonzero(~loud[now:start])
        first, past = (now + quiet[0], now + quiet[-1] + 1) if len(quiet) else (start, start)
        if past - first >= SHORTEST_PAUSE or not ends:
            ends[-1:] = [first] if ends else []
            bare.append("")
            ends.append(past)
        else:
            ends[-1] = start
        now = end
        if word := spoken(text).replace('"', ""):
            bare.append(word)
            ends.append(end)
    return bare, [end * FRAME / SAMPLE_RATE for end in ends]


def _is_loud(wav: np.ndarray) -> np.ndarray:
    """(n,) -> bool (frames,): whether there is speech rather than a pause. What is quiet for a short time is speech."""
    power = np.square(np.pad(wav, (0, -len(wav) % FRAME))).reshape(-1, FRAME).mean(axis=1)
    level = 10 * np.log10(power + 1e-10)
    speech, noise = np.percentile(level, [90, 5])
    loud = level > max(speech + QUIET, min(noise + 10, speech - 10))
    return ndimage.binary_closing(np.pad(loud, SHORTEST_PAUSE), np.ones(SHORTEST_PAUSE))[SHORTEST_PAUSE:-SHORTEST_PAUSE]


def _lines(path: Path) -> dict[str, str]:
    """The lines of an alignment file by the names of their utterances, without a last one that was cut short."""
    text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    lines = text.splitlines()
    if lines and not text.endswith("\n") and not LINE.fullmatch(lines[-1].strip()):
        lines.pop()
    return {line.partition(' "')[0]: line for line in lines if line}


def whisper(model: str, language: str, cpu: bool) -> Callable[[np.ndarray], list[Word]]:
    """What hears a wave, by a model of faster-whisper: a name, or a folder. Says so before a model is downloaded."""
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise UserError(f"faster-whisper is not installed ({error}); pip install -r {REQUIREMENTS}") from error
    options: dict[str, Any] = {"device": "cpu" if cpu else "auto", "compute_type": "auto"}
    try:
        listener = WhisperModel(model, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError):
        print(f"the Whisper model {model} is not on this machine; downloading it from the Hugging Face hub", flush=True)
        try:
            listener = WhisperModel(model, **options)
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"--model {model}: {reason}; name another, or the folder of a faster-whisper model") from error

    def hear(wav: np.ndarray) -> list[Word]:
        heard, _ = listener.transcribe(
            wav, language=language, word_timestamps=True, vad_filter=True, condition_on_previous_text=False
        )
        return [Word(word.word.strip(), word.start, word.end) for segment in heard for word in segment.words or ()]

    return hear


def main() -> None:
    parser = cli.parser(
        "Write the texts of recordings, and the times of their words, by which synthesizer_preprocess_audio.py cuts long ones "
        f"at their pauses. Needs faster-whisper (pip install -r {REQUIREMENTS}).",
        "python -m synthesizer.transcribe",
    )
    add = parser.add_argument
    add(
        "folder",
        type=Path,
        help="recordings of any length, in a sub-folder for each speaker; recordings with a .txt are skipped",
    )
    model_help = (
        "model of faster-whisper by name (tiny, base, small, medium, large-v3) or folder; downloaded if it is not there"
    )
    add("--model", default="small", help=model_help)
    add("--language", default="en", metavar="CODE", help="language that is spoken, as a code of two letters")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    args = parser.parse_args()
    if not args.folder.is_dir():
        raise UserError(f"{args.folder}: no such folder")
    transcribe(args.folder, whisper(args.model, args.language, args.cpu))


if __name__ == "__main__":
    cli.run(main)
