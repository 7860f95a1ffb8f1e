"""`python -m utils.export`: trained models to give away, as small files that anyone can load safely."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.config import rebuilt
from utils.data.mel_format import MelFormat
from utils.errors import UserError

if TYPE_CHECKING:
    import torch

KEPT = ("format", "step", "model", "mel", "symbols", "training", "encoder_sha256", "init_from")  # besides the weights
FORMATS = ("safetensors", "pt", "onnx")
PRECISIONS = ("fp16", "fp32", "int8")

GRAPHS = {
    "encoder": ("encoder",),
    "synthesizer": ("synthesizer_text", "synthesizer_decoder", "synthesizer_postnet"),
    "vocoder": ("vocoder_conditioning", "vocoder_sampling"),
}


def export(
    paths: dict[str, Path],
    out_dir: Path,
    limit: float | None = None,
    format: str = "safetensors",
    precision: str = "fp16",
    replace: bool = False,
    card: Path | None = None,
) -> dict[str, Path]:
    """Write the model of each {stage: checkpoint} into out_dir, with config.json and a card -> {name: file}.

    A name is a stage, or for "onnx" one of its GRAPHS.
    Checkpoints published elsewhere become this project's. Raises UserError, and writes nothing, if a weight is not finite or
    too large for half precision, if synthesizer and vocoder differ in their mel format, if the files would take more than
    `limit` MB (10^6 bytes) together, or, without `replace`, if one of them exists or config.json is not one of an export.
    Models in another format that are in out_dir stay, and stay listed.
    """
    from utils.data.paths import write_atomically
    from utils.export.card import listed, write_card
    from utils.models.checkpoint import SUFFIXES, model_file

    paths = {stage: model_file(Path(path), stage) for stage, path in paths.items()}
    if precision == "int8" and format != "onnx":
        raise UserError("--precision int8: is for --format onnx alone", exit_code=2)
    contents = {stage: load(path, stage) for stage, path in paths.items()}
    names, folder = GRAPHS if format == "onnx" else {stage: (stage,) for stage in paths}, Path(out_dir)
    written = {name: folder / f"{name}.{format}" for stage in paths for name in names[stage]}
    same = {
        folder / f"{stage}{suffix}" for stage in paths for suffix in SUFFIXES if format != "onnx"
    }  # a folder has one of them
    _check_free({*written.values(), *same}, paths.values(), replace)
    earlier = {name: each for name, each in listed(folder, replace).items() if folder / name not in same}
    _check_pair(paths, contents)
    files: dict[str, bytes] = {}
    for stage, path in paths.items():
        files |= _files(stage, contents[stage], path, format, precision)
    if limit is not None and (megabytes := sum(map(len, files.values())) / 1e6) > limit:
        raise UserError(
            f"{', '.join(map(str, paths.values()))}: {megabytes:.1f} MB in {precision}, over the limit of {limit:g} MB; "
            "train smaller models, or raise --limit"
        )
    for name, path in written.items():
        with write_atomically(path) as temporary:
            temporary.write_bytes(files[name])
    for path in same - {*written.values()}:
        path.unlink(missing_ok=True)
    write_card(folder, earlier, written, contents, card, precision)
    return written


def load(path: Path, stage: str) -> dict[str, Any]:
    """The content of any checkpoint, of this project or published elsewhere, as this project writes it today."""
    from encoder.published import own_content as own_encoder
    from synthesizer.published import own_content as own_synthesizer
    from utils.models import checkpoint
    from vocoder.published import own_content as own_vocoder

    convert = {"encoder": own_encoder, "synthesizer": own_synthesizer, "vocoder": own_vocoder}[stage]
    content = checkpoint.load(path, stage, published=True)
    with checkpoint.restoring(path, stage):
        return {"format": checkpoint.stage_format(stage), **convert(content)}


def exported(content: dict[str, Any], path: Path, halve: bool = True) -> dict[str, Any]:
    """A checkpoint's content without the training state, its weights (averaged, if there is an average) in half precision.

    It loads like any other checkpoint, as fp32. Raises UserError for a weight too large for half precision; `path` is for its
    message.
    """
    from utils.models import checkpoint

    weights = checkpoint.averaged(content)["model_state"]
    weights = {name: _halved(path, name, value) if halve else value.clone() for name, value in weights.items()}
    return {name: content[name] for name in KEPT if name in content} | {"model_state": weights}


def _halved(path: Path, name: str, value: "torch.Tensor") -> "torch.Tensor":
    """Matrices and kernels in fp16. Vectors stay in fp32: they are small, and running variances may exceed fp16's range."""
    if not value.is_floating_point() or value.dim() < 2:
        return value.clone()
    half = value.half()
    if not bool(half.isfinite().all()):
        raise UserError(
            f"{path}: {name} holds a weight of {value.abs().max():.3g}, and half precision ends at 65504; its training went "
            "wrong, use a backup"
        )
    return half


def _check_free(files: Iterable[Path], sources: Iterable[Path], replace: bool) -> None:
    """UserError if an export would replace a model, or would lie beside one of the same name."""
    for path in filter(Path.exists, sorted(files)):
        if any(path.samefile(source) for source in sources):
            raise UserError(f"{path}: would be replaced by its own export, and its run could not resume; name another folder")
        if not replace:
            raise UserError(f"{path}: is there already; name another folder, or pass --replace")


def _check_pair(paths: dict[str, Path], contents: dict[str, dict[str, Any]]) -> None:
    """UserError if both a synthesizer and a vocoder are given and their mel formats differ."""
    formats = (rebuilt(MelFormat, contents[stage]["mel"]) for stage in ("synthesizer", "vocoder") if stage in contents)
    makes, reads = (*formats, None, None)[:2]
    if reads and makes != reads:
        raise UserError(
            f"{paths['vocoder']}: reads other mels than {paths['synthesizer']} makes; export models trained on the same "
            f"format. vocoder: {reads.unlike(makes)}; synthesizer: {makes.unlike(reads)}"
        )


def _files(stage: str, content: dict[str, Any], path: Path, format: str, precision: str) -> dict[str, bytes]:
    """What the files of a model will hold."""
    content = exported(content, path, halve=precision != "fp32")
    if format == "onnx":
        try:
            from utils.export.onnx_models import serialized_graphs

            return serialized_graphs(stage, content, path, precision)
        except ImportError as error:
            raise UserError(f"--format onnx needs {error.name}: pip install -r requirements-onnx.txt") from error
    if format == "safetensors":
        from utils.models import tensors_file

        return {stage: tensors_file.serialized(content)}
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return {stage: buffer.getvalue()}
