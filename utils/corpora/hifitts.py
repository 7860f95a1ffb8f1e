"""Hi-Fi TTS: <reader>_manifest_{clean,other}_{train,dev,test}.json beside audio/."""

import re
from pathlib import Path

from utils.corpora.formats import Row, recognise
from utils.corpora.layout import Corpus, Found, Speaker, Utterance, numbered_lines
from utils.data.paths import one_field

MANIFEST = re.compile(r"(\d+)_manifest_\w+\.json")


def speakers(folder: Path, subset: str) -> list[tuple[str, Path]]:
    """The readers, whose numbers are in the names of the manifests."""
    readers = {match[1] for path in folder.iterdir() if (match := MANIFEST.fullmatch(path.name))}
    return [(reader, folder) for reader in sorted(readers, key=int)]


def audio(speaker: Speaker, problems: list[str]) -> list[Found]:
    return [Found(_name(row), speaker.folder / row.audio) for row in _rows(speaker, problems)]


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    return sorted(speaker.folder.glob(f"{speaker.name}_manifest_*.json"))


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """With numbers written out, if there is such a text."""
    for row in _rows(speaker, []):
        found[_name(row)] = found[_name(row)]._replace(text=one_field(row.text) or None)


def _rows(speaker: Speaker, problems: list[str]) -> list[Row]:
    rows = []
    for path in transcripts(speaker, speaker.folder):
        layout = recognise(path)
        for number, line in numbered_lines(path, problems):
            if row := layout.row(line.encode()):
                rows.append(row)
            else:
                problems.append(f"{path}, line {number}: no JSON object with an audio file")
    return rows


def _name(row: Row) -> str:
    return "+".join(Path(row.audio).with_suffix("").parts[1:])


HIFITTS = Corpus("<reader>_manifest_*.json", speakers, audio, transcripts, texts, folder_name=r"hi_?fi_?tts\w*")
