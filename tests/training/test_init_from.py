"""A run may start from any checkpoint of its stage, this project's or published before it, and freeze parts of it."""

import dataclasses
import math
import runpy
import sys

import numpy as np
import pytest
import torch

import encoder.published
import synthesizer.published
import vocoder.published
from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.inference import SpeakerEmbedder
from encoder.model import EncoderWithLoss
from tests import ROOT
from tests.published_state import published_state
from tests.vocoder_data import TINY as TINY_VOCODER
from tests.vocoder_data import TINY_SYNTHESIZER, write_speech, write_synthesizer, write_vocoder
from utils.data.paths import sha256
from utils.errors import UserError
from utils.models import checkpoint
from vocoder.model import WaveRNN, WaveRNNConfig

STILL = 1e-9  # a learning rate that leaves the weights where they are
TINY_ENCODER = {"hidden_size": 12, "n_layers": 1, "projection_size": 6, "embedding_size": 8}
SETTINGS = {
    "encoder": f"learning_rate={STILL},speakers_per_batch=3,utterances_per_speaker=2,partial_frames=80",
    "synthesizer": f"schedule=2:{STILL}:10:2,eval_utterances=1,eval_shown=0",
    "vocoder": f"learning_rate={STILL},batch_size=2,seq_len=400,eval_crops=2",
}


def start_stage(stage, data, models, init_from, hparams="", **options):
    """One step of the stage's trainer; returns the checkpoint."""
    options = {
        "run_id": "r",
        "models_dir": models,
        "max_steps": 1,
        "eval_every": 0,
        "cpu": True,
        "init_from": init_from,
    } | options
    settings = ",".join(filter(None, (SETTINGS[stage], hparams)))
    if stage == "encoder":
        from encoder.train import train

        train(data[stage], options, settings, umap_every=0)
    elif stage == "synthesizer":
        from synthesizer.train import train

        train(data[stage], options, settings)
    else:
        from vocoder.train import train

        train(data[stage], data[stage], True, 0, options, settings)
    return checkpoint.load(models / "r" / f"{stage}.pt", stage)


FAST = {"encoder": "learning_rate=1e-2", "synthesizer": "schedule=2:1e-2:10:2", "vocoder": "learning_rate=1e-2,warmup_steps=0"}
FROZEN = {
    "encoder": ["encoder.lstm"],
    "synthesizer": ["decoder.attention", "encoder", "postnet.bank.0"],
    "vocoder": ["gru1", "upsample"],
}


@pytest.fixture(scope="module")
def data(preprocessed, samples, tmp_path_factory):
    speech = write_speech(samples, tmp_path_factory.mktemp("speech")).root
    return {"encoder": preprocessed, "synthesizer": speech, "vocoder": speech}


def own_content(stage, state):
    convert = {"encoder": encoder.published, "synthesizer": synthesizer.published, "vocoder": vocoder.published}[stage]
    return convert.own_content(state)


def assert_started_from(saved, weights, parameters):
    """Adam moves a weight by at most the learning rate; running statistics of batch norms may move freely."""
    for name in parameters:
        torch.testing.assert_close(saved["model_state"][name], weights[name], atol=1e-7, rtol=0, msg=name)


@pytest.mark.parametrize("stage", checkpoint.STAGES)
def test_published_weights_start_a_run_with_a_new_optimizer_and_step(stage, data, tmp_path, capsys):
    state = published_state(stage)
    torch.save({"step": 7, "model_state": state}, tmp_path / "old.pt")
    saved = start_stage(stage, data, tmp_path, tmp_path / "old.pt")
    begun = own_content(stage, {"step": 7, "model_state": state})
    moved = saved["optimizer_state"]["state"]
    assert saved["step"] == 1 and {int(each["step"]) for each in moved.values()} == {1}
    parameters = [name for name in begun["model_state"] if "running" not in name and "num_batches" not in name and name != "r"]
    assert_started_from(saved, begun["model_state"], parameters)
    started_from = {"file": "old.pt", "sha256": sha256(tmp_path / "old.pt"), "step": 7 if stage == "encoder" else 0}
    assert saved["init_from"] == started_from
    assert "starting from old.pt" in capsys.readouterr().out
    if stage != "encoder":  # what follows is the same for all
        return
    (tmp_path / "old.pt").unlink()
    again = start_stage(stage, data, tmp_path, tmp_path / "old.pt", max_steps=2)
    assert "--init_from is ignored" in capsys.readouterr().out
    assert again["step"] == 2 and again["init_from"] == started_from


