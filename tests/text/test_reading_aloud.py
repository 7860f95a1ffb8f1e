"""Any text of any length: pieces, how they are joined, what was missed, and the speed of speech."""

import copy
import dataclasses
import itertools
import os
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.faults import heard_words
from synthesizer import generation
from synthesizer.config import ReadingSettings, TacotronConfig
from synthesizer.dataset import Utterances
from synthesizer.inference import Synthesizer
from synthesizer.reading import reader
from synthesizer.reading.faults import missed_words, words
from synthesizer.reading.speech import Said, at_speed, batches_in_order, halves, joined, longest_piece, pieces_of, say_well
from synthesizer.text import SYMBOL_SETS, SYMBOLS, TextError, read, text_to_ids
from synthesizer.text.sentences import Pause, Piece, split
from synthesizer.train import with_longest
from tests.vocoder_data import FORMAT, write_speech, write_synthesizer
from utils.data import audio
from utils.data.rows import read_rows
from utils.errors import UserError
from utils.export import export
from utils.models import checkpoint

STEP = 0.05  # s
SENTENCE = "A short sentence stands here."
LONG = " ".join(f"{number}, as it was said in the house of the old man." for number in ("One", "Two", "Three") * 30)


# ---- pieces


def test_a_text_becomes_pieces_that_hold_all_of_it_and_no_piece_is_without_letters():
    text = f"{LONG}\n\n* * *\n\n{SENTENCE} 1,234,567 and 7,654,321 and 9,876,543 and 5,432,198 and 6,543,219."
    pieces = pieces_of(text, 100, SYMBOLS, "english")
    assert " ".join(piece.text for piece in pieces) == " ".join(text.replace("* * *", "").split())
    assert max(len(read(piece.text).text) for piece in pieces) <= 100  # as read: there are more symbols than characters
    pauses = [piece.pause for piece in pieces]
    assert pauses.count(Pause.PARAGRAPH) == 2 and pauses[-1] is Pause.PARAGRAPH and Pause.CLAUSE in pauses


@pytest.mark.parametrize("text", ["", "* * *\n\n!"])
def test_a_text_without_letters_and_sounds_without_symbols_are_refused(text):
    with pytest.raises(TextError, match="nothing to read"):
        pieces_of(text, 200, SYMBOLS, "english")
    sounds = f"{LONG} Say {{HH AH0 L OW1}}."
    with pytest.raises(TextError, match="no symbol for the sound HH"):
        pieces_of(sounds, 200, SYMBOLS, "english")
    assert "{HH AH0 L OW1}" in pieces_of(sounds, 200, SYMBOL_SETS["arpabet"], "english")[-1].text


CHINESE, THAI = "我们在等公共汽车来的时候看见了一个很老的朋友", "ฉันรอรถเมล์และเห็นเพื่อนเก่าคนหนึ่ง"


@pytest.mark.parametrize(
    ("text", "cleaner", "ends"),
    [
        (CHINESE * 20, "basic", ""),
        (f"{CHINESE}，" * 20, "basic", "，"),
        (CHINESE * 20, "english", " "),
        (THAI * 20, "transliteration", " "),
        (THAI * 20, "basic", ""),
        ("1," * 1000, "english", " "),
        ("one,two;" * 100, "english", ",;"),
        ("https://x.org/" + "a-b/c?d=5," * 50, "english", " "),
        ("ab-" * 300, "english", "-"),
        ("7" * 300, "english", " "),
        ("123,456,789,012,345,678", "english", " "),
        ("pneumono" * 125, "english", ""),
        ("{" + "HH AH0 L OW1 " * 100 + "}", "english", ""),
    ],
)
@pytest.mark.parametrize("around", ["", "It is said here: ", "no, "])
def test_what_has_no_spaces_is_divided_as_it_is_read(text, cleaner, ends, around):
    symbols = SYMBOL_SETS["arpabet"] + "，" * ("，" in text) + "".join(sorted(set(CHINESE + THAI)))
    pieces = pieces_of(around + text, 60, symbols, cleaner)
    readings = [read(piece.text, symbols, cleaner).text for piece in pieces]
    whole = read(around + text, symbols, cleaner).text
    assert all(len(reading) <= 60 for reading in readings) and len(pieces) > 3
    assert without_space("".join(readings)) == without_space(whole)
    place = 0
    for reading in readings[:-1]:  # each ends where the reading has a space or a sign, or else anywhere
        place = whole.index(reading, place) + len(reading)
        assert not ends or place >= len(whole) or whole[place] == " " or whole[place - 1] in ends
    assert not any(unicodedata.category(reading[0]).startswith("M") for reading in readings)
    assert {piece.pause for piece in pieces[:-1]} <= {Pause.CLAUSE, Pause.SENTENCE} and pieces[-1].pause is Pause.PARAGRAPH


