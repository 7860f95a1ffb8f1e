"""VCTK: txt/<speaker>/*.txt, and wav48/<speaker>/*.wav (0.80) or wav48_silence_trimmed/<speaker>/*_mic1.flac (0.92)."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, audio_below, folders_in, texts_in_own_files

AUDIO_FOLDERS = ("wav48_silence_trimmed", "wav48")  # the newer release first
MICROPHONE, OTHER_MICROPHONE = "_mic1", "_mic2"  # release 0.92 has both, of the same speech; the first is used


def speakers(folder: Path, subset: str) -> list[tuple[str, Path]]:
    """All speakers. p315 has no transcripts, but the encoder can use it."""
    found = next(filter(None, (folders_in(folder / name) for name in AUDIO_FOLDERS)), [])
    return [(path.name, path) for path in found]


def audio(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    paths = [path for path in audio_below(speaker.folder) if not path.stem.endswith(OTHER_MICROPHONE)]
    return [(path.stem.removesuffix(MICROPHONE), path) for path in paths]


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    return [speaker.source / "txt" / speaker.name / f"{path.stem.removesuffix(MICROPHONE)}.txt"]


VCTK = Corpus(
    "wav48/<speaker>/*.wav or wav48_silence_trimmed/<speaker>/*_mic1.flac",
    speakers,
    audio,
    transcripts,
    texts_in_own_files(transcripts),
    folder_name=r"VCTK(-Corpus.*)?",
)
