"""Losses for classification."""

from dataclasses import dataclass
from typing import NamedTuple

from xpnet import special
from xpnet.backend import namespace, ops
from xpnet.losses._loss import Loss, has_labels, is_finite, one_hot
from xpnet.tree import Array


class CrossEntropyResiduals(NamedTuple):
    """Fields: the probabilities p, and the targets t with smoothing and weights."""

    p: Array
    t: Array


@dataclass(frozen=True, repr=False)
class CrossEntropy(Loss):
    """Cross-entropy of the softmax of the logits z, averaged over n examples.

    p = softmax(z),  L = -1/n Σₙ Σᵢ tₙᵢ log pₙᵢ

    dz = (p - t) / n

    where integer labels stand for one-hot rows t. Softmax and logarithm are computed together, after
    subtracting the largest logit. So logits of ±1e4 give neither infinities nor NaN, and the gradient needs
    no division.

    With label smoothing ε, t becomes (1 - ε) t + ε/d. With class weights w, t then becomes w t, and

    dz = (p Σᵢ tᵢ - t) / n

    With class weights, the loss is still a sum over examples divided by n. PyTorch divides by the sum of the
    weights of the labels instead, so that a batch of rare classes counts no more than one of common classes.

    Shapes: z (..., n, d), target integer labels (..., n) or probabilities (..., n, d). dz is exact if each
    row of probabilities sums to 1.

    Arguments:
        label_smoothing: ε, 0 ≤ ε < 1.
        class_weights: w, a tuple of d numbers of at least 0.

    Raises ConfigError for a value out of its range.

    (Bishop, "Pattern Recognition and Machine Learning", 2006, §4.3.4; Szegedy et al., "Rethinking the
    Inception architecture for computer vision", 2016, §7, for label smoothing.)
    """

    examples = "independent"

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        ok = is_finite(self.label_smoothing) and 0 <= self.label_smoothing < 1
        self._require(ok, "label_smoothing", "a number below 1 and at least 0")
        weights = () if self.class_weights is None else self.class_weights
        ok = isinstance(weights, tuple) and all(is_finite(w) and w >= 0 for w in weights)
        self._require(ok, "class_weights", "a tuple of finite numbers of at least 0")

    def forward(self, logits: Array, target: Array) -> tuple[Array, CrossEntropyResiduals]:
        xp = namespace(logits)
        log_p = logits - ops(logits).row_maxima(logits)
        p = xp.exp(log_p)
        total = ops(p).row_sums(p)
        p /= total
        log_p -= xp.log(total)
        t = one_hot(target, like=p) if has_labels(logits, target) else target
        if self.label_smoothing != 0:
            t = (1 - self.label_smoothing) * t
            t += self.label_smoothing / t.shape[-1]
        if self.class_weights is not None:
            t = t * ops(t).constant(self.class_weights, like=t)
        return ops(t).inner_product(t, log_p) / -logits.shape[-2], CrossEntropyResiduals(p, t)

    def backward(self, residuals: CrossEntropyResiduals) -> Array:
        p, t = residuals
        if self.class_weights is not None:
            p = p * namespace(t).sum(t, axis=-1, keepdims=True)
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
        """softmax(z): the probabilities of the classes, (..., n, d)."""
        return special.softmax(logits)

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        weights, n_out = self.class_weights, prediction_shape[-1]
        if weights is not None and len(weights) != n_out:
            self._refuse(f"logits of {len(weights)} classes, one for each of class_weights", f"{n_out}")
        super().check(prediction_shape, target)


