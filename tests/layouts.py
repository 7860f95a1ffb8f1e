"""Corpora in their published layouts, made of the sample speech, for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from utils import corpora
from utils.data import audio

LIBRISPEECH = "LibriSpeech/train-clean-100"
TEXTS = ["Well, 'tis so — “quite” so!", "Zoë said: no; not I.", "And then?"]


def sample_waves(samples: Path, n: int, seconds: float = 2.0) -> list[np.ndarray]:
    """The beginnings of n utterances of different speakers, float32 (n,) at 16 kHz."""
    speakers = corpora.find_speakers(samples, [LIBRISPEECH])
    waves = [audio.load(corpora.list_utterances(speaker).utterances[0].path) for speaker in speakers[:n]]
    return [wav[: round(seconds * audio.SAMPLE_RATE)] for wav in waves]


def write_audio(path: Path, wav: np.ndarray, rate: int = audio.SAMPLE_RATE, channels: int = 1) -> Path:
    """Any suffix; m4a is AAC, made by FFmpeg. A second channel is half as loud."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = audio.resample(wav, audio.SAMPLE_RATE, rate)
    frames = np.stack([wav / (i + 1) for i in range(channels)], axis=1)  # (n, channels)
    if path.suffix != ".m4a":
        soundfile.write(path, frames, rate)
        return path
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono" if channels == 1 else "stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(frames.T), "fltp", stream.layout.name)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def libritts(root: Path, waves: Sequence[np.ndarray]) -> str:
    """Speaker 90001, who is in LibriSpeech too, with an utterance per wave; the second has only its original text."""
    for i, wav in enumerate(waves):
        path = write_audio(root / f"LibriTTS/dev-clean/90001/100010/90001_100010_00000{i}_000000.wav", wav, 24000)
        kind = "original" if i == 1 else "normalized"
        write_text(path.with_name(f"{path.stem}.{kind}.txt"), TEXTS[i] + "\n")
        if i != 1:
            write_text(path.with_name(f"{path.stem}.original.txt"), "not this")
    return "LibriTTS/dev-clean"


def vctk_080(root: Path, waves: Sequence[np.ndarray], folder: str = "VCTK-Corpus") -> str:
    """Speakers p225 and s5 with texts, p315 without."""
    for speaker in ("p225", "p315", "s5"):
        for i, wav in enumerate(waves):
            write_audio(root / f"{folder}/wav48/{speaker}/{speaker}_00{i}.wav", wav, 48000)
            if speaker != "p315":
                write_text(root / f"{folder}/txt/{speaker}/{speaker}_00{i}.txt", TEXTS[i])
    return folder


def vctk_092(root: Path, waves: Sequence[np.ndarray], folder: str = "VCTK-Corpus-0.92") -> str:
    """Two microphones; only the first is used."""
    for i, wav in enumerate(waves):
        for microphone in (1, 2):
            write_audio(root / f"{folder}/wav48_silence_trimmed/p225/p225_00{i}_mic{microphone}.flac", wav, 48000)
        write_text(root / f"{folder}/txt/p225/p225_00{i}.txt", TEXTS[i])
    write_text(root / f"{folder}/wav48_silence_trimmed/log.txt", "...")
    return folder


def mailabs(root: Path, waves: Sequence[np.ndarray]) -> str:
    """Readers of books with the same file names. The normalised text counts, or the raw one if there is none."""
    for reader in ("female/judy_bieber", "male/elliot_miller", "mix/judy_bieber"):
        book = root / "M-AILABS/en_US/by_book" / reader / "emma"
        for i, wav in enumerate(waves):
            write_audio(book / f"wavs/emma_01_f00000{i}.wav", wav)
        columns = [(f"emma_01_f00000{i}", *((TEXTS[i], "") if i == 1 else ("raw", TEXTS[i]))) for i in range(len(waves))]
        write_text(book / "metadata.csv", "".join("|".join(line) + "\n" for line in columns))
    write_audio(root / "M-AILABS/en_US/by_book/mix/poems/wavs/a.wav", waves[0])
    write_text(root / "M-AILABS/en_US/by_book/mix/poems/metadata.csv", "a|A|A\n")
    return "M-AILABS/en_US"


def folder(root: Path, waves: Sequence[np.ndarray], name: str = "own/voices") -> str:
    """Speakers anna and bo, with the same file names in their own sub-folders."""
    for speaker in ("anna", "bo"):
        for i, wav in enumerate(waves):
            path = write_audio(root / name / speaker / f"day{i}" / f"0001.{('ogg', 'flac', 'wav')[i]}", wav, 44100, 2)
            write_text(path.with_suffix(".txt"), f"\ufeff{TEXTS[i]}\r\n")
    return name


def manifest(root: Path, waves: Sequence[np.ndarray], name: str = "listed/manifest.txt") -> str:
    """Speakers named by the manifest, with their files in one folder, in telephone quality."""
    lines = []
    for speaker in ("anna", "bo"):
        for i, wav in enumerate(waves):
            path = write_audio((root / name).parent / f"clips/{speaker}{i}.wav", wav, 8000)
            lines.append(f"clips/{path.name}|{speaker}|{TEXTS[i]}\n")
    write_text(root / name, "".join(lines))
    return name


WITH_TEXTS = (libritts, vctk_080, vctk_092, mailabs, folder, manifest)


def voxceleb1(root: Path, waves: Sequence[np.ndarray]) -> str:
    """id10001 from New Zealand, id10002 from Norway."""
    for speaker in ("id10001", "id10002"):
        for i, wav in enumerate(waves):
            write_audio(root / f"VoxCeleb1/wav/{speaker}/a_b-c/0000{i}.wav", wav)
    table = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    table += ["id10001\tA\tm\tNew Zealand\tdev", "id10002\tB\tf\tNorway\tdev", "broken", "id10009\tC\tm\tUSA\tdev"]
    write_text(root / "VoxCeleb1/vox1_meta.csv", "\r\n".join(table))
    return "VoxCeleb1"


def voxceleb2(root: Path, waves: Sequence[np.ndarray]) -> str:
    """Stereo AAC at 44.1 kHz."""
    for i, wav in enumerate(waves):
        write_audio(root / f"VoxCeleb2/dev/aac/id00012/a_b-c/0000{i}.m4a", wav, 44100, 2)
    return "VoxCeleb2"
