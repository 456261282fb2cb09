"""Callbacks: hooks that `Model.fit` calls between its steps."""

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from xpnet._util import files
from xpnet.errors import CheckpointError, ConfigError
from xpnet.metrics import EpochMetrics

if TYPE_CHECKING:
    from xpnet.model import Model


class Stateful(Protocol):
    """A schedule or a callback, whose state a checkpoint keeps."""

    def state(self) -> dict[str, Any]:
        """The state: a tree of arrays, of any library, and of what JSON can hold."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, with NumPy's arrays, and tuples for lists."""


class Callback:
    """Base class of hooks that `Model.fit` calls; a hook may call `model.stop()`.

    Attributes:
        every_step: whether `on_step`, where it is defined, is called after every single step. False lets
            the backend run up to `steps_at_once` in one go, which is faster on JAX, and calls it after the
            last of them.
    """

    every_step: ClassVar[bool] = True

    def on_start(self, model: "Model") -> None:
        """Before the first step of `fit`, and after `load_state` if it goes on from a checkpoint."""

    def on_step(self, model: "Model", step: int, n_steps: int) -> None:
        """After step `step` (from 1) of the epoch's `n_steps`. Should seldom wait for the device."""

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        """After each whole epoch and its validation."""

    def on_end(self, model: "Model") -> None:
        """At the end of `fit`, also where an exception ends it; the last callback comes first.

        The model is then as after the last whole step; where a step failed or the epoch diverged, as before
        the epoch. The exception leaves `fit` afterwards; one that is raised here becomes a note to it.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a tree of arrays, of any library, and of what JSON can hold."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, with NumPy's arrays, and tuples for lists."""


class Hooks:
    """The callbacks of one `fit`, each called with its model.

    Attributes:
        every_step: whether one of them is to be called after every single step.
    """

    def __init__(self, model: "Model", callbacks: Sequence[Callback]) -> None:
        self.model = model
        self.callbacks = tuple(callbacks)
        self.every_step = any(
            type(each).on_step is not Callback.on_step and each.every_step for each in callbacks
        )

    def on_step(self, step: int, n_steps: int) -> None:
        for callback in self.callbacks:
            callback.on_step(self.model, step, n_steps)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        for callback in self.callbacks:
            callback.on_epoch(self.model, metrics)

    @contextmanager
    def from_start_to_end(self) -> Iterator[None]:
        """`on_start` of each before the block; however the block ends, `on_end` of those that started.

        Of several exceptions the first one is raised; the others become notes to it.
        """
        started: list[Callback] = []
        first: BaseException | None = None
        try:
            for callback in self.callbacks:
                callback.on_start(self.model)
                started.append(callback)
            yield
        except BaseException as error:
            first = error
        for callback in reversed(started):
            try:
                callback.on_end(self.model)
            except BaseException as error:
                if first is None:
                    first = error
                else:
                    first.add_note(f"{type(callback).__name__}.on_end: {error!r}")
        if first is not None:
            raise first


class EarlyStopping(Callback):
    """Ends `fit` after `patience` epochs without a new best one, and goes back to the best one's parameters.

    (Prechelt, "Early stopping, but when?", 1998.)

    Arguments:
        patience: how many epochs in a row may be no better than the best.
        monitor: "validation_loss" (lower is better) or "validation_accuracy" (higher is better).
        min_delta: by how much an epoch has to be better.
        restore: whether to go back to the best epoch's parameters when `fit` ends, stopped early or not.
            Their copy is on the device; the optimizer starts afresh from them.

    Raises ConfigError for a value out of its range, and in `fit` where there is no validation.
    """

    def __init__(
        self,
        patience: int,
        monitor: str = "validation_loss",
        min_delta: float = 0.0,
        restore: bool = True,
    ) -> None:
        if patience < 1:
            raise ConfigError(f"EarlyStopping: expected patience to be at least 1, got {patience!r}")
        _check_monitor(self, monitor)
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore = restore
        self.best = -math.inf
        self.best_epoch = 0
        self.snapshot: Any = None

    def on_start(self, model: "Model") -> None:
        if self.best_epoch and model.epoch - self.best_epoch >= self.patience:
            model.stop()  # the checkpoint was written when it had stopped

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        score = _score(metrics, self.monitor)
        if score is None:
            raise ConfigError(
                f"EarlyStopping: expected fit to have validation with a {self.monitor}, got none"
            )
        if score > self.best + self.min_delta:
            self.best, self.best_epoch = score, metrics.epoch
            self.snapshot = model.snapshot() if self.restore else None
        elif metrics.epoch - self.best_epoch >= self.patience:
            model.stop()

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "snapshot": self.snapshot}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.snapshot = state["best"], state["best_epoch"], state["snapshot"]

    def on_end(self, model: "Model") -> None:
        if self.snapshot is not None:
            model.restore(self.snapshot)


