"""Inputs of estimators: rows of sparse matrices, and arrays of other libraries."""

from typing import Any

import numpy as np
from scipy import sparse

from xpnet import backend

HOST = "numpy"
ROWS = 1000  # of a sparse matrix made dense at once for a prediction


class DenseRows:
    """A sparse matrix whose rows become dense when they are read, so that a batch at a time is dense."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr()
        self.shape: tuple[int, ...] = self.matrix.shape
        self.dtype: np.dtype = self.matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = index[0] if isinstance(index, tuple) else index
        return self.matrix[rows].toarray()


def library_of(x: Any) -> str:
    """The name of the backend of an array; that of NumPy for anything else, such as a sparse matrix."""
    return backend.owner(x) or HOST


def is_on_host(x: Any) -> bool:
    """Whether x is of NumPy, or of no array library."""
    return library_of(x) == HOST


def on_host(x: Any) -> Any:
    """An array of any library as a NumPy array; anything else as it is."""
    return x if is_on_host(x) else backend.get(library_of(x), backend.device(x)).to_numpy(x)


def like(result: np.ndarray, x: Any) -> Any:
    """The result as an array of x's library, on the device of x; text stays a NumPy array."""
    if is_on_host(x) or result.dtype.kind not in "biuf":
        return result
    dtype = "float64" if result.dtype == np.float64 else "float32"
    return backend.get(library_of(x), backend.device(x), dtype).asarray(result)


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse matrix or array of SciPy."""
    return bool(sparse.issparse(x))
