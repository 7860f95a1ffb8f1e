"""Voices, entries and their comparison as HTML. Whatever a user wrote is escaped here."""

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from demo.toolbox import pictures
from demo.toolbox.session import Entry, Recorded, Session
from demo.toolbox.speaking import Progress
from demo.toolbox.voices import how_much
from utils.boards.plot import project
from utils.data import audio
from utils.data.mel_format import MelFormat
from utils.data.quality import LITTLE_SPEECH

# Cosine between same and different speakers, by encoder: the default one's, from saved_models/default/README.md
USUAL = {"9f07844683d79367243d66f84766b7a704aae490e93879be7f1a8403a10d914e": 0.84}
PICTURED = 30  # s of a recording
NOTHING_SAID = "What is said will be listed here."


def url(path: Path | None) -> str:
    """Where the browser finds a session's file."""
    return f"gradio_api/file={path}" if path else ""


def voice(recorded: Recorded) -> str:
    """What is known of a voice, with its pictures."""
    about = recorded.voice
    pictured = recorded.speech[: PICTURED * audio.SAMPLE_RATE]
    view = ""
    if len(pictured):
        mel = audio.mel_spectrogram(audio.rescale(pictured, 0.9), MelFormat()).T
        view = pictures.recording(pictured, mel, audio.SAMPLE_RATE)
    itself = "" if recorded.itself is None else f"<p>Cosine of its two halves: <b>{recorded.itself:.2f}</b></p>"
    unsaved = f'data-unsaved="{recorded.key}"' if recorded.wav else ""
    return (
        f'<article class="tb-card tb-voice" {unsaved}><h3>{html.escape(recorded.name)}</h3>'
        f"<p>{html.escape(how_much(about))} {html.escape(f'From {about.source}.' if about.source else '')}</p>"
        f"{notes(recorded.notes)}{_player(recorded.wav)}"
        f"<details open><summary>Pictures</summary>{view}{itself}"
        f"{pictures.heat_map(about.embedding, 'embedding')}</details></article>"
    )


def entry(each: Entry, axis: float = 0.0) -> str:
    """All that is known of something that was said. axis: see pictures.said."""
    heat = pictures.heat_map(each.voice.embedding, "embedding of the voice")
    if each.embedding is not None:
        heat += pictures.heat_map(each.embedding, "of what was said")
    if each.cosine is None:
        seconds = min(each.speech, each.voice.seconds)
        likeness = notes([f"Likeness: {seconds:.1f} s of speech is too short to judge; {LITTLE_SPEECH} s are needed."])
    else:
        likeness = pictures.likeness(each.cosine, each.itself, USUAL.get(each.voice.encoder))
    facts = "".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in each.facts.items())
    return (
        f'<article class="tb-card tb-entry tb-some"><h3>{each.number} · {html.escape(each.voice_name)}</h3>'
        f'<p class="tb-quote">{html.escape(each.text)}</p>{_player(each.wav)}'
        f'<p><a class="tb-link" href="{url(each.wav)}" download="said {each.number}.wav" '
        f'data-holds="{each.number}">Download</a></p>{notes(each.notes)}{pictures.said(each.spoken, axis)}{likeness}'
        f'<div class="tb-beside"><table class="tb-facts">{facts}</table><div class="tb-heats">{heat}</div></div></article>'
    )


def history(session: Session, shown: int | None) -> str:
    """A row for each entry, the newest first."""
    if not session.entries:
        return hint(NOTHING_SAID)
    rows = []
    for each in reversed(session.entries.values()):
        text, cosine = html.escape(each.text), "" if each.cosine is None else f" · cosine {each.cosine:.2f}"
        rows.append(
            f'<li class="{"tb-shown" if each.number == shown else ""}" data-unsaved="{each.number}">'
            f'<button class="tb-button" data-play="{url(each.wav)}" aria-label="play {each.number}">▶</button>'
            f'<button class="tb-what" data-do="show" data-number="{each.number}"><b>{each.number}</b> {text}'
            f"<small>{html.escape(each.voice_name)} · {each.seconds:.1f} s · seed {each.seed}{cosine}</small></button>"
            f'<button class="tb-button" data-do="again" data-number="{each.number}">Say again</button></li>'
        )
    return f'<ol class="tb-history">{"".join(rows)}</ol>'


def status(text: str, share: float | None = None, is_busy: bool = False) -> str:
    """A line, and a bar if a share from 0 to 1 is given."""
    bar = "" if share is None else f'<div class="tb-bar {"tb-busy" if is_busy else ""}"><i style="width:{share:.0%}"></i></div>'
    return f'<div class="tb-status tb-some" role="status">{html.escape(text)}{bar}</div>' if text else ""


def progress(made: Progress) -> str:
    """How far a text is said."""
    if not made.n_pieces:
        return status("Reading the text …", 0, True)
    text = f"{made.n_done} of {made.n_pieces} pieces, {made.seconds:.1f} s of speech so far"
    return status(text, made.n_done / made.n_pieces, True)


def voice_map(session: Session, voices: Sequence[Recorded]) -> str:
    """The session's voices and what was said with its present encoder."""
    groups = {key: i for i, key in enumerate(session.voices)}
    found = [(each.voice.embedding, pictures.Point(each.name, groups[each.key], True, url(each.wav))) for each in voices]
    for each in session.entries.values():
        if each.embedding is not None and each.models.encoder == session.models.encoder:
            label = f"{each.number} · {each.voice_name}: {each.text[:60]}"
            found.append((each.embedding, pictures.Point(label, groups[each.recorded.key], False, url(each.wav))))
    if len(found) < 2:
        return hint("Add voices and say something: with two or more, they are shown here.")
    points, method = project(np.stack([embedding for embedding, _ in found]))
    return pictures.voice_map(points, [point for _, point in found], method)


def as_read(lines: Sequence[tuple[str, list[str]]]) -> str:
    """The text as the models read it."""
    rows = "".join(f"<li>{html.escape(text)}</li>" for text, _ in lines)
    unread = notes([each for _, found in lines for each in found])
    return f'<div class="tb-read tb-some"><ol>{rows}</ol>{unread}</div>'


def notes(lines: Sequence[str]) -> str:
    return "".join(f'<p class="tb-note">{html.escape(line)}</p>' for line in lines)


def hint(text: str) -> str:
    return f'<p class="tb-hint">{html.escape(text)}</p>'


def warning(text: str) -> str:
    return f'<p class="tb-warning" role="alert">{html.escape(text)}</p>' if text else ""


def _player(wav: Path | None) -> str:
    return f'<audio controls preload="metadata" src="{url(wav)}"></audio>' if wav else ""
