"""K Winograd convolutions as one layer: every array has a leading axis of K networks."""

import functools
import operator
from dataclasses import dataclass
from typing import NamedTuple

from xpnet.backend import namespace, ops
from xpnet.nn import _winograd
from xpnet.nn._layer import Shape
from xpnet.nn._stacked_layer import Stacked, folded
from xpnet.nn._winograd import Pieces, WinogradConv2d
from xpnet.tree import Array, Tree


class StackedWinogradResiduals(NamedTuple):
    """Fields: the shape of x, the prepared parameters, and V of each piece."""

    shape: Shape
    params: Tree
    v: tuple[Array, ...]


class Piece(NamedTuple):
    """Some networks, and their examples, or a part of those of one network, among the K·n of all."""

    networks: slice
    examples: slice


@dataclass(frozen=True, repr=False)
class StackedWinograd(Stacked):
    """K `WinogradConv2d`: one pass transforms the tiles of as many networks as fit in the cache of a core."""

    examples = "independent"

    layer: WinogradConv2d

    def forward(self, params: Tree, x: Array) -> tuple[Array, StackedWinogradResiduals]:
        params, xp = self._prepared(params), namespace(x)
        y, v = self.layer.outputs(folded(x), self._with_params(params, x.shape))
        y = xp.reshape(y, (*x.shape[:2], *y.shape[1:]))
        return y, StackedWinogradResiduals(x.shape, params, v)

    def backward(self, params: Tree, residuals: StackedWinogradResiduals, dy: Array) -> tuple[Array, Tree]:
        shape, params, v = residuals
        pieces = self._with_params(params, shape)
        dx, du = self.layer.gradients((shape[0] * shape[1], *shape[2:]), v, folded(dy), pieces)
        return namespace(dy).reshape(dx, shape), self._gradients(shape, du, dy)

    def parameter_gradients(self, params: Tree, residuals: StackedWinogradResiduals, dy: Array) -> Tree:
        shape, _, v = residuals
        pieces = [piece.examples for piece in self._pieces(shape)]
        return self._gradients(shape, self.layer.product_gradients(v, folded(dy), pieces), dy)

    def _prepared(self, params: Tree) -> Tree:
        """The bias (K, 1, out_channels), U (s², K, in_channels, out_channels) and Uᵀ of each plane."""
        weight = namespace(params["weight"]).permute_dims(params["weight"], (1, 2, 0, 3, 4))
        bias = {"bias": params["bias"][:, None, :]} if self.layer.bias else {}
        return self.layer.prepare({"weight": weight, **bias})

    def _with_params(self, params: Tree, shape: Shape) -> Pieces:
        """The examples of each piece, with the parameters of its networks."""
        found = []
        for networks, examples in self._pieces(shape):
            own = {name: params[name][:, networks, ...] for name in ("transformed", "transposed")}
            if self.layer.bias:
                own["bias"] = params["bias"][networks, ...]
            found.append((examples, own))
        return found

    def _pieces(self, shape: Shape) -> list[Piece]:
        networks, n = shape[:2]
        parts = self.layer._pieces(shape[1:])
        if len(parts) > 1:
            each = [(k, part) for k in range(networks) for part in parts]
            return [Piece(slice(k, k + 1), slice(k * n + part.start, k * n + part.stop)) for k, part in each]
        size = max(1, 2 * _winograd.PIECE // self.layer.plane_elements(shape[1:]))
        groups = [(k, min(k + size, networks)) for k in range(0, networks, size)]
        return [Piece(slice(first, last), slice(first * n, last * n)) for first, last in groups]

    def _gradients(self, shape: Shape, du: list[Array], dy: Array) -> Tree:
        """The gradients of the parameters from dU of each piece."""
        xp, parts = namespace(dy), len(self.layer._pieces(shape[1:]))
        sums = [functools.reduce(operator.add, du[i : i + parts]) for i in range(0, len(du), parts)]
        weight = self.layer.weight_gradient(sums[0] if len(sums) == 1 else xp.concat(sums, axis=1))
        grads = {"weight": xp.permute_dims(weight, (2, 0, 1, 3, 4))}
        if self.layer.bias:
            rows = xp.reshape(dy, (shape[0], -1, self.layer.out_channels))
            grads["bias"] = ops(dy).sum_of_rows(rows)
        return grads
