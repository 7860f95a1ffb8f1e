"""Lists, transcripts and alignments of corpora, for tests.faults.test_fuzz."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from tests.faults.fuzz import Reader, make_parent
from utils import corpora
from utils.corpora.alignments import parse_alignment

LISTS = [
    b"clips/a.wav|anna|Hi there.\n",
    b"text\tspeaker\tfile\nHi\tanna\tclips/a.wav\n",
    b'{"audio_filepath": "clips/a.wav", "text": "Hi", "offset": 0.1, "duration": 0.05, "speaker": "x"}\n',
    b'file_name,text\n"clips/a.wav","Hi, ""you"""\n',
]
KALDI = {
    "wav.scp": b"r1 ../clips/a.wav\nr2 flac -c -d -s ../clips/a.wav |\n",
    "segments": b"u1 r1 0.00 0.05\nu2 r1 0.05 0.10\n",
    "utt2spk": b"u1 anna\nu2 bert\n",
    "text": b"u1 HI THERE\nu2 HO\n",
}


def corpora_files(folder: Path) -> dict[str, Reader]:
    """Beside the files there is audio."""
    root = folder / "corpora"

    def sound(name: str) -> Path:
        soundfile.write(make_parent(root / name), np.zeros(1600), 16000)
        return root / name

    sound("clips/a.wav")
    chapter = sound("LibriSpeech/dev-clean/1/2/1-2-0000.flac").parent
    book = sound("M-AILABS/en_US/by_book/male/x/y/wavs/z.wav").parent.parent
    hifi = sound("hi_fi_tts_v0/audio/9_clean/b/c.wav").parents[3]
    own = sound("voices/anna/a.wav")
    vctk = sound("VCTK-Corpus/wav48_silence_trimmed/p1/p1_001_mic1.flac").parents[2]
    sound("VoxCeleb1/wav/id1/v/1.wav")

    def list_all(corpus: str, alignments: bool = False) -> None:
        for speaker in corpora.find_speakers(root, [corpus]):
            corpora.list_utterances(speaker, texts=corpus != "VoxCeleb1", alignments=alignments)
            corpora.stem(speaker, "x")

    def manifest(path: Path) -> None:
        here = root / path.name
        shutil.move(path, here)
        try:
            list_all(path.name)
        finally:
            here.unlink()

    def beside(place: Path, corpus: str, alignments: bool = True) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            shutil.copyfile(path, make_parent(place))
            list_all(corpus, alignments)

        return read

    def kaldi(name: str) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            for each, content in KALDI.items():
                make_parent(root / "kaldi" / each).write_bytes(content)
            shutil.copyfile(path, root / "kaldi" / name)
            list_all("kaldi")

        return read

    alignment = b'1-2-0000 ",A,WORD," "0.2,0.3,0.7,0.9"\n'
    nemo = b'{"audio_filepath": "audio/9_clean/b/c.wav", "text": "Hi", "duration": 0.1, "text_normalized": "hi"}\n'
    found = {
        "manifest": Reader(manifest, LISTS),
        "transcripts": Reader(beside(chapter / "1-2.trans.txt", "LibriSpeech/dev-clean"), [b"1-2-0000 A WORD\n"]),
        "alignments": Reader(beside(chapter / "1-2.alignment.txt", "LibriSpeech/dev-clean"), [alignment]),
        "metadata.csv": Reader(beside(book / "metadata.csv", "M-AILABS/en_US"), [b"z|A word|a word\n"]),
        "alignment line": Reader(
            lambda path: parse_alignment(path.read_text(errors="replace")), [alignment], allowed=(ValueError,)
        ),
        "hi-fi": Reader(beside(hifi / "9_manifest_clean_train.json", hifi.name, False), [nemo]),
        "text beside": Reader(beside(own.with_suffix(".txt"), "voices", False), [b"A word.\n"]),
        "vctk": Reader(beside(vctk / "txt" / "p1" / "p1_001.txt", vctk.name, False), [b"A word.\n"]),
        "nationalities": Reader(
            beside(root / "VoxCeleb1" / "vox1_meta.csv", "VoxCeleb1", False),
            [b"id1\tA\tf\tIreland\tdev\nid2\tB\tm\tUK\ttest\n"],
        ),
    }
    return found | {name: Reader(kaldi(name), [content]) for name, content in KALDI.items()}