def without_space(text):
    return "".join(text.split())


def test_the_first_piece_is_alone_and_the_others_in_batches_of_like_length_from_near():
    lengths = np.random.default_rng(0).integers(10, 200, 500).tolist()
    batches = batches_in_order(lengths, 16)
    assert batches[0] == [0] and sorted(itertools.chain(*batches)) == list(range(500))
    assert max(map(len, batches)) == 16 and len(batches) <= 34
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches[1:-1]]
    assert np.mean(spread) < 70  # of 190
    waiting, made, given = 0, set(), 0
    for batch in batches:
        made |= set(batch)
        while given in made:
            given += 1
        waiting = max(waiting, len(made) - given)
    assert waiting <= 4 * 16


def test_the_limit_is_what_the_model_was_trained_on():
    assert longest_piece(0, 0) == 200
    assert longest_piece(10, 140) == 140 and longest_piece(10, 900) == 150
    assert longest_piece(0.5, 4) >= 40


# ---- joined


def said(text, n_frames, missed=(), stopped=True, pause=Pause.SENTENCE):
    mel = np.random.default_rng(n_frames).normal(size=(80, n_frames)).astype(np.float32)
    alignment = np.eye(-(-n_frames // 4), len(text) + 1, dtype=np.float32)
    return Said(text, mel, alignment, pause, missed, stopped, text)


def test_joined_pieces_have_silence_between_them_and_a_diagonal_alignment():
    one, two = said("abc", 10), said("defgh", 21)
    mel, alignment = joined([one, two], [28], 4, -4.0)
    assert mel.shape == (80, 12 + 28 + 21) and alignment.shape == (3 + 7 + 6, 4 + 6)
    np.testing.assert_array_equal(mel[:, :10], one.mel)
    np.testing.assert_array_equal(mel[:, 40:], two.mel)
    assert (mel[:, 10:40] == -4).all()
    np.testing.assert_array_equal(alignment[:3, :4], one.alignment)
    np.testing.assert_array_equal(alignment[10:, 4:], two.alignment)
    assert not alignment[:3, 4:].any() and not alignment[10:, :4].any()
    assert (alignment[3:10].argmax(1) == 3).all() and (alignment[3:10].sum(1) == 1).all()
    assert joined([one], [], 4, -4.0)[0] is one.mel


# ---- spoken again


class Scripted:
    """Says each piece with the number of faults that comes next for it; none where nothing comes."""

    def __init__(self, **faults):
        self.faults, self.calls = {text: list(counts) for text, counts in faults.items()}, []

    def __call__(self, pieces, speakers):
        assert len(pieces) == len(speakers)
        self.calls.append([piece.text for piece in pieces])
        counts = [self.faults[piece.text].pop(0) if self.faults.get(piece.text) else 0 for piece in pieces]
        return [
            said(piece.text, 8 + count, ("x",) * count, pause=piece.pause) for piece, count in zip(pieces, counts, strict=True)
        ]


def divide(piece):
    return halves(piece, SYMBOLS, "english")


def again(say, texts, retries=3):
    def join(parts, piece):
        missed = tuple(word for part in parts for word in part.missed)
        return said(" + ".join(part.text for part in parts), 9, missed, pause=piece.pause)

    return say_well(say, [Piece(text, Pause.PARAGRAPH) for text in texts], np.zeros((len(texts), 2)), retries, divide, join)


def test_only_pieces_with_a_fault_are_spoken_again_and_the_best_is_kept():
    say = Scripted(bad=[3, 1, 2, 2], once=[1])
    good, bad, once = again(say, ["good", "bad", "once"])
    assert say.calls == [["good", "bad", "once"], ["bad", "once"], ["bad"], ["bad"]]
    assert (good.n_faults, bad.n_faults, once.n_faults) == (0, 1, 0) and bad.mel.shape[1] == 9
    assert [each.text for each in again(Scripted(bad=[5, 5]), ["bad"], retries=0)] == ["bad"]


def test_what_stays_faulty_is_spoken_in_parts_where_these_are_better():
    text = "A sentence with a clause, and then another one."
    parts = [part.text for part in divide(Piece(text, Pause.PARAGRAPH))]
    assert parts == ["A sentence with a clause,", "and then another one."]
    say = Scripted(**{text: [2, 2, 2, 2]})
    (best,) = again(say, [text])
    assert best.text == " + ".join(parts) and not best.missed and best.pause is Pause.PARAGRAPH
    say = Scripted(**{text: [1] * 4, parts[0]: [2] * 4})
    (best,) = again(say, [text])
    assert best.text == text and best.n_faults == 1 and max(say.calls, key=len) == parts
    for whole in ("Too short.", "Nothing to read after this: * * * * * * * * * * * * * *"):
        assert len(divide(Piece(whole, Pause.SENTENCE))) == 1


# ---- faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid $20.50 for 5 kg, didn't he?", "Dr|Smith|paid|$20.50|for|5|kg|didn't|he"),
        ("£5, please.", "£5|please"),
        ("*** Henry VIII ran 100m.", "Henry|VIII|ran|100m"),
        ("Say {HH AH0 L OW1}, BBC.", "Say|{HH AH0 L OW1}|BBC"),
    ],
)
def test_words_are_named_as_written_and_stand_where_they_are_read(text, expected):
    reading = read(text, SYMBOL_SETS["arpabet"]).text
    found = words(text, reading)
    assert [word.written for word in found] == expected.split("|")
    spans = [(word.start, word.stop) for word in found]
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(spans))


