"""Losses for regression: functions of prediction - target, averaged over examples and outputs.

Shapes: prediction y (..., n, d), target t (..., n, d), or for d > 1 integer labels (..., n) that stand for
one-hot rows. For one output no integer is a label: numbers (..., n) are targets (..., n, 1). `Model` takes
targets of one output in the shape (n, 1) alone, as its errors say, so that (n,) never meets (n, 1).
"""

from dataclasses import dataclass
from typing import NamedTuple

from xpnet._util.checks import is_number, settled
from xpnet.backend import namespace, ops
from xpnet.losses._loss import Loss, has_labels, one_hot
from xpnet.tree import Array


class DifferenceResiduals(NamedTuple):
    difference: Array


def difference_of(prediction: Array, target: Array) -> Array:
    """y - t, where integer labels stand for one-hot rows t if y has more than one column."""
    if not has_labels(prediction, target):
        return prediction - target
    if prediction.shape[-1] == 1:
        return prediction - namespace(prediction).astype(target[..., None], prediction.dtype)
    return prediction - one_hot(target, like=prediction)


class Regression(Loss):
    """Base class of losses for regression."""

    examples = "independent"

    def labels(self, prediction: Array, target: Array) -> Array | None:
        return None if prediction.shape[-1] == 1 else super().labels(prediction, target)

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        *batch, n_out = prediction_shape
        if n_out == 1 and tuple(target.shape) == tuple(batch):
            expected = f"targets of shape {tuple(prediction_shape)} for one output"
            self._refuse(expected, f"{target.dtype} of shape {tuple(target.shape)}; pass y[:, None]")
        super().check(prediction_shape, target)


@dataclass(frozen=True, repr=False)
class MeanSquaredError(Regression):
    """Squared difference between prediction and target, averaged over the n examples and d outputs.

    L = 1/(n d) Σₙ Σᵢ (yₙᵢ - tₙᵢ)²

    dy = 2 (y - t) / (n d)

    PyTorch and Keras define the mean squared error in the same way. The definition 1/(2n) Σ‖y - t‖² of some
    courses is d/2 times this value.

    Shapes: y (..., n, d), target (..., n, d), or for d > 1 integer labels (..., n): one-hot rows.
    """

    examples = "independent"

    def forward(self, prediction: Array, target: Array) -> tuple[Array, DifferenceResiduals]:
        difference = difference_of(prediction, target)
        n, d = difference.shape[-2:]
        value = ops(difference).inner_product(difference, difference) / (n * d)
        return value, DifferenceResiduals(difference)

    def backward(self, residuals: DifferenceResiduals) -> Array:
        n, d = residuals.difference.shape[-2:]
        return residuals.difference * (2 / (n * d))


@dataclass(frozen=True, repr=False)
class MeanAbsoluteError(Regression):
    """Absolute difference between prediction and target, averaged over the n examples and d outputs.

    L = 1/(n d) Σₙ Σᵢ |yₙᵢ - tₙᵢ|

    dy = sign(y - t) / (n d), which is 0 where y = t

    Shapes: y (..., n, d), target (..., n, d), or for d > 1 integer labels (..., n): one-hot rows.
    """

    examples = "independent"

    def forward(self, prediction: Array, target: Array) -> tuple[Array, DifferenceResiduals]:
        xp = namespace(prediction)
        difference = difference_of(prediction, target)
        return xp.mean(xp.abs(difference), axis=(-2, -1)), DifferenceResiduals(difference)

    def backward(self, residuals: DifferenceResiduals) -> Array:
        n, d = residuals.difference.shape[-2:]
        dprediction = ops(residuals.difference).sign(residuals.difference)
        dprediction *= 1 / (n * d)
        return dprediction


class HuberResiduals(NamedTuple):
    clipped: Array


@dataclass(frozen=True, repr=False)
class Huber(Regression):
    """Huber loss: quadratic for small differences, linear for large ones, so that outliers weigh less.

    r = y - t,  c = min(max(r, -δ), δ)
    L = 1/(n d) Σₙ Σᵢ cₙᵢ (rₙᵢ - cₙᵢ / 2), that is r²/2 where |r| ≤ δ, else δ (|r| - δ/2)

    dy = c / (n d)

    This is PyTorch's HuberLoss. For δ → ∞ it becomes half the mean squared error.

    Shapes: y (..., n, d), target (..., n, d), or for d > 1 integer labels (..., n): one-hot rows.

    Arguments:
        delta: δ > 0, where the loss changes from quadratic to linear.

    Raises ConfigError for a delta out of its range.

    (Huber, "Robust estimation of a location parameter", 1964.)
    """

    examples = "independent"

    delta: float = 1.0

    def __post_init__(self) -> None:
        ok = is_number(settled(self, "delta")) and self.delta > 0
        self._require(ok, "delta", "a finite number above 0")

    def forward(self, prediction: Array, target: Array) -> tuple[Array, HuberResiduals]:
        xp = namespace(prediction)
        difference = difference_of(prediction, target)
        limit = xp.full_like(difference, self.delta)  # `clip` waits for the device on CuPy
        clipped = xp.minimum(xp.maximum(difference, -limit), limit)
        value = difference - 0.5 * clipped
        value *= clipped
        return xp.mean(value, axis=(-2, -1)), HuberResiduals(clipped)

    def backward(self, residuals: HuberResiduals) -> Array:
        n, d = residuals.clipped.shape[-2:]
        return residuals.clipped * (1 / (n * d))
