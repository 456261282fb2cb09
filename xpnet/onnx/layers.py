"""The table from layers to operators of ONNX."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet import nn, special
from xpnet.errors import ConfigError
from xpnet.nn._layer import Layer
from xpnet.onnx.graph import Graph, Value
from xpnet.tree import Tree

Row = Callable[[Graph, Any, Tree, Value], Value]


def add(graph: Graph, layer: Layer, params: Tree, x: Value, place: Any = "") -> Value:
    """Add a layer to the graph, and return its output. A container of your own calls it for its children.

    A layer with a method `onnx(graph, params, x)` adds itself: x is its input (n, ..., channels), and it
    returns its output.

    Arguments:
        params: the parameters and statistics of the layer, NumPy arrays.
        x: its input.
        place: the key of the layer in its container.

    Raises ConfigError for a layer that neither the table nor the layer itself can add, ShapeError where x
    does not fit.
    """
    with graph.inside(str(place), params):
        shape = layer.output_shape(x.shape)
        own = getattr(layer, "onnx", None)
        if callable(own):
            y = own(graph, params, graph.last(x))
            if not isinstance(y, Value):
                raise ConfigError(f"{_named(graph, layer)}: expected onnx to return a Value, got {y!r}")
            y = replace(y, channels_first=False)
        else:
            y = _row(graph, layer)(graph, layer, params, x)
        return replace(y, shape=shape)


def _row(graph: Graph, layer: Layer) -> Row:
    """The row of the layer's class, or of the class that its passes come from."""
    for cls in type(layer).__mro__:
        if cls in TABLE:
            return TABLE[cls]
        if {"forward", "training_mode"} & vars(cls).keys():
            break
    raise ConfigError(
        f"{_named(graph, layer)}: expected a layer of xpnet.nn or one with a method onnx(graph, params, x), "
        "got neither"
    )


def _named(graph: Graph, layer: Layer) -> str:
    return f"layer {graph.place}, {layer}" if graph.place else str(layer)


def _node(operator: str) -> Row:
    return lambda graph, layer, params, x: graph(operator, x)


def _unchanged(graph: Graph, layer: Layer, params: Tree, x: Value) -> Value:
    return x


def _sequential(graph: Graph, layer: nn.Sequential, params: Tree, x: Value) -> Value:
    for key, child in layer.children().items():
        x = add(graph, child, params[key], x, key)
    return x


def _residual(graph: Graph, layer: nn.Residual, params: Tree, x: Value) -> Value:
    branch, shortcut = (add(graph, child, params[key], x, key) for key, child in layer.children().items())
    if branch.channels_first or shortcut.channels_first:
        branch, shortcut = graph.first(branch), graph.first(shortcut)
    return graph("Add", branch, shortcut)


def _tied(graph: Graph, layer: nn.Tied, params: Tree, x: Value) -> Value:
    return add(graph, layer.net, layer.of_net(params), x)


def _flatten(graph: Graph, layer: nn.Flatten, params: Tree, x: Value) -> Value:
    return graph("Flatten", graph.last(x), axis=1) if len(x.shape) > 2 else x


def _linear(graph: Graph, layer: nn.Linear, params: Tree, x: Value) -> Value:
    bias = [params["bias"]] if layer.bias else []
    x = graph.last(x)
    if len(x.shape) == 2:
        return graph("Gemm", x, params["weight"], *bias)
    y = graph("MatMul", x, params["weight"])
    return graph("Add", y, *bias) if bias else y


def _embedding(graph: Graph, layer: nn.Embedding, params: Tree, x: Value) -> Value:
    index = graph("Cast", graph.last(x), to=graph.onnx.TensorProto.INT64)
    return replace(graph("Gather", graph.constant(params["weight"]), index), channels_first=False)


# Convolution and pooling.


def _conv(graph: Graph, layer: Any, params: Tree, x: Value) -> Value:
    kernel, stride, padding = layer._geometry(x.shape)
    bias = [params["bias"]] if layer.bias else []
    if graph.double:
        rows, (a, b) = _windows(graph, x, kernel, stride, padding), params["weight"].shape[-2:]
        y = graph("MatMul", rows, params["weight"].reshape(math.prod(kernel) * a, b))
        return graph("Add", y, *bias) if bias else y
    weight = graph.constant(np.moveaxis(params["weight"], (-1, -2), (0, 1)), "weight")
    pads = [low for low, _ in padding] + [high for _, high in padding]
    return graph("Conv", graph.first(x), weight, *bias, kernel_shape=kernel, strides=stride, pads=pads)


