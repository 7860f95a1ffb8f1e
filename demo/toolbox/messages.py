"""A user's mistake becomes one message in the page, and changes nothing else."""

import functools
import html
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from utils.errors import UserError

SHOWN = 20.0  # s that a message stays


class Messages:
    """Of a server. Where its folders lie is nobody's business: files are named from there."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = sorted({str(name) for each in folders for name in (each, each.resolve())}, key=len, reverse=True)

    def of(self, error: Exception) -> str:
        """What the page says of an error."""
        if not isinstance(error, UserError):
            return f"the server cannot read or write a file: {getattr(error, 'strerror', None) or type(error).__name__}"
        text = str(error)
        for folder in self._folders:
            text = re.sub(rf"(?<![\w/.-]){re.escape(folder)}/", "", text)
            text = re.sub(rf"(?<![\w/.-]){re.escape(folder)}(?!\w)", lambda _, name=Path(folder).name: name, text)
        return text

    def sentence(self, error: Exception) -> str:
        """The same with a capital letter, unless it begins with a file's name."""
        text = self.of(error)
        return text[0].upper() + text[1:] if text.split(" ")[0].isalpha() else text

    def tell(self, error: Exception) -> None:
        gr.Warning(html.escape(self.sentence(error)), duration=SHOWN)


def answer(method: Callable) -> Callable:
    """A method of an object with `messages`, with an error of the user's as a message."""

    @functools.wraps(method)
    def answered(self: Any, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except (UserError, OSError) as error:
            self.messages.tell(error)
            return gr.skip()

    return answered


def answer_bit_by_bit(method: Callable) -> Callable:
    """The same for a generator."""

    @functools.wraps(method)
    def answered(self: Any, *arguments: Any) -> Iterator[Any]:
        try:
            yield from method(self, *arguments)
        except (UserError, OSError) as error:
            self.messages.tell(error)
            yield gr.skip()

    return answered
