"""A faster form of the most common loss for a training step: value, gradient and errors in one pass.

`CrossEntropy` defines what is computed; tests compare the form here with it. To understand xpnet you need not
read this file.
"""

from typing import Any, NamedTuple

from xpnet.backend import namespace, ops
from xpnet.backend.fused import exp, fused, log, one_hot, row_argmax, row_max, row_sum, where
from xpnet.losses._loss import Loss, has_labels
from xpnet.losses.classification import CrossEntropy
from xpnet.tree import Array

PLAIN = CrossEntropy()


class ValueAndGradient(NamedTuple):
    """Fields: the sum of the losses, the number of errors, and the gradient of the mean; of each network."""

    loss: Array
    errors: Array
    gradient: Array


@fused()
def softmax_cross_entropy(z: Any, label: Any, share: Any) -> Any:
    """(share · dL/dz, L, whether the class is wrong) for each row of logits, with its label (n, 1)."""
    shifted = z - row_max(z)
    p = exp(shifted)
    total = row_sum(p)
    t = one_hot(label, z)
    value = log(total) - row_sum(where(t > 0, shifted, 0))  # a product would make -∞ · 0 of a class ruled out
    # Not equal, of which a formula knows < and > alone.
    wrong = where(row_argmax(z) < label, 1, where(row_argmax(z) > label, 1, 0))
    return (p / total - t) * share, value, wrong


def value_and_gradient(loss: Loss, logits: Array, target: Array) -> ValueAndGradient | None:
    """What `loss` says of these logits (..., n, d) and labels (..., n); None where it has no faster form."""
    table = ops(logits)
    if not (table.fuses_rows or table.has_fast_positions):
        return None
    if logits.ndim not in (2, 3) or not has_labels(logits, target) or loss != PLAIN:
        return None
    return _in_one_pass(logits, target) if table.fuses_rows else by_positions(logits, target)


def _in_one_pass(logits: Array, labels: Array) -> ValueAndGradient:
    xp = namespace(logits)
    gradient, values, wrong = softmax_cross_entropy(logits, labels[..., None], 1 / logits.shape[-2])
    return ValueAndGradient(
        xp.sum(values, axis=(-2, -1)), xp.sum(wrong, axis=(-2, -1), dtype=labels.dtype), gradient
    )


def by_positions(logits: Array, labels: Array) -> ValueAndGradient:
    """With the positions of the labels in place of one-hot rows."""
    xp, n = namespace(logits), logits.shape[-2]
    if logits.ndim == 2:
        wrong, log_p, gradient = _of_rows(logits, labels)
        gradient /= n
        return ValueAndGradient(-xp.sum(log_p), xp.count_nonzero(wrong), gradient)
    # The examples of all networks as rows.
    wrong, log_p, gradient = _of_rows(xp.reshape(logits, (-1, logits.shape[-1])), xp.reshape(labels, (-1,)))
    gradient /= n
    wrong, log_p = [xp.reshape(each, logits.shape[:-1]) for each in (wrong, log_p)]
    return ValueAndGradient(
        -xp.sum(log_p, axis=-1), xp.count_nonzero(wrong, axis=-1), xp.reshape(gradient, logits.shape)
    )


def _of_rows(logits: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Whether each class is wrong, log p of each label, and p - t, for logits (n, d)."""
    xp = namespace(logits)
    of_labels = xp.arange(logits.shape[0]), labels
    shifted = logits - ops(logits).row_maxima(logits)
    wrong = xp.argmax(shifted, axis=-1) != labels
    p = xp.exp(shifted)
    total = ops(p).row_sums(p)
    p /= total
    return wrong, shifted[of_labels] - xp.log(total[:, 0]), ops(p).add_at(p, of_labels, -1)
