"""Whatever a file holds, a reader returns or raises an error meant for the user, within 2 s and 512 MB."""

import contextlib
import functools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from demo.delivery import text_in
from tests.faults import fuzz, fuzz_corpora, fuzz_demo
from utils.errors import UserError

SECONDS = 2.0
N_BYTES = 512 * 2**20
NAMES = {
    fuzz.tables: ["train.txt", "part", "utterances", "word times", "parameters", "metrics", "trials"],
    fuzz.arrays: ["npy", "encoder.pt", "synthesizer.pt", "vocoder.pt"],
    fuzz_corpora.corpora_files: [
        *("manifest", "transcripts", "alignments", "metadata.csv", "alignment line", "hi-fi", "text beside", "vctk"),
        *("nationalities", "wav.scp", "segments", "utt2spk", "text"),
    ],
    fuzz.texts: ["reading", "hparams"],
    fuzz.sounds: ["audio.wav", "audio.flac", "audio.ogg", "audio.mp3", "audio.m4a"],
    fuzz_demo.demo_files: ["voice", "text file", "reference", "upload", "uploaded voice", "texts", "results"],
    fuzz_demo.records: ["owner", "settings", "take", "digests"],
    fuzz_demo.onnx_files: ["onnx", "onnx settings"],
}
GROUPS = {name: group for group, names in NAMES.items() for name in names}
FEW = 12  # inputs for each reader; a number that CI has the time for
MANY = int(os.environ.get("TORTURE", "300000")) // len(GROUPS) + 1


@pytest.fixture(scope="module")
def reader_of(tmp_path_factory) -> Callable[[str], fuzz.Reader]:
    @functools.cache
    def made(group: Callable) -> dict[str, fuzz.Reader]:
        if group is fuzz_demo.onnx_files:
            pytest.importorskip("onnx", reason="requirements-onnx.txt")
        found = group(tmp_path_factory.mktemp("seeds"))
        assert [*found] == NAMES[group]
        return found

    return lambda name: made(GROUPS[name])[name]


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """The process can take 512 MB more than it has."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + N_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attack(reader: fuzz.Reader, folder: Path, n_inputs: int) -> None:
    for content in reader.seeds:
        reader.read(fuzz.new_file(folder, reader.suffix, content))  # also loads what is loaded once

    @seed(0)
    @settings(max_examples=n_inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(fuzz.INPUTS)
    def one(drawn: tuple) -> None:
        path = fuzz.new_file(folder, reader.suffix, fuzz.content_of(reader, drawn))
        started = time.process_time()
        try:
            reader.read(path)
        except (UserError, *reader.allowed) as error:
            assert len(str(error)) < 2000
        finally:
            path.unlink(missing_ok=True)
        assert time.process_time() - started < SECONDS

    with little_memory(), warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        one()


@pytest.mark.parametrize("name", GROUPS)
def test_no_input_breaks_a_reader(reader_of, name, tmp_path):
    attack(reader_of(name), tmp_path, FEW)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without an end")
def test_a_text_without_an_end_is_refused():
    with pytest.raises(UserError, match="has more than"):
        text_in(Path("/dev/zero"))


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.parametrize("name", GROUPS)
def test_none_of_hundreds_of_thousands_of_inputs_breaks_a_reader(reader_of, name, tmp_path):
    attack(reader_of(name), tmp_path, MANY)
