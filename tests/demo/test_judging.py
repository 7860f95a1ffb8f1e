"""demo.evaluate: words, faults, figures and their intervals, what is written, continuing, comparing; and benchmarks.judged."""

import argparse
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch

from benchmarks import judged
from demo import evaluate
from demo.judging import judges, results, studio
from demo.judging.judges import Judge, Options, Voice
from demo.judging.page import badness
from demo.judging.results import Utterance, interval
from demo.judging.studio import faults, longest_gap
from demo.judging.words import differences, errors, words
from demo.spoken import Spoken
from tests import ROOT
from tests.published_state import published_state
from tests.vocoder_data import TINY, write_synthesizer, write_vocoder
from utils.errors import UserError
from vocoder.model import WaveRNN, WaveRNNConfig

TEXT = "a sentence of some words."

# ---- faults


def spoken(wav: np.ndarray, unfinished: tuple[int, ...] = (), missed: tuple[str, ...] = ()) -> Spoken:
    return Spoken(wav, 16000, [TEXT], [np.zeros((80, 4))], [np.ones((1, 1))], list(unfinished), 200, [0.0], 1.0, list(missed))


SOUND = np.ones(16000, np.float32)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (spoken(SOUND), []),
        (spoken(SOUND, unfinished=(0,)), ["stop"]),
        (spoken(SOUND, missed=("some",)), ["words"]),
        (spoken(np.repeat(np.float32([1, 0, 1]), [8000, 24000, 8000]), (0,), ("some",)), ["stop", "words", "gap"]),
        (spoken(np.repeat(np.float32([1, 0.001, 1]), [8000, 24000, 8000])), ["gap"]),
        (spoken(np.repeat(np.float32([0, 1, 0, 1, 0]), [20000, 8000, 9000, 8000, 20000])), []),
    ],
)
def test_faults(said, found):
    assert faults(said) == found


@pytest.mark.parametrize("seconds", [0.1, 0.5, 0.75, 2])
def test_a_gap_is_as_long_as_the_silence(seconds):
    noise = np.random.default_rng(0).normal(0, 0.1, 48000)
    silence = np.zeros(int(16000 * seconds))
    wav = np.concatenate([silence, silence, noise, silence, noise, silence, silence]).astype(np.float32)
    assert longest_gap(wav, 16000) == pytest.approx(seconds, abs=0.021)
    assert longest_gap(wav[: len(silence) * 2 + len(noise)], 16000) == 0


def test_recordings_of_people_have_no_gap(samples):
    for path in sorted(samples.rglob("*.flac"))[:20]:
        wav, rate = soundfile.read(path, dtype="float32")
        assert longest_gap(wav, rate) < 0.6


# ---- words


@pytest.mark.parametrize(
    ("text", "heard", "n_errors"),
    [
        ("Stop!", "stop", 0),
        ("Mr. Smith paid $5 in the light house.", "mister smith paid five dollars in the lighthouse", 0),
        ("The harbour’s grey.", "the harbour's gray", 0),
        ("one two three", "one three", 1),
        ("one two three", "one two two three", 1),
        ("one two three", "one too three", 1),
        ("one two three", "", 3),
        ("one", "two three four", 3),
    ],
)
def test_word_errors(text, heard, n_errors):
    found = errors(text, heard)
    assert found["word_errors"] == n_errors and found["n_words"] == len(words(text))
    assert (found["char_errors"] == 0) == (n_errors == 0)


def test_characters_count_without_spaces():
    assert errors("a cat", "a bat") == {"word_errors": 1, "n_words": 2, "char_errors": 1, "n_chars": 4}
    assert errors("Größe, 25", "grösse 25", "de")["word_errors"] == 0


def test_differences_are_in_order():
    found = list(differences("one two three four", "one too three"))
    assert found == [("heard", "one"), ("missed", "two"), ("added", "too"), ("heard", "three"), ("missed", "four")]


# ---- figures and intervals


def utterance(name: str, **values) -> Utterance:
    known = {"took": 1.0, "word_errors": 0, "n_words": 2, "char_errors": 0, "n_chars": 8, "sim": 0.5, "distill_mos": 3.5}
    return Utterance("speech", "ann", name, f"speech/ann/{name}.wav", "one two", 2.0, **known | values)


UTTERANCES = [
    utterance("a", word_errors=1, faults=("gap",)),
    dataclasses.replace(utterance("b", word_errors=1, n_words=10, sim=0.8), seconds=8.0, text="one " * 10),
    utterance("c", sim=None, distill_mos=4.5),
    Utterance("copy", "ann", "r", "copy/ann/r.wav", "", 3.0, sim=0.9),
]


