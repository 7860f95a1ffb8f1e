"""Error rates by hand and by theory, and `python -m encoder.evaluate` on folders and trial lists of real speech."""

import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder import inference
from encoder.dataset import SpeakerIndex, read_index, split_speakers
from encoder.evaluate import choose_speakers, choose_utterances, main, verify, verify_pairs
from encoder.train import train
from tests import ROOT
from tests.encoder import plain_encoder, plain_ge2e
from tests.published_state import published_state
from utils import cli
from utils.data import audio
from utils.errors import UserError

TINY = "hidden_size=16,n_layers=1,embedding_size=8,speakers_per_batch=4,utterances_per_speaker=2,partial_frames=80"


# ---- error rates


def equal_error_rate(scores, is_same):
    one_speaker = np.zeros(len(scores), dtype=int)
    return verify_pairs(scores, is_same, one_speaker, one_speaker).eer


@pytest.mark.parametrize(
    ("same", "different", "eer"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.9, 0.8], 1.0),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
        ([0.9, 0.3], [0.4, 0.1], 0.5),  # between 0.3 and 0.4 one of two is wrong on both sides
        ([0.9, 0.8, 0.7, 0.2], [0.6, 0.3, 0.1, 0.0], 0.25),  # at 0.5: 0.2 is rejected, 0.6 accepted
        ([0.9, 0.6], [0.7, 0.1, 0.1, 0.1], 0.25),  # false acceptances stay 1/4 while 0.6 is passed
    ],
)
def test_equal_error_rate_by_hand(same, different, eer):
    scores = np.array(same + different)
    assert equal_error_rate(scores, np.arange(len(scores)) < len(same)) == pytest.approx(eer)


def test_equal_error_rate_of_the_published_embeddings(expected):
    embeddings = torch.from_numpy(expected["ge2e_embeds"])
    own = np.repeat(np.eye(4, dtype=bool), 5, axis=0)
    assert equal_error_rate(plain_ge2e.similarities(embeddings).numpy().ravel(), own.ravel()) == pytest.approx(0.6)


def test_equal_error_rate_of_two_bell_curves():
    """Scores N(d, 1) against N(0, 1): both errors are Phi(-d / 2) at the threshold d / 2."""
    draw = np.random.default_rng(0)
    is_same = np.arange(100_000) < 50_000
    for distance in (0.0, 1.0, 3.0):
        scores = draw.standard_normal(len(is_same)) + distance * is_same
        assert equal_error_rate(scores, is_same) == pytest.approx(math.erfc(distance / 2**1.5) / 2, abs=0.006)


def test_verification_of_separate_and_of_random_speakers():
    draw = np.random.default_rng(0)
    speakers = np.repeat(np.arange(12), 8)
    apart = np.eye(12)[speakers]
    result = verify(apart, speakers)
    assert (result.eer, result.same_cosine, result.different_cosine) == (0, 1, 0)
    noise = draw.standard_normal((96, 64))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    result = verify(noise, speakers)
    assert 0.4 < result.eer < 0.6 and result.eer_low < result.eer < result.eer_high
    assert "eer_low" not in verify(apart[:16], speakers[:16]).figures()  # two speakers: no interval


def test_the_interval_is_as_wide_as_the_scatter_of_the_error_rate():
    """500 independent trials with an error rate near 0.16: the bootstrap's interval matches the scatter of new draws."""
    draw = np.random.default_rng(0)
    numbers, is_same = np.arange(500), np.arange(500) < 250
    found = [verify_pairs(draw.standard_normal(500) + 2 * is_same, is_same, numbers, numbers) for _ in range(60)]
    rates = np.array([each.eer for each in found])
    widths = np.array([each.eer_high - each.eer_low for each in found])
    assert widths.mean() == pytest.approx(2 * 1.96 * rates.std(), rel=0.35)
    assert np.mean([each.eer_low <= math.erfc(2**-0.5) / 2 <= each.eer_high for each in found]) > 0.85


# ---- who is evaluated


def make_index(n_speakers, n_utterances):
    names = [f"speaker{i}" for i in range(n_speakers)]
    lengths = np.full(n_speakers * n_utterances, 160, dtype=np.int32)
    return SpeakerIndex(Path("unused"), names, np.arange(n_speakers + 1) * n_utterances, np.cumsum(lengths), lengths)


@pytest.mark.parametrize(("n_speakers", "at_least"), [(4, 2), (10, 2), (40, 2), (41, 3), (1000, 50), (1211, 61)])
def test_at_least_two_speakers_and_the_fraction_are_held_out(n_speakers, at_least):
    trained, held_out = split_speakers(make_index(n_speakers, 1), 0.05)
    assert at_least <= len(held_out) <= max(at_least, 0.07 * n_speakers) and len(trained) + len(held_out) == n_speakers
    assert not set(trained) & set(held_out)


