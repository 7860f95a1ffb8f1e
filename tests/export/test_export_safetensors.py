"""Models as safetensors files: exact, taken wherever a .pt is taken, and harmless when damaged or hostile."""

import json
import struct

import pytest
import safetensors.torch
import torch

from demo.judging import judges
from encoder.inference import SpeakerEmbedder
from synthesizer.inference import Synthesizer
from tests.published_state import published_state
from tests.vocoder_data import FORMAT, TINY
from utils.data.paths import sha256
from utils.errors import UserError
from utils.export import export, load
from utils.models import checkpoint, tensors_file
from utils.training.resume import StartingPoint
from vocoder.inference import Vocoder
from vocoder.model import WaveRNNConfig
from vocoder.published import own_content

FILE_FORMAT = "safetensors"


@pytest.mark.parametrize("stage", checkpoint.STAGES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_round_trip_is_exact(models, tmp_path, stage, precision):
    first = export({stage: models / f"{stage}.pt"}, tmp_path / "a", format="safetensors", precision=precision)
    back = export(first, tmp_path / "b", format="pt", precision=precision)
    again = export(back, tmp_path / "c", format="safetensors", precision=precision)
    assert first[stage].read_bytes() == again[stage].read_bytes()
    before, after = load(models / f"{stage}.pt", stage), load(first[stage], stage)
    assert {**before, "model_state": 0} == {**after, "model_state": 0}
    for name, value in before["model_state"].items():
        halved = precision == "fp16" and value.dim() > 1
        assert torch.equal(after["model_state"][name], value.half() if halved else value), name


@pytest.mark.parametrize("stage", ["encoder", "vocoder"])
def test_published_weights_are_converted(tmp_path, stage):
    torch.save(published_state(stage), tmp_path / "published.pt")
    written = export({stage: tmp_path / "published.pt"}, tmp_path / "out", format="safetensors", precision="fp32")
    before, after = load(tmp_path / "published.pt", stage), checkpoint.load(written[stage], stage)
    assert after["format"] == checkpoint.stage_format(stage) and after["model"] == before["model"]
    assert all(torch.equal(after["model_state"][name], value) for name, value in before["model_state"].items())


def test_a_folder_is_taken_where_a_file_is(models, exported):
    for kind in (SpeakerEmbedder, Synthesizer, Vocoder):
        given, taken = kind(models, "cpu"), kind(str(exported), "cpu")
        assert given.model.config == taken.model.config
        before, after = given.model.state_dict(), taken.model.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())
        if kind is not SpeakerEmbedder:
            assert taken.mel_format == FORMAT
    settings = json.loads((exported / "config.json").read_text())["files"]
    assert settings["vocoder.safetensors"]["model"]["rnn_dims"] == TINY["rnn_dims"]
    assert settings["synthesizer.safetensors"]["symbols"]
    assert (exported / "README.md").read_text().startswith("---\nlibrary_name: sv2tts")
    assert judges._own_encoder(judges.Options("", exported, cpu=True)).version == sha256(exported / "encoder.safetensors")[:16]
    start = StartingPoint("vocoder", exported / "run" / "vocoder.pt", exported, False, own_content)
    assert start.init_from()["file"] == "vocoder.safetensors"
    assert start.configure({}, WaveRNNConfig())[0] == WaveRNNConfig(**TINY, mode="MOL")


def test_addresses_and_folders_with_two_files_are_refused(models, exported, tmp_path):
    for address in ("hf://someone/voice", "https://example.com/vocoder.safetensors"):
        with pytest.raises(UserError, match="is an address, and nothing is fetched by itself"):
            Vocoder(address)
    for path in (models / "vocoder.pt", exported / "vocoder.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"holds both vocoder.safetensors and vocoder.pt; name one"):
        Vocoder(tmp_path)


def hostile_files(whole: bytes) -> dict[str, bytes]:
    n = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + n]), whole[8 + n :]
    name = next(name for name in header if name != "__metadata__")

    def packed(changed: dict) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + data

    def settings(text: str) -> bytes:
        return packed({**header, "__metadata__": {tensors_file.KEY: text}})

    entry = header[name]
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "longer": whole + b"more",
        "claims 1 GB of metadata": struct.pack("<Q", 10**9) + whole[8:],
        "claims 2^64 bytes": b"\xff" * 8 + whole[8:],
        "5 MB of metadata": packed({**header, "__metadata__": {"x": "y" * 5_000_000}}),
        "offsets outside": packed({**header, name: {**entry, "data_offsets": [0, 10**12]}}),
        "negative offsets": packed({**header, name: {**entry, "data_offsets": [-8, 8]}}),
        "offsets backwards": packed({**header, name: {**entry, "data_offsets": entry["data_offsets"][::-1]}}),
        "huge shape": packed({**header, name: {**entry, "shape": [2**40, 2**40]}}),
        "unknown dtype": packed({**header, name: {**entry, "dtype": "OBJECT"}}),
        "no settings": packed({key: value for key, value in header.items() if key != "__metadata__"}),
        "settings are no JSON": settings("{"),
        "settings nested": settings("[" * 100_000),
        "settings are a list": settings("[1]"),
        "settings replace the weights": settings(json.dumps({"model_state": {}})),
        "of another stage": settings(json.dumps({"format": "sv2tts-encoder-1"})),
        "foreign sizes": settings(
            json.dumps({"format": "sv2tts-vocoder-1", "step": 1, "model": {"rnn_dims": 10**9}, "mel": {}})
        ),
        "a pickle": b"\x80\x02" + whole,
    }


def test_what_is_read_is_what_the_library_reads_whatever_the_damage(tmp_path):
    """The library of safetensors is the judge; it writes, and reads what was changed at any place."""
    state = {
        "a": torch.arange(3.0),
        "b": torch.ones(2, 0),
        "c": torch.tensor([[True], [False]]),
        "d": torch.ones(1, dtype=torch.bfloat16),
    }
    whole, path = safetensors.torch.save(state, {tensors_file.KEY: "{}"}), tmp_path / "a.safetensors"
    n_read = 0
    for i in range(len(whole)):
        for mask in (1, 16):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ mask]) + whole[i + 1 :])
            try:
                found = tensors_file.read(path, "cpu")["model_state"]
            except ValueError:
                continue
            n_read += 1
            expected = safetensors.torch.load(path.read_bytes())
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert found[name].dtype == value.dtype and found[name].shape == value.shape
                assert found[name].contiguous().view(torch.uint8).tolist() == value.contiguous().view(torch.uint8).tolist()
    assert n_read > 30  # the numbers may be any


NAMES = list(hostile_files(tensors_file.serialized({"model_state": {"a": torch.zeros(2)}})))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_and_hostile_files_are_one_line(exported, tmp_path, name):
    path = tmp_path / "vocoder.safetensors"
    path.write_bytes(hostile_files((exported / "vocoder.safetensors").read_bytes())[name])
    with pytest.raises(UserError) as told:
        Vocoder(path, "cpu")
    assert str(told.value).startswith(f"{path}: ") and "\n" not in str(told.value)
