"""The layers of a network that have parameters, each with the order of its features in other libraries."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet import nn, tree
from xpnet._util.checks import require_shape
from xpnet.errors import ConfigError
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.random import generator
from xpnet.tree import Tree

Order = np.ndarray | None


class Place(NamedTuple):
    """A layer with parameters.

    Fields:
        name: its name in the parameters, "8.branch.0"; "" for a network that is one layer.
        layer: the layer.
        shapes: the shape of each parameter and statistic.
        order: the position in the other library of each feature that the layer takes, where `Flatten` puts
            the features of images in another order; else None.
    """

    name: str
    layer: Layer
    shapes: dict[str, tuple[int, ...]]
    order: Order

    def __str__(self) -> str:
        return f"layer {self.name}, {self.layer}" if self.name else str(self.layer)

    def named(self, parameter: str) -> str:
        """The name of one of its parameters in the network."""
        return f"{self.name}.{parameter}" if self.name else parameter


class Tie(NamedTuple):
    """A parameter of a `Tied` network, and the one that it is, or whose transpose it is."""

    name: str
    source: str
    transposed: bool


@dataclass
class Places:
    """The places of a network.

    Arguments:
        net: the network.
        input_shape: the shape of one example; None where the network has no `Flatten`.
        channels_first: whether images of the other library are (channels, height, width).

    Attributes:
        found: the places, in the order of the layers.
        ties: the ties in the network.
        template: its parameters and statistics, a tree of arrays.

    Raises ConfigError where the order of features cannot be known.
    """

    net: Layer
    input_shape: Shape | None
    channels_first: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.net, Layer):
            hint = "; pass its net" if hasattr(self.net, "net") else ""
            raise ConfigError(
                f"convert: expected net to be a layer of xpnet.nn, got {type(self.net).__name__}{hint}"
            )
        self.found: list[Place] = []
        self.ties: list[Tie] = []
        self.template: Tree = tree.merge(self.net.init(generator(0, "convert")), self.net.init_statistics())
        shape = self.input_shape
        if shape is not None:
            shape = "n", *require_shape("convert", shape)
        self._walk(self.net, "", shape, None)

    def _walk(self, layer: Layer, name: str, shape: Shape | None, order: Order) -> tuple[Shape | None, Order]:
        """Find the places in a layer. Returns the shape and the order of features of its output."""
        after = None if shape is None else layer.output_shape(shape)
        if type(layer) is nn.Tied:
            for tied, source in layer.ties.items():
                root = source.removesuffix(".T")
                self.ties.append(Tie(_join(name, tied), _join(name, root), root != source))
            return self._walk(layer.net, name, shape, order)
        if isinstance(layer, nn.Sequential):
            for key, child in layer.children().items():
                shape, order = self._walk(child, _join(name, key), shape, order)
            return shape, order
        if type(layer) is nn.Flatten:
            return after, self._flattened(name, shape, order)
        if children := layer.children():
            residual = isinstance(layer, nn.Residual)  # of another container, nobody knows the shapes inside
            inner = shape if residual else None
            ends = [self._walk(child, _join(name, key), inner, order)[1] for key, child in children.items()]
            same = residual and all(_equal(each, ends[0]) for each in ends)
            if not same and any(each is not None for each in (order, *ends)):
                raise ConfigError(f"layer {name}: expected Flatten right before Linear, got it in a branch")
            return after, ends[0]
        own = tree.merge(layer.init(generator(0, "convert")), layer.init_statistics())
        if own:
            self.found.append(Place(name, layer, tree.shapes(own), order))
        if isinstance(layer, nn.Linear):
            return after, None
        if order is not None and not isinstance(layer, KEEP_ORDER):
            raise ConfigError(
                f"layer {name}, {layer}: expected Linear between Flatten and this layer, got none"
            )
        return after, order

    def _flattened(self, name: str, shape: Shape | None, order: Order) -> Order:
        """The order of features after `Flatten`: of (h, w, c), where the other library has (c, h, w)."""
        if not self.channels_first:
            return None
        if shape is None:
            raise ConfigError(
                f"layer {name}, Flatten(): expected input_shape, such as (28, 28, 1), which gives the order "
                "of the features behind it; got None"
            )
        if len(shape) < 3:
            return order
        *positions, channels = shape[1:]
        theirs = np.arange(channels * int(np.prod(positions))).reshape(channels, *positions)
        ours = np.moveaxis(theirs, 0, -1).reshape(-1)
        return None if (ours == np.arange(len(ours))).all() else ours


# Layers after which each feature is where it was.
KEEP_ORDER = (
    *(nn.BatchNorm, nn.LayerNorm, nn.Dropout, nn.GaussianNoise, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU),
    *(nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Softmax),
)


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _equal(a: Order, b: Order) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