def test_evaluated_speakers_are_spread_over_the_corpora_and_their_utterances_always_the_same():
    assert choose_speakers(range(7, 407), 5) == [7, 107, 207, 306, 406]
    assert choose_speakers([3, 5], 100) == [3, 5]
    index = make_index(30, 20)
    chosen = choose_utterances(index, [4, 9], 10)
    assert [speaker for speaker, _ in chosen] == [4] * 10 + [9] * 10 and len(set(chosen)) == 20
    assert chosen == choose_utterances(index, [4, 9], 10) and len(choose_utterances(index, [4], 100)) == 20
    with pytest.raises(UserError, match="too many pairs"):
        choose_utterances(make_index(2, 3000), [0, 1], 3000)


# ---- the command


def evaluate(*arguments):
    """Run the command in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
        try:
            cli.run(main)
        except SystemExit as left:
            return left.code or 0
    return 0


def rows(output):
    """The rows of the printed table, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two published encoders with random weights."""
    folder = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        torch.save({"model_state": published_state("encoder", seed)}, folder / f"{seed}.pt")
    return [folder / "1.pt", folder / "2.pt"]


def test_a_folder_gives_the_figures_that_training_reports(preprocessed, tmp_path, capsys):
    options = {"run_id": "r", "models_dir": tmp_path, "cpu": True, "max_steps": 4, "eval_every": 4}
    train(preprocessed, options, f"{TINY},held_out_fraction=0.5,eval_utterances=3", umap_every=0)
    reported = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    (reported,) = [row for row in reported if "eer" in row]
    arguments = ("--held_out", 0.5, "--max_utterances", 3, "--partial_frames", 80, "--cpu")
    assert evaluate(tmp_path / "r" / "encoder.pt", preprocessed, *arguments) == 0
    output = capsys.readouterr().out
    (row,) = rows(output)
    assert row["EER"] == f"{reported['eer']:.4f}"
    assert row["95 % interval"] == f"{reported['eer_low']:.4f} to {reported['eer_high']:.4f}"
    assert row["same cosine"] == f"{reported['same_cosine']:.3f}"
    assert row["different cosine"] == f"{reported['different_cosine']:.3f}"
    assert (row["speakers"], row["utterances"], row["same pairs"], row["different pairs"]) == ("5", "15", "15", "90")
    assert "bootstrap over 5 held-out speakers" in output


def test_several_models_have_a_row_each(preprocessed, models, capsys):
    assert evaluate(*models, preprocessed, "--max_speakers", 4, "--max_utterances", 2, "--cpu") == 0
    output = capsys.readouterr().out
    found = rows(output)
    assert [row["model"] for row in found] == [str(path) for path in models]
    assert {row["different pairs"] for row in found} == {"24"} and found[0]["same cosine"] != found[1]["same cosine"]
    assert {row["95 % interval"] for row in found} == {"-"}  # four speakers are too few
    index, plain = read_index(preprocessed, 160), plain_encoder.load(published_state("encoder", 1))
    mels = [index.utterance(*pair) for pair in choose_utterances(index, choose_speakers(range(10), 4), 2)]
    vectors = [plain_encoder.embed_mel(plain, mel, (len(mel) - 1) * 160) for mel in mels]
    same = [vectors[i] @ vectors[i + 1] for i in (0, 2, 4, 6)]
    assert float(found[0]["same cosine"]) == pytest.approx(np.mean(same), abs=6e-4)


@pytest.fixture
def trial_list(samples, tmp_path):
    """Every pair of two utterances of each of five speakers, and the root of their paths."""
    root = samples / "LibriSpeech" / "train-clean-100"
    speakers = sorted(path for path in root.iterdir() if path.is_dir())[:5]
    files = [path.relative_to(root).as_posix() for speaker in speakers for path in sorted(speaker.rglob("*.flac"))[:2]]
    lines = [f"{int(a[:5] == b[:5])} {a} {b}" for a, b in itertools.combinations(files, 2)]
    (tmp_path / "trials.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path / "trials.txt", root, files


def test_a_trial_list_is_scored_as_its_files_one_by_one(trial_list, models, capsys, monkeypatch):
    path, root, files = trial_list
    prepared = []
    original = inference.preprocess_wav
    monkeypatch.setattr(inference, "preprocess_wav", lambda path: prepared.append(path) or original(path))
    assert evaluate(*models, path, "--audio_root", root, "--cpu") == 0
    output = capsys.readouterr().out
    assert sorted(prepared) == sorted(root / name for name in files)  # each once, for two models
    assert "bootstrap over 5 speakers" in output
    for row, model in zip(rows(output), models, strict=True):
        embedder = inference.SpeakerEmbedder(model, "cpu")
        vectors = {name: embedder.embed_utterance(original(root / name))[0] for name in files}
        scored = [(int(label), vectors[a] @ vectors[b]) for label, a, b in map(str.split, path.read_text().split("\n")[:-2])]
        is_same, scores = np.array([label == 1 for label, _ in scored]), np.array([score for _, score in scored])
        assert float(row["EER"]) == pytest.approx(equal_error_rate(scores, is_same), abs=1e-4)
        assert float(row["same cosine"]) == pytest.approx(scores[is_same].mean(), abs=6e-4)
        assert (row["speakers"], row["utterances"], row["same pairs"], row["different pairs"]) == ("5", "10", "5", "40")


def test_missing_and_unusable_files_are_counted_named_and_left_out(trial_list, models, tmp_path, capsys):
    path, root, files = trial_list
    for name in files[:6]:  # of three speakers
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((root / name).read_bytes())
    (tmp_path / files[5]).unlink()
    audio.write_wav(tmp_path / files[4], np.zeros(16000, np.float32))
    assert evaluate(models[0], path, "--cpu") == 0  # beside the audio, so that no root is needed
    output = capsys.readouterr().out
    assert "5 of 10 files are missing and 1 cannot be used, so 39 of 45 trials are left out" in output
    assert f"{tmp_path / files[4]}: no speech" in output and f"{tmp_path / files[5]}: no such file" in output
    assert "... and 1 more" in output
    (row,) = rows(output)
    assert (row["speakers"], row["utterances"], row["same pairs"], row["different pairs"]) == ("2", "4", "2", "4")


def test_trials_are_drawn_if_the_paths_do_not_name_the_speakers(trial_list, models, capsys):
    path, root, _ = trial_list
    path.write_text(path.read_text().replace("1 ", "0 ", 1))  # one label contradicts the folders
    assert evaluate(models[0], path, "--audio_root", root, "--cpu") == 0
    output = capsys.readouterr().out
    assert "bootstrap over 45 trials" in output and rows(output)[0]["speakers"] == "-"
    assert rows(output)[0]["95 % interval"] != "-"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 a.wav b.wav\n2 a.wav c.wav\n", "trials.txt, line 2: '2 a.wav c.wav' is not"),
        ("1 a.wav\n", "trials.txt, line 1"),
        ("1 a.wav b.wav\n", "1 trials of one speaker and 0 of two; both are needed"),
        ("", "0 trials of one speaker and 0 of two"),
        ("1 a.wav b.wav\n0 a.wav c.wav\n", "holds none of the 3 files of .*trials.txt, such as a.wav; .*--audio_root"),
    ],
)
def test_a_bad_trial_list_is_one_line(content, message, models, tmp_path, capsys):
    (tmp_path / "trials.txt").write_text(content)
    assert evaluate(models[0], tmp_path / "trials.txt") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and re.search(message, error)


def test_other_mistakes_are_one_line(models, preprocessed, tmp_path, capsys):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80" * 100)
    (tmp_path / "empty").mkdir()
    for arguments, code, message in (
        ((models[0], tmp_path / "absent"), 1, "absent: no such folder or trial list"),
        ((tmp_path / "absent.pt", preprocessed), 1, "absent.pt: no such encoder checkpoint"),
        ((models[0], tmp_path / "binary.txt"), 1, "binary.txt: is not UTF-8 text"),
        ((models[0], tmp_path / "empty"), 1, "no speaker with"),
        ((models[0], preprocessed, "--partial_frames", 10**6), 1, "no speaker with"),
        ((models[0], preprocessed, "--audio_root", tmp_path), 2, "--audio_root is for a trial list"),
        ((models[0], tmp_path / "binary.txt", "--held_out", 0.1), 2, "--held_out is for a preprocessed folder"),
        ((models[0], preprocessed, "--held_out", 1.5), 2, "not a number from 0 to under 1"),
        ((models[0], preprocessed, "--max_speakers", 1), 2, "at least 2"),
        ((models[0],), 2, "required"),
    ):
        assert evaluate(*arguments, "--cpu") == code
        errors = capsys.readouterr().err
        assert message in errors and "Traceback" not in errors


def test_help_answers_without_torch():
    code = "import runpy, sys; sys.argv = ['evaluate', '-h']\ntry: runpy.run_module('encoder.evaluate', run_name='__main__')\n"
    code += "finally: print('HEAVY', sorted({'torch', 'numpy', 'librosa'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "HEAVY []" in done.stdout and "--held_out" in done.stdout, done.stderr
