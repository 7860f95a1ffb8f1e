"""Speaker encoder: published numbers, batches, preprocessing and training as a user runs them."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from encoder import inference
from encoder.config import EncoderConfig
from encoder.dataset import SpeakerBatches, SpeakerDataset, SpeakerIndex, collate, read_index, split_speakers
from encoder.ge2e import GE2ELoss
from encoder.model import EncoderWithLoss, SpeakerEncoder
from encoder.partials import compute_partial_slices
from encoder.preprocess import preprocess
from encoder.published import from_published
from encoder.train import train
from encoder.utterances import read_table
from tests import ROOT
from tests.encoder import plain_ge2e
from tests.faults.leftovers import left_by_a_kill
from tests.published_state import published_state
from tests.training.ranks import train_in_ranks
from utils.boards import plot
from utils.data import audio
from utils.errors import UserError

TINY = "hidden_size=16,n_layers=2,embedding_size=8,speakers_per_batch=6,utterances_per_speaker=3,partial_frames=80"
SUBSET = "LibriSpeech/train-clean-100"


def start(*command, **kwargs):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes, **kwargs)


def run(*command):
    process = start(*command)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.002)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- model and loss


def test_published_weights_give_the_published_embeddings(expected, tmp_path, samples):
    config, state = from_published(published_state("encoder", seed=1))
    assert config == EncoderConfig()
    model = EncoderWithLoss(config)
    model.load_state_dict(state)
    with torch.no_grad():
        embeddings = model.encoder(torch.from_numpy(expected["encoder_in"]))
    np.testing.assert_allclose(embeddings.numpy(), expected["encoder_out"], atol=1e-5)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6), atol=1e-4, rtol=0)

    torch.save({"model_state": published_state("encoder", seed=1), "step": 1}, tmp_path / "encoder.pt")
    inference.load_model(tmp_path / "encoder.pt", "cpu")
    assert inference.is_loaded()
    path = next((samples / "LibriSpeech").rglob("*.flac"))
    embedding, partials, slices = inference.embed_utterance(inference.preprocess_wav(path), return_partials=True)
    assert embedding.shape == (256,) and partials.shape == (len(slices), 256)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_partials_are_the_published_ones(expected):
    for key in (key for key in expected if key.startswith("partials_")):
        slices = compute_partial_slices(int(key.removeprefix("partials_")))
        assert [[part.start, part.stop] for part in slices.mel] == expected[key].tolist()
        assert all(wave.start == 160 * mel.start and wave.stop == 160 * mel.stop for wave, mel in zip(*slices, strict=True))


def test_ge2e_loss_and_gradients_are_the_published_ones(expected):
    loss_module = GE2ELoss()
    embeddings = torch.from_numpy(expected["ge2e_embeds"]).requires_grad_()
    loss = loss_module(embeddings)
    loss.backward()
    assert loss.item() == pytest.approx(float(expected["ge2e_loss"]), abs=1e-5)
    np.testing.assert_allclose(embeddings.grad, expected["ge2e_grad"], atol=1e-5)
    assert loss_module.weight.grad.item() == pytest.approx(expected["ge2e_grad_w"].item(), abs=1e-5)
    assert loss_module.bias.grad.item() == pytest.approx(expected["ge2e_grad_b"].item(), abs=1e-5)
    before = loss_module.weight.grad.item()
    loss_module.scale_gradients(0.01)
    assert loss_module.weight.grad.item() == pytest.approx(0.01 * before)


@pytest.mark.parametrize("n_utterances", [2, 5])
def test_ge2e_loss_and_gradients_follow_the_formula_of_the_paper(n_utterances):
    raw = torch.randn(4, n_utterances, 16)
    loss_module = GE2ELoss()
    weight, bias = (torch.tensor(value, requires_grad=True) for value in (10.0, -5.0))
    embeddings, same = ((raw / raw.norm(dim=2, keepdim=True)).requires_grad_() for _ in range(2))
    loss, plain = loss_module(embeddings), plain_ge2e.loss(same, weight, bias)
    loss.backward()
    plain.backward()
    torch.testing.assert_close(loss, plain)
    for found, expected in ((embeddings, same), (loss_module.weight, weight), (loss_module.bias, bias)):
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-6, rtol=1e-5)


def test_the_ge2e_gradient_is_finite_for_a_silent_utterance():
    """ReLU can make an embedding all zeros."""
    embeddings = torch.zeros(3, 2, 8, requires_grad=True)
    GE2ELoss()(embeddings).backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("projection_size", [0, 16])
def test_an_embedding_does_not_depend_on_the_batch(projection_size):
    model = SpeakerEncoder(EncoderConfig(hidden_size=32, projection_size=projection_size, embedding_size=8))
    mels = torch.rand(3, 20, 40)
    together = model(mels)
    assert together.shape == (3, 8)
    for mel, embedding in zip(mels, together, strict=True):
        torch.testing.assert_close(model(mel[None])[0], embedding, atol=1e-5, rtol=0)


def test_a_wave_is_embedded_alone_as_among_others(tmp_path):
    torch.save({"model_state": published_state("encoder")}, tmp_path / "encoder.pt")
    embedder = inference.SpeakerEmbedder(tmp_path / "encoder.pt", "cpu")
    draw = np.random.default_rng(0)
    waves = [0.1 * draw.standard_normal(n).astype(np.float32) for n in (100, 25600, 240000, 48000, 30000)]
    together = embedder.embed_batch(iter(waves))
    for wave, embedding in zip(waves, together, strict=True):
        np.testing.assert_allclose(embedder.embed_utterance(wave)[0], embedding, atol=1e-5)
    np.testing.assert_allclose(embedder.embed_speaker(waves[:1]), together[0], atol=1e-5)
    assert embedder.embed_batch([]).shape == (0, 256)


def test_two_embedders_share_nothing(tmp_path):
    wave = 0.1 * np.random.default_rng(0).standard_normal(30000).astype(np.float32)
    embedders, alone = [], []
    for seed in (1, 2):
        torch.save({"model_state": published_state("encoder", seed)}, tmp_path / f"{seed}.pt")
        embedders.append(inference.SpeakerEmbedder(tmp_path / f"{seed}.pt", "cpu"))
        alone.append(embedders[-1].embed_utterance(wave)[0])
    inference.load_model(tmp_path / "2.pt", "cpu", precision="fp32")
    for embedder, embedding in zip(embedders, alone, strict=True):
        np.testing.assert_array_equal(embedder.embed_utterance(wave)[0], embedding)
    np.testing.assert_array_equal(inference.embed_utterance(wave), alone[1])
    assert not np.allclose(*alone)
    inference.load_model(tmp_path / "2.pt", "cpu")
    as_scripts = inference.SpeakerEmbedder(tmp_path / "2.pt", "cpu", "auto").embed_utterance(wave)[0]
    np.testing.assert_array_equal(inference.embed_utterance(wave), as_scripts)


def test_bad_input_of_inference(tmp_path):
    silence = np.zeros(16000, dtype=np.float32)
    audio.write_wav(tmp_path / "silence.wav", silence)
    for make, message in [
        (lambda: inference.preprocess_wav(tmp_path / "silence.wav"), "silence.wav: no speech"),
        (lambda: inference.preprocess_wav(silence[:0]), "the wave is empty"),
        (lambda: inference.preprocess_wav(tmp_path / "absent.wav"), "absent.wav: no such file"),
        (lambda: inference.load_model(tmp_path / "silence.wav"), "cannot be read as a checkpoint"),
    ]:
        with pytest.raises(UserError, match=message):
            make()
    torch.save({"model_state": published_state("vocoder")}, tmp_path / "vocoder.pt")
    with pytest.raises(UserError, match="a fitting encoder"):
        inference.load_model(tmp_path / "vocoder.pt")


# ---- batches


def make_index(lengths_of_each, root="unused"):
    lengths = np.concatenate(lengths_of_each).astype(np.int32)
    first = np.cumsum([0, *map(len, lengths_of_each)])
    return SpeakerIndex(Path(root), [f"s{i}" for i in range(len(lengths_of_each))], first, np.cumsum(lengths), lengths)


def test_batches_hold_distinct_speakers_and_utterances_and_every_window():
    index = make_index([[160, 163], [170] * 12, *([[200] * 10] * 6)])
    plan = SpeakerBatches(index, range(8), 5, 10, 160, seed=3)
    offsets = {0: set(), 1: set()}
    for step in range(1, 400):
        batch = plan(step)
        assert len({spec.speaker for spec in batch}) == 5
        for spec in batch:
            n_available = index.n_utterances(spec.speaker)
            assert len(set(spec.utterances.tolist())) == min(10, n_available)
            spare = index.lengths[index.first[spec.speaker] + spec.utterances] - 160
            assert (spec.offsets >= 0).all() and (spec.offsets <= spare).all()
            if spec.speaker < 2:
                offsets[spec.speaker].update(spec.offsets.tolist())
    assert offsets == {0: {0, 1, 2, 3}, 1: set(range(11))}  # the last window included
    assert [repr(s) for s in plan(7)] == [repr(s) for s in SpeakerBatches(index, range(8), 5, 10, 160, seed=3)(7)]


def test_fewer_speakers_than_asked_for():
    index = make_index([[160] * 3] * 5)
    assert [len(SpeakerBatches(index, range(5), 64, 10, 160, 0)(step)) for step in (1, 2)] == [5, 5]
    with pytest.raises(UserError, match="at least 2"):
        SpeakerBatches(index, range(1), 64, 10, 160, 0)
    ranks = [SpeakerBatches(index, range(5), 2, 4, 160, 0, rank, 2)(1) for rank in (0, 1)]
    assert [repr(spec) for specs in ranks for spec in specs] == [
        repr(spec) for spec in SpeakerBatches(index, range(5), 4, 4, 160, 0)(1)
    ]


def test_crops_equal_the_files(preprocessed):
    index = read_index(preprocessed, 160)
    trained, held_out = split_speakers(index, 0.05)
    assert len(held_out) == 2 and len(trained) == 8 and not set(trained) & set(held_out)
    specs = SpeakerBatches(index, trained, 64, 4, 160, seed=0)(5)
    dataset = SpeakerDataset(index, 160)
    batch = collate([dataset[spec] for spec in specs])
    assert batch.mels.shape == (8, 4, 160, 40) and batch.mels.dtype == torch.float32
    for spec, mels in zip(specs, batch.mels, strict=True):
        for utterance, offset, crop in zip(spec.utterances, spec.offsets, mels, strict=True):
            whole = index.utterance(spec.speaker, utterance)
            np.testing.assert_array_equal(whole[offset : offset + 160], crop)


# ---- pictures


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_embeddings_are_projected_by_principal_components(n):
    points, method = plot.project(np.random.default_rng(0).random((n, 5)))
    assert points.shape == (n, 2) and np.isfinite(points).all() and method == "PCA"


def test_embeddings_are_projected_by_umap(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes longer than 24 points do
    script = "import numpy; from utils.boards import plot; p, m = plot.project(numpy.eye(24, dtype='f4')); print(p.shape, m)"
    code, output = run("-c", script)
    assert code == 0 and output.endswith("(24, 2) UMAP\n"), output


# ---- preprocessing


def test_preprocessing_as_a_user_runs_it(samples, preprocessed, tmp_path):
    code, output = run("encoder_preprocess.py", samples, "-o", tmp_path, "-d", SUBSET, "-n", 2)
    assert code == 0, output
    assert contents(tmp_path) == contents(preprocessed)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 10
    for folder in folders:
        mels = np.load(folder / "mels.npy")
        rows = read_table(folder / "utterances.tsv").rows
        assert mels.dtype == np.float32 and mels.shape == (sum(row.n_frames for row in rows), 40)
        assert all((samples / row.source).is_file() for row in rows)
    log = (tmp_path / "Log_LibriSpeech_train-clean-100.txt").read_text()
    assert "speakers: 10" in log and "utterances: 80" in log and str(tmp_path) not in log


@pytest.mark.parametrize("moment", ["first file begun", "6 speakers"])
def test_a_killed_preprocessing_continues_to_the_same_bytes(samples, preprocessed, tmp_path, moment):
    def reached():
        if moment == "first file begun":
            return any(tmp_path.rglob("*.tmp"))
        return len([*tmp_path.rglob("utterances.tsv")]) >= 6

    command = ("encoder_preprocess.py", samples, "-o", tmp_path, "-d", SUBSET, "-n", 1)
    process = start(*command)
    wait_for(reached, process)
    process.kill()
    process.communicate()
    left_by_a_kill(tmp_path / "LibriSpeech_train-clean-100_90001" / "mels.npy")
    preprocess(samples, tmp_path, [SUBSET], skip_existing=True, n_processes=1)
    assert contents(tmp_path) == contents(preprocessed)


@pytest.fixture
def hostile(samples, tmp_path):
    """Two good files among bad ones of every kind."""
    chapter = tmp_path / "LibriSpeech" / "dev" / "1" / "2"
    chapter.mkdir(parents=True)
    good = sorted((samples / "LibriSpeech").rglob("*.flac"))[:2]
    for path in good:
        (chapter / path.name).write_bytes(path.read_bytes())
    (chapter / "zero.flac").write_bytes(b"")
    (chapter / "cut.flac").write_bytes(good[0].read_bytes()[:20000])
    (chapter / "text.wav").write_text("this is not audio\n" * 100)
    audio.write_wav(chapter / "silent.wav", np.zeros(80000, np.float32))
    audio.write_wav(chapter / "short.wav", audio.load(good[0])[8000:12800])
    audio.write_wav(chapter / "nothing.wav", np.zeros(0, np.float32))
    (chapter.parent.parent / "stray.txt").write_text("beside the speakers")
    (chapter.parent.parent / "99").mkdir()  # a speaker without files
    return tmp_path


def test_bad_files_among_good_ones_are_skipped_and_listed(hostile, capsys):
    out = hostile / "out"
    preprocess(hostile, out, ["LibriSpeech/dev"], n_processes=1)
    printed = capsys.readouterr().out
    assert "2 utterances" in printed and "7 files were skipped" in printed
    log = (out / "Log_LibriSpeech_dev.txt").read_text()
    for name in ("zero.flac", "cut.flac", "text.wav", "silent.wav", "short.wav", "nothing.wav", "dev/99"):
        assert name in printed and name in log
    assert "speakers: 2, of which 1 without" in log
    before = contents(out)
    preprocess(hostile, out, ["LibriSpeech/dev"], skip_existing=True, n_processes=1)
    assert contents(out) == before
    with pytest.raises(UserError, match="was made with .*trim_silences=True"):
        preprocess(hostile, out, ["LibriSpeech/dev"], skip_existing=True, trim=False, n_processes=1)


def test_nothing_usable_is_an_error_in_one_line(hostile, samples, tmp_path):
    with pytest.raises(UserError, match="not one usable utterance"):
        preprocess(hostile, None, ["LibriSpeech/dev"], n_processes=1, hparams="min_frames=5000")
    assert (hostile / "SV2TTS" / "encoder" / "Log_LibriSpeech_dev.txt").is_file()
    taken = hostile / "LibriSpeech/dev/1/2/text.wav"
    for root, out, datasets, message in [
        (samples, tmp_path / "out", ["voxceleb2"], "VoxCeleb2: no such folder"),
        (samples, tmp_path / "out", None, "test-clean, train-clean-100"),
        (tmp_path / "absent", tmp_path / "out", None, "no such folder"),
    ]:
        with pytest.raises(UserError, match=message):
            preprocess(root, out, datasets, n_processes=1)
    for arguments, message, code in [
        (("-d", SUBSET, "-o", taken, "-n", 1), "(Not a directory|File exists)", 1),
        (("--hparams", "min_frame=3"), "nearest: min_frames", 2),
    ]:
        got, output = run("encoder_preprocess.py", samples, *arguments)
        assert got == code and "Traceback" not in output
        assert re.fullmatch(f"error: .*{message}.*", output.splitlines()[-1]), output


def test_stereo_and_m4a_of_voxceleb(samples, tmp_path, capsys):
    import av
    import soundfile

    wav = np.concatenate([audio.load(path) for path in sorted((samples / "LibriSpeech").rglob("*.flac"))[:2]])
    stereo = audio.resample(wav, 16000, 44100)
    path = tmp_path / "VoxCeleb1" / "wav" / "id1" / "video" / "00001.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.stack([stereo, stereo], axis=1), 44100)
    (tmp_path / "VoxCeleb1" / "vox1_meta.csv").write_text("id\tname\tsex\tnation\tset\nid1\tA\tm\tUK\tdev\n")
    path = tmp_path / "VoxCeleb2" / "dev" / "aac" / "id2" / "video" / "00001.m4a"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wav[None]), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    preprocess(tmp_path, n_processes=1)  # the default corpora, as far as they are there
    assert "continuing without: LibriSpeech/train-other-500" in capsys.readouterr().out
    index = read_index(tmp_path / "SV2TTS" / "encoder", 160)
    assert index.names == ["VoxCeleb1_id1", "VoxCeleb2_id2"]
    assert abs(index.lengths - len(wav) / 160).max() < 0.2 * len(wav) / 160


# ---- training


def options(models_dir, run_id="run", **changes):
    return {"run_id": run_id, "models_dir": models_dir, "cpu": True, "save_every": 4, "eval_every": 4} | changes


def weights(path):
    return torch.load(path, weights_only=True)


def assert_same_training(first, second):
    first, second = weights(first), weights(second)
    assert first["step"] == second["step"]
    for name, value in first["model_state"].items():
        assert torch.equal(value, second["model_state"][name]), name
    for key, moments in first["optimizer_state"]["state"].items():
        assert all(torch.equal(value, second["optimizer_state"]["state"][key][name]) for name, value in moments.items())


@pytest.fixture(scope="session")
def uninterrupted(preprocessed, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    train(preprocessed, options(models, max_steps=12), TINY, umap_every=6)
    return models / "run"


def test_training_writes_metrics_pictures_and_a_checkpoint(uninterrupted):
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert [line["step"] for line in lines if "eer" in line] == [4, 8, 12]
    assert all(0 <= line["eer"] <= 1 and "same_cosine" in line for line in lines if "eer" in line)
    (shown,) = EventAccumulator(str(uninterrupted / "tensorboard" / "encoder")).Reload().Tensors("parameters/text_summary")
    assert b"eval_speakers: 2 " in shown.tensor_proto.string_val[0]  # as no more are held out, whatever the settings say
    assert [path.name for path in sorted((uninterrupted / "plots").iterdir())] == [
        "encoder-curves.png",
        "encoder-embeddings-0000006.png",
        "encoder-embeddings-0000012.png",
    ]
    saved = weights(uninterrupted / "encoder.pt")
    assert saved["format"] == "sv2tts-encoder-1" and saved["mel"]["n_mels"] == 40
    wav = np.random.default_rng(0).standard_normal(30000).astype(np.float32)
    assert inference.SpeakerEmbedder(uninterrupted / "encoder.pt", "cpu").embed_batch([wav]).shape == (1, 8)


def test_resumed_training_is_the_same_bit_for_bit(preprocessed, uninterrupted, tmp_path):
    for n_steps in (5, 12):
        train(preprocessed, options(tmp_path, max_steps=n_steps, eval_every=0), TINY, umap_every=0)
    assert_same_training(tmp_path / "run" / "encoder.pt", uninterrupted / "encoder.pt")


def test_scale_and_offset_of_the_loss_learn_slowly(preprocessed, tmp_path):
    moments = []
    for run_id, factor in (("slow", 0.01), ("fast", 1.0)):
        settings = f"{TINY},clip=1e9,similarity_gradient={factor}"
        train(preprocessed, options(tmp_path, run_id, max_steps=1, eval_every=0), settings, umap_every=0)
        state = weights(tmp_path / run_id / "encoder.pt")["optimizer_state"]["state"]
        moments.append([state[key]["exp_avg"] for key in sorted(state)])
    for number, (slow, fast) in enumerate(zip(*moments, strict=True)):
        factor = 0.01 if number >= len(moments[0]) - 2 else 1  # the last two parameters belong to the loss
        torch.testing.assert_close(slow, factor * fast, rtol=1e-4, atol=0)


def test_a_resumed_run_takes_a_new_learning_rate(preprocessed, tmp_path):
    for n_steps, rate in ((1, ""), (2, ",learning_rate=0.5")):
        train(preprocessed, options(tmp_path, max_steps=n_steps, eval_every=0), TINY + rate, umap_every=0)
    assert weights(tmp_path / "run" / "encoder.pt")["optimizer_state"]["param_groups"][0]["lr"] == 0.5


def test_killed_training_continues_the_same_bit_for_bit(preprocessed, uninterrupted, tmp_path):
    command = ["encoder_train.py", "run", preprocessed, "-m", tmp_path, "--cpu", "--no_visdom", "-s", 4, "-u", 0]
    process = start(*command, "--eval_every", 4, "--hparams", TINY)  # no --max_steps: trains until it is killed
    wait_for(lambda: (tmp_path / "run" / "encoder.pt").exists(), process)
    process.kill()
    process.communicate(timeout=60)
    reached = weights(tmp_path / "run" / "encoder.pt")["step"]
    goal, reference = 12, uninterrupted
    if reached + 2 > goal:  # a fast machine: further than the reference
        goal, reference = reached + 2, tmp_path / "reference"
        train(preprocessed, options(tmp_path, "reference", max_steps=goal), TINY, umap_every=0)
    train(preprocessed, options(tmp_path, max_steps=goal), TINY, umap_every=0)
    assert_same_training(tmp_path / "run" / "encoder.pt", reference / "encoder.pt")


def test_training_on_too_little_or_damaged_data_says_so(preprocessed, tmp_path, capsys):
    train(preprocessed, options(tmp_path, max_steps=1), f"{TINY},speakers_per_batch=64", umap_every=0)
    assert "a batch holds 8 speakers instead of 64" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    for folder, message in [(tmp_path / "absent", "no such folder"), (tmp_path / "empty", "no speaker with")]:
        with pytest.raises(UserError, match=message):
            train(folder, options(tmp_path, "other"), TINY)
    few = tmp_path / "few"
    for source in sorted(path for path in preprocessed.iterdir() if path.is_dir())[:3]:
        (few / source.name).mkdir(parents=True)
        for path in source.iterdir():
            (few / source.name / path.name).write_bytes(path.read_bytes())
    mels = next(few.rglob("mels.npy"))
    mels.write_bytes(mels.read_bytes()[:1000])
    with pytest.raises(UserError, match="cut short"):
        train(few, options(tmp_path, "other"), TINY)


def test_an_evaluation_that_cannot_be_made_is_told_and_one_of_too_many_pairs_is_refused_at_the_start(
    preprocessed, tmp_path, capsys
):
    few = tmp_path / "few"
    for source in sorted(path for path in preprocessed.iterdir() if path.is_dir())[:3]:
        shutil.copytree(source, few / source.name)
    settings = TINY.replace("speakers_per_batch=6", "speakers_per_batch=2")
    train(few, options(tmp_path, "three", max_steps=2, eval_every=1), settings, umap_every=0)
    assert "the equal error rate needs two held-out speakers" in capsys.readouterr().out
    with mock.patch("encoder.evaluate.MAX_EMBEDDINGS", 3), pytest.raises(UserError, match="too many pairs"):
        train(preprocessed, options(tmp_path, "many", max_steps=100), TINY, umap_every=0)
    assert not (tmp_path / "many" / "encoder.pt").exists()


def train_in_parts(folder, run_id="two", size=4):
    settings = TINY.replace("speakers_per_batch=6", f"speakers_per_batch={size}")
    train(folder / "data", options(folder, run_id, max_steps=3, eval_every=2, precision="fp32"), settings, umap_every=2)


def test_two_ranks_train_as_one_with_the_whole_batch(preprocessed, tmp_path):
    (tmp_path / "data").symlink_to(preprocessed)
    train_in_ranks(tmp_path, "tests.encoder.test_encoder:train_in_parts")
    train_in_parts(tmp_path, "one", size=8)
    two, one = (weights(tmp_path / name / "encoder.pt")["model_state"] for name in ("two", "one"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-5, rtol=0)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
        for name in ("two", "one")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_embeddings_in_bf16_are_nearly_the_same(samples, tmp_path):
    path = tmp_path / "encoder.pt"
    torch.save({"model_state": published_state("encoder")}, path)
    files = sorted((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))[:3]
    wavs = [inference.preprocess_wav(file) for file in files]
    exact, fast = (inference.SpeakerEmbedder(path, "cpu", precision).embed_batch(wavs) for precision in ("fp32", "bf16"))
    cosines = (exact * fast).sum(axis=1)
    assert (cosines > 0.999).all() and (cosines < 1 - 1e-8).all()
