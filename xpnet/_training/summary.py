"""The table of a network's layers, and the memory of a training step, without running it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import cost
from xpnet._util.html import table
from xpnet.nn import Layer, Sequential, Tied
from xpnet.nn._layer import Shape, blank, show_shape
from xpnet.random import Key
from xpnet.tree import Tree

LONGEST_NAME = 40
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


class Row(NamedTuple):
    """A layer in the table. Operations and bytes are for all examples of a step."""

    layer: Layer
    output_shape: Shape
    parameters: int
    forward: int
    backward: int
    saved: int


class StepMemory(NamedTuple):
    """The memory of a training step in bytes, without the data set.

    Fields:
        parameters, gradients, optimizer_state: the arrays of each of these trees.
        saved_activations: the residuals that the forward pass keeps for the backward pass.
        workspace: the largest temporary arrays of a layer.
    """

    parameters: int
    gradients: int
    optimizer_state: int
    saved_activations: int
    workspace: int

    def __str__(self) -> str:
        parts = (f"{name.replace('_', ' ')} {short(value)}B" for name, value in self._asdict().items())
        return f"{short(sum(self))}B: {', '.join(parts)}"


def count(params: Tree) -> int:
    """The number of parameters in a tree of arrays."""
    return sum(math.prod(array.shape) for array in tree.leaves(params))


def rows(net: Layer, params: Tree, input_shape: Shape, dtype: str, at_once: int) -> list[Row]:
    """A row for the network, or one for each layer of a `Sequential`, also of one with tied parameters.

    Arguments:
        net: the network.
        params: its parameters, or arrays of their shapes.
        input_shape: the shape of a batch, (n, ...).
        dtype: the dtype of the arrays, "float32" or "float64".
        at_once: the number of examples whose residuals are kept at the same time.

    Raises ShapeError if the shape does not fit.
    """
    net.output_shape(input_shape)
    shape_at_once = (at_once, *input_shape[1:])
    few, more = (_saved_bytes(net, params, input_shape[1:], dtype, n, shape_at_once) for n in (2, 3))
    saved = [a + (at_once - 2) * (b - a) for a, b in zip(few, more, strict=True)]
    filled = params
    while isinstance(net, Tied):
        filled, net = net.of_net(filled), net.net
    if not isinstance(net, Sequential):
        flops = cost.flops(net, filled, input_shape)
        output = ("n", *net.output_shape(input_shape)[1:])
        return [Row(net, output, count(params), flops.forward, flops.parameter_gradients, *saved)]
    found, first = [], net.first_to_learn(filled)
    shapes = cost.input_shapes(net, input_shape)
    for i, layer in enumerate(net.layers):
        flops, shape = cost.flops(layer, filled[i], shapes[i]), shapes[i]
        output = ("n", *layer.output_shape(shape)[1:])
        found.append(
            Row(layer, output, count(params[i]), flops.forward, _backward_flops(flops, i - first), saved[i])
        )
    return found


def _backward_flops(flops: cost.Flops, after_first: int) -> int:
    """The operations of a layer's backward pass, `after_first` layers after the first with parameters.

    That first layer computes no dx, and the layers before it have no backward pass.
    """
    if after_first < 0:
        return 0
    return flops.parameter_gradients if after_first == 0 else flops.backward


def _saved_bytes(
    net: Layer, params: Tree, example: Shape, dtype: str, n: int, shape_at_once: Shape
) -> list[int]:
    """The bytes of each layer's residuals after a forward pass on n examples of zeros.

    An array that several layers keep, also as a view, counts for the first of them.
    """
    zeros = tree.map(lambda array: np.zeros(tuple(array.shape), dtype), params)
    in_training = net.training_mode(Key(np.zeros(1, np.int32)))
    with np.errstate(all="ignore"):
        _, residuals = in_training.forward(zeros, blank(net, (n, *example), dtype))
    residuals = cost.kept(in_training, residuals, shape_at_once)
    seen: set[int] = set()
    by_layer = residuals.children if isinstance(_untied(in_training), Sequential) else (residuals,)
    return [_new_bytes(layer_residuals, seen) for layer_residuals in by_layer]


def _new_bytes(residuals: Any, seen: set[int]) -> int:
    """The bytes of the memory behind arrays whose id is not in `seen`. Adds their ids to `seen`."""
    total = 0
    for array in tree.leaves(residuals):
        if isinstance(array, np.ndarray):
            while getattr(array, "base", None) is not None:
                array = array.base
            total += array.nbytes if id(array) not in seen else 0
            seen.add(id(array))
    return total


def text(net: Layer, params: Tree, layers: list[Row] | None = None, step: str = "") -> str:
    """The network as a table. Without rows, the table lists the layers and their parameters alone.

    Arguments:
        net: the network.
        params: its parameters.
        layers: the rows, from `rows`.
        step: a line to print below the table.
    """
    lines = _align(_cells(net, params, layers), left=1 if layers is None else 2)
    return f"{lines}\n\n{step}" if step else lines


def html(title: str, net: Layer, params: Tree, layers: list[Row] | None = None) -> str:
    """The first columns of that table, down to the parameters, as HTML below a title."""
    columns = 2 if layers is None else 3
    cells = [row[:columns] for row in _cells(net, params, layers)]
    return table(cells, left=range(columns - 1), caption=title, total=True)


def _cells(net: Layer, params: Tree, layers: list[Row] | None) -> list[tuple[str, ...]]:
    """The cells of the table: the names of the columns, a row for each layer, and the total."""
    total = f"{count(params):,}"
    if layers is None:
        net = _untied(net)
        parts, branches = (net.layers, params) if isinstance(net, Sequential) else ((net,), (params,))
        each = [(_name(part), f"{count(branch):,}") for part, branch in zip(parts, branches, strict=True)]
        return [("layer", "parameters"), *each, ("total", total)]
    cells: list[tuple[str, ...]]
    cells = [("layer", "output shape", "parameters", "FLOPs forward", "FLOPs backward", "saved")]
    for row in layers:
        flops = f"{short(row.forward)}", f"{short(row.backward)}"
        shape = show_shape(row.output_shape)
        cells.append((_name(row.layer), shape, f"{row.parameters:,}", *flops, f"{short(row.saved)}B"))
    forward, backward, saved = (short(sum(column)) for column in list(zip(*layers, strict=True))[3:])
    return [*cells, ("total", "", total, forward, backward, f"{saved}B")]


def _untied(net: Layer) -> Layer:
    """The network inside `Tied`."""
    while isinstance(net, Tied):
        net = net.net
    return net


def _name(layer: Layer) -> str:
    name = str(layer)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def short(number: int) -> str:
    """A number with three digits and an SI prefix: "12.8 M"."""
    exponent, value = 0, float(number)
    while value >= 999.5 and exponent < len(PREFIXES) - 1:
        exponent, value = exponent + 1, value / 1000
    return f"{value:.3g} {PREFIXES[exponent]}"


def _align(cells: Sequence[tuple[str, ...]], left: int) -> str:
    """The cells as a table with a rule below the first row and above the last.

    The first `left` columns are left-aligned, the others right-aligned.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if i < left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
