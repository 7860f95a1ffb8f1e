"""The vocoder's trainer as a process: how soon its first step is done, and a step's time with batches out of the loader."""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from utils.data import audio
from utils.data.paths import SynthesizerData, save_npy, save_text
from utils.data.rows import Row, write_rows

ROOT = Path(__file__).parent.parent


def rows(n_steps: int, hparams: str, at_most: float) -> Iterator[tuple[str, str]]:
    """What is measured, and the figures. RuntimeError, with the trainer's last line, if it fails; TimeoutExpired if a run takes
    more seconds than at_most."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_noise(Path(folder) / "syn")
        command = ["vocoder_train.py", "noise", folder, "--syn_dir", data.root, "-g", "-m", folder, "--hparams", hparams]
        command += ["--no_visdom", "--eval_every", "0", "--generate_every", "0", "--save_every", "0", "--max_steps"]
        yield "vocoder_train.py, one step, from start to end", f"{_seconds(*command, '1', at_most=at_most):.1f} s"
        _seconds(*command, str(n_steps), at_most=at_most)
        lines = (Path(folder) / "noise" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines[n_steps // 2 :]]
    took = statistics.median(1 / each["steps_per_second"] for each in logged)
    waited = statistics.median(each["data_seconds"] for each in logged)
    yield f"vocoder_train.py, a step ({hparams})", f"{took:.4f} s, of which {waited:.4f} s waiting for batches"


def _seconds(*command: str | Path, at_most: float) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=at_most)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).strip().rpartition("\n")[2])
    return time.perf_counter() - start


def write_noise(root: Path, n: int = 64, seconds: int = 4) -> SynthesizerData:
    """Preprocessed utterances of noise."""
    data, mel_format, rng, written = SynthesizerData(root), audio.MelFormat(), np.random.default_rng(0), []
    for i in range(n):
        wav = rng.normal(0, 0.1, seconds * mel_format.sample_rate).astype(np.float32)
        mel = audio.mel_spectrogram(wav, mel_format)[: len(wav) // mel_format.hop_length].astype(np.float16)
        row = Row(f"audio-{i}.npy", f"mel-{i}.npy", f"embed-{i}.npy", len(wav), len(mel), "noise")
        save_npy(data.audio_dir / row.audio, audio.to_int16(wav))
        save_npy(data.mels_dir / row.mel, mel)
        written.append(row)
    write_rows(data.manifest, written)
    save_text(data.parameters, json.dumps({"mel": dataclasses.asdict(mel_format)}))
    return data
