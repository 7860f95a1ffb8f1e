"""The one model that the functions of a module share, as notebooks expect."""

from typing import Generic, TypeVar

from utils.errors import UserError

Model = TypeVar("Model")


class Holder(Generic[Model]):
    """`holder.model = loaded` once, then `holder.model` wherever it is needed."""

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
