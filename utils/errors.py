"""The one error that is meant for the user."""


class UserError(Exception):
    """A mistake the user can mend, in one line: the file, what is wrong, what to do. Never shown as a traceback."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)  # both, so that it survives being pickled by a worker process
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message
