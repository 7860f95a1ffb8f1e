"""Models as ONNX: graphs that calculate what the models do, and a runner that speaks with them without torch and librosa."""

import dataclasses
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch

onnx = pytest.importorskip("onnx", reason="requirements-onnx.txt")
onnxruntime = pytest.importorskip("onnxruntime", reason="requirements-onnx.txt")

from demo import onnx_runner  # noqa: E402
from demo.config import CloningSettings  # noqa: E402
from demo.onnx_runner import EXTERNAL, KEY, Model, Speaker, loud_windows  # noqa: E402
from encoder.config import EncoderConfig  # noqa: E402
from encoder.inference import SpeakerEmbedder, preprocess_wav  # noqa: E402
from encoder.model import EncoderWithLoss  # noqa: E402
from synthesizer.config import ReadingSettings, TacotronConfig  # noqa: E402
from synthesizer.generation import TorchLoop  # noqa: E402
from synthesizer.inference import Synthesizer  # noqa: E402
from synthesizer.model import Tacotron  # noqa: E402
from synthesizer.text import SYMBOLS  # noqa: E402
from tests.test_pipeline import run_here  # noqa: E402
from tests.vocoder_data import FORMAT, TINY, TINY_SYNTHESIZER  # noqa: E402
from utils.data import audio, vad  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.export import export  # noqa: E402
from utils.export.onnx_models import STAGES, serialized_graphs  # noqa: E402
from utils.models import checkpoint  # noqa: E402
from vocoder.inference import Vocoder  # noqa: E402
from vocoder.model import WaveRNN, WaveRNNConfig  # noqa: E402
from vocoder.sampling import PlainSampler  # noqa: E402

ROOT = Path(__file__).parent.parent
ENCODER = EncoderConfig(hidden_size=16, n_layers=2, embedding_size=256)
BLOCKED = ("torch", "librosa", "soxr", "webrtcvad", "av", "tqdm", "numba", "safetensors", "joblib", "matplotlib", "onnx")
WITHOUT = f"""
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError("No module named " + name, name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write(path: Path, stage: str, **changes) -> Path:
    """A small model with random weights, as a checkpoint."""
    torch.manual_seed(0)
    if stage == "encoder":
        config, model = ENCODER, EncoderWithLoss(ENCODER)
    elif stage == "synthesizer":
        config = TacotronConfig(**TINY_SYNTHESIZER | changes)
        model = Tacotron(config)
    else:
        config = WaveRNNConfig(**TINY | changes)
        model = WaveRNN(config)
    for module in model.modules():  # as if it had been trained
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    mel = {"sample_rate": 16000, "n_fft": 400, "hop_length": 160, "n_mels": 40}
    content = {
        **{"format": checkpoint.stage_format(stage), "step": 3, "model": dataclasses.asdict(config)},
        **{"mel": mel if stage == "encoder" else dataclasses.asdict(FORMAT), "model_state": model.state_dict()},
        **{"symbols": SYMBOLS, "training": {"cleaner": "english", "postfilter": 0.5}},
    }
    checkpoint.save(path, content)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Encoder, synthesizer and vocoder, small. A mixture of logistics does not amplify rounding as classes do."""
    folder = tmp_path_factory.mktemp("models")
    write(folder / "encoder.pt", "encoder")
    write(folder / "synthesizer.pt", "synthesizer", cap_frames=(30, 1))
    write(folder / "vocoder.pt", "vocoder", mode="MOL")
    return folder


def paths_in(folder: Path) -> dict[str, Path]:
    return {stage: folder / f"{stage}.pt" for stage in checkpoint.STAGES}


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    export(paths_in(models), out, format="onnx", precision="fp32")
    return out


def speaker_of(folder: Path, retries: int = 0) -> Speaker:
    return Speaker(folder, 2, ReadingSettings(retries=retries), CloningSettings())


