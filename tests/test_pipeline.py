"""Every command of the README and of docs/training.md, in order, on real speech; and what the demo does with the models."""

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch

from tests import ROOT
from tests.published_state import published_state
from utils.data import audio
from utils.models import checkpoint

TINY_TRAINING = ["--max_steps", "4", "--eval_every", "4", "--cpu", "--no_visdom", "--seed", "1"]
TINY_ENCODER = "hidden_size=32,n_layers=1,utterances_per_speaker=3"
TINY_TACOTRON = (
    "embedding_size=32,encoder_prenet=32:32,encoder_size=32,encoder_kernels=2,decoder_prenet=32:32,attention_size=16,"
    "attention_filters=4,decoder_size=32,postnet_size=16,postnet_kernels=2,n_highways=1,schedule=5:1e-3:100:6,"
    "eval_utterances=3,eval_shown=1"
)
TINY_WAVERNN = (
    "rnn_dims=16,fc_dims=16,context_dims=16,aux_dims=16,n_context_blocks=1,batch_size=4,eval_crops=8,eval_seconds=0.3,"
    "eval_shown=1"
)
ADDED = {  # to the README's commands, so that they end in seconds
    "encoder_preprocess.py": ["-n", "2"],
    "encoder_train.py": [*TINY_TRAINING, "--umap_every", "4", "--hparams", TINY_ENCODER],
    "synthesizer_preprocess_audio.py": ["-n", "2"],
    "synthesizer_preprocess_embeds.py": ["--cpu"],
    "synthesizer_train.py": [*TINY_TRAINING, "--hparams", TINY_TACOTRON],
    "vocoder_preprocess.py": ["--cpu"],
    "vocoder_train.py": [*TINY_TRAINING, "--generate_every", "4", "--hparams", TINY_WAVERNN],
    "demo_cli.py": ["--cpu", "--no_sound"],
    "encoder.evaluate": ["--cpu"],
    "utils.export": [],
}
FOR_OTHER_WEIGHTS = {  # the file says the sizes
    "encoder_train.py": [*TINY_TRAINING, "--hparams", "utterances_per_speaker=3,learning_rate=1e-5"],
    "synthesizer_train.py": [
        *TINY_TRAINING,
        "--hparams",
        "schedule=5:1e-4:100:6,eval_utterances=3,eval_shown=1,adversarial_weight=0.1",
    ],
}
MODELS = [part for stage in checkpoint.STAGES for part in (f"-{stage[0]}", f"saved_models/my_run/{stage}.pt")]


def readme_commands() -> list[list[str]]:
    """The lines of both pages' code blocks that run Python, in order."""
    pages = "\n".join((ROOT / page).read_text() for page in ("README.md", "docs/training.md"))
    blocks = re.findall(r"^```\w*\n(.*?)^```$", pages, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("python ", "torchrun "))]


