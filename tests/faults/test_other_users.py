"""The seven scripts and the demo as another user: without a home, a name or a right to write where the sources are.

Root alone can take that user's place, so these tests are left out elsewhere.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import ROOT
from tests.test_pipeline import TINY_ENCODER, TINY_TACOTRON, TINY_TRAINING, TINY_WAVERNN

USER = "54321"  # nobody's
PLACES = {
    "plain": {"folder": "work", "LC_ALL": "C.UTF-8"},
    "no UTF-8": {"folder": "--шко ла %s%d\udcff", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "home that is not there": {"folder": "-x", "LC_ALL": "POSIX", "HOME": "/nonexistent"},
}
COMMANDS = [
    ["encoder_preprocess.py", "{root}", "-d", "LibriSpeech/train-clean-100", "-n", "2"],
    ["encoder_train.py", "run", "{root}/SV2TTS/encoder", *TINY_TRAINING, "--umap_every", "4", "--hparams", TINY_ENCODER],
    ["synthesizer_preprocess_audio.py", "{root}", "--subfolders", "train-clean-100", "-n", "2"],
    ["synthesizer_preprocess_embeds.py", "{root}/SV2TTS/synthesizer", "-e", "{models}/run/encoder.pt"],
    ["synthesizer_train.py", "run", "{root}/SV2TTS/synthesizer", *TINY_TRAINING, "--hparams", TINY_TACOTRON],
    ["vocoder_preprocess.py", "{root}", "-s", "{models}/run/synthesizer.pt", "--cpu"],
    ["vocoder_train.py", "run", "{root}", *TINY_TRAINING, "--generate_every", "4", "--hparams", TINY_WAVERNN],
    ["demo_cli.py", "-e", "{models}/run/encoder.pt", "-s", "{models}/run/synthesizer.pt", "-v", "{models}/run/vocoder.pt",
     "--reference", "{wav}", "--text", "Hi.", "--output", "{root}/said.wav", "--picture", "{root}/said.png", "--no_sound",
     "--hparams", "retries=0"],
]  # fmt: skip
# The interpreter may be in root's home, which others may not enter: there it is alone, in a home of its own.
ENTER = """
set -e
mkdir -p {tmp}/python && mount --bind {python} {tmp}/python
if ! setpriv --reuid {user} --regid {user} --clear-groups test -x {python}/bin; then
    mount -t tmpfs -o mode=755 none /root && mkdir -p {python} && mount --bind {tmp}/python {python}
fi
mount --bind {sources} {sources} && mount -o remount,ro,bind {sources}
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs -- "$@"
"""


def as_other_user(command: list[bytes | str], tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    python = Path(sys.executable).resolve().parent.parent
    names = {"tmp": tmp_path, "python": python, "sources": ROOT, "user": USER}
    script = ENTER.format(**{name: shlex.quote(str(value)) for name, value in names.items()})
    entered = ["unshare", "-m", "bash", "-c", script, "bash", *command]
    return subprocess.run(entered, cwd=ROOT, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=600)


@pytest.fixture
def place(request, samples, tmp_path):
    """A folder that is the other user's, with the samples in it."""
    if os.name != "posix" or os.getuid() or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("only root can take another user's place")
    if as_other_user(["true"], tmp_path, dict(os.environ)).returncode:
        pytest.skip("may not mount")
    with tempfile.TemporaryDirectory() as top:  # pytest's own folder may be entered by its owner alone
        Path(top).chmod(0o755)
        folder = Path(top) / PLACES[request.param]["folder"]
        fill(folder, samples)
        yield folder


def fill(folder, samples):
    shutil.copytree(samples / "LibriSpeech", folder / "LibriSpeech")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, int(USER), int(USER))


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.parametrize(("place", "name"), [(name, name) for name in PLACES], indirect=["place"])
def test_everything_runs_as_a_user_without_home_and_name(place, name, tmp_path):
    environment = {key: value for key, value in PLACES[name].items() if key != "folder"}
    environment |= {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    wav = min((ROOT / "samples" / "LibriSpeech" / "test-clean").rglob("*.flac"))
    paths = {"root": place, "models": place / "models", "wav": wav}
    for script, *arguments in COMMANDS:
        command = [sys.executable, script, *(each.format(**paths) for each in arguments)]
        if script.endswith("_train.py"):
            command += ["-m", str(place / "models")]
        done = as_other_user([os.fsencode(each) for each in command], tmp_path, environment)
        printed = done.stderr.decode(errors="replace")
        assert done.returncode in ((0, 3) if script == "demo_cli.py" else (0,)), f"{script}\n{done.stdout.decode()}\n{printed}"
        assert "Traceback" not in printed
    assert (place / "said.wav").stat().st_uid == int(USER) and (place / "said.png").is_file()
    # In the sources nothing can be written: one line, by name.
    done = as_other_user([sys.executable, "encoder_train.py", "run", "nowhere"], tmp_path, environment)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith(b"error: ")