# ---- the graphs


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("encoder", {}),
        ("synthesizer", {"attention": "location", "speaker_scale": 4.0}),
        ("synthesizer", {"attention": "location_both", "attention_kernel": 5}),
        ("synthesizer", {"attention": "dynamic", "attention_kernel": 21, "postnet_kernels": 3}),
        ("vocoder", {"mode": "RAW"}),
        ("vocoder", {"mode": "MOL", "pad": 1, "upsample_factors": (8, 25)}),
    ],
    ids=str,
)
def test_graphs_calculate_what_the_models_do(tmp_path, stage, changes):
    content = checkpoint.load(write(tmp_path / "model.pt", stage, **changes), stage)
    make, _, answers = STAGES[stage]
    model = make(content["model"]).eval()
    own = {name.removeprefix("encoder."): value for name, value in content["model_state"].items() if "loss." not in name}
    model.load_state_dict(own if stage == "encoder" else content["model_state"])
    with torch.inference_mode():
        for expected, found in zip(*answers(model), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)
            assert expected.any()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_files_are_valid_and_hold_all_settings(models, precision):
    for stage, path in paths_in(models).items():
        files = serialized_graphs(stage, checkpoint.load(path, stage), path, precision)
        for name, data in files.items():
            model = onnx.load_from_string(data)
            onnx.checker.check_model(onnx.shape_inference.infer_shapes(model, strict_mode=True), full_check=True)
            assert model.opset_import[0].version <= 17 and model.ir_version <= 8
            assert not EXTERNAL.search(data)
            sizes = [d.dim_param for value in model.graph.input for d in value.type.tensor_type.shape.dim]
            assert any(sizes), "lengths and batch vary"
            settings = json.loads({each.key: each.value for each in model.metadata_props}[KEY])
            content = checkpoint.load(path, stage)
            assert settings["mel"] == content["mel"] and settings["graph"] == name and settings["precision"] == precision
            assert settings["symbols"] == SYMBOLS
            assert {each.key: each.value for each in model.metadata_props}["sample_rate"] == "16000"


def test_a_model_whose_code_was_changed_is_not_exported(models, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: torch.nn.functional.linear(x, self.weight) * 1.1)
    with pytest.raises(UserError, match=r"encoder.pt: the encoder's code was changed"):
        export({"encoder": models / "encoder.pt"}, tmp_path / "out", format="onnx")
    assert not (tmp_path / "out").exists()


# ---- the runner


class SameNumbers:
    """torch's dropout with the numbers that the runner draws: of a batch, the text's first, then those of all steps."""

    def __init__(self, reader, seed: int) -> None:
        self.reader, self.random, self.waiting = reader, np.random.default_rng(seed), []

    def generate(self, ids, speakers):
        c, (_, caps) = self.reader.config, self.reader._limits(ids)
        draw = lambda sizes, *shape: np.split(self.random.random((*shape, sum(sizes)), np.float32), [sizes[0]], axis=-1)  # noqa: E731
        n_steps = caps.max() // self.reader.r
        self.waiting = draw(c.encoder_prenet, len(ids), max(map(len, ids)))
        first, second = draw(c.decoder_prenet, n_steps, len(ids))
        self.waiting += [part for step in zip(first, second, strict=True) for part in step]
        self.waiting += [np.zeros_like(part) for part in self.waiting[-2:]] * 8  # steps come in eights
        return Synthesizer._generate(self.reader, ids, speakers)

    def dropout(self, x, p, training):
        return x * (torch.from_numpy(self.waiting.pop(0)) >= p) / (1 - p)


