"""What the toolbox's page is made of: models, sessions, voices, speech and pictures. The models are small or fakes."""

import csv
import io
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="requirements-toolbox.txt")

from demo import voice_file
from demo.config import CloningSettings
from demo.toolbox import models as models_module
from demo.toolbox import page, pictures, views
from demo.toolbox.messages import Messages
from demo.toolbox.models import Choice, Models
from demo.toolbox.session import Sessions
from demo.toolbox.speaking import MOST_WORDS, Options, as_read, lines_of, seed_of, speak
from demo.toolbox.voices import Browser, add_recordings, of_encoder
from encoder.inference import SpeakerEmbedder
from synthesizer.config import ReadingSettings
from tests.demo.demo_fakes import FakeVocoder
from tests.demo.toolbox_server import DEFAULT, ROOT, FakeModels, write_models
from utils.data import audio
from utils.errors import UserError
from utils.models.checkpoint import load, save

TWO = "This is one sentence. This is another one."
THREE = f"{TWO} This is the third."
OPTIONS = Options(7, 1.0, 1.0, False)
NASTY = ("../../etc/passwd", "/etc/passwd", "a/b", "..", "", "\0", "~", "x" * 5000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = write_models(tmp_path_factory.mktemp("models"))
    content = load(folder / "default" / "synthesizer.pt", "synthesizer")
    save(folder / "foreign" / "synthesizer.pt", content | {"encoder_sha256": ["f" * 64]})
    return folder


@pytest.fixture
def models(folder) -> FakeModels:
    return FakeModels(folder, True, CloningSettings(), ReadingSettings())


@pytest.fixture
def sessions():
    sessions = Sessions(DEFAULT)
    yield sessions
    sessions.close_all()


@pytest.fixture
def session(sessions):
    return sessions.of("a tab")


@pytest.fixture
def recordings(samples) -> list[Path]:
    return sorted(samples.rglob("*.flac"))[:3]


def voice(session, models, *paths, name=""):
    return add_recordings(session, models, [(path.name, path) for path in paths], name)


def said(session, models, recorded, text="Some words.", options=OPTIONS):
    return [each.entry for each in speak(session, models, recorded, lines_of(text), options) if each.entry]


# ---- models


def test_models_are_listed_with_run_step_and_size(models):
    labels = models.labels("encoder")
    assert list(labels) == ["default", "damaged", "other"]
    assert re.fullmatch(r"default · step 1 · \d+\.\d kB", labels["default"])
    assert re.fullmatch(r"damaged · cannot be read · 0\.0 kB", labels["damaged"])
    assert models.first() == DEFAULT


def test_only_the_model_that_changes_is_loaded(folder, monkeypatch):
    loaded = []
    for name in ("SpeakerEmbedder", "Synthesizer", "Vocoder"):
        original = getattr(models_module, name)
        monkeypatch.setattr(
            models_module, name, lambda path, *a, o=original, **k: loaded.append(path.parent.name) or o(path, *a, **k)
        )
    models = Models(folder, True, CloningSettings(), ReadingSettings())
    first = models.cloner(DEFAULT)
    assert loaded == ["default"] * 3 and models.cloner(DEFAULT) is first
    other = models.cloner(Choice("other", "default", "default"))
    assert loaded[3:] == ["other"] and other.synthesizer is first.synthesizer and other.embedder is not first.embedder
    assert models.cloner(DEFAULT) is first and len(loaded) == 4
    content = load(folder / "other" / "encoder.pt", "encoder")
    save(folder / "other" / "encoder.pt", content)  # training has gone on
    assert models.cloner(Choice("other", "default", "default")) is not other


@pytest.mark.parametrize("stage", Choice._fields)
@pytest.mark.parametrize("name", NASTY)
def test_a_name_from_outside_is_no_path(models, stage, name):
    with pytest.raises(UserError, match=rf"{stage}\.pt is missing in the folder of run"):
        models.cloner(DEFAULT._replace(**{stage: name}))


def test_models_that_do_not_belong_together_are_refused_or_warned_of(models):
    with pytest.raises(UserError, match=r"reads other mels than .*vocoder: fmin 0\.0; synthesizer: fmin 55\.0$"):
        models.cloner(DEFAULT._replace(vocoder="foreign"))
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        models.cloner(DEFAULT._replace(encoder="damaged"))
    warning = models.warning(DEFAULT._replace(synthesizer="foreign"))
    assert "was trained with encoder ffffffff" in warning and "\n" not in warning
    assert not models.warning(DEFAULT)


def test_a_turn_goes_to_whoever_waits_and_a_long_recording_takes_many(session, models, recordings, tmp_path, monkeypatch):
    audio.write_wav(tmp_path / "long.wav", np.resize(audio.load(recordings[0]), 300 * 16000))
    embedder, held, others = models.cloner(DEFAULT).embedder, [], []
    embed = embedder.embed_frames

    def embed_while_another_waits(mels):
        held.append(len(mels))
        assert waits_for(models.turn._next.locked)
        return embed(mels)

    def another_page():
        while waits_for(lambda: len(held) > len(others) or not long.is_alive()) and len(held) > len(others):
            with models.turn:
                others.append(len(held))

    monkeypatch.setattr(embedder, "embed_frames", embed_while_another_waits)
    monkeypatch.setattr(embedder, "embed_utterance", None)  # all that is known comes from these partials
    long = threading.Thread(target=voice, args=(session, models, tmp_path / "long.wav"))
    other = threading.Thread(target=another_page)
    long.start(), other.start()
    long.join(), other.join()
    (recorded,) = session.voices.values()
    assert sum(held) == pytest.approx(recorded.voice.seconds / 0.8, abs=2) and max(held) <= 32
    assert others == list(range(1, len(held) + 1)) and len(held) >= 5


def waits_for(is_so: Callable[[], bool]) -> bool:
    """Whether it is so within 20 s."""
    until = time.monotonic() + 20
    while not is_so() and time.monotonic() < until:
        time.sleep(0.001)
    return is_so()


def test_a_port_that_is_taken_is_told_before_the_models_are_loaded(folder, samples, monkeypatch):
    monkeypatch.setattr(page, "Models", None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 cannot be used .*name another one with --port"):
            page.serve(samples, folder, "127.0.0.1", port, None, True, "", False)


# ---- sessions


@pytest.mark.parametrize("name", [*NASTY, "a\nb", "<b>", "Zoë", "CON"])
def test_names_from_outside_never_become_paths(sessions, session, models, recordings, name):
    """Neither a voice's name nor a tab's leads anywhere but into the session's folder."""
    strange = sessions.of(name)
    recorded = voice(strange, models, recordings[0], name=name)
    assert "\n" not in recorded.name and 0 < len(recorded.name) <= 60
    path = strange.save_voice(recorded)
    with pytest.raises(UserError, match="choose a voice first|no longer there"):
        strange.voice(name)
    assert path.parent == strange.folder and strange.folder.parent == sessions.folder
    with zipfile.ZipFile(strange.archive()) as archive:
        names = archive.namelist()
    assert all(re.fullmatch(r"said\.csv|voices/[^/]+\.(wav|voice)", each) for each in names) and len(names) == 3


def test_files_are_removed_with_their_session_and_the_rest_with_the_server(sessions, models, recordings):
    first, second = sessions.of("1"), sessions.of("2")
    for session in (first, second):
        said(session, models, voice(session, models, *recordings))
    assert sessions.of("1") is first and any(first.folder.iterdir())
    sessions.close("1")
    sessions.close("never seen")
    assert not first.folder.exists() and any(second.folder.iterdir())
    with pytest.raises(UserError, match="reload"):
        first.new_file(".wav")
    sessions.close_all()
    assert not sessions.folder.exists()


def test_a_tab_that_is_closed_while_it_speaks_leaves_nothing(sessions, models, recordings):
    session = sessions.of("1")
    speech = speak(session, models, voice(session, models, recordings[0]), [THREE], OPTIONS)
    assert not next(speech).piece and next(speech).piece
    session.closed = True
    with pytest.raises(UserError, match="reload"):
        list(speech)
    sessions.close("1")
    assert not session.folder.exists()


def test_everything_is_downloaded_with_a_table_of_what_made_it(session, models, recordings):
    recorded = voice(session, models, recordings[0], name="Anna")
    said(session, models, recorded, "First line, and so on.\nSecond line / with a slash.")
    with zipfile.ZipFile(session.archive()) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("said.csv").decode())))
        assert [row["text"] for row in rows] == ["First line, and so on.", "Second line / with a slash."]
        assert rows[0]["seed"] == "7" and rows[0]["voice"] == "Anna" and rows[0]["encoder"] == "default"
        assert {row["file"] for row in rows} <= set(archive.namelist())
        assert archive.read("voices/Anna.wav")[:4] == b"RIFF" and len(archive.namelist()) == 7
    left = {path.suffix for path in session.folder.iterdir()}
    assert left == {".wav", ".zip"}


