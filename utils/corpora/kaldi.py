"""A data folder of Kaldi or ESPnet: wav.scp, and text, utt2spk and segments where there are such files."""

from functools import lru_cache
from pathlib import Path

from utils.corpora.layout import AUDIO_SUFFIXES, Asked, Corpus, Found, Speaker, Utterance, a_span, first_few, shortened
from utils.corpora.lines import LineIndex, index_of
from utils.corpora.places import Place, find_place
from utils.data.paths import one_field

WAVES, TEXTS, SPEAKERS, SEGMENTS = "wav.scp", "text", "utt2spk", "segments"


def _first(line: bytes) -> bytes:
    return (line.removeprefix(b"\xef\xbb\xbf").split(maxsplit=1) or [b""])[0]


def _second(line: bytes) -> bytes:
    return b"".join(line.split(maxsplit=1)[1:]).strip()


def _index(folder: Path, name: str, by_value: bool = False) -> LineIndex | None:
    path = folder / name
    return index_of(path, _second if by_value else _first, keep_keys=True) if path.is_file() else None


def speakers(folder: Path, asked: Asked) -> list[tuple[str, Path]]:
    """Those of utt2spk; else the one of --speaker, or of the folder."""
    index = _index(folder, SPEAKERS, by_value=True)
    if index is None:
        return [(asked.speaker or folder.absolute().name, folder)]
    return [(_text(name), folder) for name in sorted(index.keys - {b""})]


def audio(speaker: Speaker, problems: list[str]) -> list[Found]:
    """An utterance is a recording, or a part of one that segments names. Commands in wav.scp are not run."""
    folder, found, missing, commands = speaker.folder, [], [], []
    segments, waves, place = _index(folder, SEGMENTS), _index(folder, WAVES), _place(folder)
    for utterance in _utterances(speaker):
        recording, span = utterance, None
        if segments:
            try:
                recording, start, end = _value(segments, utterance).split()
                span = a_span(float(start), float(end))
            except ValueError:
                missing.append(utterance)
                continue
        value = _value(waves, recording)
        path = _file_of(value)
        if path:
            found.append(Found(utterance, place.path(path), span))
        else:
            (commands if value else missing).append(utterance)
    if commands:
        problems.append(f"{folder / WAVES}: commands are not run, only files are read: {first_few(commands)}")
    if missing:
        problems.append(f"{folder / WAVES}: no recording for {first_few(missing)}")
    return found


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """The line of each utterance in text."""
    if index := _index(speaker.folder, TEXTS):
        for name, utterance in found.items():
            found[name] = utterance._replace(text=one_field(_value(index, name)) or None)


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    return [speaker.folder / TEXTS]


def described(speaker: Speaker) -> list[str]:
    """Which files there are, and the first utterances."""
    folder = speaker.folder
    lines = [f"taken as Kaldi ({', '.join(name for name in (WAVES, SEGMENTS, SPEAKERS, TEXTS) if (folder / name).is_file())})"]
    text = _index(folder, TEXTS)
    for utterance, path, span in audio(speaker, [])[:3]:
        part = f" from {span[0]:g} to {span[1]:g} s" if span else ""
        lines.append(f"    audio {path.name}{part}, speaker {speaker.name}, text {shortened(_value(text, utterance))!r}")
    return lines


def _utterances(speaker: Speaker) -> list[str]:
    if index := _index(speaker.folder, SPEAKERS, by_value=True):
        return [_text(_first(line)) for _, line in index.find(_bytes(speaker.name))]
    index = _index(speaker.folder, SEGMENTS) or _index(speaker.folder, WAVES)
    return sorted(_text(key) for key in index.keys - {b""})


def _value(index: LineIndex | None, key: str) -> str:
    """What follows the key in its line; "" if it has none."""
    lines = index.find(_bytes(key)) if index else []
    return _second(lines[0][1]).decode("utf-8", "replace") if lines else ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _file_of(value: str) -> str:
    """The file that a line of wav.scp names, or decodes with flac; "" if it runs another command."""
    if not value.endswith("|"):
        return value
    words = value[:-1].split()
    files = [word for word in words if Path(word).suffix.lower() in AUDIO_SUFFIXES]
    is_flac = "|" not in value[:-1] and len(files) == 1 and Path(words[0]).name == "flac"
    return files[0] if is_flac else ""


def _place(folder: Path) -> Place:
    return _placed(folder, (folder / WAVES).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _placed(folder: Path, changed: int) -> Place:
    with (folder / WAVES).open(encoding="utf-8", errors="replace") as file:
        names = [_file_of(line.strip().partition(" ")[2].strip()) for line, _ in zip(file, range(20), strict=False)]
    return find_place(list(filter(None, names)), folder) or Place(folder)


KALDI = Corpus("wav.scp", speakers, audio, transcripts, texts, described=described, is_list=True)
