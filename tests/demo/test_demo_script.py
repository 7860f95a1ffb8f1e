"""demo_cli.py as a process, with models that answer at once (tests/demo/demo_fakes.py)."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from demo.config import CloningSettings
from tests import ROOT
from tests.demo.demo_fakes import tones

DEMO = [sys.executable, "-m", "tests.demo.demo_fakes"]
SECONDS = 100  # to wait for what must come, on a busy machine
SENTENCE = "A sentence of the text. "


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder away from the repository, with recordings."""
    buzz = np.sign(np.sin(np.arange(16000) / 20)) * 0.2 * np.abs(np.sin(np.arange(16000) / 900))
    for name in ("a.wav", "b c.wav"):
        soundfile.write(tmp_path / name, buzz, 16000)
    return tmp_path


def environment(**fake: str) -> dict[str, str]:
    usual = {name: value for name, value in os.environ.items() if not name.startswith("FAKE_")}
    return usual | fake | {"PYTHONPATH": os.pathsep.join(filter(None, (fake.get("PYTHONPATH"), str(ROOT))))}


def test_a_text_with_missed_words_is_written_and_ends_with_status_3(place):
    (place / "text.txt").write_text("\ufeffThis is\na wrapped sentence.\n\n\nThe second paragraph.\n", encoding="utf-8")
    command = [*DEMO, "--reference", "a.wav", "b c.wav", "--text_file", "text.txt", "--verbose", "--output", "said.wav"]
    done = subprocess.run(command, cwd=place, env=environment(FAKE_MISSED="wrapped"), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Not said, or not said once: wrapped\n" in done.stdout and "Written: said.wav\n" in done.stdout
    assert "Read as: This is a wrapped sentence.\nRead as: The second paragraph.\n" in done.stdout
    assert done.stdout.count("No sound will be played") <= 1
    wav, _ = soundfile.read(place / "said.wav")
    first, second = tones(wav)
    assert (second[0] - first[1]) / 16000 == pytest.approx(0.7, abs=0.002)


def test_ctrl_c_writes_what_has_been_said_so_far(place):
    command = [*DEMO, "--reference", "a.wav", "--text", SENTENCE * 500, "--output", "said.wav", "--no_sound"]
    fake = environment(FAKE_SECONDS="0.05")
    process = subprocess.Popen(command, cwd=place, env=fake, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + SECONDS
    while not any(path.stat().st_size > 200_000 for path in place.glob(".said.wav*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and err.splitlines()[-1] == "interrupted"
    assert "Stopped by Ctrl-C. Written so far: said.wav\n" in out
    wav, rate = soundfile.read(place / "said.wav")
    lengths = [end - start for start, end, _ in tones(wav)]
    assert rate == 16000 and 2 < len(lengths) < 500 and max(lengths) - min(lengths) < 200  # whole pieces
    assert sorted(path.name for path in place.iterdir()) == ["a.wav", "b c.wav", "said.wav"]


def test_a_reference_is_refused_before_the_models_are_loaded(place):
    """The real script, with models that do not exist."""
    models = ["-e", "no.pt", "-s", "no.pt", "-v", "no.pt"]
    command = [sys.executable, str(ROOT / "demo_cli.py"), *models, "--reference", "no.wav", "--text", "Hi there."]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "error: no.wav: no such file\n" and not done.stdout


@pytest.mark.parametrize("here", [True, False])
def test_the_default_models_lie_beside_the_script(here, tmp_path):
    """And they are named in short where that is possible."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "demo_cli.py"), "-h"],
        cwd=ROOT if here else tmp_path,
        env=os.environ | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
    )
    folder = "saved_models/default" if here else f"{ROOT}/saved_models/default"
    assert f"(default: {folder})" in done.stdout


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_blank_text_is_refused_at_once(text, place):
    """The real script, with models that do not exist."""
    command = [sys.executable, str(ROOT / "demo_cli.py"), "--models", "no", "--reference", "a.wav", "--text", text]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith("error: argument --text: is blank")


@pytest.mark.parametrize("speed", ["0.79", "1.26", "nan", "fast"])
def test_a_speed_out_of_range_is_an_error_of_usage(speed):
    command = [sys.executable, str(ROOT / "demo_cli.py"), "--reference", "a.wav", "--text", "Hi.", "--speed", speed]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "argument --speed: " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("value", ["loudness=3", "tail=-1", "target=0"])
def test_impossible_settings_are_refused(value):
    name, _, number = value.partition("=")
    with pytest.raises(ValueError, match=name):
        CloningSettings(**{name: float(number)})


# ---- the conversation


class Terminal:
    """A process on a terminal."""

    def __init__(self, command: list[str], **options) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))  # lines and columns
        self._process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, **options)
        os.close(slave)
        self._come = ""  # and not asked for yet

    def until(self, text: str) -> str:
        """What comes, up to this text."""
        deadline = time.monotonic() + SECONDS
        while text not in self._come:
            assert time.monotonic() < deadline, f"{text!r} did not come, but {self._come!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self._come += os.read(self._master, 4096).decode(errors="replace")
                except OSError:  # the process has left
                    raise AssertionError(f"{text!r} did not come, but {self._come!r}") from None
        before, _, self._come = self._come.partition(text)
        return before + text

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def status(self) -> int:
        """The exit status, when it has left."""
        return self._process.wait(SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def test_a_conversation(place):
    terminal = Terminal([*DEMO, "--no_sound"], cwd=place, env=environment(FAKE_SECONDS="0.2") | {"TERM": "xterm"})
    voice, text = "clone (", "What to say: "
    try:
        terminal.until(voice)
        terminal.type("?\r")
        assert "plays the last file again" in terminal.until(voice)
        terminal.type("no.wav\r")
        assert "error: no.wav: no such file" in terminal.until(voice)  # and the sentence was not asked for
        terminal.type("p\r")
        assert "Nothing has been said yet." in terminal.until(voice)
        terminal.type("a.wav no.wav 'b c.wav'\r")
        assert "left out: no.wav: no such file" in terminal.until(text)
        terminal.type("Some wods.\x1b[D\x1b[D\x1b[Dr\r")  # the arrow to the left, three times
        assert "Written: demo_output_01.wav" in terminal.until("Enter keeps a.wav 'b c.wav')")
        terminal.type("\r")
        terminal.until(text)
        terminal.type("\x1b[A\r")  # the arrow up
        terminal.until("Some words.")
        terminal.until("Written: demo_output_02.wav")
        terminal.until(voice)
        terminal.type("\r")
        terminal.until(text)
        terminal.type(f"{SENTENCE * 100}\r")
        terminal.until("% said")
        terminal.until("1 of 100")
        terminal.interrupt()
        assert "Stopped by Ctrl-C. Written so far: demo_output_03.wav" in terminal.until(voice)
        terminal.type("\r")
        terminal.until(text)
        terminal.type("\x1b[200~A pasted\nsentence.\n\nA second paragraph.\n\x1b[201~\r")
        terminal.until("Written: demo_output_04.wav")
        terminal.until(voice)
        terminal.type("wrong.w")
        terminal.until("wrong.w")
        time.sleep(0.5)
        terminal.interrupt()
        assert "Ctrl-C again leaves." in terminal.until(voice)
        terminal.type("?\r")  # of an empty line
        assert "while you type: drops the line" in terminal.until(voice)
        terminal.type("\x04")
        assert terminal.status() == 0
    finally:
        terminal.close()
    waves = [soundfile.read(place / f"demo_output_0{n}.wav")[0] for n in (1, 2, 3, 4)]
    assert len(waves[0]) == len(waves[1]) and 0 < len(tones(waves[2])) < 20
    first, second = tones(waves[3])
    assert (second[0] - first[1]) / 16000 == pytest.approx(0.7, abs=0.002)


def test_ctrl_c_twice_leaves_the_conversation(place):
    terminal = Terminal([*DEMO, "--no_sound"], cwd=place, env=environment() | {"TERM": "xterm"})
    try:
        for ending in ("Ctrl-C again leaves.", "interrupted"):
            terminal.until("files): ")
            terminal.type("q")
            terminal.until("q")
            time.sleep(0.5)  # a signal between the letter and readline's next wait would be seen at the next Enter alone
            terminal.interrupt()
            assert "Traceback" not in terminal.until(ending)
        assert terminal.status() == 130
    finally:
        terminal.close()


def test_lines_of_a_pipe_are_voices_and_texts_in_turn(place):
    (place / "sounddevice.py").write_text(
        "class OutputStream:\n"
        "    def __init__(self, **options): self.n = 0\n"
        "    def write(self, block): self.n += len(block)\n"
        "    def start(self): pass\n"
        "    def stop(self): print('played', self.n)\n"
        "    def close(self): pass\n"
    )
    answers = "'a.wav'\n\nOne sentence.\n'unbalanced\nb\\ c.wav\nAnother sentence.\np\n\n^^^\n"
    done = subprocess.run(
        DEMO, cwd=place, env=environment(PYTHONPATH=str(place)), input=answers, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "error: 'unbalanced: no such file" in done.stdout and "error: nothing to read in the text '^^^'" in done.stdout
    lengths = [int(length) for length in re.findall(r"played (\d+)", done.stdout)]
    wav, _ = soundfile.read(place / "demo_output_02.wav")
    assert len(lengths) == 3 and lengths[0] < lengths[1] < lengths[2] == len(wav)
