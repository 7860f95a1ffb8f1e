"""Every benchmark runs, here with small models."""

import functools
import math
import re
import runpy
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import benchmarks.encoder
import encoder.config
import encoder.inference  # before its sizes are changed
import synthesizer.model
import vocoder.model
from benchmarks import bench, gpu, preprocessing, timing
from benchmarks.mels import variation
from benchmarks.plain_steps import PlainGE2E, PlainWaveRNN
from benchmarks.trainer import write_noise
from encoder.model import EncoderWithLoss
from tests import ROOT
from tests.test_pipeline import run_here
from tests.vocoder_data import tiny_vocoder

SMALL = {
    (encoder.config, "EncoderConfig"): {"hidden_size": 8, "n_layers": 1},
    (synthesizer.model, "TacotronConfig"): {
        **{"embedding_size": 8, "encoder_prenet": (8, 8), "encoder_size": 8, "encoder_kernels": 2, "decoder_prenet": (8, 8)},
        **{"attention_size": 8, "attention_filters": 2, "decoder_size": 8, "postnet_size": 8, "postnet_kernels": 2},
    },
    (vocoder.model, "WaveRNNConfig"): {"rnn_dims": 8, "fc_dims": 8, "context_dims": 8, "aux_dims": 8, "n_context_blocks": 1},
}


def once(*works, times=1):
    for work in works:
        work()
    return [1.0 for _ in works]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(timing, "repeat", lambda work, times=1: once(work)[0])
    monkeypatch.setattr(timing, "alternate", once)
    monkeypatch.setattr(benchmarks.encoder, "INDEXED_SPEAKERS", 20)
    monkeypatch.setattr(preprocessing, "ROUNDS", 1)
    monkeypatch.setattr(preprocessing, "COPIES", 1)
    for (module, config), sizes in SMALL.items():
        monkeypatch.setattr(module, config, functools.partial(getattr(module, config), **sizes))


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_a_benchmark_runs(name):
    assert any(character.isdigit() for character in bench.BENCHMARKS[name]())


def test_the_table_and_an_unknown_name(monkeypatch):
    """Here instead of in processes, which would import torch."""

    def run(command, **how):
        code, out, err = run_here("benchmarks.bench", command[3:], ROOT)
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    monkeypatch.setattr(subprocess, "run", run)
    code, out, _ = run_here("benchmarks.bench", ["encoder_loss"], ROOT)
    assert code == 0 and "| encoder_loss | " in out and " GB |" in out
    code, _, err = run_here("benchmarks.bench", ["encoder"], ROOT)
    assert code == 2 and "encoder_preprocess" in err and "Traceback" not in err


def test_ripples_and_changes_of_mels_are_found_where_they_are():
    bands, frames = np.arange(80) + 0.5, np.arange(400)[:, None] / 80  # s
    mel = 2 * np.cos(2 * np.pi * 3 * bands / 80) * np.sin(2 * np.pi * 6.25 * frames)  # at 6.25 Hz
    found, smoother = variation([mel], 80), variation([mel / 2], 80)
    for unit, where in (("periods", "2-4 periods"), ("Hz", "4-8 Hz")):
        powers = {name: power for name, power in found.items() if name.endswith(unit)}
        assert max(powers, key=powers.get) == where and powers[where] > 0.9 * sum(powers.values())
    assert all(abs(smoother[name] / power - 0.25) < 1e-6 for name, power in found.items() if power > 1e-9)


def test_the_plain_steps_have_the_losses_of_ours():
    torch.manual_seed(0)
    model = tiny_vocoder()
    crops = torch.rand(2, 400) * 2 - 1, torch.rand(2, 2 + 2 * model.config.pad, 80) * 2 - 1, torch.randint(512, (2, 400))
    torch.testing.assert_close(PlainWaveRNN(model)(*crops), model(*crops))
    plain = PlainGE2E()
    ours = EncoderWithLoss(plain.encoder.config)
    ours.encoder.load_state_dict(plain.encoder.state_dict())
    mels = torch.rand(3, 4, 20, 40)
    torch.testing.assert_close(plain(mels), ours(mels))