def test_same_random_numbers_same_wave_as_torch(models, exported, monkeypatch):
    speaker, embedding = speaker_of(exported), np.full(256, 1 / 16, np.float32)
    plain = Synthesizer(models, "cpu", precision="fp32", reading=ReadingSettings(retries=0))
    numbers = SameNumbers(plain, 5)
    plain._generate = numbers.generate
    monkeypatch.setattr(Synthesizer, "_loop", property(lambda self: TorchLoop(self.model.decoder, self.r)))
    text = "Hello there. It is 5 pm, and a second piece follows."
    with mock.patch("torch.nn.functional.dropout", numbers.dropout):
        (ours,) = speaker.reader.synthesize_spectrograms([text], embedding, seed=5)
        (theirs,) = plain.synthesize_spectrograms([text], embedding)
    assert len(speaker.reader.pieces(text)) == 2 and speaker.reader.missed == plain.missed
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    monkeypatch.setattr("vocoder.inference.accelerate", lambda model, dtype: PlainSampler(model))
    expected = Vocoder(models, "cpu").infer_waveform(theirs, target=2000, overlap=400, seed=5)
    speaker.settings = CloningSettings(target=2000, overlap=400)
    waves = list(speaker.sound(ours, 5))
    assert len(waves) > 1
    np.testing.assert_allclose(np.concatenate(waves), expected, atol=1e-3)


def test_the_embedding_is_that_of_torch(models, exported, samples):
    path = next(samples.rglob("*.flac"))
    ours, theirs = speaker_of(exported).embedder, SpeakerEmbedder(models, "cpu")
    expected = theirs.embed_speaker([preprocess_wav(path)])
    np.testing.assert_allclose(ours.embed([path]), expected, atol=1e-5)
    assert ours.digests[0] == theirs.digests[0] and ours.embedding_size == 256


def test_without_the_usual_detector_and_resampler_speech_is_nearly_the_same(samples, tmp_path):
    for path in sorted((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))[:4]:
        wav = audio.normalize_volume(audio.load(path))
        whole = wav[: len(wav) // vad.WINDOW * vad.WINDOW]
        assert (vad.voiced_windows(whole) == vad.voiced_windows(whole, loud_windows)).mean() > 0.85
    soundfile.write(tmp_path / "me.wav", audio.load(path), 44100)
    usual = preprocess_wav(tmp_path / "me.wav")
    with mock.patch.dict(sys.modules, {"soxr": None}):
        ours = onnx_runner.speech(tmp_path / "me.wav")
    n = min(len(ours), len(usual))
    assert abs(len(ours) - len(usual)) <= vad.WINDOW and np.square(ours[:n] - usual[:n]).mean() < 5e-3 * np.square(usual).mean()


def test_it_speaks_where_torch_and_librosa_are_not(exported, samples, tmp_path):
    wav, _ = soundfile.read(next(samples.rglob("*.flac")))
    soundfile.write(tmp_path / "me.wav", wav[:40000], 22050)
    command = [sys.executable, "-c", WITHOUT, str(ROOT / "demo" / "onnx_runner.py"), "--models", str(exported)]
    options = ["--reference", "me.wav", "--text", "It's 5 pm in Zürich.", "--seed", "1", "--hparams", "retries=0"]
    for output in ("said.wav", "-"):
        done = subprocess.run([*command, *options, "--output", output], cwd=tmp_path, capture_output=True)
        assert done.returncode in (0, 3), done.stderr.decode()  # random weights miss words
        assert b"Traceback" not in done.stderr and b"s of audio in" in done.stderr
    said, rate = soundfile.read(tmp_path / "said.wav", dtype="int16")
    assert rate == 16000 and len(said) > 4000 and said.any()
    assert np.array_equal(np.frombuffer(done.stdout, "<i2"), said)


def hostile_files(folder: Path) -> dict[str, bytes]:
    whole = (folder / "encoder.onnx").read_bytes()
    elsewhere = onnx.load_from_string(whole)
    tensor = next(each for each in elsewhere.graph.initializer if each.raw_data and len(each.raw_data) > 1000)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    foreign = onnx.load_from_string(whole)
    del foreign.metadata_props[:]
    settings = onnx.load_from_string(whole)
    onnx.helper.set_model_props(settings, {KEY: "[" * 100_000})
    data = elsewhere.SerializeToString()
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "data elsewhere": data,
        "data elsewhere, its length written long": data.replace(b"\x0a\x08location", b"\x0a\x88\x00location"),
        "foreign": foreign.SerializeToString(),
        "settings nested": settings.SerializeToString(),
        "another graph": (folder / "synthesizer_postnet.onnx").read_bytes(),
        "a pickle": b"\x80\x02" + whole,
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
    }


