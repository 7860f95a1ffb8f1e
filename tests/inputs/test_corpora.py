"""Corpora as users have them on disk, whole and damaged; cutting of pauses."""

import itertools
import os
import re
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoder.preprocess import preprocess
from encoder.utterances import read_table
from tests import layouts
from tests.layouts import TEXTS, write_audio, write_text
from utils import corpora
from utils.corpora.alignments import parse_alignment
from utils.corpora.layout import MAX_NAME_BYTES, disk_name
from utils.corpora.lines import LineIndex
from utils.corpora.preflight import N_HEADERS, N_SPEAKERS, Need, preflight
from utils.data import audio, decoding, vad
from utils.errors import UserError


def utterance(folder, name, text=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.flac").write_bytes(b"not opened when listing")
    if text:
        with (folder / f"{folder.parent.name}-{folder.name}.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{name} {text}\n")


def test_librispeech_as_it_comes(samples):
    speakers = corpora.find_speakers(samples, ["LibriSpeech/test-clean", "librispeech/train-clean-100"])
    assert len(speakers) == 12 and [s.id for s in speakers] == sorted(s.id for s in speakers)
    for speaker in speakers:
        listing = corpora.list_utterances(speaker, texts=True, alignments=True)
        assert not listing.problems and not listing.chapters_without_alignments
        for utterance in listing.utterances:
            assert utterance.path.is_file() and utterance.text
            assert " ".join(filter(None, utterance.words)) == utterance.text
            assert len(utterance.words) == len(utterance.ends)


def test_other_files_are_ignored(tmp_path):
    subset = tmp_path / "LibriSpeech" / "dev"
    utterance(subset / "7" / "8", "7-8-0001", "HELLO")
    utterance(subset / "7" / "8", "7-8-0000", "WORLD")
    (subset / "7" / "8" / "._7-8-0000.flac").write_bytes(b"")
    (subset / "7" / "notes.txt").write_text("stray")
    (subset / "SPEAKERS.TXT").write_text("stray")
    (subset / "README").mkdir()
    (speaker,) = corpora.find_speakers(tmp_path, ["LibriSpeech/dev", "LibriSpeech/dev"])
    listing = corpora.list_utterances(speaker, texts=True, alignments=True)
    assert [(u.name, u.text) for u in listing.utterances] == [("7-8-0000", "WORLD"), ("7-8-0001", "HELLO")]
    assert listing.chapters_without_alignments == [str(subset / "7" / "8")] and not listing.problems


def test_a_damaged_text_costs_one_utterance(tmp_path):
    chapter = tmp_path / "LibriSpeech" / "dev" / "7" / "8"
    for number in range(3):
        utterance(chapter, f"7-8-000{number}", "HELLO")
    (chapter / "7-8.alignment.txt").write_text(
        '7-8-0000 ",HELLO," "0.1,0.2,0.3"\n7-8-0001 ",HELLO," "0.1,0.2"\n7-8-0009 "" "1.0"\n'
    )
    (speaker,) = corpora.find_speakers(tmp_path, ["LibriSpeech/dev"])
    listing = corpora.list_utterances(speaker, texts=True, alignments=True)
    assert [u.ends for u in listing.utterances] == [(0.1, 0.2, 0.3), None, None]
    assert "7-8.alignment.txt, line 2: 3 words but 2 times" in listing.problems[0]
    assert "no line for 7-8-0002" in listing.problems[1] and len(listing.problems) == 2

    (chapter / "7-8.trans.txt").write_bytes("7-8-0000 CAFÉ\n".encode("latin-1"))
    listing = corpora.list_utterances(speaker, texts=True)
    assert all(u.text is None for u in listing.utterances)
    assert "7-8.trans.txt: not UTF-8" in listing.problems[0]


@pytest.mark.parametrize(
    "line",
    [
        '1-2-3 "A,B" "0.2,0.1"',
        '1-2-3 "A,B" "0.1,x"',
        '1-2-3 "A,B" "0.1,nan"',
        '1-2-3 "A,B" "-1,0.1"',
        '1-2-3 "A,B" "0.1"',
        '1-2-3 "A,B"',
        "1-2-3",
        "",
    ],
)
def test_bad_alignment_lines(line):
    with pytest.raises(ValueError):
        parse_alignment(line)


def test_errors_name_what_is_missing(tmp_path, samples):
    cases = [
        (tmp_path / "absent", ["voxceleb1"], "no such folder"),
        (tmp_path, ["voxceleb1"], "is empty"),
        (samples, ["LibriSpeech/train-clean-360"], "test-clean, train-clean-100"),
        (samples, ["LibriSpeech"], "test-clean, train-clean-100"),
        (samples, ["voxceleb2"], "VoxCeleb2: no such folder"),
        (samples, ["librespeech"], "known are LibriSpeech"),
    ]
    for root, names, message in cases:
        with pytest.raises(UserError, match=message):
            corpora.find_speakers(root, names)
    (tmp_path / "LibriSpeech" / "dev").mkdir(parents=True)
    with pytest.raises(UserError, match="no speaker found; looked for"):
        corpora.find_speakers(tmp_path, ["LibriSpeech/dev"])


def test_pauses_are_cut_and_speech_is_kept(samples):
    wav = audio.load(next((samples / "LibriSpeech").rglob("*.flac")))
    pause = np.zeros(3 * 16000, dtype=np.float32)
    alone, between = vad.trim_silences(wav), vad.trim_silences(np.concatenate([wav, pause, wav]))
    assert 0.5 * len(wav) < len(alone) <= len(wav)
    assert abs(len(between) - 2 * len(alone)) < 0.5 * 16000
    for silent in (pause, pause[:100], pause[:0]):
        assert vad.trim_silences(silent).shape == (0,)


# ---- other corpora


@pytest.fixture(scope="module")
def waves(samples):
    return layouts.sample_waves(samples, 3)


@pytest.fixture
def silence():
    """For tests that only list files."""
    return [np.zeros(160, np.float32)] * 3


def listings(root, name):
    """{speaker: {utterance: text}} and all problems."""
    listed = {s.id: corpora.list_utterances(s, texts=True) for s in corpora.find_speakers(root, [name])}
    texts = {speaker: {u.name: u.text for u in listing.utterances} for speaker, listing in listed.items()}
    return texts, [problem for listing in listed.values() for problem in listing.problems]


def test_published_layouts_give_speakers_names_and_texts_with_punctuation(tmp_path, silence):
    stems = {
        "libritts": "90001_100010_00000{}_000000",
        "vctk_080": "{speaker}_00{}",
        "vctk_092": "{speaker}_00{}",
        "mailabs": "emma+emma_01_f00000{}",
        "folder": "day{}+0001",
        "manifest": "clips+{speaker}{}",
    }
    expected = {
        "libritts": ["LibriTTS_dev-clean_90001"],
        "vctk_080": ["VCTK-Corpus_p225", "VCTK-Corpus_p315", "VCTK-Corpus_s5"],
        "vctk_092": ["VCTK-Corpus-0.92_p225"],
        "mailabs": [f"M-AILABS_en_US_{name}" for name in ("elliot_miller", "judy_bieber", "mix_judy_bieber")],
        "folder": ["own+voices_anna", "own+voices_bo"],
        "manifest": ["listed_anna", "listed_bo"],
    }
    for build in layouts.WITH_TEXTS:
        texts, problems = listings(tmp_path, build(tmp_path, silence))
        assert list(texts) == expected[build.__name__]
        for speaker, text_of in texts.items():
            names = [stems[build.__name__].format(i, speaker=speaker.split("_")[-1]) for i in range(3)]
            assert text_of == dict.fromkeys(names) if speaker.endswith("p315") else dict(zip(names, TEXTS, strict=True))
        assert len(problems) == (build is layouts.vctk_080) and all("3 of 3 audio files have no text" in p for p in problems)


def test_voxceleb_keeps_anglophone_speakers_unless_all_are_asked_for(tmp_path, silence):
    write_audio(tmp_path / "VoxCeleb1/wav/id10001/a_b-c/00001.wav", silence[0])
    with pytest.raises(UserError, match="vox1_meta.csv.*-d VoxCeleb1/all"):
        corpora.find_speakers(tmp_path, ["voxceleb1"])
    assert len(corpora.find_speakers(tmp_path, ["voxceleb1/all"])) == 1
    layouts.voxceleb1(tmp_path, silence)
    (kept,) = corpora.find_speakers(tmp_path, ["voxceleb1"])
    assert kept.id == "VoxCeleb1_id10001"
    assert [u.name for u in corpora.list_utterances(kept).utterances] == ["a_b-c_00000", "a_b-c_00001", "a_b-c_00002"]
    everyone = corpora.find_speakers(tmp_path, ["voxceleb1/all", "voxceleb1"])
    assert [s.id for s in everyone] == ["VoxCeleb1_id10001", "VoxCeleb1_id10002"] and everyone[0] == kept
    layouts.voxceleb2(tmp_path, silence)
    assert [s.id for s in corpora.find_speakers(tmp_path, ["voxceleb2"])] == ["VoxCeleb2_id00012"]
    present, absent = corpora.split_present(tmp_path, ["voxceleb1/all", "librispeech_other"])
    assert (present, absent) == (["VoxCeleb1/all"], ["LibriSpeech/train-other-500"])
    with pytest.raises(UserError, match="no subset 'some'; those that exist: all"):
        corpora.find_speakers(tmp_path, ["voxceleb1/some"])


def test_two_releases_of_vctk_are_reported_apart(tmp_path, silence):
    layouts.vctk_080(tmp_path, silence)
    assert {s.corpus for s in corpora.find_speakers(tmp_path, ["vctk"])} == {"VCTK-Corpus"}
    layouts.vctk_092(tmp_path, silence)
    with pytest.raises(UserError, match="which of VCTK-Corpus, VCTK-Corpus-0.92 is meant"):
        corpora.find_speakers(tmp_path, ["vctk"])
    assert [s.id for s in corpora.find_speakers(tmp_path, ["vctk-corpus-0.92"])] == ["VCTK-Corpus-0.92_p225"]


def test_damaged_transcripts_cost_their_own_utterances_and_are_reported(tmp_path, silence):
    names = [build(tmp_path, silence) for build in (layouts.libritts, layouts.mailabs, layouts.folder)]
    first = tmp_path / "LibriTTS/dev-clean/90001/100010/90001_100010_000000_000000.normalized.txt"
    first.write_text(" \n")
    first.with_name("90001_100010_000001_000000.original.txt").unlink()
    table = tmp_path / "M-AILABS/en_US/by_book/female/judy_bieber/emma/metadata.csv"
    table.write_text(f"emma_01_f000000;{TEXTS[0]}\nemma_01_f000001|{TEXTS[1]}|{TEXTS[1]}\n", encoding="utf-8")
    anna = tmp_path / "own/voices/anna"
    (anna / "day1/0001.txt").write_bytes("Zoë".encode("latin-1"))
    shutil.copy(anna / "day2/0001.wav", anna / "day2/0001.flac")
    texts, problems = listings(tmp_path, names[0])
    assert [*texts["LibriTTS_dev-clean_90001"].values()] == [None, None, TEXTS[2]]
    assert f"{first}: is empty" in problems and "1 of 3 audio files have no text" in problems[-1]
    texts, problems = listings(tmp_path, names[1])
    assert [*texts["M-AILABS_en_US_judy_bieber"].values()] == [None, TEXTS[1], None]
    assert f"{table}, line 1: 1 columns" in problems[0] and "emma_01_f000000.wav, emma_01_f000002.wav" in problems[1]
    texts, problems = listings(tmp_path, names[2])
    assert texts["own+voices_anna"] == {"day0+0001": TEXTS[0], "day1+0001": None, "day2+0001": TEXTS[2]}
    assert "0001.wav: another file is called day2+0001 too" in problems[0] and "0001.txt: not UTF-8 (byte 2)" in problems[1]


def test_one_folder_of_audio_is_one_speaker(tmp_path, silence):
    write_audio(tmp_path / "me" / "1.wav", silence[0])
    (speaker,) = corpora.find_speakers(tmp_path, ["me"])
    assert speaker.id == "me_me" and [u.name for u in corpora.list_utterances(speaker).utterances] == ["1"]
    (tmp_path / "me" / "other").mkdir()
    with pytest.raises(UserError, match="put each speaker's audio into a folder of its own"):
        corpora.find_speakers(tmp_path, ["me"])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["x/1.wav|a|One, | two.", "2.wav|b|", "/3.wav|a|3"], {"a": {"x+1": "One, | two.", "3": "3"}, "b": {"2": None}}),
        (["1.wav|a", "2.wav|b", "3.wav|a"], {"a": {"1": None, "3": None}, "b": {"2": None}}),
        (["1.wav\ta\t1.25\tOne | 1.", "2.wav\ta\t3\tTwo"], {"a": {"1": "One | 1.", "2": "Two"}}),
        (["Text\tid\tSpeaker\tPath", "A.\t7\ta\t1.wav", "B\t8\tspeaker\t2.wav"], {"a": {"1": "A."}, "speaker": {"2": "B"}}),
        (["file|speaker", "1.wav|speaker"], {"speaker": {"1": None}}),
    ],
)
def test_manifests_of_all_shapes(tmp_path, lines, expected):
    path = tmp_path / "in" / "list.tsv"
    path.parent.mkdir()
    for newline, mark in itertools.product(("\n", "\r\n"), ("", "\ufeff")):
        path.write_bytes((mark + newline.join([*lines, ""])).encode())
        texts, problems = listings(tmp_path, "in/list.tsv")
        assert {speaker.removeprefix("in+list_"): text_of for speaker, text_of in texts.items()} == expected and not problems


