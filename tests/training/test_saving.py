"""Training never replaces a good checkpoint by a bad one, and a full disk does not end it."""

import copy
import errno
import math
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import encoder.train
import synthesizer.train
import vocoder.train
from encoder.train import Collapse
from encoder.utterances import Placed, Table, write_table
from tests.encoder.test_encoder import TINY as TINY_ENCODER
from tests.synthesizer.test_synthesizer_train import SIZES
from tests.vocoder.test_vocoder_train import TINY as TINY_VOCODER
from tests.vocoder_data import write_speech
from utils.boards.board import NoBoard
from utils.data.paths import EncoderData, save_npy, save_text
from utils.errors import DiskFull, UserError
from utils.models import checkpoint
from utils.training import run as training
from utils.training.files import CheckpointFiles
from utils.training.health import Guessing, Parting, Rising

STAGES = ("encoder", "synthesizer", "vocoder")


@pytest.fixture(scope="module")
def data(samples, tmp_path_factory):
    """A folder with a little data for all three trainers."""
    root = tmp_path_factory.mktemp("data")
    write_speech(samples, root / "SV2TTS" / "synthesizer")
    mels = EncoderData(root / "SV2TTS" / "encoder")
    for speaker in range(8):
        folder = mels.speaker_dir(f"speaker-{speaker}")
        save_npy(folder / mels.MELS, np.random.default_rng(speaker).random((400, 40), np.float32))
        rows = [Placed(str(number), 100 * number, 100, "x") for number in range(4)]
        write_table(folder / mels.UTTERANCES, Table("# made for a test", rows))
    return root


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(training, "Board", lambda *arguments: NoBoard())


def train(stage, data, folder, learning_rate, max_steps, **options):
    fit(stage, data, folder, learning_rate, max_steps, **options)
    return checkpoint.load(folder / "r" / f"{stage}.pt", stage)


def fit(stage, data, folder, learning_rate, max_steps, pictures_every=0, **options):
    options = {
        "run_id": "r",
        "models_dir": folder,
        "max_steps": max_steps,
        "eval_every": 0,
        "save_every": 1,
        "cpu": True,
    } | options
    if stage == "encoder":
        encoder.train.train(data / "SV2TTS" / "encoder", options, hparams(stage, learning_rate), pictures_every)
    elif stage == "synthesizer":
        synthesizer.train.train(data / "SV2TTS" / "synthesizer", options, hparams(stage, learning_rate))
    else:
        vocoder.train.train(data / "SV2TTS" / "synthesizer", data, True, pictures_every, options, hparams(stage, learning_rate))


def hparams(stage, learning_rate):
    """Of small models, for `data`."""
    if stage == "encoder":
        return f"{TINY_ENCODER},learning_rate={learning_rate}"
    if stage == "synthesizer":
        sizes = SIZES.replace("speaker_size=8", "speaker_size=256")
        return f"{sizes},eval_utterances=2,eval_shown=1,schedule=5:{learning_rate}:100:2"
    sizes = TINY_VOCODER.replace("batch_size=4", "batch_size=2").replace("seq_len=400", "seq_len=200")
    return sizes.replace("learning_rate=0.01,warmup_steps=4", f"learning_rate={learning_rate},warmup_steps=1")


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("learning_rate", ["1e38", "1e3"])
@pytest.mark.parametrize("stage", STAGES)
def test_an_exploding_learning_rate_ends_the_run_and_the_last_good_checkpoint_is_kept(
    data, tmp_path, capsys, stage, learning_rate
):
    train(stage, data, tmp_path, 1e-3, 4)
    with pytest.raises(UserError, match=r"Lower the learning rate"):
        train(stage, data, tmp_path, learning_rate, 40)
    assert "r/" + f"{stage}.last_good.pt keeps it" in capsys.readouterr().err
    for name in (stage, f"{stage}.last_good"):
        saved = checkpoint.load(tmp_path / "r" / f"{name}.pt", stage)
        assert saved["step"] == 4
    assert train(stage, data, tmp_path, 1e-3, 6)["step"] == 6


