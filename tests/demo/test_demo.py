"""How the demo says a text: pieces joined as one reading, written and played as they are made. The models are fakes."""

import gc
import itertools
import sys
import threading
import types
import weakref

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
import soundfile

from demo import cloner
from demo.cloner import Voice, read_references
from demo.delivery import deliver
from demo.joining import fitted, speech_level
from demo.pace import FOUND, Pace, pace_of
from demo.playing import Player
from demo.spoken import Record, SpokenPiece
from synthesizer.inference import Synthesizer
from synthesizer.reading.speech import Said
from synthesizer.text.sentences import Pause
from tests.demo.demo_fakes import FakeSynthesizer, fake_cloner, tones
from tests.vocoder_data import TINY, write_synthesizer, write_vocoder
from utils import config
from utils.data import audio
from utils.data.audio import mel_spectrogram
from utils.data.mel_format import MelFormat
from utils.errors import UserError
from utils.models import checkpoint
from vocoder import inference as vocoder
from vocoder.model import WaveRNN, WaveRNNConfig

RATE = 16000
VOICE = Voice(np.zeros(4, np.float32), None)
TEXT = f"{'Some words, ' * 20}then the end of it. Another sentence is here.\n\nAnother paragraph is here."


def tone(seconds: float, loudness: float = 0.3, hertz: float = 220) -> np.ndarray:
    return (loudness * np.cos(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def decibels(wav: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt(np.square(wav, dtype=np.float64).mean()))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loudspeaker(monkeypatch) -> types.SimpleNamespace:
    """sounddevice that keeps what it is given."""
    kept = types.SimpleNamespace(played=[], heard=threading.Event(), aborted=False, rate=None)

    class OutputStream:
        def __init__(self, samplerate, channels, dtype):
            kept.rate = samplerate

        def start(self): ...

        def stop(self): ...

        def close(self): ...

        def abort(self):
            kept.aborted = True

        def write(self, block):
            assert block.ndim == 2 and block.dtype == np.float32
            kept.played.append(block[:, 0])
            kept.heard.set()

    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(OutputStream=OutputStream))
    return kept


# ---- pieces become one reading


def test_pauses_are_those_of_clauses_sentences_and_paragraphs_and_silence_ends_the_wave(tmp_path):
    spoken = fake_cloner(FakeSynthesizer(loudness=(0.05, 0.9, 0.3))).clone([_recording(tmp_path)], TEXT)
    found = tones(spoken.wav)
    gaps = [(after[0] - before[1]) / RATE for before, after in itertools.pairwise(found)]
    assert gaps == pytest.approx([0.15, 0.35, 0.7], abs=0.002)
    assert (len(spoken.wav) - found[-1][1]) / RATE == pytest.approx(0.2, abs=0.002)
    assert [hertz for _, _, hertz in found] == pytest.approx([200, 210, 220, 230], abs=3)
    assert [decibels(spoken.wav[start:end]) for start, end, _ in found] == pytest.approx([-23] * 4, abs=0.3)
    assert spoken.starts == pytest.approx([start / RATE for start, _, _ in found], abs=0.005)
    assert np.abs(np.diff(spoken.wav)).max() < 1.1 * 2 * np.pi * 230 / RATE * np.abs(spoken.wav).max(), "a click"


def test_pauses_loudness_and_tail_are_settings(tmp_path):
    cloner = fake_cloner(loudness=-30.0, tail=0.5)
    cloner.synthesizer.reading = cloner.synthesizer.reading.__class__(sentence_pause=1.0)
    wav = cloner.clone([_recording(tmp_path)], "A sentence is here. Another one is here.").wav
    first, second = tones(wav)
    assert (second[0] - first[1]) / RATE == pytest.approx(1, abs=0.002)
    assert (len(wav) - second[1]) / RATE == pytest.approx(0.5, abs=0.002)
    assert decibels(wav[first[0] : first[1]]) == pytest.approx(-30, abs=0.3)


def test_silence_around_a_piece_goes_and_soft_ends_stay():
    silence = np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32)
    piece, n_cut = fitted(np.concatenate([silence, tone(0.5), tone(0.2, 0.01), silence]), RATE, -23)
    assert len(piece) / RATE == pytest.approx(0.7 + 2 * 0.03, abs=0.011) and n_cut / RATE == pytest.approx(0.97, abs=0.011)
    assert piece[0] == piece[-1] == 0
    for nothing in (np.zeros(100, np.float32), np.zeros(0, np.float32)):
        assert not fitted(nothing, RATE, -23)[0].any()