def write_own(stage, path):
    torch.manual_seed(3)
    if stage == "synthesizer":
        return write_synthesizer(path)
    if stage == "vocoder":
        return write_vocoder(path, WaveRNN(WaveRNNConfig(**TINY_VOCODER)))
    config = EncoderConfig(**TINY_ENCODER)
    content = {"model": dataclasses.asdict(config), "mel": MEL_FORMAT, "model_state": EncoderWithLoss(config).state_dict()}
    checkpoint.save(path, content | {"format": checkpoint.stage_format(stage), "step": 5})
    return path


@pytest.mark.parametrize("stage", checkpoint.STAGES)
def test_sizes_are_those_of_the_file(stage, data, tmp_path):
    path = write_own(stage, tmp_path / f"{stage}.pt")
    saved = start_stage(stage, data, tmp_path, path)
    tiny = {"encoder": TINY_ENCODER, "synthesizer": TINY_SYNTHESIZER, "vocoder": TINY_VOCODER}[stage]
    assert saved["model"].items() >= tiny.items()
    begun = checkpoint.load(path, stage)["model_state"]
    assert_started_from(saved, begun, [name for name in begun if name.endswith(("weight", "weight_hh_l0"))])
    name, size = next((name, size) for name, size in tiny.items() if isinstance(size, int))
    with pytest.raises(UserError, match=rf"{stage}.pt: was trained with another model \({name} is {size}, asked for 16\)"):
        start_stage(stage, data, tmp_path, path, f"{name}=16", run_id="other")
    assert not (tmp_path / "other" / f"{stage}.pt").exists()


