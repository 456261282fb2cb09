"""A network as a table of its layers, and what a step of training takes, before anything runs."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import cost
from xpnet.nn import Layer, Sequential
from xpnet.nn._layer import Shape, show_shape
from xpnet.random import Key
from xpnet.tree import Tree

LONGEST_NAME = 40
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


class Row(NamedTuple):
    """A layer in the table: operations and bytes are for all examples of a step."""

    layer: Layer
    output_shape: Shape
    parameters: int
    forward: int
    backward: int
    saved: int


class StepMemory(NamedTuple):
    """Bytes that a step of training takes, beside the data set.

    Fields:
        parameters, gradients, optimizer_state: those trees.
        saved_activations: what the forward pass keeps for the backward pass.
        workspace: the largest arrays that a layer makes beside its input and output.
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
    """A row for the network, or one for each layer of a `Sequential`.

    Arguments:
        net: the network.
        params: its parameters, or arrays of their shapes.
        input_shape: that of a batch, (n, ...).
        dtype: of the arrays, "float32" or "float64".
        at_once: of how many examples residuals are kept at a time.

    Raises ShapeError where the shape does not fit.
    """
    net.output_shape(input_shape)
    shape_at_once = (at_once, *input_shape[1:])
    few, more = (_saved_bytes(net, params, input_shape[1:], dtype, n, shape_at_once) for n in (2, 3))
    saved = [a + (at_once - 2) * (b - a) for a, b in zip(few, more, strict=True)]
    if not isinstance(net, Sequential):
        flops = cost.flops(net, params, input_shape)
        output = ("n", *net.output_shape(input_shape)[1:])
        return [Row(net, output, count(params), flops.forward, flops.parameter_gradients, *saved)]
    table, first = [], net.first_to_learn(params)
    shapes = cost.input_shapes(net, input_shape)
    for i, layer in enumerate(net.layers):
        flops, shape = cost.flops(layer, params[i], shapes[i]), shapes[i]
        output = ("n", *layer.output_shape(shape)[1:])
        table.append(
            Row(layer, output, count(params[i]), flops.forward, _way_back(flops, i - first), saved[i])
        )
    return table


def _way_back(flops: cost.Flops, after_first: int) -> int:
    """What the backward pass of a layer takes, so far after the first that learns, which needs no dx."""
    if after_first < 0:
        return 0
    return flops.parameter_gradients if after_first == 0 else flops.backward


def _saved_bytes(
    net: Layer, params: Tree, example: Shape, dtype: str, n: int, shape_at_once: Shape
) -> list[int]:
    """The bytes that each layer's residuals hold after a forward pass of n examples of zeros.

    An array that several layers keep, or keep views of, counts for the first of them.
    """
    zeros = tree.map(lambda array: np.zeros(tuple(array.shape), dtype), params)
    in_training = net.training_mode(Key(np.zeros(1, np.int32)))
    with np.errstate(all="ignore"):
        _, residuals = in_training.forward(zeros, np.zeros((n, *example), dtype))
    residuals = cost.kept(in_training, residuals, shape_at_once)
    seen: set[int] = set()
    each = residuals.children if isinstance(in_training, Sequential) else (residuals,)
    return [_new_bytes(of_layer, seen) for of_layer in each]


def _new_bytes(residuals: Any, seen: set[int]) -> int:
    """The bytes of the memory behind arrays, but for what is `seen`, to which it is added."""
    total = 0
    for array in tree.leaves(residuals):
        if isinstance(array, np.ndarray):
            while getattr(array, "base", None) is not None:
                array = array.base
            total += array.nbytes if id(array) not in seen else 0
            seen.add(id(array))
    return total


def text(net: Layer, params: Tree, layers: list[Row] | None = None, step: str = "") -> str:
    """The network as a table; without rows, its layers and their numbers of parameters.

    Arguments:
        net: the network.
        params: its parameters.
        layers: from `rows`.
        step: a line to stand below the table.
    """
    total = f"{count(params):,}"
    if layers is None:
        parts, branches = (net.layers, params) if isinstance(net, Sequential) else ((net,), (params,))
        each = [(_name(part), f"{count(branch):,}") for part, branch in zip(parts, branches, strict=True)]
        return _align([("layer", "parameters"), *each, ("total", total)], left=1)
    cells = [("layer", "output shape", "parameters", "FLOPs forward", "FLOPs backward", "saved")]
    for row in layers:
        flops = f"{short(row.forward)}", f"{short(row.backward)}"
        shape = show_shape(row.output_shape)
        cells.append((_name(row.layer), shape, f"{row.parameters:,}", *flops, f"{short(row.saved)}B"))
    forward, backward, saved = (short(sum(column)) for column in list(zip(*layers, strict=True))[3:])
    table = _align([*cells, ("total", "", total, forward, backward, f"{saved}B")], left=2)
    return f"{table}\n\n{step}"


def _name(layer: Layer) -> str:
    name = str(layer)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def short(number: int) -> str:
    """Three digits and the SI prefix: 12.8 M."""
    exponent, value = 0, float(number)
    while value >= 999.5 and exponent < len(PREFIXES) - 1:
        exponent, value = exponent + 1, value / 1000
    return f"{value:.3g} {PREFIXES[exponent]}"


def _align(cells: Sequence[tuple[str, ...]], left: int) -> str:
    """The cells as a table with a line under the first row and above the last; `left` columns are texts."""
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
