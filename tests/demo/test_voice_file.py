"""Voices in files: what is saved is what is loaded, nothing else is, and voices blend."""

import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import soundfile
import torch

from demo import voice_file
from demo.voice_file import FORMAT, Voice, blend
from tests import ROOT
from tests.demo.demo_fakes import fake_cloner
from utils.data import decoding
from utils.errors import UserError

OURS, OTHER = "a" * 64, "b" * 64
EMBEDDER = types.SimpleNamespace(path=Path("encoder.pt"), embedding_size=4, digests=[OURS, "c" * 64])
HALF = np.full(4, 0.5, np.float32)
VOICE = Voice(HALF, 4.25, 12.5, "me.wav", OURS)
KNOWN = {"format": FORMAT, "encoder_sha256": OURS, "source": "me", "seconds": "3.5"}


def other(i: int, encoder: str = OURS) -> Voice:
    return Voice(np.eye(4, dtype=np.float32)[i], 4.0, 2.0, f"v{i}.wav", encoder)


def refused(path: Path, *said: str) -> None:
    with pytest.raises(UserError) as caught:
        voice_file.load(path, EMBEDDER)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and all(part in message for part in said), message


@pytest.mark.parametrize("pace", [None, 4.25])
def test_a_voice_comes_back_as_it_was_saved(tmp_path, pace):
    path = tmp_path / "me.voice"
    voice_file.save(path, VOICE._replace(pace=pace, source="my\nvoice \x1b[31m\udcff.wav"))
    voice = voice_file.load(path, EMBEDDER)
    assert np.array_equal(voice.embedding, HALF) and voice.embedding.dtype == np.float32
    assert voice[1:] == (pace, 12.5, "my voice [31m\\udcff.wav", OURS)
    assert path.stat().st_size < 2000 and [*tmp_path.iterdir()] == [path]


def test_the_voice_of_recordings_tells_its_length_and_what_it_was_made_of(samples):
    wav = np.full(32000, 0.1, np.float32)
    voice = fake_cloner().voice([wav, wav], "two.wav")
    assert voice.seconds == 4 and voice.source == "two.wav"


def test_a_voice_of_another_encoder_is_refused_by_name(tmp_path):
    path = tmp_path / "me.voice"
    voice_file.save(path, VOICE._replace(encoder=OTHER))
    refused(path, "me.wav", OTHER[:8], OURS[:8], "encoder.pt")
    voice_file.save(path, VOICE._replace(encoder="", embedding=np.ones(1, np.float32)))
    refused(path, "has 1 numbers, but encoder.pt makes 4")


def test_a_file_with_any_byte_changed_or_cut_anywhere_is_refused_or_still_a_voice(tmp_path):
    path = tmp_path / "me.voice"
    voice_file.save(path, VOICE)
    content = path.read_bytes()
    damaged = [content[:n] for n in range(len(content))]
    damaged += [content[:i] + bytes([content[i] ^ mask]) + content[i + 1 :] for i in range(len(content)) for mask in (1, 128)]
    n_refused = 0
    for each in damaged:
        path.write_bytes(each)
        try:
            voice = voice_file.load(path, EMBEDDER)
            assert voice.embedding.shape == (4,) and abs(np.linalg.norm(voice.embedding) - 1) < 0.02
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            n_refused += 1
    assert n_refused > 0.7 * len(damaged)


@pytest.mark.parametrize(
    ("arrays", "known"),
    [
        ({"embedding": HALF.astype(np.float64)}, KNOWN),
        ({"embedding": HALF[None]}, KNOWN),
        ({"embedding": 2 * HALF}, KNOWN),
        ({"embedding": np.zeros(0, np.float32)}, KNOWN),
        ({"embedding": np.full(4, np.nan, np.float32)}, KNOWN),
        ({"other": HALF}, KNOWN),
        ({"embedding": np.zeros(2**18, np.float32)}, KNOWN),
        *(({"embedding": HALF}, {key: value for key, value in KNOWN.items() if key != name}) for name in KNOWN),
        ({"embedding": HALF}, KNOWN | {"encoder_sha256": "../../etc"}),
        *(({"embedding": HALF}, KNOWN | {"seconds": bad}) for bad in ("long", "nan", "-1", "inf")),
        ({"embedding": HALF}, KNOWN | {"pace": "fast"}),
        ({"embedding": HALF}, KNOWN | {"format": "sv2tts-voice-2"}),
        ({"embedding": HALF}, None),
    ],
)
def test_a_safetensors_file_that_is_no_voice_is_refused(tmp_path, arrays, known):
    path = tmp_path / "me.voice"
    path.write_bytes(safetensors.numpy.save(arrays, known))
    refused(path, "is not a voice file, or is damaged (")


def test_other_files_are_refused(tmp_path):
    refused(tmp_path, "is a folder, not a voice")
    refused(tmp_path / "none.voice", "no such file")
    path = tmp_path / "me.voice"
    for content in (b"", b"hello", (2**63).to_bytes(8, "little") + b"{}", (900).to_bytes(8, "little") + b"[" * 900):
        path.write_bytes(content)
        refused(path, "is not a voice file, or is damaged (")
    torch.save({"embedding": torch.ones(4)}, path)
    refused(path, "is not a voice file, or is damaged (")
    with pytest.raises(UserError, match=r"me.txt: name a .voice file"):
        voice_file.save(tmp_path / "me.txt", VOICE)


