"""A page to listen to what was judged, worst first."""

import html
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from demo.judging.results import FIGURES, Table, Utterance
from demo.judging.words import differences
from utils.data.paths import save_text

TITLES = {"speech": "Speech", "copy": "Copies: recordings through mel spectrogram and vocoder", "recording": "Recordings"}
HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Speech to listen to, worst first</title>
<style>
body { font: 16px/1.4 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: 3px 8px; border: 1px solid #ccc; text-align: left; }
article { margin: 1.5em 0; padding-top: 1em; border-top: 1px solid #ccc; } h3 { margin: 0; font-size: 16px; }
img { display: block; width: 100%; max-width: 60em; height: 100px; object-fit: fill; } audio { height: 32px; }
del { background: #fcc; } ins { background: #cdf; } .fault { color: #b00; font-weight: bold; } small { color: #555; }
</style>
<body>
"""


def write_page(out: Path, utterances: Sequence[Utterance], rows: Table, language: str = "en") -> None:
    """Write index.html, beside the folders of the waves."""
    cloned = {u.voice: u.file for u in reversed(utterances) if u.kind == "recording"}  # each voice's first recording
    parts = [HEAD, "<h1>Speech to listen to, worst first</h1>", _table(rows)]
    parts.append("<p>Words that were <del>not heard</del>, and words that were <ins>heard instead</ins>.</p>")
    for kind, title in TITLES.items():
        chosen = sorted((u for u in utterances if u.kind == kind), key=badness)
        parts += [f"<h2>{title}</h2>"] * bool(chosen)
        parts += [_article(u, cloned[u.voice] if kind == "speech" else None, language) for u in chosen]
    save_text(out / "index.html", "\n".join([*parts, "</body>", "</html>", ""]))


def badness(u: Utterance) -> tuple[float, ...]:
    """Sorts the worst first: what has a fault, then by word errors, then by opinion, then by similarity."""
    opinion = next((score for score in (u.distill_mos, u.dnsmos) if score is not None), 0.0)
    similarity = next((cosine for cosine in (u.sim2, u.sim) if cosine is not None), 0.0)
    return -len(u.faults), -(u.wer or 0.0), opinion, similarity


def _table(rows: Table) -> str:
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0]) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]]
    return "\n".join(["<table>", *lines, "</table>"])


def _article(u: Utterance, reference: str | None, language: str) -> str:
    figures = [f"{u.seconds:.1f} s"]
    for figure in FIGURES.values():
        if len(parts := figure.parts([u])) and figure.title != FIGURES["faults"].title:
            figures.append(f"{figure.title} {figure.shown(parts[0, 0] / max(parts[0, 1], 1e-9))}")
    lines = ["<article>", f"<h3>{html.escape(u.voice)}: {html.escape(u.name)}</h3>"]
    lines += [f'<p class="fault">faults: {html.escape(", ".join(u.faults))}</p>'] * bool(u.faults)
    lines.append(_player(u.file))
    if reference:
        lines.append(f"<small>the voice:</small> {_player(reference)}")
    lines.append(f'<img loading="lazy" alt="mel spectrogram" src="{quote(str(Path(u.file).with_suffix(".png")))}">')
    lines += [f"<p>{html.escape(u.text)}</p>"] * bool(u.text)
    if u.heard is not None:
        lines.append(f"<p><small>heard:</small> {_heard(u, language)}</p>")
    return "\n".join([*lines, f"<small>{html.escape(', '.join(figures))}</small>", "</article>"])


def _player(file: str) -> str:
    return f'<audio controls preload="none" src="{quote(file)}"></audio>'


def _heard(u: Utterance, language: str) -> str:
    if not u.text:
        return html.escape(u.heard)
    tags = {"heard": "{}", "missed": "<del>{}</del>", "added": "<ins>{}</ins>"}
    return " ".join(tags[what].format(html.escape(part)) for what, part in differences(u.text, u.heard, language))
