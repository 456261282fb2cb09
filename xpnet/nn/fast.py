"""Faster forms of networks for a training step: the same function of the same parameters.

The layers in the other files define what a network computes; tests compare the forms here with them. To
understand xpnet you need not read this file. Your own layers, and classes derived from xpnet's, stay as they
are.
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
from xpnet.nn.tying import Tied
from xpnet.tree import Array, Tree


@dataclass(frozen=True, repr=False)
class DeferredLinear(Linear):
    """`Linear` whose dW = xᵀ dy stays a `Product`, for an optimizer that only adds it to an array."""

    def _gradients(self, residuals: LinearResiduals, dy: Array) -> Tree:
        grads: Tree = {"weight": Product(ops(dy).transposed(residuals.x), dy)}
        if self.bias:
            grads["bias"] = ops(dy).sum_of_rows(dy)
        return grads


def faster(net: Layer, backend: Backend) -> Layer:
    """The network with the faster forms for this backend, and pooling moved before ReLU."""

    def form(layer: Layer) -> Layer:
        if type(layer) is Sequential:
            layer = pool_first(layer)
        return winograd(layer) if backend.dtype_name in backend.winograd else layer

    def form_of_library(layer: Layer) -> Layer:
        has_one = backend.has_max_pool if isinstance(layer, MaxPool2d) else backend.has_convolution
        return library_form(layer) if has_one else layer

    return _map(form_of_library, _map(form, net))


def pool_first(net: Sequential) -> Sequential:
    """The network with each max-pooling moved before the ReLU that it follows.

    Both orders give the same values and gradients: ReLU is monotone, and a window without a positive number
    passes no gradient in either order. After the pooling, ReLU has a fraction of the elements to process.
    """
    layers = list(net.layers)
    for i, (first, second) in enumerate(pairwise(net.layers)):
        if type(first) is ReLU and type(second) in (MaxPool2d, MaxPool1d):
            layers[i : i + 2] = second, first
    return Sequential(*layers)


def deferred(net: Layer) -> Layer:
    """The network with each `Linear` as a `DeferredLinear`."""

    def form(layer: Layer) -> Layer:
        return DeferredLinear(**vars(layer)) if type(layer) is Linear else layer

    return _map(form, net)


def prepared(net: Layer, params: Tree) -> Tree:
    """The parameters, plus arrays derived from them: computed once, used in several passes."""
    if isinstance(net, WinogradConv2d):
        return net.prepare(params)
    if type(net) is Tied:
        return prepared(net.net, net.of_net(params))
    if type(net) not in (Sequential, Residual):
        return params
    branches = {key: prepared(child, params[key]) for key, child in net.children().items()}
    return tuple(branches.values()) if isinstance(params, tuple) else branches


def _map(form: Callable[[Layer], Layer], net: Layer) -> Layer:
    """The network with each layer replaced by `form(layer)`, the inner layers first.

    Containers of your own keep their children: their passes may depend on the residuals of a child.
    """
    if type(net) is Tied:
        net = net.with_net(_map(form, net.net))
    elif type(net) in (Sequential, Residual) and isinstance(net, Container):
        net = net.with_children({key: _map(form, child) for key, child in net.children().items()})
    return form(net)
