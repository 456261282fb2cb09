"""Many short rows, and one for all of them: NumPy's own loops are as long as a row."""

import functools
import math
import operator
from collections.abc import Callable

import numpy as np

from xpnet.backend._arrays import namespace
from xpnet.tree import Array

FEW = 32_768  # numbers: NumPy goes through so many in the time that it takes to look at them as longer rows


@functools.lru_cache(maxsize=16)
def ones(n: int, dtype: np.dtype) -> np.ndarray:
    """(n,), to be read only: to make it anew takes as long as a small product with it."""
    return np.ones(n, dtype)


def sum_of_rows(rows: Array) -> Array:
    """Σₙ rowsₙ, (..., columns).

    In the standard: `sum(rows, axis=-2)`. (On NumPy a product with ones is up to 17 times as fast.)
    """
    if isinstance(rows, np.ndarray):
        return ones(rows.shape[-2], rows.dtype) @ rows
    return namespace(rows).sum(rows, axis=-2)


def sum_of_products(x: Array, y: Array) -> Array:
    """Σₙ xₙ yₙ of rows (n, columns), (columns,).

    In the standard: `sum(x * y, axis=-2)`. (On NumPy one pass without an array of products takes half the
    time, where many short rows make a long one whose sums still fit in a core's first cache.)
    """
    longer = min(_longer(1024, x), _longer(1024, y))
    columns = longer * x.shape[-1]
    if longer == 1 or columns < 512 or x.ndim > 2:  # long columns would be less exact
        return sum_of_rows(x * y)
    sums = np.einsum("nd,nd->d", x.reshape(-1, columns), y.reshape(-1, columns))
    return sums.reshape(longer, -1).sum(axis=0)


def each_row(operation: Callable[[Array, Array], Array], rows: Array, row: Array) -> Array:
    """operation(rows, row), element by element, for rows (..., d) and one row for all of them, (d,).

    In the standard: just this. (NumPy first repeats what is shorter than its buffer of 8192 numbers until
    that is full, each time anew: where many short rows make a long one, it takes half the time.)
    """
    longer = _longer(8192, rows)
    if longer == 1 or row.size > rows.shape[-1]:
        return operation(rows, row)
    long = rows.reshape(-1, longer * rows.shape[-1])
    return operation(long, row.reshape(1, -1).repeat(longer, axis=0).reshape(-1)).reshape(rows.shape)


def add_to_rows(rows: Array, row: Array) -> Array:
    """rows + row, overwriting rows where the library lets one.

    In the standard: `rows += row`.
    """
    return each_row(operator.iadd, rows, row)


def _longer(length: int, rows: Array) -> int:
    """How many rows (..., d) make one of about that length; 1 where that cannot be or does not pay."""
    if not isinstance(rows, np.ndarray) or rows.size < FEW or not rows.flags.c_contiguous:
        return 1
    d = rows.shape[-1]
    return math.gcd(rows.size // d, 1 << (length // d).bit_length())