# ---- voices


def test_a_voice_tells_its_speech_what_is_wrong_and_how_alike_its_halves_are(session, models, recordings, tmp_path):
    recorded = voice(session, models, *recordings)
    assert recorded.voice.seconds == pytest.approx(len(recorded.speech) / 16000) and -1 <= recorded.itself <= 1
    assert recorded.name == recordings[0].stem and voice(session, models, *recordings).name == f"{recordings[0].stem} 2"
    audio.write_wav(tmp_path / "loud.wav", np.clip(30 * audio.load(recordings[0]), -1, 1))
    loud = voice(session, models, tmp_path / "loud.wav", recordings[1])
    assert any(note.startswith("loud.wav: distorted") for note in loud.notes)
    view = views.voice(loud)
    assert "tb-mel" in view and "tb-wave" in view and "distorted" in view


def test_a_voice_stays_the_same_when_its_name_changes(session, models, recordings):
    first, second = (voice(session, models, recordings[0], name="Anna") for _ in range(2))
    (before,) = said(session, models, second)
    session.name_voice(second, "Berta")
    session.name_voice(first, "Berta")
    assert [each.name for each in session.voices.values()] == ["Berta 2", "Berta"]
    session.name_voice(second, "Berta")
    (after,) = said(session, models, session.voice(second.key))
    assert second.name == before.voice_name == after.voice_name == "Berta"
    drawn = views.voice_map(session, list(session.voices.values()))
    colours = re.findall(r'fill="(hsl[^"]*)"><title>([^<]*)', drawn)
    assert [label[:5] for _, label in colours] == ["Berta", "Berta", "1 · B", "2 · B"]
    assert colours[0][0] != colours[1][0] == colours[2][0] == colours[3][0]


