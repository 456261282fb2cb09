"""Networks in a faster form: the same function of the same parameters, for a training step.

A reader needs none of this: the layers as they are written elsewhere say what is computed, and the forms here
are tested against them. Classes that are derived from xpnet's, and layers of your own, stay as they are.
"""

from dataclasses import dataclass
from itertools import pairwise

from xpnet.backend import Backend, Product, ops
from xpnet.nn._layer import Layer
from xpnet.nn._library import library_form
from xpnet.nn._winograd import winograd
from xpnet.nn.activations import ReLU
from xpnet.nn.containers import Sequential
from xpnet.nn.linear import Linear, LinearResiduals
from xpnet.nn.pool import MaxPool1d, MaxPool2d
from xpnet.tree import Array, Tree


@dataclass(frozen=True, repr=False)
class DeferredLinear(Linear):
    """`Linear` that leaves dW = xᵀ dy to whoever adds it to something: a `Product`."""

    def parameter_gradients(self, params: Tree, residuals: LinearResiduals, dy: Array) -> Tree:
        if dy.ndim != 2:
            return super().parameter_gradients(params, residuals, dy)
        return self._gradients(Product(ops(dy).transposed(residuals.x), dy), dy)


def faster(net: Layer, backend: Backend) -> Layer:
    """The network with layers in forms that are faster on this backend, and in a faster order."""

    def form(layer: Layer) -> Layer:
        if type(layer) is Sequential:
            layer = pool_first(layer)
        return winograd(layer) if backend.winograd else layer

    net = net.map_layers(form)
    return net.map_layers(library_form) if backend.has_convolution else net


def pool_first(net: Sequential) -> Sequential:
    """The network with each maximum over windows before the ReLU that it comes after.

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

    return net.map_layers(form)
