"""Normalisation: outputs of mean 0 and variance 1, then scaled and shifted as learned."""

from dataclasses import dataclass
from operator import imul, mul, sub
from typing import NamedTuple

from xpnet import init, tree
from xpnet.backend import (
    add_to_rows,
    each_row,
    namespace,
    row_sums,
    sum_of_products,
    sum_of_rows,
    sum_over_parts,
)
from xpnet.nn._layer import Layer, Shape, require_number, require_positive_integers
from xpnet.random import Generator, Key
from xpnet.tree import Array, Tree


class BatchNormResiduals(NamedTuple):
    """Fields: x less the mean, the reciprocal of its standard deviation, and what these come from."""

    centered: Array
    inverse_std: Array
    mean: Array
    variance: Array


class LayerNormResiduals(NamedTuple):
    normalized: Array
    inverse_std: Array


@dataclass(frozen=True, repr=False)
class _Norm(Layer):
    """What the normalisations share: a scale γ and a shift β for each feature of the last axis."""

    features: int

    def __post_init__(self) -> None:
        require_positive_integers(self, features=self.features)
        require_number(self, "epsilon")

    def init(self, rng: Generator) -> Tree:
        return {"scale": init.ones(rng, (self.features,)), "shift": init.zeros(rng, (self.features,))}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or input_shape[-1] != self.features:
            self.refuse(f"(n, ..., {self.features})", input_shape)
        return input_shape


@dataclass(frozen=True, repr=False)
class BatchNorm(_Norm):
    """Each feature normalised over the batch in training, with running statistics otherwise.

    Outside training, with m the running mean and v the running variance:

    x̂ = (x - m) / √(v + ε),  y = γ x̂ + β

    dx = γ dy / √(v + ε),  dγ = Σ dy x̂,  dβ = Σ dy

    In training (`BatchNormInTraining` below) m and v are the mean and the variance of the batch,
    and the running ones follow: m ← (1 - μ) m + μ mean,  v ← (1 - μ) v + μ var · N/(N-1).

    The sums are over all N = n·height·width values of a feature. μ and N/(N-1) are PyTorch's
    conventions (Keras' momentum is 1 - μ, and it leaves N/(N-1) out). Weight decay leaves γ alone.
    (Ioffe and Szegedy, "Batch normalization", 2015, algorithms 1 and 2.)

    Shapes: x and y (n, ..., features), each parameter and statistic (features,). A leading axis of K
    on all of them runs K networks on x (K, n, ..., features).

    Arguments:
        features: length of the last axis.
        momentum: μ, 0 ≤ μ < 1.
        epsilon: ε ≥ 0.

    Raises ConfigError for a value out of its range, ShapeError where the last axis of x differs.
    """

    examples = "independent"

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
        centered = each_row(sub, x, _along(mean, x))
        y = _scale_and_shift(centered, params["scale"] * inverse_std, params["shift"])
        return y, BatchNormResiduals(centered, inverse_std, mean, variance)

    def backward(self, params: Tree, residuals: BatchNormResiduals, dy: Array) -> tuple[Array, Tree]:
        factor = params["scale"] * residuals.inverse_std
        return each_row(mul, dy, _along(factor, dy)), _gradients(params, residuals, dy)

    def training_mode(self, key: Key) -> Layer:
        return BatchNormInTraining(self.features, self.momentum, self.epsilon)


