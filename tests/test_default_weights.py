"""The default encoder: fetched once and verified, and its numbers when it is there."""

import hashlib
import os
import runpy
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from encoder import inference
from encoder.download import MEMBER, fetch
from tests import ROOT
from tests.encoder import plain_encoder
from utils.config import DEFAULT_MODELS
from utils.data import audio
from utils.data.paths import sha256
from utils.errors import UserError
from utils.models import checkpoint

WEIGHTS = ROOT / DEFAULT_MODELS / "encoder.pt"
UNREACHABLE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
}
UNREACHABLE |= {"PIP_NO_CACHE_DIR": "1"}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A wheel of the same name with other weights, in a folder that pip takes for its index; returns its requirement."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "resemblyzer-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, b"weights")
        archive.writestr("resemblyzer-0.1.4.dist-info/METADATA", "Metadata-Version: 2.1\nName: resemblyzer\nVersion: 0.1.4\n")
        archive.writestr("resemblyzer-0.1.4.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("resemblyzer-0.1.4.dist-info/RECORD", "")
    for name, value in (UNREACHABLE | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}).items():
        monkeypatch.setenv(name, value)
    return f"resemblyzer==0.1.4 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_weights_are_fetched_once_and_never_over_a_file(index, tmp_path):
    path = tmp_path / "models" / "encoder.pt"
    assert fetch(path, index) and path.read_bytes() == b"weights"
    path.write_bytes(b"of the user")
    assert not fetch(path, index) and path.read_bytes() == b"of the user"
    assert [each.name for each in path.parent.iterdir()] == ["encoder.pt"]


def test_another_file_of_that_name_is_not_taken(index, tmp_path):
    with pytest.raises(UserError, match=r"encoder.pt: was not fetched: .* another checksum .*make weights") as caught:
        fetch(tmp_path / "models" / "encoder.pt")
    assert "\n" not in str(caught.value) and not (tmp_path / "models").exists()


def test_without_an_index_installing_goes_on_and_the_reason_is_one_line(tmp_path):
    path = tmp_path / "encoder.pt"
    for goal, code in (("install", 0), ("weights", 2)):
        make = ["make", "--old-file=.venv/installed", f"PY={sys.executable}", f"WEIGHTS={path}", goal]
        done = subprocess.run(make, cwd=ROOT, env=os.environ | UNREACHABLE, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        errors = [line for line in done.stderr.splitlines() if not line.startswith("make")]
        assert len(errors) == 1 and errors[0].startswith(f"error: {path}: was not fetched: the package index was not reached")
        assert not path.exists()


@pytest.mark.parametrize("script", ["demo_cli.py", "synthesizer_preprocess_embeds.py"])
def test_scripts_say_how_to_get_the_default_encoder(script, tmp_path, monkeypatch, capsys):
    """In a copy without it; the demo's other models are not asked for before."""
    (tmp_path / "train.txt").write_text("audio-a.npy|mel-a.npy|embed-a.npy|16000|80|a\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("utils.config.DEFAULT_MODELS", tmp_path / "default")
    monkeypatch.setattr(sys, "argv", [script, *([str(tmp_path)] if "embeds" in script else []), "--cpu"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    errors = capsys.readouterr().err.splitlines()
    assert left.value.code == 1 and len(errors) == 1
    assert errors[0].startswith("error: default/encoder.pt: no such encoder checkpoint; `make weights` fetches it")


def test_the_notice_names_what_is_fetched():
    notice = (ROOT / "NOTICE").read_text()
    from encoder.download import REQUIREMENT

    assert REQUIREMENT.rpartition(":")[2] in notice and "Apache" in notice and "Resemblyzer 0.1.4" in notice


# ---- the file itself, where the package index was reached (make test asks for it)


@pytest.fixture(scope="module")
def weights():
    if not WEIGHTS.exists():
        pytest.skip("the default encoder is not there: `make weights` fetches it")
    if sha256(WEIGHTS) not in (ROOT / "NOTICE").read_text():
        pytest.skip("saved_models/default/encoder.pt is another encoder than the one that `make weights` fetches")
    return checkpoint.load(WEIGHTS, "encoder", published=True)


def test_the_default_encoder_gives_the_numbers_of_a_plain_implementation(weights, samples):
    """For speech shorter than a partial, of several, and for the SV2TTS speaker embedding of several utterances."""
    plain = plain_encoder.load(weights["model_state"])
    inference.load_model(WEIGHTS, "cpu", precision="fp32")
    wavs = [inference.preprocess_wav(path) for path in sorted((samples / "LibriSpeech").rglob("*.flac"))[:3]]
    wavs += [wavs[0][:10_000], wavs[1][:25_600], wavs[2][:33_000]]
    vectors = []
    for wav in wavs:
        n_padding = 16_000 * 2  # zeros past the wave are what a last partial sees there
        mel = audio.encoder_mel(np.pad(wav, (0, n_padding)))
        vectors.append(plain_encoder.embed_mel(plain, mel, len(wav)))
        np.testing.assert_allclose(inference.embed_utterance(wav), vectors[-1], atol=1e-5)
    np.testing.assert_allclose(inference.embed_batch(wavs), vectors, atol=1e-5)
    mean = np.mean(vectors, axis=0)
    np.testing.assert_allclose(inference.embed_speaker(wavs), mean / np.linalg.norm(mean), atol=1e-5)


def test_the_default_encoder_tells_the_voices_of_the_samples_apart(weights, preprocessed):
    from encoder.dataset import read_index
    from encoder.evaluate import choose_utterances, embed_utterances, verify

    index = read_index(preprocessed, 160)
    chosen = choose_utterances(index, range(len(index.names)), 8)
    embedder = inference.SpeakerEmbedder(WEIGHTS, "cpu")
    speakers = np.array([speaker for speaker, _ in chosen])
    result = verify(embed_utterances(embedder.model, index, chosen, 160), speakers)
    assert result.eer < 0.02 and result.same_cosine > result.different_cosine + 0.2