WORDS = words(SENTENCE, read(SENTENCE).text)


def spoken_as(order, steps_per_symbol=1):
    """The alignment of SENTENCE where its words are said in this order."""
    path = [symbol for i in order for symbol in range(WORDS[i].start, WORDS[i].stop) for _ in range(steps_per_symbol)]
    alignment = np.full((len(path), len(SENTENCE) + 1), 0.05 / len(SENTENCE), np.float32)
    alignment[np.arange(len(path)), path] += 0.95
    return alignment


@pytest.mark.parametrize(
    ("order", "missed"),
    [
        ([0, 1, 2, 3, 4], []),
        ([0, 1, 2, 4], ["stands"]),
        ([0, 2, 3, 4], ["short"]),
        ([0, 1, 2], ["stands", "here"]),
        ([0], ["short", "sentence", "stands", "here"]),
        ([0, 1, 2, 3, 1, 2, 3, 4], ["short", "sentence"]),
        ([0, 1, 2, *[3] * 7, 4], ["stands"]),
        ([1, 2, 3, 4], []),
        ([2, 3, 4], ["A", "short"]),
    ],
    ids=[
        "all",
        "skipped",
        "skipped early",
        "not reached",
        "ended at once",
        "repeated",
        "stuck",
        "too short to tell",
        "two in a row",
    ],
)
@pytest.mark.parametrize("steps", [1, 2])
def test_words_skipped_repeated_stuck_and_not_reached_are_found(order, missed, steps):
    assert missed_words(spoken_as(order, steps), WORDS, STEP) == missed


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        ("The cat set on a mat, today.", {}),
        ("The cat mat today", {"skipped": ["sat", "on", "the"]}),
        ("The cat sat on the", {"cut": ["mat", "today"]}),
        ("The cat sat on the cat sat on the mat today", {"repeated": ["the", "cat", "sat", "on"]}),
    ],
)
def test_the_benchmark_knows_what_a_listener_did_not_hear_or_heard_twice(heard, found):
    written = "the cat sat on the mat today".split()
    true, is_judged = heard_words(written, heard)
    named = {kind: [written[i] for i in np.flatnonzero(which)] for kind, which in true.items()}
    assert {kind: each for kind, each in named.items() if each} == found
    assert is_judged.all()


def test_a_look_ahead_makes_no_word_repeated():
    ahead = np.tile(np.eye(len(SENTENCE) + 1, dtype=np.float32)[WORDS[4].start + 1], (4, 1))
    alignment = np.concatenate([spoken_as([0, 1], 2), ahead, spoken_as([2, 3, 4], 2)])
    assert missed_words(alignment, WORDS, STEP) == []


