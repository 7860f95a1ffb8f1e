"""Another language by settings alone, as docs/text.md shows it; and what a model cannot say is told."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from synthesizer.inference import Synthesizer
from synthesizer.preprocess import preprocess_audio
from synthesizer.text import clean, resolve_cleaner, resolve_symbols
from synthesizer.train import train
from tests import ROOT, layouts
from tests.layouts import write_audio, write_text
from tests.published_state import published_state
from tests.test_pipeline import run_here
from utils.data.paths import SynthesizerData, save_npy
from utils.data.rows import read_rows
from utils.errors import UserError
from utils.models.fingerprint import Originals

PAGE = (ROOT / "docs/text.md").read_text(encoding="utf-8")
TINY = (
    "embedding_size=8,encoder_prenet=8:8,encoder_size=8,encoder_kernels=2,decoder_prenet=8:8,attention_size=8,decoder_size=16,"
    "postnet_size=8,postnet_kernels=2,schedule=5:1e-3:10:4,eval_shown=0"
)
SENTENCES = ["Die Größe, z. B. von Dr. Müller.", "Es war 1815, ein „schöner“ Tag.", "Ja, 12 Füße!", "Guten Morgen."]


def files_of_the_page(folder: Path) -> tuple[str, str]:
    """The page's german.txt and german.tsv."""
    blocks = {
        name: re.search(rf"`{name}`.*?\n\n((?:    [^\n]*\n)+)", PAGE, re.DOTALL)[1] for name in ("german.txt", "german.tsv")
    }
    for name, block in blocks.items():
        write_text(folder / name, "\ufeff" + "".join(f"{line[4:]}\r\n" for line in block.splitlines()))
    return tuple(str(folder / name) for name in blocks)


def a_corpus(samples: Path, root: Path) -> SynthesizerData:
    for i, wav in enumerate(layouts.sample_waves(samples, 8)):
        write_text(write_audio(root / f"in/own/a/{i}.wav", wav).with_suffix(".txt"), SENTENCES[i % 4])
    return SynthesizerData(root / "out")


def train_on(data: SynthesizerData, models: Path, hparams: str) -> Synthesizer:
    for i, row in enumerate(read_rows(data.manifest)):
        save_npy(data.embeds_dir / row.embed, np.random.default_rng(i).random(256, dtype=np.float32))
    train(
        data.root,
        {"run_id": "r", "models_dir": models, "max_steps": 1, "cpu": True, "force_restart": True},
        f"{TINY},{hparams}",
    )
    return Synthesizer(models / "r/synthesizer.pt", "cpu")


QUICK = "--max_steps 1 --eval_every 1 --cpu --no_visdom --seed 1"
LIMITS = "min_chars_per_second=2,max_chars_per_second=40"
TINY_VOCODER = "rnn_dims=16,fc_dims=16,context_dims=16,aux_dims=16,n_context_blocks=1"
FEW = "batch_size=2,eval_crops=2,eval_seconds=0.1,eval_shown=1"
ADDED = {  # to the page's commands, so that they end in seconds: arguments, settings
    "synthesizer_preprocess_audio.py": ("-n 1", LIMITS),
    "synthesizer_preprocess_embeds.py": ("--cpu -e saved_models/default/encoder.pt", ""),
    "synthesizer_train.py": (QUICK, TINY),
    "vocoder_train.py": (QUICK, FEW),
    "demo_cli.py": ("--cpu --no_sound --seed 1 -e saved_models/default/encoder.pt", "retries=0"),
}


def page_commands() -> list[list[str]]:
    found = [shlex.split(line) for line in re.findall(r"^    python (.*german.*|.*embeds.*)$", PAGE, re.MULTILINE)]
    for words in found:
        arguments, settings = ADDED[words[0]]
        at = words.index("--hparams") + 1 if "--hparams" in words else 0
        if at:
            words[at] += f",{settings}"
        words += [*shlex.split(arguments), *(["--hparams", settings] if settings and not at else [])]
    return found