def test_unusable_lines_of_a_manifest_are_reported_once(tmp_path, monkeypatch):
    path = tmp_path / "m.txt"
    path.write_bytes(
        "1.wav|b|One\n2.wav|a\n\n|a|no file\n3.wav||nobody\n4.wav|a|Zwölf\n5.wav|ä|Fü".encode("latin-1") + b"\n1.wav|b|again\n"
    )
    texts, problems = listings(tmp_path.parent, f"{tmp_path.name}/m.txt")
    assert texts == {f"{tmp_path.name}+m_b": {"1": "One"}}
    assert [p.split(":")[0].split(" ")[-1] for p in problems[:-1]] == ["2", "4", "5", "6", "7"] and "called 1 too" in problems[
        -1
    ]
    monkeypatch.chdir(tmp_path)  # a manifest may also be named by its path from here
    assert len(corpora.find_speakers(tmp_path.parent, ["m.txt"])) == 1
    for wrong, message in (
        ("1.wav\n", "m.txt: its columns do not tell"),
        ("", "do not tell which"),
        ("audio|speaker|text\n", "no speaker found"),
    ):
        path.write_text(wrong)
        with pytest.raises(UserError, match=message):
            corpora.find_speakers(tmp_path, ["m.txt"])
    with pytest.raises(UserError, match="n.txt: no such manifest"):
        corpora.find_speakers(tmp_path, ["n.txt"])


