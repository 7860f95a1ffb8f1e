"""Speed of preprocessing per core, beside a plain implementation and an upper limit, measured in turns.

Processor time is measured, so other load on the machine hardly counts.
"""

import contextlib
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np

SUBSET = Path("LibriSpeech", "train-clean-100")
COPIES = 3  # of each file: the samples have 40 s per speaker, a corpus has minutes
ROUNDS = 5
WINDOW = 480  # samples of the voice activity detector, 30 ms


def encoder(samples: Path) -> str:
    """Audio seconds per core-second of the whole encoder preprocessing."""
    from encoder.preprocess import preprocess

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = sorted((samples / SUBSET).rglob("*.flac"))
        for path in few:
            chapter = folder / "in" / path.relative_to(samples).parent
            chapter.mkdir(parents=True, exist_ok=True)
            for i in range(COPIES):
                shutil.copy(path, chapter / f"{path.stem}-{i}.flac")
        many = [path for path in few for _ in range(COPIES)]
        parts = unavoidable(few)
        names = iter(range(1000))

        def ours() -> None:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                preprocess(folder / "in", folder / f"out-{next(names)}", [SUBSET.as_posix()], n_processes=1)

        works = {"ours": (ours, seconds_of(many)), "plain": (lambda: plain(few, folder), seconds_of(few))}
        rates = in_turns(works | {part: (work, seconds_of(few)) for part, work in parts.items()})
    limit = 1 / sum(1 / rates[part] for part in parts)
    shares = ", ".join(f"{part} {rates[part]:.0f}" for part in parts)
    return (
        f"{rates['ours']:.0f} audio s per core-second; {rates['ours'] / rates['plain']:.1f} times a plain implementation "
        f"({rates['plain']:.0f}); floor {limit:.0f} ({shares})"
    )


def synthesizer(samples: Path) -> str:
    """Audio seconds per core-second of the whole synthesizer preprocessing."""
    from synthesizer.preprocess import preprocess_audio

    with tempfile.TemporaryDirectory() as name:
        names = iter(range(1000))

        def ours() -> None:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                preprocess_audio(samples, Path(name, f"out-{next(names)}"), [SUBSET.as_posix()], n_processes=1)

        rates = in_turns({"ours": (ours, seconds_of(sorted((samples / SUBSET).rglob("*.flac"))))})
    return f"{rates['ours']:.0f} audio s per core-second"


def in_turns(works: dict[str, tuple[Callable[[], object], float]]) -> dict[str, float]:
    """(work, seconds of audio) -> median audio seconds per core-second, after a warm-up round."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(1 + ROUNDS):
        for name, (work, seconds) in works.items():
            started = time.process_time()
            work()
            rates[name].append(seconds / (time.process_time() - started))
    return {name: statistics.median(values[1:]) for name, values in rates.items()}


def seconds_of(paths: list[Path]) -> float:
    """Total duration of the files."""
    import soundfile

    return sum(soundfile.info(path).duration for path in paths)


# ---- the plain implementation


def plain(paths: list[Path], folder: Path) -> None:
    """File by file, with librosa's mel spectrogram, and one .npy per utterance."""
    import librosa
    import soundfile
    import webrtcvad
    from scipy.ndimage import binary_dilation

    for path in paths:
        wav, rate = soundfile.read(path)
        level = 10 * np.log10(np.mean(wav**2))
        if level < -30:
            wav = wav * 10 ** ((-30 - level) / 20)
        wav = wav[: len(wav) // WINDOW * WINDOW]
        detector = webrtcvad.Vad(3)
        pcm = [(window * 32767).round().clip(-32767, 32767).astype(np.int16).tobytes() for window in wav.reshape(-1, WINDOW)]
        voiced = np.array([detector.is_speech(window, rate) for window in pcm], dtype=float)
        voiced = np.round(np.convolve(voiced, np.ones(8) / 8, "same")).astype(bool)
        wav = wav[np.repeat(binary_dilation(voiced, np.ones(7)), WINDOW)]
        mel = librosa.feature.melspectrogram(y=wav, sr=rate, n_fft=400, hop_length=160, n_mels=40)
        np.save(folder / "mel.npy", mel.astype(np.float32).T)


# ---- the limit


def unavoidable(paths: list[Path]) -> dict[str, Callable[[], object]]:
    """The three unavoidable parts, each on data that is in memory already (decoding: in the page cache)."""
    import scipy.fft
    import soundfile
    import webrtcvad

    from utils.data import audio, vad

    spoken = [vad.trim_silences(audio.normalize_volume(audio.load(path))) for path in paths]
    windows = [audio.to_int16(audio.load(path))[: -WINDOW or None] for path in paths]
    windows = [wav[: len(wav) // WINDOW * WINDOW].view(f"V{2 * WINDOW}").tolist() for wav in windows]
    frames = [np.lib.stride_tricks.sliding_window_view(wav, 400)[::160] for wav in spoken]
    filters = np.random.default_rng(0).random((201, 40), dtype=np.float32)

    def decode() -> None:
        for path in paths:
            soundfile.read(path, dtype="int16")

    def detect() -> None:
        for each in windows:
            [*map(webrtcvad.Vad(3).is_speech, each, repeat(16000), repeat(WINDOW))]

    def transform() -> None:
        for each in frames:
            for start in range(0, len(each), audio.BLOCK_FRAMES):
                np.abs(scipy.fft.rfft(each[start : start + audio.BLOCK_FRAMES], axis=1)) @ filters

    return {"decoding": decode, "voice activity": detect, "Fourier transform and filters": transform}
