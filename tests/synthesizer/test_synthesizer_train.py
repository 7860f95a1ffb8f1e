"""Training the synthesizer as a user does: resumed, killed, fed with damaged data."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from synthesizer.config import TacotronConfig, parse_schedule
from synthesizer.dataset import usable_rows
from synthesizer.held_out import HeldOut
from synthesizer.inference import Synthesizer
from synthesizer.loss import tacotron_losses
from synthesizer.model import Prediction, Tacotron
from synthesizer.schedule import StagedPlan, stage_at
from synthesizer.train import jittered, train
from tests import ROOT
from tests.synthesizer.test_synthesizer_model import earlier_names
from tests.training.ranks import train_in_ranks
from utils.data.audio import MelFormat, load, mel_spectrogram
from utils.data.paths import SynthesizerData, save_npy, save_text
from utils.data.rows import Row, copy_name, read_rows, write_rows
from utils.errors import UserError
from utils.models import checkpoint
from utils.training.batching import split_rows
from utils.training.health import TO_GIVE_UP

SIZES = (
    "embedding_size=8,encoder_prenet=8:8,encoder_size=8,encoder_kernels=2,decoder_prenet=8:8,attention_size=8,"
    "attention_filters=4,attention_kernel=5,decoder_size=12,postnet_size=8,postnet_kernels=2,n_highways=1,speaker_size=8"
)
HPARAMS = f"{SIZES},schedule=5:1e-3:4:3;4:5e-4:100:4,attention_fade=2:6,speaker_noise=0.3,eval_utterances=3,eval_shown=1"
UNSEEN = HPARAMS.replace("eval_shown=1", "eval_shown=0")  # evaluates without pictures and audio, which take seconds


def write_data(root: Path, samples: Path) -> SynthesizerData:
    """The first 0.5 to 1 s of a dozen sample utterances, as preprocessing would write them, every second with word times."""
    data = SynthesizerData(root)
    rows, times = [], []
    for number, path in enumerate(sorted(samples.glob("LibriSpeech/train-clean-100/*/*/*.flac"))[::7]):
        wav = load(path)[: 8000 + 700 * number]
        mel = mel_spectrogram(wav, MelFormat()).astype(np.float16)
        save_npy(data.mel(path.stem), mel)
        save_npy(data.embed(path.stem), np.random.default_rng(number).normal(size=8).astype(np.float32))
        names = (data.audio(path.stem).name, data.mel(path.stem).name, data.embed(path.stem).name)
        rows.append(Row(*names, len(wav), len(mel), "some words, " * (1 + number % 3)))
        if number % 2:
            words = ["SOME", "WORDS", ""] * (1 + number % 3)
            ends = np.linspace(0, len(wav) / 16000, len(words) + 1)[1:]
            times.append(f"{names[1]}|{','.join(words)}|{','.join(f'{end:.3f}' for end in ends)}\n")
    save_text(data.alignments, "".join(times))
    write_rows(data.manifest, rows)
    save_text(data.parameters, json.dumps({"mel": asdict(MelFormat())}))
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), ROOT / "samples")


@pytest.fixture
def own_data(tmp_path):
    return write_data(tmp_path / "own", ROOT / "samples")


def run(data, folder: Path, max_steps: int, hparams: str = HPARAMS, **options) -> dict:
    defaults = {"run_id": "r", "models_dir": folder, "max_steps": max_steps, "eval_every": 0, "cpu": True}
    train(data.root, {**defaults, **options}, hparams)
    return checkpoint.load(folder / options.get("run_id", "r") / "synthesizer.pt", "synthesizer")


def assert_same(a, b, where="checkpoint"):
    """Bit for bit, whatever the nesting."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for name in a:
            assert_same(a[name], b[name], f"{where}.{name}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for number, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_same(left, right, f"{where}.{number}")
    else:
        assert a == b, where


# ---- resuming


def test_resumed_equals_uninterrupted_with_evaluations_between_and_r_changing(data, tmp_path):
    whole = run(data, tmp_path / "whole", 8, UNSEEN)
    run(data, tmp_path / "parts", 2, UNSEEN, eval_every=2)
    run(data, tmp_path / "parts", 4, hparams="", eval_every=0)  # the run keeps its own settings
    parts = run(data, tmp_path / "parts", 8, hparams="", eval_every=3)  # the first step has another r than the checkpoint
    assert_same(whole | {"rules": None}, parts | {"rules": None})  # these have seen evaluations at other steps
    assert int(whole["model_state"]["r"]) == 4 and whole["optimizer_state"]["param_groups"][0]["lr"] == 5e-4
    rows = [json.loads(line) for line in (tmp_path / "parts" / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [row["r"] for row in rows if "r" in row] == [5, 5, 5, 5, 4, 4, 4, 4]
    measured = [row for row in rows if "eval_mel_loss" in row]
    assert [row["step"] for row in measured] == [2, 6]
    assert all(0 < row["alignment_score"] <= 1 and row["position_error"] >= 0 for row in measured)
    assert all(0 < row["free_length_ratio"] <= 2 for row in measured)


def test_a_checkpoint_with_the_names_of_an_earlier_version_resumes_exactly(data, tmp_path):
    whole = run(data, tmp_path / "whole", 4, UNSEEN)
    saved = run(data, tmp_path / "parts", 2, UNSEEN)
    for name in ("model_state", "average_state"):
        saved[name] = earlier_names(saved[name])
    checkpoint.save(tmp_path / "parts" / "r" / "synthesizer.pt", saved)
    assert_same(whole, run(data, tmp_path / "parts", 4, hparams=""))


def test_killed_and_terminated_script_continues_bit_for_bit(data, tmp_path):
    metrics = tmp_path / "parts" / "r" / "metrics.jsonl"
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        n_before = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        with start_script(data, tmp_path / "parts") as process:
            while process.poll() is None and (not metrics.exists() or len(metrics.read_text().splitlines()) < n_before + 5):
                time.sleep(0.01)
            process.send_signal(number)
            output = process.communicate()[0]
        assert process.returncode == code, output
    assert "the same command continues" in output
    last = checkpoint.load(tmp_path / "parts" / "r" / "synthesizer.pt", "synthesizer")["step"] + 2
    contents = [run(data, tmp_path / name, last) for name in ("parts", "whole")]
    assert contents[0]["step"] == last > 6
    assert_same(*contents)


def start_script(data, folder, *more, **how):
    command = [sys.executable, "synthesizer_train.py", "r", str(data.root), "--cpu", "--no_visdom", "--eval_every", "0"]
    command += ["--hparams", HPARAMS, "-m", str(folder), "-s", "2", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes, **how)


def wait_for_a_step(process, folder):
    metrics = folder / "r" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.01)


def test_processes_that_prepare_batches_end_with_a_killed_trainer(data, tmp_path):
    with start_script(data, tmp_path, "--n_workers", "2") as process:
        wait_for_a_step(process, tmp_path)
        process.kill()
        process.communicate(timeout=60)  # its output ends with the last process that could write to it
    assert process.returncode == -signal.SIGKILL


def test_batches_prepared_by_other_processes_are_the_same_and_a_signal_to_them_all_still_saves(data, tmp_path):
    with start_script(data, tmp_path / "workers", "--n_workers", "1", start_new_session=True) as process:
        wait_for_a_step(process, tmp_path / "workers")
        os.killpg(process.pid, signal.SIGTERM)  # as torchrun and batch systems do
        output = process.communicate()[0]
    assert process.returncode == 143, output
    saved = checkpoint.load(tmp_path / "workers" / "r" / "synthesizer.pt", "synthesizer")
    assert_same(run(data, tmp_path / "here", saved["step"]), saved)


def test_held_out_utterances_are_never_trained_on(data):
    rows = usable_rows(data)
    training, watched = split_rows(rows, 0.01, 4)
    assert len(watched) == 4 and len(training) == len(rows) - 4 and not set(training) & set(watched)


def test_copies_of_held_out_utterances_are_not_trained_on(data):
    rows = usable_rows(data)
    copies = [row._replace(mel=f"mel-{copy_name(row.name, 0.9)}.npy") for row in rows]
    training, watched = split_rows([*rows, *copies], 0.01, 4)
    assert watched == split_rows(rows, 0.01, 4)[1] and len(training) == 2 * (len(rows) - 4)
    assert not {row.original for row in training} & {row.name for row in watched}


# ---- word times


def test_word_times_teach_and_without_them_training_is_as_usual(data, own_data, tmp_path, capsys):
    taught = run(data, tmp_path / "taught", 3)
    assert "the word times of 5 of them teach the attention" in capsys.readouterr().out
    usual = run(data, tmp_path / "usual", 3, f"{HPARAMS},word_times=false")
    own_data.alignments.unlink()
    without = run(own_data, tmp_path / "without", 3)
    assert "word times" not in capsys.readouterr().out
    assert_same(usual["model_state"], without["model_state"])
    name = "decoder.attention.query.weight"
    assert not torch.equal(taught["model_state"][name], usual["model_state"][name])
    assert taught["training"]["attention_fade"] == (2, 6)


def test_a_line_says_when_the_alignment_has_formed_and_warns_when_it_is_late(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("synthesizer.held_out.ALIGNED", 0.0)
    run(data, tmp_path, 2, UNSEEN, eval_every=1)
    said = capsys.readouterr().out
    assert "the alignment has formed" not in said  # it may have long before
    assert "step 1: the attention follows the text" in said and "step 2: the attention follows the text" in said
    assert "held-out texts come to an end" in said
    monkeypatch.setattr("synthesizer.held_out.ALIGNED", 2.0)
    run(data, tmp_path, 4, UNSEEN, eval_every=1)
    assert capsys.readouterr().err.count("step 3: the attention does not follow the text, though it should by now") == 1
    watched = SimpleNamespace(items=[1], _was_aligned=False)
    measures = {"free_stop_misses": 0.0, "free_alignment_score": 0.5, "alignment_score": 0.5}
    assert HeldOut._sentence(watched, True, measures, 1.0).startswith("the alignment has formed")


# ---- what it writes


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    run(data, folder, 4, eval_every=4, precision="bf16")
    return folder / "r"


def test_pictures_and_audio_of_held_out_utterances(finished):
    (mel,) = (finished / "mel-spectrograms").iterdir()
    assert mel.name.endswith("-0000004.png")
    name = mel.stem.removesuffix("-0000004").split("mel-")[1]
    plots = [path.name for path in (finished / "plots").iterdir()]
    for kind in ("free-running", "teacher-forced"):
        assert any(f"alignment-{kind}-{name}-0000004.png" in plot for plot in plots)
    wavs = sorted((finished / "wavs").iterdir())
    assert len(plots) == 3 and len(wavs) == 3
    for wav, kind in zip(wavs, ("free-running", "target", "teacher-forced"), strict=True):
        assert wav.name.endswith(f"{name}-{kind}-0000004.wav") and load(wav).size > 1000


def test_checkpoint_speaks_with_its_own_symbols_format_and_r(finished):
    content = checkpoint.load(finished / "synthesizer.pt", "synthesizer")
    assert content["mel"] == asdict(MelFormat()) and len(content["symbols"]) == content["model"]["n_symbols"]
    synthesizer = Synthesizer(finished / "synthesizer.pt", device="cpu")
    assert int(synthesizer.model.r) == 5 and synthesizer.mel_format == MelFormat()
    assert synthesizer.synthesize_spectrograms(["hello"], np.zeros(8), seed=0)[0].shape[0] == 80
    assert_same(dict(synthesizer.model.state_dict()), dict(content["average_state"]))
    name = "decoder.frames.weight"
    assert 0 < (content["average_state"][name] - content["model_state"][name]).abs().max() < 0.01


# ---- hostile input


def test_texts_without_a_letter_that_the_model_knows_are_left_out_and_told(own_data, tmp_path, capsys):
    rows = read_rows(own_data.manifest)
    write_rows(own_data.manifest, [rows[0]._replace(text="Да, конечно."), *rows[1:]])
    run(own_data, tmp_path, 2, hparams=f"{HPARAMS},cleaner=basic")
    told = f"1 of {len(rows)} rows are left out because none of their letters is among the model's symbols, the first: "
    assert told + rows[0].name in capsys.readouterr().out
    write_rows(own_data.manifest, [row._replace(text="Да, конечно.") for row in rows])
    with pytest.raises(UserError, match="no text has a letter that the model has a symbol for"):
        run(own_data, tmp_path, 3, hparams=f"{HPARAMS},cleaner=basic")


def test_rows_whose_files_are_gone_are_counted_and_none_left_is_an_error(own_data, tmp_path, capsys):
    next(own_data.mels_dir.iterdir()).unlink()
    run(own_data, tmp_path, 1)
    assert "1 of 12 rows are left out because their files are gone" in capsys.readouterr().out
    for path in own_data.embeds_dir.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="not found"):
        run(own_data, tmp_path, 2)


@pytest.mark.parametrize("content", ["", "a|b|c\n"])
def test_train_txt_that_holds_nothing(own_data, tmp_path, content):
    own_data.manifest.write_text(content)
    with pytest.raises(UserError, match=r"train\.txt"):
        run(own_data, tmp_path, 1)


def test_missing_folder_format_and_damaged_files(own_data, tmp_path):
    with pytest.raises(UserError, match="not found"):
        run(SynthesizerData(tmp_path / "nowhere"), tmp_path, 1)
    for path in own_data.mels_dir.iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        run(own_data, tmp_path, 1)
    save_text(own_data.parameters, "{}")
    with pytest.raises(UserError, match="mel format"):
        run(own_data, tmp_path, 1)


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ("decoder_sise=3", "decoder_size"),
        ("decoder_size=big", "not of type whole number"),
        ("schedule=2:1e-3:4", "r:learning_rate:until_step:batch_size"),
        ("schedule=30:1e-3:4:4", "max_r"),
        ("attention_kernel=4", "odd"),
        ("cleaner=none", "cleaner"),
        ("n_mels=40", "80 mel bands"),
        ("attention=forward", "location_both, dynamic"),
        ("attention_fade=9:3", "attention_fade"),
        ("attention_width=0", "attention_width"),
    ],
)
def test_settings_that_cannot_be(data, tmp_path, hparams, message):
    with pytest.raises(UserError, match=message):
        run(data, tmp_path, 1, hparams)


