"""Any folder of speakers: <speaker>/**/*.{wav,flac,mp3,ogg,opus,m4a,aac}, each with a .txt or .normalized.txt beside it."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, audio_below, beside, folders_in, is_audio, relative_name, texts_in_own_files
from utils.errors import UserError


def speakers(folder: Path, subset: str) -> list[tuple[str, Path]]:
    """A speaker per sub-folder; a folder of audio files alone is one speaker."""
    inner = folders_in(folder)
    direct = [path.name for path in folder.iterdir() if is_audio(path)]
    if inner and direct:
        raise UserError(
            f"{folder / min(direct)}: is beside folders; put each speaker's audio into a folder of its own, "
            f"{folder}/<speaker>/..."
        )
    return [(path.name, path) for path in ([folder] if direct else inner)]


def audio(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    return [(relative_name(path, speaker.folder), path) for path in audio_below(speaker.folder)]


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    return beside(path)


FOLDER = Corpus("<speaker>/.../*.wav", speakers, audio, transcripts, texts_in_own_files(transcripts))
