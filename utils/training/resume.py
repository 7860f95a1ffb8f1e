"""What a training run starts from: its own checkpoint, the weights of another file, or nothing."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.config import override
from utils.data.paths import sha256
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.device import set_rng_state
from utils.training.freezing import NOTHING


class Origin:
    """The file that a run starts from, if any, and its content until it is loaded into the model."""

    def __init__(
        self, stage: str, own: Path, init_from: Path | None, force_restart: bool, own_content: Callable[[dict], dict]
    ) -> None:
        """own_content(content of a published file) -> what a checkpoint of this project would hold. UserError where a file is
        missing, damaged or of another stage."""
        self.stage = stage
        self.is_own = own.exists() and not force_restart
        self.ignored = init_from if self.is_own else None  # the run has weights of its own
        self.path = own if self.is_own or init_from is None else Path(init_from)
        self.content: dict[str, Any] | None = None
        if self.is_own:
            self.content = checkpoint.load(own, stage)
            if "optimizer_state" not in self.content:
                raise UserError(f"{own}: holds weights alone, as utils.export writes them, and no run goes on from it; choose "
                                f"another run_id and pass --init_from {own}")  # fmt: skip
        elif init_from is not None:
            content = checkpoint.load(self.path, stage, published=True)
            with checkpoint.restoring(self.path, stage):
                self.content = own_content(content)

    def step_and_seed(self, seed: int) -> tuple[int, int]:
        """The last finished step and the seed of a run that goes on; 0 and the given seed of a new one."""
        if not self.is_own:
            return 0, seed
        with checkpoint.restoring(self.path, self.stage):
            return self.content["step"], self.content["sampler_state"]["seed"]

    def configure(self, overrides: dict[str, str], model_config: Any, *settings: Any) -> tuple[Any, ...]:
        """The model's configuration and the training settings, after --hparams and what the file says.

        A resumed run keeps its own unless told otherwise, one that starts from other weights takes their model and how they
        read text. UserError where the overrides contradict the model of the file.
        """
        if self.content:
            with checkpoint.restoring(self.path, self.stage):
                model_config = type(model_config)(**self.content["model"])
                kept = {**(self.content["training"] if self.is_own else {}), **_reading(self.content)}
                settings = tuple(_with_values(s, kept) for s in settings)
        chosen = override(overrides, model_config, *settings)
        if self.content and chosen[0] != model_config:
            old, new = dataclasses.asdict(model_config), dataclasses.asdict(chosen[0])
            differing = ", ".join(f"{name} is {old[name]}, asked for {new[name]}" for name in old if old[name] != new[name])
            remedy = "choose another run_id, or pass -f" if self.is_own else "leave that out, or take another file"
            raise UserError(f"{self.path}: was trained with another model ({differing}); {remedy}")
        return chosen

    def check_formats(self, expected: dict[str, Any]) -> None:
        """UserError where mel format or symbols are not those of the data."""
        for name in ("mel", "symbols"):
            if self.content and self.content.get(name) != expected[name]:
                found = self.content.get(name)
                if name == "symbols":
                    raise UserError(f"{self.path}: was trained with other symbols; leave --hparams symbols out, or choose "
                                    "another run_id or file")  # fmt: skip
                raise UserError(f"{self.path}: was trained on another {name} format ({found}) than this data's "
                                f"({expected[name]}); choose another run_id or file, or preprocess again")  # fmt: skip

    def frozen(self, asked: Sequence[str] | None) -> list[str]:
        """The names of the parts that stay as they are: what is asked for, else those of a run that goes on."""
        if asked is None:
            return list(self.content.get("frozen", [])) if self.is_own else []
        return [] if list(asked) == [NOTHING] else sorted(set(asked))

    def first_weights(self) -> dict[str, Any] | None:
        """Which foreign weights the run began with: file name, sha256, step; None if it began with random ones."""
        if self.content is None:
            return None
        if self.is_own:
            return self.content.get("init_from")
        with checkpoint.restoring(self.path, self.stage):
            return {"file": self.path.name, "sha256": sha256(self.path), "step": int(self.content["step"])}

    def load_into(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        device: torch.device,
        average: dict[str, torch.Tensor] | None = None,
    ) -> int:
        """All of the run's own state, or the weights alone of another file; returns the number of skipped steps so far.

        `average` is filled with the file's average_state, or with its weights where it has none. Another file's average, if it
        has one, is what the model starts from too: it is the better model, and parts that are frozen are then the same in both.
        """
        saved, self.content = self.content, None  # its memory is not needed any more
        if saved is None:
            return 0
        with checkpoint.restoring(self.path, self.stage):
            averaged = saved.get("average_state", saved["model_state"])
            for name, value in (average or {}).items():
                value.copy_(averaged[name])
            if not self.is_own:
                model.load_state_dict(averaged)  # what the file speaks with
                return 0
            model.load_state_dict(saved["model_state"])
            optimizer.load_state_dict(saved["optimizer_state"])
            for group in optimizer.param_groups:
                group["fused"] = True  # whatever it was saved as
            if saved["scaler_state"]:  # there is none of a run that was not in fp16 before
                scaler.load_state_dict(saved["scaler_state"])
            set_rng_state(saved["rng_state"], device)
            return int(saved["sampler_state"]["skipped"])


def _reading(content: dict[str, Any]) -> dict[str, Any]:
    """The settings that say what a model's inputs mean, as far as there are any: they go with its weights."""
    values = {"symbols": content.get("symbols"), "cleaner": content.get("training", {}).get("cleaner")}
    return {name: value for name, value in values.items() if value is not None}


def _with_values(settings: Any, values: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{name: value for name, value in values.items() if name in names})
