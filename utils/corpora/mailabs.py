"""M-AILABS: <locale>/by_book/{female,male,mix}/<speaker>/<book>/wavs/*.wav and metadata.csv (file|raw|normalised)."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, Utterance, audio_below, folders_in, numbered_lines, some_of
from utils.corpora.librispeech import subset_names

TABLE = "metadata.csv"


def folders(folder: Path, locale: str) -> list[tuple[str, Path]]:
    """Speakers by name; those under mix/ as mix_<name>, since they may stand under female/ or male/ too.

    A book that lies directly under mix/ is read by several people whom nothing tells apart, and is left out.
    """
    found = []
    for kind in ("female", "male", "mix"):
        speakers = [path for path in folders_in(folder / locale / "by_book" / kind) if not (path / TABLE).is_file()]
        found += [(f"mix_{path.name}" if kind == "mix" else path.name, path) for path in speakers]
    return found


def audio(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    """<book>+<file>: the books of a reader may hold files of the same name."""
    books = folders_in(speaker.folder)
    return [(f"{book.name}+{path.stem}", path) for book in books for path in audio_below(book / "wavs")]


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    return [path.parent.parent / TABLE]


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """The normalised text, or the raw one where that is empty."""
    for book in folders_in(speaker.folder):
        told = _table(book / TABLE, problems)
        members = [name for name in found if name.startswith(f"{book.name}+")]
        for name in members:
            found[name] = found[name]._replace(text=told.get(found[name].path.stem))
        if told and (untold := [found[name].path.name for name in members if found[name].text is None]):
            problems.append(f"{book / TABLE}: no text for {some_of(untold)}")


def _table(path: Path, problems: list[str]) -> dict[str, str]:
    told = {}
    for number, line in numbered_lines(path, problems):
        columns = line.split("|")
        if len(columns) != 3:
            problems.append(f"{path}, line {number}: {len(columns)} columns, not the three file|raw|normalised")
        elif text := " ".join(columns[2].split()) or " ".join(columns[1].split()):
            told[columns[0].strip().removesuffix(".wav")] = text
    return told


MAILABS = Corpus("by_book/{female,male,mix}/<speaker>/<book>/wavs/*.wav", folders, audio, texts, transcripts, subset_names)