@pytest.mark.parametrize("stage", ["truncated", "vocoder"])
def test_checkpoint_that_cannot_be_continued(data, tmp_path, stage):
    path = tmp_path / "r" / "synthesizer.pt"
    checkpoint.save(path, {"format": "sv2tts-vocoder-1", "padding": "x" * 5000})
    if stage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"synthesizer\.pt"):
        run(data, tmp_path, 1)


def test_a_mel_that_is_not_a_number_is_refused_by_name(own_data, tmp_path):
    for row in read_rows(own_data.manifest):
        save_npy(own_data.mels_dir / row.mel, np.full((row.n_frames, 80), np.nan, np.float16))
    with pytest.raises(UserError, match=r"mel-.*\.npy: holds what is not a finite number"):
        run(own_data, tmp_path, 100)
    assert not (tmp_path / "r" / "synthesizer.pt").exists()


def test_steps_that_are_not_finite_end_the_run(data, tmp_path):
    with pytest.raises(UserError, match=f"not finite, {TO_GIVE_UP} times in a row"):
        run(data, tmp_path, 100, f"{UNSEEN},stop_weight=3.4e38")


# ---- several processes


def train_in_parts(folder, run_id="two", size=2, graphs=0):
    sizes = f"{SIZES},prenet_dropout=0,zoneout=0,eval_utterances=3,eval_shown=0"  # random numbers are a rank's own
    sizes += f",adversarial_weight=0.1,cuda_graphs={graphs},schedule=5:1e-3:100:{size}"
    options = {"run_id": run_id, "models_dir": folder, "max_steps": 3, "eval_every": 3, "precision": "fp32", "cpu": True}
    train(folder / "data", options, sizes)


