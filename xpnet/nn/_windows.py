"""Sliding windows over the axes between the examples and the channels, and their adjoint.

A window of kernel (kₕ, kᵥ) with stride (sₕ, sᵥ) at output position (i, j) holds x[n, sₕ i + a, sᵥ j + b, c]
for all 0 ≤ a < kₕ and 0 ≤ b < kᵥ. The pair (a, b) is called a tap. All is written for any number of axes.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from xpnet import backend
from xpnet.backend import namespace
from xpnet.tree import Array

Lengths = tuple[int, ...]


def output_lengths(lengths: Sequence[Any], kernel: Lengths, stride: Lengths) -> tuple[Any, ...]:
    """How many windows fit along each axis; less than 1 where none does."""
    return tuple((n - k) // s + 1 for n, k, s in zip(lengths, kernel, stride, strict=True))


@functools.lru_cache
def taps(lengths: Lengths, kernel: Lengths, stride: Lengths) -> list[tuple[slice, ...]]:
    """For each tap, the index of what all windows have there: x[tap] is (n, *output_lengths, c)."""
    outputs = output_lengths(lengths, kernel, stride)
    along = [
        [slice(offset, offset + (n - 1) * s + 1, s) for offset in range(k)]
        for n, k, s in zip(outputs, kernel, stride, strict=True)
    ]
    return [(slice(None), *tap, slice(None)) for tap in itertools.product(*along)]


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
    view = backend.window_view(x, kernel, stride)
    if view is None:
        view = namespace(x).stack([x[tap] for tap in taps(x.shape[1:-1], kernel, stride)], axis=-2)
    return namespace(x).reshape(view, (-1, columns))


def _columns_of_windows(x: Array, kernel: Lengths, stride: Lengths) -> Array:
    """`windows` for few channels: columns are longer pieces of x than rows, so it is columns that are copied.

    (With a view NumPy does so in one call. A call for each tap lets another thread have Python as often, and
    has to wait for it: a step of CNN A of the speed suite on two cores took 3% longer.)
    """
    xp, axes, (n, *lengths, c) = namespace(x), len(kernel), x.shape
    channels_first = xp.reshape(xp.reshape(xp.moveaxis(x, -1, 0), (-1,)), (c * n, *lengths, 1))
    view = backend.window_view(channels_first, kernel, stride)
    if view is None:
        parts = [xp.reshape(channels_first[tap], (c, -1)) for tap in taps(tuple(lengths), kernel, stride)]
        return xp.reshape(xp.stack(parts), (math.prod(kernel) * c, -1)).mT
    view = xp.reshape(view, (c, n, *view.shape[1:-1]))
    of_windows, of_taps = range(1, axes + 2), range(axes + 2, 2 * axes + 2)
    return xp.reshape(xp.permute_dims(view, (*of_taps, 0, *of_windows)), (math.prod(kernel) * c, -1)).mT


def overlap_add(parts: Iterable[Array], shape: Lengths, kernel: Lengths, stride: Lengths) -> Array:
    """The adjoint of taking windows: the array of that shape, (n, ..., c), to which each tap adds its part.

    The parts are in the order of `taps`, each (n, *output_lengths, c).
    """
    total = None
    whole = kernel == stride and not any(n % k for n, k in zip(shape[1:-1], kernel, strict=True))
    puts = _puts(kernel, stride)
    for tap, put, part in zip(taps(shape[1:-1], kernel, stride), puts, parts, strict=True):
        if total is None:
            total = (empty if whole else zeros)(shape, like=part)
        total = put(total, tap, part)
    return total


@functools.lru_cache
def _puts(kernel: Lengths, stride: Lengths) -> list[Callable[..., Array]]:
    """For each tap, how its part comes to those before: it meets them where they are whole strides apart."""
    firsts = [all(map(operator.lt, tap, stride)) for tap in itertools.product(*map(range, kernel))]
    return [backend.set_at if first else backend.add_at for first in firsts]


def pad(x: Array, padding: Sequence[tuple[int, int]]) -> Array:
    """x with zeros before and after each axis between the examples and the channels."""
    if not any(map(any, padding)):
        return x
    inner = [(n, low, high) for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    padded = zeros((x.shape[0], *(low + n + high for n, low, high in inner), x.shape[-1]), like=x)
    middle = (slice(None), *(slice(low, low + n) for n, low, _ in inner), slice(None))
    return backend.set_at(padded, middle, x)


def crop(x: Array, padding: Sequence[tuple[int, int]]) -> Array:
    """The adjoint of `pad`: x without what it put before and after."""
    inner = [slice(low, n - high) for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    return x[(slice(None), *inner, slice(None))]


def empty(shape: Lengths, like: Array) -> Array:
    """`zeros`, but with whatever was in the memory."""
    return namespace(like).empty(shape, dtype=like.dtype, device=backend.device(like))


def zeros(shape: Lengths, like: Array) -> Array:
    """Zeros of that shape, in the library and dtype of an array and on its device."""
    return namespace(like).zeros(shape, dtype=like.dtype, device=backend.device(like))
