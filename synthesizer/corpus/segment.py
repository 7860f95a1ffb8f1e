"""Cut utterances at their pauses, by the times of their words. Pure functions of words and times in seconds.

Words stand as in alignment files: "" is silence, each entry begins where the one before it ends.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

MAX_DISAGREEMENT = 0.5  # s by which the last word time may fall short of the audio
ROUNDING = 0.05  # s by which it may exceed it
KEPT_SILENCE = 0.1  # s of silence left on each side of a segment: soft onsets and releases reach into it
NOISE_MARGIN = 0.025  # s next to speech that do not count as noise, as word times are not exact
SHORTEST_NOISE = 0.03  # s


class Segment(NamedTuple):
    """A stretch of an utterance. start and end (s) count in the utterance, ends (s, of each word) from start."""

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
    """What is wrong with word times for audio of `duration` seconds; None if they agree."""
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
    """Cut at the silences of at least min_silence; in order, together holding every word once and no word cut.

    A piece shorter than min_duration joins its shorter neighbour, or else the longer one, as long as both together (with
    the pause between them) stay under max_duration. What is still too short or too long is the caller's to drop.
    KEPT_SILENCE of the silence around a segment stays with it, at most half of a pause. All in seconds.
    """
    entries = _entries((*words, ""), (*ends, duration), duration)  # what follows the last time is silence
    pieces = _join_short(_pieces(entries, min_silence), entries, min_duration, max_duration)
    return [_segment(entries, first, past) for first, past in pieces]


def noise_spans(words: Sequence[str], ends: Sequence[float], duration: float) -> list[tuple[float, float]]:
    """(start, end) in seconds of what can be taken as background noise: the silences without their margins."""
    silences = [entry for entry in _entries(words, ends, duration) if not entry.word]
    spans = [(entry.start + NOISE_MARGIN, entry.end - NOISE_MARGIN) for entry in silences]
    return [(start, end) for start, end in spans if end - start >= SHORTEST_NOISE]


def _entries(words: Sequence[str], ends: Sequence[float], duration: float) -> list[_Entry]:
    """Words and silences with their times, no silence empty or beside another; times within the audio."""
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
    """(first, past the last) entry of each run of words without a long silence inside or any silence at its ends."""
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
            i, both = joined  # what came of it is looked at again: it may still be too short
            pieces[i : i + 2] = [both]
        else:
            i += 1
    return pieces


def _bounds(entries: list[_Entry], first: int, past: int) -> tuple[float, float]:
    """Start and end of the entries first ... past - 1, with the silence that they keep on either side."""
    return (
        entries[first].start - _kept(entries, first - 1, edge=first == 1),
        entries[past - 1].end + _kept(entries, past, edge=past == len(entries) - 1),
    )


def _kept(entries: list[_Entry], i: int, edge: bool) -> float:
    """How much of the silence at i a segment beside it keeps; that at the utterance's edge is shared with no other."""
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