@dataclass(frozen=True, repr=False)
class BatchNormInTraining(_Norm):
    """Each feature normalised over the batch, and over height and width where x has them.

    x̂ = (x - mean) / √(var + ε),  y = γ x̂ + β

    dx = γ / √(var + ε) · (dy - 1/N Σ dy - x̂ · 1/N Σ dy x̂),  dγ = Σ dy x̂,  dβ = Σ dy

    The variance is the mean of squares, Σ (x - mean)² / N. All else is said at `BatchNorm`.
    """

    examples = "summed"

    momentum: float
    epsilon: float

    def forward(self, params: Tree, x: Array) -> tuple[Array, BatchNormResiduals]:
        rows = _rows(params["scale"], x)
        n = sum_over_parts(rows.shape[-2])
        mean = sum_over_parts(sum_of_rows(rows)) / n
        centered = each_row(sub, rows, _along(mean, rows))
        variance = sum_over_parts(sum_of_products(centered, centered)) / n
        inverse_std = 1 / namespace(x).sqrt(variance + self.epsilon)
        y = _scale_and_shift(centered, params["scale"] * inverse_std, params["shift"])
        return namespace(x).reshape(y, x.shape), BatchNormResiduals(centered, inverse_std, mean, variance)

    def backward(self, params: Tree, residuals: BatchNormResiduals, dy: Array) -> tuple[Array, Tree]:
        rows, inverse_std = _rows(params["scale"], dy), residuals.inverse_std
        grads = _gradients(params, residuals, rows)
        n, sums = sum_over_parts(rows.shape[-2]), sum_over_parts(grads)
        # -γ / √(var + ε) · (x̂ · 1/N Σ dy x̂ + 1/N Σ dy - dy): so all steps but the first are in place.
        dx = each_row(mul, residuals.centered, _along(inverse_std * sums["scale"] / n, rows))
        dx = add_to_rows(dx, _along(sums["shift"] / n, rows))
        dx -= rows
        dx = each_row(imul, dx, _along(-params["scale"] * inverse_std, rows))
        return namespace(dy).reshape(dx, dy.shape), grads

    def new_statistics(self, statistics: Tree, residuals: BatchNormResiduals) -> Tree:
        n = sum_over_parts(residuals.centered.shape[-2])
        unbiased = n / max(n - 1, 1)
        found = {"running_mean": residuals.mean, "running_variance": residuals.variance * unbiased}

        def follow(running: Array, value: Array) -> Array:
            return (1 - self.momentum) * running + self.momentum * value

        return tree.map(follow, statistics, found)


@dataclass(frozen=True, repr=False)
class LayerNorm(_Norm):
    """The features of each position normalised over themselves, in training and otherwise.

    x̂ = (x - mean) / √(var + ε),  y = γ x̂ + β,  mean and var over the d features

    dx = 1 / √(var + ε) · (dx̂ - 1/d Σ dx̂ - x̂ · 1/d Σ dx̂ x̂),  dx̂ = γ dy
    dγ = Σ dy x̂,  dβ = Σ dy,  sums over all positions

    Weight decay leaves γ alone. (Ba, Kiros and Hinton, "Layer normalization", 2016.)

    Shapes: x and y (..., n, features), each parameter (..., features).

    Arguments:
        features: d, length of the last axis.
        epsilon: ε ≥ 0.

    Raises ConfigError for a value out of its range, ShapeError where the last axis of x differs.
    """

    examples = "independent"

    epsilon: float = 1e-5

    def forward(self, params: Tree, x: Array) -> tuple[Array, LayerNormResiduals]:
        normalized = x - row_sums(x) / self.features
        variance = row_sums(normalized * normalized) / self.features
        inverse_std = 1 / namespace(x).sqrt(variance + self.epsilon)
        normalized *= inverse_std
        y = _scale_and_shift(normalized, params["scale"], params["shift"])
        return y, LayerNormResiduals(normalized, inverse_std)

    def backward(self, params: Tree, residuals: LayerNormResiduals, dy: Array) -> tuple[Array, Tree]:
        normalized, inverse_std = residuals
        scale = params["scale"]
        dnormalized = each_row(mul, dy, _along(scale, dy))
        dx = dnormalized - row_sums(dnormalized) / self.features
        dnormalized *= normalized
        dx -= normalized * (row_sums(dnormalized) / self.features)
        dx *= inverse_std
        rows = _rows(scale, dy)
        dscale = sum_of_products(rows, _rows(scale, normalized))
        return dx, {"scale": dscale, "shift": sum_of_rows(rows)}


def _along(parameter: Array, x: Array) -> Array:
    """(..., d) in a shape that goes with x: (d,) for x (n, ..., d), (K, 1, ..., d) for x (K, n, ..., d)."""
    return parameter[(..., *[None] * (x.ndim - parameter.ndim), slice(None))]


def _rows(parameter: Array, x: Array) -> Array:
    """x as rows of features, (N, d), or (K, N, d) for parameters of K networks."""
    return namespace(x).reshape(x, (*parameter.shape[:-1], -1, x.shape[-1]))


def _scale_and_shift(x: Array, scale: Array, shift: Array) -> Array:
    """x · scale + shift"""
    return add_to_rows(each_row(mul, x, _along(scale, x)), _along(shift, x))


def _gradients(params: Tree, residuals: BatchNormResiduals, dy: Array) -> Tree:
    """dγ = Σ dy x̂,  dβ = Σ dy"""
    rows, centered = [_rows(params["scale"], x) for x in (dy, residuals.centered)]
    return {"scale": sum_of_products(rows, centered) * residuals.inverse_std, "shift": sum_of_rows(rows)}