# ---- names on disk


def test_no_two_utterances_share_a_name_and_librispeech_keeps_its_own(tmp_path, samples, silence):
    shutil.copytree(samples / layouts.LIBRISPEECH / "90001", tmp_path / layouts.LIBRISPEECH / "90001")
    shutil.copytree(samples / layouts.LIBRISPEECH / "90001", tmp_path / "LibriSpeech/mine/90001")
    names = [layouts.LIBRISPEECH, "LibriSpeech/mine"]
    names += [build(tmp_path, silence) for build in (*layouts.WITH_TEXTS, layouts.voxceleb1, layouts.voxceleb2)]
    names += [layouts.folder(tmp_path, silence, "90001"), layouts.manifest(tmp_path, silence, "listed/more.txt")]
    speakers = corpora.find_speakers(tmp_path, names)
    stems = [corpora.stem(speaker, u.name) for speaker in speakers for u in corpora.list_utterances(speaker).utterances]
    assert len(stems) == len(set(stems)) > 60 and len({speaker.id for speaker in speakers}) == len(speakers)
    published = {path.stem for path in (tmp_path / layouts.LIBRISPEECH).rglob("*.flac")}
    assert {stem for stem in stems if stem.split("-")[0] == "90001"} == published


def test_speakers_of_one_name_are_refused(tmp_path, silence):
    layouts.folder(tmp_path, silence, "en")
    layouts.manifest(tmp_path, silence, "en/manifest.txt")
    with pytest.raises(UserError, match="both would be called en_anna"):
        corpora.find_speakers(tmp_path, ["en/manifest.txt", "en"])


