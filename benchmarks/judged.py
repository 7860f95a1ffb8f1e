"""How good is the cloned speech? `python -m benchmarks.judged JUDGE OUT` makes the models speak and a judge rate the speech.

JUDGE is a folder with judge.py and its environment (venv/), references/ (<voice>_<n>.flac) and sentences.tsv
(<length>_<n>, tab, text). judge.py writes a CSV of word error rates, similarities and opinion scores.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import judged_report
from benchmarks.judged_report import Item
from demo.config import CloningSettings
from utils import cli
from utils.config import default_model
from utils.errors import UserError

REAL = ("allison",)  # voices of people, by default


@dataclasses.dataclass(frozen=True)
class Judge:
    """The judge's folder. Raises UserError if something in it is missing."""

    root: Path

    def __post_init__(self) -> None:
        for name in ("judge.py", "sentences.tsv", "references"):
            if not (self.root / name).exists():
                raise UserError(f"{self.root / name}: is missing; name the judge's folder")
        if not self._python.exists():
            raise UserError(f"{self._python}: is missing; run setup.sh in a writable copy of {self.root} and name that copy")

    @property
    def _python(self) -> Path:
        return self.root.absolute() / "venv" / "bin" / "python"

    def sentences(self, prefixes: Sequence[str]) -> dict[str, str]:
        """Text by name, for the names that begin with one of the prefixes."""
        lines = (self.root / "sentences.tsv").read_text(encoding="utf-8").splitlines()
        named = dict(line.split("\t", 1) for line in lines if line.strip())
        return {name: named[name] for name in _chosen(named, prefixes, "sentence")}

    def voices(self, prefixes: Sequence[str]) -> dict[str, list[Path]]:
        """Recordings by voice, in order: the first is cloned, the clones are compared with the others."""
        found = defaultdict(list)
        for path in sorted((self.root / "references").iterdir()):
            found[path.stem.rpartition("_")[0]].append(path)
        return {name: found[name] for name in _chosen(found, prefixes, "voice")}

    def listen(self, references: list[Path], wavs: list[Path], result: Path, threads: int, bar: tqdm) -> None:
        """Write judge.py's CSV about the wavs to `result`, and its log beside it."""
        command = [self._python, "judge.py", "--refs", *references, "--wavs", *wavs, "--texts", "sentences.tsv"]
        command += ["--csv", temporary := result.with_suffix(".partial"), "--threads", str(threads)]
        absolute = [str(part.absolute()) if isinstance(part, Path) else part for part in command]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        log = result.with_suffix(".log")
        pipes = {"stdout": subprocess.PIPE, "text": True}
        with (
            log.open("w") as errors,
            subprocess.Popen(absolute, cwd=self.root, env=environment, stderr=errors, **pipes) as judge,
        ):
            for line in judge.stdout:
                bar.update(" dmos " in line)
        if judge.returncode or not temporary.exists():
            last = (log.read_text().strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(f"{self.root / 'judge.py'}: failed ({last[:200]}); see {log}")
        temporary.replace(result)


def _chosen(names: dict[str, Any], prefixes: Sequence[str], kind: str) -> list[str]:
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise UserError(f"{prefix}: the judge has no such {kind}; it has {', '.join(names)}", exit_code=2)
    return [name for name in names if not prefixes or name.startswith(tuple(prefixes))]


class Studio:
    """Speaks with the demo's Cloner whatever is missing. A JSON file beside each wave says what it was made from and how."""

    def __init__(self, out: Path, args: argparse.Namespace) -> None:
        from utils.data.paths import sha256

        self.out, self._args = out, args
        self._vocoder = None if args.griffin_lim else args.vocoder
        files = {"encoder": args.encoder, "synthesizer": args.synthesizer, "vocoder": self._vocoder}
        self.files = {stage: path for stage, path in files.items() if path}
        for path in self.files.values():
            if not path.is_file():
                raise UserError(f"{path}: no such model; name it with -e, -s, -v")
        self._hash = sha256
        models = {stage: sha256(path) for stage, path in self.files.items()}
        self._made_of = {"models": models, "hparams": args.hparams, "seed": args.seed}

    @cached_property
    def _cloner(self) -> Any:
        from demo.cloner import Cloner

        a = self._args
        return Cloner.load(a.encoder, a.synthesizer, self._vocoder, a.hparams, a.seed, a.cpu)

    def clone(self, reference: Path, text: str, path: Path) -> None:
        """The text in the voice of the reference."""
        made_of = self._made_of | {"reference": self._hash(reference), "text": text}
        if not _is_current(path, made_of):
            from benchmarks.faults import faults

            spoken = self._cloner.clone([reference], [text])
            seconds = len(spoken.wav) / spoken.sample_rate
            _keep(path, spoken.wav, made_of, {"seconds": seconds, "took": spoken.took, "faults": faults(spoken)})

    def copy(self, recording: Path, path: Path) -> None:
        """Copy-synthesis: the recording's own mel turned into sound, the best that this vocoder can do."""
        made_of = self._made_of | {"reference": self._hash(recording)}
        if not _is_current(path, made_of):
            mel = self._cloner.synthesizer.make_spectrogram(recording)
            _keep(path, self._cloner.sound(mel), made_of, {})


def _is_current(path: Path, made_of: dict[str, Any]) -> bool:
    about = path.with_suffix(".json")
    return path.exists() and about.exists() and json.loads(about.read_text())["made_of"] == made_of


def _keep(path: Path, wav: Any, made_of: dict[str, Any], measured: dict[str, Any]) -> None:
    from utils.data import audio
    from utils.data.paths import save_text

    audio.write_wav(path, wav)
    save_text(path.with_suffix(".json"), json.dumps({"made_of": made_of, **measured}, indent=1))


def speak(studio: Studio, voices: dict[str, list[Path]], sentences: dict[str, str]) -> None:
    """Write OUT/<voice>/<sentence>.wav and OUT/<voice>/copy_<n>.wav, unless they exist."""
    studio.out.mkdir(parents=True, exist_ok=True)
    total = sum(len(sentences) + len(clips) for clips in voices.values())
    with tqdm(total=total, desc="speaking", unit="file") as bar, (studio.out / "log.txt").open("a") as log:
        for voice, clips in voices.items():
            for name, text in sentences.items():
                with _logging_to(log, bar, f"{voice} {name}"):
                    studio.clone(clips[0], text, studio.out / voice / f"{name}.wav")
            for n, clip in enumerate(clips):
                with _logging_to(log, bar, f"{voice} copy {n}"):
                    studio.copy(clip, studio.out / voice / f"copy_{n}.wav")


@contextlib.contextmanager
def _logging_to(log: Any, bar: tqdm, what: str) -> Iterator[None]:
    bar.set_postfix_str(what)
    with contextlib.redirect_stdout(log):
        yield
    bar.update()


def listen(judge: Judge, out: Path, voices: dict[str, list[Path]], names: list[str], threads: int) -> None:
    """Write OUT/<voice>/judged.csv, for voices whose files are newer than it or are not those in it."""
    total = sum(len(names) + 2 * len(clips) for clips in voices.values())
    with tqdm(total=total, desc="judging", unit="file") as bar:
        for voice, clips in voices.items():
            bar.set_postfix_str(voice)
            wavs = [out / voice / f"{name}.wav" for name in (*names, *(f"copy_{n}" for n in range(len(clips))))] + clips
            result = out / voice / "judged.csv"
            if _is_about(result, wavs):
                bar.update(len(wavs))
            else:
                judge.listen(clips[1:] or clips, wavs, result, threads, bar)


def _is_about(result: Path, wavs: list[Path]) -> bool:
    if not result.exists() or result.stat().st_mtime < max(path.stat().st_mtime for path in wavs):
        return False
    return {row["file"] for row in judged_report.read_csv(result)} == {path.name for path in wavs}


def items(out: Path, voices: dict[str, list[Path]], sentences: dict[str, str], real: Sequence[str]) -> list[Item]:
    """All that is known about every file, from the judge's tables and the JSON beside the waves."""
    found = []
    for voice, clips in voices.items():
        rows = {row["file"]: row for row in judged_report.read_csv(out / voice / "judged.csv")}
        compared = len(clips) > 1  # else a clip would be compared with itself
        common = {"voice": voice, "is_real": voice.startswith(tuple(real))}
        for name, text in sentences.items():
            about = json.loads((out / voice / f"{name}.json").read_text())
            about = {key: about[key] for key in ("seconds", "took", "faults")}
            found.append(Item.judged(rows[f"{name}.wav"], kind="clone", name=name, text=text, **common, **about))
        for n, clip in enumerate(clips):
            for kind, file in (("copy", f"copy_{n}.wav"), ("recording", clip.name)):
                item = Item.judged(rows[file], kind=kind, name=clip.stem, **common)
                found.append(dataclasses.replace(item, sim=None, sim2=None) if compared and n else item)
    return found


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Speak every sentence of a judge in every voice of its references, and have the judge rate it: word error "
        "rate, similarity to the voice by two encoders, DNSMOS and Distill-MOS, real-time factor, and the share of speech "
        "without a stop miss, a repeat or a long gap; by voice, by length and in total. Each voice is cloned from its first "
        "recording and compared with its others. Existing speech is kept unless the models or the settings have changed."
    )
    parser.prog = "python -m benchmarks.judged"
    add = parser.add_argument
    add("judge", type=Path, metavar="JUDGE", help="folder with judge.py, venv/, references/ and sentences.tsv")
    add("out", type=Path, metavar="OUT", help="folder for the speech and for results.md, results.csv and results.json")
    for stage in ("encoder", "synthesizer", "vocoder"):
        default = default_model(stage)
        add(f"-{stage[0]}", f"--{stage}", type=Path, default=default, metavar="FILE", help=f"{stage} to judge")
    add("--griffin_lim", action="store_true", help="use no vocoder: judges the synthesizer alone, and is faster")
    prefixes = {"type": cli.names, "metavar": "A,B"}
    add("--voices", **prefixes, help="only voices whose names begin with one of these (default: all)")
    add("--sentences", **prefixes, help="only sentences whose names begin with one of these: short,medium_01 (default: all)")
    add("--real", **prefixes, help="voices of people, which have figures of their own (default: allison)")
    add("--threads", type=cli.whole_number(at_least=1), default=2, metavar="N", help="threads for speaking and for judging")
    card_help = "Markdown file to write the tables into, between <!-- judged: begin --> and <!-- judged: end -->"
    add("--card", type=Path, metavar="FILE", help=card_help)
    add("--seed", type=cli.SEED, default=0, metavar="N", help="seed of the speech")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    cli.add_hparams(parser, CloningSettings)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    judge = Judge(args.judge)
    sentences, voices = judge.sentences(args.sentences or ()), judge.voices(args.voices or ())
    if args.card:
        judged_report.filled(args.card, "")  # fails now rather than at the end
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # torch is not imported yet
    studio = Studio(args.out, args)
    speak(studio, voices, sentences)
    listen(judge, args.out, voices, list(sentences), args.threads)
    judged_report.write(args.out, items(args.out, voices, sentences, args.real or REAL), studio.files, args.card)


if __name__ == "__main__":
    cli.run(main)