def test_a_text_of_one_word_is_said_or_not():
    word, reading = words("Yes.", "yes."), np.eye(5, dtype=np.float32)
    assert missed_words(reading, word, STEP) == [] and missed_words(reading[3:], word, STEP) == ["Yes"]


def test_a_glance_forward_or_back_is_no_fault():
    alignment = spoken_as([0, 1, 2, 3, 4], 2)
    for step, symbol in ((10, 22), (40, 3)):
        alignment[step] = np.eye(alignment.shape[1])[symbol]
    assert missed_words(alignment, WORDS, STEP) == []


# ---- the synthesizer


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory):
    return Synthesizer(write_synthesizer(tmp_path_factory.mktemp("model") / "synthesizer.pt"), "cpu", cap_frames=(20, 1))


@pytest.fixture
def voice():
    return np.random.default_rng(0).normal(size=256)


@pytest.fixture
def flawless(monkeypatch):
    monkeypatch.setattr(reader, "missed_words", lambda *_: [])
    monkeypatch.setattr(Said, "n_faults", 0)


def test_pieces_come_in_order_while_they_are_made_and_repeat_with_a_seed(synthesizer, voice, flawless, monkeypatch):
    batches, generate = [], synthesizer._generate
    monkeypatch.setattr(synthesizer, "_generate", lambda ids, speakers: batches.append(len(ids)) or generate(ids, speakers))
    reading = synthesizer.read_aloud(LONG, voice, seed=3)
    assert next(reading).text == read(synthesizer.pieces(LONG)[0].text).text and batches == [1]
    rest = list(reading)
    assert max(batches) == 16 and sum(batches) == synthesizer.n_pieces(LONG) == 1 + len(rest)
    assert " ".join(each.text for each in rest) == " ".join(read(piece.text).text for piece in synthesizer.pieces(LONG)[1:])
    assert {each.mel.dtype for each in rest} == {np.dtype(np.float32)} and rest[-1].pause is Pause.PARAGRAPH
    for one, other in zip(rest, list(synthesizer.read_aloud(LONG, voice, seed=3))[1:], strict=True):
        np.testing.assert_array_equal(one.mel, other.mel)


def test_whoever_watches_ends_the_speech_and_the_next_is_said_as_ever(synthesizer, voice, flawless, monkeypatch):
    class Enough(Exception):
        pass

    def watch():
        calls.append(1)
        if len(calls) == limit:
            raise Enough

    monkeypatch.setattr(generation, "SPAN", 1)  # the small model says little
    whole, calls, limit = next(synthesizer.read_aloud(SENTENCE, voice, seed=5)).mel, [], None
    watched = copy.copy(synthesizer)
    watched.watch = watch
    np.testing.assert_array_equal(next(watched.read_aloud(SENTENCE, voice, seed=5)).mel, whole)
    n_calls, limit = len(calls), 2
    assert n_calls > 2
    calls.clear()
    with pytest.raises(Enough):
        next(watched.read_aloud(SENTENCE, voice, seed=5))
    np.testing.assert_array_equal(next(synthesizer.read_aloud(SENTENCE, voice, seed=5)).mel, whole)


def test_what_cannot_be_read_or_is_too_fast_is_refused_at_once(synthesizer, voice):
    with pytest.raises(UserError, match="nothing to read"):
        synthesizer.read_aloud("...", voice)
    for speed in (0.79, 1.26):
        with pytest.raises(ValueError, match="speed must be"):
            synthesizer.read_aloud("a", voice, speed=speed)
        with pytest.raises(ValueError, match="speed must be"):
            synthesizer.synthesize_spectrograms(["a"], voice, speed=speed)


def test_a_text_of_one_piece_gives_what_the_model_gives_for_it(synthesizer, voice, flawless):
    texts = [SENTENCE, "Another one, which is longer than it."]
    mels, alignments = synthesizer.synthesize_spectrograms(texts, voice, True, seed=5)
    ids = [text_to_ids(text, synthesizer.symbols, synthesizer.cleaner) for text in texts]
    with synthesizer._repeatable(5):
        plain = synthesizer._generate(ids, synthesizer._speakers(voice, 2))
    for row, (mel, alignment) in enumerate(zip(mels, alignments, strict=True)):
        for found, wanted in zip((mel, alignment), synthesizer._cut(plain, row, len(ids[row])), strict=True):
            np.testing.assert_array_equal(found, wanted)
    (alone,) = synthesizer.synthesize_spectrograms([SENTENCE], voice, seed=5)
    np.testing.assert_array_equal(next(synthesizer.read_aloud(SENTENCE, voice, seed=5)).mel, alone)