class Checkpoints(Callback):
    """Keeps a folder of checkpoints: the last two, and that of the best epoch if there is validation.

    One is written after each epoch, every so many minutes within an epoch, and where `fit` is stopped.
    `epoch-3-step-57.safetensors` is that after 3 epochs and 57 steps. It is to be the last callback, so
    that it finds the others as they are after the epoch. To go on, in a new process:

        checkpoints = Checkpoints("folder")
        checkpoints.resume(model)
        model.fit(x, y, epochs=20 - model.epoch, callbacks=[checkpoints])

    Arguments:
        folder: is made if need be.
        minutes: from one checkpoint to the next within an epoch; math.inf for none.
        monitor: what makes an epoch the best, "validation_accuracy" or "validation_loss".

    Raises ConfigError for a value out of its range, and in `fit` where the folder holds a training that
    has come further than the model; CheckpointError where a file cannot be written.
    """

    every_step = False

    def __init__(
        self, folder: str | Path, minutes: float = 10.0, monitor: str = "validation_accuracy"
    ) -> None:
        if not minutes > 0:
            raise ConfigError(f"Checkpoints: expected minutes to be above 0, got {minutes!r}")
        _check_monitor(self, monitor)
        self.folder = Path(folder)
        self.minutes = minutes
        self.monitor = monitor
        self.saved: tuple[int, int] | None = None
        self.seen: tuple[int, int] | None = None
        self.saved_at = time.monotonic()

    def resume(self, model: "Model") -> list[CheckpointError]:
        """Load the newest checkpoint that is whole, if there is any.

        Newer ones are removed; what was wrong with them is returned. Raises CheckpointError where there
        are checkpoints, and none fits the model.
        """
        errors: list[CheckpointError] = []
        newest_first = sorted(self._positions().items(), key=lambda item: item[1], reverse=True)
        for path, _ in newest_first:
            try:
                model.load_checkpoint(path)
            except CheckpointError as error:
                errors.append(error)
                continue
            for damaged, _ in newest_first[: len(errors)]:
                damaged.unlink()
            return errors
        if errors:
            raise errors[0]
        return []

    def on_start(self, model: "Model") -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.remove_temporaries(self.folder)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be written ({error.strerror})") from error
        newest = max(self._positions().values(), default=(0, 0))
        if newest > (model.epoch, model.epoch_step):
            raise ConfigError(
                f"Checkpoints: expected a folder of this training, got {self.folder}, where one has come to "
                f"step {newest[1]} after epoch {newest[0]}; resume(model) goes on from there"
            )
        self.saved_at, self.seen = time.monotonic(), _position(model)

    def on_step(self, model: "Model", step: int, n_steps: int) -> None:
        self.seen = _position(model)
        if step < n_steps and time.monotonic() - self.saved_at >= 60 * self.minutes:
            if model.has_diverged():
                model.stop()  # fit says why, and the checkpoints are good ones
            else:
                self._save(model)

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        self.seen = _position(model)
        self._save(model)

    def on_end(self, model: "Model") -> None:
        # A model that is elsewhere went back after a step failed, or another callback failed before this
        # one was called: its state does not belong to this step.
        if _position(model) == self.seen != self.saved and not model.has_diverged():
            self._save(model)

    def newest(self) -> Path | None:
        """The newest checkpoint in the folder."""
        positions = self._positions()
        return max(positions, key=positions.__getitem__, default=None)

    def _save(self, model: "Model") -> None:
        here = _position(model)
        self.seen = None  # where the file cannot be written, `on_end` does not try again
        model.save_checkpoint(self.folder / "epoch-{}-step-{}.safetensors".format(*here))
        self.seen, self.saved, self.saved_at = here, here, time.monotonic()
        positions = self._positions()
        keep = {*sorted(positions.values())[-2:], (self._best_epoch(model.history), 0)}
        for path, position in positions.items():
            if position not in keep:
                path.unlink()

    def _positions(self) -> dict[Path, tuple[int, int]]:
        """The checkpoints in the folder, each with its epochs and its steps of the next one."""
        found = {}
        for path in self.folder.glob("*.safetensors"):
            if match := re.fullmatch(r"epoch-(\d+)-step-(\d+)\.safetensors", path.name):
                found[path] = int(match[1]), int(match[2])
        return found

    def _best_epoch(self, history: Sequence[EpochMetrics]) -> int | None:
        """The first of the best epochs."""
        scores = {metrics.epoch: _score(metrics, self.monitor) for metrics in history}
        with_score = {epoch: score for epoch, score in scores.items() if score is not None}
        return max(with_score, key=with_score.__getitem__, default=None)


def _position(model: "Model") -> tuple[int, int]:
    """Epochs done, and steps of the next one."""
    return model.epoch, model.epoch_step


def _check_monitor(callback: Callback, monitor: str) -> None:
    if monitor not in ("validation_loss", "validation_accuracy"):
        raise ConfigError(
            f"{type(callback).__name__}: expected monitor validation_loss or validation_accuracy, "
            f"got {monitor!r}"
        )


def _score(metrics: EpochMetrics, monitor: str) -> float | None:
    """The score; higher is better. None where the epoch has none."""
    value = getattr(metrics, monitor)
    return -value if value is not None and monitor == "validation_loss" else value
