"""Parts of a model that training leaves as they are."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.errors import UserError

NOTHING = "nothing"  # asked for by the user: train all of the model again
LEVELS = 2  # of names that an error lists: decoder, decoder.attention


def freeze(model: nn.Module, names: Sequence[str]) -> int:
    """Make the parameters under these dotted names (of modules or of single parameters) stay, and the running statistics of the
    batch norms there, which then also normalise while training. Returns the number of frozen weights.

    UserError where a name is none of the model's, or nothing is left to train.
    """
    for name in names:
        frozen = [parameter for of, parameter in model.named_parameters() if _is_under(of, name)]
        if not frozen:
            raise UserError(f"--freeze: the model has no part {name!r}; it has {', '.join(_parts(model))}", exit_code=2)
        for parameter in frozen:
            parameter.requires_grad_(False)
        for of, module in model.named_modules():
            if _is_under(of, name) and isinstance(module, _BatchNorm):
                module.eval()
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    if not counts[True]:
        raise UserError("--freeze: that is all of the model, and nothing is left to train; name fewer parts", exit_code=2)
    return counts[False]


def _is_under(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _parts(model: nn.Module) -> list[str]:
    """The modules that can be frozen, down to a depth that one line can hold."""
    modules = ((name, module) for name, module in model.named_modules() if name and name.count(".") < LEVELS)
    return [name for name, module in modules if next(module.parameters(), None) is not None]
