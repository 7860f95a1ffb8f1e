"""Words as the sounds of the pronouncing dictionary: which, how many, when they are spoken, and models that learn them."""

import random

import numpy as np
import pytest
import torch

from synthesizer.config import ReadingSettings
from synthesizer.inference import Synthesizer
from synthesizer.reading.faults import words
from synthesizer.text import END, PHONES, SYMBOL_SETS, read, shown
from synthesizer.text.new_symbols import EMBEDDING
from synthesizer.text.sounds import dictionary, places, spelled, with_sounds
from synthesizer.text.symbols import phones_to_characters
from synthesizer.text.word_times import WordTimes, symbol_ends
from tests import ROOT
from tests.synthesizer.test_synthesizer_train import UNSEEN, assert_same, run, write_data
from tests.vocoder_data import write_synthesizer
from utils.corpora import find_speakers, list_utterances
from utils.data.rows import read_rows, write_rows
from utils.errors import UserError
from utils.models import checkpoint

ARPABET = SYMBOL_SETS["arpabet"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", "{HH AH0 L OW1}, {W ER1 L D}!"),
        ("the BBC was used to live in a house", "the b b c was used to live in a house"),  # said in several ways; letters
        ("either often zorbinate", "either often zorbinate"),
        ("An employee can't", "an {EH0 M P L OY1 IY0} {K AE1 N T}"),  # ways that differ in weak vowels alone
        ("well-known 'dogs' o'clock", "{W EH1 L}-{N OW1 N} '{D AA1 G Z}' {AH0 K L AA1 K}"),
        ("kitten's, whist's hedgehog's glimpse's", "{K IH1 T AH0 N Z}, whist's {HH EH1 JH HH AA2 G Z} {G L IH1 M P S IH0 Z}"),
        ("2 {T AH0 M AA1 T OW2}hello tomatoes", "{T UW1} {T AH0 M AA1 T OW2}hello tomatoes"),  # the user's own
    ],
)
def test_dictionary_words_are_sounds_and_words_of_several_ways_stay_letters(text, expected):
    reading = read(text, ARPABET, sounds=1.0)
    assert shown(reading.symbols) == expected
    assert reading.text == read(text, ARPABET).text == read(text, ARPABET).symbols


def test_every_entry_has_known_sounds_and_is_said_in_one_way():
    assert len(dictionary()) > 100_000
    assert not dictionary().keys() & set("a the to and read lead live wind tear close use used house record often".split())
    assert {name for sounds in dictionary().values() for name in sounds.split()} <= PHONES.keys()


def test_which_words_are_sounds_is_fixed_by_utterance_and_place_and_of_the_share_asked_for():
    text = "seven quick foxes jump over seven lazy dogs"
    chosen = with_sounds(text, 0.5, "mel-a.npy")
    assert shown(chosen) == "{S EH1 V AH0 N} {K W IH1 K} foxes {JH AH1 M P} {OW1 V ER0} seven lazy {D AA1 G Z}"
    assert (
        shown(with_sounds(text, 0.5, "mel-b.npy"))
        == "{S EH1 V AH0 N} quick {F AA1 K S AH0 Z} {JH AH1 M P} over seven {L EY1 Z IY0} dogs"
    )
    found = [with_sounds("seven dogs jump over lazy foxes", 0.7, f"mel-{i}.npy") for i in range(1000)]
    n_letters = np.array([[word.isascii() for word in each.split()] for each in found])
    np.testing.assert_allclose(1 - n_letters.mean(axis=0), 0.7, atol=0.06)
    assert abs(np.corrcoef(n_letters.T) - np.eye(6)).max() < 0.12  # a word does not follow another


def test_places_and_labels_of_any_mixture_of_words_and_sounds():
    draw = random.Random(0)
    parts = ["cat", "dog's", "don't", "o'clock", "'", "-", "_", " ", "x", "hello", ".", "{HH AH0}", "é", "3", "\u0301", "the"]
    for number in range(3000):
        text = phones_to_characters("".join(draw.choices(parts, k=draw.randint(1, 8))))
        symbols = with_sounds(text, draw.choice((0.5, 1.0)), str(number))
        found, labels = places(text, symbols), spelled(text, symbols)
        assert found == sorted(found) and len(found) == len(text) + 1 and found[-1] == len(symbols), shown(text)
        assert len(labels) == len(symbols) and "".join(labels) == shown(text)


