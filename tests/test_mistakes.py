"""A user's mistakes give one clear line and an exit code, never a traceback."""

import dataclasses
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.model import EncoderWithLoss
from synthesizer.config import PreprocessSettings, SynthesizerTraining
from synthesizer.model import TacotronConfig
from tests import ROOT
from utils import cli
from utils.config import override, parse_overrides
from utils.data import audio
from utils.data.audio import MelFormat
from utils.data.paths import write_atomically
from utils.errors import UserError
from utils.models import checkpoint
from vocoder.config import VocoderTraining
from vocoder.model import WaveRNNConfig

TRAINERS = {"encoder_train.py": ["data"], "synthesizer_train.py": ["data"], "vocoder_train.py": ["data"]}
SCRIPTS = TRAINERS | {
    "encoder_preprocess.py": [],
    "synthesizer_preprocess_audio.py": [],
    "synthesizer_preprocess_embeds.py": [],
    "vocoder_preprocess.py": [],
}
KNOWN_SETTING = {
    "encoder_train.py": "n_layers",
    "synthesizer_train.py": "eval_shown",
    "vocoder_train.py": "batch_size",
    "encoder_preprocess.py": "min_frames",
    "synthesizer_preprocess_audio.py": "max_mel_frames",
    "synthesizer_preprocess_embeds.py": "group_size",
    "vocoder_preprocess.py": "max_frames",
}