def _max_pool(graph: Graph, layer: Any, params: Tree, x: Value) -> Value:
    kernel, stride = layer._geometry()
    return graph("MaxPool", graph.first(x), kernel_shape=kernel, strides=stride)


def _avg_pool(graph: Graph, layer: Any, params: Tree, x: Value) -> Value:
    kernel, stride = layer._geometry()
    if not graph.double:
        return graph("AveragePool", graph.first(x), kernel_shape=kernel, strides=stride)
    rows, lengths = _windows(graph, x, kernel, stride), layer.output_shape(x.shape)[1:-1]
    apart = graph("Reshape", rows, [0, *lengths, math.prod(kernel), x.shape[-1]])
    return graph("ReduceMean", apart, [-2], keepdims=0)


def _windows(graph: Graph, x: Value, kernel: Any, stride: Any, padding: Any = ((0, 0), (0, 0))) -> Value:
    """The windows of x, (n, *output_lengths, Π kernel · channels)."""
    axes, x = len(kernel), graph.last(x)
    if any(map(any, padding)):
        low, high = zip((0, 0), *padding[:axes], (0, 0), strict=True)
        x = graph("Pad", x, [*low, *high])
    lengths = []
    for axis in range(axes):
        length = x.shape[1 + axis] + sum(padding[axis])
        starts = np.arange(0, length - kernel[axis] + 1, stride[axis])
        lengths.append(len(starts))
        # Gathered axis by axis, h becomes h', k₁: earlier axes are twice as many by then.
        x = graph("Gather", x, starts[:, None] + np.arange(kernel[axis]), axis=1 + 2 * axis)
    apart = [*range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2)]
    x = graph("Transpose", x, perm=[0, *apart, 2 * axes + 1]) if axes > 1 else x
    return graph("Reshape", x, [0, *lengths, -1])


def _global_avg_pool(graph: Graph, layer: nn.GlobalAvgPool, params: Tree, x: Value) -> Value:
    start = 2 if x.channels_first else 1
    axes = list(range(start, start + len(x.shape) - 2))
    return replace(graph("ReduceMean", x, axes, keepdims=0), channels_first=False)


# Normalisation. In float64 without attributes, which are float32.


def _batch_norm(graph: Graph, layer: nn.BatchNorm, params: Tree, x: Value) -> Value:
    scale, shift, mean = (graph.constant(params[name]) for name in ("scale", "shift", "running_mean"))
    if graph.double:
        variance = graph.constant(params["running_variance"] + layer.epsilon, "running_variance")
        return graph("BatchNormalization", graph.first(x), scale, shift, mean, variance, epsilon=0.0)
    return graph(
        "BatchNormalization",
        graph.first(x),
        scale,
        shift,
        mean,
        params["running_variance"],
        epsilon=layer.epsilon,
    )