def run_process(command: list[str], cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    options = {"capture_output": True, "text": True, "env": environment, "timeout": 300, "input": stdin}
    done = subprocess.run([sys.executable, *command], cwd=cwd, **options)
    return done.returncode, done.stdout, done.stderr


def run_here(name: str, arguments: list[str], cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    """Run a script or module in this process, which need not import torch anew; returns exit code, stdout and stderr."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [name, *arguments])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            if name.endswith(".py"):
                runpy.run_path(str(ROOT / name), run_name="__main__")
            else:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as left:
            code = left.code or 0
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, samples) -> Path:
    """A folder to work in, with a datasets_root of a few real speakers in the subsets that the README names."""
    cwd = tmp_path_factory.mktemp("readme")
    speakers = sorted((samples / "LibriSpeech" / "train-clean-100").iterdir())
    for subset, chosen in (("train-other-500", speakers[:5]), ("train-clean-100", speakers[5:8])):
        for speaker in chosen:
            shutil.copytree(speaker, cwd / "data" / "LibriSpeech" / subset / speaker.name)
    for speaker in speakers[8:]:
        _own_recordings(speaker, cwd / "data" / "my-voices" / speaker.name)
    files = [file.relative_to(cwd / "data") for speaker in speakers[:2] for file in sorted(speaker_files(cwd, speaker))[:3]]
    pairs = [f"{int(a.parts[2] == b.parts[2])} {a} {b}\n" for a in files for b in files if a < b]
    (cwd / "data" / "trials.txt").write_text("".join(pairs))
    (cwd / "saved_models" / "default").mkdir(parents=True)
    torch.save({"model_state": published_state("encoder")}, cwd / "saved_models" / "default" / "encoder.pt")
    wav, rate = soundfile.read(sorted((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))[0])
    soundfile.write(cwd / "voice.wav", np.stack([wav, wav * 0.5], axis=1), rate)  # stereo
    return cwd


def speaker_files(cwd: Path, speaker: Path) -> Iterator[Path]:
    return (cwd / "data" / "LibriSpeech" / "train-other-500" / speaker.name).rglob("*.flac")


def _own_recordings(speaker: Path, folder: Path) -> None:
    """A speaker of LibriSpeech's layout as somebody would lay out recordings of his own: a text beside each file."""
    folder.mkdir(parents=True)
    for transcript in speaker.rglob("*.trans.txt"):
        for name, text in (line.split(" ", 1) for line in transcript.read_text().splitlines()):
            shutil.copy(transcript.parent / f"{name}.flac", folder)
            (folder / f"{name}.txt").write_text(text)


@pytest.fixture(scope="module")
def trained(workplace) -> Path:
    """The workplace after every command of the README. Other tests start each script as a process."""
    torch.set_num_threads(1)
    for command in readme_commands():
        name, arguments, is_torchrun = parsed([word.replace("<datasets_root>", "data") for word in command])
        if is_torchrun:
            launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
            code, out, err = run_process([*launcher, str(ROOT / name), "two_ranks", *arguments[1:]], workplace)
        else:
            code, out, err = run_here(name, arguments, workplace)
        mumbles = name == "demo_cli.py" and code == 3  # as a model that is hardly trained does
        assert (code == 0 or mumbles) and "Traceback" not in err, f"{' '.join(command)}\n{out}\n{err}"
    return workplace


def parsed(words: list[str]) -> tuple[str, list[str], bool]:
    """Script or module, the arguments with those that make it end in seconds, and whether torchrun launches it."""
    is_torchrun = words[0] == "torchrun"
    at = next(i for i, word in enumerate(words) if word.endswith(".py") or (i and words[i - 1] == "-m"))
    name, arguments = words[at], words[at + 1 :]
    added = FOR_OTHER_WEIGHTS[name] if "--init_from" in words else ADDED[name]
    if name == "synthesizer_preprocess_embeds.py" and "-e" not in words:
        added = [*added, "-e", "saved_models/default/encoder.pt"]
    if name == "demo_cli.py" and "-e" not in words:
        added = [*added, *MODELS]
    if name == "demo_cli.py" and "--reference" not in words:
        added = [*added, "--reference", "voice.wav", "--text", "Hello there."]
    return name, [*arguments, *added], is_torchrun


def test_the_readme_names_every_script_in_order_and_then_the_rest():
    assert len(readme_commands()) == 15
    names = [next((word for word in command if word.endswith(".py")), "") for command in readme_commands()]
    scripts = sorted(path.name for path in ROOT.glob("*.py"))
    assert names[:8] == [*(name for name in scripts if not name.startswith("demo_")), "demo_cli.py"]


def test_every_stage_leaves_a_checkpoint_curves_pictures_and_sounds(trained):
    folder = trained / "saved_models" / "my_run"
    for stage in checkpoint.STAGES:
        assert checkpoint.load(folder / f"{stage}.pt", stage)["step"] == 4
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    measured = {(row["stage"], name) for row in rows if row["step"] == 4 for name in row}
    assert {("encoder", "eer"), ("synthesizer", "alignment_peak"), ("vocoder", "held_out_loss")} <= measured
    for pattern in (
        *("plots/encoder-embeddings-*.png", "plots/synthesizer-*.png", "mel-spectrograms/synthesizer-*.png"),
        *("wavs/synthesizer-*.wav", "mel-spectrograms/vocoder-*.png", "wavs/vocoder-*.wav"),
        *(f"tensorboard/{stage}/*" for stage in checkpoint.STAGES),
    ):
        assert list(folder.glob(pattern)), pattern
    assert checkpoint.load(trained / "saved_models" / "two_ranks" / "encoder.pt", "encoder")["step"] == 4


def test_manifests_and_files_agree(trained):
    root = trained / "data" / "SV2TTS"
    rows = [line.split("|") for line in (root / "synthesizer" / "train.txt").read_text().splitlines()]
    assert len(rows) > 20 and all(len(row) == 7 for row in rows[:-1]) and rows[-1][7:] == ["end"]
    for wav, mel, _, n_samples, n_frames, *_ in rows:
        assert np.load(root / "synthesizer" / "audio" / wav).shape == (int(n_samples),)
        assert np.load(root / "synthesizer" / "mels" / mel).shape == (int(n_frames), 80)
    aligned = [row for row in rows if (root / "vocoder" / "mels_gta" / row[1]).exists()]
    listed = (root / "vocoder" / "synthesized.txt").read_text().splitlines()
    assert len(aligned) == len(listed) > 20
    for _, mel, embed, _, n_frames, *_ in aligned:
        assert np.load(root / "vocoder" / "mels_gta" / mel).shape == (int(n_frames), 80)
        assert np.linalg.norm(np.load(root / "synthesizer" / "embeds" / embed)) == pytest.approx(1, abs=1e-3)


def test_the_demo_wrote_sound_of_plausible_length(trained):
    wav = audio.load(trained / "said.wav")
    assert 0.1 < len(wav) / 16000 < 60
    assert 1e-4 < np.abs(wav).max() <= 1 and np.isfinite(wav).all()


def test_the_demo_asks_until_its_input_ends_and_overwrites_nothing(trained, tmp_path):
    answers = f"{trained}/voice.wav\nOne.\n{trained}/nowhere.wav\nTwo.\n'{trained}/voice.wav'\nThree!\n"
    models = [word.replace("saved_models", str(trained / "saved_models")) for word in MODELS]
    (tmp_path / "demo_output_01.wav").write_text("precious")
    options = [*models, "--cpu", "--no_sound", "--griffin_lim"]
    code, out, err = run_process([str(ROOT / "demo_cli.py"), *options], tmp_path, answers)
    assert code == 0, err
    assert "nowhere.wav" in out and "real-time factor" in out
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == [f"demo_output_0{n}.wav" for n in (1, 2, 3)], out
    assert (tmp_path / "demo_output_01.wav").read_text() == "precious"


def test_a_seed_makes_the_demo_repeatable_and_paragraphs_follow_each_other(trained, tmp_path):
    """And the picture shows both, one after the other. What cannot be read is named."""
    (tmp_path / "text.txt").write_text("First paragraph.\n\n☃\n\nSecond one, naïve\ncafé.\n", encoding="utf-8")
    for name in ("a", "b"):
        options = ["--cpu", "--no_sound", "--seed", "3", "--text_file", f"{tmp_path}/text.txt", "--griffin_lim"]
        options += ["--picture", f"{tmp_path}/{name}.png", "--output", f"{tmp_path}/{name}.wav"]
        code, out, err = run_here("demo_cli.py", [*MODELS, "--reference", "voice.wav", *options], trained)
        assert code in (0, 3), err
        assert "Not read, as the model has no symbol and no words for it: ☃ in " in out
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    picture = matplotlib.image.imread(tmp_path / "a.png")
    assert min(picture.shape[:2]) > 500 and picture[..., :3].std() > 0.1


@pytest.mark.parametrize(
    "arguments,code,named",
    [
        (["--reference", "nowhere.wav", "--text", "Hi."], 1, "nowhere.wav"),
        (["--reference", "short.wav", "--text", "Hi."], 1, "short.wav"),
        (["--reference", "silence.wav", "--text", "Hi."], 1, "silence.wav"),
        (["--reference", "voice.wav", "--text", "^^^"], 1, "^^^"),
        (["--reference", "voice.wav", "--text_file", "nowhere.txt"], 1, "nowhere.txt"),
        (["--reference", "voice.wav"], 2, "--text"),
        (["--reference", "voice.wav", "--text", "Hi.", "--picture", "said.jpg"], 2, ".png"),
        (["--reference", "voice.wav", "--text", "Hi.", "--hparams", "targte=1"], 2, "target"),
        (["--reference", "voice.wav", "--text", "Hi.", "-v", "saved_models/my_run/encoder.pt"], 1, "encoder.pt"),
        (["--reference", "voice.wav", "--text", "Hi.", "-s", "other_mel.pt"], 1, "hop_length"),
    ],
)
def test_a_mistake_gives_one_line_and_an_exit_code(trained, arguments, code, named):
    soundfile.write(trained / "short.wav", np.ones(4000) * 0.1, 16000)
    soundfile.write(trained / "silence.wav", np.zeros(32000), 16000)
    if "other_mel.pt" in arguments:
        content = checkpoint.load(trained / "saved_models" / "my_run" / "synthesizer.pt", "synthesizer")
        content["mel"]["hop_length"] = 256
        checkpoint.save(trained / "other_mel.pt", content)
    found, _, told = run_here("demo_cli.py", [*MODELS, "--cpu", "--no_sound", *arguments], trained)
    assert found == code and named in told
    if code == 1:
        assert len([line for line in told.splitlines() if line.startswith("error: ")]) == 1