def test_error_rates_are_those_of_all_words_and_the_rest_are_means():
    assert results.value("wer", UTTERANCES) == pytest.approx(2 / 14)
    assert results.value("sim", UTTERANCES) == pytest.approx((0.5 + 0.8 + 0.9) / 3)
    assert results.value("real_time_factor", UTTERANCES) == pytest.approx(3 / 12)
    assert results.value("faults", UTTERANCES) == pytest.approx(1 / 3)
    assert results.value("dnsmos", UTTERANCES) is None


def test_the_interval_is_that_of_the_normal_law_for_many_utterances():
    values = np.random.default_rng(1).normal(3, 1, 400)
    found = interval(np.stack([values, np.ones(400)], axis=1))
    error = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.015)


def test_a_difference_over_pairs_is_sharper_than_the_figures():
    values = np.random.default_rng(1).normal(3, 1, 50)
    before, after = (np.stack([v, np.ones(50)], axis=1) for v in (values, values + 0.1))
    found = interval(after, minus=before)
    assert found == pytest.approx((0.1, 0.1, 0.1)) and np.ptp(interval(before)[1:]) > 0.4


def test_the_table_shows_what_was_measured():
    head, *rows = results.table(UTTERANCES)
    cells = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(cells) == ["speech, short", "speech, medium", "speech, all", "copies"]
    assert "sim2" not in head and cells["speech, medium"]["WER"] == "10.0 %" and cells["copies"]["WER"] == "–"
    assert re.fullmatch(r"14\.3 % ±\d+\.\d", cells["speech, all"]["WER"])
    exact = results.table(UTTERANCES, with_bounds=True)[3]
    assert exact[0] == "speech, all" and re.fullmatch(r"14\.3 % \[\d+\.\d, \d+\.\d\]", exact[2])
    assert results.markdown(results.table(UTTERANCES)).startswith("|                | files | WER ")


def test_csv_is_read_as_it_was_written(tmp_path):
    results.write_csv(tmp_path, UTTERANCES)
    again = results.read_csv(tmp_path)
    assert [dataclasses.replace(u, heard=None) for u in again] == UTTERANCES
    (tmp_path / "results.csv").write_text("some,other\n1,2\n")
    with pytest.raises(UserError, match="is not a table that this command wrote"):
        results.read_csv(tmp_path)


def test_two_runs_are_compared_over_what_both_have():
    other = [dataclasses.replace(u, word_errors=u.word_errors + 1, sim=(u.sim or 1) + 0.01) for u in UTTERANCES[:3]]
    rows = {(row[0], row[1]): row[2:] for row in results.compare(UTTERANCES, other)[1:]}
    assert rows["speech, all", "WER"][:3] == ["3", "14.3 %", "35.7 %"] and rows["speech, all", "WER"][3].startswith("-21.4 % [")
    assert rows["speech, all", "WER"][4] == "better" and rows["speech, all", "sim"][4] == "worse"
    assert rows["speech, all", "sim"][0] == "2" and rows["speech, all", "Distill-MOS"][3:] == ["+0.00 [+0.00, +0.00]", ""]
    with pytest.raises(UserError, match="no utterance in common"):
        results.compare(UTTERANCES, [utterance("z")])


def test_the_worst_come_first():
    few, many = utterance("few", word_errors=1), utterance("many", word_errors=2)
    rough, fault = utterance("rough", distill_mos=2.0), utterance("fault", faults=("gap",))
    assert sorted([utterance("good"), rough, few, many, fault], key=badness) == [fault, many, few, rough, utterance("good")]


# ---- judges


