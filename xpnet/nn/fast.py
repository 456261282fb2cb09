"""Networks in a faster form: the same function of the same parameters, for a training step.

A reader needs none of this: the layers as they are written elsewhere say what is computed, and the forms here
are tested against them. Classes derived from xpnet's, and layers of your own, stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from xpnet.backend import Backend, Product, ops
from xpnet.nn._layer import Layer
from xpnet.nn._library import library_form
from xpnet.nn._winograd import WinogradConv2d, winograd
from xpnet.nn.activations import ReLU
from xpnet.nn.containers import Container, Residual, Sequential
from xpnet.nn.linear import Linear, LinearResiduals
from xpnet.nn.pool import MaxPool1d, MaxPool2d
from xpnet.tree import Array, Tree


@dataclass(frozen=True, repr=False)
class DeferredLinear(Linear):
    """`Linear` that leaves dW = xᵀ dy as a `Product`, for an optimizer that only adds it to something."""

    def _gradients(self, residuals: LinearResiduals, dy: Array) -> Tree:
        if dy.ndim != 2:
            return super()._gradients(residuals, dy)
        grads: Tree = {"weight": Product(ops(dy).transposed(residuals.x), dy)}
        if self.bias:
            grads["bias"] = ops(dy).sum_of_rows(dy)
        return grads


def faster(net: Layer, backend: Backend) -> Layer:
    """The network with layers in forms that are faster on this backend, and in a faster order."""

    def form(layer: Layer) -> Layer:
        if type(layer) is Sequential:
            layer = pool_first(layer)
        return winograd(layer) if backend.winograd else layer

    net = _map(form, net)
    return _map(library_form, net) if backend.has_convolution else net


def pool_first(net: Sequential) -> Sequential:
    """The network with each max-pooling moved before the ReLU that it follows.

    Both orders give the same values and the same gradients: max(0, ·) keeps the order of numbers, and windows
    without a positive number pass no gradient either way. The ReLU then has a fraction of the elements.
    """
    layers = list(net.layers)
    for i, (first, second) in enumerate(pairwise(net.layers)):
        if type(first) is ReLU and type(second) in (MaxPool2d, MaxPool1d):
            layers[i : i + 2] = second, first
    return Sequential(*layers)


def deferred(net: Layer) -> Layer:
    """The network with weight gradients that are `Product`s where that is faster."""

    def form(layer: Layer) -> Layer:
        return DeferredLinear(**vars(layer)) if type(layer) is Linear else layer

    return _map(form, net)


def prepared(net: Layer, params: Tree) -> Tree:
    """The parameters, with what layers compute from them once for several passes with the same parameters."""
    if isinstance(net, WinogradConv2d):
        return net.prepare(params)
    if type(net) not in (Sequential, Residual):
        return params
    branches = {key: prepared(child, params[key]) for key, child in net.children().items()}
    return tuple(branches.values()) if isinstance(params, tuple) else branches


def _map(form: Callable[[Layer], Layer], net: Layer) -> Layer:
    """The network with `form` of each layer, the inner layers first.

    Other containers than xpnet's stay as they are: their passes may use what their children return.
    """
    if type(net) in (Sequential, Residual) and isinstance(net, Container):
        net = net.with_children({key: _map(form, child) for key, child in net.children().items()})
    return form(net)
