"""A preprocessed folder from a stranger: nothing outside it is written, deleted or read."""

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.model import EncoderWithLoss
from encoder.preprocess import preprocess as preprocess_encoder
from encoder.utterances import read_table
from synthesizer.corpus.speakers import _forget
from synthesizer.preprocess import preprocess_audio, preprocess_embeds
from tests import ROOT
from utils.corpora import Speaker, find_speakers
from utils.corpora.layout import disk_name
from utils.data.names import fault, same_file, within
from utils.data.paths import SynthesizerData, save_npy, save_text
from utils.data.rows import Row, format_row, parse_row, read_rows
from utils.errors import UserError
from utils.models import checkpoint
from vocoder.preprocess import _prepare

SUBSET = "LibriSpeech/train-clean-100"
NAMES = [
    "../outside.npy",
    "/{}/outside.npy",
    "..",
    ".",
    "",
    "a/b.npy",
    "a\\b.npy",
    "C:b.npy",
    "a\0b.npy",
    "a\tb.npy",
    "nul.npy",
]
NAMES += ["Con", "COM1 .npy", "a\x1b[2J.npy", "a\u2028.npy", "a\x85.npy", "... ", "x" * 256, "é" * 128]
NAMES += ["CLOCK$.npy", "conin$", "COM¹.npy", "a.npy.", "a.npy ", "a\u202eypn.npy", "a\u200b.npy", "\ufeffa.npy", "a\u2066.npy"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()}