def test_damaged_and_hostile_files_are_one_line(exported, tmp_path, monkeypatch):
    path = tmp_path / "encoder.onnx"
    for kind, data in ({"missing": None} | hostile_files(exported) | {"too large": bytes(1001)}).items():
        if data is not None:
            path.write_bytes(data)
        if kind == "too large":
            monkeypatch.setattr(onnx_runner, "LARGEST", 1000)
        with pytest.raises(UserError) as told:
            Model(tmp_path, "encoder", 1)
        message = str(told.value)
        assert message.startswith(f"{path}: ") and "\n" not in message, kind
        assert "elsewhere" not in kind or "refers to other files" in message
        assert kind != "too large" or "more than 1,000 bytes" in message


@pytest.mark.parametrize("name, change, said", [
    ("encoder", "input", "encoder.onnx: does not run"),
    ("vocoder_sampling", "input", "vocoder_sampling.onnx: does not run"),
    ("synthesizer_decoder", "symbols", "lack settings of this version"),
])  # fmt: skip
def test_a_graph_that_is_not_what_its_settings_say_is_one_line(exported, samples, tmp_path, name, change, said):
    models = shutil.copytree(exported, tmp_path / "models")
    graph = onnx.load(models / f"{name}.onnx")
    if change == "input":
        name_of_input = graph.graph.input[0].name
        for node in graph.graph.node:
            node.input[:] = ["renamed" if each == name_of_input else each for each in node.input]
        graph.graph.input[0].name = "renamed"
    else:
        settings = json.loads(next(each.value for each in graph.metadata_props if each.key == KEY))
        onnx.helper.set_model_props(graph, {KEY: json.dumps(settings | {"symbols": settings["symbols"][:-1]})})
    onnx.save(graph, models / f"{name}.onnx")
    voice = next(samples.rglob("*.flac"))
    options = f"--models {models} --reference {voice} --text Hello. --output {tmp_path / 'a.wav'}"
    code, _, err = run_here("demo/onnx_runner.py", options.split(), tmp_path)
    assert code == 1 and len(err.splitlines()) == 1 and said in err, err


# ---- the page


def page_commands() -> list[list[str]]:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / "docs" / "sharing.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.startswith("python ")]


def test_every_command_of_the_page_runs(models, samples, tmp_path, monkeypatch):
    (tmp_path / "saved_models").mkdir()
    shutil.copytree(models, tmp_path / "saved_models" / "default")
    soundfile.write(tmp_path / "voice.wav", *soundfile.read(next(samples.rglob("*.flac"))))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda self, address, timeout: io.BytesIO(b"weights"))
    monkeypatch.setattr("vocoder.inference.accelerate", lambda model, dtype: PlainSampler(model))
    monkeypatch.setattr(Synthesizer, "_loop", property(lambda self: TorchLoop(self.model.decoder, self.r)))
    commands = page_commands()
    assert {command[2] if command[1] == "-m" else command[1] for command in commands} == {
        *("demo_cli.py", "demo/onnx_runner.py", "utils.export", "utils.fetch")
    }
    for _, *command in commands:
        if "other.voice:0.3" in command:
            shutil.copy(tmp_path / "me.voice", tmp_path / "other.voice")
        if "demo_cli.py" in command:
            command += ["--no_sound", "--cpu"]
        name, arguments = (command[1], command[2:]) if command[0] == "-m" else (command[0], command[1:])
        arguments = [hashlib.sha256(b"weights").hexdigest() if each == "HEX" else each for each in arguments]
        code, _, err = run_here(name, arguments, tmp_path)
        assert code in (0, 3) and "Traceback" not in err, (command, err)  # random weights miss words
    for name in ("shared/vocoder.safetensors", "fetched/vocoder.safetensors", "small/vocoder_sampling.onnx", "said.wav"):
        assert (tmp_path / name).is_file()
