"""What xpnet raises when it is given something it cannot use.

Every message is one line that names the thing, what was expected and what came. Scripts print
that line and exit with status 2; any other exception is a bug in xpnet.
"""


class Error(Exception):
    """The base of every error that xpnet raises on purpose."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # a file's name may have a line break in it


class ShapeError(Error, ValueError):
    """An array has the wrong shape or dtype for the layer or loss that it was given to."""


class DataError(Error, ValueError):
    """A data file or a label is missing, damaged or out of range."""


class ConfigError(Error, ValueError):
    """An option, a hyper-parameter or a combination of them makes no sense."""


class BackendError(Error, RuntimeError):
    """An array library or its device is not there, or not able to do what was asked."""


class CheckpointError(Error, ValueError):
    """A file of a training cannot be read or written, is damaged, or belongs to another network."""


class DivergedError(Error, ArithmeticError):
    """The loss became infinite or not a number."""