def test_what_is_short_is_told_once(session, models, recordings, tmp_path):
    speech = audio.load(recordings[0])
    for seconds in (1.2, 3.5):
        audio.write_wav(tmp_path / "short.wav", np.resize(speech, round(seconds * 16000)))
        view = views.voice(voice(session, models, tmp_path / "short.wav"))
        assert len(re.findall("5 to 15 s", view)) == 1


def test_recordings_of_two_people_are_told(session, models, recordings, monkeypatch):
    embedder = models.cloner(DEFAULT).embedder
    for speakers, is_told in (([0, 0, 0], False), ([0, 0, 1], True)):  # of three partials
        partials = np.eye(3, embedder.embedding_size)[speakers]
        monkeypatch.setattr(embedder, "embed_frames", lambda mels, partials=partials: partials)
        notes = voice(session, models, *recordings[:2]).notes
        assert notes.count("probably more than one voice: cut out the one to clone") == is_told


def test_messages_name_files_without_the_folders_of_the_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    messages = Messages([tmp_path / "my models", Path("runs")])
    for said, told in {
        f"{tmp_path}/my models/a/encoder.pt: is damaged": "a/encoder.pt: is damaged",
        f"{tmp_path}/my models: no run in it": "my models: no run in it",
        f"runs/b/vocoder.pt is not of {tmp_path}/runs/b/synthesizer.pt": "b/vocoder.pt is not of b/synthesizer.pt",
        "old-runs/and trunks/stay, and so do /runs/": "old-runs/and trunks/stay, and so do /runs/",
    }.items():
        assert messages.of(UserError(said)) == told
    assert str(tmp_path) not in messages.of(PermissionError(13, "Permission denied", f"{tmp_path}/x"))


