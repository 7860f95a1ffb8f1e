"""Texts and word times for recordings without any: from what a recognizer hears to rows of train.txt."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from synthesizer import transcribe as transcribe_module
from synthesizer.preprocess import preprocess_audio
from synthesizer.transcribe import Word, timed, transcribe
from tests import ROOT, layouts
from utils import corpora
from utils.corpora.alignments import parse_alignment
from utils.data import audio
from utils.data.paths import SynthesizerData
from utils.data.rows import read_rows
from utils.errors import UserError

PAUSE = 0.8  # s between utterances


@pytest.fixture
def talk(samples):
    """A recording of three utterances with pauses between them, and its words as Whisper hears them: with the ends of pauses in
    the words, and the ends of words in the pauses."""
    (speaker, *_) = corpora.find_speakers(samples, [layouts.LIBRISPEECH])
    waves, words, now = [], [], 0.0
    for utterance in corpora.list_utterances(speaker, texts=True, alignments=True).utterances[:3]:
        wav = audio.load(utterance.path)
        starts = (0.0, *utterance.ends)
        times = [
            (w.lower(), now + start, now + end)
            for w, start, end in zip(utterance.words, starts, utterance.ends, strict=False)
            if w
        ]
        times[0] = (times[0][0].capitalize(), max(0.0, times[0][1] - 0.3), times[0][2])
        times[-1] = (times[-1][0] + ".", times[-1][1], times[-1][2] - 0.1)
        words += [Word(*each) for each in times]
        waves += [wav, np.zeros(round(PAUSE * 16000), np.float32)]
        now += len(wav) / 16000 + PAUSE
    return np.concatenate(waves), words


def test_a_long_recording_becomes_utterances_cut_at_its_pauses(talk, tmp_path, capsys):
    wav, words = talk
    folder = tmp_path / "in/me"
    folder.mkdir(parents=True)
    soundfile.write(folder / "talk.flac", wav, 16000)
    (folder / "bad.wav").write_bytes(b"RIFF, and nothing else")
    soundfile.write(folder / "quiet.wav", wav[:800], 16000)
    heard = []

    def hear(wave):
        heard.append(len(wave))
        return words if len(wave) > 800 else []

    transcribe(tmp_path / "in", hear)
    out = capsys.readouterr().out
    assert "1 recordings" in out and "2 recordings were skipped" in out and "bad.wav" in out and "quiet.wav: no speech" in out
    assert (folder / "talk.txt").read_text() == " ".join(word.text for word in words) + "\n"
    before = (tmp_path / "in/alignment.txt").read_text()
    transcribe(tmp_path / "in", hear)  # goes on with what has no text
    assert heard.count(len(wav)) == 1 and (tmp_path / "in/alignment.txt").read_text() == before

    preprocess_audio(tmp_path, tmp_path / "out", ["in"], n_processes=1, hparams="silence_min_duration_split=0.5")
    rows = read_rows(SynthesizerData(tmp_path / "out").manifest)
    texts = " ".join(word.text for word in words).replace(". ", ".|").split("|")
    assert [row.text for row in rows] == texts
    for row in rows:  # no piece is cut while there is speech
        stored = audio.from_int16(np.load(tmp_path / "out/audio" / row.audio))[:-200]
        assert max(np.abs(stored[:160]).max(), np.abs(stored[-160:]).max()) < 0.1 * np.abs(stored).max()


def test_each_recording_adds_a_line_and_nothing_is_lost_where_it_is_killed(samples, tmp_path, monkeypatch):
    recordings = sorted((samples / "LibriSpeech").rglob("*.flac"))[:4]
    names = [Path(shutil.copy(path, tmp_path)).stem for path in recordings]
    path, whole, n_heard = tmp_path / "alignment.txt", [], 0
    path.write_text(f'else "A" "1.0"\n{names[0]} "OLD" "9.0"')  # by hand: an old line, and no end of the last
    save = transcribe_module.save_text
    monkeypatch.setattr(transcribe_module, "save_text", lambda to, text: whole.append(to.name) or save(to, text))

    def hear(wave):
        nonlocal n_heard
        if (n_heard := n_heard + 1) == 4:
            with path.open("a") as file:
                file.write(f'{names[3]} "HEL')  # killed while it wrote
            raise KeyboardInterrupt
        return [Word("Hello.", 0.5, 1.0)]

    with pytest.raises(KeyboardInterrupt):
        transcribe(tmp_path, hear)
    assert whole == ["alignment.txt", *(f"{name}.txt" for name in names[:3])]  # written anew once, then added to
    transcribe(tmp_path, hear)
    lines = [parse_alignment(line) for line in path.read_text().splitlines()]
    assert [name for name, *_ in lines] == ["else", *names] and [words for _, words, _ in lines[1:]] == [("", "Hello", "")] * 4
    assert all(path.with_name(f"{name}.txt").read_text() == "Hello.\n" for name in names)


def test_times_rise_and_end_with_the_recording_whatever_is_heard():
    rng = np.random.default_rng(0)
    wav = rng.normal(0, 0.1, 32000).astype(np.float32) * np.repeat(rng.integers(0, 2, 20), 1600)
    for _ in range(200):
        times = rng.uniform(-0.1, 2.2, (rng.integers(1, 8), 2))
        words = [Word(str(rng.choice(["one,", '"two', "3", "—", "é"])), *map(float, pair)) for pair in times]
        bare, ends = timed(words, wav)
        assert len(bare) == len(ends) and ends == sorted(ends) and ends[0] >= 0 and ends[-1] <= 2.0
        assert [word for word in bare if word] == [w.text.strip('",') for w in words if w.text != "—"]


def test_what_is_missing_is_said_in_one_line(tmp_path):
    for folder, problem in ((tmp_path / "gone", "no such folder"), (tmp_path, "faster-whisper is not installed")):
        command = [
            sys.executable,
            "-c",
            "import sys; sys.modules['faster_whisper'] = None\n"
            "from synthesizer import transcribe\nfrom utils import cli\ncli.run(transcribe.main)",
            str(folder),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and problem in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(UserError, match="no audio file in it"):
        transcribe(tmp_path, lambda wav: [])


def test_nothing_is_written_behind_a_link_that_leads_out(samples, tmp_path, capsys):
    """A corpus from a stranger may hold one."""
    (recording,) = sorted((samples / "LibriSpeech").rglob("*.flac"))[:1]
    for name in ("mine", "corpus/anna"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(recording, tmp_path / name)
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "mine")
    transcribe(tmp_path / "corpus", lambda wave: [Word("Hello.", 0.5, 1.0)])
    assert "link/" in capsys.readouterr().out
    assert len([*tmp_path.glob("corpus/anna/*.txt")]) == 1 and not [*tmp_path.glob("mine/*.txt")]
