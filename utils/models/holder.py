"""The model that a module's functions share: notebooks call load_model once, then the functions."""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, Generic, ParamSpec, TypeVar

from utils.errors import UserError

Model, Result, P = TypeVar("Model"), TypeVar("Result"), ParamSpec("P")


class Holder(Generic[Model]):
    """Set `holder.model` once, then read it; UserError if it was not set."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._model: Model | None = None

    @property
    def is_loaded(self) -> bool:
        return self._model is not None

    @property
    def model(self) -> Model:
        if self._model is None:
            raise UserError(f"no {self._kind} is loaded; call load_model(path) first")
        return self._model

    @model.setter
    def model(self, model: Model) -> None:
        self._model = model

    def shared(self, method: Callable[Concatenate[Model, P], Result]) -> Callable[P, Result]:
        """A method of the model as a function, which calls it on the model that is loaded by then."""

        @functools.wraps(method)
        def function(*args: P.args, **options: P.kwargs) -> Result:
            return method(self.model, *args, **options)

        signature = inspect.signature(method)
        function.__signature__ = signature.replace(parameters=[*signature.parameters.values()][1:])  # without self
        return function
