"""Models that do not belong together are told, and what belongs to the weights goes with them."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import torch

import demo.config
import encoder.config
import synthesizer.config
import utils.data.mel_format
import vocoder.config
from demo.cloner import Cloner
from encoder.inference import SpeakerEmbedder
from synthesizer.config import Stage, parse_schedule
from synthesizer.schedule import remaining
from synthesizer.train import train as train_synthesizer
from tests import ROOT
from tests.vocoder_data import TINY, write_encoder, write_speech, write_synthesizer, write_vocoder
from utils.config import marked
from utils.data.paths import SynthesizerData, save_text, sha256
from utils.errors import UserError
from utils.export import export
from utils.models import checkpoint
from vocoder.model import WaveRNN, WaveRNNConfig
from vocoder.preprocess import preprocess as make_aligned_mels
from vocoder.train import train as train_vocoder

DEFAULT = ROOT / "saved_models" / "default"


def digests(path: Path) -> list[str]:
    return SpeakerEmbedder(path, "cpu").digests


def change(path: Path, stage: str, **changes) -> Path:
    checkpoint.save(path, checkpoint.load(path, stage) | changes)
    return path


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("warning: ")]


@pytest.fixture
def mine(tmp_path) -> Path:
    return write_encoder(tmp_path / "mine.pt")


@pytest.fixture
def other(tmp_path) -> Path:
    return write_encoder(tmp_path / "other.pt", seed=1)


@pytest.fixture(scope="module")
def speech(samples, tmp_path_factory) -> SynthesizerData:
    return write_speech(samples, tmp_path_factory.mktemp("speech"))


# ---- which encoder


def test_an_encoder_is_known_by_its_weights(mine, other, tmp_path):
    ours = digests(mine)
    assert ours[-1] == sha256(mine)  # by which data of earlier versions knows it
    exported = export({"encoder": mine}, tmp_path / "out")["encoder"]
    published = {name.removeprefix("encoder."): v for name, v in checkpoint.load(mine, "encoder")["model_state"].items()}
    published |= {f"similarity_{name}": published.pop(f"loss.{name}").reshape(1) for name in ("weight", "bias")}
    torch.save({"step": 5, "model_state": published}, tmp_path / "published.pt")
    for same in (exported, tmp_path / "published.pt"):
        assert digests(same)[0] == ours[0] and sha256(same) != sha256(mine)
    assert not set(digests(other)) & set(ours)


def test_speaking_with_another_encoder_warns_in_a_line_that_names_both(mine, other, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Cloner, "_try_out", lambda cloner: None)  # it takes long, and is not needed
    path = write_synthesizer(tmp_path / "synthesizer.pt")

    def load(encoder_path: Path, trained_with: list[str] | None) -> list[str]:
        change(path, "synthesizer", encoder_sha256=trained_with or [])
        Cloner.load(encoder_path, path, None, cpu=True)
        return warnings(capsys.readouterr().out)

    (line,) = load(other, digests(mine))
    for told in (other, path, digests(other)[0][:8], digests(mine)[0][:8]):
        assert str(told) in line
    exported = export({"encoder": mine}, tmp_path / "out")["encoder"]
    assert load(mine, digests(mine)) == load(exported, digests(mine)) == load(mine, [sha256(mine)]) == load(other, None) == []


@pytest.mark.skipif(not (DEFAULT / "encoder.pt").is_file(), reason="make weights fetches it")
def test_the_default_voice_goes_with_the_default_encoder(capsys):
    Cloner.load(DEFAULT / "encoder.pt", DEFAULT / "synthesizer.pt", None, cpu=True)
    assert warnings(capsys.readouterr().out) == []


def test_an_encoder_of_another_size_is_refused_in_one_line(tmp_path):
    small = write_encoder(tmp_path / "small.pt", embedding_size=16)
    with pytest.raises(UserError, match=r"small.pt: its embeddings have 16 numbers, but .*synthesizer.pt was .* 256") as caught:
        Cloner.load(small, write_synthesizer(tmp_path / "synthesizer.pt"), None, cpu=True)
    assert "\n" not in str(caught.value)


def start(speech: SynthesizerData, models: Path, init_from: Path | None, hparams: str = "", **options) -> dict:
    """One step of the synthesizer's trainer; the checkpoint."""
    common = {"run_id": "r", "models_dir": models, "max_steps": 1, "eval_every": 0, "cpu": True, "init_from": init_from}
    train_synthesizer(speech.root, common | options, f"eval_utterances=1,eval_shown=0,{hparams}")
    return checkpoint.load(models / "r" / "synthesizer.pt", "synthesizer")


