"""Arrays in a file or a store, such as h5py's and zarr's, read part by part."""

import math
from typing import Any

import numpy as np


class LazyArray:
    """An array in a store; indexing reads a part of it as a NumPy array.

    Arguments:
        store: an object with `shape`, `dtype` and indexing by slices and by increasing positions along the
            first axis.
        dtype: the dtype of the parts.
    """

    device = "cpu"

    def __init__(self, store: Any, dtype: Any) -> None:
        self.store = store
        self.shape: tuple[int, ...] = tuple(store.shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self.store[index]).astype(self.dtype, copy=False)

    def astype(self, dtype: Any, copy: bool = False) -> "LazyArray":
        """The same store, with its parts in another dtype."""
        return LazyArray(self.store, dtype)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return np


def is_lazy(x: Any) -> bool:
    """Whether x is an array in a store: it has a shape, a dtype and indexing, but no arithmetic."""
    if isinstance(x, LazyArray):
        return True
    has_parts = all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__"))
    if not has_parts or any(hasattr(x, name) for name in ("__array_namespace__", "__add__")):
        return False
    try:
        np.dtype(x.dtype)
    except TypeError:  # pandas' own dtypes
        return False
    return True
