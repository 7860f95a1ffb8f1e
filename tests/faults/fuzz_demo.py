"""What the demo, its toolbox and its evaluation read, and what locks and records hold, for tests.faults.test_fuzz."""

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch

from demo import voice_file
from demo.cloner import read_references
from demo.config import CloningSettings
from demo.delivery import text_in
from demo.judging.results import RESULTS, Utterance, read_csv, write_csv
from demo.judging.studio import Take, read_texts
from demo.toolbox.models import Choice
from demo.toolbox.session import Session
from demo.toolbox.voices import add_recordings
from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.model import EncoderWithLoss
from synthesizer.config import ReadingSettings
from synthesizer.model import Tacotron
from synthesizer.text import SYMBOLS
from tests.demo.demo_fakes import FakeEmbedder, fake_cloner
from tests.faults.fuzz import TACOTRON, Reader, make_parent, written
from utils.data import lock
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData
from utils.errors import UserError
from utils.export import export, onnx_file
from utils.models import checkpoint
from vocoder.model import WaveRNN, WaveRNNConfig

SAID = ("encoder", "synthesizer_decoder", "vocoder_sampling")  # the graphs whose settings are used


def demo_files(folder: Path) -> dict[str, Reader]:
    voice = voice_file.Voice(np.full(4, 0.5, np.float32), 4.25, 12.5, "me.wav", "a" * 64)
    wave = 0.1 * np.sin(np.arange(16000) / 5)
    sounds = [written(lambda path: soundfile.write(path, wave, 16000), folder, suffix) for suffix in (".wav", ".flac")]
    saved = written(lambda path: voice_file.save(path, voice), folder, ".voice")
    said = Utterance("speech", "anna", "text_1", "speech/anna/text_1.wav", "Hi.", 1.5, 0.5, ("cut",), "hi", 0, 1, 0, 2, 0.9)

    write_csv(folder, [said, said])
    judged = folder / RESULTS

    def blend(path: Path) -> None:
        voice_file.load_blend([(path, 0.5), (path, 2.0)], FakeEmbedder())

    cloner = fake_cloner()
    models = SimpleNamespace(cloner=lambda _: cloner, turn=threading.Lock())

    def upload(path: Path) -> None:
        session = Session(folder, Choice("e", "s", "v"))
        label = path.read_bytes()[-20:].decode(errors="replace") + path.suffix
        recorded = add_recordings(session, models, [(label, path)])
        session.save_voice(recorded).unlink()
        if recorded.wav:
            recorded.wav.unlink()

    def table(path: Path) -> list[Utterance]:
        shutil.copyfile(path, make_parent(folder / "judged" / RESULTS))
        return read_csv(folder / "judged")

    return {
        "voice": Reader(blend, [saved], ".voice"),
        "text file": Reader(text_in, [b"\xef\xbb\xbfHello.\n\nSch\xc3\xb6n.\n"]),
        "reference": Reader(lambda path: read_references([path]), sounds, ".wav"),
        "upload": Reader(upload, sounds, ".wav"),
        "uploaded voice": Reader(upload, [saved], ".voice"),
        "texts": Reader(read_texts, [b"one\tHello there.\ntwo\tHi.\n", b"Hello there.\nHi.\n"]),
        "results": Reader(table, [judged.read_bytes()]),
    }


