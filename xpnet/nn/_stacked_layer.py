"""What the layers of K networks share: their output shapes, and the axes of their examples."""

from dataclasses import dataclass

from xpnet.backend import namespace
from xpnet.nn._layer import Layer, Shape
from xpnet.tree import Array


@dataclass(frozen=True, repr=False)
class Stacked(Layer):
    """Base class of K layers as one: they differ from `layer` at most in their parameters."""

    layer: Layer

    def output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.layer.output_shape(input_shape[1:]))


def folded(x: Array) -> Array:
    """x (K, n, ...) as K·n examples."""
    return namespace(x).reshape(x, (-1, *x.shape[2:]))


def unfolded(y: Array, networks: int) -> Array:
    """y (K·n, ...) as (K, n, ...)."""
    return namespace(y).reshape(y, (networks, y.shape[0] // networks, *y.shape[1:]))
