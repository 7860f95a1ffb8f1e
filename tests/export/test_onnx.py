"""Models as ONNX: graphs that calculate what the models do, and a runner that speaks with them without torch and librosa."""

import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch

from tests import ROOT

onnx = pytest.importorskip("onnx", reason="requirements-onnx.txt")
onnxruntime = pytest.importorskip("onnxruntime", reason="requirements-onnx.txt")

from demo import onnx_runner, voice_file  # noqa: E402
from demo.config import CloningSettings  # noqa: E402
from demo.onnx_runner import Speaker  # noqa: E402
from demo.voice_file import Voice  # noqa: E402
from encoder.inference import SpeakerEmbedder, preprocess_wav  # noqa: E402
from synthesizer.config import ReadingSettings  # noqa: E402
from synthesizer.generation import TorchLoop  # noqa: E402
from synthesizer.inference import Synthesizer  # noqa: E402
from synthesizer.text import SYMBOL_SETS, SYMBOLS  # noqa: E402
from tests.export.conftest import paths_in, write_model  # noqa: E402
from tests.test_pipeline import run_here  # noqa: E402
from utils import cli  # noqa: E402
from utils.config import DEFAULT_MODELS  # noqa: E402
from utils.data import audio, vad  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.export import export, onnx_file  # noqa: E402
from utils.export.onnx_file import KEY, TABLES, Model, refers_elsewhere  # noqa: E402
from utils.export.onnx_models import STAGES, serialized_graphs  # noqa: E402
from utils.export.vocoder_graphs import vocoder_graphs  # noqa: E402
from utils.models import checkpoint  # noqa: E402
from vocoder.config import margin  # noqa: E402
from vocoder.inference import Vocoder  # noqa: E402
from vocoder.sampling import PlainSampler  # noqa: E402

FILE_FORMAT = "onnx"


def modules_of(*names: str) -> set[str]:
    """What can be imported after `pip install NAMES`: these packages, what they need, and what those need."""
    waiting, found = [*names], set()
    while waiting:
        if (name := _normal(re.match(r"[\w.-]+", waiting.pop())[0])) not in found:
            found.add(name)
            waiting += [each for each in metadata.requires(name) or () if "extra ==" not in each]
    return {module for module, packages in metadata.packages_distributions().items() if found & {*map(_normal, packages)}}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


