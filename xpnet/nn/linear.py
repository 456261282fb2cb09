"""The fully connected layer."""

from __future__ import annotations  # `help` shows Initializer, not all that it stands for

from dataclasses import dataclass, field
from typing import NamedTuple

from xpnet import init
from xpnet.backend import ops
from xpnet.nn._layer import Layer, Shape, drawn, require_initializers, require_positive_integers
from xpnet.random import Generator
from xpnet.tree import Array, Tree


class LinearResiduals(NamedTuple):
    x: Array


@dataclass(frozen=True, repr=False)
class Linear(Layer):
    """y = x W + b.

    dx = dy Wᵀ,  dW = xᵀ dy,  db = Σₙ dyₙ

    Shapes: x (..., n, n_in), y (..., n, n_out), weight W (..., n_in, n_out), bias b (..., n_out).

    Arguments:
        n_in, n_out: the numbers of inputs and outputs.
        bias: whether to add b.
        weight_init, bias_init: initialisers from `xpnet.init`.

    Raises ConfigError for a size below 1, ShapeError if x does not have n_in columns.
    """

    examples = "independent"

    n_in: int
    n_out: int
    bias: bool = True
    weight_init: init.Initializer = field(default=init.glorot_uniform, repr=False)
    bias_init: init.Initializer = field(default=init.zeros, repr=False)

    def __post_init__(self) -> None:
        require_positive_integers(self, n_in=self.n_in, n_out=self.n_out)
        require_initializers(self)

    def init(self, rng: Generator) -> Tree:
        params = {"weight": drawn(self, "weight_init", rng, (self.n_in, self.n_out))}
        if self.bias:
            params["bias"] = drawn(self, "bias_init", rng, (self.n_out,))
        return params

    def forward(self, params: Tree, x: Array) -> tuple[Array, LinearResiduals]:
        y = x @ params["weight"]
        if self.bias:
            y += params["bias"][..., None, :]
        return y, LinearResiduals(x)

    def backward(self, params: Tree, residuals: LinearResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy @ ops(dy).transposed(params["weight"]), self._gradients(residuals, dy)

    def parameter_gradients(self, params: Tree, residuals: LinearResiduals, dy: Array) -> Tree:
        return self._gradients(residuals, dy)

    # Apart: in a subclass that overrides `forward`, `parameter_gradients` is `Layer`'s and calls `backward`.
    def _gradients(self, residuals: LinearResiduals, dy: Array) -> Tree:
        grads = {"weight": ops(dy).transposed(residuals.x) @ dy}
        if self.bias:
            grads["bias"] = ops(dy).sum_of_rows(dy)
        return grads

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or input_shape[-1] != self.n_in:
            self.refuse(f"(n, {self.n_in})", input_shape)
        return (*input_shape[:-1], self.n_out)
