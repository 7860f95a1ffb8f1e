"""Lists of recordings as the field writes them, from the list to rows of train.txt."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from encoder.preprocess import preprocess
from synthesizer.preprocess import preprocess_audio
from tests import layouts
from tests.layouts import write_audio, write_text
from utils import corpora
from utils.corpora import Asked
from utils.corpora.manifest import MANIFEST
from utils.data.paths import SynthesizerData
from utils.data.rows import read_rows
from utils.errors import UserError

SAID = ["Well, he said no.", 'The "last" day, of 1815.', "And then? Nobody came."]  # what is in the three recordings
WRITTEN = "The last day of eighteen fifteen."
TWO = ["anna", "anna", "bo"]


def lines(*columns, separator="|"):
    return "".join(separator.join(row) + "\n" for row in zip(*columns, strict=True))


def names(pattern):
    return [pattern.format(i) for i in range(3)]


def quoted(values):
    return ['"' + value.replace('"', '""') + '"' for value in values]


JSON = "".join(
    json.dumps({"audio_filepath": f"audio/92_clean/7/{i}.wav", "text": "x", "text_normalized": text, "duration": 2.0}) + "\n"
    for i, text in enumerate(SAID)
)
NEMO = "".join(
    json.dumps({"audio_filepath": f"/gone/set/wavs/{i}.wav", "duration": 2.0, "text": SAID[i], "speaker": s}) + "\n"
    for i, s in enumerate((3, 3, 4))
)
CLIENTS = [c * 128 for c in "aab"]
# name: ({file: content}, where the three recordings are, what -d names, how it is taken, the speakers)
FORMATS = {
    "LJSpeech": (
        {"metadata.csv": lines(names("LJ001-000{}"), SAID, [SAID[0], WRITTEN, SAID[2]])},
        *("wavs/LJ001-000{}.wav", "", "taken as LJSpeech (audio|text|normalised); audio: name is wavs/name.wav", ["set"] * 3),
    ),
    "piper": ({"metadata.csv": lines(names("{}.wav"), SAID)}, "wavs/{}.wav", "metadata.csv", "audio|text", ["set"] * 3),
    "piper, several": ({"metadata.csv": lines("012", TWO, SAID)}, "wavs/{}.wav", "", "audio|speaker|text", TWO),
    "Coqui": (
        {"train.csv": "audio_file|text|speaker_name\n" + lines(names("wavs/{}.wav"), SAID, TWO)},
        *("wavs/{}.wav", "train.csv", "taken as Coqui (audio_file|text|speaker_name)", TWO),
    ),
    "columns swapped": ({"l.txt": lines(names("wavs/{}.wav"), SAID, TWO)}, "wavs/{}.wav", "l.txt", "audio|text|speaker", TWO),
    "VITS": (
        {"filelists/train.txt": lines(names("DUMMY2/p1/{}.wav"), ["88", "88", "4"], SAID)},
        *("wavs/p1/{}.wav", "filelists/train.txt", "audio|speaker|text", ["88", "88", "4"]),
    ),
    "Common Voice": (
        {
            "validated.tsv": "client_id\tpath\tsentence\tage\n"
            + lines(CLIENTS, names("{}.mp3"), SAID, ["", "20", ""], separator="\t")
        },
        *("clips/{}.mp3", "", "taken as Common Voice (client_id path sentence age)", CLIENTS),
    ),
    "Hugging Face": (
        {"metadata.csv": "file_name,transcription\n" + lines(names("data/{}.wav"), quoted(SAID), separator=",")},
        *("data/{}.wav", "", "taken as Hugging Face (file_name,transcription)", ["set"] * 3),
    ),
    "GPT-SoVITS": (
        {"a.list": lines(names(r"D:\voices\wavs\{}.wav"), TWO, ["en", "EN", "en"], SAID)},
        *("wavs/{}.wav", "a.list", "taken as GPT-SoVITS (audio|speaker|language|text)", TWO),
    ),
    "NeMo": ({"m.jsonl": NEMO}, "wavs/{}.wav", "m.jsonl", "taken as NeMo", ["3", "3", "4"]),
    "a table": (
        {"t.csv": 'speaker;Path;"Text"\n' + lines(TWO, names("{}.flac"), quoted(SAID), separator=";")},
        *("{}.flac", "t.csv", "a table (speaker;path;text)", TWO),
    ),
    "Kaldi": (
        {
            "data/train/wav.scp": "a-0 flac -c -d -s wavs/0.flac |\na-1 wavs/1.flac\nb-2 wavs/2.flac\n",
            "data/train/text": lines(["a-0", "a-1", "b-2"], SAID, separator=" "),
            "data/train/utt2spk": lines(["a-0", "a-1", "b-2"], TWO, separator=" "),
        },
        *("wavs/{}.flac", "data/train", "taken as Kaldi (wav.scp, utt2spk, text)", TWO),
    ),
    "HiFiTTS": ({"92_manifest_clean_train.json": JSON}, "audio/92_clean/7/{}.wav", "hi_fi_tts_v0", None, ["92"] * 3),
}


@pytest.fixture(scope="module")
def waves(samples):
    return layouts.sample_waves(samples, 3)


def build(root: Path, name: str, waves, mark: str = "", newline: str = "\n") -> str:
    """Write a list and its recordings to <root>/set; returns what -d names."""
    files, audio, named, _, _ = FORMATS[name]
    folder = "hi_fi_tts_v0" if name == "HiFiTTS" else "set"
    for path, content in files.items():
        write_text(root / folder / path, mark + content.replace("\n", newline))
    for i, wav in enumerate(waves):
        write_audio(root / folder / audio.format(i), wav)
    return named if name == "HiFiTTS" else f"set/{named}".rstrip("/")


def spoken(root: Path, named: str, asked=None) -> list[tuple[str, str, str]]:
    """(file, speaker, text) of every utterance."""
    found = []
    for speaker in corpora.find_speakers(root, [named], asked):
        listing = corpora.list_utterances(speaker, texts=True)
        assert not listing.problems
        found += [(u.path.stem[-1], speaker.name, u.text) for u in listing.utterances]
    return sorted(found)


@pytest.mark.parametrize("name", FORMATS)
def test_lists_of_the_field_are_taken_as_they_are_meant(name, tmp_path, waves, capsys):
    *_, told, speakers = FORMATS[name]
    texts = [SAID[0], WRITTEN, SAID[2]] if name == "LJSpeech" else SAID
    expected = [*zip("012", speakers, texts, strict=True)]
    for newline, mark in itertools.product(("\n", "\r\n", "\r"), ("", "\ufeff")):
        shutil.rmtree(tmp_path, ignore_errors=True)
        named = build(tmp_path, name, [np.zeros(160, np.float32)] * 3, mark if name != "HiFiTTS" else "", newline)
        assert spoken(tmp_path, named) == expected
    build(tmp_path, name, waves)
    preprocess_audio(tmp_path, tmp_path / "out", [named], n_processes=1)
    out = capsys.readouterr().out
    assert sorted(row.text for row in read_rows(SynthesizerData(tmp_path / "out").manifest)) == sorted(texts)
    if told:
        assert told in out and out.count("    audio ") in (2, 3) and f"speaker {speakers[0]}, text 'Well, he said no.'" in out
    preprocess(tmp_path, tmp_path / "encoder", [named], n_processes=1, hparams="min_frames=50")
    made = {path.parent.name for path in (tmp_path / "encoder").glob("*/utterances.tsv")}
    assert len(made) == len(set(speakers))


@pytest.mark.parametrize(
    ("text", "columns", "speaker", "problem"),
    [
        ("0.wav|Yes\n1.wav|No\n2.wav|Maybe\n", "audio,text", "", "could be audio|text or audio|speaker"),
        ("0.wav|Yes\n1.wav|No\n2.wav|Maybe\n", "audio,speaker", "", "--columns"),
        ("0.wav|a|Yes\n1.wav|b|No\n2.wav|c|Maybe\n", "audio,speaker,text", "", "or audio|text|speaker"),
        (
            "".join(f"{i}.wav|a|{said}|x y z\n" for i, said in enumerate(("Yes it is.", "No, never.", "Maybe so."))),
            "audio,speaker,text,-",
            "",
            "do not tell",
        ),
        ("0|0.wav|Yes it is.\n1|1.wav|No it is not.\n2|2.wav|Maybe.\n", "-,audio,text", "", "do not tell which is audio"),
        ("a/0.wav|Yes it is.\nb/1.wav|No.\nb/2.wav|Perhaps so.\n", "", "folder", "its audio is in several folders"),
        ("a/0.wav|Yes it is.\nb/1.wav|No.\nb/2.wav|Perhaps so.\n", "", "me", "--speaker NAME"),
    ],
)
def test_what_is_ambiguous_is_asked_for(tmp_path, text, columns, speaker, problem):
    write_text(tmp_path / "set/list.txt", text)
    for place in ("0.wav", "1.wav", "2.wav", "a/0.wav", "b/1.wav", "b/2.wav"):
        write_audio(tmp_path / "set" / place, np.zeros(160, np.float32))
    with pytest.raises(UserError) as error:
        corpora.find_speakers(tmp_path, ["set/list.txt"])
    assert problem in str(error.value) and "\n" not in str(error.value)
    found = spoken(tmp_path, "set/list.txt", Asked(tuple(filter(None, columns.split(","))), speaker))
    assert [file for file, _, _ in found] == ["0", "1", "2"]
    people = {"folder": ["a", "b", "b"], "me": ["me"] * 3}.get(speaker, ["set"] * 3)
    if "speaker" in columns:
        people = [line.split("|")[1] for line in text.splitlines()]
    assert [who for _, who, _ in found] == people
    if "text" in columns:
        at = columns.split(",").index("text")
        assert [said for _, _, said in found] == [line.split("|")[at] for line in text.splitlines()]


@pytest.mark.parametrize(("separator", "newline"), itertools.product(",;", ("\n", "\r\n", "\r")))
def test_line_breaks_within_quotes_are_spaces(tmp_path, separator, newline):
    """With a header or --columns. A quote that is not closed takes no other rows, and lines keep their numbers."""
    said = ['One\n"more"\n\nline, yes; well.', "Nothing more.", "The last\none."]
    rows = lines(names("{}.wav"), TWO, quoted(said), separator=separator)
    path = tmp_path / "set/list.txt"
    for i in range(3):
        write_audio(tmp_path / f"set/{i}.wav", np.zeros(160, np.float32))
    expected = [*zip("012", TWO, (" ".join(text.split()) for text in said), strict=True)]
    for header, columns in itertools.product(
        ("audio|speaker|text\n", "recording|who|words\n", ""), ((), ("audio", "speaker", "text"))
    ):
        if columns or not header.startswith("recording"):
            write_text(path, (header.replace("|", separator) + rows).replace("\n", newline))
            assert spoken(tmp_path, "set/list.txt", Asked(columns)) == expected
    damaged = rows + lines(["0.wav", "nothing"], ["bo", ""], ['"Never closed', ""], separator=separator) + rows
    write_text(path, damaged.replace("\n", newline))
    (anna, bo), problems = corpora.find_speakers(tmp_path, ["set/list.txt"]), []
    assert [row.name for row in MANIFEST.audio(anna, problems)] == ["0", "1"] * 2
    assert [row.name for row in MANIFEST.audio(bo, problems)] == ["2", "0", "2"]
    assert len(problems) == 1 and "line 9: not UTF-8 text in 3 columns" in problems[0]


def test_commas_in_sentences_do_not_make_speakers(tmp_path):
    """Without quotes: with and without a space, and with few or many words before the comma."""
    for i in range(4):
        write_audio(tmp_path / f"set/{i}.wav", np.zeros(160, np.float32))
    one, two = ("Well", "It is so", "She came home", "No"), ("he said", "of course it is", "yes", "10,000 of them")
    same = ("He said it is so", "He said it was", "She told me it will be so", "And it is so"), ("yes well",) * 4
    for separator, (before, after) in itertools.product((",", ", ", ";", "; "), ((one, two), (two, one), same)):
        said = [f"{a}{separator}{b}" for a, b in zip(before, after, strict=True)]
        if separator in (",", ";") and before is same[0]:
            continue  # "yes well" may be a speaker
        write_text(tmp_path / "set/list.txt", lines([*names("{}.wav"), "3.wav"], said, separator=separator[0]))
        with pytest.raises(UserError, match="--columns"):
            corpora.find_speakers(tmp_path, ["set/list.txt"])
        found = spoken(tmp_path, "set/list.txt", Asked(("audio", "text")))
        assert [text for _, _, text in found] == said
    rows = [["0.wav", "anna", "Well no."], ["1.wav", "bo", "It is so, yes, 10,000."], ["2.wav", "anna", "So it is."]]
    write_text(tmp_path / "set/list.txt", lines(*zip(*rows, strict=True), separator=","))
    assert spoken(tmp_path, "set/list.txt") == [(file[0], who, text) for file, who, text in rows]


@pytest.mark.parametrize(("separator", "suffix"), itertools.product("\t|,;", ("", ".wav")))
def test_a_header_of_unknown_names_is_no_recording(tmp_path, separator, suffix):
    """With and without quotes, and where the list names its files without a suffix."""
    for i in range(3):
        write_audio(tmp_path / f"set/wavs/{i}.wav", np.zeros(160, np.float32))
    for header in (["recording", "who", "words"], ['"recording"', '"who"', '"words"'], ["wav", "who", "phrase"]):
        rows = [header, *zip(names(f"{{}}{suffix}"), TWO, ["Well.", "No, no it is not.", "And then?"], strict=True)]
        rows = [[*row[:2], f'"{row[2]}"' if separator in ",;" and row != header else row[2]] for row in rows]
        write_text(tmp_path / "set/list.txt", lines(*zip(*rows, strict=True), separator=separator))
        with pytest.raises(UserError, match="--columns"):
            corpora.find_speakers(tmp_path, ["set/list.txt"])
        for columns, said in ((("audio", "speaker", "text"), "No, no it is not."), (("audio", "speaker", "-"), None)):
            found = spoken(tmp_path, "set/list.txt", Asked(columns))
            assert [(file, who) for file, who, _ in found] == list(zip("012", TWO, strict=True)) and found[1][2] == said


def test_of_two_audio_columns_the_one_whose_files_exist_is_taken(tmp_path):
    for i in range(3):
        write_audio(tmp_path / f"set/{i}.wav", np.zeros(160, np.float32))
    for header in itertools.permutations(("path", "audio", "filename"), 2):
        for columns in itertools.permutations((names("{}.wav"), names("u{}"))):
            text = "|".join(header) + "|text\n" + lines(*columns, SAID)
            write_text(tmp_path / "set/list.txt", text)
            assert spoken(tmp_path, "set/list.txt") == [*zip("012", ["set"] * 3, SAID, strict=True)]
        write_text(tmp_path / "set/list.txt", text.replace(".wav", "-gone.wav"))
        with pytest.raises(UserError, match="--columns"):
            corpora.find_speakers(tmp_path, ["set/list.txt"])


@pytest.mark.parametrize("separator", ["|", ",", "\t", ""])  # "": JSON
def test_a_column_of_an_unknown_name_that_may_be_the_speaker_is_asked_for(tmp_path, separator):
    def write(**columns):
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        cells = [separator.join(columns), *(separator.join(csv_cells(row.values())) for row in rows)]
        write_text(path, "\n".join(cells if separator else map(json.dumps, rows)) + "\n")

    def csv_cells(values):
        return quoted(values) if separator == "," else values

    path = tmp_path / "set/list.txt"
    for i in range(3):
        write_audio(tmp_path / f"set/{i}.wav", np.zeros(160, np.float32))
    known = {"audio": names("{}.wav"), "text": SAID}
    for values in (TWO, ["7", "7", "8"], ["a", "b", "c"]):
        write(**known, who=values)
        with pytest.raises(UserError, match=r"whether 'who' is the speaker .*--columns audio,text,speaker"):
            corpora.find_speakers(tmp_path, ["set/list.txt"])
        found = corpora.find_speakers(tmp_path, ["set/list.txt"], asked=Asked(("audio", "text", "speaker")))
        assert [speaker.name for speaker in found] == sorted(set(values))
    for harmless in ({"who": ["me"] * 3}, {"snr": ["1.5", "2.5", "3.5"]}, {"gender": ["f", "f", "m"]}, {"notes": SAID}):
        write(**known, **harmless)
        assert len(corpora.find_speakers(tmp_path, ["set/list.txt"])) == 1


def test_of_two_audio_keys_in_json_the_one_that_exists_is_taken_or_it_is_asked(tmp_path):
    write_audio(tmp_path / "set/0.wav", np.zeros(160, np.float32))
    write_audio(tmp_path / "set/noisy.wav", np.zeros(160, np.float32))
    for other, is_asked in (("gone.wav", False), ("noisy.wav", True)):
        write_text(tmp_path / "set/list.txt", json.dumps({"path": other, "file": "0.wav", "text": "Well."}) + "\n")
        if is_asked:
            with pytest.raises(UserError, match="--columns"):
                corpora.find_speakers(tmp_path, ["set/list.txt"])
        asked = Asked(("-", "audio", "text") if is_asked else ())
        (speaker,) = corpora.find_speakers(tmp_path, ["set/list.txt"], asked=asked)
        assert [each.path.name for each in corpora.list_utterances(speaker).utterances] == ["0.wav"]


def test_files_that_are_no_list_are_refused_in_one_line(tmp_path):
    path = tmp_path / "set/list.txt"
    write_text(path, "")
    for content, asked, problem in [
        ("0.wav|a|Good day.\n".encode("utf-16"), Asked(), "is UTF-16; save it as UTF-8"),
        ("0.wav|a|Good day.\n".encode("utf-16-le"), Asked(), "is UTF-16"),
        ("ä.wav|a|Good day.\n".encode("latin-1"), Asked(), "not UTF-8"),
        (b"", Asked(), "do not tell which"),
        (b'0.wav,"' + b"a " * 100_000 + b'"\n', Asked(("audio",)), "names 1 columns"),
        (b"id|text\n1|Good day.\n", Asked(), "do not tell which"),
        (b'{"sound": "0.wav"}\n', Asked(), "none of sound is a name for audio"),
        (b"0.wav|a|Good day.\n", Asked(("audio", "who")), "'who' is none of audio"),
        (b"0.wav|a|Good day.\n", Asked(("audio", "speaker")), "names 2 columns, but the first line has 3"),
        (b"0.wav|a|Good day.\n", Asked(("speaker", "text")), "names audio once"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=problem) as error:
            corpora.find_speakers(tmp_path, ["set/list.txt"], asked)
        assert "\n" not in str(error.value)


def test_segments_of_long_recordings_are_utterances(samples, tmp_path, waves):
    """Of Kaldi and of NeMo; the other utterances are not heard in them."""
    write_audio(tmp_path / "set/talk.wav", np.concatenate(waves))
    write_text(tmp_path / "set/data/wav.scp", "talk talk.wav\nother cat x.wav |\n")
    write_text(tmp_path / "set/data/segments", "u0 talk 0 2\nu1 talk 2.0 4.0\nu2 talk 4 6\nu3 other 0 1\n")
    write_text(tmp_path / "set/data/text", lines(["u0", "u1", "u2"], SAID, separator=" "))
    nemo = [{"audio_filepath": "talk.wav", "offset": 2.0 * i, "duration": 2.0, "text": text} for i, text in enumerate(SAID)]
    write_text(tmp_path / "set/m.jsonl", "".join(json.dumps(row) + "\n" for row in nemo))
    for i, wav in enumerate(waves):
        write_text(write_audio(tmp_path / f"apart/set/{i}.wav", wav).with_suffix(".txt"), SAID[i])
    stored = {}
    for named in ("set/data", "set/m.jsonl", "apart"):
        preprocess_audio(tmp_path, tmp_path / f"out-{named.replace('/', '-')}", [named], n_processes=1)
        data = SynthesizerData(tmp_path / f"out-{named.replace('/', '-')}")
        stored[named] = {row.text: np.load(data.audio_dir / row.audio) for row in read_rows(data.manifest)}
    assert stored["apart"].keys() == stored["set/data"].keys() == stored["set/m.jsonl"].keys() == set(SAID)
    for text, wav in stored["apart"].items():
        assert np.array_equal(stored["set/data"][text], wav) and np.array_equal(stored["set/m.jsonl"][text], wav)
    (speaker,) = corpora.find_speakers(tmp_path, ["set/data"], Asked(speaker="me"))
    listing = corpora.list_utterances(speaker, texts=True)
    assert speaker.name == "me" and "commands are not run, only files are read: u3" in listing.problems[0]


@pytest.mark.parametrize("name", ["mine", "LibriSpeech", "LibriTTS"])
def test_own_speech_as_for_real_time_voice_cloning(name, tmp_path, waves):
    """<datasets_name>/<subfolder>/<speaker>/<book>/x.wav with x.txt or x.normalized.txt, and --no_alignments."""
    for speaker, book in (("anna", "b1"), ("anna", "b2"), ("7", "b1")):
        for i, suffix in enumerate(("wav", "flac", "mp3")):
            path = write_audio(tmp_path / name / "train" / speaker / book / f"{i}.{suffix}", waves[i])
            write_text(path.with_suffix(".normalized.txt" if i == 1 else ".txt"), SAID[i])
    preprocess_audio(tmp_path, tmp_path / "out", [f"{name}/train"], alignments=False, n_processes=1)
    rows = read_rows(SynthesizerData(tmp_path / "out").manifest)
    assert len({row.name for row in rows}) == len(rows) == 9
    assert [row.text for row in rows] == SAID * 3
