"""Learning-rate schedules: how the factor on an optimizer's learning rate changes while it trains.

A schedule is called with the time in epochs, `schedule(2.5)` in the middle of the third one, and returns the
factor, a Python number: `Model.fit(…, schedule=Cosine(epochs=30))` asks it before each step. Time is not
counted in steps, so a schedule means the same for every batch size. A compiled step takes the learning
rate as an argument, and is not compiled anew when it changes.

All raise ConfigError for an argument out of its range.
"""

import math
from dataclasses import dataclass
from typing import Any

from xpnet._util.checks import is_number
from xpnet.errors import ConfigError


class Schedule:
    """What all schedules share."""

    def __call__(self, epoch: float) -> float:
        """The factor on the learning rate at that time, at least 0."""
        raise NotImplementedError

    def on_epoch(self, validation_loss: float | None) -> None:
        """Called at the end of each epoch; the validation loss is None if there is none."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, of a schedule that remembers anything: numbers that JSON can hold."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""


@dataclass(frozen=True)
class Constant(Schedule):
    """1 at all times."""

    def __call__(self, epoch: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Step(Schedule):
    """γ^⌊t / T⌋: the rate is multiplied by γ every T epochs. (PyTorch's StepLR.)

    Arguments:
        every: T > 0, in epochs.
        factor: γ > 0.
    """

    every: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        _require(self, "every", above=0)
        _require(self, "factor", above=0)

    def __call__(self, epoch: float) -> float:
        return _power(self.factor, math.floor(min(epoch / self.every, 1e300)))


@dataclass(frozen=True)
class Exponential(Schedule):
    """γᵗ: by γ smaller after every epoch, and by √γ after half of it. (PyTorch's ExponentialLR, for whole t.)

    Arguments:
        factor: γ > 0.
    """

    factor: float

    def __post_init__(self) -> None:
        _require(self, "factor", above=0)

    def __call__(self, epoch: float) -> float:
        return _power(self.factor, epoch)


@dataclass(frozen=True)
class Cosine(Schedule):
    """A rise from 0 to 1 along a line, over W epochs, then a fall to f along half a cosine, until epoch T.

    t / W  for t < W,  then  f + (1 - f) (1 + cos(π (t - W) / (T - W))) / 2,  and f after T

    (Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, eq. 5, without
    restarts; Goyal et al., "Accurate, large minibatch SGD", 2017, §2.2, for the warm-up. After the warm-up
    this is PyTorch's CosineAnnealingLR. The very first step has a rate of 0 if there is a warm-up.)

    Arguments:
        epochs: T > W.
        warmup: W ≥ 0.
        final: f ≥ 0.
    """

    epochs: float
    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _require(self, "warmup")
        _require(self, "epochs", above=self.warmup)
        _require(self, "final")

    def __call__(self, epoch: float) -> float:
        if epoch < self.warmup:
            return epoch / self.warmup
        return _half_cosine(1.0, self.final, (epoch - self.warmup) / (self.epochs - self.warmup))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Half a cosine from s up to 1 over the first part r of T epochs, then one from 1 down to f.

    The learning rate that the optimizer has is the highest. In the terms of PyTorch's OneCycleLR, s is
    1/div_factor and f is 1/(div_factor · final_div_factor). PyTorch is at the top and at the end one step
    earlier: its last step has f, where here its end has. The momentum, which it cycles too, stays.

    (Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2019.)

    Arguments:
        epochs: T > 0.
        rise: r, above 0 and below 1.
        start: s ≥ 0.
        final: f ≥ 0.
    """

    epochs: float
    rise: float = 0.3
    start: float = 1 / 25
    final: float = 1 / 25e4

    def __post_init__(self) -> None:
        _require(self, "epochs", above=0)
        _require(self, "rise", above=0, below=1)
        _require(self, "start")
        _require(self, "final")

    def __call__(self, epoch: float) -> float:
        top = self.rise * self.epochs
        if epoch < top:
            return _half_cosine(self.start, 1.0, epoch / top)
        return _half_cosine(1.0, self.final, (epoch - top) / (self.epochs - top))


class ReduceOnPlateau(Schedule):
    """Multiplies the rate by γ when the validation loss has not become lower for more than P epochs.

    (PyTorch's ReduceLROnPlateau with threshold 0.) It remembers the losses, so each
    training needs one of its own.

    Arguments:
        factor: γ, above 0 and below 1.
        patience: P ≥ 0.
    """

    def __init__(self, factor: float = 0.1, patience: int = 10) -> None:
        self.factor = factor
        self.patience = patience
        _require(self, "factor", above=0, below=1)
        _require(self, "patience")
        self.reduction = 1.0
        self.best = math.inf
        self.bad_epochs = 0

    def __call__(self, epoch: float) -> float:
        return self.reduction

    def on_epoch(self, validation_loss: float | None) -> None:
        if validation_loss is None:
            raise ConfigError("ReduceOnPlateau: expected fit to have validation, got none")
        if validation_loss < self.best:
            self.best, self.bad_epochs = validation_loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.reduction *= self.factor
            self.bad_epochs = 0

    def state(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state(self, state: dict[str, Any]) -> None:
        self.reduction, self.best, self.bad_epochs = state["reduction"], state["best"], state["bad_epochs"]


def _power(base: float, exponent: float) -> float:
    """Base to the exponent in floating point, ∞ where it is beyond that."""
    try:
        return float(base) ** float(exponent)
    except OverflowError:
        return math.inf


def _half_cosine(start: float, end: float, share: float) -> float:
    """From start to end while the share of the way goes from 0 to 1; the end afterwards."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def _require(schedule: Schedule, name: str, above: float | None = None, below: float = math.inf) -> None:
    """ConfigError unless that argument is a number below `below` and above `above`, or at least 0."""
    value = getattr(schedule, name)
    ok = is_number(value) and value < below and (value >= 0 if above is None else value > above)
    if not ok:
        least = "at least 0" if above is None else f"above {above:g}"
        most = "a finite number" if below == math.inf else f"a number below {below:g}"
        raise ConfigError(
            f"{type(schedule).__name__}: expected {name} to be {most} and {least}, got {value!r}"
        )
