"""Every reader of files and text that may come from a stranger, seeds for it, and inputs made of these by mutation."""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from hypothesis import strategies as st

from encoder import inference as encoder_inference
from encoder.config import MEL_FORMAT, EncoderConfig, EncoderTraining
from encoder.evaluate import read_trials
from encoder.model import EncoderWithLoss
from encoder.utterances import MARKED, Placed, Table, read_table, write_table
from synthesizer.corpus.folder import Part, read_part
from synthesizer.inference import Synthesizer
from synthesizer.model import Tacotron, TacotronConfig
from synthesizer.text import text_to_ids
from synthesizer.text.sentences import split
from synthesizer.text.word_times import parse_word_times, read_word_times
from utils.boards.metrics import read_metrics
from utils.config import override, parse_overrides
from utils.data import audio
from utils.data.arrays import load_npy
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData
from utils.data.rows import Row, read_parameters, read_rows, write_parameters, write_rows
from utils.data.tables import marked
from utils.models import checkpoint
from vocoder.inference import Vocoder
from vocoder.model import WaveRNN, WaveRNNConfig

ROWS = [Row(f"audio-{i}.npy", f"mel-{i}.npy", f"embed-{i}.npy", 200 * i, i, f"Text {i}, äöü.") for i in range(3)]
TIMES = [f"{row.mel}|,TEXT,{row.n_frames},|0.1,0.2,0.3,0.4" for row in ROWS]
TACOTRON = TacotronConfig(
    speaker_size=4, embedding_size=4, encoder_prenet=(4, 4), encoder_size=4, encoder_kernels=1, decoder_prenet=(4, 4),
    attention_size=4, attention_filters=2, attention_kernel=3, decoder_size=4, postnet_size=4, postnet_kernels=1, n_highways=1,
)  # fmt: skip


class Reader(NamedTuple):
    """read(path) may raise `allowed` alone; `seeds` are contents of good files with this suffix."""

    read: Callable[[Path], object]
    seeds: list[bytes]
    suffix: str = ".txt"
    allowed: tuple[type[Exception], ...] = ()


def written(write: Callable[[Path], object], folder: Path, suffix: str = ".txt") -> bytes:
    path = folder / f"seed{suffix}"
    write(path)
    return path.read_bytes()


def tables(folder: Path) -> dict[str, Reader]:
    part = Part(ROWS, TIMES, [("too long", "x")], [("odd", "y")], ["z"], ["t"], [("ß", 2, 1)], "in/s", 12.5, 9, 1)
    table = Table("# min_frames=1", [Placed(f"u{i}", 7 * i, 7, f"in/{i}.wav") for i in range(3)])
    rows = written(lambda path: write_rows(path, ROWS), folder)
    metrics = "".join(json.dumps({"stage": "encoder", "step": i, "loss": 0.5, "eer": None}) + "\n" for i in range(3))

    def parameters(path: Path) -> SynthesizerData:
        return type("Data", (), {"parameters": path})

    def times(path: Path) -> None:
        for line in read_word_times(path, {row.mel for row in ROWS}).values():
            parse_word_times(line)

    def save_parameters(path: Path) -> None:
        write_parameters(parameters(path), {"mel": asdict(MelFormat()), "preprocess": {"cleaner": "english"}})

    return {
        "train.txt": Reader(read_rows, [rows, six_columns(rows)]),
        "part": Reader(read_part, with_and_without_marks(written(part.save, folder))),
        "utterances": Reader(read_table, with_and_without_marks(written(lambda path: write_table(path, table), folder))),
        "word times": Reader(times, with_and_without_marks("".join(marked(TIMES)).encode())),
        "parameters": Reader(lambda path: read_parameters(parameters(path)), [written(save_parameters, folder)]),
        "metrics": Reader(lambda path: list(read_metrics(path)), [metrics.encode()]),
        "trials": Reader(read_trials, [b"1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n"]),
    }


def with_and_without_marks(content: bytes) -> list[bytes]:
    lines = [line.rpartition(b"\t#")[0].removesuffix(MARKED.encode()) for line in content.splitlines()]
    return [content, b"".join(line + b"\n" for line in lines[:-1])]


def six_columns(content: bytes) -> bytes:
    return b"".join(b"|".join(line.split(b"|")[:6]) + b"\n" for line in content.splitlines())