def train_in_parts_by_graphs(folder):
    train_in_parts(folder, "two_by_graphs", graphs=2)


def test_two_ranks_train_as_one_with_the_whole_batch(data, tmp_path):
    """Batch norm, losses and the gradient are those of the whole batch, though the ranks' parts of it differ in length; also
    where no DistributedDataParallel averages the gradients."""
    (tmp_path / "data").symlink_to(data.root)
    train_in_parts(tmp_path, "one", size=4)
    train_in_ranks(tmp_path, *(f"{__name__}:{function.__name__}" for function in (train_in_parts, train_in_parts_by_graphs)))
    assert_trained_alike(tmp_path, "one", "two")
    assert_trained_alike(tmp_path, "one", "two_by_graphs")


def assert_trained_alike(folder, *names):
    one, two = (checkpoint.load(folder / name / "synthesizer.pt", "synthesizer") for name in names)
    for name, value in one["model_state"].items():
        torch.testing.assert_close(two["model_state"][name], value, atol=1e-4, rtol=1e-4, msg=name)
    scores = [
        [
            entry
            for line in (folder / name / "metrics.jsonl").read_text().splitlines()
            if "eval_mel_loss" in (entry := json.loads(line))
        ]
        for name in names
    ]
    assert len(scores[0]) == len(scores[1]) == 1
    assert scores[0][0]["eval_mel_loss"] == pytest.approx(scores[1][0]["eval_mel_loss"], abs=1e-4)


