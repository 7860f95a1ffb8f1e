"""What the trainers share: device and ranks, precision, stepping, saving, resuming. Not a framework: each train.py writes out
its own loop."""

import contextlib
import dataclasses
import itertools
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from utils.boards.board import Board, NoBoard
from utils.data.paths import SynthesizerData, remove_leftovers, write_atomically
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.device import DTYPES, choose_dtype, join_ranks, rng_state, set_rng_state
from utils.training.freezing import freeze
from utils.training.resume import Further, StartingPoint
from utils.training.stepping import MAIN, Readback, Stepper, Trained
from utils.training.stopping import Patience, StopSignals

SKIPS_TO_GIVE_UP = 25  # updates in a row whose loss or gradient is not finite
GPU_PRECISION = {"vocoder": "fp16"}  # as fast as bf16 and nearer to fp32 with loss scaling (docs/gpu.md)
IN_A_ROW = "skipped_in_a_row"
BEST = "best"  # the backup of the lowest held-out loss
NOT_ON_BAR = ("steps_per_second", "data_seconds", "skipped_steps")  # the progress bar has a speed of its own


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The command line of a trainer; utils.cli.add_training_arguments explains each option."""

    run_id: str
    models_dir: Path = Path("saved_models")
    save_every: int = 500
    backup_every: int = 0
    eval_every: int = 500
    vis_every: int = 10
    max_steps: int | None = None
    force_restart: bool = False
    seed: int = 0
    precision: str = "auto"
    cpu: bool = False
    n_workers: int | None = None
    init_from: Path | None = None
    freeze: Sequence[str] | None = None
    fine_tune: bool = False
    patience: int = 0
    visdom: bool = False
    visdom_server: str = "http://localhost"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.run_id):
            raise UserError(
                f"run_id {self.run_id!r}: must be a name (letters, digits, '_', '-', '.'), not a path; "
                "choose the folder with --models_dir",
                exit_code=2,
            )


class Run:
    """One training run: `with Run("encoder", options) as run:`, `run.configure`, `run.start`, `for step in run.steps():`.

    A run trains one model, or several with an optimizer each, as a GAN does (see `start`).
    """

    def __init__(self, stage: str, options: RunOptions, own_content: Callable[[dict], dict] = lambda content: content) -> None:
        """own_content turns the content of any checkpoint, older or published elsewhere, into today's names and layout."""
        self.stage, self.options = stage, options
        self.rank, self.world_size, self.device = join_ranks(options.cpu)
        self.is_main = self.rank == 0
        self.dir = Path(options.models_dir) / options.run_id
        self.path, self._backups = self.dir / f"{stage}.pt", self.dir / "backups"
        self.n_workers = options.n_workers if options.n_workers is not None else (4 if self.device.type == "cuda" else 0)
        if self.is_main:
            remove_leftovers(self.dir, f"{stage}*")  # another stage may be training in the same folder
        self._start = StartingPoint(stage, self.path, options.init_from, options.force_restart, own_content)
        if self._start.ignored and self.is_main:
            print(f"{stage}: --init_from is ignored, as the run continues from {self.path}; -f starts it anew")
        self.step, self.seed = self._start.step_and_seed(options.seed)
        self.board: Board | NoBoard = NoBoard()
        self._readback = Readback()
        self._saved_step = self.step
        self._dtype = choose_dtype(options.precision, self.device, GPU_PRECISION.get(stage, "bf16"))
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._dtype == torch.float16)
        self._signals = StopSignals()
        self._patience = Patience(options.patience, options.eval_every, self._start.patience())
        torch.manual_seed(self.seed)  # for the model's initial weights, the same on every rank

    # ---- set-up

    def configure(
        self, overrides: dict[str, str], model_config: Any, *settings: Any, further: Further | None = None
    ) -> tuple[Any, ...]:
        """The model's configuration and the training settings; see StartingPoint. Prints what init_from gave."""
        chosen = self._start.configure(overrides, model_config, *settings, further=further)
        if self._start.taken and self.is_main:
            print(f"{self.stage}: {self._start.taken}")
        return chosen

    def start(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: Any,
        *settings: Any,
        mel: dict[str, Any] | None = None,
        symbols: str | None = None,
        embeds: SynthesizerData | None = None,
        average: dict[str, torch.Tensor] | None = None,
        further: Mapping[str, tuple[nn.Module, torch.optim.Optimizer]] | None = None,
        in_graphs: bool = False,
    ) -> nn.Module:
        """Load the run's checkpoint or the weights of init_from, if any; returns the module to call: `wrap(model)`.

        `embeds`: data with the speaker embeddings that the model is trained on. The checkpoint keeps what identifies their
        encoder, and a line warns if the weights were trained with another.
        Models must be on run.device already, and optimizers be fused (`fused=True`). `average`: a second state of the model,
        such as the moving average of its weights, that the trainer updates in place; it is saved as `average_state`.
        `further`: other models and their optimizers by name, such as a discriminator. They are saved and resumed too;
        `optimize(loss, ..., name=...)` trains one, and `wrap` gives the module to call.
        `in_graphs`: steps are recorded as CUDA graphs, which DistributedDataParallel does not allow; `optimize` does its work.
        """
        self._average = average
        self._trained = {MAIN: Trained(model, optimizer), **{name: Trained(*pair) for name, pair in (further or {}).items()}}
        self._stepper = Stepper(self._trained, self._scaler, self.world_size == 1, in_graphs and self.world_size > 1)
        self._content = {"model": dataclasses.asdict(config), "mel": mel, "symbols": symbols}
        self._content["training"] = {k: v for s in settings for k, v in dataclasses.asdict(s).items()}
        self._start.check_formats(self._content)
        if embeds:
            self._content["encoder_sha256"] = self._start.encoder_digests(embeds.encoder_digests)
            if self.is_main:
                self._start.warn_of_other_encoder(embeds.embeds_dir, embeds.encoder_digests)
        self._content["frozen"] = self._start.frozen(self.options.freeze)
        n_frozen = freeze(model, self._content["frozen"])
        if init_from := self._start.init_from():
            self._content["init_from"] = init_from
        self._stepper.skipped.fill_(self._start.load_into(self._trained, self._scaler, self.device, average))
        if self.is_main:
            if self.options.force_restart:  # only now, when nothing can be refused any more
                self._put_aside()
            server = self.options.visdom_server if self.options.visdom else None
            self.board = Board(self.dir, self.stage, server, self.options.vis_every, self.step)
            self._announce(n_frozen)
        return model if in_graphs else self.wrap(model)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module to call in training: with several ranks, one that averages gradients over them."""
        if self.world_size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def _announce(self, n_frozen: int) -> None:
        n_parameters = sum(p.numel() for model, _ in self._trained.values() for p in model.parameters())
        where = f"{self.device}" + (f" x {self.world_size} ranks" if self.world_size > 1 else "")
        init_from = self._content.get("init_from")
        how = f"starting from {init_from['file']}" if init_from else "starting"
        if self.step:
            how = f"resuming at step {self.step}"
        precision = next((name for name, dtype in DTYPES.items() if dtype == self._dtype), "fp32")
        parts = ", ".join(self._content["frozen"])
        frozen = f" ({n_frozen / 1e6:.2f} M frozen: {parts})" if parts else ""
        print(f"{self.stage}: {how} in {self.dir}; {n_parameters / 1e6:.2f} M parameters{frozen}, {precision} on {where}")
        parameters = {**self._content["model"], **self._content["training"], "seed": self.seed, "precision": precision}
        if parts:
            parameters["frozen"] = parts
        if init_from:
            parameters["init_from"] = f"{init_from['file']} at step {init_from['step']}"
        self.board.parameters(parameters)

    @property
    def starts_from_weights(self) -> bool:
        """Whether this is the first start of a run with init_from."""
        return self._start.from_weights

    # ---- the loop

    def steps(self) -> Iterator[int]:
        """Yield the numbers of the steps until max_steps or a signal; saves and backs up between them, and at the end."""
        last = self.options.max_steps if self.options.max_steps is not None else sys.maxsize
        if self.step >= last:
            print(f"{self.stage}: already trained to step {self.step}; raise --max_steps to go on")
        progress = {"desc": self.stage, "total": self.options.max_steps, "initial": self.step, "unit": "step"}
        progress["mininterval"] = 0.5 if sys.stderr.isatty() else 30  # seconds: log files should stay short
        with tqdm(**progress, disable=not self.is_main, dynamic_ncols=True, smoothing=0.05) as self._bar:
            self._logged = time.perf_counter()
            while self.step < last and not self._signals.any_rank_stops(self.world_size, self._patience.is_spent(self.step)):
                self.step += 1
                self._stepper.remember()
                if self.rank:  # dropout must differ between ranks, and the checkpoint holds the first rank's state only
                    torch.manual_seed(self.seed + self.rank + 1009 * self.step)
                yield self.step
                self._bar.update()
                self._save_if_due()
        if self._saved_step != self.step:
            self.save()
        if self.is_main and self._patience.is_spent(self.step):
            self._end_with_best()

    def autocast(self) -> contextlib.AbstractContextManager:
        """The precision of the forward pass and the loss: `with run.autocast():`."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self._dtype)

    def optimize(
        self,
        loss: torch.Tensor,
        clip: float,
        scale_gradients: Callable[[], None] | None = None,
        clipped_apart: Collection[nn.Parameter] = (),
        name: str = MAIN,
    ) -> torch.Tensor:
        """Backward, clip the gradient's norm at `clip`, step. Returns the norm before clipping (), nan if the step was skipped.

        A loss or gradient that is not finite changes nothing: the weights stay and the running statistics of all models are
        restored; many such updates in a row end the run. `scale_gradients` is called before clipping. `clipped_apart`: some of
        the model's parameters, clipped by the norm of their own gradient. `name`: which of the `further` models given to
        `start` is trained; the gradients that the loss leaves in the others are dropped.
        """
        return self._stepper.step(loss, clip, scale_gradients, clipped_apart, name)

    def abandon_step(self) -> None:
        """Make ready for another step, after one that was broken off by an error."""
        self._stepper.abandon()

    def log(self, **values: float | torch.Tensor) -> None:
        """The numbers of this step, floats or tensors of one number, for the progress bar, metrics.jsonl, and every few steps
        the dashboards. They are shown once they have arrived from the device, in order."""
        now = time.perf_counter()
        speed, self._logged = 1 / max(1e-9, now - self._logged), now
        counts = {"skipped_steps": self._stepper.skipped.clone(), IN_A_ROW: self._stepper.skipped_in_a_row.clone()}
        self._readback.put(self.step, {**values, "steps_per_second": speed, **counts})
        self._show()

    def _show(self, wait: bool = False) -> None:
        """Pass on the numbers that have arrived. Raises UserError after many skipped updates in a row."""
        for step, values in self._readback.take(wait):
            in_a_row = values.pop(IN_A_ROW)
            self.board.scalars(step, values)
            shown = {name: value for name, value in values.items() if name not in NOT_ON_BAR}
            if values["skipped_steps"]:
                shown["skipped_steps"] = values["skipped_steps"]
            self._bar.set_postfix(shown, refresh=False)
            if in_a_row >= SKIPS_TO_GIVE_UP:
                raise UserError(
                    f"step {step}: loss or gradient not finite {SKIPS_TO_GIVE_UP} times in a row; {self.path} holds step "
                    f"{self._saved_step}; lower the learning rate or look at the data"
                )

    def report(self, **values: float) -> None:
        """Numbers measured on held-out data: printed on a line, and sent to all dashboards."""
        values = {name: float(value) for name, value in values.items()}
        if self.is_main:
            tqdm.write(f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.board.scalars(self.step, values, force=True)

    def keep_best(self, held_out_loss: float | torch.Tensor) -> None:
        """With --patience: keep this step's checkpoint if the loss is the lowest so far."""
        if self._patience.is_lowest(self.step, float(held_out_loss)):
            self.save()
            self._back_up(BEST)

    def due(self, every: int) -> bool:
        """Whether this step is a multiple of `every`; 0 is never."""
        return every > 0 and self.step % every == 0

    @contextlib.contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Evaluation mode without gradients. Training goes on as if nothing had happened, random numbers included."""
        state = rng_state(self.device)
        modes = [(module, module.training) for module in model.modules()]  # frozen batch norms are in evaluation mode already
        model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            set_rng_state(state, self.device)

    # ---- saving

    def save(self) -> None:
        """Write the checkpoint, on the first rank."""
        self._show(wait=True)  # raises, rather than saves, after many skipped updates
        if self.is_main:
            states = {
                name: {"model_state": model.state_dict(), "optimizer_state": optimizer.state_dict()}
                for name, (model, optimizer) in self._trained.items()
            }
            content = {
                "format": checkpoint.stage_format(self.stage),
                "step": self.step,
                **self._content,
                **states.pop(MAIN),
                "patience": self._patience.state,
                "scaler_state": self._scaler.state_dict(),
                "sampler_state": {"seed": self.seed, "skipped": int(self._stepper.skipped)},
                "rng_state": rng_state(self.device),
            }
            if self._average is not None:
                content["average_state"] = self._average
            if states:
                content["further"] = states
            checkpoint.save(self.path, content)
        self._saved_step = self.step

    def _save_if_due(self) -> None:
        backup = self.due(self.options.backup_every)
        if backup or self.due(self.options.save_every):
            self.save()
        if backup and self.is_main:
            self._back_up(f"{self.step:07d}")

    def _back_up(self, name: str) -> None:
        with write_atomically(self._backups / f"{self.stage}-{name}.pt") as temporary:
            shutil.copyfile(self.path, temporary)

    def _end_with_best(self) -> None:
        best = self._patience.state
        with write_atomically(self.path) as temporary:
            shutil.copyfile(self._backups / f"{self.stage}-{BEST}.pt", temporary)
        print(
            f"{self.stage}: the held-out loss has not fallen since step {best['step']} ({best['loss']:.4g}); {self.path} is of "
            "that step"
        )

    def _put_aside(self) -> None:
        """Rename what a new start would overwrite, and copy the curves, as other stages of the run add to their file."""
        for path in (self.path, *self._backups.glob(f"{self.stage}-{'[0-9]' * 7}.pt")):
            if path.exists():
                print(f"{path} is kept as {path.rename(_free_name(path))}")
        metrics = self.dir / "metrics.jsonl"
        if metrics.exists():
            shutil.copyfile(metrics, _free_name(metrics))

    # ---- leaving

    def __enter__(self) -> "Run":
        self._signals.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._signals.__exit__()
        self.board.close()
        received = self._signals.received
        if kind is None and received:
            if self.is_main:
                saved = f"stopped by {received.name} at step {self.step}, saved to {self.path}"
                print(f"{self.stage}: {saved}; the same command continues")
            sys.exit(128 + received)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.before-restart-{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
