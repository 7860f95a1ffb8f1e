"""All corpora by name, and how their speakers and utterances are found."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from utils.corpora import librispeech
from utils.corpora.alignments import add_alignments
from utils.corpora.any_folder import FOLDER
from utils.corpora.hifitts import HIFITTS
from utils.corpora.kaldi import KALDI, WAVES
from utils.corpora.layout import Asked, Corpus, Found, Listing, Speaker, Utterance, disk_name, enumerate_names, folders_in
from utils.corpora.librispeech import LIBRISPEECH
from utils.corpora.libritts import LIBRITTS
from utils.corpora.mailabs import MAILABS
from utils.corpora.manifest import MANIFEST, in_folder
from utils.corpora.vctk import VCTK
from utils.corpora.voxceleb import VOXCELEB1, VOXCELEB2
from utils.data.names import same_file
from utils.data.paths import SV2TTS
from utils.errors import UserError

NAMED = {
    "LibriSpeech": LIBRISPEECH,
    "LibriTTS": LIBRITTS,
    "VoxCeleb1": VOXCELEB1,
    "VoxCeleb2": VOXCELEB2,
    "VCTK": VCTK,
    "M-AILABS": MAILABS,
    "HiFiTTS": HIFITTS,
}
OF_ANY_NAME = {"folder": FOLDER, "manifest": MANIFEST, "kaldi": KALDI}
CORPORA = NAMED | OF_ANY_NAME
SHORT_NAMES = {
    "librispeech_other": ["LibriSpeech/train-other-500"],
    "librispeech_clean": ["LibriSpeech/train-clean-100", "LibriSpeech/train-clean-360"],
    "libritts_clean": ["LibriTTS/train-clean-100", "LibriTTS/train-clean-360"],
    "voxceleb1": ["VoxCeleb1"],
    "voxceleb2": ["VoxCeleb2"],
}
MANIFEST_SUFFIXES = {".txt", ".tsv", ".csv", ".list", ".json", ".jsonl"}


class _Place(NamedTuple):
    """What the name of a corpus means."""

    layout: str
    source: Path  # the corpus's folder, or the manifest
    subset: str
    label: str  # Speaker.corpus


def find_speakers(datasets_root: Path, names: list[str], asked: Asked | None = None) -> list[Speaker]:
    """All speakers of the named corpora, sorted by corpus and name.

    names: "LibriSpeech/<subset>", "VoxCeleb1", ... (NAMED), one of SHORT_NAMES, or any folder of speakers or manifest by its
    path from datasets_root (a manifest also by its path from here); `asked` is about manifests. UserError if datasets_root, a
    corpus or a subset is missing (with those that exist), if no speaker is found, if a manifest is ambiguous, and if two
    speakers would be written under one name.
    """
    root = Path(datasets_root)
    _check_root(root)
    speakers: dict[str, Speaker] = {}
    for name in written_out(names):
        for speaker in _speakers_of(root, name, asked or Asked()):
            other = speakers.setdefault(same_file(speaker.id), speaker)
            if (other.name, other.folder, other.source) != (speaker.name, speaker.folder, speaker.source):
                raise UserError(
                    f"{speaker.name} in {speaker.folder} and {other.name} in {other.folder}: both would be called "
                    f"{speaker.id}, but for case; rename one, or preprocess them into different folders with --out_dir"
                )
    return sorted(speakers.values(), key=lambda speaker: (speaker.corpus, speaker.name))


def split_present(datasets_root: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The named corpora, short names written out: (those that exist, those that do not)."""
    root = Path(datasets_root)
    _check_root(root)
    present = [name for name in written_out(names) if _is_present(root, name)]
    return present, [name for name in written_out(names) if name not in present]


def datasets_in(datasets_root: Path) -> list[str]:
    """Corpora and subsets below datasets_root that hold speakers, by the names that `find_speakers` takes."""
    names = []
    for folder in folders_in(Path(datasets_root)):
        if folder.name != SV2TTS and (place := _find(Path(datasets_root), folder.name)):
            corpus = CORPORA[place.layout]
            subsets = corpus.subsets_of(place.source)
            found = [subset for subset in subsets or [""] if corpus.find_speakers(place.source, subset, Asked())]
            names += [f"{folder.name}/{subset}".rstrip("/") for subset in found]
    return names


def written_out(names: list[str]) -> list[str]:
    """Short names written out as "<corpus>" or "<corpus>/<subset>", each once. Other names stay."""
    full: dict[str, None] = {}
    for name in names:
        for part in SHORT_NAMES.get(name.casefold(), [name]):
            first, slash, rest = part.rstrip("/").partition("/")
            known = {key.casefold(): key for key in NAMED}.get(first.casefold(), first)
            full[f"{known}{slash}{rest}"] = None
    return list(full)


def list_utterances(speaker: Speaker, texts: bool = False, alignments: bool = False) -> Listing:
    """The speaker's utterances, sorted by path, with texts and word times if asked for."""
    corpus = CORPORA[speaker.layout]
    problems: list[str] = []
    found: dict[str, Utterance] = {}
    for each in corpus.audio(speaker, problems):
        name, path, span = Found(*each)
        if name in found:
            problems.append(f"{path}: another file is called {name} too; this one is left out")
        else:
            found[name] = Utterance(name, path, span=span)
    if texts and corpus.texts:
        corpus.texts(speaker, found, problems)
    unaligned = add_alignments(speaker.top, found, problems) if alignments else []
    return Listing([*found.values()], problems, unaligned if corpus.passages else [])


