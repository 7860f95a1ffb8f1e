"""M-AILABS: <locale>/by_book/{female,male,mix}/<speaker>/<book>/wavs/*.wav and metadata.csv (file|raw|normalised)."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, Utterance, audio_below, first_few, folders_in, numbered_lines
from utils.corpora.librispeech import subset_names
from utils.data.paths import one_field

TABLE = "metadata.csv"


def speakers(folder: Path, locale: str) -> list[tuple[str, Path]]:
    """Speakers by name, or mix_<name> under mix/, because a name may be under female/ or male/ too.

    A book directly under mix/ has several unnamed readers and is left out.
    """
    found = []
    for kind in ("female", "male", "mix"):
        paths = [path for path in folders_in(folder / locale / "by_book" / kind) if not (path / TABLE).is_file()]
        found += [(f"mix_{path.name}" if kind == "mix" else path.name, path) for path in paths]
    return found


def audio(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    """<book>+<file>, because two books of a reader may have files of the same name."""
    books = folders_in(speaker.folder)
    return [(f"{book.name}+{path.stem}", path) for book in books for path in audio_below(book / "wavs")]


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    return [path.parent.parent / TABLE]


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """The normalised text, or the raw one if that is empty."""
    for book in folders_in(speaker.folder):
        texts_by_file = _table(book / TABLE, problems)
        members = [name for name in found if name.startswith(f"{book.name}+")]
        for name in members:
            found[name] = found[name]._replace(text=texts_by_file.get(found[name].path.stem))
        if texts_by_file and (missing := [found[name].path.name for name in members if found[name].text is None]):
            problems.append(f"{book / TABLE}: no text for {first_few(missing)}")


def _table(path: Path, problems: list[str]) -> dict[str, str]:
    texts_by_file = {}
    for number, line in numbered_lines(path, problems):
        columns = line.split("|")
        if len(columns) != 3:
            problems.append(f"{path}, line {number}: {len(columns)} columns, not the three file|raw|normalised")
        elif text := one_field(columns[2]) or one_field(columns[1]):
            texts_by_file[columns[0].strip().removesuffix(".wav")] = text
    return texts_by_file


MAILABS = Corpus("by_book/{female,male,mix}/<speaker>/<book>/wavs/*.wav", speakers, audio, transcripts, texts, subset_names)