# ---- speaker embeddings


def test_jittered_speakers_stay_unit_vectors_as_far_away_as_asked():
    torch.manual_seed(0)
    speakers = torch.nn.functional.normalize(torch.rand(2000, 256), dim=1)
    moved = jittered(speakers, 0.5)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(2000))
    assert (moved * speakers).sum(1).mean().item() == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.01)
    assert jittered(speakers, 0.0) is speakers


def test_a_speaker_scale_is_as_embeddings_so_much_larger():
    torch.manual_seed(0)
    sizes = {"speaker_size": 8, "embedding_size": 8, "encoder_prenet": (8, 8), "encoder_size": 8, "decoder_size": 12}
    model = Tacotron(TacotronConfig(**sizes, prenet_dropout=0.0))
    scaled = Tacotron(dataclasses.replace(model.config, speaker_scale=16.0))
    scaled.load_state_dict(model.state_dict())
    text, lengths, speakers = torch.tensor([[3, 4, 5]]), torch.tensor([3]), torch.rand(1, 8)
    plain, wanted = (
        each.eval()._read(text, lengths, given).values for each, given in ((model, 16 * speakers), (scaled, speakers))
    )
    torch.testing.assert_close(plain, wanted)


# ---- schedule and losses


def test_schedule_changes_at_its_steps_and_every_stage_sees_every_item():
    stages = parse_schedule("5:1e-3:6:4;2:1e-4:12:3")
    assert [stage_at(stages, step).r for step in (1, 6, 7, 12, 99)] == [5, 5, 2, 2, 2]
    plan = StagedPlan(stages, range(10, 22), seed=3)
    for steps, size in ((range(1, 4), 4), (range(7, 11), 3)):
        assert [len(plan(step)) for step in steps] == [size] * len(steps)
        assert sorted(index for step in steps for index in plan(step)) == list(range(12))
    for wrong in ("", "2:1e-3:5:0", "2:1e-3:5:4;2:1e-3:5:4", "2:x:5:4"):
        with pytest.raises(ValueError, match="schedule"):
            parse_schedule(wrong)


def test_losses_by_hand():
    """Two items of 3 and 5 frames, r = 2: 2 and 3 steps; the mel is 1 off before the post-net and 2 off after it."""
    mels, lengths = torch.zeros(2, 5, 80), torch.tensor([3, 5])
    logits = torch.tensor([[-1.0, 2.0, 99.0], [-1.0, -1.0, 2.0]])
    losses = tacotron_losses(Prediction(mels + 1, mels - 2, logits, mels), mels, lengths, 2, stop_weight=3.0)
    assert losses.mel.item() == pytest.approx(1 + 1 + 4)
    by_hand = 3 * np.log1p(np.exp(-1)) + 2 * 3.0 * np.log1p(np.exp(-2))
    assert losses.stop.item() == pytest.approx(by_hand / 5, rel=1e-5)