@pytest.fixture
def stranger(tmp_path) -> SynthesizerData:
    """A folder with one utterance, beside a folder of somebody's files that have names like ours."""
    mine = tmp_path / "mine"
    for name in (
        "outside.npy",
        "audio-x.npy",
        "mel-x.npy",
        "embed-x.npy",
        "x.tsv",
        "mels.npy",
        "utterances.tsv",
        "skipped.txt",
    ):
        save_text(mine / name, f"my {name}")
    data = SynthesizerData(tmp_path / "stranger")
    save_npy(data.audio("x"), (np.sin(np.arange(32000) / 9) * 9000).astype(np.int16))
    save_text(data.manifest, format_row(Row("audio-x.npy", "mel-x.npy", "embed-x.npy", 32000, 160, "Hello.")) + "\n")
    return data


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    config = EncoderConfig(hidden_size=8, n_layers=1)
    path = tmp_path_factory.mktemp("models") / "encoder.pt"
    content = {"format": checkpoint.stage_format("encoder"), "step": 1, "model": asdict(config), "mel": MEL_FORMAT}
    checkpoint.save(path, content | {"model_state": EncoderWithLoss(config).state_dict()})
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("column", range(3))
def test_no_name_in_a_row_leads_out_of_its_folder(stranger, encoder, name, column):
    """The rows of train.txt say where embeddings are written, and those of a part file what is deleted."""
    mine = stranger.root.parent / "mine"
    name = name.format(mine)
    before = snapshot(mine)
    columns = ["audio-x.npy", "mel-x.npy", "embed-x.npy"]
    columns[column] = name
    line = "|".join([*columns, "32000|160|Hello."])
    with pytest.raises(ValueError, match="not a file's name"):
        parse_row(line)
    stranger.manifest.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"train.txt"):
        preprocess_embeds(stranger.root, encoder, cpu=True)
    stranger.parts_dir.mkdir()
    stranger.part("c_s").write_text(f"row\t{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"c_s.tsv"):
        _forget(stranger, Speaker("c", "s", mine, "folder", mine))
    with pytest.raises(UserError, match="not the name of a file"):
        within(stranger.root, "audio", name)
    assert snapshot(mine) == before


@pytest.mark.parametrize("folder", ["audio", "mels", "embeds", "parts", "mels_gta", "LibriSpeech_train-clean-100_90001"])
def test_a_link_in_the_folder_is_not_followed_when_writing(samples, stranger, encoder, folder):
    """Not to write, not to empty a folder that is made anew, and not to delete temporary files."""
    mine, planted = stranger.root.parent / "mine", stranger.root / folder
    before = snapshot(mine)
    if planted.exists():
        shutil.rmtree(planted)
    planted.symlink_to(mine, target_is_directory=True)
    root = stranger.root.parent / "in"
    shutil.copytree(samples / SUBSET / "90001", root / SUBSET / "90001")
    attempts = {
        "embeds": lambda: preprocess_embeds(stranger.root, encoder, cpu=True),
        "mels_gta": lambda: _prepare(type("Out", (), {"root": stranger.root, "mels_gta_dir": planted}), {}, False),
        "LibriSpeech_train-clean-100_90001": lambda: preprocess_encoder(root, stranger.root, [SUBSET], n_processes=1),
    }
    attempt = attempts.get(folder, lambda: preprocess_audio(root, stranger.root, [SUBSET], n_processes=1))
    with pytest.raises(UserError, match=r"a link that leads out of|holds 2 speakers .* would not be made again"):
        attempt()
    assert snapshot(mine) == before


def test_files_that_are_links_are_replaced_not_followed(stranger, encoder):
    mine = stranger.root.parent / "mine"
    before = snapshot(mine)
    stranger.embeds_dir.mkdir()
    stranger.embed("x").symlink_to(mine / "embed-x.npy")
    stranger.embeds_encoder.symlink_to(mine / "x.tsv")
    preprocess_embeds(stranger.root, encoder, cpu=True)
    assert snapshot(mine) == before and not stranger.embed("x").is_symlink() and np.load(stranger.embed("x")).shape == (256,)


def test_a_users_own_links_to_other_disks_go_on_working(samples, tmp_path, encoder):
    """The datasets folder, a corpus in it and the output may be links, and a folder that is only read may hold some."""
    disk, root = tmp_path / "disk", tmp_path / "root"
    shutil.copytree(samples / SUBSET / "90001", disk / "corpus" / "train-clean-100" / "90001")
    (disk / "out").mkdir()
    (tmp_path / "real_root" / "SV2TTS").mkdir(parents=True)
    root.symlink_to(tmp_path / "real_root", target_is_directory=True)
    (root / "LibriSpeech").symlink_to(disk / "corpus", target_is_directory=True)
    (root / "SV2TTS" / "synthesizer").symlink_to(disk / "out", target_is_directory=True)
    preprocess_audio(root, n_processes=1)
    data = SynthesizerData(root / "SV2TTS" / "synthesizer")
    (disk / "out" / "audio").rename(disk / "audio")
    data.audio_dir.symlink_to(disk / "audio", target_is_directory=True)
    preprocess_embeds(data.root, encoder, cpu=True)
    assert len(list(data.embeds_dir.glob("*.npy"))) == len(read_rows(data.manifest))


def test_names_that_differ_by_case_alone_are_refused(tmp_path):
    """They would be one file on exFAT, macOS and Windows."""
    assert same_file("STRASSE") == same_file("straße") and same_file("e\u0301") == same_file("É") and same_file("a.") == "a"
    for speaker in ("Anna", "anna"):
        save_text(tmp_path / "voices" / speaker / "1.txt", "Hello.")
        (tmp_path / "voices" / speaker / "1.wav").touch()
    with pytest.raises(UserError, match="Anna.*anna.*but for case"):
        find_speakers(tmp_path, ["voices"])


def test_good_names_are_good():
    good = ["mel-19-198-0000_00.npy", "mel-en_Анна--a+b~0f.npy", ".hidden", "-x", "console.npy", "a b.npy", "100%.npy", "'.npy"]
    assert not [name for name in good if fault(name)]


def test_names_on_disk_are_good_whatever_the_speaker_is_called():
    assert not [(name, found) for name in NAMES if (found := fault(disk_name(f"voices_{name}")))]


def test_a_row_names_arrays_alone():
    for column in range(3):
        names = ["audio-x.npy", "mel-x.npy", "embed-x.npy"]
        names[column] = "settings.json"
        with pytest.raises(ValueError, match=r"settings\.json' is no \.npy"):
            parse_row("|".join([*names, "200", "1", "Hi."]))


def test_what_is_copied_into_logs_and_checkpoints_is_not_read_through_a_link(tmp_path, samples):
    (secret := tmp_path / "secret").write_text("s3cret\n")
    data = SynthesizerData(tmp_path / "data")
    data.embeds_dir.mkdir(parents=True)
    data.embeds_encoder.symlink_to(secret)
    with pytest.raises(UserError, match="leads out"):
        assert not data.encoder_digests
    root = tmp_path / "in"
    shutil.copytree(samples / SUBSET / "90001", root / "voices" / "90001")
    preprocess_encoder(root, tmp_path / "out", ["voices"], n_processes=1)
    (table,) = (tmp_path / "out").glob("*/utterances.tsv")
    for name in ("notes.txt", "skipped.txt"):
        table.with_name(name).symlink_to(secret)
        with pytest.raises(UserError, match="leads out"):
            preprocess_encoder(root, tmp_path / "out", ["voices"], skip_existing=True, n_processes=1)
        table.with_name(name).unlink()


def test_within_is_the_only_way_from_a_name_to_a_path():
    """A path made of a folder and anything but a constant: only in names.py, and where the name is a folder's own listing or
    the user's."""
    allowed = {"utils/data/names.py", "utils/data/paths.py", "encoder/evaluate.py", "utils/training/run.py"}
    allowed |= {"utils/export/__init__.py", "utils/data/cluster.py"}
    found = {}
    for package in ("encoder", "synthesizer", "vocoder", "utils"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name not in allowed and not name.startswith("utils/corpora/"):
                found[name] = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if joins_a_variable(node)]
    assert {name: lines for name, lines in found.items() if lines} == {}


def joins_a_variable(node: ast.AST) -> bool:
    """folder / name, or folder.joinpath(name), where name is a variable."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "joinpath":
        return True
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
        return False
    right = node.right
    is_name = isinstance(right, ast.Attribute) and right.attr in {"audio", "mel", "embed", "name", "id"}
    is_name |= isinstance(right, ast.Call) and ast.unparse(right.func) == "getattr"
    left = ast.unparse(node.left)
    is_folder = left.rpartition(".")[2].removesuffix(")").endswith(("_dir", "folder", "root", "parent"))
    return is_name or (is_folder and isinstance(right, ast.Name) and not right.id.isupper())


def test_names_of_any_bytes_and_any_locale_are_preprocessed(samples, tmp_path):
    """Without a home, a terminal or UTF-8."""
    recordings = sorted((samples / SUBSET / "90001").rglob("*.flac"))[:1]
    root, corpus = os.fsencode(tmp_path) + b"/in \xff%", "/голоса/".encode()
    names = [b"\xff\xfe", b"x" * 250, b"-dash", "Анна".encode(), b"new\nline", b"tab\tx|y", b"con"]
    for name in names:
        os.makedirs(root + corpus + name)
        shutil.copy(recordings[0], root + corpus + name + b"/" + b"y" * 245 + b".flac")
    command = [sys.executable, "encoder_preprocess.py", root, "-d", corpus.strip(b"/"), "-n", "1", "--hparams", "min_frames=20"]
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=ROOT, env=locale, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    tables = [*Path(os.fsdecode(root)).glob("SV2TTS/encoder/*/utterances.tsv")]
    assert len(tables) == len(names) and all(len(read_table(path).rows) == 1 for path in tables)
