"""Corpora as users have them on disk, whole and damaged; cutting of pauses."""

import numpy as np
import pytest

from utils import audio, corpora, vad
from utils.cli import UserError


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


def test_what_is_not_speech_is_ignored(tmp_path):
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


def test_damaged_texts_cost_one_utterance_each(tmp_path):
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
        corpora.parse_alignment(line)


def test_what_is_missing_is_named(tmp_path, samples):
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


def test_voxceleb_keeps_anglophone_speakers(tmp_path):
    for speaker in ("id10001", "id10002", "id10003"):
        utterance(tmp_path / "VoxCeleb1" / "wav" / speaker / "video", "00001")
        utterance(tmp_path / "VoxCeleb2" / "dev" / "aac" / speaker / "video", "00002")
    with pytest.raises(UserError, match="vox1_meta.csv"):
        corpora.find_speakers(tmp_path, ["voxceleb1"])
    table = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    table += ["id10001\tA\tm\tNew Zealand\tdev", "id10002\tB\tf\tNorway\tdev", "broken", "id10009\tC\tm\tUSA\tdev"]
    (tmp_path / "VoxCeleb1" / "vox1_meta.csv").write_text("\r\n".join(table))
    (kept,) = corpora.find_speakers(tmp_path, ["voxceleb1"])
    assert kept.id == "VoxCeleb1_id10001"
    assert [u.name for u in corpora.list_utterances(kept).utterances] == ["video_00001"]
    assert len(corpora.find_speakers(tmp_path, ["voxceleb2"])) == 3
    present, absent = corpora.split_present(tmp_path, ["voxceleb1", "librispeech_other"])
    assert (present, absent) == (["VoxCeleb1"], ["LibriSpeech/train-other-500"])


def test_pauses_are_cut_and_speech_is_kept(samples):
    wav = audio.load(next((samples / "LibriSpeech").rglob("*.flac")))
    pause = np.zeros(3 * 16000, dtype=np.float32)
    alone, between = vad.trim_silences(wav), vad.trim_silences(np.concatenate([wav, pause, wav]))
    assert 0.5 * len(wav) < len(alone) <= len(wav)
    assert abs(len(between) - 2 * len(alone)) < 0.5 * 16000
    for silent in (pause, pause[:100], pause[:0]):
        assert vad.trim_silences(silent).shape == (0,)
