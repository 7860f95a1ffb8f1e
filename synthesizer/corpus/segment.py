"""Cut utterances at their pauses, by the times of their words. Pure functions of words and times in seconds.

As in alignment files, the word "" is silence, and each word begins where the one before it ends.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

MAX_DISAGREEMENT = 0.5  # s that the last word may end before the audio
ROUNDING = 0.05  # s that it may end after it
KEPT_SILENCE = 0.1  # s of silence kept on each side of a segment, which holds soft onsets and releases
NOISE_MARGIN = 0.025  # s beside speech that do not count as noise, because word times are not exact
SHORTEST_NOISE = 0.03  # s


class Segment(NamedTuple):
    """A part of an utterance: start and end in s of the utterance, and the ends of its words in s from start."""

    start: float
    end: float
    words: tuple[str, ...]
    ends: tuple[float, ...]

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)

    @property
    def duration(self) -> float:
        return self.end - self.start


class _Entry(NamedTuple):
    word: str
    start: float
    end: float


def disagreement(ends: Sequence[float], duration: float) -> str | None:
    """How word times disagree with audio of `duration` seconds; None if they agree."""
    if ends[-1] > duration + ROUNDING:
        return f"the word times run to {ends[-1]:.2f} s, but the audio lasts only {duration:.2f} s"
    if ends[-1] < duration - MAX_DISAGREEMENT:
        return f"the word times stop at {ends[-1]:.2f} s, but the audio lasts {duration:.2f} s"
    return None


def split(
    words: Sequence[str],
    ends: Sequence[float],
    duration: float,
    min_silence: float = 0.4,
    min_duration: float = 1.6,
    max_duration: float = 11.25,
) -> list[Segment]:
    """Cut at silences of at least min_silence. Every word is in one segment, in order, and none is cut. All in seconds.

    A piece longer than max_duration is cut at its longest silences. A piece shorter than min_duration joins its shorter
    neighbour, or else the longer one, if together with the pause they stay under max_duration. The caller drops what is still
    too short or too long. A segment keeps KEPT_SILENCE on each side, at most half of a pause.
    """
    entries = _entries((*words, ""), (*ends, duration), duration)  # silence follows the last word
    pieces = _pieces(entries, min_silence)
    pieces = [part for piece in pieces for part in _divide(*piece, entries, min_duration, max_duration)]
    pieces = _join_short(pieces, entries, min_duration, max_duration)
    return [_segment(entries, first, past) for first, past in pieces]


def noise_spans(words: Sequence[str], ends: Sequence[float], duration: float) -> list[tuple[float, float]]:
    """(start, end) in seconds of background noise: the silences without their margins."""
    silences = [entry for entry in _entries(words, ends, duration) if not entry.word]
    spans = [(entry.start + NOISE_MARGIN, entry.end - NOISE_MARGIN) for entry in silences]
    return [(start, end) for start, end in spans if end - start >= SHORTEST_NOISE]


def _entries(words: Sequence[str], ends: Sequence[float], duration: float) -> list[_Entry]:
    """Words and silences with their times, which end within the audio. Silences are joined, and empty ones dropped."""
    entries: list[_Entry] = []
    start = 0.0
    for word, end in zip(words, ends, strict=True):
        end = min(end, duration)
        if not word and entries and not entries[-1].word:
            entries[-1] = entries[-1]._replace(end=end)
        elif word or end > start:
            entries.append(_Entry(word, start, end))
        start = end
    return entries


def _pieces(entries: list[_Entry], min_silence: float) -> list[tuple[int, int]]:
    """(first, past the last) entry of each run of words without a long silence in it or any silence at its ends."""
    spoken = [i for i, entry in enumerate(entries) if entry.word]
    if not spoken:
        return []
    cuts = [
        (left, right)
        for left, right in pairwise(spoken)
        if right > left + 1 and entries[left + 1].end - entries[left + 1].start >= min_silence
    ]
    firsts = [spoken[0], *(right for _, right in cuts)]
    lasts = [*(left for left, _ in cuts), spoken[-1]]
    return [(first, last + 1) for first, last in zip(firsts, lasts, strict=True)]


def _join_short(
    pieces: list[tuple[int, int]], entries: list[_Entry], min_duration: float, max_duration: float
) -> list[tuple[int, int]]:
    def length(piece: tuple[int, int]) -> float:
        start, end = _bounds(entries, *piece)
        return end - start

    pieces, i = list(pieces), 0
    while i < len(pieces):
        neighbours = [k for k in (i - 1, i + 1) if 0 <= k < len(pieces)]
        joined = None
        if length(pieces[i]) < min_duration:
            for k in sorted(neighbours, key=lambda k: length(pieces[k])):
                both = (pieces[min(i, k)][0], pieces[max(i, k)][1])
                if length(both) < max_duration:
                    joined = (min(i, k), both)
                    break
        if joined:
            i, both = joined  # look again, because it may still be too short
            pieces[i : i + 2] = [both]
        else:
            i += 1
    return pieces


def _divide(first: int, past: int, entries: list[_Entry], min_duration: float, max_duration: float) -> list[tuple[int, int]]:
    """A piece that is too long, cut at its longest silence that leaves two pieces which are not too short."""

    def length(first: int, past: int) -> float:
        return entries[past - 1].end - entries[first].start

    silences = [i for i in range(first + 1, past - 1) if not entries[i].word]
    silences = [i for i in silences if min(length(first, i), length(i + 1, past)) >= min_duration]
    if length(first, past) <= max_duration or not silences:
        return [(first, past)]
    cut = max(silences, key=lambda i: length(i, i + 1))
    return [part for piece in ((first, cut), (cut + 1, past)) for part in _divide(*piece, entries, min_duration, max_duration)]


def _bounds(entries: list[_Entry], first: int, past: int) -> tuple[float, float]:
    """Start and end of the entries first ... past - 1, with the silence kept on either side."""
    return (
        entries[first].start - _kept(entries, first - 1, edge=first == 1),
        entries[past - 1].end + _kept(entries, past, edge=past == len(entries) - 1),
    )


def _kept(entries: list[_Entry], i: int, edge: bool) -> float:
    """How much of the silence at i the segment beside it keeps. At the utterance's edge it need not be shared."""
    if not 0 <= i < len(entries) or entries[i].word:
        return 0.0
    silence = entries[i].end - entries[i].start
    return min(KEPT_SILENCE, silence if edge else silence / 2)


def _segment(entries: list[_Entry], first: int, past: int) -> Segment:
    start, end = _bounds(entries, first, past)
    inside = list(entries[first:past])
    if start < inside[0].start:
        inside.insert(0, _Entry("", start, inside[0].start))
    if end > inside[-1].end:
        inside.append(_Entry("", inside[-1].end, end))
    return Segment(start, end, tuple(e.word for e in inside), tuple(e.end - start for e in inside))
