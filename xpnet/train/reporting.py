"""Callbacks of a run: the progress bar, the table of metrics, the best epoch, the timer and signals."""

import csv
import io
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from xpnet import tree
from xpnet._util import files
from xpnet.callbacks import Callback
from xpnet.metrics import EpochMetrics
from xpnet.model import Model

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
        if self.bar is None:
            self.bar = tqdm(
                total=self.epochs * n_steps,
                initial=model.epoch * n_steps + step - 1,
                unit=" steps",
                mininterval=0,
                disable=None,  # unless standard error is a terminal
                leave=False,
                dynamic_ncols=True,
            )
        if not self.bar.disable and time.monotonic() - self.drawn_at > REDRAW_SECONDS:
            loss = model.running_loss(self.n_examples * step // n_steps)
            self.bar.set_description(f"epoch {model.epoch + 1}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self.bar.update(model.epoch * n_steps + step - self.bar.n)
            self.drawn_at = time.monotonic()

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        width = len(str(self.epochs))
        validation = "  validation loss {:.4f} accuracy {:.4f}"
        line = (
            f"epoch {metrics.epoch:{width}}/{self.epochs}"
            f"  train loss {metrics.train_loss:.4f} accuracy {metrics.train_accuracy:.4f}"
            f"{'' if metrics.validation_loss is None else validation.format(*metrics[3:5])}"
            f"  {metrics.images_per_second:,.0f} images/s"
        )
        tqdm.write(line)
        if metrics.epoch == self.epochs:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class MetricsFile(Callback):
    """`metrics.csv`: a row for each epoch, a column for each field of `EpochMetrics`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_start(self, model: Model) -> None:
        self.write(model)

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        self.write(model)

    def write(self, model: Model) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(EpochMetrics._fields)
        writer.writerows(model.history)
        with files.saving(self.path) as file:
            file.write(text.getvalue().encode())


class Best(Callback):
    """`best.npz`: the parameters of the first epoch with the highest validation accuracy.

    Without validation they are those of the last epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics: EpochMetrics | None = None
        self.arrays: dict[str, np.ndarray] = {}

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        accuracy = metrics.validation_accuracy
        best = self.metrics and self.metrics.validation_accuracy
        if accuracy is None or best is None or accuracy > best:
            self.metrics = metrics
            snapshot = tree.items(model.snapshot())
            self.arrays = {name: model.backend.to_numpy(array) for name, array in snapshot}
            files.save_arrays(self.path, self.arrays)

    def state(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "arrays": self.arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        if state["metrics"] is not None:
            self.metrics, self.arrays = EpochMetrics(*state["metrics"]), state["arrays"]
            files.save_arrays(
                self.path, self.arrays
            )  # the file may hold a later epoch, which will be trained again


class Timer(Callback):
    """The seconds that `fit` has taken, including those before the checkpoint of a resumed run."""

    def __init__(self) -> None:
        self.before = 0.0
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.start

    def state(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        self.before = state["seconds"]


class Interrupts(Callback):
    """End `fit` after the current step on SIGINT (Ctrl-C) or SIGTERM; a second signal ends the process.

    Use it in a `with` block. Outside the main thread, which alone receives signals, it does nothing.

    Attributes:
        received: the first signal received, or None.
    """

    every_step = False

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if self.received:
            signal.raise_signal(number)
        self.received = signal.Signals(number)

    def on_start(self, model: Model) -> None:
        self.stop(model)

    def on_step(self, model: Model, step: int, n_steps: int) -> None:
        self.stop(model)

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        self.stop(model)

    def stop(self, model: Model) -> None:
        if self.received:
            model.stop()
