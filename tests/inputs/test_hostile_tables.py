"""Tables and logs with bad bytes or cut short: refused by file and line, or repaired; no utterance is lost without a word."""

import json
import os
import re
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from encoder.dataset import read_index
from encoder.preprocess import preprocess as preprocess_encoder
from encoder.utterances import MARKED, Placed, Table, read_table, write_table
from synthesizer.corpus.folder import Part, read_part
from synthesizer.preprocess import preprocess_audio
from synthesizer.text.word_times import read_word_times
from utils.boards.board import Board
from utils.boards.dashboards import _Curves
from utils.data.arrays import load_npy
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData, save_text
from utils.data.rows import Row, read_parameters, read_rows, write_parameters, write_rows
from utils.data.tables import marked
from utils.errors import UserError

SUBSET = "LibriSpeech/train-clean-100"
ROWS = [Row(f"audio-{i}.npy", f"mel-{i}.npy", f"embed-{i}.npy", 200 * i, i, f"Text {i}, äöü.") for i in range(5)]
TIMES = [f"{row.mel}|,TEXT,{row.n_frames},|0.1,0.2,0.3,0.4" for row in ROWS]


def part(path: Path) -> None:
    Part(ROWS, TIMES, [("too long", "x")], [("odd", "y")], ["z"], ["t"], [("ß", 2, 1)], "in/s", 12.5, 9, 1).save(path)


TABLES = {
    "part": (part, lambda path: read_part(path)),
    "utterances": (
        lambda path: write_table(path, Table("# min_frames=1", [Placed(f"u{i}", 7 * i, 7, f"in/{i}.wav") for i in range(5)])),
        read_table,
    ),
    "alignments": (
        lambda path: save_text(path, "".join(marked(TIMES))),
        lambda path: read_word_times(path, {row.mel for row in ROWS}),
    ),
    "rows": (lambda path: write_rows(path, ROWS), read_rows),
    "parameters": (
        lambda path: write_parameters(at(path), {"mel": asdict(MelFormat()), "preprocess": {"cleaner": "english"}}),
        lambda path: read_parameters(at(path)),
    ),
}


def at(path: Path) -> SynthesizerData:
    return type("Data", (), {"parameters": path})


@pytest.mark.parametrize("kind", TABLES)
def test_every_changed_or_missing_byte_is_found_and_its_line_named(kind, tmp_path):
    write, read = TABLES[kind]
    path = tmp_path / "table"
    write(path)
    content, before = path.read_bytes(), read(path)
    changed = [content[:i] + bytes([content[i] ^ (1, 128)[i % 2]]) + content[i + 1 :] for i in range(len(content))]
    cut = [content[:i] for i in range(kind in ("alignments", "rows"), len(content) - (kind == "parameters"), 3)]
    for damaged in changed + cut:
        path.write_bytes(damaged)
        try:
            assert read(path) == before, damaged  # white space in JSON
        except UserError as error:
            line = damaged[: next((i for i, (a, b) in enumerate(zip(damaged, content, strict=False)) if a != b), len(damaged))]
            number = line.count(b"\n") + 1
            assert kind == "parameters" or f"{path}, line {number}: " in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
@pytest.mark.parametrize("kind", [*TABLES, "array"])
def test_a_named_pipe_in_the_place_of_a_file_is_not_waited_for(kind, tmp_path):
    """The folder of a stranger may hold one."""
    path = tmp_path / "table"
    os.mkfifo(path)
    signal.alarm(10)  # which would end the tests
    try:
        if kind == "alignments":  # is optional
            assert TABLES[kind][1](path) == {}
        else:
            with pytest.raises(UserError, match="table: "):
                load_npy(path, np.floating, 2) if kind == "array" else TABLES[kind][1](path)
    finally:
        signal.alarm(0)


@pytest.mark.parametrize("kind", ["part", "utterances", "alignments"])
def test_tables_from_before_there_were_marks_are_read(kind, tmp_path):
    write, read = TABLES[kind]
    path = tmp_path / "table"
    write(path)
    with_marks = read(path)
    content = path.read_text(encoding="utf-8").replace(MARKED, "")
    lines = [line.rpartition("\t")[0] for line in content.splitlines()]
    save_text(path, "".join(f"{line}\n" for line in lines[:-1]))
    assert read(path) == with_marks