def test_names_fit_every_table_and_file_system_and_stay_apart():
    rng = np.random.default_rng(0)
    alphabet = ["a", "b", "_", "-", " ", "|", "\t", "\n", "/", "é", "\udcff", "漢", ".", "+"]
    names = {"".join(rng.choice(alphabet, rng.integers(1, 8))) for _ in range(3000)} | {"x" * 300, "x" * 301, "漢" * 100}
    safe = [disk_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name, changed in zip(names, safe, strict=True):
        assert not set(changed) & set("|\t\n/\udcff") and changed == " ".join(changed.split())
        assert len(changed.encode()) <= MAX_NAME_BYTES + 11
        assert changed == name or "~" in changed
    assert disk_name("90001-100010-0000") == "90001-100010-0000" and disk_name("M. Müller+1") == "M. Müller+1"


# ---- word times


def test_lines_are_found_by_their_keys(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "lines"
    lines = [f"{rng.integers(50)} {i}" for i in range(400)]
    path.write_text("\n".join(lines))
    index = LineIndex(path, lambda line: line.split(b" ")[0], keep_keys=True)
    assert index.keys == {line.split(" ")[0].encode() for line in lines}
    for key in range(60):
        expected = [(i + 1, line.encode()) for i, line in enumerate(lines) if line.split(" ")[0] == str(key)]
        assert index.find(str(key).encode()) == expected


def test_the_nearest_word_times_count_and_what_is_wrong_with_them_is_reported(tmp_path, silence):
    name = layouts.folder(tmp_path, silence)
    top = tmp_path / name
    for i in range(3):  # two files of a speaker may have one stem: their paths tell them apart
        write_audio(top / "anna" / f"0{i}.wav", silence[0])
    lines = ['anna/day0/0001 "TOP" "1"', '00 "TOP" "1"', '01 "TOP" "1"', 'anna/02 "A" "1"', '02 "B" "1"', '02 "C" "1"']
    lines += ['bo/day0/0001 "A" "2,1"', 'bo/day1/0001 "A" "1"', 'bo/day1/0001 "A" "1"']
    write_text(top / "alignment.txt", "\n".join(lines))
    write_text(top / "anna" / "alignment.txt", '00 "NEAR" "1"\nday1/0001 "NEAR" "1"\n')
    write_text(top / "anna" / "day1" / "alignment.txt", '0001 "NEAREST" "1"\n')
    (top / "bo" / "alignment.txt").write_bytes('day2/0001 "Ä" "1"'.encode("latin-1"))
    anna, bo = (corpora.list_utterances(speaker, alignments=True) for speaker in corpora.find_speakers(tmp_path, [name]))
    words = {u.name: u.words and u.words[0] for u in anna.utterances}
    assert words == {"day0+0001": "TOP", "day1+0001": "NEAREST", "day2+0001": None, "00": "NEAR", "01": "TOP", "02": "A"}
    assert anna.problems == [f"{top / 'anna/alignment.txt'}: no line for day2+0001"]
    assert [u.words for u in bo.utterances] == [None] * 3
    reasons = ("line 7: 1 words but 2 times", "line 8: line 9 is for the same", "line 1: not UTF-8")
    assert len(bo.problems) == 3 and all(reason in problem for reason, problem in zip(reasons, bo.problems, strict=True))


# ---- preflight


def test_preflight_tells_what_is_there_and_what_is_missing(tmp_path, samples, waves, capsys):
    names = [build(tmp_path, waves) for build in layouts.WITH_TEXTS]
    shutil.copytree(samples / layouts.LIBRISPEECH / "90001", tmp_path / layouts.LIBRISPEECH / "90001")
    next((tmp_path / "LibriSpeech").rglob("*.alignment.txt")).unlink()
    (tmp_path / "listed/alignment.txt").touch()
    speakers = corpora.find_speakers(tmp_path, [*names, layouts.LIBRISPEECH])
    preflight(tmp_path, speakers, tmp_path / "SV2TTS" / "x", Need(3600, 100), texts=True, alignments=True)
    out = capsys.readouterr().out
    assert "LibriTTS_dev-clean: 1 speakers, 3 files, about 0.0017 h" in out
    assert "VCTK-Corpus: 3 speakers, 9 files, about 0.005 h" in out
    assert "missing: 3 files of VCTK-Corpus have no text, e.g. VCTK-Corpus/wav48/p315/p315_000.wav" in out
    assert "missing: 4 files of LibriSpeech_train-clean-100 are without word times; they are left out" in out
    assert "missing: 6 files of own+voices are without word times; they are used whole" in out
    assert out.count("missing") == 7 and "of listed" not in out
    seconds = 36 * 2 + sum(len(audio.load(path)) for path in (tmp_path / "LibriSpeech").rglob("*.flac")) / 16000
    assert f"{(3600 * seconds + 44 * 100) / 1e6:.1f} MB needed" in out


def test_preflight_stops_what_cannot_end_well(tmp_path, silence, monkeypatch, capsys):
    layouts.voxceleb1(tmp_path, [np.zeros(160000, np.float32)])
    speakers = corpora.find_speakers(tmp_path, ["voxceleb1"])
    with pytest.raises(UserError, match="VoxCeleb1: has no transcripts"):
        preflight(tmp_path, speakers, tmp_path, Need(1), texts=True)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(5_000_000))
    with pytest.raises(UserError, match="10.0 MB will be written, but only 5.0 MB are free there.*--ignore_space"):
        preflight(tmp_path, speakers, tmp_path / "out", Need(1e6))
    preflight(tmp_path, speakers, tmp_path / "out", Need(1e6), ignore_space=True)
    preflight(tmp_path, speakers, tmp_path / "out", Need(1e5))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(100_000))
    for directory, _, files in os.walk(tmp_path / "VoxCeleb1/wav"):
        for file in files:
            write_audio(Path(directory) / file, np.zeros(160000, np.float32))
    with pytest.raises(UserError, match="0.2 MB will be written.*--ignore_space"):
        preprocess(tmp_path, datasets=["voxceleb1"], n_processes=1)
    assert not (tmp_path / "SV2TTS").exists()
    for path in (tmp_path / "VoxCeleb1/wav").rglob("*.wav"):
        path.unlink()
    with pytest.raises(UserError, match="no audio file below the folders of the 1 speakers"):
        preflight(tmp_path, speakers, tmp_path, Need(1), ignore_space=True)


