"""What may happen beside the training steps of `Model.fit`."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics

Model = Any  # xpnet.Model, which imports this module


class Companion(Protocol):
    """What goes along with `Model.fit`, a schedule or a callback, with a state that a checkpoint keeps."""

    def state(self) -> dict[str, Any]:
        """What `load_state` needs: a tree of arrays, of any library, and of what JSON can hold."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, with arrays of NumPy, and tuples for lists."""


class Callback:
    """Is told of each step and each epoch of `Model.fit`, and may call `model.stop()`.

    Attributes:
        every_step: whether `on_step`, where it is defined, has to see every single step. False lets
            backend "jax" run several steps in one go, which is faster, and tell of the last of them.
    """

    every_step: ClassVar[bool] = True

    def on_start(self, model: Model) -> None:
        """Before the first step of `fit`, and after `load_state` if it goes on from a checkpoint."""

    def on_step(self, model: Model, step: int, n_steps: int) -> None:
        """After step `step` (from 1) of the epoch's `n_steps`. Should seldom wait for the device."""

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        """After each whole epoch and its validation."""

    def on_end(self, model: Model) -> None:
        """At the end of `fit`; the last callback is the first to be told."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a tree of arrays, of any library, and of what JSON can hold."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, with NumPy's arrays, and tuples for lists."""


def watch_every_step(callbacks: Sequence[Callback]) -> bool:
    """Whether one of the callbacks has to be told of every single step."""
    return any(type(each).on_step is not Callback.on_step and each.every_step for each in callbacks)


class EarlyStopping(Callback):
    """Ends `fit` after `patience` epochs without a new best one, and goes back to the best one's parameters.

    (Prechelt, "Early stopping, but when?", 1998.)

    Arguments:
        patience: how many epochs in a row may be no better than the best.
        monitor: "validation_loss", of which less is better, or "validation_accuracy".
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
        if monitor not in ("validation_loss", "validation_accuracy"):
            raise ConfigError(
                f"EarlyStopping: expected monitor validation_loss or validation_accuracy, got {monitor!r}"
            )
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore = restore
        self.best = -math.inf
        self.best_epoch = 0
        self.snapshot: Any = None

    def on_start(self, model: Model) -> None:
        if self.best_epoch and model.epoch - self.best_epoch >= self.patience:
            model.stop()  # the checkpoint was written when it had stopped

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        value = getattr(metrics, self.monitor)
        if value is None:
            raise ConfigError(
                f"EarlyStopping: expected fit to have validation with a {self.monitor}, got none"
            )
        score = -value if self.monitor == "validation_loss" else value
        if score > self.best + self.min_delta:
            self.best, self.best_epoch = score, metrics.epoch
            self.snapshot = model.snapshot() if self.restore else None
        elif metrics.epoch - self.best_epoch >= self.patience:
            model.stop()

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "snapshot": self.snapshot}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.snapshot = state["best"], state["best_epoch"], state["snapshot"]

    def on_end(self, model: Model) -> None:
        if self.snapshot is not None:
            model.restore(self.snapshot)
