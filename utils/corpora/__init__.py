"""Where each corpus keeps its speakers, audio, transcripts and word times.

Finding speakers opens no audio and lists no utterances. Worker processes list these speaker by speaker, so memory does not
grow with the corpus.
"""

from utils.corpora.alignments import alignment_files
from utils.corpora.layout import Asked, Speaker, Utterance, disk_name
from utils.corpora.preflight import Need, check_empty, check_there, preflight, speakers_for, unfinished
from utils.corpora.registry import find_speakers, is_passages, list_utterances, relative, split_present, stem