def is_passages(speaker: Speaker) -> bool:
    """Whether the audio files are passages to be cut by word times, rather than utterances."""
    return CORPORA[speaker.layout].passages


def stem(speaker: Speaker, utterance: str) -> str:
    """How the names of all files made of an utterance begin: unique over all corpora, speakers and folders.

    <speaker>-<chapter>-<utterance> in LibriSpeech's subsets, else <corpus>_<speaker>--<utterance>. The corpus is in front
    because LibriTTS has LibriSpeech's speakers and chapters.
    """
    if speaker.corpus in librispeech.PUBLISHED:
        return disk_name(librispeech.stem(speaker, utterance))
    return disk_name(f"{speaker.id}--{utterance}")


def relative(path: Path, datasets_root: Path) -> str:
    """The path of a file from datasets_root, which may be moved."""
    try:
        return Path(os.path.relpath(path, datasets_root)).as_posix()
    except ValueError:  # on another drive of Windows
        return Path(path).as_posix()


# ---- from a name to a place


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; datasets_root is the folder that holds LibriSpeech, VoxCeleb1, ...")
    if not any(root.iterdir()):
        raise UserError(f"{root}: this datasets_root is empty; unpack a corpus into it, e.g. {root}/LibriSpeech")


def _is_present(root: Path, name: str) -> bool:
    place = _find(root, name)
    if place is None:
        return False
    corpus = CORPORA[place.layout]
    return not place.subset or place.subset in (*corpus.subsets_of(place.source), *corpus.selections)


def _find(root: Path, name: str) -> _Place | None:
    """Where a corpus is; None if it does not exist. UserError if the name fits several."""
    first, _, rest = name.partition("/")
    for layout, corpus in NAMED.items():
        if re.fullmatch(corpus.folder_name or re.escape(layout), first, re.IGNORECASE):
            folder = _folder_of(root, layout, corpus, first)
            label = layout if folder is None or folder.name.casefold() == layout.casefold() else folder.name
            in_label = rest and rest not in corpus.selections
            return folder and _Place(layout, folder, rest, f"{label}_{rest}" if in_label else label)
    return _find_manifest(root, name) or _find_folder(root, name)


def _folder_of(root: Path, layout: str, corpus: Corpus, name: str) -> Path | None:
    """The folder of a corpus: the one of this name, or else the only one whose name means this corpus."""
    pattern = corpus.folder_name or re.escape(layout)
    found = [path for path in folders_in(root) if re.fullmatch(pattern, path.name, re.IGNORECASE)]
    exact = [path for path in found if path.name == name] or [p for p in found if p.name.casefold() == name.casefold()]
    if exact or name.casefold() != layout.casefold():
        return exact[0] if exact else None
    if len(found) > 1:
        raise UserError(
            f"{root}: which of {enumerate_names(path.name for path in found)} is meant? Name it with -d", exit_code=2
        )
    return found[0] if found else None


def _find_manifest(root: Path, name: str) -> _Place | None:
    path = next((path for path in (root / name, Path(name)) if path.is_file()), None)
    if path is None:
        return None
    return _Place("manifest", path, "", "+".join(_label_of_list(root, path)))


def _find_folder(root: Path, name: str) -> _Place | None:
    path = root / name
    if not name or not path.is_dir():
        return None
    label = "+".join(_label(root, path))
    if (path / WAVES).is_file():
        return _Place("kaldi", path, "", label)
    if listed := in_folder(path):
        return _Place("manifest", listed, "", "+".join(_label_of_list(root, listed)))
    return _Place("folder", path, "", label)


def _label_of_list(root: Path, path: Path) -> list[str]:
    return [*_label(root, path.parent), *([path.stem] if path.stem not in ("manifest", "metadata") else [])]


def _label(root: Path, folder: Path) -> tuple[str, ...]:
    """The path below root; only the name for root itself and for folders elsewhere."""
    path, root = Path(os.path.abspath(folder)), Path(os.path.abspath(root))
    return (path.relative_to(root).parts if path.is_relative_to(root) else ()) or (path.name,)


def _speakers_of(root: Path, name: str, asked: Asked) -> list[Speaker]:
    place = _find(root, name)
    if place is None:
        raise UserError(_not_found(root, name))
    layout = CORPORA[place.layout]
    subsets = layout.subsets_of(place.source)
    if place.subset not in (*subsets, *layout.selections) and (place.subset or subsets):
        wanted = f"no subset {place.subset!r}" if place.subset else f"name a subset ({name}/<subset>)"
        existing = enumerate_names([*subsets, *layout.selections])
        raise UserError(f"{place.source}: {wanted}; those that exist: {existing}")
    found = layout.find_speakers(place.source, place.subset, asked)
    if not found:
        below = place.source / place.subset if place.subset in subsets else place.source
        raise UserError(f"{below}: no speaker found; looked for {layout.expects}")
    asked = asked if layout.is_list else Asked()
    return [Speaker(place.label, speaker, folder, place.layout, place.source, asked) for speaker, folder in found]


def _not_found(root: Path, name: str) -> str:
    if Path(name).suffix in MANIFEST_SUFFIXES:
        return f"{name}: no such manifest, neither in {root} nor here"
    here = enumerate_names(path.name for path in folders_in(root))
    first = name.partition("/")[0]
    if first in NAMED:
        return f"{root / first}: no such folder; {root} holds {here}"
    with_subsets = {key for key, corpus in NAMED.items() if corpus.subsets}
    known = enumerate_names([*(f"{key}/<subset>" if key in with_subsets else key for key in NAMED), *SHORT_NAMES])
    return f"{root / name}: no such folder ({root} holds {here}), nor a known corpus: known are {known}"
