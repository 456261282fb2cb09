"""A network as a table of its layers."""

import math

from xpnet import tree
from xpnet.nn import Layer, Sequential
from xpnet.nn._layer import Shape, show_shape
from xpnet.tree import Tree


def table(net: Layer, params: Tree, shape: Shape | None) -> str:
    """The layers, the shapes of their outputs and their numbers of parameters.

    Arguments:
        net: the network; the layers of a `Sequential` get a row each.
        params: its parameters.
        shape: that of an input; without one the shapes are left out.

    Raises ShapeError where the shape does not fit.
    """
    if shape is not None:
        net.output_shape(shape)
    layers, branches = (net.layers, params) if isinstance(net, Sequential) else ((net,), (params,))
    rows = [("layer", "output shape", "parameters")]
    for layer, layer_params in zip(layers, branches, strict=True):
        shape = None if shape is None else layer.output_shape(shape)
        rows.append((str(layer), "" if shape is None else show_shape(shape), f"{count(layer_params):,}"))
    rows.append(("total", "", f"{count(params):,}"))
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"{a:<{first}}  {b:<{second}}  {c:>{third}}" for a, b, c in rows]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def count(params: Tree) -> int:
    """The number of parameters in a tree of arrays."""
    return sum(math.prod(array.shape) for array in tree.leaves(params))