@pytest.mark.usefixtures("no_pictures")
def test_a_loss_far_above_its_running_median_is_as_bad_as_one_that_is_not_finite(data, tmp_path, monkeypatch, capsys):
    log = training.Run.log
    losses = dict.fromkeys(range(9, 40), 11.0) | {5: 9.0}  # and 1 at other steps
    monkeypatch.setattr(
        training.Run, "log", lambda run, loss, **values: log(run, loss=torch.tensor(losses.get(run.step, 1.0)), **values)
    )
    with pytest.raises(UserError, match="step 28: the loss is 11, 11 times its running median, 20 times in a row"):
        train("encoder", data, tmp_path, 1e-5, 40)
    for name in ("encoder", "encoder.last_good"):
        assert checkpoint.load(tmp_path / "r" / f"{name}.pt", "encoder")["step"] == 7  # the next step speaks for it
    assert "step 9: the loss is 11" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
def test_a_full_disk_costs_a_line_and_the_next_save_succeeds(data, tmp_path, monkeypatch, capsys):
    save, failures = torch.save, [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 576 vs 534")]

    def failing(content, path):
        save(content, path)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(torch, "save", failing)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5))
    assert train("encoder", data, tmp_path, 1e-3, 6, save_every=2)["step"] == 6
    lines = [line for line in capsys.readouterr().err.splitlines() if "is not saved" in line]
    sizes = r"[\d,]+ bytes free, (more than )?[\d,]+ needed"
    assert len(lines) == 2 and all(
        re.search(rf"encoder\.pt.*: the disk /\S* is full: {sizes}; training goes on", line) for line in lines
    )
    assert not [path for path in (tmp_path / "r").iterdir() if path.suffix == ".tmp" or "unproven" in path.name]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder]).returncode:
        pytest.skip("may not mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_named_with_what_is_free_and_needed(small_disk):
    for write in (
        lambda: save_npy(small_disk / "a.npy", np.zeros(500_000)),
        lambda: save_text(small_disk / "a.npy", "x" * 4_000_000),
        lambda: checkpoint.save(small_disk / "a.npy", {"a": torch.zeros(1_000_000)}),
    ):
        with pytest.raises(
            DiskFull, match=rf"a\.npy: the disk {small_disk} is full: 1,0\d\d,\d+ bytes free, 4,0\d\d,\d+ needed"
        ):
            write()
        assert not [*small_disk.iterdir()]


def test_numbers_that_are_not_finite_are_never_saved(tmp_path):
    files = CheckpointFiles(tmp_path, "encoder", 0, None)
    good = {"step": 1, "model_state": {"a": torch.zeros(2)}, "optimizer_state": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    files.write(good | {"average_state": {"a": torch.zeros(2)}}, 1.0, backup=False)
    files.prove()
    for place in ("model_state.a", "optimizer_state.state.0.exp_avg", "average_state.a"):
        bad = copy.deepcopy(good | {"average_state": {"a": torch.zeros(2)}})
        dict(checkpoint.tensors(bad))[place][1] = torch.nan
        with pytest.raises(UserError, match=rf"{place} holds numbers that are not finite"):
            files.write(bad, 1.0, backup=False)
    assert files.path.exists() and files.step == 1


def test_only_the_last_backups_are_kept(tmp_path):
    files = CheckpointFiles(tmp_path, "encoder", 0, keep_backups=2)
    for step in (9_999_999, 10_000_000, 10_000_001):
        files.write({"step": step}, 1.0, backup=True)
        files.prove()
    kept = ["encoder-10000000.pt", "encoder-10000001.pt"]
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == kept


# Real curves (docs/reliability.md): the mean loss of every hundred steps of a vocoder, and its loss on held-out speech. At
# step 811 the learning rate was raised 25 times. Steps differ by 0.13 in batches of 32 crops of 200 samples.
FALLING, HELD_OUT = (5.59, 5.15, 4.88, 4.78, 4.70, 4.68, 4.67), (4.93, 4.51, 4.36, 4.28, 4.23, 4.21, 4.17)
RISING = (6.12, 5.87, 5.87)
# A synthesizer on twenty utterances: its mel loss, mean of 25 steps, and on held-out utterances
MEMORIZING = ((5.96, 5.49), (4.12, 4.82), (3.54, 4.23), (3.33, 4.20), (3.15, 4.41), (2.97, 4.39), (2.72, 4.50), (2.45, 4.50))


@pytest.mark.parametrize("noise", [0.13, 0.37])  # 0.37: in batches an eighth as large
def test_a_loss_that_rises_is_told_and_one_that_falls_or_stays_is_not(noise):
    def told(means) -> list[int]:
        rising, random = Rising(), np.random.default_rng(0)
        losses = np.repeat(means, 100) + noise * random.normal(size=100 * len(means))
        return [step for step, loss in enumerate(losses) if rising(step, {"loss": loss})]

    assert not told([*FALLING, *FALLING[-1:] * 50])
    assert 700 < told([*FALLING, *RISING])[0] < 1000


def test_a_held_out_loss_that_rises_while_the_model_memorizes_is_told():
    def told(curve) -> list[int]:
        parting = Parting("held_out")
        answers = []
        for loss, held_out in curve:
            for _ in range(25):
                parting(0, {"loss": loss})
            answers.append(parting(0, {"held_out": held_out}))
        assert all("the model is overfitting" in answer for answer in filter(None, answers))
        return [number for number, answer in enumerate(answers) if answer]

    assert not told(zip(FALLING, HELD_OUT, strict=True)) and told(MEMORIZING)[0] == 6


def test_what_a_rule_remembers_does_not_grow_and_numbers_that_are_not_finite_do_not_count():
    rules = [Rising(), Parting("held_out_loss"), Guessing(6, 0.95, 2000, "it guesses", "stop")]
    for step in range(1000):
        for rule in rules:
            rule(step, {"loss": math.nan if step % 7 == 0 else 5.0})
    assert all(len(value) <= 200 for rule in rules for value in rule.state.values() if isinstance(value, list))
    parting = rules[1]
    parting(1000, {"held_out_loss": 1.0})
    assert parting.state["then"] == 5


def test_a_backup_that_fails_is_told_and_made_at_the_next_save(tmp_path, monkeypatch, capsys):
    files = CheckpointFiles(tmp_path, "encoder", 0, None)
    copy = files.copy
    monkeypatch.setattr(files, "copy", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    files.write({"step": 1}, 1.0, backup=True)
    files.prove()
    assert "step 1 is saved but not backed up" in capsys.readouterr().err and files.step == 1
    monkeypatch.setattr(files, "copy", copy)
    files.write({"step": 2}, 1.0, backup=False)
    files.prove()
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["encoder-0000002.pt"]


# Rules, and numbers of steps and of evaluations that each of them must speak about.
GONE_WRONG = {
    "rising": (Rising, [{"loss": 3 + 2 / (1 + step / 100) if step < 1000 else 2 + step / 500} for step in range(2000)]),
    "parting": (
        lambda: Parting("held_out_loss"),
        [{"loss": 5 - i / 9, "held_out_loss": 2 + abs(i - 9) / 9} for i in range(30)],
    ),
    "collapsed": (lambda: Collapse(8), [{"loss": 2.079}] * 400),
    "guessing": (lambda: Guessing(6, 0.95, 2000, "it guesses", "stop"), [{"loss": 5.8}] * 2100),
}


@pytest.mark.parametrize("name", GONE_WRONG)
def test_a_run_that_is_resumed_often_is_told_what_goes_wrong_at_the_same_step(name, tmp_path):
    make, rows = GONE_WRONG[name]
    whole, parts = make(), make()
    told = []
    for step, row in enumerate(rows):
        if step % 90 == 0:
            checkpoint.save(tmp_path / "state.pt", parts.state)
            parts = make()
            parts.load(torch.load(tmp_path / "state.pt", weights_only=True))
        told.append(parts(step, row))
        assert told[-1] == whole(step, row)
    assert any(told) and not told[0]


def test_an_encoder_that_tells_nobody_apart_is_told_so():
    collapse = Collapse(8)
    assert not any(collapse(step, {"loss": 2.08 - 0.002 * step}) for step in range(400))
    collapse = Collapse(8)
    (line, *_) = filter(None, (collapse(step, {"loss": 2.079}) for step in range(400)))
    assert "does not tell voices apart" in line
    for cosine, loss, is_collapsed in (
        (0.999996, 2.079, True),
        (0.9999, 2.079, False),
        (0.999996, 1.5, False),
    ):  # at once, or not
        collapse = Collapse(8)
        assert not any(collapse(step, {"loss": loss}) for step in range(50))
        assert bool(collapse(50, {"same_cosine": 1.0, "different_cosine": cosine})) == is_collapsed
