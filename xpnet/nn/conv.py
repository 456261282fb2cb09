"""Convolutions: one small linear layer, applied at every position of an image or a sequence."""

from __future__ import annotations  # `help` shows Initializer, not all that it stands for

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from xpnet import init
from xpnet._util.checks import settled
from xpnet._util.windows import output_lengths
from xpnet.backend import namespace, ops
from xpnet.errors import ConfigError
from xpnet.nn._layer import Layer, Shape, drawn, require_initializers, require_positive_integers
from xpnet.nn._windows import crop, geometry, overlap_add, per_axis, windows
from xpnet.random import Generator
from xpnet.tree import Array, Tree

# The windows of a batch take k² times the memory of x. Above this number of elements they are not kept: the
# backward pass computes them again, which takes about 5% of a step.
KEPT = 4 << 20


class ConvResiduals(NamedTuple):
    """Fields: x, and its windows as rows of a matrix; None to compute them again."""

    x: Array
    rows: Array | None


@dataclass(frozen=True, repr=False)
class _Conv(Layer):
    """A convolution over any number of axes: `Linear` on the rows of `windows(x)`. See `Conv2d`."""

    examples = "independent"

    axes: ClassVar[int]

    in_channels: int
    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | Literal["same"] = 0
    bias: bool = True
    weight_init: init.Initializer = field(default=init.glorot_uniform, repr=False)
    bias_init: init.Initializer = field(default=init.zeros, repr=False)

    def __post_init__(self) -> None:
        require_positive_integers(self, in_channels=self.in_channels, out_channels=self.out_channels)
        require_initializers(self)
        require_per_axis(self, "kernel_size")
        require_per_axis(self, "stride")
        padding = settled(self, "padding")
        if padding != "same" and not (type(padding) is int and padding >= 0):
            raise ConfigError(
                f"{self}: expected padding to be 'same' or an integer of at least 0, got {self.padding!r}"
            )

    def init(self, rng: Generator) -> Tree:
        shape = (*per_axis(self.kernel_size, self.axes), self.in_channels, self.out_channels)
        params = {"weight": drawn(self, "weight_init", rng, shape)}
        if self.bias:
            params["bias"] = drawn(self, "bias_init", rng, (self.out_channels,))
        return params

    def forward(self, params: Tree, x: Array) -> tuple[Array, ConvResiduals]:
        rows = self._windows(x)
        y = ops(rows).rows_product(rows, self._matrix(params))
        if self.bias:
            y = ops(y).add_to_rows(y, params["bias"])
        kept = rows if math.prod(rows.shape) <= KEPT else None
        return namespace(x).reshape(y, self.output_shape(x.shape)), ConvResiduals(x, kept)

    def backward(self, params: Tree, residuals: ConvResiduals, dy: Array) -> tuple[Array, Tree]:
        return self._input_gradient(params, residuals, dy), self._gradients(params, residuals, dy)

    def _input_gradient(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Array:
        xp = namespace(dy)
        shape = residuals.x.shape
        kernel, stride, padding = self._geometry(shape)
        if self.convolves_dy(shape):
            # With one output for each input, dx is a convolution of dy with the flipped kernel.
            dy_padding = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel, padding, strict=True)]
            flipped = ops(dy).transposed(xp.flip(params["weight"], axis=tuple(range(self.axes))))
            rows = windows(dy, kernel, stride, dy_padding)
            return xp.reshape(rows @ xp.reshape(flipped, (-1, self.in_channels)), shape)
        lengths = tuple(n + low + high for n, (low, high) in zip(shape[1:-1], padding, strict=True))
        dy_rows = xp.reshape(dy, (-1, self.out_channels))
        taps = xp.reshape(params["weight"], (-1, self.in_channels, self.out_channels))
        parts = (
            xp.reshape(dy_rows @ ops(dy).transposed(taps[tap, ...]), (*dy.shape[:-1], self.in_channels))
            for tap in range(taps.shape[0])
        )
        return crop(overlap_add(parts, (shape[0], *lengths, shape[-1]), kernel, stride), padding)

    def parameter_gradients(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Tree:
        return self._gradients(params, residuals, dy)

    def _gradients(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Tree:
        xp = namespace(dy)
        dy = xp.reshape(dy, (-1, self.out_channels))
        rows = self._windows(residuals.x) if residuals.rows is None else residuals.rows
        grads = {"weight": xp.reshape(ops(dy).rows_gradient(rows, dy), params["weight"].shape)}
        if self.bias:
            grads["bias"] = ops(dy).sum_of_rows(dy)
        return grads

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != self.axes + 2 or input_shape[-1] != self.in_channels:
            self.refuse(self._expected, input_shape)
        kernel, stride, padding = self._geometry(input_shape)
        padded = [n + sum(p) for n, p in zip(input_shape[1:-1], padding, strict=True)]
        lengths = output_lengths(padded, kernel, stride)
        if min(lengths) < 1:
            self.refuse(f"{self._expected} with room for a window", input_shape)
        return (input_shape[0], *lengths, self.out_channels)

    def convolves_dy(self, input_shape: Shape) -> bool:
        """Whether the backward pass computes dx from the windows of dy."""
        kernel, stride, padding = self._geometry(input_shape)
        as_many = self.output_shape(input_shape)[1:-1] == tuple(input_shape[1:-1])
        return (
            as_many
            and max(stride) == 1
            and all(max(sides) < k for k, sides in zip(kernel, padding, strict=True))
        )

    @property
    def _expected(self) -> str:
        return f"(n, {'h, w' if self.axes == 2 else 't'}, {self.in_channels})"

    def _geometry(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Kernel, stride and padding (before, after) along each axis."""
        return geometry(shape[1:-1], self.kernel_size, self.stride, self.padding)

    def _windows(self, x: Array) -> Array:
        kernel, stride, padding = self._geometry(x.shape)
        return windows(x, kernel, stride, padding)

    def _matrix(self, params: Tree) -> Array:
        """The weight as a matrix (Π kernel · in_channels, out_channels)."""
        return namespace(params["weight"]).reshape(params["weight"], (-1, self.out_channels))


@dataclass(frozen=True, repr=False)
class Conv2d(_Conv):
    """y[n, i, j, o] = Σ x̄[n, s₁ i + a, s₂ j + b, c] W[a, b, c, o] + b[o], summed over a, b and c.

    dx̄[n, i', j', c] = Σ dy[n, i, j, o] W[a, b, c, o], over o and all s₁ i + a = i', s₂ j + b = j'
    dW[a, b, c, o] = Σ x̄[n, s₁ i + a, s₂ j + b, c] dy[n, i, j, o],  db[o] = Σ dy[n, i, j, o]

    where x̄ is x padded with zeros, and dx is dx̄ without the padding. Like every deep learning library this
    computes a correlation: the kernel is not flipped.

    Shapes: x (n, h, w, in_channels), y (n, h', w', out_channels), weight W (k₁, k₂, in_channels,
    out_channels), bias b (out_channels,). h' = ⌊(h + p - k₁) / s₁⌋ + 1 with p rows of padding in all; w'
    likewise.

    Arguments:
        in_channels, out_channels: the lengths of the last axes of x and y.
        kernel_size: (k₁, k₂), along the height and the width, or one integer for both.
        stride: (s₁, s₂), or one integer for both.
        padding: the number of zeros on each side, or "same" for h' = ⌈h / s₁⌉ and w' = ⌈w / s₂⌉. An odd
            number of zeros puts one more at the end, as in TensorFlow.
        bias: whether to add b.
        weight_init, bias_init: initialisers from `xpnet.init`.

    Raises ConfigError for a value out of its range, ShapeError if x has a wrong number of axes or channels,
    or no room for a window.

    (LeCun et al., "Gradient-based learning applied to document recognition", 1998.)
    """

    axes = 2


@dataclass(frozen=True, repr=False)
class Conv1d(_Conv):
    """y[n, i, o] = Σ x̄[n, s i + a, c] W[a, c, o] + b[o], summed over a and c.

    `Conv2d` with one axis less. Gradients, arguments and errors: see there.

    Shapes: x (n, t, in_channels), y (n, t', out_channels), weight W (k, in_channels, out_channels),
    bias b (out_channels,).
    """

    axes = 1


def require_per_axis(layer: Layer, name: str) -> None:
    """ConfigError unless the hyper-parameter is an integer of at least 1, or a tuple of one for each axis."""
    value, axes = settled(layer, name), layer.axes  # type: ignore[attr-defined]
    values = per_axis(value, axes)
    if len(values) != axes:
        raise ConfigError(f"{layer}: expected {name} to be an integer or {axes} of them, got {value!r}")
    for each in values:
        require_positive_integers(layer, **{name: each})
