"""The progress that `fit` shows: a line on standard error, or a line and learning curves in a notebook."""

import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from xpnet import distributed
from xpnet.callbacks import Callback
from xpnet.metrics import EpochMetrics

if TYPE_CHECKING:
    from xpnet.model import Model

REDRAW_SECONDS = 1.0  # drawing waits for the device
FIRST_CURVES = 3.0  # seconds; a shorter training has none
CURVES_SHARE = 0.05  # of the time, at most, goes into drawing them, from the second picture on


def wanted(progress: bool | str) -> bool:
    """Whether to show it: True, False, or "auto" for a terminal or a notebook, in the main thread.

    Of several processes, the first one shows it.
    """
    if distributed.process_id() > 0:
        return False
    if progress != "auto":
        return bool(progress)
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and (_is_terminal(sys.stderr) or _in_notebook())


def callbacks(progress: bool | str, epochs: int, examples: Callable[[int], int]) -> tuple[Callback, ...]:
    """What shows the progress of a `fit` of so many epochs, if `wanted`; arguments as for `ProgressBar`."""
    if not wanted(progress):
        return ()
    return (
        (NotebookBar(epochs, examples), LiveCurves()) if _in_notebook() else (ProgressBar(epochs, examples),)
    )


class ProgressBar(Callback):
    """One line that is drawn again each second; a line for each epoch where standard error is no terminal.

    Arguments:
        epochs: the number of epochs of this `fit`.
        examples: the number of examples in the steps of the epoch up to the one that was run last.
    """

    every_step = False

    def __init__(self, epochs: int, examples: Callable[[int], int]) -> None:
        self.epochs = epochs
        self.examples = examples
        self.stream: TextIO | None = sys.stderr
        self.redraws = _is_terminal(self.stream)
        self.first = 0  # the epochs before this `fit`
        self.began = self.drawn_at = time.monotonic()
        self.text = ""  # of the last epoch
        self.drawn = 0  # characters in the line

    def on_start(self, model: "Model") -> None:
        self.first = model.epoch
        self.began = self.drawn_at = time.monotonic()

    def on_step(self, model: "Model", step: int, n_steps: int) -> None:
        if not self.redraws or time.monotonic() - self.drawn_at < REDRAW_SECONDS:
            return
        loss = model.running_loss(self.examples(step))
        where = f"epoch {model.epoch + 1}/{self.first + self.epochs}  step {step}"
        left = ""
        if n_steps != math.inf:
            done = model.epoch - self.first + step / n_steps
            seconds = (time.monotonic() - self.began) * (self.epochs - done) / done
            where, left = f"{where}/{n_steps}", f"  {_clock(max(seconds, 0))} left"
        after = f"after epoch {self.text}" if self.text else ""
        self._draw(f"{where}  running loss {loss:.4f}{left}", after)

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        found = f"loss {metrics.train_loss:.4f}{_accuracy(metrics.train_accuracy)} ({metrics.train_metrics})"
        for name, loss, accuracy in (
            ("validation", metrics.validation_loss, metrics.validation_accuracy),
            ("test", metrics.test_loss, metrics.test_accuracy),
        ):
            found += "" if loss is None else f"  {name} loss {loss:.4f}{_accuracy(accuracy)}"
        self.text = f"{metrics.epoch}: {found}"
        where = f"epoch {metrics.epoch}/{self.first + self.epochs}"
        if not self.redraws:
            self._write(f"{where}  {found}\n")
        elif self.drawn or time.monotonic() - self.drawn_at >= REDRAW_SECONDS:
            self._draw(where, found)

    def on_end(self, model: "Model") -> None:
        if self.drawn:
            self._write("\n")

    def _draw(self, where: str, found: str) -> None:
        """Draw the line in place of the one before it: where the training is, and what an epoch has found."""
        line = f"{where}  {found}".rstrip()[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + line.ljust(self.drawn))
        self.drawn, self.drawn_at = len(line), time.monotonic()

    def _write(self, text: str) -> None:
        if self.stream is not None:
            self.stream.write(text)
            self.stream.flush()


class NotebookBar(ProgressBar):
    """That line in the output of a cell, where standard error would be red.

    It is in two lines, so that it breaks nowhere else, and what is below stays in its place.
    """

    def __init__(self, epochs: int, examples: Callable[[int], int]) -> None:
        super().__init__(epochs, examples)
        self.redraws, self.place = True, Place()

    def on_end(self, model: "Model") -> None:
        """The line stays, as the last one drawn."""

    def _draw(self, where: str, found: str) -> None:
        self.place.show(Text(f"{where}\n{found}".rstrip()))
        self.drawn, self.drawn_at = 1, time.monotonic()


class LiveCurves(Callback):
    """The learning curves of a model in a notebook, drawn again after an epoch in the same place."""

    every_step = False

    def on_start(self, model: "Model") -> None:
        self.place = Place()
        self.drawn = 0  # epochs in the picture
        self.next_at = time.monotonic() + FIRST_CURVES

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        if metrics.epoch > 1 and time.monotonic() >= self.next_at:
            self._draw(model)

    def on_end(self, model: "Model") -> None:
        if 0 < self.drawn < len(model.history):
            self._draw(model)

    def _draw(self, model: "Model") -> None:
        from xpnet.plots import pictures  # noqa: F401  # its first import takes long, and shall not count

        began, history = time.monotonic(), model.history
        self.place.show(history.plot())
        wait = (time.monotonic() - began) * (1 / CURVES_SHARE - 1)
        self.next_at = time.monotonic() + (wait if self.drawn else min(wait, FIRST_CURVES))
        self.drawn = len(history)


class Place:
    """A place in the output of a notebook's cell. What it shows replaces what it showed before."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, thing: Any) -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display(thing, display_id=True)
        else:
            self.handle.update(thing)


class Text(str):
    """A text that a notebook shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _accuracy(accuracy: float | None) -> str:
    return "" if accuracy is None else f" accuracy {accuracy:.4f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook: Jupyter's, or one made from it, such as Colab's."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)
