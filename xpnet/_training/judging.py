"""The loss of a batch: sums for the totals, and the gradient of the mean; examples may have weights."""

from typing import Any, NamedTuple

import numpy as np

from xpnet._training.state import Totals
from xpnet.backend import Backend, device, namespace, ops
from xpnet.errors import ConfigError, ShapeError
from xpnet.losses import CrossEntropy, Loss
from xpnet.losses.fast import value_and_gradient
from xpnet.tree import Array, ArrayLike


class Weighted(NamedTuple):
    """Targets with the weight of each example, (n,): what the engine takes in place of an array."""

    target: Any
    weights: Any


class LossResiduals(NamedTuple):
    """What `backward` needs from `forward`.

    Fields: the residuals of the loss; the weight of each example, or None; the gradient where it is known.
    """

    of_loss: Any
    weights: Array | None = None
    gradient: Array | None = None


def without_weights(target: Any) -> Any:
    """The targets alone."""
    return target.target if isinstance(target, Weighted) else target


def take(target: Array | Weighted, index: Array | slice) -> Any:
    """The targets at the positions `index`, with their weights; also inputs."""
    if isinstance(target, Weighted):
        return Weighted(take(target.target, index), take(target.weights, index))
    if isinstance(index, slice):
        return target[index, ...]
    return ops(target).take(target, index)


def take_of_each(array: Array | Weighted, index: Array) -> Any:
    """The examples of K networks at the positions `index` (K, n), or (1, n) for all: (K or 1, n, ...).

    Weights (examples, K) have a column for each network: the result is (K, n).
    """
    if isinstance(array, Weighted):
        return Weighted(take_of_each(array.target, index), _weights_of_each(array.weights, index))
    xp = namespace(array)
    found = ops(array).take(array, xp.reshape(index, (-1,)))
    return xp.reshape(found, (*index.shape, *array.shape[1:]))


def _weights_of_each(weights: Array, index: Array) -> Array:
    if weights.ndim == 1:
        return take_of_each(weights, index)
    xp, networks = namespace(weights), weights.shape[1]
    column = xp.arange(networks, dtype=index.dtype, device=device(index))[:, None]
    return take_of_each(xp.reshape(weights, (-1,)), index * networks + column)


def forward(loss: Loss, prediction: Array, target: Array | Weighted) -> tuple[Totals, LossResiduals]:
    """The sums over the examples of a batch, and the residuals for `backward`.

    With weights w, they are Σ wₙ lₙ, Σ wₙ eₙ and Σ wₙ over the examples that count: lₙ is the loss of one
    example, eₙ is 1 for an error. An example of weight 0 adds nothing, whatever its loss.

    Shapes: prediction (n, d), target as the loss says; of K networks, prediction (K, n, d), target and
    weights likewise, and each sum (K,).
    """
    if isinstance(target, Weighted):
        return _forward_each(loss, prediction, *target)
    if (found := value_and_gradient(loss, prediction, target)) is not None:
        return Totals(found.loss, found.errors), LossResiduals(None, gradient=found.gradient)
    value, residuals = loss.forward(prediction, target)
    count = loss.count(prediction.shape, target)
    n = prediction.shape[-2] if count is None else namespace(value).astype(count, value.dtype)
    return Totals(value * n, loss.errors(prediction, target), count), LossResiduals(residuals)


def _forward_each(
    loss: Loss, prediction: Array, target: Array, weights: Array
) -> tuple[Totals, LossResiduals]:
    """`forward` with weights, from the loss of each example alone."""
    xp, examples = namespace(prediction), tuple(prediction.shape[:-1])
    each = (*[slice(None)] * len(examples), None, ...)
    rows, row_targets = prediction[each], target[each]  # n networks of one example
    values, residuals = loss.forward(rows, row_targets)
    if tuple(values.shape) != examples:
        raise ConfigError(
            f"sample_weight: expected {loss} to give {examples[-1]} values for predictions of shape "
            f"{tuple(rows.shape)}, got {tuple(values.shape)}; sum over the last two axes, axis=(-2, -1)"
        )
    count = loss.count(tuple(rows.shape), row_targets)
    if count is not None:
        weights = weights * xp.astype(count, weights.dtype)
    values = xp.where(weights > 0, values, xp.zeros_like(values))
    errors = loss.errors(rows, row_targets)
    if errors is not None:
        errors = xp.sum(weights * xp.astype(errors, weights.dtype), axis=-1)
    totals = Totals(xp.sum(weights * values, axis=-1), errors, xp.sum(weights, axis=-1))
    return totals, LossResiduals(residuals, weights)


