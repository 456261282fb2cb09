"""What all normalisations share: their parameters, and how these lie along x."""

from operator import mul

from xpnet import init
from xpnet.backend import namespace, ops
from xpnet.nn._layer import Layer, Shape, require_number, require_positive_integers
from xpnet.random import Generator
from xpnet.tree import Array, Tree


class _Norm(Layer):
    """Base class of normalisations: a scale γ and a shift β for each feature of the last axis."""

    features: int
    epsilon: float

    def __post_init__(self) -> None:
        require_positive_integers(self, features=self.features)
        require_number(self, "epsilon")

    def init(self, rng: Generator) -> Tree:
        return {"scale": init.ones(rng, (self.features,)), "shift": init.zeros(rng, (self.features,))}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or input_shape[-1] != self.features:
            self.refuse(f"(n, ..., {self.features})", input_shape)
        return input_shape


def _along(parameter: Array, x: Array) -> Array:
    """The parameter in a shape that broadcasts: (d,) for x (n, ..., d), (K, 1, ..., d) for (K, n, ..., d)."""
    if parameter.ndim == 1:
        return parameter
    return parameter[(..., *[None] * (x.ndim - parameter.ndim), slice(None))]


def _rows(parameter: Array, x: Array) -> Array:
    """x as rows of features, (N, d), or (K, N, d) with the parameters of K networks."""
    return namespace(x).reshape(x, (*parameter.shape[:-1], -1, x.shape[-1]))


def _scaled_and_shifted(x: Array, scale: Array, shift: Array) -> Array:
    """x · scale + shift."""
    return ops(x).add_to_rows(ops(x).each_row(mul, x, _along(scale, x)), _along(shift, x))
