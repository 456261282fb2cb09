"""Matrix products that are added to an array in one pass, where BLAS can do that."""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import threadpoolctl

from xpnet.tree import Array


@dataclass(frozen=True, eq=False)
class Product:
    """left @ right for two matrices, not multiplied yet.

    A gradient that is only added to something, say to the parameter itself, need not be an array in between:
    without it the update costs next to nothing (of a step of 784-128-10, batch 64, it was a sixth).
    """

    left: Array
    right: Array

    def evaluate(self) -> Array:
        """left @ right, a fresh array."""
        return self.left @ self.right

    def add_to(self, total: Array, scale: float, decay: float) -> Array:
        """decay · total + scale · left @ right, which overwrites total where the library lets one."""
        gemm = _gemm(total.dtype.char) if isinstance(total, np.ndarray) and total.flags.c_contiguous else None
        if gemm is None:
            return decay * total + scale * self.evaluate()
        gemm(self.left, self.right, total, scale, decay)
        return total


BLOCK = 512  # columns: a block with 36 or 64 rows, and what comes of it, fits in a core's first cache


def transform(matrix: Array, rows: Array) -> Array:
    """matrix @ rows for a small matrix and long rows.

    In the standard: just this. (OpenBLAS is 1.6 times as fast by blocks of columns.)
    """
    if not isinstance(rows, np.ndarray):
        return matrix @ rows
    product = np.empty((len(matrix), rows.shape[1]), rows.dtype)
    in_blocks = rows.shape[1] // BLOCK * BLOCK

    def blocks(x: np.ndarray) -> np.ndarray:
        return x[:, :in_blocks].reshape(len(x), -1, BLOCK).swapaxes(0, 1)

    np.matmul(matrix, blocks(rows), out=blocks(product))
    np.matmul(matrix, rows[:, in_blocks:], out=product[:, in_blocks:])
    return product


@functools.cache
def _gemm(char: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray, float, float], None] | None:
    """C ← β C + α A B, by the OpenBLAS that NumPy has loaded; None where it is another BLAS.

    (BLAS calls it GEMM. NumPy's own `matmul` always has α = 1 and β = 0.)
    """
    real, name = {"f": (ctypes.c_float, "cblas_sgemm"), "d": (ctypes.c_double, "cblas_dgemm")}[char]
    found = _openblas(name)
    if found is None:
        return None
    function, integer = found
    enum, pointer = ctypes.c_int, ctypes.c_void_p
    matrix = [pointer, integer]
    function.argtypes = [enum, enum, enum, integer, integer, integer, real, *matrix, *matrix, real, *matrix]
    function.restype = None

    def gemm(a: np.ndarray, b: np.ndarray, c: np.ndarray, alpha: float, beta: float) -> None:
        (rows, inner), columns = a.shape, b.shape[1]
        a, a_order, a_step = _matrix(a)
        b, b_order, b_step = _matrix(b)
        row_major = 101
        function(
            row_major, a_order, b_order, rows, columns, inner,
            float(alpha), a.ctypes.data, a_step, b.ctypes.data, b_step, float(beta), c.ctypes.data, columns,
        )  # fmt: skip

    return gemm


def _matrix(x: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A matrix that BLAS can read, as it is (111) or transposed (112), and the distance of its rows."""
    if x.flags.c_contiguous:
        return x, 111, x.shape[1]
    if x.flags.f_contiguous:
        return x, 112, x.shape[0]
    return np.ascontiguousarray(x), 111, x.shape[1]


def _openblas(name: str) -> tuple[Any, type] | None:
    """A function of the OpenBLAS that NumPy has loaded, and the type of its integers."""
    libraries = threadpoolctl.ThreadpoolController().lib_controllers
    for library in sorted(libraries, key=lambda library: "numpy" not in library.filepath):
        if library.internal_api == "openblas":
            # NumPy's own build has this prefix, and a suffix where its integers have 64 bits.
            for prefix, suffix in (("scipy_", "64_"), ("", "64_")):
                function = getattr(library.dynlib, f"{prefix}{name}{suffix}", None)
                if function is not None:
                    return function, ctypes.c_int64
    return None