def test_preflight_of_many_speakers_looks_at_a_sample_alone(tmp_path, waves, monkeypatch, capsys):
    source = write_audio(tmp_path / "source.wav", waves[0])
    for i in range(500):
        folder = tmp_path / "many" / f"speaker{i}"
        folder.mkdir(parents=True)
        for k in range(1 + i % 3):
            os.link(source, folder / f"{k}.wav")
    speakers = corpora.find_speakers(tmp_path, ["many"])
    listed, scan = [], os.scandir
    monkeypatch.setattr("os.scandir", lambda folder: listed.append(folder) or scan(folder))
    opened, load = [], decoding.seconds
    monkeypatch.setattr("utils.data.decoding.seconds", lambda path: opened.append(path) or load(path))
    preflight(tmp_path, speakers, tmp_path, Need(1))
    assert len(listed) == N_SPEAKERS and len(opened) == N_HEADERS
    found = re.search(r"many: 500 speakers, about ([\d,]+) files, about ([\d.]+) h", capsys.readouterr().out)
    assert float(found[1].replace(",", "")) == pytest.approx(1000, rel=0.1) and float(found[2]) == pytest.approx(
        2000 / 3600, rel=0.1
    )


# ---- real files


FILES = [("m4a", 44100, 2), ("m4a", 16000, 1), ("wav", 44100, 2), ("wav", 8000, 1), ("flac", 48000, 1), ("ogg", 44100, 1)]


