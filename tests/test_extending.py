"""docs/extending.md: the code of each section is put where the page says, its commands are run, and do what the page says."""

import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests import ROOT
from tests.published_state import published_state
from tests.vocoder_data import write_speech, write_synthesizer
from utils.data import audio
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.fingerprint import Originals

ROOMS = ("encoder", "synthesizer", "vocoder", "utils", "demo")
TINY_TRAINING = ["--eval_every", "0", "--cpu", "--no_visdom"]
TINY_TACOTRON = (
    "embedding_size=8,encoder_prenet=8:8,encoder_size=8,encoder_kernels=2,decoder_prenet=8:8,attention_size=8,"
    "attention_filters=4,attention_kernel=5,decoder_size=16,postnet_size=8,postnet_kernels=2,n_highways=1,"
    "schedule=5:1e-3:100:4,cap_frames=100:1,arrival_frames=0,eval_utterances=1"
)
TINY_GAN = "channels=16,batch_size=2,crop=20"
ADDED = {  # to the page's commands, so that they end in seconds
    "synthesizer_train.py": [*TINY_TRAINING, "--hparams", TINY_TACOTRON],
    "gan_train.py": [*TINY_TRAINING, "--hparams", TINY_GAN],
    "encoder_preprocess.py": ["-n", "1"],
    "synthesizer_preprocess_audio.py": ["-n", "1"],
    "synthesizer_preprocess_embeds.py": ["--cpu"],
    "demo_cli.py": ["--cpu", "--no_sound", "--griffin_lim", "--seed", "1"],
}


class Section:
    """A section of the page, applied to the code and run in a folder."""

    def __init__(self, title: str, folder: Path) -> None:
        self.folder = folder
        (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL | re.M)
        self.blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.M)

    def write_code(self) -> "Section":
        for language, block in self.blocks:
            if language != "bash":
                first, code = block.split("\n", 1)
                path = self.folder / first.removeprefix("# ")
                _change(path, code) if language == "diff" else _add(path, code)
        return self

    @property
    def commands(self) -> list[str]:
        return "".join(block for language, block in self.blocks if language == "bash").splitlines()

    def run(self, command: str, *options: str) -> None:
        """A line of the page, with the options that make it short, in this process."""
        _, script, *arguments = shlex.split(command)
        words = [*arguments, *ADDED.get(script, []), *options]
        settings = []  # the page's last, as the last one counts
        while "--hparams" in words:
            at = words.index("--hparams")
            settings.insert(0, words.pop(at + 1))
            words.pop(at)
        if settings:
            words += ["--hparams", ",".join(settings)]
        place = self.folder if (self.folder / script).is_file() else ROOT
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [script, *words])
            try:
                runpy.run_path(str(place / script), run_name="__main__")
            except SystemExit as left:
                assert script == "demo_cli.py" and left.code == 3  # words are missing, as of a model that is hardly trained


def _add(path: Path, code: str) -> None:
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") + "\n\n" if path.exists() else ""
    path.write_text(before + code, encoding="utf-8")


def _change(path: Path, diff: str) -> None:
    """The old lines of each place must be there once."""
    code = path.read_text(encoding="utf-8")
    for place in re.split(r"^@@\n", diff, flags=re.M):
        lines = place.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in " " + sign) for sign in "-+")
        assert code.count(old) == 1, f"{path.name} does not hold these lines once:\n{old}"
        code = code.replace(old, new)
    path.write_text(code, encoding="utf-8")


@pytest.fixture(scope="module")
def speech(samples, tmp_path_factory) -> Path:
    """A datasets_root with a few utterances as the synthesizer's preprocessing writes them."""
    root = tmp_path_factory.mktemp("datasets")
    write_speech(samples, root / "SV2TTS" / "synthesizer")
    return root