def records(folder: Path) -> dict[str, Reader]:
    """What says who writes to an output, what it was made with, and what was made."""

    def owner(path: Path) -> None:
        place = folder / "locked"
        shutil.copyfile(path, make_parent(place / ".it.owner"))
        with contextlib.suppress(UserError), lock.only_writer(place, "it"):
            pass
        shutil.copyfile(path, place / ".it.owner")
        os.utime(place / ".it.owner", (0, 0))
        without = lock._Owner(place, "it")
        without.os_locks = False
        without.take()
        without.leave()

    def take(path: Path) -> None:
        made = Take(folder / "takes", "speech", "anna", "hi", "Hi.", 0)
        make_parent(made.path).touch()
        shutil.copyfile(path, made.path.with_suffix(".json"))
        if made.is_made_of({"text": "Hi."}):
            made.utterance([], "en")

    def digests(path: Path) -> list[str]:
        data = SynthesizerData(folder / "embedded")
        shutil.copyfile(path, make_parent(data.embeds_encoder))
        return data.encoder_digests

    holder = {"host": "here", "machine": lock.machine(), "process": 2**22 + 1, "started": "now", "command": "x", "token": "y"}
    about = {"made_of": {"text": "Hi."}, "seconds": 1.5, "took": 0.5, "faults": ["cut"], "judged": {}}
    return {
        "owner": Reader(owner, [json.dumps(holder).encode(), json.dumps(holder | {"machine": "0"}).encode()]),
        "settings": Reader(lambda path: lock.changed_settings(path, {"a": 1, "b": [2]}), [b'{"a": 1, "b": [2]}']),
        "take": Reader(take, [json.dumps(about).encode()], ".json"),
        "digests": Reader(digests, [b"a" * 64 + b"\n" + b"b" * 64 + b"\n"]),
    }


def onnx_files(folder: Path) -> dict[str, Reader]:
    """Graphs, and the settings in them. Whatever can be loaded speaks."""
    import onnx

    from demo import onnx_runner

    good, damaged = folder / "good", folder / "damaged"
    _export(good)
    shutil.copytree(good, damaged)

    def put(content: bytes, name: str) -> None:
        (damaged / f"{name}.onnx").write_bytes(content)
        try:
            speaker = onnx_runner.load(damaged, 1, ReadingSettings(retries=0), CloningSettings())
            for _ in speaker.say("a", np.full(4, 0.5, np.float32), 0, 1.0):
                pass
        finally:
            shutil.copyfile(good / f"{name}.onnx", damaged / f"{name}.onnx")

    def graph(path: Path) -> None:
        content = path.read_bytes()
        put(content, next((name for name in SAID if f'"{name}"'.encode() in content), "encoder"))

    def settings(path: Path) -> None:
        text = path.read_bytes().decode(errors="replace")
        name = next((name for name in SAID if f'"{name}"' in text), "encoder")
        model = onnx.load_from_string((good / f"{name}.onnx").read_bytes())
        onnx.helper.set_model_props(model, {onnx_file.KEY: text})
        put(model.SerializeToString(), name)

    graphs = [(good / f"{name}.onnx").read_bytes() for name in SAID]
    known = [onnx.load_from_string(each).metadata_props for each in graphs]
    texts = [next(each.value for each in props if each.key == onnx_file.KEY).encode() for props in known]
    return {"onnx": Reader(graph, graphs, ".onnx"), "onnx settings": Reader(settings, texts, ".json")}


def _export(folder: Path) -> None:
    """Tiny models."""
    torch.manual_seed(0)
    tacotron = dataclasses.replace(TACOTRON, n_symbols=len(SYMBOLS), cap_frames=(10, 1))
    wavernn = WaveRNNConfig(rnn_dims=2, fc_dims=2, context_dims=2, aux_dims=4, n_context_blocks=1, mode="MOL")
    encoder, mel, paths = EncoderConfig(hidden_size=2, n_layers=1, embedding_size=4), dataclasses.asdict(MelFormat()), {}
    models = {
        "encoder": (EncoderWithLoss, encoder, MEL_FORMAT),
        "synthesizer": (Tacotron, tacotron, mel),
        "vocoder": (WaveRNN, wavernn, mel),
    }
    for stage, (make, config, mel) in models.items():
        content = {"format": checkpoint.stage_format(stage), "step": 1, "model": dataclasses.asdict(config), "mel": mel}
        content |= {"symbols": SYMBOLS, "training": {"cleaner": "basic", "postfilter": 0.5}}
        paths[stage] = make_parent(folder.with_suffix(".models") / f"{stage}.pt")
        checkpoint.save(paths[stage], content | {"model_state": make(config).state_dict()})
    export(paths, folder, format="onnx", precision="fp32")
