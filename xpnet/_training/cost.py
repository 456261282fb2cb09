"""What a layer costs: operations, temporary arrays, and what is kept for the backward pass.

Tables by the class of a layer, beside the layers and not in them: nothing here changes a result. A class
without an entry has that of the class that it derives from; without one either, it costs nothing.
"""

import math
from functools import singledispatch
from typing import Any, NamedTuple

from xpnet.nn import Conv1d, Conv2d, Embedding, Layer, Linear, Residual, Sequential, conv
from xpnet.nn._layer import Shape
from xpnet.nn._windows import per_axis
from xpnet.nn._winograd import WinogradConv2d
from xpnet.nn.containers import ContainerResiduals
from xpnet.tree import Tree


class Flops(NamedTuple):
    """Additions and multiplications in the matrix products of a layer's methods, one field for each method.

    Elementwise work is not counted: it takes the time of moving the numbers.
    """

    forward: int = 0
    backward: int = 0
    parameter_gradients: int = 0


@singledispatch
def input_shapes(layer: Layer, input_shape: Shape) -> dict[Any, Shape]:
    """The shape of each child's input, where the container is known."""
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


@singledispatch
def workspace(layer: Layer, input_shape: Shape) -> int:
    """The number of elements of the largest array that a layer makes beside its input and output.

    0 for layers that make none that is much larger than these.
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
def _(layer: WinogradConv2d, input_shape: Shape) -> int:
    return layer.plane_elements(input_shape)


@singledispatch
def flops(layer: Layer, params: Tree, input_shape: Shape) -> Flops:
    """The operations in matrix products for an input of that shape.

    A convolution counts as the product with its windows, however it is computed.
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
    """What a layer keeps of these residuals, of few examples, where the input has that shape, of many."""
    shapes = input_shapes(layer, input_shape)
    if not shapes:
        return residuals
    children = {
        key: kept(layer.children()[key], residuals.children[key], shape) for key, shape in shapes.items()
    }
    return ContainerResiduals(tuple(children.values()) if isinstance(residuals.children, tuple) else children)


@kept.register(Conv2d)
@kept.register(Conv1d)
def _(layer: Conv2d | Conv1d, residuals: Any, input_shape: Shape) -> Any:
    return residuals if windows(layer, input_shape) <= conv.KEPT else residuals._replace(rows=None)


@kept.register
def _(layer: WinogradConv2d, residuals: Any, input_shape: Shape) -> Any:
    return residuals