@pytest.mark.parametrize("stage", checkpoint.STAGES)
def test_unusable_files_are_refused_in_one_line(stage, data, tmp_path):
    other = checkpoint.STAGES[checkpoint.STAGES.index(stage) - 1]
    write_own(other, tmp_path / "other.pt")
    torch.save({"model_state": published_state("encoder" if stage != "encoder" else "vocoder")}, tmp_path / "published.pt")
    write_own(stage, tmp_path / "mel.pt")
    content = checkpoint.load(tmp_path / "mel.pt", stage)
    checkpoint.save(tmp_path / "mel.pt", content | {"mel": {**content["mel"], "sample_rate": 22050}})
    for name, told in (
        ("other.pt", f"is a checkpoint of the {other}"),
        ("published.pt", f"a fitting {stage}"),
        ("absent.pt", "no such"),
        ("mel.pt", "another mel format"),
    ):
        with pytest.raises(UserError, match=rf"{name}: .*{told}") as caught:
            start_stage(stage, data, tmp_path, tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_a_run_may_start_anew_from_its_own_file(data, tmp_path):
    path = write_own("encoder", tmp_path / "first.pt")
    start_stage("encoder", data, tmp_path, path)
    saved = start_stage("encoder", data, tmp_path, tmp_path / "r" / "encoder.pt", force_restart=True)
    assert saved["init_from"]["step"] == 1 and saved["step"] == 1
    kept = tmp_path / "r" / "encoder.before-restart-1.pt"
    assert checkpoint.load(kept, "encoder")["init_from"]["file"] == "first.pt"


# ---- frozen parts


def frozen_and_free(stage, saved):
    """Names of the model's state under the frozen parts, and those of the other parameters."""
    under = tuple(f"{part}." for part in FROZEN[stage])
    state = {name: value for name, value in saved["model_state"].items() if value.is_floating_point()}
    return [n for n in state if n.startswith(under)], [n for n in state if not n.startswith(under) and "running" not in n]


@pytest.mark.parametrize(("stage", "precision"), [("encoder", "bf16"), ("synthesizer", "fp32"), ("vocoder", "bf16")])
def test_frozen_parts_stay_and_the_rest_learns(stage, precision, data, tmp_path, capsys):
    path = write_own(stage, tmp_path / "own.pt")
    begun = checkpoint.load(path, stage)["model_state"]
    eval_every = 0 if stage == "synthesizer" else 2  # its evaluation is slow
    options = {"freeze": FROZEN[stage], "precision": precision, "eval_every": eval_every, "max_steps": 3}
    saved = start_stage(stage, data, tmp_path, path, FAST[stage], **options)
    frozen, free = frozen_and_free(stage, saved)
    assert stage == "encoder" or any("running" in name for name in frozen)
    for state in (saved["model_state"], saved.get("average_state", saved["model_state"])):
        assert [name for name in frozen if not torch.equal(state[name], begun[name])] == []
        assert [name for name in free if torch.equal(state[name], begun[name])] == []
    assert len(saved["optimizer_state"]["state"]) <= len(free)
    assert saved["frozen"] == FROZEN[stage] and f" M frozen: {', '.join(FROZEN[stage])})" in capsys.readouterr().out


def test_a_run_with_frozen_parts_resumes_exactly_until_freeze_changes(data, tmp_path, stage="vocoder"):
    path = write_own(stage, tmp_path / "own.pt")
    whole = start_stage(stage, data, tmp_path / "whole", path, FAST[stage], freeze=FROZEN[stage], max_steps=4)
    start_stage(stage, data, tmp_path / "parts", path, FAST[stage], freeze=FROZEN[stage][::-1], max_steps=2, eval_every=1)
    parts = start_stage(stage, data, tmp_path / "parts", None, FAST[stage], max_steps=4, eval_every=1)
    assert parts["frozen"] == FROZEN[stage]
    for name, value in whole["model_state"].items():
        assert torch.equal(value, parts["model_state"][name]), name
    for index, state in whole["optimizer_state"]["state"].items():
        assert all(torch.equal(value, parts["optimizer_state"]["state"][index][name]) for name, value in state.items())

    frozen, _ = frozen_and_free(stage, parts)
    thawed = start_stage(stage, data, tmp_path / "parts", None, FAST[stage], freeze=["nothing"], max_steps=5)
    assert thawed["frozen"] == []
    assert sum(torch.equal(thawed["model_state"][name], parts["model_state"][name]) for name in frozen) <= 1


@pytest.mark.parametrize("stage", checkpoint.STAGES)
def test_an_unknown_part_is_refused_and_the_known_ones_are_listed(stage, data, tmp_path):
    whole = {"encoder": ["encoder", "loss"], "synthesizer": ["encoder", "decoder", "postnet", "output"]}
    whole["vocoder"] = ["upsample", "input", "gru1", "gru2", "hidden1", "hidden2", "output"]
    for freeze, told in (
        ([whole[stage][0], "gru"], f"no part 'gru'; it has {whole[stage][0]}, .*{whole[stage][-1]}"),
        (whole[stage], "nothing is left to train"),
    ):
        with pytest.raises(UserError, match=f"--freeze: .*{told}") as caught:
            start_stage(stage, data, tmp_path, None, freeze=freeze)
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("script", ["encoder_train.py", "synthesizer_train.py", "vocoder_train.py"])
def test_every_trainer_takes_the_option(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", [script, "r", "data", "-m", str(tmp_path), "--cpu", "--init_from", f"{tmp_path}/absent.pt"]
    )
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert left.value.code == 1 and "absent.pt: no such" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_the_encoder_of_the_paper_is_one_setting_away(data, tmp_path):
    """SV2TTS, section 2.1: three layers of 768 cells, each projected to 256."""
    saved = start_stage("encoder", data, tmp_path, None, "hidden_size=768,projection_size=256")
    assert saved["model_state"]["encoder.lstm.weight_hr_l2"].shape == (256, 768)
    assert math.isfinite(saved["model_state"]["loss.weight"].item())
    embedding, _ = SpeakerEmbedder(tmp_path / "r" / "encoder.pt", "cpu").embed_utterance(np.ones(30000, np.float32) / 10)
    assert embedding.shape == (256,) and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-4)
    again = start_stage("encoder", data, tmp_path, tmp_path / "r" / "encoder.pt", run_id="r", force_restart=True)
    assert again["model"]["projection_size"] == 256


@pytest.mark.parametrize("stage", ["synthesizer", "vocoder"])
def test_fine_tuning_has_gentle_settings_of_its_own(stage, data, tmp_path, capsys):
    path = write_own(stage, tmp_path / f"{stage}.pt")
    saved = start_stage(stage, data, tmp_path, path, fine_tune=True, eval_every=1, patience=1)
    assert saved["training"]["average_decay"] == {"synthesizer": 0.98, "vocoder": 0.99}[stage]
    assert saved["patience"]["step"] == 1 and (tmp_path / "r/backups" / f"{stage}-best.pt").is_file()
    assert "by --hparams" in capsys.readouterr().out  # which count more
