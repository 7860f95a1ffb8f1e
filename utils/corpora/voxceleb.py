"""VoxCeleb1: wav/<speaker>/<video>/*.wav, vox1_meta.csv;  VoxCeleb2: dev/aac/<speaker>/<video>/*.m4a."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, audio_below, folders_in, numbered_lines, relative_name
from utils.errors import UserError

ANGLOPHONE = {"ireland", "uk", "usa", "canada", "australia", "new zealand", "india"}
EVERYONE = "all"


def voxceleb1_speakers(folder: Path, selection: str) -> list[tuple[str, Path]]:
    """Speakers of anglophone nationality, or everyone if asked for.

    The synthesizer speaks English, and the encoder learns finer differences where accents do not give voices away.
    """
    found = folders_in(folder / "wav")
    if selection != EVERYONE:
        kept = _anglophone(folder / "vox1_meta.csv")
        found = [path for path in found if path.name in kept]
    return [(path.name, path) for path in found]


def _anglophone(table: Path) -> set[str]:
    problems: list[str] = []
    rows = [line.split("\t") for _, line in numbered_lines(table, problems)]
    if problems:
        raise UserError(
            f"{problems[0]}; download VoxCeleb1's vox1_meta.csv, which lists the nationalities, or take the speakers of all "
            f"nationalities: -d VoxCeleb1/{EVERYONE}"
        )
    return {row[0].strip() for row in rows if len(row) >= 4 and row[3].strip().casefold() in ANGLOPHONE}


def voxceleb2_speakers(folder: Path, subset: str) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in folders_in(folder / "dev" / "aac")]


def audio(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    """Files as <video>_<number>."""
    return [(relative_name(path, speaker.folder, "_"), path) for path in audio_below(speaker.folder)]


VOXCELEB1 = Corpus(
    "wav/<speaker>/<video>/*.wav of speakers whose nationality in vox1_meta.csv is anglophone (VoxCeleb1/all: of anyone)",
    voxceleb1_speakers,
    audio,
    selections=(EVERYONE,),
)
VOXCELEB2 = Corpus("dev/aac/<speaker>/<video>/*.m4a", voxceleb2_speakers, audio)
