"""Callbacks of a run: the progress bar, the table of metrics, the best epoch, the timer and signals."""

import csv
import io
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from xpnet import distributed, tree
from xpnet._util import files
from xpnet._util.output import say
from xpnet.callbacks import Callback
from xpnet.metrics import EpochMetrics
from xpnet.model import Model

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(signal.Signals[name] for name in NAMES if hasattr(signal, name))  # Windows has two of them
BY_HAND = (signal.SIGINT, signal.SIGTERM)
HANGUP = getattr(signal, "SIGHUP", None)
REDRAW_SECONDS = 0.5  # of the progress bar: drawing it waits for the device


class ProgressBar(Callback):
    """A progress bar on a terminal's standard error, and a line for each epoch on standard output."""

    every_step = False

    def __init__(self, epochs: int, n_examples: int) -> None:
        self.epochs = epochs
        self.n_examples = n_examples
        self.bar: Any = None
        self.drawn_at = time.monotonic()

    def on_step(self, model: Model, step: int, n_steps: int) -> None:
        with suppress(OSError):  # the terminal is gone
            self.draw(model, step, n_steps)

    def draw(self, model: Model, step: int, n_steps: int) -> None:
        """Draw the bar, if half a second has passed."""
        if self.bar is None:
            self.bar = tqdm(
                total=self.epochs * n_steps,
                initial=model.epoch * n_steps + step - 1,
                unit=" steps",
                mininterval=0,
                disable=None if sys.stderr else True,  # None: unless standard error is a terminal
                leave=False,
                dynamic_ncols=True,
            )
        if not self.bar.disable and time.monotonic() - self.drawn_at > REDRAW_SECONDS:
            loss = model.running_loss(self.n_examples * step // n_steps)
            self.bar.set_description(f"epoch {model.epoch + 1}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(f"running loss {loss:.4f}", refresh=False)
            self.bar.update(model.epoch * n_steps + step - self.bar.n)
            self.drawn_at = time.monotonic()

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        width = len(str(self.epochs))
        line = f"epoch {metrics.epoch:{width}}/{self.epochs}  train loss {metrics.train_loss:.4f}"
        line += f"{_accuracy(metrics.train_accuracy)} ({metrics.train_metrics})"
        if metrics.validation_loss is not None:
            accuracy = _accuracy(metrics.validation_accuracy)
            line += f"  validation loss {metrics.validation_loss:.4f}{accuracy}"
        if metrics.test_loss is not None:
            line += f"  test loss {metrics.test_loss:.4f}{_accuracy(metrics.test_accuracy)}"
        with suppress(OSError):  # the terminal is gone
            if self.bar is not None:
                self.bar.clear()
        say(f"{line}  {metrics.images_per_second:,.0f} images/s")
        if metrics.epoch == self.epochs:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            with suppress(OSError):
                self.bar.close()


def _accuracy(value: float | None) -> str:
    return "" if value is None else f" accuracy {value:.4f}"


class MetricsFile(Callback):
    """`metrics.csv`: a row for each epoch, a column for each field of `EpochMetrics`.

    Pass it after the checkpoints, so that a row says that there was a checkpoint of its epoch.
    The rows of an `Ensemble` are means over the networks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_start(self, model: Model) -> None:
        self.write(model)

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        self.write(model)

    def write(self, model: Model) -> None:
        if distributed.process_id() > 0:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(EpochMetrics._fields)
        history: Any = model.history
        writer.writerows(history.means() if hasattr(history, "means") else history)
        with files.saving(self.path) as file:
            file.write(text.getvalue().encode())


class Best(Callback):
    """`best.npz`: the parameters of the first epoch with the highest validation accuracy.

    Without validation, those of the last epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics: EpochMetrics | None = None
        self.arrays: dict[str, np.ndarray] = {}

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        accuracy = metrics.validation_accuracy
        if self.metrics is None or accuracy is None or accuracy > (self.metrics.validation_accuracy or 0.0):
            self.metrics = metrics
            snapshot = tree.items(model.snapshot())
            self.arrays = {name: model.backend.to_numpy(array) for name, array in snapshot}
            self.write()

    def state(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "arrays": self.arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        self.metrics, self.arrays = state["metrics"], state["arrays"]
        if self.metrics is not None:
            self.metrics = EpochMetrics(*self.metrics)
            self.write()  # the file may hold a later epoch, which will be trained again

    def write(self) -> None:
        if distributed.process_id() == 0:
            files.save_arrays(self.path, self.arrays)


class Timer(Callback):
    """The seconds that `fit` has taken, including those before the checkpoint of a resumed run."""

    def __init__(self) -> None:
        self.before = 0.0
        self.start: float | None = None  # None unless `fit` runs

    @property
    def seconds(self) -> float:
        return self.before + (0.0 if self.start is None else time.perf_counter() - self.start)

    def on_start(self, model: Model) -> None:
        self.start = time.perf_counter()

    def on_end(self, model: Model) -> None:
        self.before, self.start = self.seconds, None

    def state(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        self.before, self.start = state["seconds"], None


class Interrupts(Callback):
    """End `fit` after the current step on the signals that ask a process to end.

    SIGINT (Ctrl-C) and SIGTERM; SIGHUP, when the terminal or the connection is gone; SIGUSR1, SIGUSR2 and
    SIGXCPU, by which batch systems announce the end of a job's time. A second SIGINT or SIGTERM ends the
    process.

    Use it in a `with` block. Outside the main thread, which alone receives signals, it does nothing.

    Attributes:
        received: the first signal received, or None.
    """

    every_step = False

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.asked = False
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number != HANGUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
                    self.before[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by a C library

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if number in BY_HAND:  # others come twice, from kernel and shell, or before a SIGTERM
            if self.asked:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self.asked = True

    def on_start(self, model: Model) -> None:
        self.stop(model)

    def on_step(self, model: Model, step: int, n_steps: int) -> None:
        self.stop(model)

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        self.stop(model)

    def stop(self, model: Model) -> None:
        if self.received:
            model.stop()
