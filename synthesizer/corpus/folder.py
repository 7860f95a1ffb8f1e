"""The folder that audio preprocessing writes to: whether this run may go on with it or replace it."""

import json
from collections.abc import Sequence
from pathlib import Path

from utils import corpora
from utils.corpora import Speaker
from utils.data.paths import SynthesizerData, save_text
from utils.errors import UserError


def check_names(speakers: Sequence[Speaker]) -> None:
    """Speakers that the names of files do not tell apart: LibriSpeech's, which go by their numbers in all of its subsets."""
    known: dict[str, Speaker] = {}
    for speaker in speakers:
        other = known.setdefault(corpora.stem(speaker, ""), speaker)
        if other is not speaker:
            raise UserError(
                f"{speaker.folder} and {other.folder}: files of both would have the same names; rename one, or preprocess "
                "them into different folders with --out_dir"
            )


def check_replaceable(data: SynthesizerData, speakers: set[str]) -> None:
    """Making everything anew must not delete what this run would not make again."""
    others = {path.stem for path in data.parts_dir.glob("*.tsv")} - speakers
    if others:
        raise UserError(
            f"{data.root}: holds {len(others)} speakers ({min(others)}, ...) that would not be made again; add to them "
            "with --skip_existing, choose another folder with --out_dir, or delete this one"
        )


def is_continuation(data: SynthesizerData, parameters: str) -> bool:
    """Whether an earlier run has begun here. UserError if it had other parameters."""
    if not data.parameters.is_file():
        return False
    if (found := data.parameters.read_text(encoding="utf-8")) != parameters:
        raise UserError(
            f"{data.parameters}: an earlier run had other parameters ({_differences(found, json.loads(parameters))}); "
            "take those again, or leave --skip_existing out to make everything anew"
        )
    return True


def begin_anew(data: SynthesizerData, parameters: str) -> None:
    """Forget what an earlier run made."""
    data.parameters.unlink(missing_ok=True)  # first: without it the parts count for nothing
    for stale in (data.manifest, data.alignments, data.log):
        stale.unlink(missing_ok=True)
    # embeddings too: those of other waves would pass for those of the new ones
    for folder, pattern in {data.parts_dir: "*.tsv", data.audio_dir: "audio-*.npy", data.mels_dir: "mel-*.npy",
                            data.embeds_dir: "embed-*.npy"}.items():  # fmt: skip
        empty(folder, pattern)
    save_text(data.parameters, parameters)


def empty(folder: Path, pattern: str) -> None:
    """Make a folder without files of this pattern; others in it are not ours to delete."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(pattern):
        stale.unlink()


def _differences(found: str, wanted: dict) -> str:
    try:
        values = {name: value for group in json.loads(found).values() for name, value in group.items()}
    except (ValueError, AttributeError):
        return "the file is damaged"
    wanted = {name: value for group in wanted.values() for name, value in group.items()}
    changed = [name for name in wanted if values.get(name) != wanted[name]]
    return ", ".join(f"{name}={values.get(name)} there, {wanted[name]} here" for name in changed)
