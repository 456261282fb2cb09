"""Pooling: one number for each window of an image or a sequence, channel by channel."""

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from xpnet._util.windows import Lengths, output_lengths, taps
from xpnet.backend import namespace, ops
from xpnet.nn._layer import Layer, Shape
from xpnet.nn._windows import overlap_add, per_axis
from xpnet.nn.conv import require_per_axis
from xpnet.tree import Array, Tree


class MaxPoolResiduals(NamedTuple):
    """Fields: the input and the output of the maximum along each axis, the last axis first."""

    along: tuple[tuple[Array, Array], ...]


class ShapeResiduals(NamedTuple):
    shape: tuple[Any, ...]


@dataclass(frozen=True, repr=False)
class _Pool(Layer):
    """Pooling over any number of axes. Equations: see `MaxPool2d` and `AvgPool2d`."""

    axes: ClassVar[int]

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        require_per_axis(self, "kernel_size")
        if self.stride is not None:
            require_per_axis(self, "stride")

    def output_shape(self, input_shape: Shape) -> Shape:
        expected = "(n, h, w, c)" if self.axes == 2 else "(n, t, c)"
        if len(input_shape) != self.axes + 2:
            self.refuse(expected, input_shape)
        lengths = output_lengths(input_shape[1:-1], *self._geometry())
        if min(lengths) < 1:
            self.refuse(f"{expected} with room for a window", input_shape)
        return (input_shape[0], *lengths, input_shape[-1])

    def _geometry(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Kernel and stride along each axis."""
        stride = self.kernel_size if self.stride is None else self.stride
        return per_axis(self.kernel_size, self.axes), per_axis(stride, self.axes)


@dataclass(frozen=True, repr=False)
class _MaxPool(_Pool):
    """The maximum along the last axis of the window, then along the axis before it.

    In backward, the gradient goes to the first of equal elements: first row, then first column.
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, MaxPoolResiduals]:
        y, along = x, []
        for kernel, stride in _axis_by_axis(*self._geometry()):
            before = y
            each = [before[tap] for tap in taps(before.shape[1:-1], kernel, stride)]
            y = functools.reduce(namespace(x).maximum, each)
            along.append((before, y))
        return y, MaxPoolResiduals(tuple(along))

    def backward(self, params: Tree, residuals: MaxPoolResiduals, dy: Array) -> tuple[Array, Tree]:
        xp, axis_by_axis = namespace(dy), _axis_by_axis(*self._geometry())
        for (kernel, stride), (before, y) in reversed(list(zip(axis_by_axis, residuals.along, strict=True))):
            *all_but_last, _ = taps(before.shape[1:-1], kernel, stride)
            parts, rest = [], dy
            for tap in all_but_last:
                part = xp.astype(before[tap] == y, dy.dtype)
                part *= rest
                rest = rest - part
                parts.append(part)
            dy = overlap_add([*parts, rest], before.shape, kernel, stride)
        return dy, {}


@functools.lru_cache
def _axis_by_axis(kernel: Lengths, stride: Lengths) -> list[tuple[Lengths, Lengths]]:
    """Kernel and stride of pooling along each axis alone, the last axis first."""

    def alone(values: Lengths, axis: int) -> Lengths:
        return tuple([value if i == axis else 1 for i, value in enumerate(values)])

    return [(alone(kernel, axis), alone(stride, axis)) for axis in reversed(range(len(kernel)))]


@dataclass(frozen=True, repr=False)
class _AvgPool(_Pool):
    """The sum along the first axis of the window, whose rows are contiguous, then along the next."""

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, ShapeResiduals]:
        kernel, stride = self._geometry()
        y = x
        for along in reversed(_axis_by_axis(kernel, stride)):
            y = functools.reduce(operator.add, [y[tap] for tap in taps(y.shape[1:-1], *along)])
        y = y / math.prod(kernel)
        return y, ShapeResiduals(x.shape)

    def backward(self, params: Tree, residuals: ShapeResiduals, dy: Array) -> tuple[Array, Tree]:
        kernel, stride = self._geometry()
        count = math.prod(kernel)
        return overlap_add([dy / count] * count, residuals.shape, kernel, stride), {}


@dataclass(frozen=True, repr=False)
class MaxPool2d(_MaxPool):
    """y[n, i, j, c] = max x[n, s₁ i + a, s₂ j + b, c] over the window, 0 ≤ a < k₁, 0 ≤ b < k₂.

    dx[n, i', j', c] = Σ dy over the windows whose first maximum, row by row, is at (i', j').

    Shapes: x (n, h, w, c), y (n, h', w', c), h' = ⌊(h - k₁) / s₁⌋ + 1 and w' likewise: rows and columns that
    do not fill a window are dropped.

    Arguments:
        kernel_size: (k₁, k₂), along the height and the width, or one integer for both.
        stride: (s₁, s₂), or one integer for both; by default the kernel size.

    Raises ConfigError for a value out of its range, ShapeError if x has a wrong number of axes or no room
    for a window.

    (Ranzato, Huang, Boureau and LeCun, "Unsupervised learning of invariant feature hierarchies with
    applications to object recognition", 2007.)
    """

    axes = 2


@dataclass(frozen=True, repr=False)
class MaxPool1d(_MaxPool):
    """`MaxPool2d` with one axis less. Gradient, arguments and errors: see there.

    Shapes: x (n, t, c), y (n, t', c).
    """

    axes = 1


@dataclass(frozen=True, repr=False)
class AvgPool2d(_AvgPool):
    """y[n, i, j, c] = 1/(k₁ k₂) Σ x[n, s₁ i + a, s₂ j + b, c] over the window, 0 ≤ a < k₁, 0 ≤ b < k₂.

    dx[n, i', j', c] = 1/(k₁ k₂) Σ dy over the windows that contain (i', j')

    Shapes, arguments and errors: see `MaxPool2d`.

    (LeCun et al., "Gradient-based learning applied to document recognition", 1998, where a learned factor and
    bias follow.)
    """

    axes = 2


@dataclass(frozen=True, repr=False)
class AvgPool1d(_AvgPool):
    """`AvgPool2d` with one axis less. Gradient, arguments and errors: see there.

    Shapes: x (n, t, c), y (n, t', c).
    """

    axes = 1


@dataclass(frozen=True, repr=False)
class GlobalAvgPool(Layer):
    """y[n, c] = 1/(h w) Σ x[n, i, j, c] over all positions i, j.

    dx[n, i, j, c] = dy[n, c] / (h w)

    Shapes: x (n, h, w, c) or (n, t, c), y (n, c).

    Raises ShapeError if x has no axis between the examples and the channels.

    (Lin, Chen and Yan, "Network in network", 2014, §3.2.)
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, ShapeResiduals]:
        positions = math.prod(x.shape[1:-1])
        rows = namespace(x).reshape(x, (-1, positions, x.shape[-1]))
        return ops(x).sum_of_rows(rows) / positions, ShapeResiduals(x.shape[1:-1])

    def backward(self, params: Tree, residuals: ShapeResiduals, dy: Array) -> tuple[Array, Tree]:
        xp = namespace(dy)
        each = (dy / math.prod(residuals.shape))[(slice(None), *[None] * len(residuals.shape), slice(None))]
        return xp.broadcast_to(each, (dy.shape[0], *residuals.shape, dy.shape[-1])), {}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 3:
            self.refuse("(n, ..., c)", input_shape)
        return (input_shape[0], input_shape[-1])
