"""What a training run starts from: its own checkpoint, the weights of another file, or nothing."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from utils.config import as_text, marked, override, rebuilt
from utils.data.paths import sha256
from utils.errors import UserError
from utils.models import checkpoint, identity
from utils.models.device import set_rng_state
from utils.report_lines import say_once
from utils.training.freezing import NOTHING
from utils.training.health import Rule
from utils.training.stepping import MAIN, Trained

# A file's content -> words on it, and settings to take from it.
Further = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]


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
        self.path = own if self.resumes or init_from is None else checkpoint.model_file(Path(init_from), stage)
        self.from_weights = init_from is not None and not self.resumes
        self.content: dict[str, Any] | None = None
        self.taken = ""  # one line that says what configure took from init_from
        if self.resumes or self.from_weights:
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

    def patience(self) -> dict[str, float]:
        """What a resumed run remembers of its lowest held-out loss."""
        return dict(self.content.get("patience", {})) if self.resumes else {}

    def configure(
        self, overrides: dict[str, str], model_config: Any, *settings: Any, further: Further | None = None
    ) -> tuple[Any, ...]:
        """The model's configuration and the training settings: defaults, then the file's, then --hparams.

        A resumed run keeps all its settings. A run that starts from other weights takes their model and the settings marked
        `of_weights`; `further` turns the file's content into more settings to take, and a few words on them. Raises UserError
        if --hparams contradict the model in the file.
        """
        if not self.content:
            return override(overrides, model_config, *settings)
        with checkpoint.restoring(self.path, self.stage):
            model_config = rebuilt(type(model_config), self.content["model"])
            words, kept = self._kept(settings, None if self.resumes else further)
            settings = tuple(_with_values(s, kept) for s in settings)
        chosen = override(overrides, model_config, *settings)
        changed = _differences(model_config, chosen[0])
        refused = [name for name in changed if name not in marked(model_config, "adjustable")]
        if refused:
            differing = ", ".join(f"{name} is {changed[name][0]}, asked for {changed[name][1]}" for name in refused)
            remedy = "choose another run_id, or pass -f" if self.resumes else "leave that out, or take another file"
            raise UserError(f"{self.path}: was trained with another model ({differing}); {remedy}")
        if self.from_weights:
            for before, after in zip(settings, chosen[1:], strict=True):
                changed |= {name: pair for name, pair in _differences(before, after).items() if name in kept}
            self.taken = self._summary(words, kept, changed)
        return chosen

    def _kept(self, settings: Sequence[Any], further: Further | None) -> tuple[str, dict[str, Any]]:
        """Training settings to take from the file, and words on some of them."""
        stored = self.content["training"] if self.resumes else self.content.get("training", {})
        stored = {**stored, "symbols": self.content.get("symbols")}
        names = set(stored) if self.resumes else set().union(*(marked(each, "of_weights") for each in settings))
        words, values = further(self.content) if further else ("", {})
        kept = {name: value for name, value in stored.items() if name in names and value is not None}
        return words, {**kept, **values}

    def _summary(self, words: str, kept: dict[str, Any], changed: dict[str, tuple[Any, Any]]) -> str:
        """symbols are only named: they are long, and check_formats refuses others."""
        taken = [f"{name} {as_text(value)[:200]}" for name, value in kept.items() if name not in (*changed, "symbols")]
        taken = ", ".join(["sizes", *["symbols"] * ("symbols" in kept), *taken])
        instead = [
            f"{name} {as_text(new)} (the file has {as_text(old)})" for name, (old, new) in changed.items() if name != "symbols"
        ]
        by_hparams = f"; by --hparams: {', '.join(instead)}" if instead else ""
        return f"from {self.path}, step {int(self.content['step']):,}{words}; taken: {taken}{by_hparams}"

    def adapt(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change the content of a file whose weights the run starts from, before they are loaded."""
        with checkpoint.restoring(self.path, self.stage):
            self.content = change(self.content)

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
                f"{self.path}: was trained with other symbols; leave out --hparams symbols and sounds, or choose another "
                "run_id or file"
            )

    def encoder_digests(self, of_data: Sequence[str]) -> list[str]:
        """What identifies the encoder whose embeddings the model is trained on: the data's, or if unknown the file's."""
        return list(of_data) or list((self.content or {}).get("encoder_sha256", []))

    def warn_of_other_encoder(self, embeds_dir: Path, of_data: Sequence[str]) -> None:
        """Prints a line if the file was trained with another encoder than the data's."""
        identity.warn_if_different(embeds_dir, of_data, self.path, (self.content or {}).get("encoder_sha256", []))

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
        rules: Mapping[str, Rule] | None = None,
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
                state = saved if name == MAIN else saved.get("further", {}).get(name)
                if state is None:  # a setting has added the model since
                    say_once(f"{self.stage}: the {name} starts anew, as the checkpoint has none")
                    continue
                model.load_state_dict(state["model_state"])
                optimizer.load_state_dict(state["optimizer_state"])
                for group in optimizer.param_groups:
                    group["fused"] = True  # older checkpoints may say otherwise
            if saved["scaler_state"]:  # empty if the run was not in fp16 before
                scaler.load_state_dict(saved["scaler_state"])
            for name, rule in (rules or {}).items():
                rule.load(saved.get("rules", {}).get(name, {}))
            set_rng_state(saved["rng_state"], device)
            return int(saved["sampler_state"]["skipped"])


def _differences(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """The fields in which two dataclass instances differ, with both values."""
    old, new = dataclasses.asdict(before), dataclasses.asdict(after)
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _with_values(settings: Any, values: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{name: value for name, value in values.items() if name in names})
