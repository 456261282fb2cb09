"""Learning-rate schedules: a factor on the learning rate of an optimizer, as a function of time.

`Model.fit(…, schedule=Cosine(epochs=30))` calls the schedule for each step with the time t in epochs, such as
`schedule(2.5)` in the middle of the third epoch. It returns the factor, a Python number. Time is in epochs,
not steps, so a schedule means the same for every batch size. A compiled step takes the learning rate as an
argument: a change does not compile it again.

All schedules raise ConfigError for an argument out of its range.
"""

import math
from dataclasses import dataclass
from typing import Any

from xpnet._util.checks import is_number, settled
from xpnet._util.numbers import whole
from xpnet.errors import ConfigError


class Schedule:
    """Base class of schedules. To write one, define `__call__`.

    A schedule that remembers something between epochs also defines `on_epoch`, `state` and `load_state`. Each
    `fit` then starts it afresh: `load_state` gets what `state` returned before the first `fit`. After
    `load_checkpoint` it gets the state in the checkpoint instead; after a `fit` of the same model that was
    interrupted (by `stop` or an exception, such as Ctrl-C), the schedule goes on from where it was.
    """

    def __call__(self, epoch: float) -> float:
        """The factor on the learning rate at this time, at least 0."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method __call__, got none")

    def factors_of_steps(self, epoch: int, n_steps: int) -> list[float]:
        """The factors for the steps of an epoch: by default, those at the start of each step."""
        return [self(epoch + step / n_steps) for step in range(n_steps)]

    def is_over(self, epoch: float) -> bool:
        """Whether the factor stays as it is from this time on. `fit` warns if it starts at such a time."""
        return False

    def on_epoch(self, validation_loss: float | None) -> None:
        """Called by `Model.fit` at the end of each epoch; validation_loss is None without validation."""

    def state(self) -> dict[str, Any]:
        """The state to keep in a checkpoint, a dict that JSON can hold; empty by default."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Constant learning rate: 1 at all times."""

    def __call__(self, epoch: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Step(Schedule):
    """Step decay: γ^⌊t / T⌋, which multiplies the learning rate by γ every T epochs.

    This is PyTorch's StepLR.

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
        return _power(self.factor, whole(min(epoch / self.every, 1e300)))


@dataclass(frozen=True)
class Exponential(Schedule):
    """Exponential decay: γᵗ.

    For whole t this is PyTorch's ExponentialLR; between, the factor changes with every step.

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
    """Cosine decay: a linear warm-up from 0 to 1 over W epochs, then half a cosine down to f at epoch T.

    t / W  for t < W,  then  f + (1 - f) (1 + cos(π (t - W) / (T - W))) / 2,  and f after T

    After the warm-up this is PyTorch's CosineAnnealingLR. In the warm-up, `fit` takes the factor at the end
    of each step, since that at the start of the first step is 0: of k steps, step i has i / k.

    Arguments:
        epochs: T > W.
        warmup: W ≥ 0.
        final: f ≥ 0.

    (Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, eq. 5, without
    restarts; Goyal et al., "Accurate, large minibatch SGD", 2017, §2.2, for the warm-up.)
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

    def factors_of_steps(self, epoch: int, n_steps: int) -> list[float]:
        starts = [epoch + step / n_steps for step in range(n_steps)]
        ends = [*starts[1:], float(epoch + 1)]
        return [
            min(end / self.warmup, 1.0) if start < self.warmup else self(start)
            for start, end in zip(starts, ends, strict=True)
        ]

    def is_over(self, epoch: float) -> bool:
        return epoch >= self.epochs


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle: half a cosine up from s to 1 until epoch r T, then half a cosine down to f at epoch T.

    s + (1 - s) (1 - cos(π t / (r T))) / 2  for t < r T,
    then  f + (1 - f) (1 + cos(π (t - r T) / (T - r T))) / 2,  and f after T

    The optimizer's own learning rate is the highest. With s = 0, the first step changes nothing. In PyTorch's
    OneCycleLR, s is 1/div_factor and f is 1/(div_factor · final_div_factor). PyTorch reaches the top and the
    end one step earlier, so that its last step has the factor f; it also cycles the momentum, which stays
    constant here.

    Arguments:
        epochs: T > 0.
        rise: r, above 0 and below 1.
        start: s ≥ 0.
        final: f ≥ 0.

    (Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2019.)
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

    def is_over(self, epoch: float) -> bool:
        return epoch >= self.epochs


class ReduceOnPlateau(Schedule):
    """Multiply the learning rate by γ after more than P epochs without a lower validation loss.

    The factor starts at 1; it becomes max(γ · factor, m), and then stays for at least C epochs. A loss is
    lower if it is below (1 - ε) · best with the threshold mode "rel", below best - ε with "abs".

    This is PyTorch's ReduceLROnPlateau, which has the threshold 0.0001, and instead of m the lowest learning
    rate: `min_factor` = min_lr / learning rate. Each `fit` starts at the full rate; see `Schedule`.

    Arguments:
        factor: γ, above 0 and below 1.
        patience: P ≥ 0.
        cooldown: C ≥ 0, the epochs after a reduction that do not count as epochs without a lower loss.
        min_factor: m, at least 0 and below 1.
        threshold: ε ≥ 0; below 1 with "rel".
        threshold_mode: "rel" or "abs".

    `Model.fit` raises ConfigError at the end of the first epoch if it has no validation data.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        cooldown: int = 0,
        min_factor: float = 0.0,
        threshold: float = 0.0,
        threshold_mode: str = "rel",
    ) -> None:
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.min_factor = min_factor
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        if threshold_mode not in ("rel", "abs"):
            raise ConfigError(
                f"ReduceOnPlateau: expected threshold_mode 'rel' or 'abs', got {threshold_mode!r}"
            )
        _require(self, "factor", above=0, below=1)
        _require(self, "patience")
        _require(self, "cooldown")
        _require(self, "min_factor", below=1)
        _require(self, "threshold", below=1 if threshold_mode == "rel" else math.inf)
        self.reduction = 1.0
        self.best = math.inf
        self.bad_epochs = 0
        self.resting = 0

    def __repr__(self) -> str:
        return f"ReduceOnPlateau(factor={self.factor}, patience={self.patience})"

    def __call__(self, epoch: float) -> float:
        return self.reduction

    def on_epoch(self, validation_loss: float | None) -> None:
        if validation_loss is None:
            raise ConfigError(
                "ReduceOnPlateau: expected validation data, got none; pass fit(…, validation=(x, y))"
            )
        relative = self.threshold_mode == "rel"
        goal = self.best * (1 - self.threshold) if relative else self.best - self.threshold
        if validation_loss < goal:
            self.best, self.bad_epochs = validation_loss, 0
        else:
            self.bad_epochs += 1
        if self.resting > 0:
            self.resting, self.bad_epochs = self.resting - 1, 0
        if self.bad_epochs > self.patience:
            self.reduction = max(self.reduction * self.factor, self.min_factor)
            self.resting, self.bad_epochs = self.cooldown, 0

    def state(self) -> dict[str, Any]:
        names = ("reduction", "best", "bad_epochs", "resting")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: dict[str, Any]) -> None:
        self.reduction, self.best, self.bad_epochs = state["reduction"], state["best"], state["bad_epochs"]
        self.resting = state.get("resting", 0)  # a checkpoint from before there was a cooldown


def _power(base: float, exponent: float) -> float:
    """base ** exponent in floating point; ∞ on overflow."""
    try:
        return float(base) ** float(exponent)
    except OverflowError:
        return math.inf


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` at progress 0 to `end` at progress 1; `end` afterwards."""
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def _require(schedule: Schedule, name: str, above: float | None = None, below: float = math.inf) -> None:
    """ConfigError unless above < argument < below; without `above`, unless 0 <= argument < below."""
    value = settled(schedule, name)
    ok = is_number(value) and value < below and (value >= 0 if above is None else value > above)
    if not ok:
        least = "at least 0" if above is None else f"above {above:g}"
        most = "a finite number" if below == math.inf else f"a number below {below:g}"
        raise ConfigError(
            f"{type(schedule).__name__}: expected {name} to be {most} and {least}, got {value!r}"
        )
