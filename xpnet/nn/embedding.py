"""Embedding: a table of learned vectors."""

from __future__ import annotations  # `help` shows Initializer, not all that it stands for

from dataclasses import dataclass, field
from typing import NamedTuple

from xpnet import init
from xpnet.backend import device, namespace, ops
from xpnet.nn._layer import Layer, Shape, drawn, require_initializers, require_positive_integers
from xpnet.random import Generator
from xpnet.tree import Array, Tree


class EmbeddingResiduals(NamedTuple):
    row_index: Array


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """y = W[x]: for each integer in x, that row of the table W.

    dW[i] = Σ dy over the positions where x = i,  dx = 0

    The sum is a product with one-hot rows: it takes N·entries·features multiplications for N integers in x,
    and adds in the same order on every device.

    Shapes: x (n, ...), y (n, ..., features), weight W (entries, features).

    The first layer of a network receives x as integers, and `Model` refuses numbers other than 0 to
    entries - 1. Behind another layer, x holds whole numbers of a floating dtype, which nobody checks: for a
    number out of range, NumPy and PyTorch raise IndexError, JAX and CuPy take another row.

    Arguments:
        entries: the number of rows. x holds 0 to entries - 1.
        features: the length of a row.
        weight_init: initialiser from `xpnet.init`.

    Raises ConfigError for a size below 1, ShapeError if x has no axis.

    (Bengio, Ducharme, Vincent and Jauvin, "A neural probabilistic language model", 2003.)
    """

    examples = "independent"

    entries: int
    features: int
    weight_init: init.Initializer = field(default=init.normal, repr=False)

    def __post_init__(self) -> None:
        require_positive_integers(self, entries=self.entries, features=self.features)
        require_initializers(self)

    @property
    def integers(self) -> range:
        return range(self.entries)

    def init(self, rng: Generator) -> Tree:
        return {"weight": drawn(self, "weight_init", rng, (self.entries, self.features))}

    def forward(self, params: Tree, x: Array) -> tuple[Array, EmbeddingResiduals]:
        xp = namespace(x)
        index = x if xp.isdtype(x.dtype, "integral") else xp.astype(x, xp.int32)
        y = ops(params["weight"]).take(params["weight"], xp.reshape(index, (-1,)))
        return xp.reshape(y, (*x.shape, self.features)), EmbeddingResiduals(index)

    def backward(self, params: Tree, residuals: EmbeddingResiduals, dy: Array) -> tuple[Array, Tree]:
        dx = namespace(dy).zeros(residuals.row_index.shape, dtype=dy.dtype, device=device(dy))
        return dx, self._gradients(residuals, dy)

    def parameter_gradients(self, params: Tree, residuals: EmbeddingResiduals, dy: Array) -> Tree:
        return self._gradients(residuals, dy)

    def _gradients(self, residuals: EmbeddingResiduals, dy: Array) -> Tree:
        xp = namespace(dy)
        index = xp.reshape(residuals.row_index, (-1, 1))
        entries = xp.arange(self.entries, dtype=index.dtype, device=device(index))
        one_hot = xp.astype(index == entries, dy.dtype)
        return {"weight": ops(dy).transposed(one_hot) @ xp.reshape(dy, (-1, self.features))}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 1:
            self.refuse("(n, ...)", input_shape)
        return (*input_shape, self.features)
