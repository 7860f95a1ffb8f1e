"""The vocoder's crops, and vocoder_train.py as a user runs it: stopped, killed, resumed, given bad data."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import torch

import vocoder.train
from tests import ROOT
from tests.vocoder_data import FORMAT, write_speech
from utils.data import audio
from utils.data.paths import VocoderData, save_npy
from utils.data.rows import Row, read_rows, write_rows
from utils.errors import UserError
from utils.training.average import Average
from vocoder.config import VocoderTraining
from vocoder.dataset import CropDataset, CropPlan, collate, even_windows, find_sources
from vocoder.distribution import LogisticMixture, MuLaw
from vocoder.inference import Vocoder
from vocoder.train import split

STEPS = 16
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
CROP, PAD, HOP = 5, 2, FORMAT.hop_length
TINY = "rnn_dims=16,fc_dims=16,context_dims=8,n_context_blocks=1,aux_dims=8,batch_size=4,eval_crops=8,eval_seconds=0.3"
TINY += ",seq_len=400,learning_rate=0.01,warmup_steps=4,target=1000,overlap=200,average_decay=0.5"


@pytest.fixture(scope="module")
def speech(samples, tmp_path_factory):
    return write_speech(samples, tmp_path_factory.mktemp("speech") / "SV2TTS" / "synthesizer")


def sources_of(data, ground_truth=True):
    return find_sources(data, VocoderData(data.root.parent / "vocoder"), ground_truth, CROP, HOP)


# ---- crops


def test_every_window_can_be_drawn_the_last_included():
    lengths = [5, 7, 12]
    windows = {(u, first) for u, n in enumerate(lengths) for first in range(n - CROP + 1)}
    plan = CropPlan(lengths, CROP, 50, seed=3)
    drawn = [windows[0] for step in range(1, 101) for windows in plan(step)]
    counts = {window: drawn.count(window) for window in windows}
    assert set(drawn) == windows
    assert min(counts.values()) > 0.7 * max(counts.values())  # and each is as likely as any other
    assert set(even_windows(plan, 1000)) == windows
    assert len(even_windows(plan, 4)) == 4 and even_windows(plan, 4)[-1] == (2, 7)


def test_quiet_crops_are_drawn_less_and_the_rest_as_often_as_any_other(tmp_path, speech):
    """A quarter of the frames is noise of -60 dB: of those windows a quarter stays."""
    n_frames = 80
    level = np.where(np.arange(n_frames) < n_frames // 4, 0.001, 0.1).repeat(HOP)
    row = Row("audio-a.npy", "mel-a.npy", "embed-a.npy", n_frames * HOP, n_frames, "text")
    save_npy(tmp_path / row.audio, audio.to_int16(level * np.random.default_rng(0).choice([-1.0, 1.0], len(level))))
    save_npy(tmp_path / row.mel, np.broadcast_to(np.arange(n_frames)[:, None] / 20, (n_frames, 80)).astype(np.float16))
    sources = sources_of(speech)._replace(rows=[row], audio_dir=tmp_path, mel_dir=tmp_path)
    dataset = CropDataset(sources, FORMAT, LogisticMixture(10), CROP, PAD, quiet_db=-40)
    plan = CropPlan([n_frames], CROP, 300, seed=1, quiet_kept=0.25)
    assert plan(3) == plan(3) != plan(4)
    quiet = {first for first in range(n_frames - CROP + 1) if dataset.is_quiet(0, first)}
    assert quiet == set(range(n_frames // 4 - CROP + 1))
    firsts = [int(np.rint(dataset[windows].mel[PAD, 0] * 80)) for step in range(1, 7) for windows in plan(step)]
    share = len(quiet) / (n_frames - CROP + 1)
    assert np.mean([first in quiet for first in firsts]) == pytest.approx(0.25 * share + 0.75 * share**4, abs=0.02)
    assert set(firsts) == set(range(n_frames - CROP + 1))


def test_the_learning_rate_rises_and_falls_as_asked():
    rate = VocoderTraining(learning_rate=8e-4, warmup_steps=10, halving_steps=100, final_learning_rate=1e-4).learning_rate_at
    assert [rate(step) for step in (1, 5, 10, 110, 210, 10**6)] == pytest.approx([8e-5, 4e-4, 8e-4, 4e-4, 2e-4, 1e-4])
    published = VocoderTraining(learning_rate=1e-4, warmup_steps=0, halving_steps=0).learning_rate_at
    assert {published(step) for step in (1, 10**6)} == {1e-4}


def test_the_average_lags_behind_the_weights_by_its_decay():
    model = torch.nn.BatchNorm1d(1)
    average = Average(model, decay=0.9)
    for step in range(1, 501):
        model.weight.data.fill_(step)
        model.running_mean.fill_(-step)
        model.num_batches_tracked += 1
        average.update(model, step)
        assert 0 < step - average.model.weight.item() + 1e-6 < 9.01
    assert average.model.weight.item() == pytest.approx(500 - 9, abs=1e-3)  # decay / (1 - decay) steps behind
    assert average.state["running_mean"].item() == pytest.approx(9 - 500, abs=1e-3)
    assert average.state["num_batches_tracked"] == 500 and not average.model.weight.requires_grad


def test_ranks_share_a_step_and_a_step_is_always_the_same():
    whole = CropPlan([20, 9], CROP, 8, seed=1)
    ranks = [CropPlan([20, 9], CROP, 4, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    assert sorted(ranks[0](7) + ranks[1](7)) == sorted(whole(7))
    assert whole(7) == whole(7) != whole(8)


def test_samples_belong_to_their_frame(tmp_path, speech):
    """Audio whose loudness and mels whose value tell the frame number: they must meet in every crop."""
    n_frames = 12
    frame = np.arange(n_frames)
    row = Row("audio-a.npy", "mel-a.npy", "embed-a.npy", n_frames * HOP, n_frames, "text")
    save_npy(tmp_path / row.audio, np.repeat(1000 * (1 + frame), HOP).astype(np.int16))
    save_npy(tmp_path / row.mel, np.repeat(frame[:, None] / 4, 80, axis=1).astype(np.float16))
    sources = sources_of(speech)._replace(rows=[row], audio_dir=tmp_path, mel_dir=tmp_path)
    flat = dataclasses.replace(FORMAT, preemphasis=0.0)
    dataset = CropDataset(sources, flat, LogisticMixture(10), CROP, PAD)
    for first in range(n_frames - CROP + 1):
        crop = dataset.at(0, first)
        assert crop.mel.shape == (CROP + 2 * PAD, 80) and crop.levels.shape == crop.targets.shape == (CROP * HOP,)
        of_samples = torch.round(crop.targets * 32767 / 1000) - 1
        of_mel = torch.round(crop.mel[PAD : PAD + CROP, 0] * 16)
        assert torch.equal(of_samples, of_mel.repeat_interleave(HOP))
        assert torch.equal(of_mel, torch.arange(first, first + CROP).float())
        assert torch.equal(crop.levels[1:], crop.targets[:-1])
        outside = [t for t in range(first - PAD, first + CROP + PAD) if not 0 <= t < n_frames]
        assert int((crop.mel[:, 0] == -1).sum()) == len(outside)  # silence beyond the ends


def test_crops_are_cut_from_the_preemphasised_wave(speech):
    sources = sources_of(speech)
    mu_law = MuLaw(9)
    dataset = CropDataset(sources, FORMAT, mu_law, CROP, PAD)
    for index, row in enumerate(sources.rows[:3]):
        wave = audio.preemphasize(audio.from_int16(np.load(sources.audio_dir / row.audio)), FORMAT.preemphasis)
        levels, labels = mu_law.encode(np.clip(np.concatenate([[0], wave]), -1, 1))  # silence before the first sample
        for first in (0, 1, 7, row.n_frames - CROP):
            crop = dataset.at(index, first)
            start, end = first * HOP, (first + CROP) * HOP
            agree = crop.targets.numpy() == labels[1 + start : 1 + end]
            assert agree.mean() > 0.999  # rounding at the border of two classes aside
            np.testing.assert_allclose(crop.levels, levels[start:end], atol=2.1 * 2 / 511)
    batch = collate([dataset[[(0, 0)]], dataset[[(1, 3)]]])
    assert batch.mel.shape == (2, 9, 80) and batch.targets.shape == (2, 1000)


def test_inconsistent_rows_are_left_out_counted_and_named(samples, tmp_path, capsys):
    data = write_speech(samples, tmp_path, 6)
    rows = read_rows(data.manifest)
    (data.audio_dir / rows[0].audio).unlink()
    save_npy(data.mels_dir / rows[1].mel, np.zeros((7, 80), np.float16))
    (data.mels_dir / rows[2].mel).write_bytes(b"no array")
    short = rows[3]._replace(audio="audio-short.npy", n_samples=800, n_frames=4)
    save_npy(data.audio_dir / short.audio, np.zeros(800, np.int16))
    save_npy(data.mels_dir / short.mel, np.zeros((4, 80), np.float16))
    write_rows(data.manifest, [*rows[:3], short, *rows[4:]])
    sources = sources_of(data)
    told = capsys.readouterr().out
    assert [row.name for row in sources.rows] == ["4", "5"]
    assert "1 of 6 rows" in told and rows[0].audio in told
    assert "2 of 5 utterances are left out because their files disagree" in told and rows[1].mel in told
    assert "1 of 5 utterances are left out because they are shorter" in told
    write_rows(data.manifest, [short])
    with pytest.raises(UserError, match="no utterance is usable"):
        sources_of(data)


def test_held_out_utterances_are_never_trained_on(speech):
    training, watched = split(sources_of(speech))
    names = [{row.name for row in part.rows} for part in (training, watched)]
    assert len(names[1]) == 4 and not names[0] & names[1]
    assert names[0] | names[1] == {row.name for row in sources_of(speech).rows}


# ---- the script


def command(speech, models, run_id, *arguments):
    return [
        *(sys.executable, "vocoder_train.py", run_id, str(speech.root.parent.parent), "-m", str(models)),
        *("--cpu", "--no_visdom", "--hparams", TINY, *arguments),
    ]


def train(speech, models, run_id, *arguments):
    return subprocess.run(command(speech, models, run_id, *arguments), cwd=ROOT, capture_output=True, text=True, env=ONE_THREAD)


def metrics(models, run_id):
    path = models / run_id / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def same(a, b) -> bool:
    """Whether two checkpoints are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope="module")
