"""What a training run starts from: its own checkpoint, the weights of another file, or nothing."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from utils.config import override
from utils.data.paths import sha256
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.device import set_rng_state
from utils.training.freezing import NOTHING
from utils.training.stepping import MAIN, Trained


class StartingPoint:
    """The file that a run starts from, if any. Its content is held until it is loaded into the models."""

    def __init__(
        self, stage: str, own: Path, init_from: Path | None, force_restart: bool, own_content: Callable[[dict], dict]
    ) -> None:
        """own_content turns the content of any checkpoint, older or published elsewhere, into today's names and layout.

        Raises UserError if a file is missing, damaged or of another stage.
        """
        self.stage = stage
        self.resumes = own.exists() and not force_restart
        self.ignored = init_from if self.resumes else None
        self.path = own if self.resumes or init_from is None else Path(init_from)
        self.content: dict[str, Any] | None = None
        if self.resumes or init_from is not None:
            content = checkpoint.load(self.path, stage, published=not self.resumes)
            if self.resumes and "optimizer_state" not in content:
                raise UserError(
                    f"{own}: holds only weights, as written by utils.export; training cannot resume from it. Choose another "
                    f"run_id and pass --init_from {own}"
                )
            with checkpoint.restoring(self.path, stage):
                self.content = own_content(content)

    def step_and_seed(self, seed: int) -> tuple[int, int]:
        """The last finished step and the seed of a resumed run; 0 and the given seed for a new one."""
        if not self.resumes:
            return 0, seed
        with checkpoint.restoring(self.path, self.stage):
            return self.content["step"], self.content["sampler_state"]["seed"]

    def configure(self, overrides: dict[str, str], model_config: Any, *settings: Any) -> tuple[Any, ...]:
        """The model's configuration and the training settings: defaults, then the file's, then --hparams.

        A resumed run keeps all its settings. A run that starts from other weights takes only their model, symbols and cleaner.
        Raises UserError if --hparams contradict the model in the file.
        """
        if self.content:
            with checkpoint.restoring(self.path, self.stage):
                model_config = type(model_config)(**self.content["model"])
                kept = {**(self.content["training"] if self.resumes else {}), **_text_settings(self.content)}
                settings = tuple(_with_values(s, kept) for s in settings)
        chosen = override(overrides, model_config, *settings)
        if self.content and chosen[0] != model_config:
            old, new = dataclasses.asdict(model_config), dataclasses.asdict(chosen[0])
            differing = ", ".join(f"{name} is {old[name]}, asked for {new[name]}" for name in old if old[name] != new[name])
            remedy = "choose another run_id, or pass -f" if self.resumes else "leave that out, or take another file"
            raise UserError(f"{self.path}: was trained with another model ({differing}); {remedy}")
        return chosen

    def check_formats(self, expected: dict[str, Any]) -> None:
        """Raises UserError if the file's mel format or symbols differ from the data's."""
        if not self.content:
            return
        if self.content.get("mel") != expected["mel"]:
            raise UserError(
                f"{self.path}: was trained on another mel format ({self.content.get('mel')}) than this data's "
                f"({expected['mel']}); choose another run_id or file, or preprocess again"
            )
        if self.content.get("symbols") != expected["symbols"]:
            raise UserError(
                f"{self.path}: was trained with other symbols; leave --hparams symbols out, or choose another run_id or file"
            )

    def frozen(self, asked: Sequence[str] | None) -> list[str]:
        """The names of the frozen parts: those asked for, else those of the resumed run."""
        if asked is None:
            return list(self.content.get("frozen", [])) if self.resumes else []
        return [] if list(asked) == [NOTHING] else sorted(set(asked))

    def init_from(self) -> dict[str, Any] | None:
        """The file of weights that the run began with (name, sha256, step); None if it began with random ones."""
        if self.content is None:
            return None
        if self.resumes:
            return self.content.get("init_from")
        with checkpoint.restoring(self.path, self.stage):
            return {"file": self.path.name, "sha256": sha256(self.path), "step": int(self.content["step"])}

    def load_into(
        self,
        trained: dict[str, Trained],
        scaler: torch.amp.GradScaler,
        device: torch.device,
        average: dict[str, torch.Tensor] | None = None,
    ) -> int:
        """Load the whole state of a resumed run, or only the weights of another file; returns the number of skipped updates.

        `average` is filled with the file's average_state, or with its weights if it has none. A run that starts from another
        file starts from the file's average too: it is the better model, and keeps frozen parts the same in both.
        """
        saved, self.content = self.content, None  # frees its memory
        if saved is None:
            return 0
        with checkpoint.restoring(self.path, self.stage):
            weights = checkpoint.averaged(saved)["model_state"]
            for name, value in (average or {}).items():
                value.copy_(weights[name])
            if not self.resumes:
                trained[MAIN].model.load_state_dict(weights)
                return 0
            for name, (model, optimizer) in trained.items():
                state = saved if name == MAIN else saved["further"][name]
                model.load_state_dict(state["model_state"])
                optimizer.load_state_dict(state["optimizer_state"])
                for group in optimizer.param_groups:
                    group["fused"] = True  # older checkpoints may say otherwise
            if saved["scaler_state"]:  # empty if the run was not in fp16 before
                scaler.load_state_dict(saved["scaler_state"])
            set_rng_state(saved["rng_state"], device)
            return int(saved["sampler_state"]["skipped"])


def _text_settings(content: dict[str, Any]) -> dict[str, Any]:
    """Symbols and cleaner, if there are any: they say what a model's inputs mean, and so go with its weights."""
    values = {"symbols": content.get("symbols"), "cleaner": content.get("training", {}).get("cleaner")}
    return {name: value for name, value in values.items() if value is not None}


def _with_values(settings: Any, values: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{name: value for name, value in values.items() if name in names})
