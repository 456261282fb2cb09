"""The cost of layers: operations, temporary arrays, and residuals kept for the backward pass.

Each function dispatches on the class of the layer. The costs stand here and not in the layers because they
never change a result. A class without an entry uses its base class's entry; `Layer` itself costs nothing.
"""

import math
from functools import singledispatch
from typing import Any, NamedTuple

from xpnet.nn import Conv1d, Conv2d, Embedding, Layer, Linear, Residual, Sequential, Tied, conv
from xpnet.nn._layer import Shape
from xpnet.nn._library import _LibraryConv
from xpnet.nn._windows import per_axis
from xpnet.nn._winograd import WinogradConv2d
from xpnet.nn.containers import ContainerResiduals
from xpnet.tree import Tree


class Flops(NamedTuple):
    """Additions and multiplications in matrix products, one field for each method of a layer.

    Elementwise operations are not counted: memory bandwidth bounds their time.
    """

    forward: int = 0
    backward: int = 0
    parameter_gradients: int = 0


@singledispatch
def input_shapes(layer: Layer, input_shape: Shape) -> dict[Any, Shape]:
    """The input shape of each child; empty for a layer that is not a known container."""
    return {}


@input_shapes.register
def _(layer: Sequential, input_shape: Shape) -> dict[Any, Shape]:
    shapes = {}
    for i, child in layer.children().items():
        shapes[i] = input_shape
        input_shape = child.output_shape(input_shape)
    return shapes


@input_shapes.register
def _(layer: Residual, input_shape: Shape) -> dict[Any, Shape]:
    return dict.fromkeys(layer.children(), input_shape)


@input_shapes.register
def _(layer: Tied, input_shape: Shape) -> dict[Any, Shape]:
    return input_shapes(layer.net, input_shape)


@singledispatch
def workspace(layer: Layer, input_shape: Shape) -> int:
    """The number of elements of the largest temporary array that a layer makes.

    0 if no temporary array is much larger than the input and the output.
    """
    children, shapes = layer.children(), input_shapes(layer, input_shape)
    return max((workspace(children[key], shape) for key, shape in shapes.items()), default=0)


@workspace.register(Conv2d)
@workspace.register(Conv1d)
def windows(layer: Conv2d | Conv1d, input_shape: Shape) -> int:
    """The number of elements in the matrix of all windows."""
    outputs = math.prod(layer.output_shape(input_shape)[:-1])
    return outputs * math.prod(per_axis(layer.kernel_size, layer.axes)) * layer.in_channels


@workspace.register
def _(layer: Tied, input_shape: Shape) -> int:
    return workspace(layer.net, input_shape)


@workspace.register
def _(layer: WinogradConv2d, input_shape: Shape) -> int:
    return layer.plane_elements(input_shape)


@singledispatch
def backward_workspace(layer: Layer, params: Tree, input_shape: Shape, of_input: bool = False) -> int:
    """The number of elements of the largest temporary array in the backward pass, apart from `workspace`.

    With `of_input` the pass computes dx too, and not the gradients of the parameters alone.
    """
    children, shapes = layer.children(), input_shapes(layer, input_shape)
    each = (backward_workspace(children[key], params[key], shape, of_input) for key, shape in shapes.items())
    return max(each, default=0)


@backward_workspace.register
def _(layer: Sequential, params: Tree, input_shape: Shape, of_input: bool = False) -> int:
    shapes = input_shapes(layer, input_shape)
    first = -1 if of_input else layer.first_to_learn(params)
    each = (
        backward_workspace(child, params[i], shapes[i], i > first)
        for i, child in layer.children().items()
        if i >= first
    )
    return max(each, default=0)


@backward_workspace.register
def _(layer: Tied, params: Tree, input_shape: Shape, of_input: bool = False) -> int:
    return backward_workspace(layer.net, layer.of_net(params), input_shape, of_input)


@backward_workspace.register(Conv2d)
@backward_workspace.register(Conv1d)
def _(layer: Conv2d | Conv1d, params: Tree, input_shape: Shape, of_input: bool = False) -> int:
    """The number of elements in the matrix of all windows of dy."""
    if not (of_input and layer.convolves_dy(input_shape)):
        return 0
    taps = math.prod(per_axis(layer.kernel_size, layer.axes))
    return math.prod(input_shape[:-1]) * taps * layer.out_channels


@backward_workspace.register(WinogradConv2d)
@backward_workspace.register(_LibraryConv)
def _(layer: Layer, params: Tree, input_shape: Shape, of_input: bool = False) -> int:
    return 0  # Winograd's planes are as large in both passes; libraries make no windows


@singledispatch
def flops(layer: Layer, params: Tree, input_shape: Shape) -> Flops:
    """The operations in matrix products for an input of shape `input_shape`.

    A convolution counts as the product with its windows, whichever algorithm computes it.
    """
    children, shapes = layer.children(), input_shapes(layer, input_shape)
    each = [flops(children[key], params[key], shape) for key, shape in shapes.items()]
    return Flops(*map(sum, zip(*each, strict=True)))


@flops.register
def _(layer: Sequential, params: Tree, input_shape: Shape) -> Flops:
    shapes = input_shapes(layer, input_shape)
    each = [flops(child, params[i], shapes[i]) for i, child in layer.children().items()]
    first = layer.first_to_learn(params)
    last_part = sum(cost.parameter_gradients for cost in each[first : first + 1])
    return Flops(
        forward=sum(cost.forward for cost in each),
        backward=sum(cost.backward for cost in each),
        parameter_gradients=sum(cost.backward for cost in each[first + 1 :]) + last_part,
    )


@flops.register
def _(layer: Tied, params: Tree, input_shape: Shape) -> Flops:
    return flops(layer.net, layer.of_net(params), input_shape)


@flops.register
def _(layer: Linear, params: Tree, input_shape: Shape) -> Flops:
    product = 2 * math.prod(input_shape) * layer.n_out
    return Flops(product, 2 * product, product)


@flops.register(Conv2d)
@flops.register(Conv1d)
def _(layer: Conv2d | Conv1d, params: Tree, input_shape: Shape) -> Flops:
    product = 2 * windows(layer, input_shape) * layer.out_channels
    return Flops(product, 2 * product, product)


@flops.register
def _(layer: Embedding, params: Tree, input_shape: Shape) -> Flops:
    product = 2 * math.prod(input_shape) * layer.entries * layer.features
    return Flops(0, product, product)


@singledispatch
def kept(layer: Layer, residuals: Any, input_shape: Shape) -> Any:
    """The part of `residuals`, from a small batch, that a layer would keep for a batch of `input_shape`."""
    shapes = input_shapes(layer, input_shape)
    if not shapes:
        return residuals
    children = {
        key: kept(layer.children()[key], residuals.children[key], shape) for key, shape in shapes.items()
    }
    return ContainerResiduals(tuple(children.values()) if isinstance(residuals.children, tuple) else children)


@kept.register
def _(layer: Tied, residuals: Any, input_shape: Shape) -> Any:
    return kept(layer.net, residuals, input_shape)


@kept.register(Conv2d)
@kept.register(Conv1d)
def _(layer: Conv2d | Conv1d, residuals: Any, input_shape: Shape) -> Any:
    return residuals if windows(layer, input_shape) <= conv.KEPT else residuals._replace(rows=None)


@kept.register
def _(layer: WinogradConv2d, residuals: Any, input_shape: Shape) -> Any:
    return residuals
