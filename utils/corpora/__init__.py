"""Where each corpus keeps its speakers, audio, transcripts and word times: one entry per corpus, one signature each.

Finding speakers opens no audio and lists no utterances; these are listed speaker by speaker in the worker processes, so
that memory does not grow with the corpus.
"""

from utils.corpora.alignments import alignment_files, parse_alignment
from utils.corpora.layout import AUDIO_SUFFIXES, Corpus, Listing, Speaker, Utterance
from utils.corpora.preflight import Need, preflight
from utils.corpora.registry import (
    CORPORA,
    SHORT_NAMES,
    expand,
    find_speakers,
    is_passages,
    list_utterances,
    relative,
    split_present,
    stem,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "CORPORA",
    "SHORT_NAMES",
    "Corpus",
    "Listing",
    "Need",
    "Speaker",
    "Utterance",
    "alignment_files",
    "expand",
    "find_speakers",
    "is_passages",
    "list_utterances",
    "parse_alignment",
    "preflight",
    "relative",
    "split_present",
    "stem",
]
