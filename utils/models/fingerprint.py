"""Whether a model is still what it was when a copy of its weights was made."""

from torch import nn


def fingerprint(model: nn.Module, *others: object) -> tuple:
    """Changes when a module is replaced, the class of a module or another object edited, a hook added, or a weight changed."""
    modules = list(model.modules())
    code = [(id(each), type(each), *map(id, vars(type(each)).values())) for each in (*modules, *others)]
    hooks = [(len(each._forward_hooks), len(each._forward_pre_hooks)) for each in modules]
    weights = [(each.data_ptr(), each._version) for each in (*model.parameters(), *model.buffers())]
    return tuple(code), tuple(hooks), tuple(weights)