def test_gradients_of_a_trainer_are_compared_in_each_precision(tmp_path):
    data = write_noise(tmp_path / "syn", n=8, seconds=1)
    small = "batch_size=4,seq_len=800,rnn_dims=64,fc_dims=64,eval_crops=4"
    options = ["noise", str(tmp_path), "--syn_dir", str(data.root), "-g", "--hparams", small]
    code, out, err = run_here("benchmarks.precision", ["vocoder_train.py", *options], ROOT)
    found = [[float(number) / 100 for number in re.findall(r"([\d.]+)%", line)] for line in out.splitlines()]
    assert code == 0 and all(0 < fp16 < bf16 < 0.5 for bf16, fp16 in zip(*found[:2], strict=True)) and found[2][0] > 0.5, err
    for wrong, told in ((["nothing.py"], "give encoder_train.py or"), (["vocoder_train.py", "--x"], "usage: vocoder_train.py")):
        code, out, err = run_here("benchmarks.precision", wrong, ROOT)
        assert code == 2 and told in err and "Traceback" not in err


def test_figures_of_a_gpu_go_between_the_marks_of_its_page(monkeypatch, tmp_path):
    page = tmp_path / "gpu.md"
    page.write_text(f"before\n{gpu.MARKS[0]}\nold\n{gpu.MARKS[1]}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(gpu, "PAGE", page)
    for _ in range(2):
        gpu.write([("a step", "0.1 s")], "On one GPU:")
    table = "On one GPU:\n\n| what | measured |\n| --- | --- |\n| a step | 0.1 s |"
    assert page.read_text(encoding="utf-8") == f"before\n{gpu.MARKS[0]}\n{table}\n{gpu.MARKS[1]}\nafter\n"
    assert all(gpu.ROOT.joinpath("docs/gpu.md").read_text(encoding="utf-8").count(mark) == 1 for mark in gpu.MARKS)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ("encoder", gpu.encoder_rows),
        ("synthesizer", gpu.synthesizer_rows),
        ("vocoder", gpu.vocoder_rows),
        ("speaking", gpu.speaking_rows),
    ],
)
def test_what_is_measured_on_a_gpu_becomes_the_figures_of_the_readme(monkeypatch, tmp_path, row, part):
    """Under the names that the rows have on a GPU; nothing is run here."""
    monkeypatch.setattr(gpu, "seconds", lambda work: 0.0625)
    monkeypatch.setattr(gpu, "precisions", lambda device: ["fp16"])
    monkeypatch.setattr(gpu, "with_memory", lambda work: (work(), "1 GB"))
    monkeypatch.setattr("utils.training.accelerate.recorded_step", lambda run, step, *optimizers: step)
    monkeypatch.setattr(gpu, "PAGE", shutil.copytree(ROOT / "docs", tmp_path / "docs") / "gpu.md")
    page = runpy.run_path(str(tmp_path / "docs" / "figures.py"))
    wanted, earlier = page["GPU_ROWS"][row][0], page["on_gpu"](row)
    rows = []
    for each in part(torch.device("cpu"), gpu.Sizes()):
        rows.append(each)
        if each[0] == wanted:
            break
    gpu.write(rows, "On one GPU:")
    assert rows[-1][0] == wanted and page["on_gpu"](row) == rows[-1][1].split(",")[0] != earlier


def test_a_part_that_fails_or_has_no_time_left_is_named_and_the_others_are_measured(monkeypatch, capsys):
    def good(device, sizes):
        yield "a step", "0.1 s"

    def bad(device, sizes):
        raise RuntimeError("CUDA error\nand more")

    rows, failed = gpu.measure([bad, good], None, gpu.TINY, until=float("inf"))
    assert rows == [("a step", "0.1 s")] and failed == ["bad (RuntimeError: CUDA error"]
    assert gpu.measure([good], None, gpu.TINY, until=0.0)[1] == ["good (TimeoutError: no time left)"]
    monkeypatch.setattr("sys.argv", ["gpu", "--no_checks", "--only", "good"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(gpu, "PARTS", (bad, good))
    capsys.readouterr()
    gpu.main()
    assert capsys.readouterr().out.startswith("no GPU here: only the checks that a CPU can do")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "nothing"], "error: --only: no part has 'nothing' in its name; there are limit_rows, encoder_rows"),
        (["--only", "("], "'(' is not a regular expression: missing )"),
        (["--only", "encoder", "--write"], "argument --write: not allowed with argument --only"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(options, told):
    code, out, err = run_here("benchmarks.gpu", options, ROOT)
    assert code == 2 and not out and told in err and "Traceback" not in err


def test_without_a_gpu_the_checks_take_as_long_as_they_need(monkeypatch):
    limits = []

    def run(command, cwd, timeout):
        limits.append(timeout)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert gpu.check(math.inf) == [] and limits == [None] * len(gpu.CHECKS) and gpu.CHECKS[0] == "test_gpu"
    limits.clear()
    assert gpu.check(0.0) == [] and limits == [1.0] * len(gpu.CHECKS)
