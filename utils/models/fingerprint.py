"""Detects changes: of a model since its weights were copied, and of classes since they were written."""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules import module as global_hooks


class Originals:
    """Classes as they are now, to tell whether an object later runs exactly their code."""

    def __init__(self, *classes: type) -> None:
        self._code = {each: _code(each) for each in classes}

    def cover(self, *objects: object) -> bool:
        """Whether each is of one of the classes itself, and no code of it was replaced.

        What utils.cuda_cells.where_on_gpu made of its own code does not count: it gives the same.
        """
        return all(map(self._is_original, objects)) and not _has_hooks(objects)

    def _is_original(self, each: object) -> bool:
        own = type(each)
        replaced = any(
            callable(value) and getattr(value, "plain", None) is not getattr(own, name, value)
            for name, value in vars(each).items()
        )
        return not replaced and self._code.get(own) == _code(own)


def fingerprint(model: nn.Module, *others: object) -> tuple:
    """Changes when a module is replaced, the class of a module or another object edited, a hook added, or a weight changed."""
    modules = list(model.modules())
    code = [
        (id(each), type(each), *_code(type(each)), *map(id, filter(callable, vars(each).values())))
        for each in (*modules, *others)
    ]
    hooks = [(len(each._forward_hooks), len(each._forward_pre_hooks)) for each in modules]
    weights = [(each.data_ptr(), each._version) for each in (*model.parameters(), *model.buffers())]
    return tuple(code), tuple(hooks), tuple(weights)


def _code(cls: type) -> tuple:
    """Its methods; Python adds other attributes to a class as it goes."""
    return tuple((name, id(each)) for name, each in vars(cls).items() if callable(each) or isinstance(each, property))


def _has_hooks(objects: Iterable[object]) -> bool:
    modules = [each for each in objects if isinstance(each, nn.Module)]
    of_all = global_hooks._global_forward_hooks or global_hooks._global_forward_pre_hooks
    return bool(of_all) or any(each._forward_hooks or each._forward_pre_hooks for each in modules)
