"""Normalisation: mean 0 and variance 1, followed by a learned scale and shift."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import mul
from typing import Any, NamedTuple

from xpnet import init
from xpnet.backend import namespace, ops, sum_over_parts
from xpnet.backend.fused import fused, sqrt, sum_of_products, sum_of_rows
from xpnet.errors import ConfigError
from xpnet.nn._layer import Layer, Shape, require_number, require_positive_integers
from xpnet.nn._norm import _along, _Norm, _rows, _scaled_and_shifted
from xpnet.nn.containers import ContainerResiduals
from xpnet.random import Key
from xpnet.tree import Array, Tree


class BatchNormResiduals(NamedTuple):
    """Fields: x - mean, 1 / √(variance + ε), and the mean and variance they were computed with."""

    centered: Array
    inverse_std: Array
    mean: Array
    variance: Array


class LayerNormResiduals(NamedTuple):
    """Fields: x̂, and 1 / √(var + ε) for each position."""

    normalized: Array
    inverse_std: Array


class GroupNormResiduals(NamedTuple):
    """Fields: x̂ in the shape of x, and 1 / √(var + ε) for each group of each example, (n, 1, groups)."""

    normalized: Array
    inverse_std: Array


@dataclass(frozen=True, repr=False)
class BatchNorm(_Norm):
    """Batch normalisation: normalise each feature by the batch in training, by running statistics otherwise.

    Outside training, with running mean m and running variance v:

    x̂ = (x - m) / √(v + ε),  y = γ x̂ + β

    dx = γ dy / √(v + ε),  dγ = Σ dy x̂,  dβ = Σ dy

    In training, with the mean and variance of the batch:

    x̂ = (x - mean) / √(var + ε),  y = γ x̂ + β

    dx = γ / √(var + ε) · (dy - 1/N Σ dy - x̂ · 1/N Σ dy x̂),  dγ = Σ dy x̂,  dβ = Σ dy

    m ← (1 - μ) m + μ mean,  v ← (1 - μ) v + μ var · N/(N-1)

    Sums and means are over all N = n·height·width values of a feature, and var = Σ (x - mean)² / N. μ and
    N/(N-1) follow PyTorch; the momentum of Keras is 1 - μ, and Keras has no N/(N-1). Weight decay does not
    act on γ.

    A batch with N = 1, such as the last one of 65 examples in batches of 64, has no variance, and x - mean
    is 0 whatever x is. The running statistics normalise it in training too, and stay as they are; `Model`
    warns once.

    Shapes: x and y (n, ..., features), each parameter and statistic (features,). A leading axis of length K
    on all of them runs K networks on x (K, n, ..., features).

    Arguments:
        features: the length of the last axis.
        momentum: μ, 0 ≤ μ < 1.
        epsilon: ε ≥ 0.

    Raises ConfigError for a value out of its range, ShapeError if the last axis of x has another length, or
    if a batch in training is empty.

    (Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015, algorithms 1 and 2.)
    """

    examples = "independent"

    features: int
    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "momentum", below=1)

    def init_statistics(self) -> Tree:
        shape = (self.features,)
        return {"running_mean": init.zeros(None, shape), "running_variance": init.ones(None, shape)}

    def forward(self, params: Tree, x: Array) -> tuple[Array, BatchNormResiduals]:
        mean, variance = params["running_mean"], params["running_variance"]
        inverse_std = 1 / namespace(x).sqrt(variance + self.epsilon)
        along = [_along(each, x) for each in (mean, inverse_std, params["scale"], params["shift"])]
        centered, y = _normalize(x, *along)
        return y, BatchNormResiduals(centered, inverse_std, mean, variance)

    def backward(self, params: Tree, residuals: BatchNormResiduals, dy: Array) -> tuple[Array, Tree]:
        factor = params["scale"] * residuals.inverse_std
        return ops(dy).each_row(mul, dy, _along(factor, dy)), _gradients(params, residuals, dy)

    def training_mode(self, key: Key) -> Layer:
        return BatchNormInTraining(self.features, self.momentum, self.epsilon)


# The parts of batch normalisation. A fused one takes one pass over memory, where the library can.


@fused()
def _center(x: Any, mean: Any) -> Any:
    """x - mean, and Σ (x - mean)²."""
    centered = x - mean
    return centered, sum_of_products(centered, centered)


@fused()
def _inverse_std(squares: Any, n: Any, epsilon: Any) -> Any:
    """var = Σ (x - mean)² / N, and 1 / √(var + ε)."""
    variance = squares / n
    return variance, 1 / sqrt(variance + epsilon)


@fused()
def _scale_and_shift(centered: Any, inverse_std: Any, scale: Any, shift: Any) -> Any:
    """γ x̂ + β."""
    return centered * (inverse_std * scale) + shift


@fused()
def _normalize(x: Any, mean: Any, inverse_std: Any, scale: Any, shift: Any) -> Any:
    """x - mean, and γ x̂ + β."""
    centered = x - mean
    return centered, centered * (inverse_std * scale) + shift


@fused()
def _sums(dy: Any, centered: Any) -> Any:
    """Σ dy (x - mean) and Σ dy."""
    return sum_of_products(dy, centered), sum_of_rows(dy)


def _gradients(params: Tree, residuals: BatchNormResiduals, dy: Array) -> Tree:
    """dγ = Σ dy x̂,  dβ = Σ dy."""
    rows, centered = [_rows(params["scale"], x) for x in (dy, residuals.centered)]
    products, shift = _sums(rows, centered)
    return {"scale": products * residuals.inverse_std, "shift": shift}


@fused()
def _input_gradient(
    dy: Any, centered: Any, inverse_std: Any, scale: Any, dscale: Any, dshift: Any, n: Any
) -> Any:
    """dx = γ / √(var + ε) · (dy - x̂ · 1/N Σ dy x̂ - 1/N Σ dy)."""
    return scale * inverse_std * (dy - centered * (inverse_std * dscale / n) - dshift / n)


@fused()
def _average(m: Any, v: Any, mean: Any, variance: Any, correction: Any, momentum: Any) -> Any:
    """(1 - μ) m + μ mean and (1 - μ) v + μ var · N/(N-1)."""
    return (1 - momentum) * m + momentum * mean, (1 - momentum) * v + momentum * (variance * correction)


@dataclass(frozen=True, repr=False)
class BatchNormInTraining(_Norm):
    """`BatchNorm` in a training step: normalise each feature over the batch and all positions.

    x̂ = (x - mean) / √(var + ε),  y = γ x̂ + β

    dx = γ / √(var + ε) · (dy - 1/N Σ dy - x̂ · 1/N Σ dy x̂),  dγ = Σ dy x̂,  dβ = Σ dy

    If N = 1 and `params` holds the running statistics, these take the place of mean and var.
    """

    examples = "summed"

    features: int
    momentum: float
    epsilon: float

    def forward(self, params: Tree, x: Array) -> tuple[Array, BatchNormResiduals]:
        rows = _rows(params["scale"], x)
        n = sum_over_parts(rows.shape[-2])
        if n == 0:
            self.refuse(f"(n, ..., {self.features}) with at least one example", x.shape)
        if n == 1 and "running_mean" in params:
            return self._outside().forward(params, x)
        mean = sum_over_parts(ops(x).sum_of_rows(rows)) / n
        centered, squares = _center(rows, _along(mean, rows))
        variance, inverse_std = _inverse_std(sum_over_parts(squares), n, self.epsilon)
        along = [_along(each, rows) for each in (inverse_std, params["scale"], params["shift"])]
        y = _scale_and_shift(centered, *along)
        return namespace(x).reshape(y, x.shape), BatchNormResiduals(centered, inverse_std, mean, variance)

    def backward(self, params: Tree, residuals: BatchNormResiduals, dy: Array) -> tuple[Array, Tree]:
        rows, inverse_std = _rows(params["scale"], dy), residuals.inverse_std
        n = sum_over_parts(rows.shape[-2])
        if n == 1 and "running_mean" in params:
            return self._outside().backward(params, residuals, dy)
        grads = _gradients(params, residuals, rows)
        sums = sum_over_parts(grads)
        along = [_along(each, rows) for each in (inverse_std, params["scale"], sums["scale"], sums["shift"])]
        dx = _input_gradient(rows, residuals.centered, *along, n)
        return namespace(dy).reshape(dx, dy.shape), grads

    def new_statistics(self, statistics: Tree, residuals: BatchNormResiduals) -> Tree:
        n = sum_over_parts(residuals.centered.shape[-2])
        if n == 1:
            return statistics
        mean, variance = _average(
            statistics["running_mean"],
            statistics["running_variance"],
            residuals.mean,
            residuals.variance,
            n / (n - 1),
            self.momentum,
        )
        return {"running_mean": mean, "running_variance": variance}

    def _outside(self) -> BatchNorm:
        return BatchNorm(self.features, self.momentum, self.epsilon)


def of_one_value(layer: Layer, residuals: Any) -> Iterator[Layer]:
    """The batch normalisations in a network in training that had one value of each feature to normalise."""
    if isinstance(layer, BatchNormInTraining) and residuals.centered.shape[-2] == 1:
        yield layer._outside()
    if isinstance(residuals, ContainerResiduals):
        for key, child in layer.children().items():
            yield from of_one_value(child, residuals.children[key])


@dataclass(frozen=True, repr=False)
class LayerNorm(_Norm):
    """Layer normalisation: normalise each position over its d features, in training and otherwise.

    x̂ = (x - mean) / √(var + ε),  y = γ x̂ + β,  mean and var over the d features

    dx = 1 / √(var + ε) · (dx̂ - 1/d Σ dx̂ - x̂ · 1/d Σ dx̂ x̂),  dx̂ = γ dy
    dγ = Σ dy x̂,  dβ = Σ dy,  sums over all positions

    Weight decay does not act on γ.

    Shapes: x and y (..., n, features), each parameter (..., features).

    Arguments:
        features: d, the length of the last axis, at least 2: x̂ of a single value is 0.
        epsilon: ε ≥ 0.

    Raises ConfigError for a value out of its range, ShapeError if the last axis of x has another length.

    (Ba, Kiros and Hinton, "Layer normalization", 2016.)
    """

    examples = "independent"

    features: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features == 1:
            raise ConfigError(f"{self}: expected features of at least 2, got 1: a value minus its mean is 0")

    def forward(self, params: Tree, x: Array) -> tuple[Array, LayerNormResiduals]:
        xp = namespace(x)
        normalized = x - ops(x).row_sums(x) / self.features
        variance = ops(x).row_sums(normalized * normalized) / self.features
        inverse_std = 1 / xp.sqrt(variance + self.epsilon)
        normalized *= inverse_std
        y = _scaled_and_shifted(normalized, params["scale"], params["shift"])
        return y, LayerNormResiduals(normalized, inverse_std)

    def backward(self, params: Tree, residuals: LayerNormResiduals, dy: Array) -> tuple[Array, Tree]:
        scale = params["scale"]
        normalized, inverse_std = residuals
        dnormalized = ops(dy).each_row(mul, dy, _along(scale, dy))
        dx = dnormalized - ops(dy).row_sums(dnormalized) / self.features
        dnormalized *= normalized
        dx -= normalized * (ops(dy).row_sums(dnormalized) / self.features)
        dx *= inverse_std
        rows = _rows(scale, dy)
        dscale = ops(dy).sum_of_products(rows, _rows(scale, normalized))
        return dx, {"scale": dscale, "shift": ops(dy).sum_of_rows(rows)}


@dataclass(frozen=True, repr=False)
class GroupNorm(_Norm):
    """Group normalisation: normalise each group of features of an example over all positions.

    x̂ = (x - mean) / √(var + ε),  y = γ x̂ + β,  mean and var over the m = positions · features/groups values

    dx = 1 / √(var + ε) · (dx̂ - 1/m Σ dx̂ - x̂ · 1/m Σ dx̂ x̂),  dx̂ = γ dy
    dγ = Σ dy x̂,  dβ = Σ dy,  sums over all examples and positions

    A group is `features/groups` neighbouring features. One group is layer normalisation over the whole
    example; one feature in each group is instance normalisation. The result for an example does not depend on
    the batch, in training and otherwise. Weight decay does not act on γ.

    Shapes: x and y (n, ..., features), each parameter (features,). A leading axis of length K on all of them
    runs K networks on x (K, n, ..., features).

    Arguments:
        groups: the number of groups, a divisor of features.
        features: the length of the last axis.
        epsilon: ε ≥ 0.

    Raises ConfigError for a value out of its range, ShapeError if the last axis of x has another length, or
    if m = 1: x̂ of a single value is 0.

    (Wu and He, "Group normalization", 2018.)
    """

    examples = "independent"

    groups: int
    features: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        require_positive_integers(self, groups=self.groups)
        super().__post_init__()
        if self.features % self.groups:
            raise ConfigError(
                f"{self}: expected groups to divide features, {self.features}, got {self.groups}"
            )

    def forward(self, params: Tree, x: Array) -> tuple[Array, GroupNormResiduals]:
        xp, rows = namespace(x), self._positions(params, x)
        normalized = rows - self._of_features(self._means(rows))
        inverse_std = 1 / xp.sqrt(self._means(normalized * normalized) + self.epsilon)
        normalized *= self._of_features(inverse_std)
        normalized = xp.reshape(normalized, x.shape)
        y = _scaled_and_shifted(normalized, params["scale"], params["shift"])
        return y, GroupNormResiduals(normalized, inverse_std)

    def backward(self, params: Tree, residuals: GroupNormResiduals, dy: Array) -> tuple[Array, Tree]:
        normalized, inverse_std = self._positions(params, residuals.normalized), residuals.inverse_std
        scale = params["scale"]
        dnormalized = self._positions(params, ops(dy).each_row(mul, dy, _along(scale, dy)))
        dx = dnormalized - self._of_features(self._means(dnormalized))
        dnormalized *= normalized
        dx -= normalized * self._of_features(self._means(dnormalized))
        dx *= self._of_features(inverse_std)
        rows = _rows(scale, dy)
        dscale = ops(dy).sum_of_products(rows, _rows(scale, normalized))
        return namespace(dy).reshape(dx, dy.shape), {"scale": dscale, "shift": ops(dy).sum_of_rows(rows)}

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = super().output_shape(input_shape)
        if self.features == self.groups and math.prod(shape[1:-1]) == 1:
            self.refuse(f"(n, ..., {self.features}) with more than one value in each group", input_shape)
        return shape

    def _positions(self, params: Tree, x: Array) -> Array:
        """x as (n, positions, features), or (K, n, ...) with the parameters of K networks."""
        examples = x.shape[: params["scale"].ndim]
        return namespace(x).reshape(x, (*examples, -1, self.features))

    def _means(self, x: Array) -> Array:
        """The mean of each group of x (..., positions, features), (..., 1, groups)."""
        # First over the positions, in long rows: libraries are slow on the few features of a group.
        xp, (*examples, positions, _), size = namespace(x), x.shape, self.features // self.groups
        sums = x if positions == 1 else ops(x).sum_of_rows(x)
        groups = xp.reshape(sums, (*examples, 1, self.groups, size))
        return xp.sum(groups, axis=-1) / (positions * size)

    def _of_features(self, x: Array) -> Array:
        """A number for each group, (..., groups), as one for each of its features, (..., features)."""
        xp, size = namespace(x), self.features // self.groups
        return xp.reshape(xp.broadcast_to(x[..., None], (*x.shape, size)), (*x.shape[:-1], self.features))
