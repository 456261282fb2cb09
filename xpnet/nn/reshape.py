"""Layers that change only the shape."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import namespace
from xpnet.nn._layer import Layer, Shape
from xpnet.tree import Array, Tree


class FlattenResiduals(NamedTuple):
    shape: tuple[Any, ...]


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """y = each example of x as one row: (n, height, width, channels) becomes (n, height·width·channels).

    dx = dy in the shape of x

    Shapes: x (n, ...), y (n, d).

    Raises ShapeError if x has fewer than two axes.
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, FlattenResiduals]:
        y = namespace(x).reshape(x, (-1, math.prod(x.shape[1:])))
        return y, FlattenResiduals(x.shape[1:])

    def backward(self, params: Tree, residuals: FlattenResiduals, dy: Array) -> tuple[Array, Tree]:
        return namespace(dy).reshape(dy, (-1, *residuals.shape)), {}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            self.refuse("(n, ...)", input_shape)
        return (input_shape[0], math.prod(input_shape[1:]))