def test_a_synthesizer_keeps_the_encoder_of_its_data_and_training_on_another_warns(speech, mine, other, tmp_path, capsys):
    def embedded_with(*found: str) -> None:
        save_text(speech.embeds_encoder, "".join(f"{each}\n" for each in found))

    quick = "schedule=2:1e-3:10:2"
    embedded_with(*digests(mine))
    saved = start(speech, tmp_path, write_synthesizer(tmp_path / "tiny.pt"), quick)
    assert saved["encoder_sha256"] == digests(mine) and warnings(capsys.readouterr().out) == []

    exported = export({"synthesizer": tmp_path / "r" / "synthesizer.pt"}, tmp_path / "out")["synthesizer"]
    assert checkpoint.load(exported, "synthesizer")["encoder_sha256"] == digests(mine)

    embedded_with(sha256(mine))  # as earlier versions wrote it
    start(speech, tmp_path / "earlier", exported, quick)
    speech.embeds_encoder.unlink()
    assert start(speech, tmp_path / "unknown", exported, quick)["encoder_sha256"] == digests(mine)
    assert warnings(capsys.readouterr().out) == []

    embedded_with(*digests(other))
    tuned = start(speech, tmp_path / "tuned", exported, quick)
    resumed = start(speech, tmp_path, None, quick, max_steps=2)
    for line, file in zip(warnings(capsys.readouterr().out), (exported, tmp_path / "r" / "synthesizer.pt"), strict=True):
        for told in (speech.embeds_dir, file, digests(other)[0][:8], digests(mine)[0][:8]):
            assert str(told) in line
    assert tuned["encoder_sha256"] == resumed["encoder_sha256"] == digests(other)

    make_aligned_mels(exported, speech.root, tmp_path / "gta", cpu=True, hparams="precision=fp32")
    (line,) = warnings(capsys.readouterr().out)
    assert str(speech.embeds_dir) in line and str(exported) in line
    speech.embeds_encoder.unlink()


# ---- what --init_from takes

STAGES = "4:1e-3:4000:16;4:4e-4:14000:32;2:1e-4:40000:8"


def test_the_rest_of_a_schedule_begins_where_the_file_stopped():
    stages = parse_schedule(STAGES)
    assert parse_schedule(remaining(stages, 0, 4)) == [stage._replace(r=4) for stage in stages]
    assert parse_schedule(remaining(stages, 10945, 4)) == [Stage(4, 4e-4, 3055, 32), Stage(4, 1e-4, 29055, 8)]
    assert parse_schedule(remaining(stages, 14000, 4)) == [Stage(4, 1e-4, 26000, 8)]
    assert parse_schedule(remaining(stages, 99999, 2)) == [Stage(2, 1e-4, 1, 8)]


def write_trained(path: Path, r: int = 4, step: int = 10945, **training) -> Path:
    content = checkpoint.load(write_synthesizer(path), "synthesizer")
    content["model_state"]["r"].fill_(r)
    return change(path, "synthesizer", model_state=content["model_state"], step=step, training=content["training"] | training)


def test_a_synthesizer_goes_on_with_the_r_and_the_schedule_of_the_file_and_says_so(speech, tmp_path, capsys):
    path = write_trained(tmp_path / "trained.pt", schedule=STAGES, cleaner="basic")
    saved = start(speech, tmp_path, path)
    out = capsys.readouterr().out
    rest = "4:0.0004:3055:32;4:0.0001:29055:8"
    assert saved["training"]["schedule"] == rest and saved["training"]["cleaner"] == "basic"
    assert saved["model_state"]["r"] == 4 and saved["optimizer_state"]["param_groups"][0]["lr"] == 4e-4
    (line,) = (line for line in out.splitlines() if line.startswith("synthesizer: from "))
    assert line.startswith(f"synthesizer: from {path}, step 10,945, r 4; taken: sizes, symbols, ")
    assert "cleaner basic" in line and f"schedule {rest}" in line and warnings(out) == []


def test_hparams_win_over_the_file_and_are_said(speech, tmp_path, capsys):
    path = write_trained(tmp_path / "trained.pt", schedule=STAGES)
    saved = start(speech, tmp_path, path, "schedule=2:1e-5:9:2,cap_frames=50:5,zoneout=0.3")
    out = capsys.readouterr().out
    assert saved["training"]["schedule"] == "2:1e-5:9:2" and saved["model_state"]["r"] == 2
    assert saved["model"]["cap_frames"] == (50, 5) and saved["model"]["zoneout"] == 0.3
    for told in (
        "cap_frames 50:5 (the file has 100:15)",
        "zoneout 0.3 (the file has 0.1)",
        "schedule 2:1e-5:9:2 (the file has 4:",
    ):
        assert told in out
    assert warnings(out) == ["warning: the schedule begins with r = 2, but the weights were trained with r = 4"]
    start(speech, tmp_path, path, max_steps=2)  # resumed: the choice was made before
    out = capsys.readouterr().out
    assert warnings(out) == [] and "taken:" not in out


@pytest.mark.parametrize("training", [{}, {"schedule": "by hand"}])
def test_without_a_readable_schedule_the_published_one_is_taken_with_the_r_of_the_file(training, speech, tmp_path, capsys):
    path = write_trained(tmp_path / "trained.pt", r=3, step=100_000, **training)
    saved = start(speech, tmp_path, path)
    assert parse_schedule(saved["training"]["schedule"])[0] == Stage(3, 1e-4, 60_000, 12)
    assert "r 3 (its schedule is not known" in capsys.readouterr().out


