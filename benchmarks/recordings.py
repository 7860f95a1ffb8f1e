"""Is a voice still found in a recording with a wrong level or wrong channels? `python -m benchmarks.recordings FOLDER...`

Each folder holds recordings named <voice>_<number> or <voice>-<chapter>-<number>. Every recording is changed, read again and
embedded: the table gives the lowest and the median cosine to the embedding before, and how often the voice is nearest.
"""

import re
import sys
import tempfile
from pathlib import Path

import numpy as np

RATE = 16000


def _hum(n: int, mains: float, n_harmonics: int = 7) -> np.ndarray:
    """Harmonics ever fainter, of mains that are not exactly at their frequency."""
    times = 2 * np.pi * (mains + 0.03) * np.arange(n) / RATE
    return sum(np.sin(k * times + k) / k for k in range(1, n_harmonics + 1))


def _rumble(n: int) -> np.ndarray:
    import scipy.signal

    low = scipy.signal.butter(4, 30, fs=RATE, output="sos")
    noise = scipy.signal.sosfilt(low, np.random.default_rng(0).normal(size=n))
    return noise / noise.std()


def _with(wav: np.ndarray, other: np.ndarray, level_db: float = 0) -> np.ndarray:
    """Another wave added, so much louder than the first."""
    return wav + other * 10 ** (level_db / 20) * wav.std() / other.std()


CHANGES = {  # what is done to a wave (n,) -> what is said when it is read
    "peak at 8": (lambda wav: wav * 8 / np.abs(wav).max(), "scaled"),
    "16-bit numbers as float": (lambda wav: wav * 32768, "scaled"),
    "offset of 0.3": (lambda wav: wav + 0.3, "offset"),
    "50 Hz, as loud as the speech": (lambda wav: _with(wav, _hum(len(wav), 50, 1)), "hum of 50 Hz"),
    "hum of 50 Hz, as loud as the speech": (lambda wav: _with(wav, _hum(len(wav), 50)), "hum of 50 Hz"),
    "hum of 50 Hz, 20 dB fainter": (lambda wav: _with(wav, _hum(len(wav), 50), -20), "hum of 50 Hz"),
    "60 Hz, 20 dB fainter": (lambda wav: _with(wav, _hum(len(wav), 60, 1), -20), "hum of 60 Hz"),
    "hum of 60 Hz, as loud as the speech": (lambda wav: _with(wav, _hum(len(wav), 60)), "hum of 60 Hz"),
    "hum of 60 Hz, 20 dB fainter": (lambda wav: _with(wav, _hum(len(wav), 60), -20), "hum of 60 Hz"),
    "rumble, as loud as the speech": (lambda wav: _with(wav, _rumble(len(wav))), "rumble"),
    "offset of 1, then times 100": (lambda wav: (wav + 1) * 100, "offset"),
    "two channels of opposite phase": (lambda wav: np.stack([wav, -wav], 1), "cancel"),
    "the same, one 0.9 times as loud": (lambda wav: np.stack([wav, -0.9 * wav], 1), "cancel"),
    "one channel silent": (lambda wav: np.stack([wav, 0 * wav], 1), "silent"),
    "speech in one of six channels": (lambda wav: np.stack([*[0 * wav] * 2, wav, *[0 * wav] * 3], 1), "silent"),
}


def main(folders: list[str]) -> None:
    import soundfile

    from encoder.inference import SpeakerEmbedder, preprocess_wav

    embedder = SpeakerEmbedder(device="cpu")
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*.flac"))]
    voices = np.array([re.split(r"[_-]\d", path.stem)[0] for path in paths])
    before = np.stack([embedder.embed_utterance(preprocess_wav(path))[0] for path in paths])
    print(f"{len(paths)} recordings of {len(set(voices))} voices", flush=True)
    for name, (change, _) in CHANGES.items():
        cosines, n_found = [], 0
        for i, path in enumerate(paths):
            with tempfile.TemporaryDirectory() as folder:
                soundfile.write(Path(folder, "a.wav"), change(soundfile.read(path)[0]), RATE, "FLOAT")
                after = embedder.embed_utterance(preprocess_wav(Path(folder, "a.wav")))[0]
            cosines.append(float(after @ before[i]))
            others = np.arange(len(paths)) != i
            means = {voice: (before[others & (voices == voice)] @ after).mean() for voice in set(voices[others])}
            n_found += max(means, key=means.get) == voices[i]
        figures = f"{min(cosines):.3f}, {np.median(cosines):.3f} | {n_found} of {len(paths)}"
        print(f"| {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