def test_a_long_text_gives_one_mel_and_tells_what_is_missing(synthesizer, voice, monkeypatch, capsys):
    monkeypatch.setattr(reader, "missed_words", lambda alignment, said, _: [said[0].written] if len(said) > 6 else [])
    monkeypatch.setattr(synthesizer, "reading", ReadingSettings(retries=0))
    generate = synthesizer._generate
    never = {"stopped": torch.tensor(False).expand(99)}
    monkeypatch.setattr(synthesizer, "_generate", lambda ids, speakers: generate(ids, speakers)._replace(**never))
    texts = [f"{LONG[:300]}\n\nYes, all of it.", SENTENCE]
    (long, short), (alignment, _) = synthesizer.synthesize_spectrograms(texts, voice, True, seed=5)
    pieces = synthesizer.pieces(texts[0])
    assert long.shape[1] > 3 * short.shape[1] and len(alignment) == -(-long.shape[1] // 2)
    assert alignment.shape[1] == sum(len(read(piece.text).text) + 1 for piece in pieces)
    np.testing.assert_allclose(alignment.sum(1), 1, atol=1e-4)
    silent = int(0.7 * 80) // 2 * 2
    runs = [len(list(run)) for is_silent, run in itertools.groupby((long == -4).all(axis=0)) if is_silent]
    assert len(runs) == len(pieces) - 1 and silent - 2 <= max(runs) <= silent + 3  # the paragraph's
    assert synthesizer.unfinished == [0, 1] and synthesizer.missed[1] == [] and len(synthesizer.missed[0]) == len(pieces) - 1
    printed = capsys.readouterr().out
    assert "cut at" in printed and f"not said as written: {', '.join(synthesizer.missed[0])}, in 'One, as" in printed


def resident() -> float:
    """MB of memory that this process has in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")
def test_memory_that_was_freed_between_batches_is_returned(synthesizer, voice, flawless, monkeypatch):
    speak, kept = synthesizer.model.generate, []
    next(synthesizer.read_aloud(LONG, voice))  # what is needed once

    def speak_untidily(*arguments):
        blocks = [(np.ones(100_000, np.uint8), np.ones(2000, np.uint8)) for _ in range(2000)]
        kept.extend(small for _, small in blocks)  # 200 MB are freed, but not at the heap's end
        return speak(*arguments)

    monkeypatch.setattr(synthesizer.model, "generate", speak_untidily)
    before = resident()
    assert sum(1 for _ in synthesizer.read_aloud(LONG[:1500], voice, seed=3)) > 10 and len(kept) >= 3 * 2000
    assert resident() < before + 150


# ---- what it was trained on


def test_training_keeps_the_longest_utterance_and_so_do_exports(samples, tmp_path):
    data = write_speech(samples, tmp_path / "data", 4)
    utterances = Utterances(data, read_rows(data.manifest), SYMBOLS, "english", FORMAT, 256)
    config = with_longest(TacotronConfig(longest_symbols=9), utterances)
    assert config.longest_symbols == len("words words words words") + 1
    assert config.longest_seconds == pytest.approx(max(row.n_frames for row in utterances.rows) / 80, abs=1e-3)
    assert with_longest(TacotronConfig(longest_seconds=9.0, longest_symbols=99), utterances) == TacotronConfig(
        longest_seconds=9.0, longest_symbols=99
    )
    path = write_synthesizer(tmp_path / "synthesizer.pt")
    assert Synthesizer(path, "cpu").longest_piece == 200
    content = checkpoint.load(path, "synthesizer")
    checkpoint.save(path, content | {"model": content["model"] | {"longest_seconds": 8.0, "longest_symbols": 110}})
    assert Synthesizer(export({"synthesizer": path}, tmp_path / "out")["synthesizer"], "cpu").longest_piece == 110
    old = {name: value for name, value in content["model"].items() if not name.startswith("longest")}
    checkpoint.save(path, content | {"model": old})
    assert Synthesizer(path, "cpu").longest_piece == 200


# ---- speed


def pitch(wav):
    """Hz, of the strongest peak of the autocorrelation between 80 and 400 Hz."""
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav)), 1 << 18)) ** 2
    correlation = np.fft.irfft(spectrum)
    lags = np.arange(FORMAT.sample_rate // 400, FORMAT.sample_rate // 80)
    best = lags[correlation[lags].argmax()]
    before, at, after = correlation[best - 1 : best + 2]
    return FORMAT.sample_rate / (best + 0.5 * (before - after) / (before - 2 * at + after))


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_changes_the_length_and_not_the_pitch(speed):
    seconds = np.arange(2 * FORMAT.sample_rate) / FORMAT.sample_rate
    hum = sum(np.sin(2 * np.pi * 140 * n * seconds) / n for n in range(1, 30))
    hum *= 0.1 + 0.1 * np.sin(2 * np.pi * 3 * seconds) ** 2  # as syllables
    mel = audio.mel_spectrogram(hum.astype(np.float32), FORMAT).T
    changed = at_speed(mel, speed)
    assert changed.dtype == np.float32 and changed.shape[1] == round(mel.shape[1] / speed)
    np.testing.assert_array_equal(changed[:, [0, -1]], mel[:, [0, -1]])
    before, after = (pitch(audio.griffin_lim(each.T, FORMAT, 30)) for each in (mel, changed))
    assert before == pytest.approx(140, rel=0.02) and after == pytest.approx(before, rel=0.02)
    assert at_speed(mel, 1.0) is mel


def test_read_aloud_is_faster_with_speed(synthesizer, voice, flawless):
    usual, fast = (list(synthesizer.read_aloud(SENTENCE, voice, 1, speed)) for speed in (1.0, 1.25))
    assert fast[0].mel.shape[1] == round(usual[0].mel.shape[1] / 1.25)
    two = f"{SENTENCE} {SENTENCE}"
    (slow, steps), (usual, _) = (synthesizer.synthesize_spectrograms([two], voice, True, 1, speed) for speed in (0.8, 1.0))
    r, n_pause = int(synthesizer.model.r), round(0.35 * FORMAT.sample_rate / FORMAT.hop_length)
    assert slow[0].shape[1] - n_pause == pytest.approx((usual[0].shape[1] - n_pause) / 0.8, abs=4 * r)
    assert len(steps[0]) == -(-slow[0].shape[1] // r)


def test_settings_give_the_pauses():
    settings = ReadingSettings()
    assert [settings.after(pause) for pause in Pause] == [0.15, 0.35, 0.7]
    with pytest.raises(ValueError, match="clause_pause must be at least 0"):
        dataclasses.replace(settings, clause_pause=-1.0)
    assert len(split(LONG, 200)) > 10


def test_two_that_speak_at_once_each_follow_their_own_seed(tmp_path):
    path = write_synthesizer(tmp_path / "synthesizer.pt")
    both = [Synthesizer(path, "cpu", cap_frames=(20, 1)) for _ in range(2)]
    embedding = np.random.default_rng(0).random(both[0].config.speaker_size, dtype=np.float32)

    def say(of):
        return [both[of].synthesize_spectrograms([SENTENCE], embedding, seed=seed)[0] for seed in range(8)]

    alone = say(0)
    with ThreadPoolExecutor() as pool:
        for together in pool.map(say, (0, 1)):
            assert all(map(np.array_equal, together, alone))


def test_a_model_changed_after_it_has_spoken_speaks_as_it_is_now(tmp_path, monkeypatch):
    synthesizer = Synthesizer(write_synthesizer(tmp_path / "synthesizer.pt"), "cpu", cap_frames=(20, 1))
    embedding = np.random.default_rng(0).random(synthesizer.model.config.speaker_size, dtype=np.float32)

    def say():
        return synthesizer.synthesize_spectrograms(["hello there"], embedding, seed=0)[0]

    first = say()
    assert np.array_equal(say(), first)
    torch.nn.init.normal_(synthesizer.model.decoder.join.weight)
    assert not np.array_equal(second := say(), first)
    attention = type(synthesizer.model.decoder.attention)
    forward = attention.forward

    def always_at_the_start(self, query, state, memory):
        after = forward(self, query, state, memory)
        weights = torch.zeros_like(after.weights)
        weights[:, 0] = 1
        return after._replace(weights=weights)

    monkeypatch.setattr(attention, "forward", always_at_the_start)
    assert not np.array_equal(say(), second)