def arrays(folder: Path) -> dict[str, Reader]:
    def seed(array: np.ndarray) -> bytes:
        return written(lambda path: np.save(path, array), folder, ".npy")

    mels = [np.zeros((3, 40), np.float32), np.ones((2, 4), np.float16), np.zeros((2, 0), np.float32, order="F")]
    wavernn = WaveRNNConfig(rnn_dims=2, fc_dims=2, context_dims=2, aux_dims=4, n_context_blocks=1)
    encoder, mel = EncoderConfig(hidden_size=2, n_layers=1, embedding_size=2), asdict(MelFormat())
    stages = {
        "encoder": (EncoderWithLoss, encoder, MEL_FORMAT, encoder_inference._load),
        "synthesizer": (Tacotron, TACOTRON, mel, lambda path: Synthesizer(path, "cpu", precision="fp32")),
        "vocoder": (WaveRNN, wavernn, mel, lambda path: Vocoder(path, "cpu")),
    }

    def both(path: Path) -> None:
        load_npy(path, np.floating, 2, mapped=True)
        load_npy(path, np.floating, 2)

    found = {"npy": Reader(both, [*map(seed, mels)])}
    for stage, (make, config, mel, read) in stages.items():
        content = {"format": checkpoint.stage_format(stage), "step": 1, "model": asdict(config), "mel": mel}
        content |= {"symbols": "_~ab", "training": {"cleaner": "basic"}, "model_state": make(config).state_dict()}
        kinds = [partial(torch.save, content, _use_new_zipfile_serialization=is_zip) for is_zip in (True, False)]
        seeds = [written(lambda path, save=save: save(f=path), folder) for save in kinds]
        found[f"{stage}.pt"] = Reader(read, seeds, ".pt")
    return found


def make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def texts(folder: Path) -> dict[str, Reader]:
    lines = ["Dr. Smith paid £5.50 on 3/4/2021, at 5:30 p.m.", "www.a.org/b, J. R. R. Tolkien & the U.S.A. in the 1990s: 10°C"]

    def speak(path: Path) -> None:
        text = path.read_bytes().decode(errors="replace")
        for piece in split(text):
            text_to_ids(piece.text)
        for cleaner in ("basic", "transliteration"):
            text_to_ids(text, cleaner=cleaner)

    def settings(path: Path) -> None:
        text = path.read_bytes().decode(errors="replace")
        override(parse_overrides(text), EncoderConfig(), EncoderTraining(), WaveRNNConfig(), MelFormat())

    return {
        "reading": Reader(speak, [line.encode() for line in lines]),
        "hparams": Reader(settings, [b"hidden_size=8,learning_rate=1e-3", b"upsample_factors=5:5:8,mode=RAW"]),
    }


def sounds(folder: Path) -> dict[str, Reader]:
    wave = 0.1 * np.sin(np.arange(4000) / 5)

    def seed(suffix: str, subtype: str | None = None) -> bytes:
        return written(lambda path: soundfile.write(path, wave, 16000, subtype), folder, suffix)

    seeds = {".wav": [seed(".wav"), seed(".wav", "FLOAT")]} | {suffix: [seed(suffix)] for suffix in (".flac", ".ogg", ".mp3")}
    seeds[".m4a"] = [written(lambda path: write_m4a(path, wave), folder, ".m4a")]
    return {f"audio{suffix}": Reader(audio.load, contents, suffix) for suffix, contents in seeds.items()}


def write_m4a(path: Path, wave: np.ndarray) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


# ---- inputs


class Change(NamedTuple):
    kind: str
    place: float  # from 0 to 1
    length: int
    value: bytes


CHANGES = st.builds(
    Change,
    st.sampled_from(["put", "insert", "delete", "repeat", "cut", "flip", "number"]),
    st.floats(0, 1),
    st.integers(1, 64),
    st.binary(min_size=1, max_size=8),
)
NUMBERS = [
    b"-1",
    b"0",
    b"1e400",
    b"nan",
    b"9" * 20,
    b"9" * 400,
    b"9" * 5000,
    b"True",
    b"[]",
    b"{}",
    b"..",
    b"\0",
    b"\xff",
    b"|",
    b"\t",
]
OWN = [b"", b"\0", b"\n", b"\xef\xbb\xbf", b"[" * 100000, b"a|b|c\n" * 1000, b"PK\x05\x06" + b"\0" * 18, b"\x80\x04."]
TRICKY = st.sampled_from(OWN)
INPUTS = st.tuples(st.integers(0, 9), st.lists(CHANGES, max_size=6), st.none() | st.none() | st.binary(max_size=300) | TRICKY)


def content_of(reader: Reader, drawn: tuple) -> bytes:
    """A seed with changes, or a content of its own."""
    number, changes, own = drawn
    return own if own is not None else changed(reader.seeds[number % len(reader.seeds)], changes)


def changed(content: bytes, changes: list[Change]) -> bytes:
    for kind, place, length, value in changes:
        at = int(place * len(content))
        rest = content[at + (0 if kind in ("insert", "repeat") else length) :]
        if kind == "flip":
            new = bytes(byte ^ value[0] for byte in content[at : at + 1]) + content[at + 1 : at + length]
        elif kind == "number":
            new, rest = NUMBERS[value[0] % len(NUMBERS)], content[at + length % 4 :]
        else:
            new = {"put": value, "insert": value, "delete": b"", "repeat": content[at : at + length] * 2, "cut": b""}[kind]
        content = content[:at] + new + (b"" if kind == "cut" else rest)
    return content


_numbers = itertools.count()


def new_file(folder: Path, suffix: str, content: bytes) -> Path:
    """A file of a name that no reader has cached."""
    path = folder / f"input-{next(_numbers)}{suffix}"
    path.write_bytes(content)
    return path
