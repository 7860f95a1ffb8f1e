"""Arrays and checkpoints from a stranger: nothing in them is run, and nothing is allocated that the file does not hold."""

import io
import os
import pickle
import subprocess
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder import inference
from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.model import EncoderWithLoss
from synthesizer.dataset import _load as load_for_training
from tests.test_mistakes import script
from utils.data.arrays import ArrayError, load_npy
from utils.errors import UserError
from utils.models import checkpoint, size
from vocoder.model import WaveRNN, WaveRNNConfig

TINY = EncoderConfig(hidden_size=2, n_layers=1, embedding_size=2)


def content(**changes) -> dict:
    good = {"format": checkpoint.stage_format("encoder"), "step": 1, "model": asdict(TINY), "mel": MEL_FORMAT}
    return good | {"model_state": EncoderWithLoss(TINY).state_dict()} | changes


class Runs:
    """Runs something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


RUNS = [(os.system, "touch {}"), (subprocess.Popen, ["touch", "{}"]), (eval, "open('{}', 'w')"), (os.mkdir, "{}")]


@pytest.mark.parametrize("function_and_argument", RUNS)
@pytest.mark.parametrize("how", ["zip", "legacy", *range(6)])
def test_a_pickle_that_would_run_something_is_refused_and_named_as_such(tmp_path, function_and_argument, how):
    path, touched = tmp_path / "encoder.pt", tmp_path / "touched"
    function, argument = function_and_argument
    argument = [a.format(touched) for a in argument] if isinstance(argument, list) else argument.format(touched)
    hostile = content(extra=Runs(function, argument))
    if isinstance(how, int):
        path.write_bytes(pickle.dumps({name: hostile[name] for name in ("format", "extra")}, protocol=how))
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=how == "zip")
    name = {os.system: "system", subprocess.Popen: "Popen", eval: "eval", os.mkdir: "mkdir"}[function]
    with pytest.raises(UserError, match=rf"encoder.pt: is a pickle that would run '[\w.]+{name}' when loaded.*it was not run"):
        checkpoint.load(path, "encoder")
    assert not touched.exists()


def test_archives_that_unpack_to_more_than_themselves_are_refused(tmp_path):
    path, good = tmp_path / "encoder.pt", io.BytesIO()
    torch.save(content(), good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in source.namelist():
            bomb.writestr(member, source.read(member) if member.endswith(".pkl") else bytes(10**6))
    with pytest.raises(UserError, match="it is compressed"):
        checkpoint.load(path, "encoder")


@pytest.mark.parametrize(
    "tensor", [torch.zeros(1).expand(10**10), torch.zeros(1).expand(10**5, 10**5), torch.eye(3).to_sparse()]
)
def test_tensors_larger_than_the_file_are_refused(tmp_path, tensor):
    torch.save(content(extra=[tensor]), tmp_path / "encoder.pt")
    with pytest.raises(UserError, match="tensors are larger than the file|is sparse"):
        checkpoint.load(tmp_path / "encoder.pt", "encoder")


def nested(depth: int) -> list:
    """2^depth lists, if they are counted one by one."""
    lists: list = []
    for _ in range(depth):
        lists = [lists, lists]
    return lists


@pytest.mark.parametrize(
    "changes",
    [
        {"format": nested(60)},
        {"extra": nested(60)},
        {"model": nested(60)},
        {"model_state": nested(60)},
        {"model": asdict(TINY) | {"n_layers": 1_000_000}},
        {"model": asdict(TINY) | {"hidden_size": 10**7}},
        {"model": asdict(TINY) | {"hidden_size": 10**18}},
        {"model": asdict(TINY) | {"hidden_size": "2"}},
        {"model": asdict(TINY) | {"hidden_size": True}},
        {"model": asdict(TINY) | {"hidden_size": 2.5}},
        *({name: wrong} for name in checkpoint.KINDS for wrong in (5.5, True)),
        *({name: None} for name in ("step", "patience", "rules", "frozen")),
        *({"step": wrong} for wrong in (-5, True, "x", float("nan"), 10**30)),
    ],
)
def test_sizes_that_the_file_does_not_hold_are_refused(tmp_path, changes):
    path = tmp_path / "encoder.pt"
    torch.save(content(), path)
    inference._load(path)
    torch.save(content(**changes), path)
    if set(changes) == {"extra"}:
        inference._load(path)
        return
    with pytest.raises(UserError, match=r"encoder.pt: ") as caught:
        inference._load(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "sizes", ["hidden_size=10000000", "n_layers=1000000", "hidden_size=9999999999999", "embedding_size=9999999999"]
)
def test_a_model_larger_than_the_memory_is_refused_before_anything_is_allocated(preprocessed, tmp_path, capsys, sizes):
    assert script("encoder_train.py", "run", str(preprocessed), "-m", str(tmp_path), "--no_visdom", "--hparams", sizes) == 2
    assert "error: --hparams: the model" in capsys.readouterr().err
    assert not [*tmp_path.rglob("*.pt")]


def test_parameters_are_counted_without_memory_or_random_numbers():
    before = torch.get_rng_state()
    config = WaveRNNConfig(rnn_dims=8)
    counted = size.n_parameters(lambda: WaveRNN(config), 10**9)
    assert torch.equal(torch.get_rng_state(), before)
    assert counted >= sum(parameter.numel() for parameter in WaveRNN(config).parameters())


def an_npy(header: bytes, numbers: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + numbers


HEADER = b"{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n"
HOSTILE_ARRAYS = {
    "a number without an end": an_npy(b"{'descr': '<f4', 'shape': (" + b"9" * 9999),
    "brackets without an end": an_npy(b"(" * 60000),
    "more than there is": an_npy(HEADER % (b"<f4", b"999999999999, 999999999999"), bytes(64)),
    "more than any number": an_npy(HEADER % (b"<f4", b"999999999999, " * 500), bytes(64)),
    "less than none": an_npy(HEADER % (b"<f4", b"-1, 4"), bytes(64)),
    "objects": an_npy(HEADER % (b"|O", b"1,"), pickle.dumps(Runs(os.system, "false"))),
    "structures": an_npy(HEADER % (b"[('a', '<f4')]", b"1,"), bytes(4)),
    "a zip": b"PK\x05\x06" + bytes(18),
    "half a zip": b"PK\x03\x04" + bytes(100),
    "a pickle": pickle.dumps([Runs(os.system, "false")]),
    "nothing": b"",
    "one byte more": an_npy(HEADER % (b"<f4", b"2, 2"), bytes(17)),
}


@pytest.mark.parametrize("kind", HOSTILE_ARRAYS)
def test_arrays_that_are_none_are_refused(tmp_path, kind):
    path = tmp_path / "mel.npy"
    path.write_bytes(HOSTILE_ARRAYS[kind])
    for mapped in (False, True):
        with pytest.raises(ArrayError, match=r"mel.npy: is damaged"):
            load_npy(path, np.floating, 2, mapped)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_mels_that_are_not_finite_are_not_trained_on(tmp_path, value):
    mel = np.zeros((5, 80), np.float16)
    mel[3, 7] = value
    np.save(tmp_path / "mel.npy", mel)
    with pytest.raises(UserError, match=r"mel.npy: holds what is not a finite number"):
        load_for_training(Path(tmp_path / "mel.npy"), (5, 80))
