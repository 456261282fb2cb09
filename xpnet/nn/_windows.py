"""Sliding windows over the axes between the examples and the channels, and their adjoint.

Every function works for any number of axes. `xpnet._util.windows` defines windows and taps.
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

Padding = Sequence[tuple[int, int]]  # zeros before and after each axis between the examples and the channels


@functools.lru_cache
def geometry(
    lengths: Lengths, kernel_size: int | Lengths, stride: int | Lengths, padding: int | Literal["same"]
) -> tuple[Lengths, Lengths, tuple[tuple[int, int], ...]]:
    """Kernel, stride and padding (before, after) of a convolution along each axis."""
    kernel, stride = per_axis(kernel_size, len(lengths)), per_axis(stride, len(lengths))
    if padding != "same":
        return kernel, stride, ((padding, padding),) * len(lengths)
    # For ⌈length / stride⌉ windows along each axis.
    zeros = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(lengths, kernel, stride, strict=True)]
    return kernel, stride, tuple([(total // 2, total - total // 2) for total in zeros])


def per_axis(value: int | Lengths, axes: int) -> Lengths:
    """A tuple with one integer for each axis, from such a tuple or from one integer for all axes."""
    return value if isinstance(value, tuple) else (value,) * axes


def windows(x: Array, kernel: Lengths, stride: Lengths, padding: Padding = ()) -> Array:
    """All windows of x, padded with zeros, as rows of a matrix: (n·Π output_lengths, Π kernel · c)."""
    padding = padding or [(0, 0)] * len(kernel)
    padded = [n + low + high for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    narrow = kernel[-1] * x.shape[-1] < output_lengths(tuple(padded), kernel, stride)[-1]
    if narrow and not ops(x).gathers_windows:
        return _columns_of_windows(ops(x).pad(x, padding), kernel, stride)
    return ops(x).rows_of_windows(x, kernel, stride, padding)


def _columns_of_windows(x: Array, kernel: Lengths, stride: Lengths) -> Array:
    """`windows` for few channels: copies columns, which are longer contiguous pieces of x than rows."""
    # One copy of a view, not a copy for each tap: each call releases Python's lock and waits to get it back.
    # With a call for each tap, a step of CNN A of the speed suite on two cores took 3% longer.
    xp, axes, (n, *lengths, c) = namespace(x), len(kernel), x.shape
    channels_first = xp.reshape(xp.reshape(xp.moveaxis(x, -1, 0), (-1,)), (c * n, *lengths, 1))
    view = ops(x).window_view(channels_first, kernel, stride)
    view = xp.reshape(view, (c, n, *view.shape[1:-1]))
    of_windows, of_taps = range(1, axes + 2), range(axes + 2, 2 * axes + 2)
    columns = xp.reshape(xp.permute_dims(view, (*of_taps, 0, *of_windows)), (math.prod(kernel) * c, -1))
    return ops(x).transposed(columns)


def overlap_add(parts: Iterable[Array], shape: Lengths, kernel: Lengths, stride: Lengths) -> Array:
    """The adjoint of `windows`: an array of this shape, (n, ..., c), the sum of one part for each tap.

    The parts come in the order of `taps`, each (n, *output_lengths, c).
    """
    total: Any = None
    # Windows side by side, without a rest: the parts write every element.
    whole = kernel == stride and not any(n % k for n, k in zip(shape[1:-1], kernel, strict=True))
    first_writes = _first_writes(kernel, stride)
    for tap, is_first, part in zip(taps(shape[1:-1], kernel, stride), first_writes, parts, strict=True):
        if total is None:
            total = (empty if whole else zeros)(shape, like=part)
        total = (ops(total).set_at if is_first else ops(total).add_at)(total, tap, part)
    return total


@functools.lru_cache
def _first_writes(kernel: Lengths, stride: Lengths) -> list[bool]:
    """For each tap, whether no earlier tap covers the same elements, which are whole strides apart."""
    return [all(map(operator.lt, tap, stride)) for tap in itertools.product(*map(range, kernel))]


def crop(x: Array, padding: Padding) -> Array:
    """The adjoint of `Ops.pad`: x without the padding."""
    inner = [slice(low, n - high) for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    return x[(slice(None), *inner, slice(None))]


def empty(shape: Lengths, like: Array) -> Array:
    """`zeros` without the zeros: the memory is not initialised."""
    return namespace(like).empty(shape, dtype=like.dtype, device=device(like))


def zeros(shape: Lengths, like: Array) -> Array:
    """Zeros in the library and dtype of the array `like`, on its device."""
    return namespace(like).zeros(shape, dtype=like.dtype, device=device(like))