@pytest.fixture
def folder(tmp_path, monkeypatch, samples) -> Path:
    """The current folder, from which modules are imported, with default models and a recording."""
    models = tmp_path / "saved_models" / "default"
    models.mkdir(parents=True)
    torch.save({"model_state": published_state("encoder")}, models / "encoder.pt")
    write_synthesizer(models / "synthesizer.pt")
    wav, rate = soundfile.read(sorted((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))[0])
    soundfile.write(tmp_path / "voice.wav", wav, rate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def repository(folder) -> Iterator[Path]:
    """A copy of the repository's code to change, whose modules are imported instead."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room)
    for script in ROOT.glob("*.py"):
        shutil.copy(script, folder)
    before = _modules(ROOMS)
    _forget(ROOMS)
    yield folder
    _forget(ROOMS)
    sys.modules.update(before)


@pytest.fixture
def gan(folder) -> Iterator[Path]:
    yield folder
    _forget(("gan", "gan_train"))


def _modules(packages: tuple[str, ...]) -> dict[str, object]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages}


def _forget(packages: tuple[str, ...]) -> None:
    for name in _modules(packages):
        del sys.modules[name]


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def moves_by_one(alignment: np.ndarray) -> bool:
    """Whether a character has no weight before the step in which it can be reached: (steps, characters)"""
    steps, characters = np.indices(alignment.shape)
    return bool((alignment[characters > steps + 1] == 0).all() and np.allclose(alignment.sum(1), 1, atol=1e-5))


def test_change_the_attention(repository, speech, monkeypatch):
    section = Section("Change the attention", repository).write_code()
    (repository / "datasets").symlink_to(speech)
    import synthesizer.train

    trained_with = []

    def watched(attention, *rest, **options):
        trained_with.append(attention.detach().numpy())
        return plain(attention, *rest, **options)

    plain = synthesizer.train.attention_loss
    monkeypatch.setattr(synthesizer.train, "attention_loss", watched)
    train, speak = section.commands
    section.run(train, "--max_steps", "3")
    assert len(trained_with) == 3
    assert all(moves_by_one(alignment) for batch in trained_with for alignment in batch)

    section.run(speak)
    assert len(audio.load(repository / "said.wav")) > 1000 and (repository / "said.png").stat().st_size > 1000
    from synthesizer.inference import Synthesizer

    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        model = Synthesizer(repository / "saved_models" / "forward_attention" / "synthesizer.pt", device)
        assert type(model.model.decoder.attention).__name__ == "ForwardAttention"
        _, (alignment,) = model.synthesize_spectrograms(["Hello there."], np.ones(256, np.float32) / 16, True, seed=0)
        assert alignment.shape[1] > 10 and moves_by_one(alignment), device


def test_add_a_loss(repository, speech):
    section = Section("Add a loss", repository).write_code()
    (repository / "datasets").symlink_to(speech)
    (train,) = section.commands
    section.run(train, "--max_steps", "2")
    section.run(train.replace("with_deltas", "without").replace("0.5", "0"), "--max_steps", "2")
    runs = [repository / "saved_models" / name for name in ("with_deltas", "without")]
    with_deltas, without = map(metrics, runs)
    assert [row["step"] for row in with_deltas] == [1, 2] and all(row["delta_loss"] > 0 for row in with_deltas)
    assert with_deltas[0]["delta_loss"] == without[0]["delta_loss"]
    assert with_deltas[0]["grad_norm"] != without[0]["grad_norm"]  # it is trained
    saved = torch.load(runs[0] / "synthesizer.pt", weights_only=True)
    assert saved["training"]["delta_weight"] == 0.5

    from synthesizer.loss import delta_loss
    from synthesizer.model import Prediction

    mels, predicted = torch.randn(2, 2, 6, 3)
    ours = delta_loss(Prediction(predicted, predicted, torch.zeros(2, 3), torch.zeros(2, 3, 4)), mels, torch.tensor([6, 4]))
    errors = np.diff((predicted - mels).numpy(), axis=1)
    assert ours.item() == pytest.approx(np.abs(np.concatenate([errors[0], errors[1, :3]])).mean(), rel=1e-5)


def _recordings(samples: Path) -> Iterator[tuple[str, Path]]:
    """(speaker, file) of two utterances each of two speakers of the samples."""
    for speaker in sorted((samples / "LibriSpeech" / "train-clean-100").iterdir())[:2]:
        for path in sorted(speaker.rglob("*.flac"))[:2]:
            yield speaker.name, path


def test_add_a_corpus(repository, samples, capsys):
    section = Section("Add a corpus", repository).write_code()
    names = {}
    for number, (speaker, path) in enumerate(_recordings(samples)):
        place = repository / "datasets" / "CMU-ARCTIC" / f"cmu_us_{speaker}_arctic"
        (place / "wav").mkdir(parents=True, exist_ok=True)
        (place / "etc").mkdir(exist_ok=True)
        soundfile.write(place / "wav" / f"arctic_a{number:04}.wav", *soundfile.read(path))
        names[f"arctic_a{number:04}"] = f"Author of the danger trail, number {number}, Philip Steels."
        with (place / "etc" / "txt.done.data").open("a") as file:
            file.write(f'( arctic_a{number:04} "{names[f"arctic_a{number:04}"]}" )\n')
    with (place / "etc" / "txt.done.data").open("a") as file:
        file.write("arctic_a9999 no brackets\n")
    for command in section.commands:
        section.run(command)
    assert "line 3: is not (" in capsys.readouterr().out
    out = repository / "datasets" / "SV2TTS"
    speakers = {place.name for place in (out / "encoder").iterdir() if (place / "mels.npy").is_file()}
    assert speakers == {f"CMU-ARCTIC_{speaker}" for speaker, _ in _recordings(samples)}
    rows = [line.split("|") for line in (out / "synthesizer" / "train.txt").read_text().splitlines()]
    assert [row[5] for row in rows] == [*names.values()]
    assert all(np.load(out / "synthesizer" / "mels" / row[1]).shape == (int(row[4]), 80) for row in rows)


def test_add_a_language(repository, samples):
    """By settings alone first, then with the cleaner."""
    written = "Die Größe, z. B. von Dr. Müller, beträgt 17 Füße."
    for speaker, path in _recordings(samples):
        copied = repository / "datasets" / "my-voices" / speaker / path.name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
        copied.with_suffix(".txt").write_text(written, encoding="utf-8")
    section = Section("Add a language", repository)
    for cleaner, read in (
        ("basic", "die größe, z. b. von dr. müller, beträgt füße."),
        ("german", "die größe, zum beispiel von doktor müller, beträgt eins sieben füße."),
    ):
        _forget(ROOMS)
        if cleaner == "german":
            section.write_code()
        for command in section.commands:
            restart = ["--max_steps", "1", "-f"] if "train" in command.split()[1] else []
            section.run(command.replace("cleaner=basic", f"cleaner={cleaner}"), *restart)
        from synthesizer.inference import Synthesizer

        model = Synthesizer(repository / "saved_models" / "german" / "synthesizer.pt", "cpu")
        assert model.cleaner == cleaner and model.symbols.endswith("äöüß")
        assert model.read(written).text == read


def test_put_another_vocoder_behind_the_demo(gan, monkeypatch):
    section = Section("Put another vocoder behind the demo", gan).write_code()
    from gan.inference import GanVocoder
    from gan.model import Generator, GeneratorConfig

    from demo.cloner import Cloner
    from encoder.inference import SpeakerEmbedder
    from synthesizer.inference import Synthesizer

    monkeypatch.setattr("synthesizer.accelerate.COMPILED", Originals())  # plain torch, as compiling takes longer than speaking
    generator = Generator(GeneratorConfig(channels=16))
    content = {"format": "sv2tts-gan-1", "model": {"channels": 16}, "model_state": generator.state_dict()}
    path = gan / "saved_models" / "my_gan" / "gan.pt"
    checkpoint.save(path, content | {"mel": asdict(MelFormat())})
    made, infer = [], GanVocoder.infer_waveform

    def watched(self, mel, **options):
        made.append(infer(self, mel, **options))
        return made[-1]

    monkeypatch.setattr(GanVocoder, "infer_waveform", watched)
    (command,) = section.commands
    section.run(command)
    said, rate = soundfile.read(gan / "said.wav", dtype="float32")
    n = len(made[-1])
    assert rate == 16000 and n < len(said) <= n + 3200  # 0.2 s of silence follow
    assert np.corrcoef(said[200 : n - 200], made[-1][200:-200])[0, 1] > 0.9  # louder, faded at the ends, in 16 bits

    vocoder, mel = GanVocoder(path), np.random.default_rng(0).uniform(-4, 4, (80, 7)).astype(np.float32)
    wave = vocoder.infer_waveform(mel)
    assert np.allclose(wave, generator(torch.from_numpy(mel[None] / 4)).detach().numpy()[0], atol=1e-6)
    assert np.array_equal(np.concatenate([*vocoder.stream_waveform(mel)]), wave)
    checkpoint.save(path, content | {"mel": asdict(MelFormat(fmin=0.0))})
    models = gan / "saved_models" / "default"
    with pytest.raises(UserError, match="reads other mels"):
        Cloner(SpeakerEmbedder(models / "encoder.pt"), Synthesizer(models / "synthesizer.pt"), GanVocoder(path))


def test_train_another_vocoder(gan, speech):
    Section("Put another vocoder behind the demo", gan).write_code()
    section = Section("Train another vocoder", gan).write_code()
    (gan / "datasets").symlink_to(speech)
    (command,) = section.commands
    runs = [gan / "saved_models" / name for name in ("my_gan", "whole")]
    section.run(command, "--max_steps", "2")
    half = checkpoint.load(runs[0] / "gan.pt", "gan")
    section.run(command, "--max_steps", "4")
    section.run(command.replace("my_gan", "whole"), "--max_steps", "4")
    parts, whole = (checkpoint.load(run / "gan.pt", "gan") for run in runs)
    for of in (lambda content: content, lambda content: content["further"]["discriminator"]):
        assert_same(of(parts), of(whole))
        before, after = of(half)["model_state"], of(parts)["model_state"]
        assert all(not torch.equal(before[name], after[name]) for name in before)  # both models are trained
    names = ("discriminator_loss", "adversarial_loss", "spectral_loss", "grad_norm")
    losses = [[[row[name] for name in names] for row in metrics(run)] for run in runs]
    assert losses[0] == losses[1] and np.shape(losses[0]) == (4, len(names)) and np.isfinite(losses[0]).all()

    from gan.inference import GanVocoder
    from gan_train import Crops

    assert GanVocoder(runs[0] / "gan.pt").infer_waveform(np.zeros((80, 7), np.float32)).shape == (1400,)
    crop = Crops(SynthesizerData(speech / "SV2TTS" / "synthesizer"), MelFormat(), 20)[[(1, 3)]]
    stored = [np.load(speech / "SV2TTS" / "synthesizer" / name) for name in ("mels/mel-1.npy", "audio/audio-1.npy")]
    assert np.array_equal(crop.mel.numpy(), stored[0][3:23].T.astype(np.float32) / 4)
    assert np.array_equal(audio.to_int16(crop.wave.numpy()), stored[1][600:4600])


def assert_same(one: dict, other: dict) -> None:
    """Weights and optimizer."""
    assert all(torch.equal(value, other["model_state"][name]) for name, value in one["model_state"].items())
    moments = [content["optimizer_state"]["state"] for content in (one, other)]
    assert moments[0].keys() == moments[1].keys() and moments[0]
    for index, state in moments[0].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(moments[1][index][k])) for k, v in state.items())
