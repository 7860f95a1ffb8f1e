"""LibriTTS: <subset>/<speaker>/<chapter>/*.wav with *.normalized.txt, or else *.original.txt. Speakers are LibriSpeech's."""

from pathlib import Path

from utils.corpora.layout import Corpus, Speaker, texts_in_own_files
from utils.corpora.librispeech import audio_in_chapters, numbered_speakers, subset_names


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    """The text with numbers written out, or else as printed, or own speech in this layout."""
    return [path.with_name(f"{path.stem}.{kind}txt") for kind in ("normalized.", "original.", "")]


LIBRITTS = Corpus(
    "<speaker number>/<chapter>/*.wav",
    numbered_speakers,
    audio_in_chapters,
    transcripts,
    texts_in_own_files(transcripts),
    subset_names,
)
