"""LibriSpeech: <subset>/<speaker>/<chapter>/*.flac, <speaker>-<chapter>.trans.txt and .alignment.txt.

Own speech may have this layout and any names, with a .txt or .normalized.txt beside each file.
"""

from pathlib import Path

from utils.corpora.layout import (
    Corpus,
    Speaker,
    Utterance,
    audio_below,
    beside,
    enumerate_names,
    folders_in,
    numbered_lines,
    relative_name,
    texts_in_own_files,
)

SUBSETS = "dev-clean dev-other test-clean test-other train-clean-100 train-clean-360 train-other-500".split()
PUBLISHED = {f"LibriSpeech_{name}" for name in SUBSETS}


def subset_names(folder: Path) -> list[str]:
    """The subsets of a corpus, each a folder."""
    return [found.name for found in folders_in(folder)]


def numbered_speakers(folder: Path, subset: str) -> list[tuple[str, Path]]:
    """The speakers of a subset: the folders that are named by numbers or hold folders."""
    return [(found.name, found) for found in folders_in(folder / subset) if found.name.isdecimal() or folders_in(found)]


def audio_in_chapters(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    """The files of all chapters. Published names begin with speaker and chapter, and others get them."""
    found = []
    for chapter in folders_in(speaker.folder):
        published = (f"{speaker.name}-{chapter.name}-", f"{speaker.name}_{chapter.name}_")
        for path in audio_below(chapter):
            found.append((path.stem if path.stem.startswith(published) else relative_name(path, speaker.folder), path))
    return found


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    """The file with all texts of a chapter, or else one beside the audio."""
    chapter = speaker.folder / path.relative_to(speaker.folder).parts[0]
    return [chapter / f"{speaker.name}-{chapter.name}.trans.txt", *beside(path)]


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """Each line of trans.txt is an utterance's name, a space, and words in capitals without punctuation."""
    places: dict[Path, list[str]] = {}
    for name, utterance in found.items():
        places.setdefault(transcripts(speaker, utterance.path)[0], []).append(name)
    for path, names in places.items():
        own = {name: found[name] for name in names}
        if not path.is_file() and any(place.is_file() for each in own.values() for place in beside(each.path)):
            texts_in_own_files(lambda speaker, path: beside(path))(speaker, own, problems)
            found.update(own)
            continue
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
