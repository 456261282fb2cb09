"""Sliding windows over the axes between the examples and the channels, and their adjoint.

Where windows and their taps are, `xpnet._util.windows` says. All is written for any number of axes.
"""

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from xpnet._util.windows import Lengths, output_lengths, taps
from xpnet.backend import device, namespace, ops
from xpnet.tree import Array


@functools.lru_cache
def geometry(
    lengths: Lengths, kernel_size: int | Lengths, stride: int | Lengths, padding: int | Literal["same"]
) -> tuple[Lengths, Lengths, tuple[tuple[int, int], ...]]:
    """Kernel and stride of a convolution along each axis, and the zeros before and after it."""
    kernel, stride = per_axis(kernel_size, len(lengths)), per_axis(stride, len(lengths))
    if padding != "same":
        return kernel, stride, ((padding, padding),) * len(lengths)
    # As many as it takes for ⌈length / stride⌉ windows.
    zeros = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(lengths, kernel, stride, strict=True)]
    return kernel, stride, tuple([(total // 2, total - total // 2) for total in zeros])


def per_axis(value: int | Lengths, axes: int) -> Lengths:
    """An argument that is one integer, or one for each axis, as a tuple."""
    return value if isinstance(value, tuple) else (value,) * axes


def windows(x: Array, kernel: Lengths, stride: Lengths) -> Array:
    """All windows as rows of a matrix: (n·Π output_lengths, Π kernel · c)."""
    columns = math.prod(kernel) * x.shape[-1]
    if kernel[-1] * x.shape[-1] < output_lengths(x.shape[1:-1], kernel, stride)[-1]:
        return _columns_of_windows(x, kernel, stride)
    return namespace(x).reshape(ops(x).window_view(x, kernel, stride), (-1, columns))


def _columns_of_windows(x: Array, kernel: Lengths, stride: Lengths) -> Array:
    """`windows` for few channels: columns are longer pieces of x than rows, so it is columns that are copied.

    (With a view NumPy does so in one call. A call for each tap lets another thread have Python as often, and
    has to wait for it: a step of CNN A of the speed suite on two cores took 3% longer.)
    """
    xp, axes, (n, *lengths, c) = namespace(x), len(kernel), x.shape
    channels_first = xp.reshape(xp.reshape(xp.moveaxis(x, -1, 0), (-1,)), (c * n, *lengths, 1))
    view = ops(x).window_view(channels_first, kernel, stride)
    view = xp.reshape(view, (c, n, *view.shape[1:-1]))
    of_windows, of_taps = range(1, axes + 2), range(axes + 2, 2 * axes + 2)
    columns = xp.reshape(xp.permute_dims(view, (*of_taps, 0, *of_windows)), (math.prod(kernel) * c, -1))
    return ops(x).transposed(columns)


def overlap_add(parts: Iterable[Array], shape: Lengths, kernel: Lengths, stride: Lengths) -> Array:
    """The adjoint of taking windows: the array of that shape, (n, ..., c), to which each tap adds its part.

    The parts are in the order of `taps`, each (n, *output_lengths, c).
    """
    total: Any = None
    whole = kernel == stride and not any(n % k for n, k in zip(shape[1:-1], kernel, strict=True))
    firsts = _firsts(kernel, stride)
    for tap, first, part in zip(taps(shape[1:-1], kernel, stride), firsts, parts, strict=True):
        if total is None:
            total = (empty if whole else zeros)(shape, like=part)
        total = (ops(total).set_at if first else ops(total).add_at)(total, tap, part)
    return total


@functools.lru_cache
def _firsts(kernel: Lengths, stride: Lengths) -> list[bool]:
    """For each tap, whether none before it meets the same elements: they are whole strides apart."""
    return [all(map(operator.lt, tap, stride)) for tap in itertools.product(*map(range, kernel))]


def pad(x: Array, padding: Sequence[tuple[int, int]]) -> Array:
    """x with zeros before and after each axis between the examples and the channels."""
    return ops(x).pad(x, padding)


def crop(x: Array, padding: Sequence[tuple[int, int]]) -> Array:
    """The adjoint of `pad`: x without what it put before and after."""
    inner = [slice(low, n - high) for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    return x[(slice(None), *inner, slice(None))]


def empty(shape: Lengths, like: Array) -> Array:
    """`zeros`, but with whatever was in the memory."""
    return namespace(like).empty(shape, dtype=like.dtype, device=device(like))


def zeros(shape: Lengths, like: Array) -> Array:
    """Zeros of that shape, in the library and dtype of an array and on its device."""
    return namespace(like).zeros(shape, dtype=like.dtype, device=device(like))