def test_loudness_is_that_of_the_speech_without_its_pauses_and_never_clips():
    with_pause = np.concatenate([tone(1), np.zeros(3 * RATE, np.float32), tone(1)])
    assert speech_level(with_pause, RATE) == pytest.approx(speech_level(tone(1), RATE), rel=0.02)
    spiky = tone(1, 0.01)
    spiky[8000] = 1.0
    assert np.abs(fitted(spiky, RATE, -3)[0]).max() == pytest.approx(0.99)
    hiss = np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32)
    assert np.abs(fitted(hiss, RATE, -23)[0]).max() < 0.01, "what is not speech must not become loud"


# ---- written as it is made


def test_a_long_text_is_said_in_order_and_memory_does_not_grow(tmp_path, capsys):
    """10,000 words: no more than the first minute and a few pieces are ever held."""
    alive, most = set(), 0

    class Counting(FakeSynthesizer):
        def _mel(self, i, text):
            nonlocal most
            mel = super()._mel(i, text[:4])
            alive.add(id(mel))
            weakref.finalize(mel, alive.discard, id(mel))
            most = max(most, len(alive))
            return mel

    text = "Ten words are in this sentence, as anybody can count. " * 1000
    path, record = deliver(fake_cloner(Counting()), VOICE, text, tmp_path / "long.wav", tmp_path / "long.png")
    assert record.n_pieces == 1000 and most < record.n_kept + 5 < 120
    rate, wav = scipy.io.wavfile.read(path)
    found = tones(wav / 32767)
    assert rate == RATE and len(found) == 1000 and len(wav) / RATE == pytest.approx(record.seconds + 0.2)
    np.testing.assert_allclose([hertz for _, _, hertz in found], [200 + 10 * (i % 21) for i in range(1000)], atol=4.9)
    out = capsys.readouterr().out
    assert f"Written: {path}\n" in out and f"Written: {tmp_path / 'long.png'}, of the first 60 s\n" in out
    gc.collect()


def test_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(RuntimeError), audio.wav_writer(path, RATE) as write:
        write(tone(1))
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with audio.wav_writer(path, 22050) as write:
        write(tone(1))
        assert not path.exists()
        write(tone(2, 0.1))
    rate, wav = scipy.io.wavfile.read(path)
    assert rate == 22050 and np.array_equal(wav, audio.to_int16(np.concatenate([tone(1), tone(2, 0.1)])))
    assert sum(len(block) for block in audio.wav_blocks(path)) == 3 * RATE


def test_files_are_numbered_and_none_is_overwritten(tmp_path):
    (tmp_path / "demo_output_01.wav").write_text("precious")
    assert deliver(fake_cloner(), VOICE, "Some words.")[0].name == "demo_output_02.wav"
    assert (tmp_path / "demo_output_01.wav").read_text() == "precious"


# ---- played as it is made


def test_the_first_piece_is_heard_before_the_second_is_made(loudspeaker, tmp_path):
    class Waiting(FakeSynthesizer):
        def _read_aloud(self, text):
            first, *others = super()._read_aloud(text)
            yield first
            assert loudspeaker.heard.wait(10), "nothing was played"
            yield from others

    path, _ = deliver(fake_cloner(Waiting()), VOICE, TEXT, player=Player())
    _, wav = scipy.io.wavfile.read(path)
    played = np.concatenate(loudspeaker.played)
    assert loudspeaker.rate == RATE and not loudspeaker.aborted
    np.testing.assert_array_equal(audio.to_int16(played), wav[: len(played)])
    assert len(wav) - len(played) == 3200  # the silence at the end


