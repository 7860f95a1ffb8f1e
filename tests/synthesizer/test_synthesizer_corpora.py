"""Synthesizer data of corpora other than LibriSpeech: texts with punctuation, word times, curating, continuing."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthesizer.corpus.transcript import onto_text, spoken
from synthesizer.preprocess import preprocess_audio
from tests import ROOT, layouts
from tests.layouts import TEXTS, write_audio, write_text
from utils import corpora
from utils.data.audio import load
from utils.data.paths import SynthesizerData
from utils.data.rows import Row, read_rows
from utils.data.tables import read_marked
from utils.errors import UserError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows_of(root: Path) -> dict[str, Row]:
    return {row.name: row for row in read_rows(SynthesizerData(root).manifest)}


def times_of(root: Path) -> dict[str, tuple[list[str], list[float]]]:
    lines = [line for _, line in read_marked(SynthesizerData(root).alignments, "")]
    columns = {line.split("|")[0].removeprefix("mel-").removesuffix(".npy"): line.split("|")[1:] for line in lines}
    return {name: (words.split(","), [float(end) for end in ends.split(",")]) for name, (words, ends) in columns.items()}


# ---- word times on a text


def a_sentence(rng: np.random.Generator) -> tuple[str, list[str], list[float], dict[str, float]]:
    """A text with punctuation, an aligner's words and ends for it, and the true end of each word of the text."""
    marks = ["", "", ",", ".", "!”", " —", "; …"]
    text, words, ends, truth, now = [], [], [], {}, 0.0
    for i in range(rng.integers(1, 12)):
        if rng.random() < 0.4:
            now += rng.choice([0.0, 0.3])
            words.append("")
            ends.append(now)
        parts = ["".join(rng.choice(list("abcé'"), rng.integers(1, 6))) + f"x{i}" for _ in range(1 + (rng.random() < 0.2))]
        for part in parts:
            now += rng.uniform(0.1, 0.5)
            words.append(part.upper().replace("É", rng.choice(["E", "É"])))
            ends.append(now)
        text.append(str(rng.choice(["", "“", "("])) + "-".join(parts).capitalize())
        truth[text[-1]] = now
        text[-1] += str(rng.choice(marks))
    return " ".join(text), words, ends, truth