def backward(loss: Loss, residuals: LossResiduals) -> Array:
    """The gradient (..., n, d) of the mean over the examples that count, weighted if they have weights."""
    if residuals.gradient is not None:
        return residuals.gradient
    dprediction = loss.backward(residuals.of_loss)
    if residuals.weights is None:
        return dprediction
    weights, dprediction = residuals.weights, dprediction[..., 0, :]
    xp = namespace(weights)
    share = (weights / divisor(xp.sum(weights, axis=-1, keepdims=True)))[..., None]
    return share * xp.where(share > 0, dprediction, xp.zeros_like(dprediction))


def float_count(totals: Totals) -> Array:
    """The count of totals that have one, in the dtype of their loss."""
    return namespace(totals.loss).astype(totals.count, totals.loss.dtype)


def divisor(count: Array) -> Array:
    """A divisor: the count, or 1 where it is 0 and every sum is 0 too."""
    xp = namespace(count)
    return xp.where(count > 0, count, xp.ones_like(count))


def mean(totals: Totals, n: int) -> Array:
    """The mean loss of a batch of n examples, a 0-d array."""
    return totals.loss / (n if totals.count is None else divisor(float_count(totals)))


def weighted(
    loss: Loss,
    target: Any,
    weights: ArrayLike | None,
    backend: Backend,
    on_device: bool = True,
    some: bool = True,
) -> Any:
    """Placed targets with the weights of their examples, on the device or on the host, if there are any.

    Raises ShapeError unless they are n finite numbers of at least 0, with `some` one of them above 0;
    ConfigError if the loss is no mean over the examples.
    """
    if weights is None:
        return target
    n = target.shape[0]
    if loss.examples != "independent":
        raise ConfigError(
            f"sample_weight: expected a loss whose examples are independent, got {loss}, "
            f"whose examples are {loss.examples!r}"
        )
    host = backend.numbers(weights, "sample_weight")[...]
    if host.shape != (n,):
        raise ShapeError(f"sample_weight: expected {n} weights of shape ({n},), got {host.shape}")
    if not (np.all(np.isfinite(host)) and np.all(host >= 0) and (np.any(host > 0) or not some)):
        wrong = np.flatnonzero(~(np.isfinite(host) & (host >= 0)))
        got = f"weights from {np.min(host):g} to {np.max(host):g}"
        got += f"; sample_weight[{wrong[0]}] is {host[wrong[0]]:g}" if wrong.size else ""
        least = "at least 0, one above 0" if some else "at least 0"
        raise ShapeError(f"sample_weight: expected finite weights of {least}, got {got}")
    place = backend.asarray if on_device else backend.on_host
    return Weighted(target, place(host, real=True))


def for_training(loss: Loss, target: Any, backend: Backend) -> Loss:
    """The loss to minimise on these targets: balanced class weights come from them."""
    if not isinstance(loss, CrossEntropy) or loss.class_weights != "balanced":
        return loss
    target, weights = target if isinstance(target, Weighted) else (target, None)
    given: Any = backend.numbers(target)[:]
    return loss.balanced(given, None if weights is None else backend.numbers(weights)[:])


def require_same_weights(totals: Totals, target: Any, restart: str) -> None:
    """ConfigError unless an interrupted epoch goes on with weights where it began with them, and without.

    `restart` says how to begin the epoch anew.
    """
    count = totals.count
    began = count is not None and namespace(count).isdtype(count.dtype, "real floating")
    if began != isinstance(target, Weighted):
        raise ConfigError(
            f"fit: expected {'a' if began else 'no'} sample_weight, as in the interrupted epoch, got "
            f"{'none' if began else 'one'}; {restart}"
        )