def test_an_interruption_stops_the_sound_and_keeps_what_was_said(loudspeaker, capsys):
    class Interrupted(FakeSynthesizer):
        def _read_aloud(self, text):
            for i, said in enumerate(super()._read_aloud(text)):
                if i == self.last:
                    raise KeyboardInterrupt
                yield said

    synthesizer = Interrupted()
    synthesizer.last = 2
    with pytest.raises(KeyboardInterrupt):
        deliver(fake_cloner(synthesizer), VOICE, TEXT, player=Player())
    assert loudspeaker.aborted and len(tones(soundfile.read("demo_output_01.wav")[0])) == 2
    assert "Stopped by Ctrl-C. Written so far: demo_output_01.wav" in capsys.readouterr().out
    synthesizer.last = 0
    with pytest.raises(KeyboardInterrupt):
        deliver(fake_cloner(synthesizer), VOICE, TEXT)
    assert "demo_output_02.wav" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "sounddevice is not installed; pip install sounddevice"),
        (types.SimpleNamespace(), "no attribute 'OutputStream'"),  # stands for any failure of a device
    ],
)
def test_what_prevents_sound_is_said_once_and_prevents_nothing_else(found, told, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", found)
    player = Player()
    for _ in range(2):
        deliver(fake_cloner(), VOICE, TEXT, player=player)
    out = capsys.readouterr().out
    assert out.count("No sound will be played") == 1 and told in out
    assert len(tones(soundfile.read("demo_output_02.wav")[0])) == 4


# ---- what is told


def test_missed_words_and_cut_pieces_are_named(tmp_path, capsys):
    spoken = fake_cloner(FakeSynthesizer(missed=("words", "paragraph"))).clone([_recording(tmp_path)], TEXT + " ☃")
    assert spoken.missed == ["words", "words", "paragraph"] and spoken.unfinished == [0, 1, 3]
    out = capsys.readouterr().out
    assert "Not said, or not said once: words, words, paragraph\n" in out and "Cut: 3 pieces were stopped at" in out
    assert "Not read, as the model has no symbol and no words for it: ☃ in 's here. ☃'\n" in out


def test_sounds_in_braces_are_doubted_once_if_the_model_was_trained_on_letters():
    cloner = fake_cloner(FakeSynthesizer())
    told = ["The sounds in braces may be said badly, as the model was trained with sounds=0."]
    assert cloner.unread("Say {T UW1}, {T UW1}.") == told and cloner.unread("Say {two}.") == []
    cloner.synthesizer.sounds = 1.0
    assert cloner.unread("Say {T UW1}.") == []


def test_of_many_missed_words_the_first_are_named():
    record = Record(RATE, MelFormat())
    words = tuple(f"word{i}" for i in range(30))
    record.add(SpokenPiece(Said("a", np.zeros((80, 5)), np.eye(2), Pause.SENTENCE, words, True, "a"), tone(1), 0))
    (line,) = [line for line in record.report(None) if line.startswith("Not said")]
    assert line.endswith("word18, word19 and 10 more") and not record.is_whole


def test_a_sound_in_braces_counts_as_one_character():
    told = []
    for text, labels in (("to", "to"), ("{T UW1}", ("T", "UW1"))):
        record = Record(RATE, MelFormat())
        record.add(SpokenPiece(Said(text, np.zeros((80, 80)), np.eye(2), Pause.SENTENCE, (), True, labels), tone(1), 0))
        told.append(record.report(None)[1])
    assert told[0] == told[1] != "Pace: 0.0 characters a second"


def test_the_pace_is_told_beside_the_recordings(tmp_path, samples, capsys):
    cloner = fake_cloner()
    cloner.clone(sorted(samples.rglob("*.flac"))[:2], TEXT)
    out = capsys.readouterr().out
    assert "characters a second, about " in out and "syllables a second; the recording has about " in out
    cloner.clone([_recording(tmp_path)], TEXT)  # of 1 s, too short to tell
    assert "the recording" not in capsys.readouterr().out


def test_a_text_is_said_as_fast_as_the_recording_and_the_speed_asked_for(monkeypatch):
    monkeypatch.setattr(cloner, "pace_of", lambda mel, mel_format: Pace(mel.shape[1] / 20, mel.shape[1] / 80))  # 4 a second

    def lengths(pace, speed=1.0, **settings):
        voice = Voice(np.ones(4), pace, 5.0, "", "")
        return np.array([piece.said.mel.shape[1] for piece in fake_cloner(**settings).say(voice, TEXT, speed)])

    plain = lengths(None)
    assert lengths(4.0) == pytest.approx(plain, abs=1) and len(plain) > 1
    assert lengths(4.0, 0.8) == pytest.approx(plain / 0.8, abs=1) and lengths(None, 1.25) == pytest.approx(plain / 1.25, abs=1)
    slower = lengths(3.5) / plain
    assert 1 < slower[0] <= slower[-1] <= 4 / 3.5 + 0.02  # surer with every piece
    assert lengths(40.0) == pytest.approx(plain / 1.25, abs=1)  # no faster than that
    assert (lengths(3.5, recordings_pace=False) == plain).all()
    with pytest.raises(ValueError, match="speed must be"):
        lengths(4.0, 1.3)
    monkeypatch.setattr(cloner, "pace_of", lambda mel, mel_format: Pace(0.0, 1.0))
    assert (lengths(4.0) == plain).all()  # without a syllable it is not known how fast it is


def _pace(wav):
    return pace_of(mel_spectrogram(wav, MelFormat()).T, MelFormat())


def test_syllables_are_counted_in_speech(samples):
    """Within a tenth of the groups of vowels in the transcripts."""
    counted, written = 0.0, 0
    for transcript in sorted(samples.rglob("*.trans.txt"))[:8]:
        for line in transcript.read_text().splitlines()[:3]:
            name, _, text = line.partition(" ")
            wav, _ = soundfile.read(transcript.parent / f"{name}.flac", dtype="float32")
            counted += _pace(wav).syllables
            words = [word.removesuffix("E") for word in text.split()]
            written += sum(
                max(1, sum(a in "AEIOUY" and b not in "AEIOUY" for a, b in zip(word, word[1:] + " ", strict=True)))
                for word in words
            )
    assert counted == pytest.approx(written, rel=0.1)


@pytest.mark.parametrize("level", [0.2, 0.3])
@pytest.mark.parametrize("rate", [4, 7])
def test_hiss_above_the_vowels_hides_no_syllables(rate, level):
    seconds = np.arange(8 * RATE) / RATE
    hiss = scipy.signal.sosfilt(
        scipy.signal.butter(8, (1600, 3000), "band", fs=RATE, output="sos"), np.random.default_rng(0).normal(size=len(seconds))
    )
    vowels = (0.55 + 0.45 * np.sin(2 * np.pi * rate * seconds)) * np.sin(2 * np.pi * 500 * seconds) * 0.1
    assert _pace(vowels + level * hiss).syllables * FOUND == pytest.approx(8 * rate, abs=1)


def test_pauses_are_no_speech():
    speech = np.concatenate([np.hanning(4000) * tone(0.25, hertz=500)] * 8)  # 4 syllables a second
    heard = _pace(np.concatenate([speech, np.zeros(3 * RATE), speech]))
    assert heard.syllables * FOUND == pytest.approx(16, abs=1) and heard.seconds == pytest.approx(4, abs=0.3)
    assert _pace(np.zeros(RATE)).syllables == 0 and _pace(np.zeros(10)).syllables == 0


def test_one_sentence_says_little_about_a_pace():
    assert Pace(5, 1).speed_for(10) == pytest.approx(10 / ((5 + 20) / 3))
    assert (Pace(250, 50) + Pace(250, 50)).speed_for(10) == pytest.approx(2, abs=0.05)


# ---- references


def test_a_reference_that_cannot_be_used_costs_no_other(tmp_path, capsys):
    good, (broken, missing) = _recording(tmp_path), (tmp_path / "broken.wav", tmp_path / "nowhere.wav")
    broken.write_bytes(b"no audio")
    bad = {broken: "damaged or not audio", missing: "no such file", tmp_path: "is a folder"}
    assert [path for path, _ in read_references([broken, good, *bad])] == [good]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 4 and all(f"{path}: " in line for path, line in zip((broken, *bad), lines, strict=True))
    for path, told in bad.items():
        with pytest.raises(UserError, match=told):
            read_references([path])
    with pytest.raises(UserError, match=r"broken.wav: .*; .*nowhere.wav: no such file$"):
        read_references([broken, missing])


def _recording(folder):
    """One second that sounds like a voice: a buzz that comes and goes."""
    wav = np.sign(tone(1, 0.3, 130)) * 0.2 * np.abs(np.sin(np.arange(RATE) / 900))
    soundfile.write(folder / "voice.wav", wav, RATE)
    return folder / "voice.wav"


# ---- the default voice


def test_without_a_path_the_default_voice_is_loaded_and_named(tmp_path, monkeypatch, capsys):
    write_synthesizer(tmp_path / "default" / "synthesizer.pt")
    write_vocoder(tmp_path / "default" / "vocoder.pt", WaveRNN(WaveRNNConfig(**TINY)))
    monkeypatch.setattr(config, "DEFAULT_MODELS", tmp_path / "default")
    Synthesizer(device="cpu")
    assert capsys.readouterr().out == "synthesizer: default/synthesizer.pt, as no file was named\n"
    vocoder.load_model(device="cpu")
    assert "vocoder: default/vocoder.pt" in capsys.readouterr().out
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert checkpoint.or_default(None, "synthesizer") == tmp_path / "default" / "synthesizer.pt"


def test_models_that_are_slow_at_first_use_are_told_of(monkeypatch, capsys):
    monkeypatch.setattr(cloner, "LONG", 0.05)
    fake_cloner(FakeSynthesizer(seconds=0.5))
    assert capsys.readouterr().out.startswith("Getting the models ready")
