"""NumPy, with some of its functions without the Python code in front of them; the rest is NumPy's own.

That code takes one or two microseconds a call, more than the work on a small array, and threads take turns
at it: a step of convolutions on two cores took a tenth longer.
"""

from typing import Any

import numpy as np

from xpnet.tree import Array


def __getattr__(name: str) -> Any:
    value = globals()[name] = getattr(np, name)
    return value


def reshape(x: Array, /, shape: Any) -> Any:
    return x.reshape(shape)


def permute_dims(x: Array, /, axes: Any) -> Any:
    return x.transpose(axes)


def take(x: Array, indices: Any, /, *, axis: Any = None) -> Any:
    return x.take(indices, axis=axis)


def astype(x: Array, dtype: Any, /, *, copy: bool = True) -> Any:
    return x.astype(dtype, copy=copy)


def zeros_like(x: Array, /) -> Any:
    return np.zeros(x.shape, x.dtype)


def argmax(x: Array, /, *, axis: Any = None) -> Any:
    return x.argmax(axis)


def max(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


def sum(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    return np.add.reduce(x, axis=axis, keepdims=keepdims)
