"""Losses: how wrong a prediction is, as one number, and the gradient of that number.

A loss has `forward(prediction, target) -> (value, residuals)` and `backward(residuals) ->
dprediction`. The value is a 0-d array, the mean over the n examples of a batch; predictions
`(K, n, d)` of K networks give K values.

Targets are integer labels (..., n), the classes 0 to d-1, or an array of the prediction's shape.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import device, namespace
from xpnet.errors import ShapeError
from xpnet.tree import Array


class Loss:
    """What all losses share. `forward` and `backward` never write into what they are given."""

    def forward(self, prediction: Array, target: Array) -> tuple[Array, Any]:
        raise NotImplementedError

    def backward(self, residuals: Any) -> Array:
        raise NotImplementedError

    def errors(self, prediction: Array, target: Array) -> Array | None:
        """The number of wrong predictions in the batch, a 0-d array of integers.

        None where the target names no class. Of equal outputs, the first one counts.
        """
        labels = self.labels(prediction, target)
        if labels is None:
            return None
        xp = namespace(prediction)
        wrong = xp.argmax(prediction, axis=-1) != labels
        return xp.sum(xp.astype(wrong, labels.dtype), axis=-1)

    def labels(self, prediction: Array, target: Array) -> Array | None:
        """The class that the target names for each example, or None."""
        return target if has_labels(prediction, target) else None

    def predict(self, prediction: Array) -> Array:
        """What the network's output stands for: the class of each example, or the output itself."""
        return prediction

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        """ShapeError unless the target suits a prediction of that shape.

        For integer labels this looks at their values, which waits for the device.
        """
        *batch, n_out = prediction_shape
        xp = namespace(target)
        if xp.isdtype(target.dtype, "integral") and target.ndim == len(batch):
            if tuple(target.shape) != tuple(batch):
                self._refuse(f"{batch[-1]} labels, one for each example", f"{target.shape[-1]}")
            if min(batch) > 0:
                low, high = int(xp.min(target)), int(xp.max(target))
                if low < 0 or high >= n_out:
                    self._refuse(f"labels from 0 to {n_out - 1}", f"labels from {low} to {high}")
        elif tuple(target.shape) != tuple(prediction_shape) or not xp.isdtype(target.dtype, "real floating"):
            self._refuse(
                f"integer labels of shape {tuple(batch)} or real targets of shape {tuple(prediction_shape)}",
                f"{target.dtype} of shape {tuple(target.shape)}",
            )

    def _refuse(self, expected: str, got: str) -> None:
        raise ShapeError(f"{self}: expected {expected}, got {got}")


def has_labels(prediction: Array, target: Array) -> bool:
    """Whether the target is integer labels, not an array of the prediction's shape."""
    return target.ndim == prediction.ndim - 1


def one_hot(labels: Array, like: Array) -> Array:
    """(..., n) labels as rows of zeros with a one, in the shape's last axis and dtype of `like`."""
    xp = namespace(like)
    classes = xp.arange(like.shape[-1], dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[..., None] == classes, like.dtype)


class CrossEntropyResiduals(NamedTuple):
    p: Array
    t: Array


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of the softmax of logits z, averaged over n examples.

    p = softmax(z),  L = -1/n Σₙ Σᵢ tₙᵢ log pₙᵢ

    dz = (p - t) / n

    where t is one-hot for integer labels. Softmax and logarithm are one function here: the largest
    logit is subtracted first, so that logits of ±1e4 give neither infinities nor NaN, and the
    gradient needs no division. (Bishop, "Pattern Recognition and Machine Learning", 2006, §4.3.4.)

    Shapes: z (..., n, d), target integer labels (..., n) or probabilities (..., n, d), whose rows
    must each sum to 1 for dz to be exact.
    """

    def forward(self, logits: Array, target: Array) -> tuple[Array, CrossEntropyResiduals]:
        xp = namespace(logits)
        log_p = logits - xp.max(logits, axis=-1, keepdims=True)
        p = xp.exp(log_p)
        total = xp.sum(p, axis=-1, keepdims=True)
        p /= total
        log_p -= xp.log(total)
        t = one_hot(target, like=p) if has_labels(logits, target) else target
        log_p *= t
        return xp.sum(log_p, axis=(-2, -1)) / -logits.shape[-2], CrossEntropyResiduals(p, t)

    def backward(self, residuals: CrossEntropyResiduals) -> Array:
        p, t = residuals
        dlogits = p - t
        dlogits /= p.shape[-2]
        return dlogits

    def labels(self, prediction: Array, target: Array) -> Array:
        if has_labels(prediction, target):
            return target
        return namespace(target).argmax(target, axis=-1)

    def predict(self, prediction: Array) -> Array:
        return namespace(prediction).argmax(prediction, axis=-1)

    def probabilities(self, logits: Array) -> Array:
        """softmax(z): the probability of each class, (..., n, d)."""
        xp = namespace(logits)
        p = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
        p /= xp.sum(p, axis=-1, keepdims=True)
        return p


class MeanSquaredErrorResiduals(NamedTuple):
    difference: Array


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Squared difference of prediction and target, averaged over the n examples and d outputs.

    L = 1/(n d) Σₙ Σᵢ (yₙᵢ - tₙᵢ)²

    dy = 2 (y - t) / (n d)

    This is what PyTorch and Keras call the mean squared error. Courses that write 1/(2n) Σ‖y - t‖²
    have d/2 times this value.

    Shapes: y (..., n, d), target (..., n, d), or integer labels (..., n) that stand for one-hot rows.
    """

    def forward(self, prediction: Array, target: Array) -> tuple[Array, MeanSquaredErrorResiduals]:
        t = one_hot(target, like=prediction) if has_labels(prediction, target) else target
        difference = prediction - t
        value = namespace(prediction).mean(difference * difference, axis=(-2, -1))
        return value, MeanSquaredErrorResiduals(difference)

    def backward(self, residuals: MeanSquaredErrorResiduals) -> Array:
        n, d = residuals.difference.shape[-2:]
        return residuals.difference * (2 / (n * d))


def l2(weights: list[Array], strength: float) -> Array:
    """The penalty λ/2 · Σ w² over all elements of all arrays; its gradient at w is λ w.

    Shapes: weights of any shape, the value 0-d. λ is `strength`.
    """
    penalty = sum(namespace(w).sum(w * w) for w in weights)
    return 0.5 * strength * penalty
