"""The model that a module's functions share: notebooks call load_model once, then the functions."""

from typing import Generic, TypeVar

from utils.errors import UserError

Model = TypeVar("Model")


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
