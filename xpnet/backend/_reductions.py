"""Sums and maxima over rows that may be short: NumPy's own loops are as long as a row."""

import numpy as np

from xpnet.backend._arrays import namespace
from xpnet.backend._rows import ones
from xpnet.tree import Array

SHORT = 64  # numbers in a row: NumPy's own maximum is as fast for 100


def row_sums(x: Array) -> Array:
    """Σᵢ xₙᵢ, (..., n, 1).

    In the standard: `sum(x, axis=-1, keepdims=True)`. (On NumPy a product with ones is 2.4 times as fast for
    64 rows of 10, and 3.4 times for 512.)
    """
    if isinstance(x, np.ndarray):
        n = x.shape[-1]
        return (x.reshape(-1, n) @ ones(n, x.dtype)).reshape(*x.shape[:-1], 1)
    return namespace(x).sum(x, axis=-1, keepdims=True)


def row_maxima(x: Array) -> Array:
    """maxᵢ xₙᵢ, (..., n, 1).

    In the standard: `max(x, axis=-1, keepdims=True)`. (On NumPy it is twice as fast for 64 rows of 10,
    and for 512, to lay out the columns as rows first.)
    """
    if isinstance(x, np.ndarray) and x.ndim == 2 and x.shape[1] < SHORT:
        return x.T.copy().max(axis=0)[:, None]
    return namespace(x).max(x, axis=-1, keepdims=True)


def inner_product(x: Array, y: Array) -> Array:
    """Σₙ Σᵢ xₙᵢ yₙᵢ, (...).

    In the standard: `sum(x * y, axis=(-2, -1))`. (On NumPy one call of BLAS takes a quarter of the time.)
    """
    if isinstance(x, np.ndarray) and x.ndim == 2:
        return np.vdot(x, y)
    return namespace(x).sum(x * y, axis=(-2, -1))


def count(mask: Array) -> Array:
    """How many are true along the last axis, int32 (...).

    In the standard: `sum(astype(mask, int32), axis=-1)`. (NumPy has its own word, which takes a third of the
    time for 64.)
    """
    xp = namespace(mask)
    if isinstance(mask, np.ndarray) and mask.ndim == 1:
        return np.int32(np.count_nonzero(mask))
    return xp.sum(xp.astype(mask, xp.int32), axis=-1)