def script(name: str, *arguments: str) -> int:
    """Run a script in this process, as if from the command line; returns its exit code."""
    before, sys.argv = sys.argv, [name, *arguments]
    try:
        runpy.run_path(str(ROOT / name), run_name="__main__")
    except SystemExit as left:
        return left.code or 0
    finally:
        sys.argv = before
    return 0


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("hparams", "told"),
    [("a", "'a' is not name=value"), ("no_such_setting=1", "no setting is called"), ("{known}=many", "not of type")],
)
def test_settings_are_checked_by_every_script(name, hparams, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hparams = hparams.format(known=KNOWN_SETTING[name])
    assert script(name, *(["run"] if name in TRAINERS else []), "nowhere", "--hparams", hparams) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: --hparams: ") and told in errors[0]
    assert not list(tmp_path.iterdir())


SHARED_BY_TRAINERS = [
    ["--save_every", "-1"],
    ["--backup_every", "-1"],
    ["--eval_every", "-1"],
    ["--n_workers", "-1"],
    ["--seed", "-1"],
    ["--seed", str(2**32)],
    ["--max_steps", "1e3"],
    ["--precision", "fp8"],
]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("encoder_train.py", options) for options in SHARED_BY_TRAINERS),
        *((name, ["--max_steps", "0"]) for name in TRAINERS),
        *((name, ["-n", "0"]) for name in SCRIPTS if "preprocess" in name and "vocoder" not in name),
        ("encoder_preprocess.py", ["-n", "two"]),
        ("encoder_train.py", ["--vis_every", "0"]),
        ("encoder_train.py", ["--umap_every", "-1"]),
        ("vocoder_train.py", ["--generate_every", "-1"]),
        ("vocoder_preprocess.py", ["--batch_size", "0"]),
        ("encoder_preprocess.py", ["-d", " ,"]),
        ("synthesizer_preprocess_audio.py", ["--subfolders", ","]),
        ("demo_cli.py", ["--reference", "a.wav", "--text", "Hi.", "--output", "."]),
        ("demo_cli.py", ["--reference", "a.wav", "--text", "Hi.", "--output", "a.mp3"]),
        ("demo_cli.py", ["--seed", "-1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_impossible_values_are_usage_errors(name, options, capsys):
    positional = [] if name == "demo_cli.py" else ["run", "nowhere"] if name in TRAINERS else ["nowhere"]
    assert script(name, *positional, *options) == 2
    assert options[-2] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("config", "hparams"),
    [
        (EncoderConfig(), "n_layers=0"),
        (EncoderConfig(), "projection_size=256"),
        (TacotronConfig(), "encoder_prenet=128"),
        (TacotronConfig(), "encoder_prenet=0:128"),
        (TacotronConfig(), "zoneout=nan"),
        (TacotronConfig(), "prenet_dropout=1"),
        (TacotronConfig(), "encoder_size=3"),
        (WaveRNNConfig(), "rnn_dims=0"),
        (WaveRNNConfig(), "aux_dims=0"),
        (WaveRNNConfig(), "upsample_factors=5:-5:8"),
        (MelFormat(), "hop_length=0"),
        (MelFormat(), "fmax=9000"),
        (MelFormat(), "win_length=801"),
        (MelFormat(), "preemphasis=inf"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_impossible_sizes_are_refused_by_name(config, hparams):
    with pytest.raises(UserError, match=hparams.partition("=")[0]) as caught:
        override(parse_overrides(hparams), config)
    assert caught.value.exit_code == 2


MAY_BE_NEGATIVE = {"volume_dbfs", "silence_level", "quiet_db", "loudness", "ref_db", "min_db"}  # levels
SETTINGS = runpy.run_path(str(ROOT / "docs" / "settings.py"))["SCRIPTS"]


@pytest.mark.parametrize("config", dict.fromkeys(each for configs in SETTINGS.values() for each in configs))
def test_a_setting_under_0_is_refused_by_name(config):
    fresh = config() if isinstance(config, type) else config
    for field in dataclasses.fields(fresh):
        value = getattr(fresh, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if field.name in MAY_BE_NEGATIVE or not all(type(number) in (int, float) for number in numbers):
            continue
        with pytest.raises(UserError, match=field.name):
            override({field.name: ":".join("-1" for _ in numbers)}, fresh)


@pytest.mark.parametrize(
    ("config", "hparams"),
    [
        (VocoderTraining(), "cuda_graphs=3"),
        (VocoderTraining(), "quiet_db=1"),
        (SynthesizerTraining(), "cuda_graphs=3"),
        (PreprocessSettings(), "speaker_augmentation=51"),
    ],
)
def test_a_setting_over_its_most_is_refused_by_name(config, hparams):
    with pytest.raises(UserError, match=f"{hparams.partition('=')[0]} must be at most"):
        override(parse_overrides(hparams), config)


def test_a_path_that_cannot_be_written_is_named_as_the_user_knows_it(tmp_path, capsys):
    (tmp_path / "folder.txt").mkdir()

    def write() -> None:
        with write_atomically(tmp_path / "folder.txt") as temporary:
            temporary.write_text("")

    with pytest.raises(SystemExit) as left:
        cli.run(write)
    (error,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 1 and error.startswith(f"error: {tmp_path}/folder.txt: Is a directory")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.txt"]


def encoder_content(**changed: object) -> dict:
    config = EncoderConfig(hidden_size=8, n_layers=1)
    state = EncoderWithLoss(config).state_dict()
    content = {"step": 1, "model": dataclasses.asdict(config), "mel": MEL_FORMAT, "model_state": state}
    return {"format": checkpoint.stage_format("encoder"), **content, **changed}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"mel": {**MEL_FORMAT, "n_mels": 80}}, "mel format"),
        ({"model": {"hidden_size": 8, "n_layers": 1, "invented": 1}}, "invented"),
        ({"model": {"hidden_size": 9, "n_layers": 1}}, "size mismatch"),
        ({"model_state": {"loss.scale": torch.tensor(float("nan"))}}, "not finite"),
        ({"model_state": {}}, "Missing key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_that_does_not_fit_names_itself(changed, told, tmp_path):
    from encoder.inference import SpeakerEmbedder

    path = tmp_path / "encoder.pt"
    checkpoint.save(path, encoder_content())
    SpeakerEmbedder(path, "cpu")
    checkpoint.save(path, encoder_content(**changed))
    with pytest.raises(UserError, match=f"encoder.pt: .*{told}") as caught:
        SpeakerEmbedder(path, "cpu")
    assert "\n" not in str(caught.value)


def test_a_wav_that_was_cut_short_is_not_taken_for_a_short_one(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    assert len(audio.load(path)) == 16000
    os.truncate(path, 20000)
    with pytest.raises(audio.AudioError, match="a.wav: is cut short"):
        audio.load(path)
    with pytest.raises(audio.AudioError, match="is a folder"):
        audio.load(tmp_path)


def test_without_a_cache_numba_gets_a_private_folder(tmp_path, monkeypatch):
    """As a user without a home, in a container. Nobody else may write there, as numba runs what it finds."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # to be as before at the end
    del os.environ["NUMBA_CACHE_DIR"]
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    cli._set_numba_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)  # as somebody else's would be
    del os.environ["NUMBA_CACHE_DIR"]
    cli._set_numba_cache()
    assert Path(os.environ["NUMBA_CACHE_DIR"]) != folder


def test_a_name_in_an_error_cannot_command_the_terminal(capsys):
    def main() -> None:
        raise UserError("\x1b[2Jä.wav\n\u202e: is bad")

    with pytest.raises(SystemExit, match="1"):
        cli.run(main)
    assert capsys.readouterr().err == "error: \\x1b[2Jä.wav\\n\\u202e: is bad\n"


def test_lack_of_memory_is_one_line(capsys):
    def main() -> None:
        np.zeros(10**15)

    with pytest.raises(SystemExit, match="1"):
        cli.run(main)
    assert capsys.readouterr().err == "error: there is not enough memory; make batches or sizes smaller (--hparams)\n"