def test_word_times_give_words_of_sounds_the_frames_that_their_letters_have():
    n_words = 0
    for speaker in find_speakers(ROOT / "samples", ["LibriSpeech/test-clean"]):
        for each in list_utterances(speaker, texts=True, alignments=True).utterances:
            times, duration = WordTimes(tuple(each.words), tuple(each.ends)), each.ends[-1] + 0.2
            reading = read(each.text, ARPABET, sounds=0.7, utterance=each.path.stem)
            letters = symbol_ends(reading.text + END, times, duration)
            sounds = symbol_ends(reading.text + END, times, duration, symbols=reading.symbols + END)
            assert len(sounds) == len(reading.symbols) + 1 and (np.diff(sounds) >= 0).all() and sounds[-1] == letters[-1]
            at = places(reading.text, reading.symbols)
            for word in words(each.text, reading.text):
                n_words += 1
                assert sounds[at[word.stop] - 1] == letters[word.stop - 1]
                steps = np.diff(sounds[at[word.start] : at[word.stop]])
                if " " not in word.written and word.written.isalpha():
                    np.testing.assert_allclose(steps, steps.mean() if len(steps) else 0, atol=1e-5)  # shared evenly
    assert n_words > 100


def test_missed_words_are_named_as_they_are_written():
    text = "A glimpse of whist, {HH AH0 L OW1} there"
    reading = read(text, ARPABET, sounds=1.0)
    found = words(text, reading.text, symbols=reading.symbols)
    assert [word.written for word in found] == ["A", "glimpse", "of", "whist", "{HH AH0 L OW1}", "there"]
    assert [shown(reading.symbols[word.start : word.stop]) for word in found] == [
        *("a", "{G L IH1 M P S}", "{AH1 V}", "whist", "{HH AH0 L OW1}", "{DH EH1 R}")
    ]


# ---- models


def with_training(path, **training):
    content = checkpoint.load(path, "synthesizer")
    checkpoint.save(path, content | {"training": content["training"] | training})
    return path


def test_a_file_without_the_setting_reads_letters_and_one_without_symbols_for_the_sounds_is_refused(tmp_path):
    path = write_synthesizer(tmp_path / "synthesizer.pt")
    assert Synthesizer(path, "cpu").read("Hello").symbols == "hello"
    with pytest.raises(UserError, match=r"synthesizer\.pt.*sounds"):
        Synthesizer(with_training(path, sounds=0.7), "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = write_data(tmp_path_factory.mktemp("data"), ROOT / "samples")
    write_rows(data.manifest, [row._replace(text="some words, lively dogs: " * 2) for row in read_rows(data.manifest)])
    return data


def test_a_model_trains_with_sounds_resumes_to_the_bit_and_speaks_them(data, tmp_path, capsys):
    hparams = UNSEEN.replace("eval_shown=0", "eval_shown=1") + ",sounds=0.7"
    whole = run(data, tmp_path / "whole", 4, hparams, eval_every=4)
    run(data, tmp_path, 2, hparams)
    parts = run(data, tmp_path, 4, hparams="", eval_every=4)
    assert_same(whole, parts)
    assert whole["symbols"] == ARPABET and whole["model"]["n_symbols"] == len(ARPABET)
    assert whole["model"]["longest_symbols"] == len("some words, lively dogs: some words, lively dogs:") + 1  # letters
    assert list(tmp_path.rglob("*alignment*.png")) and "Glyph" not in capsys.readouterr().err
    synthesizer = Synthesizer(tmp_path / "r" / "synthesizer.pt", "cpu", reading=ReadingSettings(retries=0))
    (said,) = synthesizer.read_aloud("Lively dogs, {T UW1} often", np.zeros(8), seed=0)
    assert said.text == "lively dogs, {T UW1} often" == "".join(said.labels)
    assert said.alignment.shape[1] == len(said.labels) + 1 == len(reading_of(said.text)) + 1
    assert set(said.missed) <= {"Lively", "dogs", "{T UW1}", "often"}


def reading_of(text: str) -> str:
    return read(text, ARPABET, sounds=1.0).symbols


def test_a_model_of_letters_goes_on_with_sounds_that_start_like_letters(data, tmp_path, capsys):
    old = run(data, tmp_path, 1, UNSEEN)
    path, still = tmp_path / "r" / "synthesizer.pt", "schedule=5:1e-9:9:3,"
    new = run(data, tmp_path / "new", 1, f"{still}symbols=+ä,sounds=0.5", init_from=path)
    assert "85 of the 151 symbols are new" in capsys.readouterr().out
    before, after = old["average_state"][EMBEDDING], new["average_state"][EMBEDDING]
    like = {"a": "aä", "k": PHONES["K"], "i": PHONES["AY1"] + PHONES["IH0"], "s": PHONES["SH"] + "s", "Z": "Z"}
    for letter, others in like.items():
        for other in others:
            expected = before[old["symbols"].index(letter)]
            torch.testing.assert_close(after[new["symbols"].index(other)], expected, atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="other symbols; leave out --hparams symbols and sounds"):
        run(data, tmp_path, 2, "sounds=0.5")  # the run itself cannot change
    with pytest.raises(UserError, match="sounds must be 0 to 1"):
        run(data, tmp_path / "x", 1, f"{UNSEEN},sounds=1.5")
