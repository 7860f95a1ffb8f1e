"""LibriSpeech: <subset>/<speaker>/<chapter>/*.flac, <speaker>-<chapter>.trans.txt and .alignment.txt."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, Utterance, audio_below, enumerate_names, folders_in, numbered_lines

SUBSETS = "dev-clean dev-other test-clean test-other train-clean-100 train-clean-360 train-other-500".split()
PUBLISHED = {f"LibriSpeech_{name}" for name in SUBSETS}


def subset_names(folder: Path) -> list[str]:
    """The subsets of a corpus, each a folder."""
    return [found.name for found in folders_in(folder)]


def numbered_speakers(folder: Path, subset: str) -> list[tuple[str, Path]]:
    """The speakers of a subset, whose folders are named by numbers."""
    return [(found.name, found) for found in folders_in(folder / subset) if found.name.isdecimal()]


def audio_in_chapters(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    """The files of all chapters. Their names are unique within a speaker."""
    return [(path.stem, path) for chapter in folders_in(speaker.folder) for path in audio_below(chapter)]


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    """The file with all texts of a chapter."""
    chapter = speaker.folder / path.relative_to(speaker.folder).parts[0]
    return [chapter / f"{speaker.name}-{chapter.name}.trans.txt"]


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """Each line of trans.txt is an utterance's name, a space, and words in capitals without punctuation."""
    places: dict[Path, list[str]] = {}
    for name, utterance in found.items():
        places.setdefault(transcripts(speaker, utterance.path)[0], []).append(name)
    for path, names in places.items():
        for _, line in numbered_lines(path, problems):
            name, _, text = line.partition(" ")
            if name in found:
                found[name] = found[name]._replace(text=text.strip() or None)
        missing = [name for name in names if found[name].text is None]
        if missing and path.is_file():
            problems.append(f"{path}: no text for {enumerate_names(missing)}")


def stem(speaker: Speaker, utterance: str) -> str:
    """<speaker>-<chapter>-<utterance>, as preprocessed LibriSpeech has always been named."""
    return utterance if utterance.startswith(f"{speaker.name}-") else f"{speaker.name}-{utterance}"


LIBRISPEECH = Corpus(
    "<speaker number>/<chapter>/*.flac", numbered_speakers, audio_in_chapters, transcripts, texts, subset_names, passages=True
)
