"""NumPy on many short rows: its inner loop runs along one row, so join them to longer rows."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

SHORT = 64  # numbers in a row; NumPy's own maximum is as fast for 100
FEW = 32_768  # numbers; below this, joining rows takes as long as it saves

Matrix = np.ndarray[Any, Any]


@functools.lru_cache(maxsize=16)
def ones(n: int, dtype: np.dtype[Any]) -> Matrix:
    """n ones, cached and read-only by convention: making them takes as long as a small product."""
    return np.ones(n, dtype)


def row_maxima(x: Matrix) -> Matrix:
    """The maxima of short rows, twice as fast with the columns laid out as rows first."""
    if x.ndim == 2 and x.shape[1] < SHORT:
        maxima: Matrix = x.T.copy().max(axis=0)[:, None]
        return maxima
    return np.maximum.reduce(x, axis=-1, keepdims=True)


def row_sums(x: Matrix) -> Matrix:
    """Σᵢ xₙᵢ as a product with ones: 2 to 3 times as fast as `sum` for rows of 10."""
    n = x.shape[-1]
    return (x.reshape(-1, n) @ ones(n, x.dtype)).reshape(*x.shape[:-1], 1)


def sum_of_rows(rows: Matrix) -> Matrix:
    """Σₙ rowsₙ as a product with ones: up to 17 times as fast as `sum`."""
    return ones(rows.shape[-2], rows.dtype) @ rows


def sum_of_products(x: Matrix, y: Matrix) -> Matrix:
    """Σₙ xₙ yₙ in one pass without an array of products, in half the time.

    Only for many short rows, joined to longer rows whose sums still fit into the L1 cache.
    """
    k = min(rows_to_join(1024, x), rows_to_join(1024, y))
    columns = k * x.shape[-1]
    if k == 1 or columns < 512 or x.ndim > 2:  # einsum along long columns rounds worse
        return sum_of_rows(x * y)
    sums = np.einsum("nd,nd->d", x.reshape(-1, columns), y.reshape(-1, columns))
    return sums.reshape(k, -1).sum(axis=0)


def each_row(operation: Callable[[Matrix, Matrix], Matrix], rows: Matrix, row: Matrix) -> Matrix:
    """operation(rows, row) on joined rows, in half the time.

    NumPy repeats a short operand until it fills its buffer of 8192 numbers, anew for each buffer.
    """
    k = rows_to_join(8192, rows)
    if k == 1 or row.size > rows.shape[-1]:
        return operation(rows, row)
    return operation(joined(rows, k), repeated(row, k)).reshape(rows.shape)


def joined(rows: Matrix, k: int) -> Matrix:
    """Each k rows (..., d) as one, (n/k, k d)."""
    return rows.reshape(-1, k * rows.shape[-1])


def repeated(row: Matrix, k: int) -> Matrix:
    """The row (d,) that often, one after the other, (k d,)."""
    return row.reshape(1, -1).repeat(k, axis=0).reshape(-1)


def rows_to_join(length: int, rows: Matrix) -> int:
    """The number of rows (..., d) to join to one of about `length`; 1 if impossible or not worth it."""
    if rows.size < FEW or not rows.flags.c_contiguous:
        return 1
    d = rows.shape[-1]
    return math.gcd(rows.size // d, 1 << (length // d).bit_length())