@pytest.mark.parametrize(("suffix", "rate", "channels"), [*FILES, ("mp3", 44100, 2)])
def test_files_of_all_kinds_hold_the_same_speech(tmp_path, waves, suffix, rate, channels):
    decoded = audio.load(write_audio(tmp_path / f"a.{suffix}", waves[0], rate, channels))
    n = len(waves[0])
    assert decoded.dtype == np.float32 and n - 1 <= len(decoded) <= n + 4096  # AAC and MP3 come in whole blocks
    cepstra = [np.log(audio.encoder_mel(audio.normalize_volume(wav, -30.0)) + 1e-6)[:, :30] for wav in (waves[0], decoded)]
    starts = range(min(12, len(cepstra[1]) - len(cepstra[0]) + 1))
    parts = [cepstra[1][start : start + len(cepstra[0])] for start in starts]
    assert max(np.corrcoef(cepstra[0].ravel(), part.ravel())[0, 1] for part in parts) > 0.97


def test_the_encoder_takes_every_corpus(tmp_path, waves):
    builders = (*layouts.WITH_TEXTS, layouts.voxceleb1, layouts.voxceleb2)
    names = [build(tmp_path / "in", waves) for build in builders]
    away = tmp_path / "away"  # a manifest may lie outside datasets_root
    names.append(str(away / layouts.manifest(away, waves)))
    names = [name for name in names if name != "listed/manifest.txt"]
    preprocess(tmp_path / "in", tmp_path / "out", names, n_processes=1, hparams="min_frames=50")
    rows = {path.parent.name: read_table(path).rows for path in (tmp_path / "out").glob("*/utterances.tsv")}
    assert len(rows) == 14 and {len(lines) for lines in rows.values()} == {3}
    lengths = {speaker: [row.n_frames for row in table] for speaker, table in rows.items()}
    reference = lengths["M-AILABS_en_US_judy_bieber"]
    assert all(np.allclose(each, reference, rtol=0.2) for each in lengths.values())
    source = rows["listed_anna"][0].source
    assert source.startswith("../away/") and (tmp_path / "in" / source).is_file()