def test_another_language_from_corpus_to_voice(samples, tmp_path, monkeypatch):
    """The page's commands, one after another."""
    monkeypatch.setattr("synthesizer.accelerate.COMPILED", Originals())  # compiling takes longer than speaking
    files_of_the_page(tmp_path)
    for i, wav in enumerate(layouts.sample_waves(samples, 8)):
        path = write_audio(tmp_path / f"datasets/my-voices/a/{i}.wav", wav)
        write_text(path.with_suffix(".txt"), SENTENCES[i % 4])
    shutil.copy(path, tmp_path / "voice.wav")
    default = tmp_path / "saved_models/default"
    default.mkdir(parents=True)
    torch.save({"model_state": published_state("encoder")}, default / "encoder.pt")
    commands, told = page_commands(), {}
    assert [words[0] for words in commands] == list(ADDED)
    for words in commands:
        if words[0] == "vocoder_train.py":
            start = f"vocoder_train.py default datasets -g {QUICK} --hparams {TINY_VOCODER},{FEW}"
            assert run_here(*_split(start.split()), tmp_path)[0] == 0
        code, told[words[0]], err = run_here(*_split(words), tmp_path)
        assert code == 0 or (words[0], code) == ("demo_cli.py", 3), f"{words}\n{told[words[0]]}\n{err}"  # 3: it mumbles
    assert len(list(tmp_path.glob("demo_output_*.wav"))) == 1
    out = told["synthesizer_preprocess_audio.py"]
    assert "without a symbol, so not said: ü 6 times in 6 utterances" in out and "symbols=+ßöü" in out and "numbers" not in out
    assert "without a symbol" not in told["synthesizer_train.py"]
    for name in ("german.txt", "german.tsv"):
        (tmp_path / name).unlink()
    model = Synthesizer(tmp_path / "saved_models/german/synthesizer.pt", "cpu")
    read = [model.read(text) for text in SENTENCES]
    assert [each.text for each in read] == [
        "die größe, zum beispiel von doktor müller.",
        'es war achtzehnhundertfünfzehn, ein "schöner" tag.',
        "ja, eins zwei füße!",
        "guten morgen.",
    ]
    assert not any(each.unread for each in read)


def _split(words: list[str]) -> tuple[str, list[str]]:
    return words[0], words[1:]


def test_letters_without_a_symbol_are_counted_with_the_setting_that_keeps_them(samples, tmp_path, capsys):
    data = a_corpus(samples, tmp_path)
    preprocess_audio(tmp_path / "in", data.root, ["own"], n_processes=1, hparams="cleaner=basic,min_chars_per_second=2")
    out = capsys.readouterr().out
    log = data.log.read_text(encoding="utf-8")
    for told in (out, log):
        assert "ß 4 times in 4 utterances" in told and "1 6 times in 4 utterances" in told
        assert "train with --hparams symbols=+ßöü" in told and "to say the numbers" in told
    train_on(data, tmp_path, "symbols=+äöü,cleaner=basic")
    out = capsys.readouterr().out
    assert "ß 4 times" not in out or "symbols=+äöüß" in out  # of the utterances that it trains on
    assert "ß " in out and "symbols=+äöüß" in out and "ö" not in out.split("not said: ")[1].split("\n")[0]


def test_files_of_symbols_and_rules(tmp_path):
    path = tmp_path / "symbols"
    path.write_bytes("\ufeffab\u200b\x07ç\r\nc".encode())
    assert resolve_symbols(str(path)) == "_~ abçc"
    write_text(path, "# Turkish\nI\tı\nİ\ti\nDr.\tdoktor\nu\\1\tx\\1\n")
    rules = resolve_cleaner(str(path))
    assert resolve_cleaner(rules) == rules and "\n" not in rules
    assert clean("DIŞARI İyi, Dr. Adr. u\\1", rules) == "dışarı iyi, doktor adr. x\\1"
    for text, problem in (("a b\n", "'a b' is not of the form"), ("a\tb\tc\n", "not of the form")):
        write_text(path, text)
        with pytest.raises(UserError, match=problem):
            resolve_cleaner(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="cleaner must be one of english"):
        resolve_cleaner(str(path))
