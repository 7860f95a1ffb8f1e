"""benchmarks/judged.py: faults, figures, and continuing where it stopped."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from benchmarks import judged, judged_report
from benchmarks.faults import faults, longest_gap
from benchmarks.judged_report import Item, figures
from demo.spoken import Spoken
from tests.published_state import published_state
from tests.vocoder_data import TINY, write_synthesizer, write_vocoder
from utils.errors import UserError
from utils.models import checkpoint
from vocoder.model import WaveRNN, WaveRNNConfig

TEXT = "a sentence of some words."
JUDGE = """
import csv, os, pathlib, sys
arguments = sys.argv[1:]
options, name = {}, None
for word in arguments:
    if word.startswith("--"):
        options[name := word] = []
    else:
        options[name].append(word)
with open("calls.txt", "a") as calls:
    calls.write(" ".join(pathlib.Path(path).name for path in options["--refs"] + ["|"] + options["--wavs"]) + chr(10))
if os.path.exists("broken"):
    raise ImportError("something is not installed")
texts = dict(line.split(chr(9)) for line in open(options["--texts"][0]).read().splitlines())
with open(options["--csv"][0], "w", newline="") as out:
    table = csv.DictWriter(out, ["file", "sec", "wer", "sim", "sim2", "ovrl", "sig", "bak", "p808", "dmos", "hyp"])
    table.writeheader()
    for path in map(pathlib.Path, options["--wavs"]):
        row = dict(file=path.name, sec=1, sim=0.5, sim2=0.75, ovrl=3, sig=3, bak=3, p808=3, dmos=3.5)
        table.writerow(row | (dict(wer=0.25, hyp="heard, so") if path.stem in texts else {}))
        print(f"{path.name} dmos 3.5")
