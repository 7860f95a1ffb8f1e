"""Pictures of speech and voices as HTML: images whose pixels are values, which page.js makes answer to the pointer."""

import base64
import html
import io
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from demo.spoken import Spoken

BINS = 800  # columns of a waveform
COLOURS = "magma"
EMBEDDING_RANGE = (0.0, 0.30)  # as the heat maps of Real-Time-Voice-Cloning, so that two compare
MAP_SIZE = (720, 420)  # units of the map's drawing
MARGIN = 40


class Point(NamedTuple):
    """A voice or generated speech on the map."""

    label: str
    group: int  # a colour
    is_voice: bool
    url: str  # what a click plays; "" for nothing


def image(values: np.ndarray, low: float, high: float, kind: str) -> str:
    """Values (rows, columns), the first row at the bottom -> an <img> with a pixel for each."""
    import matplotlib.image

    file = io.BytesIO()
    matplotlib.image.imsave(file, values, vmin=low, vmax=high, cmap=COLOURS, origin="lower", format="png")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img class="tb-{kind}" alt="{kind}" draggable="false" src="data:image/png;base64,{data}">'


def waveform(wav: np.ndarray) -> str:
    """A wave (n,) within [-1, 1] -> its outline as SVG, scaled to its peak."""
    width = -(-max(len(wav), 1) // BINS)
    bins = np.pad(wav, (0, -len(wav) % width)).reshape(-1, width) / max(np.abs(wav).max(initial=0), 1e-3)
    columns = zip(bins.max(axis=1), bins.min(axis=1), strict=True)
    path = "".join(f"M{x} {50 - 48 * high:.1f}V{51 - 48 * low:.1f}" for x, (high, low) in enumerate(columns))
    return (
        f'<svg class="tb-wave" role="img" aria-label="waveform" viewBox="0 0 {len(bins)} 100" preserveAspectRatio="none">'
        f'<path d="{path}"/></svg>'
    )


def recording(wav: np.ndarray, mel: np.ndarray, sample_rate: int) -> str:
    """Waveform (n,) and mel (n_mels, T) of a recording, on one time axis."""
    return _speech(len(wav) / sample_rate, [("waveform", waveform(wav)), ("mel", image(mel, mel.min(), mel.max(), "mel"))])


def said(spoken: Spoken, axis: float = 0.0) -> str:
    """Waveform, mel, alignment and text of what was said, on one time axis; page.js names the symbol under the pointer. axis:
    the seconds that the full width is, if these are more."""
    hop, seconds = spoken.hop_length / spoken.sample_rate, len(spoken.wav) / spoken.sample_rate
    n_columns, labels = max(1, round(seconds / hop)), [label for text in spoken.texts for label in (*text, "end")]
    low = min(mel.min() for mel in spoken.mels)
    mels = np.full((len(spoken.mels[0]), n_columns), low, np.float32)
    alignment = np.zeros((len(labels), n_columns), np.float32)
    first = 0
    for mel, attention, start in zip(spoken.mels, spoken.alignments, spoken.starts, strict=True):
        at = max(0, round(start / hop))
        n = min(mel.shape[1], n_columns - at)
        mels[:, at : at + n] = mel[:, :n]
        alignment[:first, at:] = 0  # the end of a mel may be silence that was cut from the wave
        steps = np.arange(n) * len(attention) // mel.shape[1]
        alignment[first : first + attention.shape[1], at : at + n] = attention[steps].T
        first += attention.shape[1]
    heard = np.where(alignment.max(axis=0) > 0.1, alignment.argmax(axis=0), -1)
    parts = [
        ("waveform", waveform(spoken.wav)),
        ("mel", image(mels, low, mels.max(), "mel")),
        ("alignment: which symbol is being spoken", image(alignment, 0, 1, "alignment")),
    ]
    return _speech(seconds, parts, labels, heard.tolist(), axis)


def _speech(
    seconds: float, parts: Sequence[tuple[str, str]], labels: Sequence[str] = (), heard: Sequence[int] = (), axis: float = 0.0
) -> str:
    """Pictures one above the other. labels: the symbols; heard: for each column, the index of the one that is spoken."""
    rows = "".join(f'<figure class="tb-row"><figcaption>{title}</figcaption>{picture}</figure>' for title, picture in parts)
    ends = '<span class="tb-end"> end </span>'
    text = "".join(ends if label == "end" else f"<span>{html.escape(label)}</span>" for label in labels)
    data = f"data-labels='{html.escape(json.dumps(labels))}' data-heard='{json.dumps(heard)}'" if labels else ""
    return (
        f'<div class="tb-speech" data-seconds="{seconds:.4f}" {data}>'
        f'<div class="tb-pictures" style="width:{min(1.0, seconds / (axis or seconds)):.2%}">{rows}'
        f'<i class="tb-cursor"></i></div>{f"<p class=tb-text>{text}</p>" if text else ""}'
        '<p class="tb-readout" aria-live="off">Point at the pictures; click to play from there.</p></div>'
    )


def heat_map(embedding: np.ndarray, title: str) -> str:
    """An embedding (E,) as a square of colours."""
    side = int(len(embedding) ** 0.5)
    square = embedding[: side * side].reshape(side, side)[::-1]  # the first numbers on top
    caption = f"<figcaption>{html.escape(title)}</figcaption>"
    return f'<figure class="tb-heat">{image(square, *EMBEDDING_RANGE, "heat")}{caption}</figure>'


def likeness(cosine: float, itself: float | None, usual: float | None) -> str:
    """The cosine of speech and its reference on a scale, beside the reference's cosine to itself and what parts speakers."""

    def mark(kind: str, value: float, text: str) -> str:
        at = 100 * (min(max(value, 0.4), 1) - 0.4) / 0.6
        return f'<i class="tb-mark tb-{kind}" style="left:{at:.1f}%" title="{text}"></i>'

    marks = mark("cosine", cosine, f"this speech {cosine:.2f}")
    text = f"Cosine to the reference: <b>{cosine:.2f}</b>"
    if itself is not None:
        marks += mark("itself", itself, f"the reference {itself:.2f}")
        text += f" · of the reference's halves to each other: <b>{itself:.2f}</b>"
    if usual is not None:
        marks += mark("usual", usual, f"between one speaker and different ones {usual:.2f}")
        text += f". Most recordings of one speaker are above {usual:.2f} to each other, most of different speakers below."
    return f'<div class="tb-likeness"><p>{text}</p><div class="tb-scale">{marks}</div></div>'


def voice_map(points: np.ndarray, about: Sequence[Point], method: str) -> str:
    """Points (N, 2) -> the map. Voices are squares, speech is a dot in its voice's colour; a click plays."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.maximum(high - low, 1e-9)
    scaled[:, (high - low) < 1e-9] = 0.5
    width, height = MAP_SIZE
    drawn = []
    for (x, y), point in zip(scaled, about, strict=True):
        left, top = MARGIN + x * (width - 2 * MARGIN), height - MARGIN - y * (height - 2 * MARGIN)
        label, colour = html.escape(point.label), f"hsl({point.group * 137.5 % 360:.0f} 65% 50%)"
        shape = '<rect x="-9" y="-9" width="18" height="18" rx="3"/>' if point.is_voice else '<circle r="7"/>'
        name = f"<text>{html.escape(point.label[:40])}</text>" if point.is_voice else ""
        drawn.append(
            f'<g class="tb-point" tabindex="0" role="button" aria-label="play {label}" data-play="{html.escape(point.url)}" '
            f'transform="translate({left:.1f} {top:.1f})" fill="{colour}"><title>{label}</title>{shape}{name}</g>'
        )
    return (
        f'<svg class="tb-map" viewBox="0 0 {width} {height}">{"".join(drawn)}</svg>'
        f'<p class="tb-hint">{method} of {len(about)} embeddings. Squares are voices, dots are what was said; '
        "click one to hear it.</p>"
    )