class BinaryCrossEntropyResiduals(NamedTuple):
    logits: Array
    t: Array


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of d binary outputs with logits z, averaged over the n examples and the d outputs.

    p = σ(z),  L = -1/(n d) Σₙ Σᵢ (tₙᵢ log pₙᵢ + (1 - tₙᵢ) log(1 - pₙᵢ))
                 = 1/(n d) Σₙ Σᵢ (max(zₙᵢ, 0) - zₙᵢ tₙᵢ + log(1 + e^-|zₙᵢ|))

    dz = (p - t) / (n d)

    The code computes the second form: the first has logarithms of 0 for large |z|.

    The predicted class is 1 where z > 0, else 0. The true class is 1 where t > 1/2. An example is an error if
    any of its d classes is wrong.

    Shapes: z (..., n, d), target (..., n, d), from 0 to 1; for d = 1 also integer labels (..., n), 0 or 1.

    (Bishop, "Pattern Recognition and Machine Learning", 2006, §4.3.2.)
    """

    examples = "independent"

    def forward(self, logits: Array, target: Array) -> tuple[Array, BinaryCrossEntropyResiduals]:
        xp = namespace(logits)
        t = xp.astype(target[..., None], logits.dtype) if has_labels(logits, target) else target
        value = xp.maximum(logits, xp.zeros_like(logits))
        value -= logits * t
        value += xp.log1p(xp.exp(-xp.abs(logits)))
        return xp.mean(value, axis=(-2, -1)), BinaryCrossEntropyResiduals(logits, t)

    def backward(self, residuals: BinaryCrossEntropyResiduals) -> Array:
        n, d = residuals.logits.shape[-2:]
        dlogits = special.sigmoid(residuals.logits)
        dlogits -= residuals.t
        dlogits *= 1 / (n * d)
        return dlogits

    def errors(self, prediction: Array, target: Array) -> Array:
        xp = namespace(prediction)
        positive = target[..., None] > 0 if has_labels(prediction, target) else target > 0.5
        wrong = xp.any((prediction > 0) != positive, axis=-1)
        return xp.sum(xp.astype(wrong, xp.int32), axis=-1)

    def predict(self, prediction: Array) -> Array:
        """The predicted classes, 0 or 1: (..., n) for d = 1, otherwise (..., n, d)."""
        xp = namespace(prediction)
        classes = xp.astype(prediction > 0, xp.int32)
        return classes[..., 0] if prediction.shape[-1] == 1 else classes

    def probabilities(self, logits: Array) -> Array:
        """σ(z): the probability of class 1 for each output, (..., n, d)."""
        return special.sigmoid(logits)

    def classes(self, n_out: int) -> int:
        return 2

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        shape, n_out = tuple(target.shape), prediction_shape[-1]
        if target.ndim == len(prediction_shape) - 1 and n_out != 1:
            self._refuse(f"targets of shape {tuple(prediction_shape)}", f"{target.dtype} of shape {shape}")
        super().check(prediction_shape, target)
        if target.ndim == len(prediction_shape) and 0 not in shape:
            xp = namespace(target)
            low, high = float(xp.min(target)), float(xp.max(target))
            if low < 0 or high > 1:
                self._refuse("targets from 0 to 1", f"targets from {low:g} to {high:g}")


class HingeResiduals(NamedTuple):
    """Fields: [v > 0] for the wrong classes, 0 for the true class; and one-hot rows of the labels."""

    violated: Array
    t: Array


@dataclass(frozen=True, repr=False)
class Hinge(Loss):
    """Multi-class hinge loss: the score of the true class y should exceed all others by the margin Δ.

    vᵢ = zᵢ - z_y + Δ,  L = 1/n Σₙ Σ_{i≠y} max(vₙᵢ, 0)

    dzᵢ = [vᵢ > 0] / n for i ≠ y,  dz_y = -Σ_{i≠y} [vᵢ > 0] / n

    The derivative of max(v, 0) at v = 0 is set to 0. The course CS231n uses this loss; PyTorch's
    MultiMarginLoss is 1/d times this value.

    Shapes: scores z (..., n, d), target integer labels (..., n).

    Arguments:
        margin: Δ > 0.

    Raises ConfigError for a margin out of its range.

    (Weston and Watkins, "Support vector machines for multi-class pattern recognition", 1999.)
    """

    examples = "independent"

    margin: float = 1.0

    def __post_init__(self) -> None:
        self._require(is_finite(self.margin) and self.margin > 0, "margin", "a finite number above 0")

    def forward(self, scores: Array, target: Array) -> tuple[Array, HingeResiduals]:
        xp = namespace(scores)
        t = one_hot(target, like=scores)
        v = scores - xp.sum(scores * t, axis=-1, keepdims=True)
        v += self.margin
        violated = xp.astype(v > 0, v.dtype)
        violated -= t  # v of the true class is Δ > 0, but is not part of the sum
        v *= violated
        return xp.sum(v, axis=(-2, -1)) / scores.shape[-2], HingeResiduals(violated, t)

    def backward(self, residuals: HingeResiduals) -> Array:
        violated, t = residuals
        dscores = violated - t * namespace(t).sum(violated, axis=-1, keepdims=True)
        dscores /= t.shape[-2]
        return dscores

    def predict(self, prediction: Array) -> Array:
        return namespace(prediction).argmax(prediction, axis=-1)

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        if target.ndim == len(prediction_shape):
            expected = f"integer labels of shape {tuple(prediction_shape[:-1])}"
            self._refuse(expected, f"{target.dtype} of shape {tuple(target.shape)}")
        super().check(prediction_shape, target)