def test_word_times_fit_the_text_as_it_is_written():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text, words, ends, truth = a_sentence(rng)
        new_words, new_ends = onto_text(text, words, ends)
        assert " ".join(word for word in new_words if word) == text
        got = [end for word, end in zip(new_words, new_ends, strict=True) if word]
        assert got == pytest.approx([*truth.values()])
        assert all(a <= b for a, b in itertools.pairwise(new_ends))
        silent = {round(end, 6) for word, end in zip(words, ends, strict=True) if not word}
        assert {round(end, 6) for word, end in zip(new_words, new_ends, strict=True) if not word} == silent
        for word in filter(None, new_words):
            assert spoken(word).strip("'") in text and "," not in spoken(word) and spoken(word)[-1] not in ".!”—;… "
        assert onto_text(text + " more", words, ends) is None and onto_text(text[: len(text) // 2], words, ends) is None


def test_words_split_in_another_way_share_the_time_by_their_letters():
    assert onto_text("A to-day.", ["A", "TO", "", "DAY"], [1, 2, 3, 6]) == (("A", "to-day."), (1, 6))
    assert onto_text("To day", ["", "TODAY", ""], [1, 6, 7]) == (("", "To", "day", ""), (1, 3, 6, 7))
    assert onto_text("A b", ["A", "", "", "B"], [1, 2, 3, 4]) == (("A", "", "b"), (1, 3, 4))
    assert onto_text("In 1815.", ["IN", "EIGHTEEN", "FIFTEEN"], [1, 2, 3]) is None
    assert onto_text("— !", [""], [1]) is None


# ---- through the script


def punctuated(samples: Path, root: Path, n_speakers: int = 2) -> list[str]:
    """<root>/own/manifest.tsv and alignment.txt of sample speech; a text per file: some words with a comma, a full stop."""
    lines, times, texts = [], [], []
    for speaker in corpora.find_speakers(samples, [layouts.LIBRISPEECH])[:n_speakers]:
        for utterance in corpora.list_utterances(speaker, texts=True, alignments=True).utterances:
            words = utterance.text.lower().split()
            text = " ".join(word + "," * (i % 3 == 2) for i, word in enumerate(words)).capitalize() + "."
            path = root / "own" / "clips" / speaker.name / utterance.path.name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(utterance.path, path)
            lines.append(f"{path.relative_to(root / 'own')}\t{speaker.name}\t1.5\t{text}\n")
            times.append(f'{path.stem} "{",".join(utterance.words)}" "{",".join(map(str, utterance.ends))}"\n')
            texts.append(text)
    write_text(root / "own/manifest.tsv", "".join(lines))
    write_text(root / "own/alignment.txt", "".join(times))
    return texts


def test_punctuated_text_is_kept_and_cut_with_its_words(samples, tmp_path):
    texts = punctuated(samples, tmp_path)
    path = tmp_path / "own/manifest.tsv"
    lines = path.read_text().splitlines()
    texts[3] = "Different words altogether."
    lines[3] = "\t".join([*lines[3].split("\t")[:3], texts[3]])
    write_text(path, "\n".join([*lines, "clips/gone.wav\ta\t1\tText."]))
    command = [sys.executable, "synthesizer_preprocess_audio.py", tmp_path, "-d", "own/manifest.tsv", "-n", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "SV2TTS/synthesizer"
    rows, times = rows_of(out), times_of(out)
    assert " ".join(row.text for row in rows.values()) == " ".join(texts)
    assert any(name.endswith("_01") for name in rows) and all(name.startswith("own_9000") for name in rows)
    (whole,) = rows.keys() - times.keys()
    assert rows[whole].text == texts[3]
    for name, (words, ends) in times.items():
        assert [word for word in words if word] == [word.strip(",.") for word in rows[name].text.split()]
        assert rows[name].n_samples / 16000 - 0.0126 <= ends[-1] <= rows[name].n_samples / 16000
    log = SynthesizerData(out).log.read_text()
    assert f"utterances written: {len(rows)}, of which with word times: {len(rows) - 1}" in log
    assert "text and timed words differ, used whole" in log and "clips/gone.wav: no such file" in log
    assert "skipped, unusable audio: 1" in log
    assert "own: 3 speakers, 17 files" in done.stdout and "Disk: about" in done.stdout

    done = subprocess.run([*command, "--subfolders", "x"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "-d stands for" in done.stderr


def test_every_corpus_with_texts_becomes_rows_of_its_own(samples, tmp_path):
    waves = layouts.sample_waves(samples, 3)
    names = [build(tmp_path / "in", waves) for build in layouts.WITH_TEXTS]
    preprocess_audio(tmp_path / "in", tmp_path / "out", names, n_processes=1)
    rows = [*rows_of(tmp_path / "out").values()]
    speakers = corpora.find_speakers(tmp_path / "in", names)
    assert len(rows) == 3 * (len(speakers) - 1) == len(list((tmp_path / "out/mels").iterdir()))  # p315 has no texts
    assert [row.text for row in rows] == TEXTS * (len(speakers) - 1)
    seconds = np.array([row.n_samples for row in rows]).reshape(-1, 3) / 16000
    assert (seconds <= 2.02).all() and (np.ptp(seconds, axis=0) < 0.25).all()  # the same speech, trimmed alike
    assert "skipped, without text: 3" in SynthesizerData(tmp_path / "out").log.read_text()


def test_what_does_not_fit_is_dropped_and_counted_by_reason(samples, tmp_path):
    (wav,) = layouts.sample_waves(samples, 1, seconds=3.0)
    texts = {
        "good": "He went away to see her there.",
        "slow": "Oh.",
        "fast": "word " * 30,
        "number": "1,234,567,890",
        "empty": "...",
    }
    for name, text in texts.items():
        write_text(write_audio(tmp_path / f"in/own/a/{name}.wav", wav).with_suffix(".txt"), text)
    write_text(write_audio(tmp_path / "in/own/a/brief.wav", wav[8000:12000]).with_suffix(".txt"), "Brief.")
    write_text(write_audio(tmp_path / "in/own/a/long.wav", np.tile(wav, 6)).with_suffix(".txt"), texts["good"] * 6)
    hparams = "min_mel_frames=60,min_chars_per_second=3,max_chars_per_second=25"
    preprocess_audio(tmp_path / "in", tmp_path / "out", ["own"], n_processes=1, hparams=hparams)
    log = SynthesizerData(tmp_path / "out").log.read_text()
    for reason in ("too few characters per second", "too many characters per second", "too short", "too long"):
        assert f"    skipped, {reason}: {1 + (reason == 'too many characters per second')}\n" in log
    assert "skipped, text without a readable letter: 1" in log
    assert "own_a--number_00: " in log  # many characters once it is read aloud
    assert [*rows_of(tmp_path / "out")] == ["own_a--good_00"]
    for wrong in ("min_mel_frames=901", "min_chars_per_second=30", "max_chars_per_second=nan"):
        with pytest.raises(UserError, match="must not be over|finite"):
            preprocess_audio(tmp_path / "in", tmp_path / "x", ["own"], hparams=wrong)


def test_texts_of_another_language_are_read_by_their_cleaner(samples, tmp_path):
    (wav,) = layouts.sample_waves(samples, 1)
    for name, text in {"1": "Это было вчера вечером.", "2": "1234567 1234567"}.items():
        write_text(write_audio(tmp_path / f"in/own/a/{name}.wav", wav).with_suffix(".txt"), text)
    for cleaner, names in {"english": ["1"], "basic": ["1", "2"]}.items():  # in English words, figures are too long to say
        preprocess_audio(tmp_path / "in", tmp_path / cleaner, ["own"], n_processes=1, hparams=f"cleaner={cleaner}")
        assert [*rows_of(tmp_path / cleaner)] == [f"own_a--{name}_00" for name in names]


def test_pauses_are_limited_with_and_without_word_times(samples, tmp_path):
    wav = load(next((samples / layouts.LIBRISPEECH).rglob("*.flac")))
    pause = np.zeros(24000, np.float32)
    n = len(wav) / 16000
    write_text(write_audio(tmp_path / "in/own/a/1.wav", np.concatenate([wav, pause, wav])).with_suffix(".txt"), "One, two.")
    hparams = "min_chars_per_second=0,max_mel_frames=2000"
    preprocess_audio(tmp_path / "in", tmp_path / "whole", ["own"], n_processes=1, hparams=hparams)
    (row,) = rows_of(tmp_path / "whole").values()
    assert row.n_samples / 16000 < 2 * n + 0.6
    write_text(tmp_path / "in/own/alignment.txt", f'a/1 "ONE,,TWO" "{n},{n + 1.5},{2 * n + 1.5}"\n')
    preprocess_audio(tmp_path / "in", tmp_path / "cut", ["own"], n_processes=1, hparams=hparams)
    assert [row.text for row in rows_of(tmp_path / "cut").values()] == ["One,", "two."]
    hparams += ",silence_min_duration_split=2"
    preprocess_audio(tmp_path / "in", tmp_path / "kept", ["own"], n_processes=1, hparams=hparams)
    (row,) = rows_of(tmp_path / "kept").values()
    assert row.text == "One, two." and row.n_samples / 16000 == pytest.approx(2 * n + 1.5, abs=0.02)


def test_word_times_that_come_later_are_used_and_leave_nothing_of_before(samples, tmp_path):
    punctuated(samples, tmp_path / "in")
    times = tmp_path / "in/own/alignment.txt"
    times.rename(tmp_path / "later")
    preprocess_audio(tmp_path / "in", tmp_path / "out", ["own/manifest.tsv"], n_processes=1)
    data = SynthesizerData(tmp_path / "out")
    assert not [*read_marked(data.alignments, "")]
    data.embeds_dir.mkdir(exist_ok=True)
    for name in rows_of(data.root):
        data.embed(name).touch()
    (tmp_path / "later").rename(times)
    preprocess_audio(tmp_path / "in", tmp_path / "out", ["own/manifest.tsv"], skip_existing=True, n_processes=1)
    preprocess_audio(tmp_path / "in", tmp_path / "anew", ["own/manifest.tsv"], n_processes=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew") and len(times_of(data.root)) > 16

    data.part("own_90001").unlink()  # as if interrupted before this speaker was finished
    data.manifest.unlink()
    preprocess_audio(tmp_path / "in", tmp_path / "out", ["own/manifest.tsv"], skip_existing=True, n_processes=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def test_speakers_that_would_be_mixed_up_are_refused(samples, tmp_path):
    waves = layouts.sample_waves(samples, 1)
    layouts.folder(tmp_path / "in", waves, "en")
    layouts.manifest(tmp_path / "in", waves, "en/manifest.txt")
    preprocess_audio(tmp_path / "in", tmp_path / "out", ["en"], n_processes=1)
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="was made of en/anna, and now en would go by the same name"):
        preprocess_audio(tmp_path / "in", tmp_path / "out", ["en/manifest.txt"], skip_existing=True)
    with pytest.raises(UserError, match="VoxCeleb1: has no transcripts"):
        preprocess_audio(tmp_path / "in", tmp_path / "x", [layouts.voxceleb1(tmp_path / "in", waves)])
    for subset in ("train-clean-100", "dev-clean"):
        shutil.copytree(samples / layouts.LIBRISPEECH / "90001", tmp_path / "in/LibriSpeech" / subset / "90001")
    with pytest.raises(UserError, match="files of both would have the same names"):
        preprocess_audio(tmp_path / "in", tmp_path / "x", ["LibriSpeech/train-clean-100", "LibriSpeech/dev-clean"])
    assert contents(tmp_path / "out") == before and not (tmp_path / "x").exists()
