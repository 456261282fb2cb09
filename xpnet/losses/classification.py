"""Losses for classification: each example has one class."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xpnet import special
from xpnet._util.checks import is_number, settled
from xpnet.backend import namespace, ops
from xpnet.errors import ConfigError
from xpnet.losses import _class_weights
from xpnet.losses._loss import Loss, has_labels, one_hot
from xpnet.tree import Array


class CrossEntropyResiduals(NamedTuple):
    """Fields: the probabilities p; the targets t with smoothing and weights; Σᵢ tᵢ of each row, or None where
    it is 1; the number of examples that count, at least 1, or None for all.
    """

    p: Array
    t: Array
    mass: Array | None
    n: Array | None


@dataclass(frozen=True, repr=False)
class CrossEntropy(Loss):
    """Cross-entropy of the softmax of the logits z, averaged over n examples.

    p = softmax(z),  L = -1/n Σₙ Σᵢ tₙᵢ log pₙᵢ, where 0 log 0 = 0

    dzₙ = (pₙ Σᵢ tₙᵢ - tₙ) / n

    where integer labels stand for one-hot rows t. Rows of targets need not sum to 1; a row of zeros is an
    example without a label. Softmax and logarithm are computed together, after subtracting the largest logit.
    So logits of ±1e4 give neither infinities nor NaN, and the gradient needs no division. A logit of -∞ rules
    its class out: p = 0, and L = ∞ if the class has t > 0.

    With label smoothing ε, t becomes (1 - ε) t + ε/d Σᵢ tᵢ. With class weights w, t then becomes w t. The
    loss is still a sum over examples divided by n. PyTorch divides by the sum of the weights of the labels
    instead, so that a batch of rare classes counts no more than one of common classes.

    With `ignore_label`, examples with that label, or with a row of zeros, do not count: they have t = 0, and
    n is the number of the others. Where none counts, L and dz are 0.

    Shapes: z (..., n, d), target integer labels (..., n) or numbers of at least 0 (..., n, d). d is at least
    2; one output with two classes is for `BinaryCrossEntropy`.

    Arguments:
        label_smoothing: ε, 0 ≤ ε < 1.
        class_weights: w, d numbers of at least 0 as a list, tuple or array; or a dict {class: weight}, in
            which missing classes weigh 1; or "balanced": `Model.fit` counts the classes of its targets, and
            class i weighs n / (k nᵢ), where k classes occur, as in scikit-learn.
        ignore_label: a label such as -100 (PyTorch's default) of examples to leave out; None: no label.

    Raises ConfigError for a value out of its range.

    (Bishop, "Pattern Recognition and Machine Learning", 2006, §4.3.4; Szegedy et al., "Rethinking the
    Inception architecture for computer vision", 2016, §7, for label smoothing.)
    """

    examples = "independent"

    label_smoothing: float = 0.0
    class_weights: Any = None
    ignore_label: int | None = None

    def __post_init__(self) -> None:
        ok = is_number(settled(self, "label_smoothing")) and 0 <= self.label_smoothing < 1
        self._require(ok, "label_smoothing", "a number below 1 and at least 0")
        weights = _class_weights.hashable(self.class_weights)
        object.__setattr__(self, "class_weights", weights)
        ok = weights is None or weights == "balanced" or _class_weights.are_valid(weights)
        self._require(ok, "class_weights", _class_weights.EXPECTED)
        label = settled(self, "ignore_label")
        ok = label is None or (type(label) is int and -(2**31) <= label < 2**31)
        self._require(ok, "ignore_label", "an integer of 32 bits or None")

    def forward(self, logits: Array, target: Array) -> tuple[Array, CrossEntropyResiduals]:
        xp = namespace(logits)
        log_p = logits - ops(logits).row_maxima(logits)
        p = xp.exp(log_p)
        total = ops(p).row_sums(p)
        p /= total
        log_p -= xp.log(total)
        t, mass = self._targets(target, like=p)
        value = ops(t).weighted_sum(t, log_p)
        if self.ignore_label is None:
            return value / -logits.shape[-2], CrossEntropyResiduals(p, t, mass, None)
        count: Any = self.count(tuple(logits.shape), target)
        n = xp.astype(xp.maximum(count, xp.ones_like(count)), p.dtype)
        return -value / n, CrossEntropyResiduals(p, t, mass, n)

    def _targets(self, target: Array, like: Array) -> tuple[Array, Array | None]:
        """t with smoothing and weights, and Σᵢ tᵢ of each row, or None where it is 1."""
        is_one = has_labels(like, target)
        t = one_hot(target, like) if is_one else target
        if self.label_smoothing != 0:
            mass = 1 if is_one else ops(t).row_sums(t)
            t = (1 - self.label_smoothing) * t
            t += mass * (self.label_smoothing / t.shape[-1])
        if self.class_weights is not None:
            t = t * ops(t).constant(self._weights(t.shape[-1]), like=t)
            is_one = False
        if self.ignore_label is not None:
            counts = namespace(like).astype(self._counts(like.ndim, target), like.dtype)
            t = t * counts[..., None]
            is_one = False
        return t, None if is_one else ops(t).row_sums(t)

    def backward(self, residuals: CrossEntropyResiduals) -> Array:
        p, t, mass, n = residuals
        if mass is not None:
            p = p * mass
        dlogits = p - t
        dlogits /= p.shape[-2] if n is None else n[..., None, None]
        return dlogits

    def labels(self, prediction: Array, target: Array) -> Array:
        if has_labels(prediction, target):
            return target
        return namespace(target).argmax(target, axis=-1)

    def errors(self, prediction: Array, target: Array) -> Array:
        if has_labels(prediction, target) and self.ignore_label is None:
            return super().errors(prediction, target)  # type: ignore[return-value]
        xp = namespace(prediction)
        wrong = xp.argmax(prediction, axis=-1) != self.labels(prediction, target)
        wrong = wrong & self._counts(prediction.ndim, target)
        return xp.sum(xp.astype(wrong, xp.int32), axis=-1)

    def count(self, prediction_shape: tuple[int, ...], target: Array) -> Array | None:
        if self.ignore_label is None:
            return None
        xp = namespace(target)
        return xp.sum(xp.astype(self._counts(len(prediction_shape), target), xp.int32), axis=-1)

    def _counts(self, ndim: int, target: Array) -> Array:
        """Whether each example has a label that counts, (..., n), for predictions with `ndim` axes."""
        if target.ndim == ndim - 1:
            return target != self.ignore_label
        return namespace(target).any(target != 0, axis=-1)

    def predict(self, prediction: Array) -> Array:
        return namespace(prediction).argmax(prediction, axis=-1)

    def probabilities(self, logits: Array) -> Array:
        """softmax(z): the probabilities of the classes, (..., n, d)."""
        return special.softmax(logits)

    def balanced(self, target: Array, weights: Array | None = None) -> "CrossEntropy":
        """The same loss with the numbers that "balanced" class weights are for these targets.

        With weights of examples (n,), an example counts as often as it weighs.
        """
        xp = namespace(target)
        if target.ndim == 1:
            n = max(int(xp.max(target)), -1) + 1
            t = xp.astype(target[:, None] == xp.arange(n), xp.float64)
            if self.ignore_label is not None:
                t = t * xp.astype(target != self.ignore_label, xp.float64)[:, None]
        else:
            t = xp.astype(target, xp.float64)
        if weights is not None:
            t = t * xp.astype(weights, xp.float64)[:, None]
        counts = [float(count) for count in xp.sum(t, axis=0)]
        return replace(self, class_weights=_class_weights.balanced(counts) or None)

    def _weights(self, n_out: int) -> tuple[float, ...]:
        """The weight of each class."""
        if self.class_weights == "balanced":
            raise ConfigError(
                f"{self}: expected weights computed by Model.fit from the labels to train on, got none; "
                "call fit first"
            )
        weights = _class_weights.of_each_class(self.class_weights, n_out)
        if weights is None:
            named = isinstance(self.class_weights[0], tuple)
            classes = max(dict(self.class_weights)) + 1 if named else len(self.class_weights)
            expected = f"logits of {'at least ' * named}{classes} classes, one for each of class_weights"
            self._refuse(expected, f"{n_out}")
        return weights

    def check_outputs(self, n_out: int) -> None:
        _require_classes(self, n_out)
        if self.class_weights not in (None, "balanced"):
            self._weights(n_out)

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        super().check(prediction_shape, target)
        if target.ndim == len(prediction_shape) and 0 not in target.shape:
            xp = namespace(target)
            low, high = float(xp.min(target)), float(xp.max(target))
            if not (low >= 0 and is_number(high)):
                self._refuse("targets of at least 0", f"targets from {low:g} to {high:g}")

    def _check_range(self, labels: Array, last: int) -> None:
        if self.ignore_label is not None:
            xp = namespace(labels)
            labels = xp.where(labels == self.ignore_label, xp.zeros_like(labels), labels)
        super()._check_range(labels, last)


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

    A score of -∞ rules its class out: it violates no margin.

    Shapes: scores z (..., n, d), target integer labels (..., n). d is at least 2; one output with two classes
    is for `BinaryCrossEntropy`.

    Arguments:
        margin: Δ > 0.

    Raises ConfigError for a margin out of its range.

    (Weston and Watkins, "Support vector machines for multi-class pattern recognition", 1999.)
    """

    examples = "independent"

    margin: float = 1.0

    def __post_init__(self) -> None:
        ok = is_number(settled(self, "margin")) and self.margin > 0
        self._require(ok, "margin", "a finite number above 0")

    def forward(self, scores: Array, target: Array) -> tuple[Array, HingeResiduals]:
        xp = namespace(scores)
        t = one_hot(target, like=scores)
        v = scores - xp.sum(ops(t).where_nonzero(scores, t), axis=-1, keepdims=True)
        v += self.margin
        violated = xp.astype(v > 0, v.dtype)
        violated -= t  # v of the true class is Δ > 0, but is not part of the sum
        v = ops(v).where_nonzero(ops(v).positive_part(v), 1 - t)
        return xp.sum(v, axis=(-2, -1)) / scores.shape[-2], HingeResiduals(violated, t)

    def backward(self, residuals: HingeResiduals) -> Array:
        violated, t = residuals
        dscores = violated - t * namespace(t).sum(violated, axis=-1, keepdims=True)
        dscores /= t.shape[-2]
        return dscores

    def predict(self, prediction: Array) -> Array:
        return namespace(prediction).argmax(prediction, axis=-1)

    def check_outputs(self, n_out: int) -> None:
        _require_classes(self, n_out)

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        if target.ndim == len(prediction_shape):
            expected = f"integer labels of shape {tuple(prediction_shape[:-1])}"
            self._refuse(expected, f"{target.dtype} of shape {tuple(target.shape)}")
        super().check(prediction_shape, target)


def _require_classes(loss: Loss, n_out: int) -> None:
    """ConfigError for a single output: its softmax is 1, and the loss 0, whatever the network says."""
    if n_out == 1:
        raise ConfigError(
            f"{loss}: expected an output for each of at least 2 classes, got 1 output; use two outputs, or "
            "BinaryCrossEntropy() for one output and labels 0 and 1"
        )