def test_recordings_are_found_whatever_they_are_called(samples, tmp_path):
    sound = min((samples / "LibriSpeech").rglob("*.flac"))
    waves = {
        "utterance_0001": "FLAC",
        "utt.0001": "WAV",
        "utt.0002": "AIFF",
        "b.dat": "MP3",
        "c.RECORDING": "OGG",
        "d.wav": "WAV",
    }
    speaker = tmp_path / "voices" / "anna"
    speaker.mkdir(parents=True)
    stems = {name: name if name.startswith("utt") else name.partition(".")[0] for name in waves}
    for name, form in waves.items():
        soundfile.write(speaker / name, soundfile.read(sound)[0][:8000], 16000, format=form)
        (speaker / f"{stems[name]}.txt").write_text(f"This is {stems[name]}.")
    webp = b"RIFF\0\0\0\0WEBPVP8 " + bytes(50)
    for name, content in {
        "notes": b"Some text.",
        "x.bin": bytes(99),
        "t.dat": "text".encode("utf-16"),
        "p": webp,
        "e": b"",
    }.items():
        (speaker / name).write_bytes(content)
    for corpus in ("voices", "voices/anna"):  # as a sub-folder, and alone
        (found,) = corpora.find_speakers(tmp_path, [corpus])
        listing = corpora.list_utterances(found, True)
        assert {each.path.name: each.text for each in listing.utterances} == {
            name: (speaker / f"{stem}.txt").read_text() for name, stem in stems.items()
        }
        assert sorted(each.name for each in listing.utterances) == sorted(stems.values()) and not listing.problems
