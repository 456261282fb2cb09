"""Networks in a faster form: the same function of the same parameters, for a training step.

A reader needs none of this: the layers as they are written elsewhere say what is computed, and the forms here
are tested against them.
"""

from dataclasses import dataclass

from xpnet.backend import Product
from xpnet.nn._layer import Layer
from xpnet.nn.linear import Linear, LinearResiduals
from xpnet.tree import Array, Tree


@dataclass(frozen=True, repr=False)
class DeferredLinear(Linear):
    """`Linear` that leaves dW = xᵀ dy to whoever adds it to something: a `Product`."""

    def parameter_gradients(self, params: Tree, residuals: LinearResiduals, dy: Array) -> Tree:
        if dy.ndim != 2:
            return super().parameter_gradients(params, residuals, dy)
        return self._gradients(Product(residuals.x.mT, dy), dy)


def deferred(net: Layer) -> Layer:
    """The network with weight gradients that are `Product`s where that is faster."""

    def faster(layer: Layer) -> Layer:
        return DeferredLinear(**vars(layer)) if type(layer) is Linear else layer

    return net.map_layers(faster)