def test_a_missing_judge_is_one_line_and_the_rest_work(place, capsys):
    missing = dict.fromkeys(("faster_whisper", "voicefilter_lite", "speechmos", "distillmos"))
    with mock.patch.dict(sys.modules, missing):
        found = judges.load(None, Options("base", place / "models" / "encoder.pt", cpu=True))
        with pytest.raises(UserError, match="cannot measure DNSMOS: dnsmos is not installed .*; pip install speechmos"):
            judges.load(["sim", "dnsmos"], Options("base", place / "models" / "encoder.pt", cpu=True))
    assert [judge.figure for judge in found] == ["sim"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == [
        f"pip install {name}" for name in ("faster-whisper", "open-voicefilter-lite", "speechmos", "distillmos")
    ]


def test_a_whisper_model_that_is_not_there_is_one_line(place, capsys):
    class WhisperModel:
        def __init__(self, name, **options):
            assert options["local_files_only"]
            raise FileNotFoundError("cannot find an appropriate cached snapshot folder")

    (place / "folder").mkdir()
    options = Options("base", place / "models" / "encoder.pt")
    with mock.patch.dict(sys.modules, {"faster_whisper": mock.Mock(WhisperModel=WhisperModel)}):
        with pytest.raises(UserError, match="the Whisper model base is not on this machine.*download_model"):
            judges.load(["whisper"], options)
        with pytest.raises(UserError, match="folder: holds no model.bin"):
            judges.load(["whisper"], dataclasses.replace(options, whisper=str(place / "folder")))


def test_a_voice_is_compared_with_its_other_recordings(place):
    vectors = iter(np.float64([[2, 0], [0, 3], [1, 1]]))
    files = sorted((place / "references").iterdir())
    voice = Voice(Judge("sim", "1", lambda wav: next(vectors)), files[:2])
    assert voice.similarity(np.float64([0, 5]), 0, True) == pytest.approx(1)
    assert voice.similarity(np.float64([0, 5]), 1, False) == pytest.approx(0)
    alone = Voice(Judge("sim", "1", lambda wav: next(vectors)), files[:1])
    assert alone.similarity(np.float64([2, 2]), 0, True) == pytest.approx(1)
    assert alone.similarity(np.float64([2, 2]), 0, False) is None


@pytest.mark.parametrize("wav", [np.zeros(40000), np.full(100, 0.5)])
def test_silence_and_clicks_can_be_judged(wav, tmp_path):
    soundfile.write(tmp_path / "a.wav", wav, 16000)
    assert len(judges.audible(tmp_path / "a.wav")) >= 16000 and judges.audible(tmp_path / "a.wav").any()


# ---- texts and recordings


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no text"),
        ("a\tOne.\na\tTwo.", "line 2: the name a is there twice"),
        ("../a\tOne.", "line 1: '../a' cannot be a file's name"),
        ("One.\n...", "line 2: holds no word"),
    ],
)
def test_texts_that_cannot_be_used(content, told, tmp_path):
    (tmp_path / "texts.txt").write_text(content)
    with pytest.raises(UserError, match=re.escape(told)):
        studio.read_texts(tmp_path / "texts.txt")


def test_texts_have_names_or_get_them(tmp_path):
    (tmp_path / "texts.txt").write_text("One.\n\nfirst\tTwo.\nThree.\n")
    assert studio.read_texts(tmp_path / "texts.txt") == {"text_1": "One.", "first": "Two.", "text_3": "Three."}


def test_voices_are_folders_or_numbered_files(place):
    assert {voice: len(paths) for voice, paths in studio.find_voices(place / "references", 5).items()} == {"ann": 2, "bob": 1}
    for path in sorted((place / "references").iterdir()):
        folder = place / "folders" / path.stem[:3] / "book"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    assert {voice: len(paths) for voice, paths in studio.find_voices(place / "folders", 1).items()} == {"ann": 1, "bob": 1}


# ---- the command


def heard(wav: np.ndarray) -> str:
    return "We walked along a river."


FAKES = [
    Judge("heard", "fake", heard),
    Judge("sim", "fake", lambda wav: np.float64([1, 0])),
    Judge("dnsmos", "fake", lambda wav: 3.25),
]


