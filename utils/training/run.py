"""What the trainers share: device and ranks, precision, stepping, saving, resuming. Not a framework: each train.py writes out
its own loop."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset
from tqdm import tqdm

from utils import garbage
from utils.boards.board import SECONDS_AFTER_SIGNAL, SECONDS_TO_DRAIN, Board, NoBoard
from utils.data.lock import only_writer
from utils.data.paths import SynthesizerData
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.device import DTYPES, choose_dtype, evaluating, join_ranks, rng_state
from utils.report_lines import say_once
from utils.training.batching import Feed, batches, prepare_workers
from utils.training.freezing import freeze
from utils.training.health import TO_GIVE_UP, Rule
from utils.training.options import RunOptions
from utils.training.peers import NoPeers, Peers, continuing, digest, has_launcher
from utils.training.ranks import mean_over_ranks
from utils.training.resume import Further, StartingPoint
from utils.training.saving import Saving, is_due
from utils.training.stepping import MAIN, Readback, Stepper, Trained
from utils.training.stopping import Patience, StopSignals

IN_A_ROW = "skipped_in_a_row"
NOT_ON_BAR = ("steps_per_second", "data_seconds", "skipped_steps")  # the progress bar has a speed of its own


class Run:
    """One training run: `with Run("encoder", options) as run:`, `run.configure`, `run.start`, `for step in run.steps():`.

    A run trains one model, or several with an optimizer each, as a GAN does (see `start`).
    """

    def __init__(self, stage: str, options: RunOptions, own_content: Callable[[dict], dict] = lambda content: content) -> None:
        """own_content turns the content of any checkpoint, older or published elsewhere, into today's names and layout."""
        self.stage, self.options = stage, options
        self.rank, self.world_size, self.device = join_ranks(options.cpu, options.rank_timeout)
        self.is_main = self.rank == 0
        self._peers = Peers(self.rank, self.world_size) if self.world_size > 1 else NoPeers(self.rank)
        self.dir = Path(options.models_dir) / options.run_id
        self.path = self.dir / f"{stage}.pt"
        self.n_workers = options.n_workers if options.n_workers is not None else (4 if self.device.type == "cuda" else 0)
        if self.n_workers:
            prepare_workers(stage)
        with contextlib.ExitStack() as leaving:
            if self.is_main:
                leaving.enter_context(only_writer(self.dir, stage))
            self._start = StartingPoint(stage, self.path, options.init_from, options.force_restart, own_content)
            self.step, self.seed = self._start.step_and_seed(options.seed)
            if self._start.ignored:
                say_once(f"{stage}: --init_from is ignored, as the run continues from {self.path}; -f starts it anew")
            self._saving = Saving(self.dir, stage, self.step, options, self._peers)
            self.board: Board | NoBoard = NoBoard()
            self._readback = Readback()
            self._told: set[str] = set()
            self._dtype = choose_dtype(options.precision, self.device)
            self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._dtype == torch.float16)
            self._signals = StopSignals(has_launcher())
            self._patience = Patience(options.patience, options.eval_every, self._start.patience())
            torch.manual_seed(self.seed)  # for the model's initial weights, the same on every rank
            self._leaving = leaving.pop_all()

    # ---- set-up

    def configure(
        self, overrides: dict[str, str], model_config: Any, *settings: Any, further: Further | None = None
    ) -> tuple[Any, ...]:
        """The model's configuration and the training settings; see StartingPoint. Prints what init_from gave."""
        chosen = self._start.configure(overrides, model_config, *settings, further=further)
        if self._start.taken:
            say_once(f"{self.stage}: {self._start.taken}")
        return chosen

    def adapt_start(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change the content of the file whose weights a run starts from; see starts_from_weights."""
        self._start.adapt(change)

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
        data: Iterable[Any] = (),
        in_use: Mapping[str, Any] | None = None,
        rules: Mapping[str, Rule] | None = None,
    ) -> nn.Module:
        """Load the run's checkpoint or the weights of init_from, if any; returns the module to call: `wrap(model)`.

        `data`: what the model is trained on, such as the rows of train.txt, which all ranks must have the same of.

        `embeds`: data with the speaker embeddings that the model is trained on. The checkpoint keeps what identifies their
        encoder, and a line warns if the weights were trained with another.
        Models must be on run.device already, and optimizers be fused (`fused=True`). `average`: a second state of the model,
        such as the moving average of its weights, that the trainer updates in place; it is saved as `average_state`.
        `further`: other models and their optimizers by name, such as a discriminator. They are saved and resumed too;
        `optimize(loss, ..., name=...)` trains one, and `wrap` gives the module to call.
        `in_graphs`: steps are recorded as CUDA graphs, which DistributedDataParallel does not allow; `optimize` does its work.
        `in_use`: settings that dashboards show otherwise than the checkpoint keeps them, as this data or device allows no more.
        `rules`: what tells, by name, that the training goes wrong.
        """
        self._average, self._rules = average, rules or {}
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
        self._stepper.skipped.fill_(self._start.load_into(self._trained, self._scaler, self.device, average, self._rules))
        self._saving.start(self._models, self._state, self.tell)
        self._peers.compare(lambda: self._start_of_rank(data))
        if self.is_main:
            if self.options.force_restart:  # only now, when nothing can be refused any more
                self._saving.files.put_aside()
            server = self.options.visdom_server if self.options.visdom else None
            self.board = Board(self.dir, self.stage, server, self.options.vis_every, self.step)
            self._announce(n_frozen, in_use or {})
        return model if in_graphs else self.wrap(model)

    @property
    def _models(self) -> list[nn.Module]:
        return [model for model, _ in self._trained.values()]

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
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
            "rules": {name: rule.state for name, rule in self._rules.items()},
            "scaler_state": self._scaler.state_dict(),
            "sampler_state": {"seed": self.seed, "skipped": int(self._stepper.skipped)},
            "rng_state": rng_state(self.device),
        }
        if self._average is not None:
            content["average_state"] = self._average
        return content | ({"further": states} if states else {})

    def _start_of_rank(self, data: Iterable[Any]) -> dict[str, Any]:
        """What must be the same on all ranks, under the names that a message shows."""
        cadence = ("max_steps", "save_every", "backup_every", "eval_every", "precision")
        options = {name: getattr(self.options, name) for name in cadence}
        settings = self._content["model"] | self._content["training"] | options
        digests = {"data (digest)": digest({}, data), "model (digest)": digest(self._state())}
        return {"step": self.step, "seed": self.seed, "frozen parts": self._content["frozen"], **settings, **digests}

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module to call in training: with several ranks, one that averages gradients over them."""
        if self.world_size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def _announce(self, n_frozen: int, in_use: Mapping[str, Any]) -> None:
        """Whether the run begins or goes on, where, and the model's size; and the table that dashboards show."""
        content, init_from, frozen = self._content, self._content.get("init_from"), ", ".join(self._content["frozen"])
        how = f"starting from {init_from['file']}" if init_from else "starting"
        how = f"resuming at step {self.step}" if self.step else how
        n_parameters = sum(p.numel() for model in self._models for p in model.parameters())
        still = f" ({n_frozen / 1e6:.2f} M frozen: {frozen})" if frozen else ""
        where = f"{self.device}" + (f" x {self.world_size} ranks" if self.world_size > 1 else "")
        precision = next((name for name, dtype in DTYPES.items() if dtype == self._dtype), "fp32")
        print(f"{self.stage}: {how} in {self.dir}; {n_parameters / 1e6:.2f} M parameters{still}, {precision} on {where}")
        table = {**content["model"], **content["training"], **in_use, "seed": self.seed, "precision": precision}
        table |= {"frozen": frozen} if frozen else {}
        table |= {"init_from": f"{init_from['file']} at step {init_from['step']}"} if init_from else {}
        self.board.parameters(table)

    @property
    def starts_from_weights(self) -> bool:
        """Whether this is the first start of a run with init_from."""
        return self._start.from_weights

    @property
    def held(self) -> str:
        """What the checkpoint holds, in words."""
        return self._saving.held()

    # ---- the loop

    def steps(self) -> Iterator[int]:
        """Yield the numbers of the steps until max_steps or a signal; saves and backs up between them, and at the end."""
        garbage.look_as_usual()
        last = self.options.max_steps if self.options.max_steps is not None else sys.maxsize
        if self.step >= last:
            say_once(f"{self.stage}: already trained to step {self.step}; raise --max_steps to go on")
        progress = {"desc": self.stage, "total": self.options.max_steps, "initial": self.step, "unit": "step"}
        progress["mininterval"] = 0.5 if sys.stderr.isatty() else 30  # seconds: log files should stay short
        with tqdm(**progress, disable=not self.is_main, dynamic_ncols=True, smoothing=0.05) as self._bar:
            self._logged = time.perf_counter()
            self._peers.watch(self._saving.held, lambda: self._signals.received is not None, self.options.rank_timeout)
            while self.step < last and not self._are_to_stop():
                self.step += 1
                self._stepper.remember()
                if self.rank:  # dropout must differ between ranks, and the checkpoint holds the first rank's state only
                    torch.manual_seed(self.seed + self.rank + 1009 * self.step)
                yield self.step
                self._bar.update()
                self._saving.if_due(self.step, settle=partial(self._show, wait=True))
            self._peers.leave()  # the last save may take its time
            self._show(wait=True)
            self._saving.at_end(self.step)
            if self._patience.is_spent(self.step):
                self._saving.end_with_best(**self._patience.state)

    def _are_to_stop(self) -> bool:
        self._peers.arrive(2 * self.step + 2)
        return self._signals.any_rank_stops(self.world_size, self._patience.is_spent(self.step))

    def _arrive(self) -> None:
        """This rank has its batch. Said before the step, as a CUDA graph of it runs no Python."""
        self._peers.arrive(2 * self.step + 1)

    def feed(self, plan: Callable[[int], list[Any]], dataset: Dataset, collate: Callable[[list[Any]], Any]) -> Feed:
        """The batches of the steps to come; see utils.training.batching.batches."""
        return batches(plan, self.step + 1, dataset, collate, self.device, self.n_workers, self._arrive)

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
        self._arrive()
        return self._stepper.step(loss, clip, scale_gradients, clipped_apart, name)

    def abandon_step(self) -> None:
        """Make ready for another step, after one that was broken off by an error."""
        self._stepper.abandon()

    def log(self, **values: float | torch.Tensor) -> None:
        """The numbers of this step, floats or tensors of one number, for the progress bar, metrics.jsonl, and every few steps
        the dashboards. They are shown once they have arrived from the device, in order. Tensors are averaged over the ranks.

        By `loss`, if it is among them, an explosion is known: then nothing is saved, and many such steps in a row end the run.
        """
        now = time.perf_counter()
        speed, self._logged = 1 / max(1e-9, now - self._logged), now
        values = mean_over_ranks(values)
        counts = {"skipped_steps": self._stepper.skipped.clone(), IN_A_ROW: self._stepper.skipped_in_a_row.clone()}
        self._readback.put(self.step, {**values, "steps_per_second": speed, **counts})
        self._show()

    def _show(self, wait: bool = False) -> None:
        """Pass on the numbers that have arrived. Raises UserError after many bad steps in a row."""
        for step, values in self._readback.take(wait):
            in_a_row = int(values.pop(IN_A_ROW))
            self.board.scalars(step, values)
            shown = {name: value for name, value in values.items() if name not in NOT_ON_BAR}
            if values["skipped_steps"]:
                shown["skipped_steps"] = values["skipped_steps"]
            self._bar.set_postfix(shown, refresh=False)
            if self._scaler.is_enabled() and in_a_row < TO_GIVE_UP:
                in_a_row = 0  # a scale that is too high costs an update now and then
            self._saving.judge(step, values.get("loss"), in_a_row)
            self._diagnose(step, values)

    def _diagnose(self, step: int, values: Mapping[str, float]) -> None:
        for name, rule in self._rules.items():
            if problem := rule(step, values):
                self.tell(name, f"step {step}: {problem}")

    def tell(self, name: str, line: str) -> None:
        """Say something once, under this name, on the console and the dashboards."""
        if self.is_main and name not in self._told:
            self._told.add(name)
            tqdm.write(f"{self.stage}: {line}", file=sys.stderr)
            self.board.note(name, line)

    def report(self, sentence: str = "", /, **values: float) -> None:
        """Numbers measured on held-out data, sent to all dashboards. The console prints the sentence, or else the numbers."""
        values = {name: float(value) for name, value in values.items()}
        if self.is_main:
            sentence = sentence or ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            tqdm.write(f"step {self.step}: {sentence}")
        self.board.scalars(self.step, values, held_out=True)
        self._diagnose(self.step, values)

    def keep_best(self, held_out_loss: float | torch.Tensor) -> None:
        """With --patience: keep this step's checkpoint if the loss is the lowest so far."""
        if self._patience.is_lowest(self.step, float(held_out_loss)):
            self._saving.keep_best(self.step)

    def due(self, every: int) -> bool:
        """Whether this step is a multiple of `every`; 0 is never."""
        return is_due(self.step, every)

    def evaluating(self, model: nn.Module) -> contextlib.AbstractContextManager:
        """Evaluation mode without gradients. Training goes on as if nothing had happened, random numbers included."""
        return evaluating(model, self.device)

    # ---- leaving

    def __enter__(self) -> "Run":
        self._leaving.enter_context(self._signals)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._peers.leave()
        with self._leaving:
            self.board.close(SECONDS_AFTER_SIGNAL if self._signals.received else SECONDS_TO_DRAIN)
        is_first = bool(error) and self._peers.is_first_to_leave()
        if why := self._peers.lost(error):
            if is_first:
                raise UserError(f"{why}; {self._saving.held()}; {continuing()}") from None
            sys.exit(1)
        received = self._signals.received
        if kind is None and received:
            if self.is_main:
                stopped = f"stopped by {received.name} at step {self.step}"
                print(f"{self.stage}: {stopped}; {self._saving.held()}; the same command continues")
            sys.exit(128 + received)