def uninterrupted(speech, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    evaluate = ("--eval_every", "5", "--generate_every", str(STEPS))
    done = train(speech, models, "whole", "-g", "--max_steps", str(STEPS), *evaluate)
    assert done.returncode == 0, done.stderr
    return models


def test_training_learns_and_shows_what_it_learnt(uninterrupted, speech):
    logged = metrics(uninterrupted, "whole")
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    held_out = [entry["held_out_loss"] for entry in logged if "held_out_loss" in entry]
    assert len(losses) == STEPS and len(held_out) == 3
    assert np.mean(losses[-4:]) < losses[0] - 0.2 and held_out[-1] < held_out[0]
    assert {"learning_rate", "grad_norm", "steps_per_second"} <= logged[0].keys()
    run = uninterrupted / "whole"
    wavs = sorted((run / "wavs").iterdir())
    assert len(wavs) == 4 and len(list((run / "mel-spectrograms").iterdir())) == 2
    for path in wavs:
        rate, wave = scipy.io.wavfile.read(path)
        assert rate == 16000 and len(wave) == 24 * HOP
    content = torch.load(run / "vocoder.pt")
    trained = Vocoder(run / "vocoder.pt", "cpu")
    of_the_average = trained.model.state_dict()
    assert same(of_the_average, dict(content["average_state"])) and not same(of_the_average, dict(content["model_state"]))
    assert trained.step == STEPS and trained.mel_format == FORMAT
    assert np.isfinite(trained.infer_waveform(np.zeros((80, 2)), seed=0)).all()


def test_a_run_stopped_and_resumed_equals_one_that_was_not(uninterrupted, speech, tmp_path):
    arguments = ("-g", "--max_steps", str(STEPS), "--save_every", "2", "--eval_every", "3")
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        n_lines = len(metrics(tmp_path, "cut")) + 4
        running = subprocess.Popen(command(speech, tmp_path, "cut", *arguments), cwd=ROOT, env=ONE_THREAD)
        while running.poll() is None and len(metrics(tmp_path, "cut")) < n_lines:
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait() == code
        assert 2 <= torch.load(tmp_path / "cut" / "vocoder.pt")["step"] < STEPS
    resumed = train(speech, tmp_path, "cut", *arguments)
    assert resumed.returncode == 0 and "resuming at step" in resumed.stdout, resumed.stderr
    cut, whole = (torch.load(path) for path in (tmp_path / "cut/vocoder.pt", uninterrupted / "whole/vocoder.pt"))
    assert same(cut | {"rules": None}, whole | {"rules": None})  # these have seen evaluations at other steps
    losses = [
        [entry["loss"] for entry in metrics(*run) if "loss" in entry] for run in ((tmp_path, "cut"), (uninterrupted, "whole"))
    ]
    assert losses[0] == losses[1]


COUNT_THREADS_AT_EXIT = """
import atexit, os, pathlib

tasks = pathlib.Path("/proc/self/task")
if "RANK" in os.environ and tasks.exists():  # the first to register runs last
    path = pathlib.Path(__file__).with_name("threads-of-rank-" + os.environ["RANK"])
    atexit.register(lambda: path.write_text(str(len(list(tasks.iterdir())))))
"""


def test_two_ranks_train_as_one_with_the_whole_batch(speech, tmp_path):
    """Nor does a rank keep threads that might outlive the interpreter, and abort."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    (tmp_path / "sitecustomize.py").write_text(COUNT_THREADS_AT_EXIT)
    environment = {**ONE_THREAD, "PYTHONPATH": str(tmp_path)}
    runs = {"one": (16, [], ""), "two": (8, torchrun, ""), "two_averaging": (8, torchrun, ",cuda_graphs=2")}
    for run, (size, launcher, hparams) in runs.items():
        python, *rest = command(speech, tmp_path, run, "-g", "--max_steps", "3", "--eval_every", "3", "--precision", "fp32")
        rest[rest.index(TINY)] = TINY.replace("batch_size=4", f"batch_size={size}") + hparams
        done = subprocess.run([python, *launcher, *rest], cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    if Path("/proc/self/task").exists():
        assert [(tmp_path / f"threads-of-rank-{rank}").read_text() for rank in (0, 1)] == ["1", "1"]
    one, *others = (torch.load(tmp_path / run / "vocoder.pt") for run in runs)
    for part in ("model_state", "average_state"):
        for name, value in one[part].items():
            for two in others:
                torch.testing.assert_close(two[part][name], value, atol=2e-4, rtol=0, msg=name)  # a step of Adam is up to 1e-2
    held_out = [[e["held_out_loss"] for e in metrics(tmp_path, run) if "held_out_loss" in e] for run in ("one", "two")]
    assert len(held_out[0]) == 1 and held_out[0] == pytest.approx(held_out[1], abs=1e-4)


def test_a_users_mistake_costs_one_line(speech, tmp_path):
    mistakes = {
        ("", False): r"synthesized\.txt: not found; make ground-truth-aligned mels with vocoder_preprocess\.py",
        ("rnn_dim=3", True): "nearest: rnn_dims",
        ("upsample_factors=4:4:8", True): "hop_length of 200",
        ("seq_len=300", True): "no multiple of the hop length",
        ("mode=FLOAT", True): "one of RAW, MOL",
        ("n_mels=40", True): "40 mel bands",
    }
    options = {"run_id": "mistake", "models_dir": tmp_path, "cpu": True, "max_steps": 1}
    for (hparams, ground_truth), problem in mistakes.items():
        with pytest.raises(UserError, match=problem) as error:
            vocoder.train.train(speech.root, tmp_path / "vocoder", ground_truth, 0, options, hparams)
        assert "\n" not in str(error.value)
    done = train(speech, tmp_path, "mistake", "-g", "--syn_dir", str(tmp_path))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "parameters.json: not found" in done.stderr