def test_tables_of_this_version_that_have_lost_all_their_marks_are_refused(samples, tmp_path):
    root, encoder, synthesizer = (tmp_path / name for name in ("in", "encoder", "synthesizer"))
    shutil.copytree(samples / SUBSET / "90001", root / SUBSET / "90001")

    def again():
        preprocess_audio(root, synthesizer, skip_existing=True, n_processes=1)
        preprocess_encoder(root, encoder, [SUBSET], skip_existing=True, n_processes=1)
        read_word_times(SynthesizerData(synthesizer).alignments, set())

    again()
    tables = [path for path in tmp_path.rglob("*") if re.search(r"\t#[0-9a-f]{8}$|crc32", text_of(path), re.MULTILINE)]
    assert {path.name for path in tables} >= {"utterances.tsv", "alignments.txt", "parameters.json"} and len(tables) == 4
    for path in tables:
        content = path.read_text(encoding="utf-8")
        without = re.sub(r"\t#[0-9a-f]{8}$", "", re.sub(r"# end after.*\n", "", content), flags=re.MULTILINE)
        save_text(path, re.sub(r',\s*"crc32": "\w+"', "", without))
        with pytest.raises(UserError, match=f"{path}(, line 1)?: is damaged"):
            read_word_times(path, set()) if path.name == "alignments.txt" else again()
        save_text(path, content)
    again()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() and path.suffix != ".npy" else ""


def test_a_list_of_others_or_edited_by_hand_is_read_by_its_six_columns(tmp_path, capsys):
    path = tmp_path / "train.txt"
    write_rows(path, ROWS)
    columns = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [tuple(line[:6]) for line in columns] == [tuple(map(str, row)) for row in ROWS]  # as other programs read it
    save_text(path, "".join("|".join(line) + "\n" for line in columns[1:]))
    with pytest.raises(UserError, match=r"line 1: is damaged; .* \(cut -d'\|' -f1-6\)"):
        read_rows(path)
    edited = [*ROWS[1:], ROWS[0]._replace(text="01234567")]  # which looks like a checksum
    save_text(path, "".join("|".join(map(str, row)) + "\n" for row in reversed(edited)))
    assert not capsys.readouterr().out
    assert read_rows(path) == edited[::-1]
    assert "train.txt: has no checksums" in capsys.readouterr().out
    content = path.read_bytes()
    for damaged, line in ((content[:-5], 5), (content.replace(b"Text 3", b"Text \xff"), 3), (content[:70] + b"\0", 2)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"train.txt, line {line}: "):
            read_rows(path)


def test_a_part_that_was_cut_loses_no_utterance(samples, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(samples / SUBSET / "90001", root / SUBSET / "90001")
    preprocess_audio(root, out, n_processes=1)
    data = SynthesizerData(out)
    whole = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (path,) = data.parts_dir.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    with pytest.raises(UserError, match=r"tsv, line 5: is missing, the file is cut short; delete the file"):
        preprocess_audio(root, out, skip_existing=True, n_processes=1)
    path.unlink()  # as told
    preprocess_audio(root, out, skip_existing=True, n_processes=1)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole


def test_a_table_of_utterances_that_was_cut_loses_none(samples, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(samples / SUBSET / "90001", root / SUBSET / "90001")
    preprocess_encoder(root, out, [SUBSET], n_processes=1)
    (path,) = out.rglob("utterances.tsv")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
    for attempt in (
        lambda: preprocess_encoder(root, out, [SUBSET], skip_existing=True, n_processes=1),
        lambda: read_index(out, 1),
    ):
        with pytest.raises(UserError, match=r"utterances.tsv, line 6: is missing"):
            attempt()


@pytest.mark.parametrize(
    "bad", [b"\xff\xfe\n", b"\0\0\0\0\n", b"[1]\n", b"{}\n", b'"x"\n', b'{"stage": "encoder", "step": "x"}\n']
)
def test_a_log_is_repaired_and_the_run_goes_on(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    rows = [{"stage": "encoder", "step": step, "loss": 0.5} for step in (1, 2)]
    rows.append({"stage": "vocoder", "step": 9, "loss": None})
    good = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(bad + good + b'{"stage": "encoder", "st')
    board = Board(tmp_path, "encoder", None, first_step=1)
    board.scalars(2, {"loss": 0.25})
    board.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [rows[0], rows[2], rows[1] | {"loss": 0.25}]
    path.write_bytes(bad + good)
    assert _Curves(tmp_path, "encoder").points == {"loss": [(1, 0.5), (2, 0.5)]}


def test_a_line_in_a_log_may_hold_anything_but_numbers(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "encoder", "step": 1, "loss": "much", "eer": {"a": 1}, "x": 1e400}\n')
    assert not np.any([*_Curves(tmp_path, "encoder").points])