def test_voices_blend_in_proportion_to_their_weights():
    first, second = other(0), other(1)
    assert np.allclose(blend([first, second], [2, 0]).embedding, first.embedding)
    assert blend([first, second], [2, 0])[1:] == (4.0, 2.0, "100% v0.wav", OURS)
    mixed = blend([first, second], [3, 1])
    assert np.allclose(mixed.embedding, np.array([3, 1, 0, 0]) / np.sqrt(10), atol=1e-6)
    assert mixed.seconds == 4 and mixed.source == "75% v0.wav + 25% v1.wav" and mixed.encoder == OURS
    assert blend([first, second._replace(pace=None)], [1, 1]).pace is None


@pytest.mark.parametrize(
    ("voices", "weights", "said"),
    [
        ([], [], "0 voices"),
        ([other(0)], [1, 2], "1 voices need as many weights, not 2"),
        ([other(0), other(1)], [0, 0], "must be 0 or more"),
        ([other(0), other(1)], [1, -1], "must be 0 or more"),
        ([other(0), other(1)], [1, float("nan")], "must be 0 or more"),
        ([other(0), other(1, OTHER)], [1, 1], f"different encoders cannot be blended ({OURS[:8]} and {OTHER[:8]})"),
        ([VOICE, VOICE._replace(embedding=-HALF)], [1, 1], "cancel each other out"),
    ],
)
def test_voices_that_cannot_be_blended_are_refused(voices, weights, said):
    with pytest.raises(UserError) as caught:
        blend(voices, weights)
    assert said in str(caught.value)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_the_weight_of_a_single_voice_is_checked_too(tmp_path, weight):
    voice_file.save(tmp_path / "me.voice", VOICE)
    with pytest.raises(UserError, match="must be 0 or more, and one of them more than 0"):
        voice_file.load_blend([(tmp_path / "me.voice", weight)], EMBEDDER)
    assert voice_file.load_blend([(tmp_path / "me.voice", 2.0)], EMBEDDER)[1:] == VOICE[1:]


def test_saving_a_voice_needs_no_loudspeaker(tmp_path, monkeypatch, capsys):
    """With a text, sound is played; the line that says that it cannot be is not for --save_voice alone."""
    monkeypatch.setattr("demo.cloner.Cloner.load", lambda *arguments: fake_cloner())
    monkeypatch.setattr("demo.cloner.reference", lambda path: (np.full(16000, 0.1, np.float32), []))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.chdir(tmp_path)
    for text in ((), ("--text", "Hi.")):
        monkeypatch.setattr(sys, "argv", ["demo_cli.py", "--reference", "me.wav", "--save_voice", "me.voice", *text])
        runpy.run_path(str(ROOT / "demo_cli.py"), run_name="__main__")
        assert ("No sound will be played" in capsys.readouterr().out) == bool(text)


def test_the_demo_saves_a_voice_and_speaks_with_it_and_with_blends(tmp_path, monkeypatch, capsys):
    soundfile.write(tmp_path / "me.wav", np.sign(np.sin(np.arange(16000) / 20)) * 0.2, 16000)
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    cloner = fake_cloner()
    cloner.embedder.digests = [OURS]
    spoken = []
    say = cloner.say
    cloner.say = lambda voice, *rest: spoken.append(voice) or say(voice, *rest)
    monkeypatch.setattr("demo.cloner.Cloner.load", lambda *arguments: cloner)
    voiced = lambda path: (decoding.read(path).wav, [])  # noqa: E731
    monkeypatch.setattr("demo.cloner.reference", voiced)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["demo_cli.py", *arguments, "--no_sound"])
        try:
            runpy.run_path(str(ROOT / "demo_cli.py"), run_name="__main__")
        except SystemExit as left:
            assert left.code
        return "".join(capsys.readouterr())

    voice_file.save(tmp_path / "b.voice", other(0))
    voice_file.save(tmp_path / "else.voice", other(1, OTHER))
    out = run("--reference", "bad.wav", "me.wav", "none.wav", "--save_voice", "me.voice")
    assert "left out: bad.wav: " in out and "left out: none.wav: no such file" in out and "Written: me.voice" in out
    saved = voice_file.load(tmp_path / "me.voice", EMBEDDER)
    assert saved.source == "me.wav" and np.array_equal(saved.embedding, HALF) and not spoken
    run("--voice", "me.voice", "--text", "Hi.", "--output", "a.wav")
    run("--voice", "me.voice:0.7", "--voice", "b.voice:0.3", "--text", "Hi.", "--output", "b.wav", "--save_voice", "c.voice")
    assert np.array_equal(spoken[0].embedding, HALF)
    expected = blend([saved, other(0)], [0.7, 0.3]).embedding
    assert np.array_equal(spoken[1].embedding, expected) and np.abs(expected - [0.79, 0.42, 0.42, 0.42]).max() < 0.1
    assert np.array_equal(voice_file.load(tmp_path / "c.voice", EMBEDDER).embedding, expected)
    assert "else.voice: this voice (v1.wav) is of encoder bbbbbbbb" in run("--voice", "else.voice", "--text", "Hi.")
    for arguments in (
        ("--voice", "me.voice"),
        ("--save_voice", "x.voice"),
        ("--voice", "a", "--reference", "b", "--text", "c"),
    ):
        assert "--reference or --voice need" in run(*arguments)
    assert "name a .voice file" in run("--reference", "me.wav", "--save_voice", "me.wav")
