"""Convolution and pooling that a library brings itself, PyTorch alone so far.

In the standard they are what `xpnet.nn.conv` and `xpnet.nn.pool` do where there is nothing here. With these
the step of a network of 3×3 convolutions with 32 and 64 channels takes a quarter of the time on 2 cores.
(JAX's convolution is not here: inside a loop of steps XLA's takes 30 times as long as our windows on a CPU.)

Arrays are in xpnet's order of axes: x (n, *lengths, c), weight (*kernel, c, o), bias (o,), and y and dy
(n, *outputs, o). The padding is a pair of numbers of zeros for each axis, before and after.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from xpnet.backend._arrays import library
from xpnet.tree import Array

Lengths = tuple[int, ...]
Padding = Sequence[tuple[int, int]]


def convolve(x: Array, weight: Array, bias: Array | None, stride: Lengths, padding: Padding) -> Array | None:
    """The convolution of x, (n, *outputs, o); None where the library has none."""
    if not _is_torchs(x, padding):
        return None
    before, axes = [low for low, _ in padding], len(stride)
    y = _torch().convolution(
        _channels_first(x), _out_in(weight), bias, stride, before, [1] * axes, False, [0] * axes, 1
    )
    return _channels_last(y)


def convolve_gradients(
    x: Array, weight: Array, dy: Array, stride: Lengths, padding: Padding, of_input: bool
) -> tuple[Array | None, Array, Array] | None:
    """dx (None unless asked for), dweight and dbias; None where the library has no convolution."""
    if not _is_torchs(x, padding):
        return None
    before, axes, n_out = [low for low, _ in padding], len(stride), dy.shape[-1]
    arrays = _channels_first(dy), _channels_first(x), _out_in(weight)
    wanted = [of_input, True, True]
    dx, dweight, dbias = _torch().ops.aten.convolution_backward(
        *arrays, [n_out], stride, before, [1] * axes, False, [0] * axes, 1, wanted
    )
    return (_channels_last(dx) if of_input else None), _in_out(dweight), dbias


def max_pool(x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array] | None:
    """The largest of each window of x, (n, *outputs, c), and where it is; None where the library has none."""
    if library(x) != "torch" or len(kernel) != 2:
        return None
    y, positions = _torch().ops.aten.max_pool2d_with_indices(_channels_first(x), kernel, stride)
    return _channels_last(y), positions


def max_pool_gradient(dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths) -> Array:
    """dx, given what `max_pool` says where the largest elements are."""
    dx = _torch().ops.aten.max_pool2d_with_indices_backward(
        _channels_first(dy), _channels_first(x), kernel, stride, [0, 0], [1, 1], False, positions
    )
    return _channels_last(dx)


def _is_torchs(x: Array, padding: Padding) -> bool:
    return library(x) == "torch" and all(low == high for low, high in padding)


def _torch() -> Any:
    return importlib.import_module("torch")


# PyTorch's order of axes, as views: what is laid out in memory with the channels last stays so.


def _channels_first(x: Array) -> Array:
    return x.movedim(-1, 1)


def _channels_last(x: Array) -> Array:
    return x.movedim(1, -1)


def _out_in(weight: Array) -> Array:
    """(*kernel, c, o) as (o, c, *kernel); copied, since in float64 PyTorch refuses some views."""
    return weight.movedim((-1, -2), (0, 1)).contiguous()


def _in_out(weight: Array) -> Array:
    return weight.movedim((0, 1), (-1, -2))
