"""What is the same for the three trainers: device and ranks, precision, stepping, saving, resuming. Not a framework: each
train.py writes its own loop."""

import contextlib
import dataclasses
import itertools
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from utils import checkpoint
from utils.board import Board, NoBoard
from utils.cli import UserError, override
from utils.device import DTYPES, choose_dtype, computes_bf16, join_ranks, rng_state, set_rng_state
from utils.paths import remove_leftovers, write_atomically
from utils.stepping import Readback, Stepper

SKIPS_TO_GIVE_UP = 25  # steps in a row whose loss or gradient is not finite
IN_A_ROW = "skipped_in_a_row"
HIDDEN = ("steps_per_second", "data_seconds", "skipped_steps")  # of the progress bar, which shows the speed itself


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The command line of a trainer; utils.cli.add_training_arguments documents each."""

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
    visdom: bool = False
    visdom_server: str = "http://localhost"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.run_id):
            raise UserError(
                f"run_id {self.run_id!r}: is a name, not a path (letters, digits, '_', '-', '.'); "
                "choose the folder with --models_dir",
                exit_code=2,
            )


class Run:
    """One training run: `with Run("encoder", options) as run:`, `run.configure`, `run.start`, `for step in run.steps():`."""

    def __init__(self, stage: str, options: RunOptions, own_content: Callable[[dict], dict] = lambda content: content) -> None:
        """own_content(content of a published file) -> what a checkpoint of this project would hold, for init_from."""
        self.stage, self.options = stage, options
        self.rank, self.world_size, self.device = join_ranks(options.cpu)
        self.is_main = self.rank == 0
        self.dir = Path(options.models_dir) / options.run_id
        self.path, self._backups = self.dir / f"{stage}.pt", self.dir / "backups"
        self.n_workers = options.n_workers if options.n_workers is not None else (4 if self.device.type == "cuda" else 0)
        if self.is_main:
            remove_leftovers(self.dir, f"{stage}*")  # of other stages there may be a run now
        is_resumed = self.path.exists() and not options.force_restart
        self.checkpoint = checkpoint.load(self.path, stage) if is_resumed else None
        self.initial = self._load_initial(own_content) if options.init_from else None
        self.step, self.seed = 0, options.seed
        if self.checkpoint:
            with checkpoint.restoring(self.path, stage):
                self.step, self.seed = self.checkpoint["step"], self.checkpoint["sampler_state"]["seed"]
        self.board: Board | NoBoard = NoBoard()
        self._readback = Readback()
        self._saved_step = self.step
        self._dtype = choose_dtype(options.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._dtype == torch.float16)
        self._received: signal.Signals | None = None
        self._old_handlers: dict[signal.Signals, Any] = {}
        torch.manual_seed(self.seed)  # for the model's initial weights, the same on every rank

    # ---- set-up

    def configure(self, overrides: dict[str, str], model_config: Any, *settings: Any) -> tuple[Any, ...]:
        """The model's configuration and the training settings, after --hparams and what the checkpoint says.

        A resumed run keeps its own unless told otherwise, one that starts from other weights takes their model. Raises
        UserError when --hparams contradicts the model of the file.
        """
        path, saved = (self.options.init_from, self.initial) if self.initial else (self.path, self.checkpoint)
        if saved:
            with checkpoint.restoring(path, self.stage):
                model_config = type(model_config)(**saved["model"])
                if self.checkpoint:
                    settings = tuple(_with_values(s, saved["training"]) for s in settings)
        chosen = override(overrides, model_config, *settings)
        if saved and chosen[0] != model_config:
            old, new = dataclasses.asdict(model_config), dataclasses.asdict(chosen[0])
            differing = ", ".join(f"{name} is {old[name]}, asked for {new[name]}" for name in old if old[name] != new[name])
            remedy = "leave that out, or take another file" if self.initial else "choose another run_id, or pass -f"
            raise UserError(f"{path}: was trained with another model ({differing}); {remedy}")
        return chosen

    def start(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: Any,
        *settings: Any,
        mel: dict[str, Any] | None = None,
        symbols: str | None = None,
    ) -> nn.Module:
        """Load what the checkpoint holds, or the weights of init_from, or start afresh; returns the module to call (wrapped if
        there are several ranks).

        The model must be on run.device already, and the optimizer be a fused one (see Stepper).
        """
        self.model, self.optimizer = model, optimizer
        self._stepper = Stepper(model, optimizer, self._scaler, loss_is_alike=self.world_size == 1)
        self._content = {"model": dataclasses.asdict(config), "mel": mel, "symbols": symbols}
        self._content["training"] = {k: v for s in settings for k, v in dataclasses.asdict(s).items()}
        if self.checkpoint:
            self._restore(self.checkpoint)
        elif self.initial:
            self._initialize(self.options.init_from, self.initial)
        if self.is_main:
            if self.options.force_restart:  # only now, when nothing is left that the user might have mistaken
                self._put_aside()
            server = self.options.visdom_server if self.options.visdom else None
            self.board = Board(self.dir, self.stage, server, self.options.vis_every, self.step)
            self._announce()
        if self.world_size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def _load_initial(self, own_content: Callable[[dict], dict]) -> dict[str, Any] | None:
        """The content of init_from; None for a resumed run, which has weights of its own."""
        path = Path(self.options.init_from)
        if self.checkpoint:
            if self.is_main:
                print(f"{self.stage}: --init_from is ignored, as the run continues from {self.path}; -f starts it anew")
            return None
        content = checkpoint.load(path, self.stage, published=True)
        with checkpoint.restoring(path, self.stage):
            return own_content(content)

    def _initialize(self, path: Path, initial: dict[str, Any]) -> None:
        """Take the weights alone: the optimizer and the step are new."""
        self._check_formats(path, initial)
        with checkpoint.restoring(path, self.stage):
            self.model.load_state_dict(initial["model_state"])
            origin = {"file": Path(path).name, "sha256": checkpoint.sha256(path), "step": int(initial["step"])}
        self._content["init_from"] = origin
        self.initial = None  # its memory is not needed any more

    def _check_formats(self, path: Path, saved: dict[str, Any]) -> None:
        for name in ("mel", "symbols"):
            if saved.get(name) != self._content[name]:
                raise UserError(f"{path}: was trained on another {name} format ({saved.get(name)}) than this data's "
                                f"({self._content[name]}); choose another run_id or file, or preprocess again")  # fmt: skip

    def _restore(self, saved: dict[str, Any]) -> None:
        self._check_formats(self.path, saved)
        if "init_from" in saved:
            self._content["init_from"] = saved["init_from"]
        with checkpoint.restoring(self.path, self.stage):
            self.model.load_state_dict(saved["model_state"])
            self.optimizer.load_state_dict(saved["optimizer_state"])
            for group in self.optimizer.param_groups:
                group["fused"] = True  # whatever it was saved as
            if saved["scaler_state"]:  # there is none of a run that was not in fp16 before
                self._scaler.load_state_dict(saved["scaler_state"])
            self._stepper.skipped.fill_(saved["sampler_state"]["skipped"])
            set_rng_state(saved["rng_state"], self.device)
        self.checkpoint = None  # its memory is not needed any more

    def _announce(self) -> None:
        n_parameters = sum(p.numel() for p in self.model.parameters())
        where = f"{self.device}" + (f" x {self.world_size} ranks" if self.world_size > 1 else "")
        origin = self._content.get("init_from")
        how = f"resuming at step {self.step}" if self.step else f"starting from {origin['file']}" if origin else "starting"
        precision = next((name for name, dtype in DTYPES.items() if dtype == self._dtype), "fp32")
        hint = (
            " (--precision bf16 is faster here)"
            if where == "cpu" and precision == "fp32" and computes_bf16(self.device)
            else ""
        )
        print(f"{self.stage}: {how} in {self.dir}; {n_parameters / 1e6:.2f} M parameters, {precision} on {where}{hint}")
        parameters = {**self._content["model"], **self._content["training"], "seed": self.seed, "precision": precision}
        if origin:
            parameters["init_from"] = f"{origin['file']} at step {origin['step']}"
        self.board.parameters(parameters)

    # ---- the loop

    def steps(self) -> Iterator[int]:
        """Yield the next step until max_steps or a signal; saves and backs up between them, and at the end."""
        last = self.options.max_steps if self.options.max_steps is not None else sys.maxsize
        if self.step >= last:
            print(f"{self.stage}: step {self.step} is reached already; raise --max_steps to train on")
        total = self.options.max_steps
        interval = 0.5 if sys.stderr.isatty() else 30  # seconds; a log file is not flooded
        with tqdm(
            desc=self.stage, total=total, initial=self.step, unit="step", disable=not self.is_main, mininterval=interval,
            dynamic_ncols=True, smoothing=0.05,
        ) as self._bar:  # fmt: skip
            self._logged = time.perf_counter()
            while self.step < last and not self._must_stop():
                self.step += 1
                self._stepper.remember()
                if self.rank:  # dropout differs between ranks; the checkpoint holds the random numbers of the first alone
                    torch.manual_seed(self.seed + self.rank + 1009 * self.step)
                yield self.step
                self._bar.update()
                self._save_if_due()
        if self._saved_step != self.step:
            self.save()

    def autocast(self) -> contextlib.AbstractContextManager:
        """The forward pass and the loss belong inside."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self._dtype)

    def optimize(
        self,
        loss: torch.Tensor,
        clip: float,
        scale_gradients: Callable[[], None] | None = None,
        clipped_apart: Collection[nn.Parameter] = (),
    ) -> torch.Tensor:
        """Backward, clip the gradient's norm at `clip`, step. Returns the norm before clipping (), nan if the step was skipped.

        A loss or gradient that is not finite changes nothing: weights stay, running statistics are put back; many in a row
        end the run. `scale_gradients` runs before clipping. The gradient of `clipped_apart`, some of the model's parameters,
        has a norm of its own, so that it does not make the others' smaller.
        """
        return self._stepper.step(loss, clip, scale_gradients, clipped_apart)

    def log(self, **values: float | torch.Tensor) -> None:
        """The numbers of this step, each a float or a tensor of one: for progress bar, metrics.jsonl, and every n-th time the
        dashboards. Shown when they have arrived from the device, in order."""
        now = time.perf_counter()
        speed, self._logged = 1 / max(1e-9, now - self._logged), now
        counts = {"skipped_steps": self._stepper.skipped.clone(), IN_A_ROW: self._stepper.skipped_in_a_row.clone()}
        self._readback.put(self.step, {**values, "steps_per_second": speed, **counts})
        self._show()

    def _show(self, all_of_them: bool = False) -> None:
        """Pass on what has arrived. UserError after many skipped steps in a row."""
        for step, values in self._readback.take(all_of_them):
            in_a_row = values.pop(IN_A_ROW)
            self.board.scalars(step, values)
            shown = {name: value for name, value in values.items() if name not in HIDDEN or (value and name == "skipped_steps")}
            self._bar.set_postfix(shown, refresh=False)
            if in_a_row >= SKIPS_TO_GIVE_UP:
                raise UserError(f"step {step}: loss or gradient not finite for {SKIPS_TO_GIVE_UP} steps in a row; {self.path} "
                                f"holds step {self._saved_step}; lower the learning rate or look at the data")  # fmt: skip

    def report(self, **values: float) -> None:
        """Numbers measured on held-out data: printed on a line of their own, and sent everywhere at once."""
        values = {name: float(value) for name, value in values.items()}
        if self.is_main:
            tqdm.write(f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.board.scalars(self.step, values, force=True)

    def due(self, every: int) -> bool:
        """Whether this step is a multiple of `every`; 0 is never."""
        return every > 0 and self.step % every == 0

    @contextlib.contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Evaluation mode without gradients; leaves no trace in training: the random numbers go on where they were."""
        state = rng_state(self.device)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            model.train(was_training)
            set_rng_state(state, self.device)

    # ---- saving

    def save(self) -> None:
        """Write the checkpoint, if this rank is the one that writes."""
        self._show(all_of_them=True)  # it raises where the steps since then were good for nothing
        if self.is_main:
            content = {
                "format": checkpoint.stage_format(self.stage),
                "step": self.step,
                **self._content,
                "model_state": self.model.state_dict(),
                "optimizer_state": self.optimizer.state_dict(),
                "scaler_state": self._scaler.state_dict(),
                "sampler_state": {"seed": self.seed, "skipped": int(self._stepper.skipped)},
                "rng_state": rng_state(self.device),
            }
            checkpoint.save(self.path, content)
        self._saved_step = self.step

    def _save_if_due(self) -> None:
        backup = self.due(self.options.backup_every)
        if backup or self.due(self.options.save_every):
            self.save()
        if backup and self.is_main:
            with write_atomically(self._backups / f"{self.stage}-{self.step:07d}.pt") as temporary:
                shutil.copyfile(self.path, temporary)

    def _put_aside(self) -> None:
        """Rename what a new start would overwrite, and copy the curves, to which other stages of the run go on adding."""
        for path in (self.path, *self._backups.glob(f"{self.stage}-{'[0-9]' * 7}.pt")):
            if path.exists():
                print(f"{path} is kept as {path.rename(_free_name(path))}")
        metrics = self.dir / "metrics.jsonl"
        if metrics.exists():
            shutil.copyfile(metrics, _free_name(metrics))

    # ---- leaving

    def __enter__(self) -> "Run":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old_handlers[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: Any) -> None:
        self._received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)  # a second one does not wait for the step to end

    def _must_stop(self) -> bool:
        """Whether any rank was told to stop; all leave after the same step. Asked on the CPU, so that no rank waits for its GPU."""
        if self.world_size == 1:
            return self._received is not None
        flag = torch.tensor(float(self._received is not None))
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self.board.close()
        if self.world_size > 1:
            torch.distributed.destroy_process_group()
        if kind is None and self._received:
            if self.is_main:
                print(f"{self.stage}: stopped by {self._received.name} at step {self.step}, saved to {self.path}; "
                      "the same command continues")  # fmt: skip
            sys.exit(128 + self._received)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.before-restart-{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def _with_values(settings: Any, values: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{name: value for name, value in values.items() if name in names})