def _layer_norm(graph: Graph, layer: nn.LayerNorm, params: Tree, x: Value) -> Value:
    x, scale, shift = graph.last(x), params["scale"], params["shift"]
    if graph.double:
        return graph("Add", graph("Mul", _normalized(graph, x, layer.epsilon), scale), shift)
    return graph("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer.epsilon)


def _group_norm(graph: Graph, layer: nn.GroupNorm, params: Tree, x: Value) -> Value:
    x = graph.first(x)
    groups = graph("Reshape", x, [0, layer.groups, -1])
    if graph.double:
        groups = _normalized(graph, groups, layer.epsilon)
    else:
        ones, zeros = np.ones(layer.groups), np.zeros(layer.groups)
        groups = graph("InstanceNormalization", groups, ones, zeros, epsilon=layer.epsilon)
    y = graph("Reshape", groups, [0, layer.features, *x.shape[1:-1]])
    scale, shift = (
        graph.constant(params[name].reshape(-1, *[1] * (len(x.shape) - 2)), name)
        for name in ("scale", "shift")
    )
    return graph("Add", graph("Mul", y, scale), shift)


def _normalized(graph: Graph, x: Value, epsilon: float) -> Value:
    """x with mean 0 and variance 1 along the last axis."""
    centered = graph("Sub", x, graph("ReduceMean", x, [-1]))
    variance = graph("ReduceMean", graph("Mul", centered, centered), [-1])
    return graph("Div", centered, graph("Sqrt", graph("Add", variance, epsilon)))


# Activations.


def _softmax(graph: Graph, layer: nn.Softmax, params: Tree, x: Value) -> Value:
    return graph("Softmax", x, axis=1 if x.channels_first else -1)


def _leaky_relu(graph: Graph, layer: nn.LeakyReLU, params: Tree, x: Value) -> Value:
    if graph.double:
        return graph("Max", x, graph("Mul", x, layer.slope))
    return graph("LeakyRelu", x, alpha=layer.slope)


def _elu(graph: Graph, layer: nn.ELU, params: Tree, x: Value) -> Value:
    if not graph.double:
        return graph("Elu", x, alpha=layer.alpha)
    below = graph("Sub", graph("Exp", graph("Min", x, 0.0)), 1.0)
    return graph("Add", graph("Relu", x), graph("Mul", below, layer.alpha))


def _gelu(graph: Graph, layer: nn.GELU, params: Tree, x: Value) -> Value:
    if layer.form == "sigmoid":
        return graph("Mul", x, graph("Sigmoid", graph("Mul", x, 1.702)))
    if not graph.double:
        return graph("Gelu", x, approximate="tanh" if layer.form == "tanh" else "none")
    if layer.form == "tanh":
        inner = graph("Add", graph("Mul", graph("Mul", x, x), 0.044715), 1.0)
        gate = graph("Tanh", graph("Mul", graph("Mul", inner, x), math.sqrt(2 / math.pi)))
    else:
        gate = _erf(graph, graph("Mul", x, math.sqrt(1 / 2)))
    return graph("Mul", x, graph("Mul", graph("Add", gate, 1.0), 0.5))


def _erf(graph: Graph, x: Value) -> Value:
    """`special.erf` in float64, for which onnxruntime has no Erf."""
    p, q, bound = special.ERF_DOUBLE
    size = graph("Min", graph("Abs", x), bound)
    ratio = graph("Div", _polynomial(graph, p, size), _polynomial(graph, q, size))
    power = graph("Exp", graph("Neg", graph("Mul", ratio, size)))
    return graph("Mul", graph("Sign", x), graph("Sub", graph.constant(1.0), power))


def _polynomial(graph: Graph, coefficients: tuple[float, ...], x: Value) -> Value:
    """Σᵢ cᵢ xⁱ, by Horner's rule."""
    *lower, highest = coefficients
    y = graph.constant(highest)
    for c in reversed(lower):
        y = graph("Add", graph("Mul", x, y), c)
    return y


def _silu(graph: Graph, layer: nn.SiLU, params: Tree, x: Value) -> Value:
    return graph("Mul", x, graph("Sigmoid", x))


def _softplus(graph: Graph, layer: nn.Softplus, params: Tree, x: Value) -> Value:
    if not graph.double:
        return graph("Softplus", x)
    power = graph("Exp", graph("Neg", graph("Abs", x)))
    return graph("Add", graph("Relu", x), graph("Log", graph("Add", power, 1.0)))


TABLE: dict[type[Layer], Row] = {
    nn.Sequential: _sequential,
    nn.Residual: _residual,
    nn.Tied: _tied,
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.Conv2d: _conv,
    nn.Conv1d: _conv,
    nn.MaxPool2d: _max_pool,
    nn.MaxPool1d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AvgPool1d: _avg_pool,
    nn.GlobalAvgPool: _global_avg_pool,
    nn.Flatten: _flatten,
    nn.BatchNorm: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Dropout: _unchanged,
    nn.GaussianNoise: _unchanged,
    nn.Identity: _unchanged,
    nn.ReLU: _node("Relu"),
    nn.LeakyReLU: _leaky_relu,
    nn.ELU: _elu,
    nn.GELU: _gelu,
    nn.SiLU: _silu,
    nn.Softplus: _softplus,
    nn.Sigmoid: _node("Sigmoid"),
    nn.Tanh: _node("Tanh"),
    nn.Softmax: _softmax,
}
