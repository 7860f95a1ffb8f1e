"""Any recording is read whatever its name, or refused in one line; none takes memory that only its header asks for."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from tests import ROOT
from tests.recordings import BAD, CUT, DAMAGED, FLAC, GOOD, MP3, flac_samples, patched, read_folder, with_ffmpeg
from utils.data import audio, containers, decoding, ffmpeg
from utils.data.parallel import run_tasks
from utils.data.quality import Tally


@pytest.fixture(scope="module")
def speech(samples) -> np.ndarray:
    return audio.load(min((samples / "LibriSpeech" / "test-clean").rglob("*.flac")))[8000:40000]


@pytest.mark.parametrize("kind", GOOD)
def test_every_format_is_read_whatever_its_name(kind, speech, tmp_path):
    write, suffix = GOOD[kind]
    waves = []
    for name in (f"right{suffix}", "wrong.wav", "wrong.flac", "wrong.raw", "none"):
        if not waves:
            write(tmp_path / name, speech)
            content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        wav, notes = decoding.read(tmp_path / name)
        waves.append(wav)
        assert not notes
    assert all(np.array_equal(wav, waves[0]) for wav in waves)
    n = len(speech) * (2 if "chained" in kind or "joined" in kind else 1)
    assert abs(len(waves[0]) - n) < 3000  # codecs come in whole blocks
    cepstra = [np.log(audio.encoder_mel(wav[:30000]) + 1e-6)[:, :12] for wav in (speech, *waves[:1])]
    starts = [np.corrcoef(cepstra[0][10:150].ravel(), cepstra[1][10 + i : 150 + i].ravel())[0, 1] for i in range(-10, 12)]
    assert max(starts) > 0.85


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_what_is_not_a_recording_is_refused_in_one_line(kind, name, speech, tmp_path):
    write, told = BAD[kind]
    write(tmp_path / "made.wav", speech)
    path = (tmp_path / "made.wav").rename(tmp_path / name)
    with pytest.raises(decoding.AudioError, match=told) as caught:
        audio.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", CUT)
def test_what_was_cut_short_is_used_as_far_as_it_goes_and_told(kind, speech, tmp_path):
    patched(GOOD[kind][0], lambda content: bytes(content[: len(content) * 2 // 3]))(tmp_path / "a", np.tile(speech, 5))
    wav, notes = decoding.read(tmp_path / "a")
    assert 0.5 < len(wav) / len(speech) / 5 < 0.8 and [note.partition(":")[0] for note in notes] == [containers.CUT]


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_in_its_middle_is_told_and_counted(kind, speech, tmp_path):
    write, told = DAMAGED[kind]
    write(tmp_path / "a", np.tile(speech, 6))
    wav, notes = decoding.read(tmp_path / "a")
    assert len(wav) > 3 * len(speech) and len(notes) == 1 and notes[0].startswith(told)
    (tally := Tally()).add("a", decoding.Recording(wav, notes))
    assert tally.notes()[0] == (told.partition(":")[0], "1 of 1 recordings, e.g. a")


def test_an_mp3_whose_reading_stops_early_is_told(speech, tmp_path):
    MP3(tmp_path / "a.mp3", speech)
    assert containers.shortfall(tmp_path / "a.mp3", 2.0) == ""
    assert containers.shortfall(tmp_path / "a.mp3", 1.0).startswith("is damaged in its middle: 1.0 of 2.")


def test_decoders_write_nothing_to_the_terminal(speech, tmp_path, capfd):
    patched(MP3, lambda content: content[:2000] + bytes(900) + content[2900:])(tmp_path / "a.mp3", speech)
    assert len(audio.load(tmp_path / "a.mp3")) and not "".join(capfd.readouterr())


def test_a_recording_is_read_up_to_a_limit(speech, tmp_path):
    for suffix, write in ((".flac", FLAC), (".m4a", with_ffmpeg("aac", "mp4"))):
        write(path := tmp_path / f"a{suffix}", speech)
        wav, notes = decoding.read(path, max_seconds=1.5, cut=True)
        assert len(wav) == 24000 and notes == ["only its first 0.025 minutes are used"]
        with pytest.raises(decoding.AudioError, match=f"a{suffix}: is longer than 1.5 s; .*--max_seconds"):
            audio.load(path, max_seconds=1.5)
        assert len(audio.load(path)) >= len(speech)


def test_memory_is_bounded_whatever_a_header_declares(speech, tmp_path):
    """In a process that may not take more than little beyond what it has."""
    patched(FLAC, flac_samples(2**36 - 1))(tmp_path / "a.flac", speech)
    GOOD["mp3 with a huge count"][0](tmp_path / "a.mp3", speech)
    program = f"""
import resource
from pathlib import Path
from utils.data import audio
paths = sorted(Path({str(tmp_path)!r}).iterdir())
def tried():
    for path in paths:
        try:
            print(path.name, len(audio.load(path)))
        except audio.AudioError as error:
            print(error)
tried()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 32_000_000,) * 2)
tried()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[:2] == lines[2:] and lines[0] == "a.flac 32000" and lines[1].startswith("a.mp3 3")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_decoder_that_crashes_costs_its_file_alone(name, speech, tmp_path, monkeypatch):
    with_ffmpeg("aac", "mp4")(tmp_path / "a.m4a", speech)
    crash = f"import os; os.kill(os.getpid(), {int(getattr(signal, name))})"
    with monkeypatch.context() as patch:
        patch.setattr(ffmpeg, "_decoder", ffmpeg._Decoder())
        patch.setattr(ffmpeg, "START", f"import sys; sys.stdin.readline(); {crash}")
        with pytest.raises(decoding.AudioError, match=rf"a.m4a: .*decoder crashed \({name}\)"):
            audio.load(tmp_path / "a.m4a")
    assert len(audio.load(tmp_path / "a.m4a")) > 30000


def test_without_ffmpeg_it_is_said_how_to_get_it(speech, tmp_path, monkeypatch):
    with_ffmpeg("aac", "mp4")(tmp_path / "a.m4a", speech)
    monkeypatch.setattr(ffmpeg, "_decoder", ffmpeg._Decoder())
    monkeypatch.setattr(ffmpeg, "START", f"import sys; sys.modules['av'] = None; {ffmpeg.START}")
    with pytest.raises(decoding.AudioError, match=r"a.m4a: .*pip install av"):
        audio.load(tmp_path / "a.m4a")


def test_a_worker_that_dies_is_replaced_and_its_file_left_out(speech, tmp_path):
    for name in ("a/1.wav", "a/2 crash.wav", "a/3.wav", "b/1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        audio.write_wav(tmp_path / name, speech)
    one, other = run_tasks(read_folder, [tmp_path / "a", tmp_path / "b"], 2, "Folders")
    assert one[1].startswith(f"{tmp_path}/a/2 crash.wav: ended the process")
    assert one[::2] == ["1.wav 32000", "3.wav 32000"] and other == ["1.wav 32000"]
