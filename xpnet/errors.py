"""The errors that xpnet raises when it cannot use its input.

Each message is one line that names the thing, what was expected and what came. Scripts print that line and
exit with status 2; any other exception is a bug in xpnet.
"""


class Error(Exception):
    """Base class of all errors that xpnet raises on purpose."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # a file name may contain a line break


class ShapeError(Error, ValueError):
    """An array has the wrong shape or dtype for a layer or loss, or labels out of range."""

    first: int | None = None  # the first example that is wrong, where a loss says so


class DataError(Error, ValueError):
    """A data file or a label is missing, damaged or out of range."""


class ConfigError(Error, ValueError):
    """An option or hyper-parameter is out of its range, or a combination of them is impossible."""


class BackendError(Error, RuntimeError):
    """An array library or device is missing, or cannot do what was asked."""


class ProcessError(Error, RuntimeError):
    """Another one of the processes that train together has ended."""


class CheckpointError(Error, ValueError):
    """A checkpoint or parameter file cannot be read or written, is damaged, or is of another network."""


class TrainingWarning(Error, UserWarning):
    """Training goes on, but not as one may expect. As an exception, `python -W error`, it is an `Error`."""


class DivergedError(Error, ArithmeticError):
    """The loss or a parameter became infinite or NaN."""
