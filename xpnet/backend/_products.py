"""Matrix products that are added to an array in one pass, where BLAS can do that."""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import threadpoolctl

from xpnet.backend._arrays import library, namespace
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
        if library(total) == "torch":
            return self._add_to_tensor(total, scale, decay)
        gemm = _gemm(total.dtype.char) if isinstance(total, np.ndarray) and total.flags.c_contiguous else None
        if gemm is None or total.size < FEW:
            total *= decay
            total += scale * self.evaluate()
            return total
        gemm(self.left, self.right, total, scale, decay)
        return total

    def _add_to_tensor(self, total: Array, scale: Any, decay: Any) -> Array:
        """Factors that are tensors go into others: to be PyTorch's α and β, they had to come to the host."""
        right = self.right
        if hasattr(scale, "ndim"):
            right, scale = scale * right, 1
        if hasattr(decay, "ndim"):
            total *= decay
            decay = 1
        return total.addmm_(self.left, right, beta=decay, alpha=scale)


FEW = 10_000  # numbers: another pass through so many takes less time than a call of BLAS from Python

BLOCK = 512  # columns: a block with 8 rows, and what comes of it, fits in a core's first cache


def transform(matrix: Array, planes: Array) -> Array:
    """A X Aᵀ for each of n matrices X that stand in columns: planes (s², n), A (m, s), result (m², n).

    In the standard: X Aᵀ is `A @ reshape(planes, (s, s, n))`, (s, m, n); then the same along the first axis.
    (OpenBLAS is up to 1.6 times as fast by blocks of columns. One product with A⊗A, which has s/2 times as
    many multiplications, takes 1.6 to 3.6 times as long.)
    """
    (m, s), n = matrix.shape, planes.shape[1]
    xp = namespace(planes)
    planes = xp.reshape(planes, (s, s, n))
    if not isinstance(planes, np.ndarray):
        half = matrix @ planes
        return xp.reshape(matrix @ xp.reshape(half, (s, m * n)), (m * m, n))
    half, whole = np.empty((s, m, n), planes.dtype), np.empty((m, m, n), planes.dtype)
    _by_blocks(matrix, planes, half)
    _by_blocks(matrix, half.swapaxes(0, 1), whole.swapaxes(0, 1))
    return whole.reshape(m * m, n)


def _by_blocks(matrix: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """matrix @ x by blocks of columns; x is (..., s, n)."""
    in_blocks = x.shape[-1] // BLOCK * BLOCK

    def blocks(x: np.ndarray) -> np.ndarray:
        return x[..., :in_blocks].reshape(*x.shape[:-1], -1, BLOCK).swapaxes(-3, -2)

    np.matmul(matrix, blocks(x), out=blocks(out))
    if in_blocks < x.shape[-1]:
        np.matmul(matrix, x[..., in_blocks:], out=out[..., in_blocks:])


def rows_product(rows: Array, matrix: Array) -> Array:
    """rows @ matrix for many rows and a small matrix.

    In the standard: just this. (OpenBLAS is 1.25 to 1.5 times as fast by blocks of rows.)
    """
    size = _block_of_rows(rows, matrix)
    if size == 0:
        return rows @ matrix
    product = np.empty((len(rows), matrix.shape[1]), rows.dtype)
    blocks, rest = _in_blocks(rows, size)
    of_blocks, of_rest = _in_blocks(product, size)
    np.matmul(blocks, matrix, out=of_blocks)
    np.matmul(rest, matrix, out=of_rest)
    return product


def rows_gradient(rows: Array, dy: Array) -> Array:
    """rowsᵀ @ dy for many rows of few numbers each.

    In the standard: just this. (OpenBLAS is 1.5 times as fast by blocks of rows, which are then added up.)
    """
    size = _block_of_rows(rows, dy)
    if size == 0:
        return rows.mT @ dy
    (left, left_rest), (right, right_rest) = _in_blocks(rows, size), _in_blocks(dy, size)
    total = (left.mT @ right).sum(axis=0)
    total += left_rest.T @ right_rest
    return total


SMALL = 1_000_000  # multiplications up to which OpenBLAS has a kernel that need not copy its operands


def _block_of_rows(rows: Array, other: Array) -> int:
    """How many rows make a block for that kernel; 0 where that does not pay, or it is not NumPy."""
    if not isinstance(rows, np.ndarray) or not (rows.flags.c_contiguous or rows.flags.f_contiguous):
        return 0
    size = min(512, SMALL // (rows.shape[1] * other.shape[1]))
    return size if 128 <= size < len(rows) else 0


def _in_blocks(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of the rows: whole blocks (n, size, columns), and what is left."""
    whole, columns = len(rows) // size * size, rows.shape[1]
    if rows.flags.c_contiguous:
        return rows[:whole].reshape(-1, size, columns), rows[whole:]
    return rows.T[:, :whole].reshape(columns, -1, size).transpose(1, 2, 0), rows[whole:]


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
    for loaded in sorted(libraries, key=lambda loaded: "numpy" not in loaded.filepath):
        if loaded.internal_api == "openblas":
            # NumPy's own build has this prefix, and a suffix where its integers have 64 bits.
            for prefix, suffix in (("scipy_", "64_"), ("", "64_")):
                function = getattr(loaded.dynlib, f"{prefix}{name}{suffix}", None)
                if function is not None:
                    return function, ctypes.c_int64
    return None
