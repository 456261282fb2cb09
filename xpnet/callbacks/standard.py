"""Callbacks that need no other package: the base class, early stopping, checkpoints and predictions."""

import copy
import inspect
import math
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from xpnet import distributed
from xpnet._util import files
from xpnet._util.checks import is_number, require_flag, require_integer
from xpnet._util.text import shortened
from xpnet.errors import CheckpointError, ConfigError
from xpnet.metrics import EpochMetrics
from xpnet.tree import ArrayLike

if TYPE_CHECKING:
    from xpnet.model import Model


MONITORS = ["validation_loss", "validation_accuracy", "train_loss", "train_accuracy"]


class Stateful(Protocol):
    """A schedule or a callback: an object whose state goes into checkpoints."""

    def state(self) -> dict[str, Any]:
        """The state: a tree of arrays of any library and of values that JSON can hold."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, with NumPy arrays for arrays and tuples for lists."""


class Callback:
    """Base class of hooks that `Model.fit` calls; a hook may call `model.stop()`.

    A callback that remembers something defines `state` and `load_state`. Each `fit`, of the same model or of
    another one, then starts it afresh: `load_state` gets what `state` returned before the first `fit`. After
    `load_checkpoint` it gets the state in the checkpoint instead. After a `fit` of the same model that was
    interrupted (by `stop` within an epoch, or an exception, such as Ctrl-C), it goes on from where it was.
    What `state` does not return is the callback's own: set it in `on_start`. A callback serves one `fit` at a
    time; a hook may call `fit` of another model, with other callbacks.

    Attributes:
        every_step: whether to call `on_step` after every step. False: the backend may run up to
            `steps_at_once` steps in one call, which is faster on JAX, and `on_step` follows the last of them.
        each_network: whether each network of an `Ensemble` gets a copy of the callback, called with its
            `Model`. False: it is called with the ensemble, and with metrics that are means over the networks.
    """

    every_step: ClassVar[bool] = True
    each_network: ClassVar[bool] = False

    def on_start(self, model: "Model") -> None:
        """Called before the first step of `fit`; when resuming from a checkpoint, after `load_state`."""

    def on_step(self, model: "Model", step: int, n_steps: int) -> None:
        """Called after step `step` (from 1) of the epoch's `n_steps`. Waiting for the device here is slow.

        Where `fit` is given batches without a length, `n_steps` is `math.inf`.
        """

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        """Called after each complete epoch and its measurements."""

    def on_end(self, model: "Model") -> None:
        """Called at the end of `fit`, also after an exception, in reverse order of the callbacks.

        The model is as after the last complete step; if a step failed or the epoch diverged, as before the
        epoch. `fit` raises the exception afterwards; an exception raised here becomes a note to it.
        """

    def for_network(self, k: int) -> "Callback":
        """With `each_network`, the copy for network k of an `Ensemble`."""
        return copy.deepcopy(self)

    def state(self) -> dict[str, Any]:
        """The state to save in checkpoints: a tree of arrays of any library and of JSON values.

        Do not overwrite arrays on a device that it holds: make new ones.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned; a checkpoint gives NumPy arrays for arrays and tuples for lists."""

    def __repr__(self) -> str:
        """The constructor call, as far as attributes keep its arguments, without those left out."""
        given = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = repr(vars(self).get(name, parameter.default))
            if value not in (repr(parameter.default), repr(parameter.empty)):
                given.append(f"{name}={shortened(value, 40)}")
        return f"{type(self).__name__}({', '.join(given)})"


