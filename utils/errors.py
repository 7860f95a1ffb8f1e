"""The error that is meant for the user."""


class UserError(Exception):
    """A mistake that the user can fix. One line says which file, what is wrong and what to do; no traceback is shown."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)  # both, as a worker process pickles and rebuilds it
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class DiskFull(UserError):
    """There is no room for a file."""

    ADVICE = "; make room and run the same command again (preprocessing: with --skip_existing)"

    @property
    def fact(self) -> str:
        """The message without what to do."""
        return self.message.removesuffix(self.ADVICE)