def test_a_vocoder_keeps_its_post_filter(speech, tmp_path, capsys):
    path = write_vocoder(tmp_path / "trained.pt", WaveRNN(WaveRNNConfig(**TINY)))
    change(path, "vocoder", training={"postfilter": 1.0, "learning_rate": 3.0})

    def begin(run_id: str, hparams: str = "", steps: int = 1, start: Path | None = path) -> float:
        options = {
            "run_id": run_id,
            "models_dir": tmp_path,
            "max_steps": steps,
            "eval_every": 0,
            "cpu": True,
            "init_from": start,
        }
        train_vocoder(speech.root, speech.root, True, 0, options, f"batch_size=2,seq_len=400,eval_crops=2{hparams}")
        training = checkpoint.load(tmp_path / run_id / "vocoder.pt", "vocoder")["training"]
        assert training["learning_rate"] == 4e-4
        return training["postfilter"]

    assert begin("kept") == 1.0 and "step 1; taken: sizes, postfilter 1\n" in capsys.readouterr().out
    assert begin("kept", steps=2, start=None) == 1.0  # resumed
    exported = export({"vocoder": tmp_path / "kept" / "vocoder.pt"}, tmp_path / "exported")["vocoder"]
    assert begin("from_export", start=exported) == 1.0
    assert begin("changed", ",postfilter=0.5") == 0.5
    assert "; by --hparams: postfilter 0.5 (the file has 1)\n" in capsys.readouterr().out


def test_the_commands_of_the_guide_fit_the_default_voice():
    page = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    r = int(checkpoint.load(DEFAULT / "synthesizer.pt", "synthesizer")["model_state"]["r"])
    schedules = re.findall(r"schedule=([0-9.e:;-]+)", page)
    assert schedules and {stage.r for text in schedules for stage in parse_schedule(text)} == {r}
    assert set(re.findall(r"--init_from (\S+\.pt)", page)) <= {f"saved_models/default/{s}.pt" for s in checkpoint.STAGES}


# ---- every setting

MODEL = "belongs to the weights, stored as `model` or `mel`, and taken by --init_from, resume and export"
DATA = "describes how data is made, not a model"
USE = "chosen by the listener"
WHOLE = {
    "EncoderConfig": MODEL,
    "TacotronConfig": MODEL,
    "WaveRNNConfig": MODEL,
    "MelFormat": MODEL,
    "encoder.PreprocessSettings": DATA,  # SpeakerEmbedder always prepares speech as the defaults do
    "synthesizer.PreprocessSettings": DATA,
    "EmbedSettings": DATA,
    "GtaSettings": DATA,
    "CloningSettings": USE,
    "ReadingSettings": USE,
}
OF_WEIGHTS = {"symbols", "cleaner", "sounds", "postfilter"}  # they change what a trained model hears or how it sounds
CONTINUED = {"schedule"}  # taken from where the file stopped, with its r
OF_RUN = {
    "EncoderTraining": "learning_rate speakers_per_batch utterances_per_speaker partial_frames clip similarity_gradient "
    "held_out_fraction eval_speakers eval_utterances",
    # average_decay: the averaged weights are what a run starts from, and over how many steps it averages depends on its length.
    # attention_fade: whether the attention needs teaching depends on the new data.
    "SynthesizerTraining": "average_decay clip stop_weight speaker_noise word_times attention_weight attention_width "
    "diagonal_weight adversarial_weight attention_fade cuda_graphs eval_utterances eval_shown",
    # target, overlap: of the pieces heard in training; speaking has its own.
    "VocoderTraining": "learning_rate warmup_steps halving_steps final_learning_rate average_decay batch_size seq_len clip "
    "quiet_db quiet_kept eval_crops eval_shown eval_seconds target overlap cuda_graphs",
}
# Of a model, but neither its shape nor what its weights mean.
ADJUSTABLE = {"prenet_dropout", "zoneout", "silence_level", "arrival_frames", "cap_frames"}


def all_settings() -> list[type]:
    modules = (encoder.config, synthesizer.config, vocoder.config, demo.config, utils.data.mel_format)
    found = [
        each
        for module in modules
        for _, each in inspect.getmembers(module, dataclasses.is_dataclass)
        if each.__module__ == module.__name__ and isinstance(each, type)
    ]
    return sorted(found, key=str)


@pytest.mark.parametrize("kind", all_settings(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_setting_either_belongs_to_the_weights_or_not(kind):
    names = {field.name for field in dataclasses.fields(kind)}
    whole = WHOLE.get(kind.__name__) or WHOLE.get(f"{kind.__module__.split('.')[0]}.{kind.__name__}")
    assert marked(kind, "adjustable") == (names & ADJUSTABLE if kind.__name__ == "TacotronConfig" else set())
    if whole:
        assert marked(kind, "of_weights") == set()
        return
    of_weights, of_run = names & OF_WEIGHTS, set(OF_RUN[kind.__name__].split())
    assert marked(kind, "of_weights") == of_weights
    assert of_weights | (names & CONTINUED) | of_run == names, "say in this table whether the setting belongs to the weights"
