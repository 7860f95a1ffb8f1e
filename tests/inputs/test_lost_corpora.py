"""A corpus whose disk goes while it is read, for all or for one worker; and links that lead back up."""

import os
import shutil

import pytest

from encoder import preprocess as encoder_module
from encoder.preprocess import preprocess as preprocess_encoder
from synthesizer.corpus import speakers as synthesizer_module
from synthesizer.preprocess import preprocess_audio
from tests.layouts import sample_waves, write_audio, write_text
from utils import corpora
from utils.corpora.layout import audio_below
from utils.data import decoding
from utils.errors import UserError

READERS = {"encoder": (preprocess_encoder, encoder_module), "synthesizer": (preprocess_audio, synthesizer_module)}


@pytest.fixture
def corpus(samples, tmp_path):
    for i, wav in enumerate(sample_waves(samples, 4)):
        path = write_audio(tmp_path / f"in/my/{'ab'[i % 2]}/{i}.wav", wav)
        write_text(path.with_suffix(".txt"), "And then she said so.")
    return tmp_path / "in"


def n_made(stage, out):
    """Utterances in the files that say what is finished."""
    if stage == "encoder":
        return sum(len((out / f"my_{name}/utterances.tsv").read_text().splitlines()) for name in "ab")
    return len((out / "train.txt").read_text().splitlines())


@pytest.mark.parametrize("stage", READERS)
@pytest.mark.parametrize("lost_at", [2, 3])
def test_a_disk_that_goes_ends_the_run_and_comes_back_for_the_rest(corpus, tmp_path, monkeypatch, stage, lost_at):
    run, module = READERS[stage]
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(corpus, whole, ["my"], n_processes=1)
    read, calls = decoding.read_span, []

    def unmounted(*arguments, **options):
        calls.append(1)
        if len(calls) == lost_at:
            os.rename(corpus / "my", tmp_path / "gone")
        return read(*arguments, **options)

    monkeypatch.setattr(module.decoding, "read_span", unmounted)
    with pytest.raises(UserError, match="has gone; bring its disk back"):
        run(corpus, out, ["my"], n_processes=1)
    shutil.move(tmp_path / "gone", corpus / "my")
    run(corpus, out, ["my"], n_processes=1, skip_existing=True)
    assert n_made(stage, out) == n_made(stage, whole) > 3


@pytest.mark.parametrize("stage", READERS)
def test_a_worker_that_sees_an_empty_folder_is_noticed(corpus, tmp_path, monkeypatch, stage):
    run, module = READERS[stage]
    listed = corpora.list_utterances

    def unseen(speaker, *arguments):
        found = listed(speaker, *arguments)
        return found._replace(utterances=[]) if speaker.name == "b" else found

    with monkeypatch.context() as patch:
        patch.setattr(module.corpora, "list_utterances", unseen)
        with pytest.raises(UserError, match=r"b: has audio, but was empty .*\(1 speakers\).* --skip_existing"):
            run(corpus, tmp_path / "out", ["my"], n_processes=1)
    run(corpus, tmp_path / "out", ["my"], n_processes=1, skip_existing=True)
    assert n_made(stage, tmp_path / "out") > 3


def test_links_that_lead_up_bring_in_no_other_speakers(corpus):
    expected = audio_below(corpus / "my/a")
    for name, target in {"up": corpus / "my", "same": corpus / "my/a", "top": corpus}.items():
        os.symlink(target, corpus / "my/a" / name)
    assert audio_below(corpus / "my/a") == expected
    os.symlink(corpus / "my/b", corpus / "my/a/beside")
    assert len(audio_below(corpus / "my/a")) == 2 * len(expected)