@pytest.fixture
def place(tmp_path, samples, monkeypatch) -> Path:
    """Recordings, texts and tiny models; and fakes instead of the judges, unless asked for."""
    for folder in ("references", "models"):
        (tmp_path / folder).mkdir()
    speech, rate = soundfile.read(min(samples.rglob("*.flac")))
    for n, name in enumerate(("ann_0", "ann_1", "bob_0")):
        soundfile.write(tmp_path / "references" / f"{name}.flac", speech[4000 * n :][:24000], rate)
    (tmp_path / "sentences.tsv").write_text("short_01\tStop!\nlong_01\tWe walked along the river & home again.\n")
    torch.save({"model_state": published_state("encoder")}, tmp_path / "models" / "encoder.pt")
    write_synthesizer(tmp_path / "models" / "synthesizer.pt")
    write_vocoder(tmp_path / "models" / "vocoder.pt", WaveRNN(WaveRNNConfig(**TINY)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    return tmp_path


def run(*options: str, fakes: list[Judge] = FAKES) -> None:
    sys.argv = ["evaluate", "--models", "models", "--references", "references", "--texts", "sentences.tsv", "--cpu", *options]
    with mock.patch.object(judges, "load", lambda names, options: fakes):
        evaluate.main()


QUICK = ("--griffin_lim", "--hparams", "griffin_lim_iterations=1,retries=0")


def test_everything_is_spoken_judged_and_written(place, capsys):
    run("--output", "out", "--hparams", "retries=0")
    rows = {(u.kind, u.voice, u.name): u for u in results.read_csv(place / "out")}
    assert len(rows) == 2 * 2 + 2 * 3
    said = rows["speech", "ann", "long_01"]
    assert (said.word_errors, said.n_words) == (4, 8) and said.heard == heard(wav=None)
    assert said.sim == pytest.approx(1) and said.dnsmos == 3.25 and said.sim2 is None and said.took > 0
    assert rows["copy", "bob", "bob_0"].sim is None and rows["recording", "ann", "ann_0"].seconds == pytest.approx(1.5)
    wav, rate = soundfile.read(place / "out" / said.file)
    assert len(wav) / rate == pytest.approx(said.seconds)
    assert "| speech, all " in capsys.readouterr().out

    page = (place / "out" / "index.html").read_text()
    linked = re.findall(r'src="([^"]+)"', page)
    assert len(linked) == 10 * 2 + 4 and all((place / "out" / file).is_file() for file in linked)
    assert "We walked along the river &amp; home again." in page
    assert "we walked along <del>the</del> <ins>a</ins> river <del>and home again</del>" in page
    assert "WER 50.0 %" in page and "DNSMOS 3.25" in page
    speech = sorted((u for u in rows.values() if u.kind == "speech"), key=badness)
    assert re.findall(r"<h3>(\w+): (\w+)</h3>", page)[:4] == [(u.voice, u.name) for u in speech]


def test_it_continues_where_it_stopped(place):
    def waves() -> dict[str, int]:
        return {path.relative_to("out").as_posix(): path.stat().st_mtime_ns for path in sorted(Path("out").rglob("*.wav"))}

    run("--output", "out", *QUICK)
    first = waves()
    Path("out/speech/ann/short_01.wav").unlink()  # as if interrupted
    n_heard = []
    counting = [Judge("heard", "fake", lambda wav: n_heard.append(1) or "stop"), *FAKES[1:]]
    run("--output", "out", *QUICK, fakes=counting)
    assert {name for name, time in waves().items() if first[name] != time} == {"speech/ann/short_01.wav"} and len(n_heard) == 1
    newer = dataclasses.replace(counting[0], version="newer")
    run("--output", "out", *QUICK, fakes=[newer])
    assert len(n_heard) == 11
    write_synthesizer(place / "models" / "synthesizer.pt").touch()
    soundfile.write("references/bob_0.flac", np.random.default_rng(0).normal(0, 0.1, 24000), 16000)
    before = waves()
    run("--output", "out", *QUICK)
    assert {name.split("/")[1] for name, time in waves().items() if before[name] != time} == {"bob"}


def test_two_runs_are_compared_with_and_without_speaking(place, capsys):
    run("--output", "one", *QUICK)
    better = [Judge("heard", "other", lambda wav: "we walked along the river and home again"), *FAKES[1:]]
    run("--output", "two", *QUICK, "--compare", "one", fakes=better)
    told = capsys.readouterr().out
    assert "Compared with one:" in told
    sys.argv = ["evaluate", "--output", "two", "--compare", "one"]
    evaluate.main()
    again = capsys.readouterr().out
    assert again.strip() in told
    (line,) = (line for line in again.splitlines() if re.match(r"\| speech, medium +\| WER ", line))
    assert [cell.strip() for cell in line.split("|")][3:7] == ["2", "0.0 %", "50.0 %", "-50.0 % [-50.0, -50.0]"]
    assert line.endswith("| better |")


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: Path("references/ann_1.flac").write_bytes(b"not audio"), r"references/ann_1.flac: cannot be decoded"),
        (lambda: soundfile.write("references/ann_1.flac", np.ones(100), 16000), r"ann_1.flac: is 0.01 s long; at least 0.5 s"),
        (lambda: [path.unlink() for path in Path("references").iterdir()], r"references: holds no recordings"),
        (lambda: Path("models/vocoder.pt").unlink(), r"models/vocoder.pt: no such model; .* use --griffin_lim"),
        (lambda: Path("models/synthesizer.pt").unlink(), r"models/synthesizer.pt: no such model"),
        (lambda: Path("sentences.tsv").write_bytes(b"\xff"), r"sentences.tsv: is not UTF-8 text"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_spoken(place, mistake, told):
    mistake()
    with pytest.raises(UserError, match=told) as caught:
        run("--output", "out")
    assert "\n" not in str(caught.value) and not Path("out").exists()


def test_comparing_with_nothing_is_one_line(place):
    with pytest.raises(UserError, match=r"nowhere/results.csv: no such file; name the output folder of a finished run"):
        run("--compare", "nowhere")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--models", "models"], "--references, --texts: needed"),
        (["--models", "a", "--references", "b", "--texts", "c", "--judge", "ears"], "--judge: there is no 'ears'; choose from"),
    ],
)
def test_wrong_usage(options, told, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate", *options])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert told in capsys.readouterr().err


def test_help_answers_at_once_and_documents_every_option():
    code = "import sys; import demo.evaluate; print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    kept: list[argparse.ArgumentParser] = []
    keep = mock.patch.object(argparse.ArgumentParser, "parse_args", lambda self: kept.append(self))
    with keep, pytest.raises(AttributeError):  # it returns nothing
        evaluate.parse_arguments()
    assert not [action for action in kept[0]._actions if not action.help]
    assert set(evaluate.JUDGES) == set(judges.MAKERS)


# ---- benchmarks.judged


def run_judged(place: Path, *options: str, fakes: list[Judge] = FAKES) -> None:
    judge = place / "judge"
    if not judge.exists():
        (judge / judged.WHISPER).mkdir(parents=True)
        (place / "references").rename(judge / "references")
        (place / "sentences.tsv").rename(judge / "sentences.tsv")
    models = [word for stage in ("encoder", "synthesizer", "vocoder") for word in (f"-{stage[0]}", f"models/{stage}.pt")]
    sys.argv = ["judged", "judge", "out", *models, "--cpu", "--threads", "1", *QUICK, *options]
    with mock.patch.object(judges, "load", lambda names, options: fakes):
        judged.main()


def test_the_card_gets_the_tables(place, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (place / "card.md").write_text("# Card\n\n<!-- judged: begin -->\nold\n<!-- judged: end -->\n\n## Limits\n")
    run_judged(place, "--real", "bob", "--card", "card.md")
    text = (place / "out" / "results.md").read_text()
    assert (place / "card.md").read_text() == f"# Card\n\n<!-- judged: begin -->\n{text}<!-- judged: end -->\n\n## Limits\n"
    assert re.search(r"\| encoder +\| 1.42 M +\| – +\| 5.7 MB, SHA-256 ", text) and "| speech, bob " in text
    assert re.search(r"\| word error rate, medium and long +\| 5.0 % +\| 3.0 % +\| 50.0 % +\| short by 45.0 % ", text)
    assert text in capsys.readouterr().out
    run_judged(place, "--voices", "bob", "--sentences", "short")
    assert "no voice counts as a person's, as none is called allison: name them with --real\n" in capsys.readouterr().out
    assert {(u.kind, u.voice) for u in results.read_csv(place / "out")} == {(k, "bob") for k in ("speech", "copy", "recording")}
    with pytest.raises(UserError, match="eve: the judge has no such voice; it has ann, bob"):
        run_judged(place, "--voices", "ann,eve")
    with pytest.raises(UserError, match="eve: the judge has no such voice; it has ann, bob") as error:
        run_judged(place, "--voices", "ann", "--real", "bob,eve")
    assert error.value.exit_code == 2
    (place / "card.md").write_text("# Card\n")
    with pytest.raises(UserError, match="card.md: has no place for the results; write <!-- judged: begin"):
        run_judged(place, "--card", "card.md")


def test_targets_are_compared_in_their_direction():
    rows = {
        row[0]: row[1:] for row in judged.targets([*UTTERANCES, utterance("d", sim2=0.75), utterance("e", sim2=0.5)], ["b"])
    }
    assert rows["sim2, synthetic voices"] == ["0.78", "0.85", "0.62", "short by 0.16"]
    assert rows["Distill-MOS, whole system"] == ["3.90", "4.20", "3.70", "short by 0.20"]
    assert rows["word error rate, short"] == ["8.0 %", "5.0 %", "12.5 %", "short by 4.5 %"]
    assert rows["real-time factor, long sentences"][3] == "not measured"


@pytest.mark.parametrize(
    ("sim2", "told"),
    [
        (0.78, ("0.78", "reached")),
        (0.78 - 1e-12, ("0.78", "reached")),  # a sum of floats
        (0.7751, ("0.775", "short by 0.005")),
        (0.7799, ("0.7799", "short by 0.0001")),
        (0.77, ("0.77", "short by 0.01")),
        (0.85, ("0.85", "aim reached")),
    ],
)
def test_what_is_shown_as_short_is_never_0(sim2, told):
    assert judged._verdict(results.FIGURES["sim2"], sim2, 0.78, 0.85) == told