class EarlyStopping(Callback):
    """Stop `fit` after `patience` epochs without improvement, and restore the best epoch's parameters.

    Each `fit` starts afresh, as `Callback` says: one object can serve all models of a cross-validation. The
    networks of an `Ensemble` stop one by one.

    Arguments:
        patience: the number of epochs in a row without improvement after which `fit` stops.
        monitor: "validation_loss" or "train_loss" (lower is better), or "validation_accuracy" or
            "train_accuracy" (higher is better); those of the training are what `train_metrics` of `fit` says.
        min_delta: the least improvement that counts.
        restore: whether to restore the best epoch's parameters when `fit` ends, stopped early or not, and
            reset the optimizer. Their copy stays on the device.

    Raises ConfigError for a value out of range; in `fit`, if the epochs have no such metric.

    Prechelt, "Early stopping, but when?", 1998.
    """

    each_network = True

    def __init__(
        self,
        patience: int,
        monitor: str = "validation_loss",
        min_delta: float = 0.0,
        restore: bool = True,
    ) -> None:
        require_integer("EarlyStopping", "patience", patience)
        _check_monitor(self, monitor)
        if not is_number(min_delta) or min_delta < 0:
            raise ConfigError(
                f"EarlyStopping: expected min_delta to be a finite number and at least 0, got {min_delta!r}"
            )
        require_flag("EarlyStopping", "restore", restore)
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore = restore
        self.best = -math.inf
        self.best_epoch = 0
        self.last_epoch: int | None = None  # of those it was told; an interrupted model may be one further
        self.snapshot: Any = None

    def on_start(self, model: "Model") -> None:
        if self.best == -math.inf:
            self.best_epoch = model.epoch
        elif (self.last_epoch or model.epoch) - self.best_epoch >= self.patience:
            model.stop()  # the training had already stopped when the checkpoint was saved

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        score, self.last_epoch = _score(metrics, self.monitor), metrics.epoch
        if score is None:
            part, _, quantity = self.monitor.partition("_")
            data = f"{'training' if part == 'train' else part} data"
            way_out = f"monitor={part + '_loss'!r} or " if quantity == "accuracy" else ""
            way_out += "pass fit(…, validation=(x, y))"
            raise ConfigError(f"EarlyStopping: expected {data} with a {self.monitor}, got none; {way_out}")
        if score > self.best + self.min_delta:
            self.best, self.best_epoch = score, metrics.epoch
            self.snapshot = model.snapshot() if self.restore else None
        elif metrics.epoch - self.best_epoch >= self.patience:
            model.stop()

    def state(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "last_epoch": self.last_epoch,
            "snapshot": self.snapshot,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.snapshot = state["best"], state["best_epoch"], state["snapshot"]
        self.last_epoch = state.get("last_epoch")  # a file of an earlier version has none

    def on_end(self, model: "Model") -> None:
        if self.snapshot is not None:
            model.restore(self.snapshot)


class Checkpoints(Callback):
    """Keep a folder of checkpoints: the last two, and the best epoch's if there is validation data.

    Saves a checkpoint after each epoch, every `minutes` within an epoch, and when `fit` stops.
    `epoch-3-step-57.safetensors` is the checkpoint after 3 epochs and 57 steps. Pass it as the last callback,
    so that it saves the other callbacks' states after the epoch. Of several processes (`xpnet.distributed`)
    the first one writes, and reads for all. To resume in a new process:

        checkpoints = Checkpoints("folder")
        checkpoints.resume(model)
        model.fit(x, y, epochs=20 - model.epoch, callbacks=[checkpoints])

    Of an `Ensemble` each file holds all networks. A subclass with `each_network = True` keeps the folders
    `network-0`, `network-1`, … in the folder.

    Arguments:
        folder: the folder; created if it does not exist.
        minutes: the time between checkpoints within an epoch; math.inf for none.
        monitor: the metric that decides which epoch is best, one of those of `EarlyStopping`.

    Raises ConfigError for a value out of range; in `fit`, if the folder holds a checkpoint later than the
    model. Raises CheckpointError if a file cannot be written.
    """

    every_step = False

    def __init__(
        self, folder: str | Path, minutes: float = 10.0, monitor: str = "validation_accuracy"
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ConfigError(f"Checkpoints: expected folder to be a path, got {folder!r}")
        if not (minutes == math.inf or is_number(minutes)) or not minutes > 0:
            raise ConfigError(f"Checkpoints: expected minutes to be above 0, got {minutes!r}")
        _check_monitor(self, monitor)
        self.folder = Path(folder)
        self.minutes = minutes
        self.monitor = monitor
        self.saved: tuple[int, int] | None = None
        self.seen: tuple[int, int] | None = None
        self.saved_at = time.monotonic()

    def for_network(self, k: int) -> "Checkpoints":
        own = copy.copy(self)
        own.folder = self.folder / f"network-{k}"
        return own

    def resume(self, model: "Model") -> list[CheckpointError]:
        """Load the newest intact checkpoint, if there is one.

        Removes newer, damaged checkpoints and returns their errors. Raises CheckpointError if there are
        checkpoints but none fits the model.
        """
        errors: list[CheckpointError] = []
        positions = self._positions()
        newest_first = sorted(positions, key=positions.__getitem__, reverse=True)
        for path in distributed.files_of_first(newest_first):
            try:
                model.load_checkpoint(path)
            except CheckpointError as error:
                errors.append(error)
                continue
            for damaged in newest_first[: len(errors)]:
                damaged.unlink()
            return errors
        if errors:
            raise errors[0]
        return []

    def on_start(self, model: "Model") -> None:
        self.saved_at, self.seen, self.saved = time.monotonic(), _position(model), None
        if distributed.process_id() > 0:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.remove_temporaries(self.folder)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be written ({error.strerror})") from error
        newest = max(self._positions().values(), default=(0, 0))
        if newest > (model.epoch, model.epoch_step):
            raise ConfigError(
                f"Checkpoints: expected a folder without later checkpoints, got {self.folder} with step "
                f"{newest[1]} after epoch {newest[0]}; call resume(model) first, or choose another folder"
            )

    def on_step(self, model: "Model", step: int, n_steps: int) -> None:
        self.seen = _position(model)
        if step < n_steps and time.monotonic() - self.saved_at >= 60 * self.minutes:
            if model.has_diverged():
                model.stop()  # fit then raises DivergedError, and only finite checkpoints are kept
            else:
                self._save(model)

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        self.seen = _position(model)
        self._save(model)

    def on_end(self, model: "Model") -> None:
        # If the positions differ, either the model was reset after a failed step, or another callback failed
        # before this one was called. Then this callback's state does not belong to the model's step.
        if _position(model) == self.seen != self.saved and not model.has_diverged():
            self._save(model)

    def newest(self) -> Path | None:
        """The newest checkpoint in the folder; None if there is none."""
        positions = self._positions()
        return max(positions, key=positions.__getitem__, default=None)

    def _save(self, model: "Model") -> None:
        here = _position(model)
        if distributed.process_id() > 0:
            self.seen, self.saved = here, here
            return
        self.seen = None  # so that `on_end` does not try again after a failed write
        model.save_checkpoint(self.folder / "epoch-{}-step-{}.safetensors".format(*here))
        self.seen, self.saved, self.saved_at = here, here, time.monotonic()
        positions = self._positions()
        keep = {*sorted(positions.values())[-2:], (self._best_epoch(model.history), 0)}
        for path, position in positions.items():
            if position not in keep:
                path.unlink()

    def _positions(self) -> dict[Path, tuple[int, int]]:
        """The checkpoints in the folder, each with its position: (epochs done, steps of the next epoch)."""
        found = {}
        for path in self.folder.glob("*.safetensors"):
            if match := re.fullmatch(r"epoch-(\d+)-step-(\d+)\.safetensors", path.name):
                found[path] = int(match[1]), int(match[2])
        return found

    def _best_epoch(self, history: Sequence[EpochMetrics]) -> int | None:
        """The number of the best epoch, the first of equals; None without validation data."""
        scores = {metrics.epoch: _score(metrics, self.monitor) for metrics in history}
        with_score = {epoch: score for epoch, score in scores.items() if score is not None}
        return max(with_score, key=with_score.__getitem__, default=None)


class Predictions(Callback):
    """Keep the predictions for some examples after each epoch.

    Arguments:
        x: inputs (n, ...).
        batch_size: bounds the memory, as in `Model.predict`.

    Attributes:
        labels: what `Model.predict` gives after each epoch of the last `fit`, on the host: the class of each
            example (n,), or its outputs (n, d) if the loss has no classes. They go into checkpoints.
    """

    every_step = False

    def __init__(self, x: ArrayLike, batch_size: int = 250) -> None:
        self.x = x
        self.batch_size = require_integer("Predictions", "batch_size", batch_size)
        self.labels: list[np.ndarray] = []

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        self.labels.append(model.predict(self.x, self.batch_size))

    def state(self) -> dict[str, Any]:
        return {"labels": list(self.labels)}

    def load_state(self, state: dict[str, Any]) -> None:
        self.labels = list(state["labels"])


def _position(model: "Model") -> tuple[int, int]:
    """(epochs done, steps of the next epoch)."""
    return model.epoch, model.epoch_step


def _check_monitor(callback: Callback, monitor: Any) -> None:
    if monitor not in MONITORS:
        found = str(monitor)
        meant = [each for each in MONITORS if each.partition("_")[2][:3] in found]  # val_acc, loss
        meant.sort(key=lambda each: each.startswith("train") != found.startswith("train"))
        way_out = f"; write monitor={meant[0]!r}" if meant else ""
        expected = f"expected monitor {', '.join(MONITORS[:-1])} or {MONITORS[-1]}"
        raise ConfigError(f"{type(callback).__name__}: {expected}, got {monitor!r}{way_out}")


def _score(metrics: EpochMetrics, monitor: str) -> float | None:
    """The score; higher is better. None if the epoch has none."""
    value: Any = getattr(metrics, monitor)
    if getattr(value, "ndim", 0):  # of the networks of an ensemble
        value = float(np.nanmean(value)) if np.isfinite(value).any() else None
    return -value if value is not None and monitor.endswith("loss") else value
