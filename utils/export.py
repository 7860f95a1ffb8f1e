"""`python -m utils.export`: small files of trained models to give away, without optimizer and in half precision."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import cli
from utils.config import DEFAULT_MODELS, from_here
from utils.errors import UserError

if TYPE_CHECKING:
    import torch

KEPT = ("format", "step", "model", "mel", "symbols", "training", "encoder_sha256", "init_from")  # besides the weights
LIMIT = 80  # MB, 10^6 bytes


def export(paths: dict[str, Path], out_dir: Path, limit: float = LIMIT) -> dict[str, Path]:
    """Write `<stage>.pt` into out_dir for each {stage: checkpoint}; returns their paths.

    Raises UserError, and writes nothing, if a weight is not finite or too large for half precision, if synthesizer and vocoder
    differ in their mel format, or if the files would take more than `limit` MB together.
    """
    from utils.data.paths import write_atomically
    from utils.models import checkpoint

    written = {stage: Path(out_dir) / f"{stage}.pt" for stage in paths}
    contents = {stage: checkpoint.load(path, stage) for stage, path in paths.items()}
    for stage, path in written.items():
        if path.exists() and path.samefile(paths[stage]):
            raise UserError(
                f"{path}: would be replaced by its own export, and its run could not resume; name another --out_dir"
            )
    _check_pair(paths, contents)
    files = {stage: _serialized(exported(content, paths[stage])) for stage, content in contents.items()}
    if (megabytes := sum(map(len, files.values())) / 1e6) > limit:
        raise UserError(
            f"{', '.join(map(str, paths.values()))}: {megabytes:.1f} MB in half precision, over the limit of {limit:g} MB; "
            "train smaller models, or raise --limit"
        )
    for stage, path in written.items():
        with write_atomically(path) as temporary:
            temporary.write_bytes(files[stage])
    return written


def exported(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """A checkpoint's content without the training state, its weights (averaged, if there is an average) in half precision.

    It loads like any other checkpoint, as fp32. Raises UserError for a weight too large for half precision; `path` is for its
    message.
    """
    from utils.models import checkpoint

    weights = checkpoint.averaged(content)["model_state"]
    halved = {name: _halved(path, name, value) for name, value in weights.items()}
    return {name: content[name] for name in KEPT if name in content} | {"model_state": halved}


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


def _check_pair(paths: dict[str, Path], contents: dict[str, dict[str, Any]]) -> None:
    """UserError if both a synthesizer and a vocoder are given and their mel formats differ."""
    makes, reads = (contents[stage]["mel"] if stage in contents else None for stage in ("synthesizer", "vocoder"))
    if makes and reads and makes != reads:
        raise UserError(
            f"{paths['vocoder']}: reads other mels than {paths['synthesizer']} makes; export models trained on the same "
            f"format. vocoder: {reads}; synthesizer: {makes}"
        )


def _serialized(content: dict[str, Any]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def main() -> None:
    parser = cli.parser(
        "Make small files of trained models to give away: weights in half precision, model settings, mel format and symbols, "
        "without the training state. They work wherever a model is asked for, --init_from included, but a run cannot resume "
        "from them."
    )
    parser.prog = "python -m utils.export"
    stages = ("encoder", "synthesizer", "vocoder")
    for stage in stages:
        parser.add_argument(f"-{stage[0]}", f"--{stage}", type=Path, metavar="FILE", help=f"{stage}.pt of a run")
    out_help = "folder to write encoder.pt, synthesizer.pt and vocoder.pt into; existing files are replaced"
    parser.add_argument("-o", "--out_dir", type=Path, default=from_here(DEFAULT_MODELS), metavar="DIR", help=out_help)
    limit_help = "largest size of all files together, in millions of bytes; if exceeded, nothing is written"
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="MB", help=limit_help)
    args = parser.parse_args()
    paths = {stage: path for stage in stages if (path := getattr(args, stage))}
    if not paths:
        parser.error("name at least one model: -e, -s or -v")
    for stage, path in export(paths, args.out_dir, args.limit).items():
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, from {paths[stage]} ({paths[stage].stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
