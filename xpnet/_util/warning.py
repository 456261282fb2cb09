"""Warnings that point to the user's own line."""

import sys
import warnings
from pathlib import Path
from types import FrameType

from xpnet.errors import TrainingWarning

PACKAGE = str(Path(__file__).parent.parent)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning at the line that called xpnet."""
    warnings.warn(message, category, stacklevel=_levels_inside())


class Once:
    """Warn of each thing once.

    Python's own filter would do this too, unless it is set to show all warnings.
    """

    def __init__(self) -> None:
        self._given: dict[str, object] = {}

    def warn(self, message: str) -> None:
        """A TrainingWarning at the line that called xpnet, unless the same one was given before."""
        this = object()
        if self._given.setdefault(message, this) is this:  # atomic: parts of a batch run in threads
            warn(message, TrainingWarning)


def _levels_inside() -> int:
    """The stack level, from `warn`, of the frame that called xpnet from outside."""
    level, inside = 0, 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        level += 1
        if frame.f_code.co_filename.startswith(PACKAGE):
            inside = level
        frame = frame.f_back
    return inside + 1
