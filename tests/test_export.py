"""Exported models are small and answer as the trained ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from synthesizer.inference import Synthesizer
from tests.vocoder_data import FORMAT, TINY, write_synthesizer, write_vocoder
from utils import cli
from utils.data.audio import MelFormat
from utils.errors import UserError
from utils.export import export
from utils.export.__main__ import main
from utils.models import checkpoint
from utils.training.resume import StartingPoint
from utils.training.stepping import MAIN, Trained
from vocoder.inference import Vocoder
from vocoder.model import WaveRNN, WaveRNNConfig
from vocoder.published import own_content


@pytest.fixture
def trained(tmp_path) -> dict[str, Path]:
    """Checkpoints as trainers write them: with optimizer state and, for the vocoder, averaged weights."""
    torch.manual_seed(1)
    paths = {
        "synthesizer": write_synthesizer(tmp_path / "run" / "synthesizer.pt"),
        "vocoder": write_vocoder(tmp_path / "run" / "vocoder.pt", WaveRNN(WaveRNNConfig(**TINY))),
    }
    for stage, path in paths.items():
        content = checkpoint.load(path, stage)
        moments = [torch.randn_like(value, dtype=torch.float32) for value in content["model_state"].values()]
        content |= {"optimizer_state": {"moments": moments * 2}, "sampler_state": {"seed": 0}}
        if stage == "vocoder":
            other = WaveRNN(WaveRNNConfig(**TINY))
            content["average_state"] = other.state_dict()
        checkpoint.save(path, content)
    return paths


def change(path: Path, stage: str, **changes) -> None:
    checkpoint.save(path, checkpoint.load(path, stage) | changes)


def test_exported_models_are_small_and_answer_as_the_trained_ones(trained, tmp_path):
    exported = export(trained, tmp_path / "default")
    files = ["README.md", "config.json", "synthesizer.pt", "vocoder.pt"]
    assert sorted(path.name for path in (tmp_path / "default").iterdir()) == files
    rng = np.random.default_rng(0)
    embedding, mel = rng.normal(size=256), rng.uniform(-4, 4, (60, FORMAT.n_mels)).astype(np.float32)
    (before,), (after,) = (
        Synthesizer(paths["synthesizer"], "cpu", precision="fp32").gta_mels(["Good morning."], [embedding], [mel], seed=0)
        for paths in (trained, exported)
    )
    assert 0 < np.abs(after - before).max() < 5e-3 * np.abs(before).max()
    frames, levels = torch.from_numpy(mel.T / 4).T[None], torch.rand(1, 56 * FORMAT.hop_length) * 2 - 1
    targets = torch.randint(512, levels.shape)
    losses = []
    for paths in (trained, exported):
        model = Vocoder(paths["vocoder"], "cpu").model
        assert {value.dtype for value in model.parameters()} == {torch.float32}
        with torch.no_grad():
            losses.append(float(model(levels, frames, targets)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    content = checkpoint.load(exported["vocoder"], "vocoder")
    average = checkpoint.load(trained["vocoder"], "vocoder")["average_state"]
    assert "optimizer_state" not in content and "average_state" not in content
    for name, value in content["model_state"].items():
        assert value.dtype == (torch.float16 if average[name].dim() > 1 else average[name].dtype)
        torch.testing.assert_close(value.to(average[name].dtype), average[name], rtol=2**-11, atol=2**-25)


def test_a_run_starts_from_a_exported_model(trained, tmp_path):
    path = export({"vocoder": trained["vocoder"]}, tmp_path / "default")["vocoder"]
    model = WaveRNN(WaveRNNConfig(**TINY))
    start = StartingPoint("vocoder", tmp_path / "vocoder.pt", path, False, own_content)
    start.load_into({MAIN: Trained(model, None)}, None, "cpu")
    assert torch.equal(model.gru1.weight_hh_l0, checkpoint.load(path, "vocoder")["model_state"]["gru1.weight_hh_l0"].float())
    with pytest.raises(UserError, match=rf"{path}: holds only weights.*--init_from {path}"):
        StartingPoint("vocoder", path, None, False, own_content)  # as the run's own checkpoint


@pytest.mark.parametrize("value,told", [(7e4, "input.weight holds a weight of 7e.04, and half"), (float("nan"), "not finite")])
def test_weights_too_large_for_half_precision_are_refused(trained, tmp_path, value, told):
    state = checkpoint.load(trained["vocoder"], "vocoder")["average_state"]
    state["input.weight"][0, 0] = value
    change(trained["vocoder"], "vocoder", model_state=state, average_state=state)
    with pytest.raises(UserError, match=rf"run/vocoder.pt: .*{told}"):
        export(trained, tmp_path / "default")
    assert not (tmp_path / "default").exists()


def test_too_large_files_and_a_pair_that_does_not_fit_are_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r"run/vocoder.pt: 0\.\d MB in fp16, over the limit of 0.01 MB"):
        export(trained, tmp_path / "default", limit=0.01)
    with pytest.raises(UserError, match=r"would be replaced by its own export"):
        export(trained, trained["vocoder"].parent)
    write_synthesizer(trained["synthesizer"], MelFormat(fmin=90))
    with pytest.raises(UserError, match="reads other mels than .*fmin"):
        export(trained, tmp_path / "default")
    assert not (tmp_path / "default").exists()


def test_the_command_replaces_nothing_by_accident(trained, tmp_path, monkeypatch, capsys):
    run_dir, out = trained["vocoder"].parent, tmp_path / "out"

    def run(*arguments: object) -> str:
        """What the command printed, its error included."""
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        try:
            cli.run(main)
        except SystemExit as left:
            assert left.code
        return "".join(capsys.readouterr())

    assert f"{out}/vocoder.safetensors: 0." in run(run_dir, out)
    before = {path: path.read_bytes() for folder in (run_dir, out) for path in folder.iterdir()}
    for arguments, told in (
        ((run_dir,), "name the folder of the models and the one to write into"),
        ((run_dir, out), "synthesizer.safetensors: is there already; name another folder, or pass --replace"),
        ((run_dir, out, "--format", "pt"), "synthesizer.safetensors: is there already"),  # two would be ambiguous
        ((run_dir, run_dir, "--format", "pt", "--replace"), "would be replaced by its own export"),
        ((tmp_path / "none", out), "none: holds no model"),
    ):
        assert told in run(*arguments)
    assert {path: path.read_bytes() for folder in (run_dir, out) for path in folder.iterdir()} == before