ALLOWED = modules_of("numpy", "scipy", "onnxruntime", "soundfile", "unidecode", "inflect")
ALLOWED |= {*sys.stdlib_module_names, "demo", "encoder", "synthesizer", "vocoder", "utils"}
WITHOUT = f"""
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {ALLOWED} and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def speaker_of(folder: Path, retries: int = 0) -> Speaker:
    return Speaker(folder, 2, ReadingSettings(retries=retries), CloningSettings())


# ---- the graphs


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("encoder", {}),
        ("encoder", {"projection_size": 8}),
        ("synthesizer", {"attention": "location", "speaker_scale": 4.0}),
        ("synthesizer", {"attention": "location_both", "attention_kernel": 5}),
        ("synthesizer", {"attention": "dynamic", "attention_kernel": 21, "postnet_kernels": 3}),
        ("vocoder", {"mode": "RAW"}),
        ("vocoder", {"mode": "MOL", "pad": 1, "upsample_factors": (8, 25)}),
    ],
    ids=str,
)
def test_graphs_calculate_what_the_models_do(tmp_path, stage, changes):
    content = checkpoint.load(write_model(tmp_path / "model.pt", stage, **changes), stage)
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
            assert not refers_elsewhere(data)
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


def assert_same_mel(reader, models, text, monkeypatch) -> tuple[np.ndarray, np.ndarray]:
    """Onnxruntime's mel of the text, and torch's with the same random numbers, which is the same."""
    embedding = np.full(256, 1 / 16, np.float32)
    plain = Synthesizer(models, "cpu", precision="fp32", reading=ReadingSettings(retries=0))
    numbers = SameNumbers(plain, 5)
    plain._generate = numbers.generate
    monkeypatch.setattr(Synthesizer, "_loop", property(lambda self: TorchLoop(self.model.decoder, self.r)))
    with mock.patch("torch.nn.functional.dropout", numbers.dropout):
        (ours,) = reader.synthesize_spectrograms([text], embedding, seed=5)
        (theirs,) = plain.synthesize_spectrograms([text], embedding)
    assert reader.missed == plain.missed and reader.read(text) == plain.read(text)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    return ours, theirs


def test_words_are_sounds_as_in_torch(tmp_path, monkeypatch):
    symbols = SYMBOL_SETS["arpabet"]
    path = write_model(tmp_path / "synthesizer.pt", "synthesizer", cap_frames=(30, 1), n_symbols=len(symbols))
    content = checkpoint.load(path, "synthesizer")
    checkpoint.save(path, content | {"symbols": symbols, "training": {"cleaner": "english", "sounds": 0.7}})
    export({"synthesizer": path}, tmp_path / "out", format="onnx", precision="fp32")
    reader = onnx_runner.make_reader(tmp_path / "out", 2, ReadingSettings(retries=0))
    assert reader.read("Hello, knightley").symbols == "{HH AH0 L OW1}, knightley"
    assert_same_mel(reader, path, "Hello there, Mr. Knightley. A second piece follows.", monkeypatch)


def test_same_random_numbers_same_wave_as_torch(models, exported, monkeypatch):
    speaker, text = speaker_of(exported), "Hello there. It is 5 pm, and a second piece follows."
    ours, theirs = assert_same_mel(speaker.reader, models, text, monkeypatch)
    assert len(speaker.reader.pieces(text)) == 2
    monkeypatch.setattr("vocoder.inference.accelerate", lambda model, dtype: PlainSampler(model))
    expected = Vocoder(models, "cpu").infer_waveform(theirs, target=2000, overlap=400, seed=5)
    speaker.settings = CloningSettings(target=2000, overlap=400)
    waves = list(speaker.sound(ours, 5))
    assert len(waves) > 1
    np.testing.assert_allclose(np.concatenate(waves), expected, atol=1e-3)


def test_the_default_vocoder_draws_the_same_classes_but_at_their_borders():
    """2,000 samples of two rows, each frame from torch's state: they are equal until a random number falls within 1e-5 of the
    border of two classes. The last number of each frame is put at one, 1e-5 under it in one row and over it in the other."""
    model, n_rows, n_frames = Vocoder(DEFAULT_MODELS / "vocoder.pt", "cpu").model, 2, 10
    rng, hop, plain, steps = np.random.default_rng(0), model.config.hop_length, PlainSampler(model), []
    windows = rng.uniform(-1, 0.5, (n_rows, n_frames + 2 * margin(model.config), model.config.n_mels)).astype(np.float32)
    with torch.inference_mode():
        graphs = {name: graph.model({}).SerializeToString() for name, graph in vocoder_graphs(model, "fp32").items()}
    conditioning, sampling = map(onnxruntime.InferenceSession, graphs.values())
    mel, *tables = conditioning.run(None, {"windows": windows})
    n_taps = mel.shape[1] - n_frames + 1
    predict = plain._step
    plain._step = lambda i, level: steps.append(predict(i, level)) or steps[-1]
    plain.start(n_rows)
    plain.load(windows)
    borders, n_same = [], 0
    for k in range(n_frames):
        uniform = 1 - rng.random((n_rows, hop, 2), dtype=np.float32)
        h1, h2 = (h[0].numpy() for h in plain._state) if k else np.zeros((2, n_rows, model.config.rnn_dims), np.float32)
        frame = {name: table[:, k] for name, table in zip(TABLES, tables, strict=True)}
        state = {"level": plain._level[:, None].numpy(), "h1": h1, "h2": h2}
        steps.clear()
        levels = plain.frames(k, uniform)
        limits = torch.softmax(torch.stack(steps).double(), dim=-1).cumsum(-1).numpy()  # (hop, R, classes)
        border = np.argmax(np.diff(limits[-1], prepend=0), axis=1)  # over the likeliest class
        uniform[:, -1, 0] = limits[-1][[0, 1], border] + [-1e-5, 1e-5]
        plain._level = model.distribution.sample(steps[-1], torch.from_numpy(uniform[:, -1].T))
        levels[:, -1] = plain._level
        found = sampling.run(None, {"mel": mel[:, k : k + n_taps], "uniform": uniform, **frame, **state})[-1]
        same = np.abs(found - model.distribution.decode(levels)) < 1e-5  # the nearest classes differ by 5e-5
        for row in range(n_rows):
            first = int(np.argmin(same[row])) if not same[row].all() else hop
            n_same += first
            if first < hop:
                borders.append(np.abs(limits[first, row] - uniform[row, first, 0]).min())
    assert n_same > 0.9 * n_rows * n_frames * hop and all(distance < 1e-5 for distance in borders), (n_same, borders)


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
        assert (vad.voiced_windows(whole) == vad.voiced_windows(whole, vad.loud_windows)).mean() > 0.85
    soundfile.write(tmp_path / "me.wav", audio.load(path), 44100)
    usual = preprocess_wav(tmp_path / "me.wav")
    with mock.patch.dict(sys.modules, {"soxr": None}):
        ours = onnx_runner.speech(tmp_path / "me.wav")
    n = min(len(ours), len(usual))
    assert abs(len(ours) - len(usual)) <= vad.WINDOW and np.square(ours[:n] - usual[:n]).mean() < 5e-3 * np.square(usual).mean()


def start_alone(arguments: list[str], cwd: Path) -> subprocess.Popen:
    """The runner, where only the packages that docs/sharing.md names can be imported."""
    command = [sys.executable, "-c", WITHOUT, str(ROOT / "demo" / "onnx_runner.py"), *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def voice(models, samples, tmp_path) -> Path:
    embedder = SpeakerEmbedder(models, "cpu")
    embedding = embedder.embed_speaker([preprocess_wav(next(samples.rglob("*.flac")))])
    voice_file.save(tmp_path / "me.voice", Voice(embedding, None, 3.0, "me.wav", embedder.digests[0]))
    return tmp_path / "me.voice"


def test_it_speaks_where_there_are_only_the_six_packages(exported, samples, voice, tmp_path):
    assert not ALLOWED & {"torch", "librosa", "soxr", "webrtcvad", "safetensors", "onnx", "tqdm", "av"}
    wav, _ = soundfile.read(next(samples.rglob("*.flac")))
    soundfile.write(tmp_path / "me.wav", wav[:40000], 22050)
    options = ["--models", str(exported), "--text", "It's 5 pm in Zürich.", "--seed", "1", "--hparams", "retries=0"]
    for source in (["--reference", "me.wav", "--output", "said.wav"], ["--voice", "me.voice:2", "--output", "-"]):
        process = start_alone([*options, *source], tmp_path)
        out, err = process.communicate(timeout=300)
        assert process.returncode in (0, 3), err.decode()  # random weights miss words
        assert b"Traceback" not in err and b"s of audio in" in err
    said, rate = soundfile.read(tmp_path / "said.wav", dtype="int16")
    for wav in (said, np.frombuffer(out, "<i2")):
        assert rate == 16000 and len(wav) > 4000 and wav.any()


def test_ctrl_c_keeps_what_was_said(exported, voice, tmp_path, monkeypatch):
    options = f"--models {exported} --voice {voice} --seed 1 --hparams retries=0 --output".split()
    text = "One is said. Two is said. Three is said."
    pieces = []

    def say(speaker, *arguments):
        for said, wav in whole(speaker, *arguments):
            if len(pieces) == interrupted_at:
                raise KeyboardInterrupt
            pieces.append(wav)
            yield said, wav

    whole = Speaker.say
    monkeypatch.setattr(Speaker, "say", say)
    monkeypatch.setattr(sys, "argv", ["onnx_runner.py", *options, str(tmp_path / "said.wav"), "--text", text])
    for interrupted_at in (0, 2):
        pieces.clear()
        with pytest.raises(SystemExit) as left:
            cli.run(onnx_runner.main)
        assert left.value.code == 130 and (tmp_path / "said.wav").exists() == bool(interrupted_at)
    said, _ = soundfile.read(tmp_path / "said.wav", dtype="float32")
    expected = np.concatenate(pieces)
    np.testing.assert_allclose(said[: len(expected)], expected, atol=1e-4)
    assert not said[len(expected) :].any()


@pytest.mark.parametrize("option, value, told", [
    ("--output", "e.mp3", "e.mp3: name a .wav file"),
    ("--output", ".", ".: name a .wav file"),
    ("--models", "hf://someone/voice", "error: hf://someone/voice: is an address, and nothing is fetched by itself"),
    ("--voice", "me.voice:nan", "the weights of voices must be 0 or more, and one of them more than 0, not [nan]"),
    ("--speed", "2", "must be from 0.8 to 1.25, not 2"),
])  # fmt: skip
def test_what_is_asked_wrongly_is_one_line(exported, voice, tmp_path, option, value, told):
    options = {"--models": str(exported), "--voice": "me.voice", "--text": "Hi.", "--output": "said.wav"} | {option: value}
    code, _, err = run_here("demo/onnx_runner.py", [word for pair in options.items() for word in pair], tmp_path)
    assert code in (1, 2) and told in err.splitlines()[-1]
    assert [*tmp_path.iterdir()] == [voice]


def test_onnx_files_are_refused_by_name_where_torch_needs_others(exported, voice, tmp_path):
    for command, told in (
        (
            f"demo_cli.py --models {exported} --voice {voice} --text Hi.",
            f"{exported}: holds ONNX files, which demo/onnx_runner",
        ),
        (f"utils.export {exported} out", f"{exported}: holds ONNX files, which demo/onnx_runner.py alone reads"),
        (f"utils.export -e {exported}/encoder.onnx out", "encoder.onnx: is an ONNX file, which demo/onnx_runner.py alone"),
    ):
        name, *arguments = command.split()
        code, _, err = run_here(name, arguments, tmp_path)
        assert code == 1 and told in err and len(err.splitlines()) == 1, err


def test_a_folder_of_two_formats_lists_both(models, exported, tmp_path):
    export(paths_in(models), tmp_path / "out", precision="fp32")
    export({"encoder": models / "encoder.pt"}, tmp_path / "out", format="onnx", precision="fp32")
    listed = json.loads((tmp_path / "out" / "config.json").read_text())["files"]
    assert [*listed] == ["encoder.onnx", "encoder.safetensors", "synthesizer.safetensors", "vocoder.safetensors"]


def long(tag: int, content: bytes) -> bytes:
    """A field of a protobuf message whose length takes more bytes than it needs."""
    return bytes([tag, len(content) | 128, 0]) + content


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
    nested = onnx.load_from_string(whole)
    inner = onnx.helper.make_graph([], "inner", [], [], [*elsewhere.graph.initializer])
    sparse = onnx.SparseTensorProto(values=tensor)
    nested.graph.node[0].attribute.append(onnx.helper.make_attribute("body", inner))
    sparsely = onnx.load_from_string(whole)
    sparsely.graph.sparse_initializer.append(sparse)
    data = elsewhere.SerializeToString()
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "data elsewhere": data,
        "data elsewhere, its lengths written long": whole + long(0x3A, long(0x2A, long(0x6A, long(0x0A, b"location")))),
        "data elsewhere, in a graph within a node": nested.SerializeToString(),
        "data elsewhere, of a sparse tensor": sparsely.SerializeToString(),
        "foreign": foreign.SerializeToString(),
        "settings nested": settings.SerializeToString(),
        "another graph": (folder / "synthesizer_postnet.onnx").read_bytes(),
        "a pickle": b"\x80\x02" + whole,
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
    }


def test_words_in_a_file_are_not_taken_for_other_files(exported, tmp_path):
    model = onnx.load(exported / "encoder.onnx")
    for key in ("location", "\x0a\x08location"):
        model.metadata_props.add(key=key, value="studio")
    model.graph.doc_string = model.doc_string = "\x0a\x08location"
    onnx.save(model, tmp_path / "encoder.onnx")
    assert Model(tmp_path, "encoder", 1).settings["graph"] == "encoder"


def test_damaged_and_hostile_files_are_one_line(exported, tmp_path, monkeypatch):
    path = tmp_path / "encoder.onnx"
    for kind, data in ({"missing": None} | hostile_files(exported) | {"too large": bytes(1001)}).items():
        if data is not None:
            path.write_bytes(data)
        if kind == "too large":
            monkeypatch.setattr(onnx_file, "LARGEST", 1000)
        with pytest.raises(UserError) as told:
            Model(tmp_path, "encoder", 1)
        message = str(told.value)
        assert message.startswith(f"{path}: ") and "\n" not in message, kind
        assert ("elsewhere" in kind) == message.endswith("refers to other files, which is refused; export it again"), message
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
