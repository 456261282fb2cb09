"""Max-pooling of images on NumPy with Numba: one loop over the windows."""

import functools
import itertools
from types import ModuleType
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, output_lengths
from xpnet.backend._numba import compiled_module

Array = Any  # a NumPy array with all of its methods

# The loop over the channels is the inner one, and a few taps are written out in it: so Numba makes vector
# instructions of it. A NaN is the maximum of its window.
SOURCE = """\
import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy", nogil=True)
def forward(x, y, positions, rows, columns):
    n, height, width, channels = y.shape
    for i in range(n):
        for r in range(height):
            for q in range(width):
                {forward}


@numba.njit(cache=True, error_model="numpy", nogil=True)
def backward(dy, positions, dx, rows, columns, zero):
    n, height, width, channels = dy.shape
    for i in range(n):
        for r in range(height):
            for q in range(width):
                {backward}
"""
MOST = 9  # taps to write out: compiling more takes seconds
FORWARD = """\
for j in range(channels):
    best, at = x[i, r * rows, q * columns, j], 0
    {taps}
    y[i, r, q, j], positions[i, r, q, j] = best, at"""
FORWARD_TAP = """\
v = x[i, r * rows + {a}, q * columns + {b}, j]
more = best == best and not v <= best
best, at = v if more else best, {tap} if more else at"""
BACKWARD = """\
for j in range(channels):
    g, at = dy[i, r, q, j], positions[i, r, q, j]
    {taps}"""
BACKWARD_TAP = "dx[i, r * rows + {a}, q * columns + {b}, j] {put} g if at == {tap} else zero"
# The same with a loop over the taps.
FORWARD_IN_LOOPS = """\
for j in range(channels):
    y[i, r, q, j], positions[i, r, q, j] = x[i, r * rows, q * columns, j], 0
for a in range({height}):
    for b in range({width}):
        for j in range(channels):
            v, best, at = x[i, r * rows + a, q * columns + b, j], y[i, r, q, j], positions[i, r, q, j]
            more = best == best and not v <= best
            y[i, r, q, j], positions[i, r, q, j] = v if more else best, a * {width} + b if more else at"""
BACKWARD_IN_LOOPS = """\
for a in range({height}):
    for b in range({width}):
        for j in range(channels):
            g, at = dy[i, r, q, j], positions[i, r, q, j]
            dx[i, r * rows + a, q * columns + b, j] {put} g if at == a * {width} + b else zero"""


def max_pool(x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array]:
    """`Ops.max_pool` for x (n, h, w, c)."""
    shape = (x.shape[0], *output_lengths(x.shape[1:-1], kernel, stride), x.shape[-1])
    y, positions = np.empty(shape, x.dtype), np.empty(shape, _smallest(kernel))
    _loops(kernel, "=").forward(np.ascontiguousarray(x), y, positions, *stride)
    return y, positions


def max_pool_gradient(dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths) -> Array:
    """`Ops.max_pool_gradient` for x (n, h, w, c)."""
    covered = [n * k for n, k in zip(dy.shape[1:-1], kernel, strict=True)]
    is_whole = kernel == stride and covered == [*x.shape[1:-1]]
    dx = np.empty(x.shape, dy.dtype) if is_whole else np.zeros(x.shape, dy.dtype)
    loops = _loops(kernel, "=" if is_whole else "+=")
    loops.backward(np.ascontiguousarray(dy), positions, dx, *stride, dy.dtype.type(0))
    return dx


def _smallest(kernel: Lengths) -> Any:
    """The smallest dtype of a position in a window."""
    return np.min_scalar_type(-kernel[0] * kernel[1])


@functools.cache
def _loops(kernel: Lengths, put: str) -> ModuleType:
    """The compiled loops for windows of this size; `put` is how an element of dx is written."""
    height, width = kernel
    if height * width > MOST:
        forward = FORWARD_IN_LOOPS.format(height=height, width=width)
        backward = BACKWARD_IN_LOOPS.format(height=height, width=width, put=put)
    else:
        taps = [
            {"tap": i, "a": a, "b": b}
            for i, (a, b) in enumerate(itertools.product(range(height), range(width)))
        ]
        forward = FORWARD.format(taps=_indented([FORWARD_TAP.format(**tap) for tap in taps[1:]], 4))
        backward = BACKWARD.format(taps=_indented([BACKWARD_TAP.format(**tap, put=put) for tap in taps], 4))
    return compiled_module(
        SOURCE.format(forward=_indented([forward], 16), backward=_indented([backward], 16))
    )


def _indented(pieces: list[str], spaces: int) -> str:
    """The pieces of source one after the other, with all lines but the first behind that many spaces."""
    return "\n".join(pieces).replace("\n", "\n" + " " * spaces)
