"""The loss for binary classification: each output is the logit of one yes or no."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet import special
from xpnet._util.checks import is_number, python_number
from xpnet.backend import namespace, ops
from xpnet.errors import ConfigError
from xpnet.losses import _class_weights
from xpnet.losses._loss import Loss, has_labels
from xpnet.tree import Array


class BinaryCrossEntropyResiduals(NamedTuple):
    """Fields: z, q t, and 1 - t + q t, or None for q = 1."""

    logits: Array
    qt: Array
    weights: Array | None


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of d binary outputs with logits z, averaged over the n examples and the d outputs.

    p = σ(z),  L = -1/(n d) Σₙ Σᵢ (tₙᵢ log pₙᵢ + (1 - tₙᵢ) log(1 - pₙᵢ))
                 = 1/(n d) Σₙ Σᵢ (([zₙᵢ > 0] - tₙᵢ) zₙᵢ + log(1 + e^-|zₙᵢ|))

    dz = (p - t) / (n d)

    The code computes the second form: the first has logarithms of 0 for large |z|. A logit of ±∞ that agrees
    with its target has the loss 0.

    With pos_weight q, an output with the true class 1 counts q times, to make up for rare positives:

    L = -1/(n d) Σₙ Σᵢ (qᵢ tₙᵢ log pₙᵢ + (1 - tₙᵢ) log(1 - pₙᵢ))

    dz = (p (1 - t + q t) - q t) / (n d)

    This is PyTorch's BCEWithLogitsLoss with its pos_weight.

    The predicted class is 1 where z > 0, else 0. The true class is 1 where t > 1/2. An example is an error if
    any of its d classes is wrong.

    Shapes: z (..., n, d), target (..., n, d), from 0 to 1; for d = 1 also integer labels (..., n), 0 or 1.

    Arguments:
        pos_weight: q > 0, a number, or d numbers as a list, tuple or array, one for each output. The number
            of negatives divided by that of positives balances them.

    Raises ConfigError for a pos_weight out of its range.

    (Bishop, "Pattern Recognition and Machine Learning", 2006, §4.3.2.)
    """

    examples = "independent"

    pos_weight: Any = 1.0

    def __post_init__(self) -> None:
        weight = python_number(self.pos_weight)
        if not is_number(weight):
            weight = _class_weights.hashable(weight)
        object.__setattr__(self, "pos_weight", weight)
        each = weight if isinstance(weight, tuple) and weight else (weight,)
        ok = all(is_number(w) and w > 0 for w in each)
        self._require(ok, "pos_weight", "a finite number above 0, or one for each output")

    def forward(self, logits: Array, target: Array) -> tuple[Array, BinaryCrossEntropyResiduals]:
        xp = namespace(logits)
        t = xp.astype(target[..., None], logits.dtype) if has_labels(logits, target) else target
        qt, weights = self._weighted(t)
        slope = xp.astype(logits > 0, logits.dtype)
        rest = xp.log1p(xp.exp(-xp.abs(logits)))
        if weights is not None:
            slope *= weights
            rest *= weights
        slope -= qt
        value = slope * ops(logits).where_nonzero(logits, slope)  # 0 · ∞ would be NaN
        value += rest
        return xp.mean(value, axis=(-2, -1)), BinaryCrossEntropyResiduals(logits, qt, weights)

    def backward(self, residuals: BinaryCrossEntropyResiduals) -> Array:
        logits, qt, weights = residuals
        n, d = logits.shape[-2:]
        dlogits = special.sigmoid(logits)
        if weights is not None:
            dlogits *= weights
        dlogits -= qt
        dlogits *= 1 / (n * d)
        return dlogits

    def _weighted(self, t: Array) -> tuple[Array, Array | None]:
        """q t, and 1 - t + q t, or None for q = 1."""
        q = self.pos_weight
        if q == 1:
            return t, None
        qt = t * (ops(t).constant(q, like=t) if isinstance(q, tuple) else q)
        return qt, 1 - t + qt

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

    def check_outputs(self, n_out: int) -> None:
        if isinstance(self.pos_weight, tuple) and len(self.pos_weight) != n_out:
            expected = f"{len(self.pos_weight)} outputs, one for each of pos_weight"
            raise ConfigError(f"{self}: expected {expected}, got {n_out}")

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        shape, n_out = tuple(target.shape), prediction_shape[-1]
        if target.ndim == len(prediction_shape) - 1 and n_out != 1:
            got = f"{target.dtype} of shape {shape}; labels of several classes are for CrossEntropy()"
            self._refuse(f"targets of shape {tuple(prediction_shape)}", got)
        super().check(prediction_shape, target)
        if target.ndim == len(prediction_shape) and 0 not in shape:
            xp = namespace(target)
            low, high = float(xp.min(target)), float(xp.max(target))
            if not (low >= 0 and high <= 1):  # NaN compares with nothing
                self._refuse("targets from 0 to 1", f"targets from {low:g} to {high:g}")
