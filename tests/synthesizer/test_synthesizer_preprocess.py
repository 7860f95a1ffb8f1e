"""Splitting, denoising and the two preprocessing scripts, run as a user runs them."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.inference import SpeakerEmbedder, preprocess_wav
from encoder.model import EncoderWithLoss
from synthesizer.corpus.denoise import denoise
from synthesizer.corpus.segment import KEPT_SILENCE, disagreement, noise_spans, split
from synthesizer.preprocess import preprocess_audio, preprocess_embeds
from tests import ROOT
from tests.faults.leftovers import left_by_a_kill
from utils.corpora import Utterance, find_speakers, list_utterances
from utils.data.audio import MelFormat, from_int16, load, mel_spectrogram, write_wav
from utils.data.paths import SynthesizerData
from utils.data.rows import Row, read_rows, rows_with_files, write_parameters
from utils.data.tables import read_marked
from utils.errors import UserError
from utils.models import checkpoint

SUBSET = "LibriSpeech/train-clean-100"


# ---- splitting


def an_alignment(rng: np.random.Generator) -> tuple[list[str], list[float]]:
    """Words w0, w1, ... with silences of all lengths between some of them, and at the ends of some."""
    words, lengths = [], []
    for i in range(rng.integers(1, 30)):
        if rng.random() < 0.4:
            words.append("")
            lengths.append(rng.choice([0.0, 0.05, 0.2, 0.39, 0.41, 0.8, 3.0]))
        words.append(f"w{i}")
        lengths.append(rng.uniform(0.05, 1.5))
    if rng.random() < 0.7:
        words.append("")
        lengths.append(rng.uniform(0, 1))
    return words, np.cumsum(lengths).tolist()


def test_split_keeps_every_word_whole_and_in_order():
    rng = np.random.default_rng(0)
    for _ in range(300):
        words, ends = an_alignment(rng)
        duration = ends[-1] + rng.choice([0, 0.3])
        segments = split(words, ends, duration)
        assert [w for s in segments for w in s.words if w] == [w for w in words if w]
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(segments))
        times = {w: (start, end) for w, start, end in zip(words, [0.0, *ends], ends, strict=False)}
        for segment in segments:
            assert 0 <= segment.start < segment.end <= duration + 1e-9
            for word, start, end in zip(segment.words, (0.0, *segment.ends), segment.ends, strict=False):
                if word:
                    assert (segment.start + start, segment.start + end) == pytest.approx(times[word])
            silences = [
                end - start
                for word, start, end in zip(segment.words, (0.0, *segment.ends), segment.ends, strict=False)
                if not word
            ]
            assert segment.words[0] or silences[0] <= KEPT_SILENCE + 1e-9
            assert segment.words[-1] or silences[-1] <= KEPT_SILENCE + 1e-9


def test_short_pieces_are_joined_wherever_that_is_possible():
    rng = np.random.default_rng(1)
    for _ in range(300):
        words, ends = an_alignment(rng)
        segments = split(words, ends, ends[-1])
        for a, b in itertools.pairwise(segments):
            if min(a.duration, b.duration) < 1.6:
                assert b.end - a.start >= 11.25
            else:  # not joined without need: there is a long silence between, or what is between long silences is too long
                silences = [(s, e) for w, s, e in zip(words, [0.0, *ends], ends, strict=False) if not w and e - s >= 0.4 - 1e-9]
                start = max((e for s, e in silences if s < a.start), default=0.0)
                end = min((s for s, e in silences if e > b.end), default=ends[-1])
                assert any(s < b.start < e for s, e in silences) or end - start > 11.25


def test_short_pieces_join_the_shorter_neighbour_unless_that_is_too_long():
    def alignment(*lengths):  # words of these lengths (s), 0.5 s of silence between
        words, times = [], []
        for i, length in enumerate(lengths):
            words += ([""] if i else []) + [f"w{i}"]
            times += ([0.5] if i else []) + [length]
        return words, np.cumsum(times).tolist(), sum(times)

    assert [s.text for s in split(*alignment(3, 1, 2))] == ["w0", "w1 w2"]
    assert [s.text for s in split(*alignment(2, 1, 3))] == ["w0 w1", "w2"]
    assert [s.text for s in split(*alignment(10, 1, 10))] == ["w0", "w1", "w2"]
    assert [s.text for s in split(*alignment(0.5, 0.5, 0.5, 5))] == ["w0 w1 w2", "w3"]
    assert [s.text for s in split(*alignment(3, 3), min_silence=0.6)] == ["w0 w1"]
    assert split(["", ""], [0.5, 1.0], 1.0) == []


def test_word_times_that_cannot_be_right_are_reported():
    assert disagreement([0.5, 2.0], 2.01) is None
    assert disagreement([0.5, 2.0], 1.98) is None  # rounding
    assert "lasts only 1.00" in disagreement([0.5, 2.0], 1.0)
    assert "stop at 2.00" in disagreement([0.5, 2.0], 3.0)


# ---- denoising


def a_few_utterances(samples: Path) -> list[Utterance]:
    speakers = find_speakers(samples, [SUBSET])
    return [list_utterances(speaker, alignments=True).utterances[0] for speaker in speakers[:4]]


def test_denoising_raises_the_signal_to_noise_ratio_and_leaves_clean_speech_alone(samples):
    rng = np.random.default_rng(0)
    for utterance in a_few_utterances(samples):
        clean = load(utterance.path)
        spans = [
            (round(16000 * start), round(16000 * end))
            for start, end in noise_spans(utterance.words, utterance.ends, len(clean) / 16000)
        ]
        noise = rng.standard_normal(len(clean)).astype(np.float32)
        noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10)  # 10 dB

        def snr(wav, clean=clean):
            assert wav.shape == clean.shape and wav.dtype == np.float32
            return 10 * np.log10(np.sum(clean**2) / np.sum((wav - clean) ** 2))

        assert snr(clean + noise) == pytest.approx(10, abs=0.1)
        assert snr(denoise(clean + noise, spans)) > 13.5
        assert snr(denoise(clean, spans)) > 30


@pytest.mark.parametrize("n", [0, 1, 300, 5000])
def test_denoising_without_a_noise_profile_changes_nothing(n):
    wav = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    assert denoise(wav, []) is wav
    assert denoise(wav, [(0, min(n, 600))]) is wav
    silence = np.zeros(n, np.float32)
    assert denoise(silence, [(0, n)]) is silence


# ---- preprocess_audio


def some_speakers(samples: Path, root: Path, n: int = 2, subset: str = "train-clean-100") -> Path:
    """A datasets_root with n speakers of the samples, to be changed."""
    for speaker in sorted((samples / SUBSET).iterdir())[:n]:
        shutil.copytree(speaker, root / "LibriSpeech" / subset / speaker.name)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(script: object, *args: object, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / str(script)), *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def check_rows(data: SynthesizerData) -> list[Row]:
    rows = read_rows(data.manifest)
    assert len({row.audio for row in rows}) == len(rows)
    for row in rows:
        audio, mel = np.load(data.audio_dir / row.audio), np.load(data.mels_dir / row.mel)
        assert (audio.dtype, audio.shape) == (np.int16, (row.n_samples,))
        assert (mel.dtype, mel.shape) == (np.float16, (row.n_frames, 80))
        assert row.n_samples == row.n_frames * 200 and 40 <= row.n_frames <= 900
        assert {row.audio, row.mel, row.embed} == {f"{kind}-{row.name}.npy" for kind in ("audio", "mel", "embed")}
        np.testing.assert_allclose(mel, mel_spectrogram(from_int16(audio)[:-1], MelFormat()), atol=4e-3)
        assert 0.3 < from_int16(np.abs(audio)).max() <= 1
    return rows


def test_aligned_speech_becomes_rows_that_agree_with_their_files(samples, tmp_path):
    out = run("synthesizer_preprocess_audio.py", samples, "-o", tmp_path, "-n", 2)
    assert "done without: LibriSpeech/train-clean-360" in out
    data = SynthesizerData(tmp_path)
    rows = check_rows(data)
    spoken = " ".join(line.split(" ", 1)[1] for p in sorted(samples.glob(f"{SUBSET}/*/*/*.trans.txt")) for line in p.open())
    assert " ".join(row.text for row in rows) == " ".join(spoken.split())

    times = dict(line.split("|", 1) for _, line in read_marked(data.alignments, ""))
    assert list(times) == [row.mel for row in rows]
    for row in rows:
        words, ends = (column.split(",") for column in times[row.mel].split("|"))
        ends = np.array(ends, float)
        assert len(words) == len(ends) and " ".join(word for word in words if word) == row.text
        assert (np.diff(ends) >= 0).all() and row.n_samples / 16000 - 0.0126 <= ends[-1] <= row.n_samples / 16000
    assert "utterances written: " + str(len(rows)) in data.log.read_text()


def test_unaligned_speech_is_cut_by_voice_activity(samples, tmp_path):
    preprocess_audio(some_speakers(samples, tmp_path / "in"), tmp_path / "out", alignments=False, n_processes=1)
    data = SynthesizerData(tmp_path / "out")
    rows = check_rows(data)
    transcripts = [line.split(" ", 1) for p in (tmp_path / "in").rglob("*.trans.txt") for line in p.read_text().splitlines()]
    assert {(row.name, row.text) for row in rows} <= {(f"{name}_00", text) for name, text in transcripts}
    assert len(rows) >= 14 and not [*read_marked(data.alignments, "")]


def wait_for_the_group(leader: int) -> None:
    """Until none of its processes is left, or for 20 s."""
    end = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(leader, 0)
            time.sleep(0.05)


def test_killed_and_continued_is_as_uninterrupted(samples, tmp_path):
    root, whole, out = some_speakers(samples, tmp_path / "in", 4), tmp_path / "whole", tmp_path / "out"
    preprocess_audio(root, whole, n_processes=1)
    arguments = [sys.executable, ROOT / "synthesizer_preprocess_audio.py", root, "-s", "-o", out, "-n"]
    for n_processes, n_files in ((1, 10), (2, 30)):
        command = [*map(str, arguments), str(n_processes)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and len(list(out.rglob("*.npy"))) < n_files:
            time.sleep(0.002)
        process.kill()  # only this process: its workers notice it
        assert process.wait() == -signal.SIGKILL and not (out / "train.txt").exists()
        wait_for_the_group(process.pid)
    preprocess_audio(root, out, skip_existing=True, n_processes=1)
    assert contents(out) == contents(whole)


def test_continuing_with_other_parameters_is_refused(samples, tmp_path):
    root, out = some_speakers(samples, tmp_path / "in", 1), tmp_path / "out"
    preprocess_audio(root, out, n_processes=1)
    before = contents(out)
    with pytest.raises(UserError, match="max_mel_frames=900 there, 500 here"):
        preprocess_audio(root, out, skip_existing=True, hparams="max_mel_frames=500")
    with pytest.raises(UserError, match="fmax=7600"):
        preprocess_audio(root, out, skip_existing=True, hparams="fmax=8000")
    assert contents(out) == before
    path = SynthesizerData(out).parameters
    parameters = json.loads(path.read_text())
    del parameters["preprocess"]["cleaner"], parameters["crc32"]  # a folder from before there was this setting
    write_parameters(SynthesizerData(out), parameters)
    with pytest.raises(UserError, match="cleaner=english there, basic here"):
        preprocess_audio(root, out, skip_existing=True, hparams="cleaner=basic")
    preprocess_audio(root, out, skip_existing=True)
    assert contents(out) == before
    preprocess_audio(root, out, hparams="max_mel_frames=300", n_processes=1)  # anew
    assert max(row.n_frames for row in read_rows(SynthesizerData(out).manifest)) <= 300


def test_a_further_subset_is_added_to_an_earlier_result(samples, tmp_path):
    root, out = some_speakers(samples, tmp_path / "in", 1), tmp_path / "out"
    preprocess_audio(root, out, n_processes=1)
    shutil.copytree(samples / SUBSET / "90004", root / "LibriSpeech/train-clean-360/90004")
    before = contents(out)
    with pytest.raises(UserError, match="would not be made again"):
        preprocess_audio(root, out, ["LibriSpeech/train-clean-360"], n_processes=1)
    assert contents(out) == before
    preprocess_audio(root, out, ["LibriSpeech/train-clean-360"], skip_existing=True, n_processes=1)
    preprocess_audio(root, tmp_path / "whole", n_processes=1)
    assert contents(out) == contents(tmp_path / "whole")
    assert {row.name.split("-")[0] for row in read_rows(SynthesizerData(out).manifest)} == {"90001", "90004"}


def test_bad_files_among_good_ones_are_skipped_counted_and_listed(samples, tmp_path, capsys):
    root = some_speakers(samples, tmp_path / "in")
    chapters = sorted((root / SUBSET).glob("*/*"))
    (root / SUBSET / "stray.txt").write_text("?")
    flacs = sorted(chapters[0].glob("*.flac"))
    flacs[0].write_bytes(b"")
    flacs[1].write_bytes(flacs[1].read_bytes()[:9000])
    flacs[2].write_bytes(b"no audio at all" * 100)
    wav = load(flacs[3])
    flacs[3].unlink()
    write_wav(flacs[3].with_suffix(".wav"), np.zeros_like(wav))
    chapters[1].joinpath(f"90001-{chapters[1].name}.alignment.txt").unlink()
    name = f"{chapters[2].parent.name}-{chapters[2].name}"
    path = chapters[2] / f"{name}.alignment.txt"
    lines = path.read_text().splitlines()
    lines[0] = lines[0].replace('"', "")  # does not parse
    lines[1] = f'{name}-0001 ",A,SHORT,ONE," "0.1,0.5,0.8,1.0,1.1"'  # disagrees with its audio
    words = lines[2].split('"')[1].split(",")
    lines[2] = lines[2].replace(words[1], f"{words[1]}|ZOË’S|X", 1)
    lines[3] = f'{name}-0003 "☃" "{lines[3].rsplit(",", 1)[1]}'
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    preprocess_audio(root, n_processes=1)
    out = capsys.readouterr().out
    data = SynthesizerData(root / "SV2TTS" / "synthesizer")
    rows = check_rows(data)
    log = data.log.read_text(encoding="utf-8")
    assert "skipped, unusable audio: 4" in log
    for flac in flacs:
        assert flac.stem in log
    assert "skipped, in folders without alignments: 4" in log and str(chapters[1].relative_to(root)) in log
    assert "librispeech-alignments" in out and "librispeech-alignments" in log
    assert "skipped, without word times: 1" in log and f"{path.name}, line 1" in log
    assert "skipped, alignment disagrees with audio: 1" in log and f"{name}-0001" in log
    assert "skipped, text without a readable letter: 1" in log
    assert f"a | in the text was replaced by a space: {name}-0002_00" in log
    text = next(row.text for row in rows if row.name == f"{name}-0002_00")
    assert text.startswith(f"{words[1]} ZOË’S X ")
    times = next(line for line in data.alignments.read_text(encoding="utf-8").splitlines() if f"{name}-0002_00" in line)
    assert f",{words[1]} ZOË’S X," in times and times.count("|") == 2


def test_transcripts_beside_the_audio_are_taken_as_they_come(samples, tmp_path):
    root = some_speakers(samples, tmp_path / "in", 1)
    path = sorted(root.rglob("*.trans.txt"))[0]
    name = path.name.removesuffix(".trans.txt")
    path.write_text(f"{name}-0000 Zoë | said «£5»\t!\n{name}-0001 ☃\n{name}-0002 \n", encoding="utf-8")
    preprocess_audio(root, tmp_path / "out", alignments=False, n_processes=1)
    data = SynthesizerData(tmp_path / "out")
    rows = {row.name: row for row in check_rows(data)}
    assert rows[f"{name}-0000_00"].text == "Zoë said «£5» !"
    log = data.log.read_text(encoding="utf-8")
    assert "skipped, text without a readable letter: 1" in log and "skipped, without text: 2" in log
    assert f"a | in the text was replaced by a space: {name}-0000_00" in log


def test_alignments_that_come_later_are_used(samples, tmp_path):
    root, out = some_speakers(samples, tmp_path / "in"), tmp_path / "out"
    preprocess_audio(root, tmp_path / "whole", n_processes=1)
    for path in root.rglob("*.alignment.txt"):
        path.rename(path.with_suffix(".later"))
    with pytest.raises(UserError, match=r"16 in folders without alignments.*librispeech-alignments.*--no_alignments"):
        preprocess_audio(root, out, n_processes=1)
    for path in root.rglob("*.later"):
        path.rename(path.with_suffix(".txt"))
    preprocess_audio(root, out, skip_existing=True, n_processes=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_nothing_found_or_usable_is_an_error_of_one_line(samples, tmp_path):
    root = some_speakers(samples, tmp_path / "in", 1, "dev-clean")
    (tmp_path / "empty").mkdir()
    for wrong, datasets, message in (
        (root, None, "those that exist: dev-clean"),
        (root, ["LibriSpeech/dev-clean", "LibriSpeech/train-clean-360"], "no subset 'train-clean-360'"),
        (tmp_path / "none", None, "no such folder"),
        (tmp_path / "empty", None, "is empty"),
    ):
        with pytest.raises(UserError, match=message):
            preprocess_audio(wrong, datasets=datasets)
    with pytest.raises(UserError, match="8 too short"):
        preprocess_audio(
            root, datasets=["LibriSpeech/dev-clean"], alignments=False, n_processes=1, hparams="min_mel_frames=899"
        )
    for hparams, message in (
        ("max_mel_frame=3", "max_mel_frames"),
        ("max_mel_frames=many", "not of type whole number"),
        ("sample_rate=22050", "only 16000 Hz"),
        ("cleaner=engish", "cleaner must be one of english, transliteration, basic"),
    ):
        with pytest.raises(UserError, match=message):
            preprocess_audio(root, hparams=hparams)


# ---- preprocess_embeds


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = EncoderConfig(hidden_size=8, n_layers=1)
    path = tmp_path_factory.mktemp("models") / "encoder.pt"
    content = {"format": checkpoint.stage_format("encoder"), "step": 1, "model": asdict(config), "mel": MEL_FORMAT}
    checkpoint.save(path, content | {"model_state": EncoderWithLoss(config).state_dict()})
    return path


@pytest.fixture
def data(samples, tmp_path) -> SynthesizerData:
    preprocess_audio(some_speakers(samples, tmp_path / "in"), tmp_path / "out", n_processes=1)
    return SynthesizerData(tmp_path / "out")


def test_every_row_gets_the_embedding_of_its_own_audio(data, encoder):
    out = run("synthesizer_preprocess_embeds.py", data.root, "-e", encoder, "--cpu", "-n", 2)
    rows = read_rows(data.manifest)
    as_fast_as_can_be = np.stack([np.load(data.embeds_dir / row.embed) for row in rows])
    preprocess_embeds(data.root, encoder, cpu=True, hparams="precision=fp32")
    assert f"{len(rows)} of {len(rows)} utterances embedded" in out
    embedder = SpeakerEmbedder(encoder, "cpu")
    for row in rows:
        embed = np.load(data.embeds_dir / row.embed)
        assert (embed.dtype, embed.shape) == (np.float32, (256,)) and np.linalg.norm(embed) == pytest.approx(1, abs=1e-4)
        wav = preprocess_wav(from_int16(np.load(data.audio_dir / row.audio)))
        np.testing.assert_allclose(embed, embedder.embed_utterance(wav)[0], atol=1e-5)
        assert as_fast_as_can_be[rows.index(row)] @ embed > 0.999
    assert list(rows_with_files(rows, embed=data.embeds_dir)) == rows


def test_embedding_killed_and_continued_is_as_uninterrupted(data, encoder):
    arguments = ["synthesizer_preprocess_embeds.py", data.root, "-e", encoder, "--cpu", "-s", "--hparams", "group_size=2"]
    run(*arguments)
    whole = contents(data.embeds_dir)
    shutil.rmtree(data.embeds_dir)
    process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(data.embeds_dir.glob("embed-*.npy"))) < 3:
        time.sleep(0.0005)
    process.kill()
    process.wait()
    left_by_a_kill(data.embed("x"))
    run(*arguments)
    assert contents(data.embeds_dir) == whole


def test_embeddings_of_another_encoder_are_not_mixed_in(data, encoder):
    preprocess_embeds(data.root, encoder, cpu=True)
    whole = contents(data.embeds_dir)
    other = encoder.with_name("other.pt")
    checkpoint.save(other, checkpoint.load(encoder, "encoder") | {"step": 2})
    with pytest.raises(UserError, match="another encoder"):
        preprocess_embeds(data.root, other, cpu=True, skip_existing=True)
    assert contents(data.embeds_dir) == whole


def test_audio_that_is_gone_damaged_or_without_speech_is_counted_and_listed(data, encoder, capsys):
    rows = read_rows(data.manifest)
    paths = [data.audio_dir / row.audio for row in rows]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    np.save(paths[2], np.zeros(32000, np.int16))
    preprocess_embeds(data.root, encoder, cpu=True)
    out = capsys.readouterr().out
    assert "3 utterances had a problem" in out and f"{paths[0]}: not found" in out and f"{paths[1]}: is damaged" in out
    assert f"{paths[2]}: hardly any speech" in out
    assert [(data.embeds_dir / row.embed).is_file() for row in rows] == [False, False] + [True] * (len(rows) - 2)


def test_embedding_without_its_inputs_is_an_error_of_one_line(data, encoder, tmp_path):
    with pytest.raises(UserError, match="no such encoder checkpoint"):
        preprocess_embeds(data.root, tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"train.txt: not found"):
        preprocess_embeds(tmp_path, encoder)
    (tmp_path / "train.txt").touch()
    with pytest.raises(UserError, match="holds no utterance"):
        preprocess_embeds(tmp_path, encoder)
    for path in data.audio_dir.glob("*.npy"):
        path.unlink()
    with pytest.raises(UserError, match="the audio of none of the"):
        preprocess_embeds(data.root, encoder, cpu=True)


def test_making_the_audio_anew_forgets_the_embeddings_of_the_old(data, encoder):
    preprocess_embeds(data.root, encoder, cpu=True)
    keep = data.audio_dir / "mine.wav"
    keep.touch()
    preprocess_audio(data.root.parent / "in", data.root, n_processes=1, hparams="silence_min_duration_split=0.8")
    assert not list(data.embeds_dir.glob("*.npy")) and keep.exists()
