"""Exported models are small and answer as the trained ones."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from synthesizer.inference import Synthesizer
from tests.vocoder_data import FORMAT, TINY, write_synthesizer, write_vocoder
from utils import cli
from utils.config import DEFAULT_MODELS
from utils.data.audio import MelFormat
from utils.data.paths import sha256
from utils.errors import UserError
from utils.export import export
from utils.export.__main__ import main
from utils.export.card import MARKS
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
    exported = export(trained, tmp_path / "default", format="pt")
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


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command -> what it printed, its error included."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        try:
            cli.run(main)
        except SystemExit as left:
            assert left.code
        return "".join(capsys.readouterr())

    return run


def test_the_command_replaces_nothing_by_accident(trained, tmp_path, run):
    run_dir, out = trained["vocoder"].parent, tmp_path / "out"
    printed = run(run_dir, out)
    assert f"{out}/vocoder.safetensors: 0." in printed
    assert f"no encoder in {run_dir}: train one with encoder_train.py or name another file" in printed
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


# ---- config.json and the card


def files_and_rows(folder: Path) -> tuple[dict, list[list[str]]]:
    """What config.json lists, and the rows of the card's table."""
    files = json.loads((folder / "config.json").read_text())["files"]
    table = (folder / "README.md").read_text().partition(MARKS[0])[2].partition(MARKS[1])[0]
    return files, [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:]]


def check_described(folder: Path, names: str) -> None:
    """Exactly the model files in the folder are listed, each as it is, in both places."""
    files, rows = files_and_rows(folder)
    assert sorted(files) == [row[0] for row in rows] == names.split()
    assert {path.name for path in folder.iterdir()} == {*files, "README.md", "config.json"}
    for row in rows:
        path, entry = folder / row[0], files[row[0]]
        assert entry["sha256"] == row[4] == sha256(path) and entry["precision"] == row[2]
        assert entry["megabytes"] == pytest.approx(path.stat().st_size / 1e6, abs=1e-3)


def test_config_and_card_list_what_several_exports_wrote(trained, tmp_path, run):
    out, synthesizer, vocoder = tmp_path / "out", ("-s", trained["synthesizer"]), ("-v", trained["vocoder"])
    run(out, *synthesizer)
    check_described(out, "synthesizer.safetensors")
    run(out, *vocoder)
    check_described(out, "synthesizer.safetensors vocoder.safetensors")
    text = (out / "README.md").read_text()
    (out / "README.md").write_text(text.replace("# A voice cloner", "# My voice"))
    run(out, *synthesizer, *vocoder, "--replace", "--precision", "fp32")
    check_described(out, "synthesizer.safetensors vocoder.safetensors")
    assert files_and_rows(out)[1][0][2] == "fp32" and "# My voice" in (out / "README.md").read_text()
    run(out, *vocoder, "--replace", "--format", "pt")  # takes the place of the other
    check_described(out, "synthesizer.safetensors vocoder.pt")
    (out / "synthesizer.safetensors").unlink()
    run(out, *vocoder, "--replace", "--format", "pt")
    check_described(out, "vocoder.pt")
    (out / "README.md").write_text("# All my own\n")
    run(out, *vocoder, "--replace", "--format", "pt")
    assert (out / "README.md").read_text() == "# All my own\n"


ENTRY = {"file": "../run/vocoder.pt", "step": 1, "precision": "fp32", "megabytes": 1, "sha256": "a"}
HOSTILE = json.dumps({"files": {ENTRY["file"]: ENTRY}})


@pytest.mark.parametrize("text", ["{}", "[" * 100_000, '{"files": {"vocoder.pt": 1}}', '{"files": []}', HOSTILE, "text", "\0"])
def test_a_config_of_something_else_is_not_replaced_by_accident(trained, tmp_path, run, text):
    out = tmp_path / "out"
    export({"vocoder": trained["vocoder"]}, out, format="pt")
    (out / "config.json").write_text(text)
    told = run(out, "-s", trained["synthesizer"])
    assert told == f"error: {out}/config.json: was not written by an export; name another folder, or pass --replace\n"
    assert (out / "config.json").read_text() == text and not (out / "synthesizer.safetensors").exists()
    run(out, "-s", trained["synthesizer"], "--replace")
    assert [*files_and_rows(out)[0]] == ["synthesizer.safetensors"]


@pytest.mark.parametrize("front", ["", "---\nlicense: mit\n---\n\n"])
@pytest.mark.parametrize("marked", [False, True])
def test_the_card_of_the_models_is_adapted(trained, tmp_path, run, front, marked):
    folder, out = trained["vocoder"].parent, tmp_path / "out"
    table = f"{MARKS[0]}\n| vocoder.pt | 3 MB |\n{MARKS[1]}\n" if marked else ""
    links = "See [NOTICE](../../NOTICE), ![a picture](x.png), [below](#data) and [the paper](https://example.com/a.pdf)."
    (folder / "README.md").write_text(f"{front}# A voice\n\n{links}\n\n{table}\n## Data\n")
    run(folder, out)
    text = (out / "README.md").read_text()
    assert text.startswith(front or "---\nlibrary_name: sv2tts") and text.count("\n---\n") == 1
    assert "See NOTICE, a picture, [below](#data) and [the paper](https://example.com/a.pdf)." in text
    assert text.index("# A voice") < text.index(MARKS[0]) < text.index("See NOTICE") and "vocoder.pt" not in text
    check_described(out, "synthesizer.safetensors vocoder.safetensors")


def test_the_card_of_the_default_voice_is_whole_elsewhere(trained, tmp_path, run):
    folder, out = trained["vocoder"].parent, tmp_path / "out"
    shutil.copy(Path(DEFAULT_MODELS) / "README.md", folder)
    run(folder, out)
    text = (out / "README.md").read_text()
    assert re.match(r"---\nlicense:\n- mit\n- apache-2.0\n", text)
    assert not re.search(r"\.pt\b|\]\((?!https:|#)", text) and len(re.findall("[0-9a-f]{16}", text)) == 8  # 2 of 64
    check_described(out, "synthesizer.safetensors vocoder.safetensors")