def test_an_error_names_the_file_as_its_owner_does(session, models, tmp_path):
    (tmp_path / "secret").mkdir()
    (path := tmp_path / "secret" / "me.wav").write_bytes(b"no sound")
    for suffix in (".wav", ".voice"):
        with pytest.raises(UserError) as caught:
            add_recordings(session, models, [(f"mine{suffix}", path)])
        assert f"mine{suffix}" in str(caught.value) and "secret" not in str(caught.value)
    with pytest.raises(UserError, match="no file was given"):
        add_recordings(session, models, [])
    assert not session.voices


def test_an_upload_that_cannot_be_used_costs_no_other(session, models, recordings, tmp_path):
    (path := tmp_path / "x.wav").write_bytes(b"no sound")
    files = [("bad.wav", path), ("good.flac", recordings[0]), ("gone.wav", tmp_path / "y.wav")]
    recorded = add_recordings(session, models, files)
    assert recorded.name == "good" and recorded.voice.source == "good.flac"
    assert [note.partition(":")[2].partition(":")[0] for note in recorded.notes[:2]] == [" bad.wav", " gone.wav"]


def test_with_another_encoder_a_voice_is_embedded_again_if_its_recording_is_there(session, models, recordings):
    recorded = voice(session, models, recordings[0], name="Anna")
    before, file = recorded.voice, session.save_voice(recorded)
    session.models = DEFAULT._replace(encoder="other")
    cloner = models.cloner(session.models)
    after = of_encoder(recorded, models, cloner).voice
    assert after.encoder == cloner.embedder.digests[0] != before.encoder and not np.allclose(after.embedding, before.embedding)
    saved = voice_file.load(file, models.cloner(DEFAULT).embedder)
    loaded = session.add_voice(recorded.__class__("saved", saved, np.zeros(0, np.float32), [], None, None))
    with pytest.raises(UserError, match="use the same encoder"):
        of_encoder(loaded, models, cloner)


def test_corpora_are_browsed_by_names_that_were_found(samples):
    browser = Browser(samples)
    assert "LibriSpeech/test-clean" in browser.datasets()
    assert browser.speakers("LibriSpeech/test-clean") == ["90005", "90012"]
    speaker, utterance = browser.random("LibriSpeech/train-clean-100")
    assert browser.file("LibriSpeech/train-clean-100", speaker, utterance).is_relative_to(samples)
    for name in NASTY:
        for names in (
            (name, speaker, utterance),
            ("LibriSpeech/test-clean", name, utterance),
            ("LibriSpeech/test-clean", "90005", name),
        ):
            with pytest.raises(UserError, match="choose a"):
                browser.file(*names)


# ---- speaking


