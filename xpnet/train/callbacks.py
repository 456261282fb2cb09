"""What happens beside the training steps: a progress bar, the table of metrics, the best epoch."""

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xpnet import files
from xpnet.callbacks import Callback
from xpnet.errors import DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.model import Model

REDRAW_SECONDS = 0.5  # of the progress bar: to draw it waits for the device


class Progress(Callback):
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
                unit=" steps",
                mininterval=0,
                disable=None,  # where standard error is no terminal
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
        line = (
            f"epoch {metrics.epoch:{width}}/{self.epochs}"
            f"  train loss {metrics.train_loss:.4f} accuracy {metrics.train_accuracy:.4f}"
            f"  validation loss {metrics.validation_loss:.4f} accuracy {metrics.validation_accuracy:.4f}"
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
        self.rows: list[EpochMetrics] = []
        self.write()

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        self.rows.append(metrics)
        self.write()

    def write(self) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(EpochMetrics._fields)
        writer.writerows(self.rows)
        with files.saving(self.path) as file:
            file.write(text.getvalue().encode())


class Best(Callback):
    """`best.npz`: the parameters of the first epoch with the highest validation accuracy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics: EpochMetrics | None = None

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        accuracy = metrics.validation_accuracy
        assert accuracy is not None
        if self.metrics is None or accuracy > (self.metrics.validation_accuracy or 0.0):
            model.save(self.path)
            self.metrics = metrics


class StopIfDiverged(Callback):
    """DivergedError after an epoch whose training loss is infinite or not a number."""

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        if not math.isfinite(metrics.train_loss):
            raise DivergedError(
                f"epoch {metrics.epoch}: expected a finite training loss, got {metrics.train_loss}; "
                f"a learning rate below {metrics.learning_rate:g} may help"
            )
