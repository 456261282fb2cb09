"""K convolutions by the library's own function: one of K groups of channels."""

from dataclasses import dataclass
from typing import NamedTuple

from xpnet.backend import namespace, ops
from xpnet.nn._library import _LibraryConv
from xpnet.nn._stacked_layer import Stacked
from xpnet.tree import Array, Tree


class StackedLibraryConvResiduals(NamedTuple):
    """Fields: x with the channels of all networks, (n, ..., K·in_channels)."""

    x: Array


@dataclass(frozen=True, repr=False)
class StackedLibraryConv(Stacked):
    """K convolutions as one of all channels, with a group for each network; one group if all take one x."""

    examples = "independent"

    layer: _LibraryConv

    def forward(self, params: Tree, x: Array) -> tuple[Array, StackedLibraryConvResiduals]:
        weight, bias = params["weight"], params.get("bias")
        _, stride, padding = self.layer._geometry(x.shape[1:])
        x = _join_channels(x)
        bias = None if bias is None else _join_channels(bias)
        y = ops(x).convolve(x, _join_channels(weight), bias, stride, padding)
        return _split_channels(y, weight.shape[0]), StackedLibraryConvResiduals(x)

    def backward(self, params: Tree, residuals: StackedLibraryConvResiduals, dy: Array) -> tuple[Array, Tree]:
        dx, grads = self._gradients(params, residuals, dy, of_input=True)
        return _split_channels(dx, residuals.x.shape[-1] // self.layer.in_channels), grads

    def parameter_gradients(self, params: Tree, residuals: StackedLibraryConvResiduals, dy: Array) -> Tree:
        return self._gradients(params, residuals, dy, of_input=False)[1]

    def _gradients(
        self, params: Tree, residuals: StackedLibraryConvResiduals, dy: Array, of_input: bool
    ) -> tuple[Array, Tree]:
        x, networks = residuals.x, dy.shape[0]
        _, stride, padding = self.layer._geometry(x.shape)
        weight, dy = _join_channels(params["weight"]), _join_channels(dy)
        dx, *others = ops(dy).convolve_gradients(x, weight, dy, stride, padding, of_input)
        names = ("weight", "bias") if self.layer.bias else ("weight",)
        return dx, {name: _split_channels(each, networks) for name, each in zip(names, others, strict=False)}


def _join_channels(x: Array) -> Array:
    """x (K, ..., c) as (..., K·c)."""
    xp = namespace(x)
    return xp.reshape(xp.moveaxis(x, 0, -2), (*x.shape[1:-1], -1))


def _split_channels(y: Array, networks: int) -> Array:
    """y (..., K·c) as (K, ..., c), in that order in memory."""
    xp = namespace(y)
    each = xp.moveaxis(xp.reshape(y, (*y.shape[:-1], networks, -1)), -2, 0)
    return xp.reshape(xp.reshape(each, (-1,)), each.shape)