def test_each_line_is_an_entry_that_its_seed_repeats(session, models, recordings):
    recorded = voice(session, models, recordings[0])
    steps = list(speak(session, models, recorded, lines_of(f"{TWO}\n\n Three."), OPTIONS))
    assert [(step.n_done, step.n_pieces) for step in steps] == [(0, 0), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3)]
    first, second = (step.entry for step in steps if step.entry)
    assert first.text == TWO and second.text == "Three." and first.seed == second.seed == 7
    assert [Path(step.piece).is_file() for step in steps if step.piece] == [True] * 3
    wav = audio.load(first.wav)
    assert len(wav) / 16000 == pytest.approx(first.seconds + CloningSettings().tail, abs=0.01)
    (again,) = said(session, models, recorded, TWO)
    assert np.array_equal(wav, audio.load(again.wav)) and again.number == 3
    assert -1 <= first.cosine <= 1 and first.facts["seed"] == "7"


def test_pauses_speed_and_sound_are_those_of_the_page_and_change_nothing_else(session, models, recordings):
    recorded, text = voice(session, models, recordings[0]), TWO
    (usual,), (none,) = (
        said(session, models, recorded, text),
        said(session, models, recorded, text, OPTIONS._replace(pauses=0.0)),
    )
    pause = models.cloner(DEFAULT).synthesizer.reading.sentence_pause
    assert usual.seconds - none.seconds == pytest.approx(pause, abs=0.01) and pause == ReadingSettings().sentence_pause
    assert said(session, models, recorded, text, OPTIONS._replace(seed=None))[0].seed != 7
    for wrong in (OPTIONS._replace(speed=9.0), OPTIONS._replace(pauses=-1.0)):
        with pytest.raises(UserError, match="must be from"):
            wrong.checked()
    assert [seed_of(each) for each in ("", "  ", " 0 ", "007", str(2**32 - 1))] == [None, None, 0, 7, 2**32 - 1]
    for wrong in ("7.5", "-1", "seven", str(2**32), "٣", "1e3", "9" * 5000):
        with pytest.raises(UserError, match="the seed must be a whole number from 0 to 4294967295, or empty, not '"):
            seed_of(wrong)


def test_a_stop_keeps_what_was_said_and_a_second_text_is_refused(session, models, recordings):
    recorded = voice(session, models, recordings[0])
    speech = speak(session, models, recorded, [THREE, "Four."], OPTIONS)
    assert not next(speech).piece and next(speech).piece
    with pytest.raises(UserError, match="still speaking"):
        next(speak(session, models, recorded, ["Five."], OPTIONS))
    session.stop.set()
    (last,) = speech
    assert last.entry.notes[-1] == "Stopped before its end." and len(session.entries) == 1
    assert len(said(session, models, recorded)) == 1


@pytest.mark.parametrize("leaves", [False, True])
def test_a_stop_does_not_wait_for_the_piece(session, sessions, models, recordings, monkeypatch, leaves):
    """Neither in the synthesizer nor in the vocoder."""

    class Vocoder(FakeVocoder):
        def infer_waveform(self, mel, progress_callback, **options):
            progress_callback(0, 1, 1, 0.0)
            reached.append("vocoder")
            session.stop.set()
            progress_callback(0, 1, 1, 0.0)
            raise AssertionError("it went on")

    recorded, reached = voice(session, models, recordings[0]), []
    monkeypatch.setattr(models.cloner(DEFAULT), "vocoder", Vocoder())
    assert not said(session, models, recorded) and reached == ["vocoder"]
    monkeypatch.setattr(models.cloner(DEFAULT).synthesizer, "seconds", 1000.0)
    stop = threading.Timer(0.3, lambda: sessions.close("a tab") if leaves else session.stop.set())
    stop.start()
    try:
        assert not said(session, models, recorded)
    except UserError:  # the page was closed
        assert leaves
    stop.join()
    assert session.folder.exists() != leaves
    with models.turn:  # it is free
        pass