"""


# ---- faults


def spoken(symbols: list[int], wav: np.ndarray | None = None, unfinished: tuple[int, ...] = ()) -> Spoken:
    """Speech whose attention looks at these symbols of TEXT, 0.05 s each."""
    alignment = np.full((len(symbols), len(TEXT) + 1), 0.01)
    alignment[np.arange(len(symbols)), symbols] = 0.5
    wav = np.ones(800 * len(symbols), np.float32) if wav is None else wav
    mel = np.zeros((80, 4 * len(symbols)))
    return Spoken(wav, 16000, [TEXT], [mel], [alignment], list(unfinished), 200, 0.3, took=1.0)


THROUGH = list(range(len(TEXT) + 1))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (spoken(THROUGH), []),
        (spoken(THROUGH[:10] + THROUGH[6:]), []),  # within a word
        (spoken([*THROUGH[:15], 3, *THROUGH[15:]]), []),  # a flicker of 0.05 s
        (spoken(THROUGH[:15] + THROUGH[3:]), ["repeat"]),
        (spoken(THROUGH, unfinished=(0,)), ["stop"]),
        (spoken(THROUGH[:14]), ["stop"]),  # it ended in "some"
        (spoken(THROUGH[:22]), []),  # the attention is ahead of nothing but the end of a word
        (spoken(THROUGH[:15] + THROUGH[3:12]), ["stop", "repeat"]),
        (spoken(THROUGH, np.repeat(np.float32([1, 0, 1]), [8000, 12000, 8000])), ["gap"]),
        (spoken(THROUGH, np.repeat(np.float32([1, 0.001, 1]), [8000, 12000, 8000])), ["gap"]),
        (spoken(THROUGH, np.repeat(np.float32([0, 1, 0, 1, 0]), [20000, 8000, 9000, 8000, 20000])), []),
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


# ---- figures


def item(name: str, **values) -> Item:
    return dataclasses.replace(
        Item("clone", "ann", False, name, 0.5, 0.7, 3.0, 3.5, wer=0.0, text="one two", seconds=2.0, took=1.0), **values
    )


ITEMS = [
    item("short_01", wer=0.5, faults=["gap"]),
    item("long_01", wer=0.1, text="one two three four five six seven eight nine ten", seconds=8.0, sim2=0.8, distill_mos=4.5),
    item("very_long_01", wer=0.2, voice="bob", is_real=True, sim2=0.6, faults=["stop", "gap"]),
    item("ann_0", kind="copy", wer=None, text="", seconds=None, took=None, distill_mos=4.0),
    item("ann_1", kind="copy", wer=None, text="", seconds=None, took=None, distill_mos=3.0, sim=None, sim2=None),
]


def test_figures_are_those_of_all_words_and_of_all_seconds():
    found = figures(ITEMS)
    assert found["files"] == 5 and found["wer"] == pytest.approx((1 + 1 + 0.4) / 14)
    assert found["sim2"] == pytest.approx((0.7 + 0.8 + 0.6 + 0.7) / 4) and found["distill_mos"] == pytest.approx(18.5 / 5)
    assert found["without_fault"] == pytest.approx(1 / 3) and found["real_time_factor"] == pytest.approx(3 / 12)
    assert figures(ITEMS[3:])["wer"] is None and figures(ITEMS[4:])["sim2"] is None


def test_targets_are_compared_in_their_direction():
    text = judged_report.markdown(ITEMS)
    for line in (
        "| word error rate, medium and long | 8.0 % | 3.0 % | 10.0 % | short by 2.0 % |",
        "| word error rate, short | 15.0 % | 5.0 % | 50.0 % | short by 35.0 % |",
        "| word error rate, very long | 15.0 % | 5.0 % | 20.0 % | short by 5.0 % |",
        "| sim2, synthetic voices | 0.70 | 0.85 | 0.75 | reached |",
        "| sim2, real voices | 0.55 | 0.70 | 0.60 | reached |",
        "| Distill-MOS, copy-synthesis | 3.60 | 4.30 | 3.50 | short by 0.10 |",
        "| without a stop miss, a repeat or a gap over 0.7 s | 95.0 % | 100.0 % | 33.3 % | short by 61.7 % |",
        "| real-time factor, long sentences | 1.00 | 0.40 | 0.12 | aim reached |",
        "In 3 utterances: 1 stop misses, 0 repeats, 2 gaps.",
    ):
        assert line in text
    assert "| medium |" not in text and "| bob (real) |" in text
    assert judged_report.TARGETS[0].line(ITEMS[:1])["verdict"] == "not measured"


# ---- the script


@pytest.fixture
def place(tmp_path, samples, monkeypatch) -> Path:
    """A judge with the files and arguments of the real one, and tiny models to judge."""
    references = tmp_path / "judge" / "references"
    references.mkdir(parents=True)
    speech, rate = soundfile.read(sorted(samples.rglob("*.flac"))[0])
    for n, name in enumerate(("ann_0", "ann_1", "bob_0")):
        soundfile.write(references / f"{name}.flac", speech[4000 * n :][:24000], rate)
    (tmp_path / "judge" / "sentences.tsv").write_text("short_01\tStop!\nlong_01\tWe walked along the river.\n")
    (tmp_path / "judge" / "judge.py").write_text(JUDGE)
    python = tmp_path / "judge" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    torch.save({"model_state": published_state("encoder")}, tmp_path / "encoder.pt")
    write_synthesizer(tmp_path / "synthesizer.pt")
    write_vocoder(tmp_path / "vocoder.pt", WaveRNN(WaveRNNConfig(**TINY)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options: str) -> None:
    models = [word for stage in ("encoder", "synthesizer", "vocoder") for word in (f"-{stage[0]}", f"{stage}.pt")]
    sys.argv = ["judged", "judge", "out", *models, "--cpu", "--threads", "1", *options]
    judged.main()


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


def test_every_sentence_is_spoken_in_every_voice_and_reported(place, capsys):
    content = checkpoint.load(place / "synthesizer.pt", "synthesizer")
    content["model_state"]["decoder.stop.bias"].fill_(-50)  # it never ends by itself
    content["model"]["arrival_frames"] = 0
    checkpoint.save(place / "synthesizer.pt", content)
    (place / "card.md").write_text("# Card\n\n<!-- judged: begin -->\nold\n<!-- judged: end -->\n\n## Limits\n")
    run("--real", "bob", "--card", "card.md")
    calls = (place / "judge" / "calls.txt").read_text().splitlines()
    assert calls == [
        "ann_1.flac | short_01.wav long_01.wav copy_0.wav copy_1.wav ann_0.flac ann_1.flac",
        "bob_0.flac | short_01.wav long_01.wav copy_0.wav bob_0.flac",
    ]
    text = (place / "out" / "results.md").read_text()
    assert (place / "card.md").read_text() == (f"# Card\n\n<!-- judged: begin -->\n{text}<!-- judged: end -->\n\n## Limits\n")
    assert "| encoder | 1.42 M | – | 5.7 MB, SHA-256 " in text and "| synthesizer | " in text and "| vocoder | " in text
    assert text in capsys.readouterr().out and "| bob (real) | 2 | 25.0 % | 0.50 | 0.75 | 3.00 | 3.50 |" in text
    rows = judged_report.read_csv(place / "out" / "results.csv")
    assert [(row["voice"], row["kind"]) for row in rows].count(("ann", "clone")) == 2 and len(rows) == 10
    assert rows[0]["heard"] == "heard, so" and float(rows[0]["took"]) > 0
    assert [row["sim2"] for row in rows if row["name"] == "ann_1"] == ["", ""]  # it would be compared with itself
    summary = json.loads((place / "out" / "results.json").read_text())
    assert summary["in total"]["all"]["files"] == 4 and len(summary["targets"]) == len(judged_report.TARGETS)
    assert {row["faults"].partition(" ")[0] for row in rows if row["kind"] == "clone"} == {"stop"}


def test_it_continues_where_it_stopped_and_starts_over_with_other_models(place):
    def waves() -> dict[str, int]:
        return {f"{path.parent.name}/{path.stem}": path.stat().st_mtime_ns for path in sorted(Path("out").rglob("*.wav"))}

    run("--griffin_lim", "--hparams", "griffin_lim_iterations=1")
    first = waves()
    Path("out/ann/short_01.wav").unlink()  # as if interrupted
    run("--griffin_lim", "--hparams", "griffin_lim_iterations=1")
    assert {name for name, time in waves().items() if first[name] != time} == {"ann/short_01"}
    assert len((place / "judge" / "calls.txt").read_text().splitlines()) == 3  # bob's were judged
    run("--griffin_lim", "--hparams", "griffin_lim_iterations=2", "--voices", "bob", "--sentences", "long")
    assert {name for name, time in waves().items() if first.get(name) != time} == {"ann/short_01", "bob/long_01", "bob/copy_0"}
    assert (place / "judge" / "calls.txt").read_text().splitlines()[-1] == "bob_0.flac | long_01.wav copy_0.wav bob_0.flac"


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: Path("judge/venv/bin/python").unlink(), r"venv/bin/python: is missing; run setup.sh"),
        (lambda: Path("judge/sentences.tsv").unlink(), r"judge/sentences.tsv: is missing"),
        (lambda: Path("vocoder.pt").unlink(), r"vocoder.pt: no such model; name it with -e, -s, -v"),
        (lambda: Path("card.md").write_text("# Card\n"), r"card.md: has no place for the results; write <!-- judged: begin"),
        (lambda: Path("judge/broken").touch(), r"judge.py: failed \(ImportError: something is not .*judged.log"),
    ],
)
def test_a_mistake_is_one_line(place, mistake, told):
    (place / "card.md").write_text("<!-- judged: begin --><!-- judged: end -->")
    mistake()
    with pytest.raises(UserError, match=told) as caught:
        run("--voices", "bob", "--sentences", "short", "--card", "card.md")
    assert "\n" not in str(caught.value)


def test_an_unknown_voice_is_refused(place):
    with pytest.raises(UserError, match="eve: the judge has no such voice; it has ann, bob"):
        run("--voices", "ann,eve")
