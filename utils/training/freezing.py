"""Parts of a model that are not trained."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.errors import UserError

NOTHING = "nothing"  # --freeze nothing trains the whole model again
LEVELS = 2  # depth of the names that an error lists: decoder, decoder.attention


def freeze(model: nn.Module, names: Sequence[str]) -> int:
    """Freeze the parameters under these dotted names of modules or parameters. Returns the number of frozen weights.

    Batch norms there are put into evaluation mode: they normalise by their running statistics, which stay. Raises UserError for
    an unknown name, and if nothing is left to train.
    """
    for name in names:
        frozen = [parameter for full_name, parameter in model.named_parameters() if _is_under(full_name, name)]
        if not frozen:
            raise UserError(f"--freeze: the model has no part {name!r}; it has {', '.join(_parts(model))}", exit_code=2)
        for parameter in frozen:
            parameter.requires_grad_(False)
        for full_name, module in model.named_modules():
            if _is_under(full_name, name) and isinstance(module, _BatchNorm):
                module.eval()
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    if not counts[True]:
        raise UserError("--freeze: nothing is left to train; name fewer parts", exit_code=2)
    return counts[False]


def _is_under(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _parts(model: nn.Module) -> list[str]:
    """The modules that can be frozen, not so deep that they would not fit a line."""
    modules = ((name, module) for name, module in model.named_modules() if name and name.count(".") < LEVELS)
    return [name for name, module in modules if next(module.parameters(), None) is not None]