def test_what_is_not_said_or_not_read_is_told(session, models, recordings, monkeypatch, capsys):
    monkeypatch.setattr(models.cloner(DEFAULT).synthesizer, "missed", ("slither",))
    (entry,) = said(session, models, voice(session, models, recordings[0]), "They slither ☃.")
    assert any("slither" in note for note in entry.notes) and any("☃ in" in note for note in entry.notes)
    assert "slither" in views.entry(entry)
    (unread,) = as_read(models.cloner(DEFAULT), ["a ☃"])[0][1]
    assert unread == "Not read, as the model has no symbol and no words for it: ☃ in 'a ☃'"
    assert not capsys.readouterr().out  # which would not say of which page


@pytest.mark.parametrize("text", ["", " \n\t\n", "word " * (MOST_WORDS + 1), "a\n" * 101, "x" * 30000])
def test_a_text_that_is_empty_or_too_long_is_refused(text):
    with pytest.raises(UserError, match=r"write a text first|at most 2,000 words in 100 lines"):
        lines_of(text)


# ---- pictures


def test_the_symbol_that_is_spoken_is_the_one_that_the_alignment_says(session, models, recordings):
    text = "This is the first. This is the second."
    (entry,) = said(session, models, voice(session, models, recordings[0]), text)
    html = pictures.said(entry.spoken)
    labels = json.loads(re.search(r"data-labels='(.*?)'", html)[1].replace("&quot;", '"'))
    heard = json.loads(re.search(r"data-heard='(.*?)'", html)[1])
    assert labels == [*"This is the first.", "end", *"This is the second.", "end"]
    columns_per_second = 16000 / entry.spoken.hop_length
    assert len(heard) == pytest.approx(len(entry.spoken.wav) / 16000 * columns_per_second, abs=1)
    second = round(entry.spoken.starts[1] * columns_per_second)
    assert heard[0] == 0 and heard[second] == 19 and max(heard[:second]) < 19


def test_what_a_user_writes_is_text_in_the_page(session, models, recordings):
    nasty = "<script>alert(1)</script>'\""
    recorded = voice(session, models, recordings[0], name=nasty)
    (entry,) = said(session, models, recorded, f"Say {nasty}.")
    point = pictures.Point(nasty, 0, True, "")
    for html in (
        views.voice(recorded),
        views.entry(entry),
        views.history(session, 1),
        views.warning(nasty),
        views.as_read([(nasty, [nasty])]),
        pictures.voice_map(np.eye(2), [point, point], "PCA"),
    ):
        assert "<script>" not in html and "&lt;script&gt;" in html


def test_what_differs_in_length_is_compared_on_one_time_axis(session, models, recordings):
    short, long = (said(session, models, voice(session, models, recordings[0]), text)[0] for text in ("Short.", THREE))
    axis = len(long.spoken.wav) / 16000
    widths = [re.findall(r"tb-pictures\" style=\"width:([\d.]+)%", views.entry(each, axis)) for each in (short, long)]
    assert [float(width) for (width,) in widths] == pytest.approx([100 * len(short.spoken.wav) / 16000 / axis, 100], abs=0.01)


def test_the_likeness_shows_three_values_unless_it_cannot_be_told(session, models, recordings, monkeypatch):
    (entry,) = said(session, models, voice(session, models, *recordings), THREE)
    assert 'class="tb-mark tb-cosine"' in views.entry(entry) and "0.84" not in views.entry(entry)  # of an encoder of this test
    monkeypatch.setitem(views.USUAL, entry.voice.encoder, 0.84)
    assert "one speaker are above 0.84 to each other, most of different speakers below" in views.entry(entry)
    assert views.entry(entry).count("Cosine") == 1
    entry.speech = 1.5
    assert entry.cosine is None and "1.5 s of speech is too short to judge" in views.entry(entry)


def test_the_default_encoder_is_the_one_whose_threshold_is_known():
    if not (file := ROOT / "saved_models/default/encoder.pt").is_file():
        pytest.skip("no encoder: make weights")
    assert SpeakerEmbedder(file, "cpu").digests[0] in views.USUAL
