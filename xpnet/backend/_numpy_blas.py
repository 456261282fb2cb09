"""Matrix products in NumPy by features of OpenBLAS that `matmul` does not use."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

FEW = 10_000  # numbers; below this, another pass over them is faster than a call of BLAS from Python
BLOCK = 512  # columns; a block of 8 rows and its result fit into the L1 cache
SMALL = 1_000_000  # multiplications; up to this, OpenBLAS uses a kernel that does not copy its operands

Matrix = np.ndarray[Any, Any]


def add_product(total: Matrix, left: Matrix, right: Matrix, scale: Any, decay: Any) -> Matrix:
    """decay · total + scale · left @ right in one pass. Overwrites total."""
    if total.ndim == 3 and total[0].size >= FEW:  # the saved pass is worth more than one call for all
        for k in range(len(total)):
            its_scale, its_decay = [each.reshape(-1)[k] if np.ndim(each) else each for each in (scale, decay)]
            add_product(total[k], left[k if len(left) > 1 else 0], right[k], its_scale, its_decay)
        return total
    is_one = total.ndim == 2 and total.size >= FEW and total.flags.c_contiguous
    gemm = _gemm(total.dtype.char) if is_one else None
    if gemm is None:
        if hasattr(decay, "ndim") or decay != 1:
            total *= decay
        total += scale * (left @ right)
    else:
        gemm(left, right, total, scale, decay)
    return total


def transform(matrix: Matrix, planes: Matrix) -> Matrix:
    """A X Aᵀ for the matrices X in the columns of planes, in blocks of columns.

    With blocks OpenBLAS is up to 1.6 times as fast. (A single product with A⊗A needs s/2 times as many
    multiplications and takes 1.6 to 3.6 times as long.)
    """
    (m, s), n = matrix.shape, planes.shape[1]
    planes = planes.reshape(s, s, n)
    half, whole = np.empty((s, m, n), planes.dtype), np.empty((m, m, n), planes.dtype)
    _by_blocks(matrix, planes, half)
    _by_blocks(matrix, half.swapaxes(0, 1), whole.swapaxes(0, 1))
    return whole.reshape(m * m, n)


def _by_blocks(matrix: Matrix, x: Matrix, out: Matrix) -> None:
    """out = matrix @ x, in blocks of columns; x is (..., s, n)."""
    in_blocks = x.shape[-1] // BLOCK * BLOCK

    def blocks(x: Matrix) -> Matrix:
        return x[..., :in_blocks].reshape(*x.shape[:-1], -1, BLOCK).swapaxes(-3, -2)

    np.matmul(matrix, blocks(x), out=blocks(out))
    if in_blocks < x.shape[-1]:
        np.matmul(matrix, x[..., in_blocks:], out=out[..., in_blocks:])


def rows_product(rows: Matrix, matrix: Matrix) -> Matrix:
    """rows @ matrix in blocks of rows: OpenBLAS is 1.25 to 1.5 times as fast with blocks."""
    size = _block_of_rows(rows, matrix)
    if size == 0:
        return rows @ matrix
    product: Matrix = np.empty((len(rows), matrix.shape[1]), rows.dtype)
    for part, result in zip(_in_blocks(rows, size), _in_blocks(product, size), strict=True):
        np.matmul(part, matrix, out=result)
    return product


def rows_gradient(rows: Matrix, dy: Matrix) -> Matrix:
    """rowsᵀ @ dy as a sum over blocks of rows: OpenBLAS is 1.5 times as fast with blocks."""
    size = _block_of_rows(rows, dy)
    if size == 0:
        return rows.mT @ dy
    (left, left_rest), (right, right_rest) = _in_blocks(rows, size), _in_blocks(dy, size)
    total: Matrix = (left.mT @ right).sum(axis=0)
    total += left_rest.T @ right_rest
    return total


def _block_of_rows(rows: Matrix, other: Matrix) -> int:
    """The number of rows in a block for the kernel of small products; 0 if blocks do not pay."""
    if not (rows.flags.c_contiguous or rows.flags.f_contiguous):
        return 0
    size = min(512, SMALL // (rows.shape[1] * other.shape[1]))
    return size if 128 <= size < len(rows) else 0


def _in_blocks(rows: Matrix, size: int) -> tuple[Matrix, Matrix]:
    """Views of the rows: complete blocks (n, size, columns), and the remaining rows."""
    whole, columns = len(rows) // size * size, rows.shape[1]
    if rows.flags.c_contiguous:
        return rows[:whole].reshape(-1, size, columns), rows[whole:]
    return rows.T[:, :whole].reshape(columns, -1, size).transpose(1, 2, 0), rows[whole:]


@functools.cache
def _gemm(char: str) -> Callable[[Matrix, Matrix, Matrix, float, float], None] | None:
    """GEMM, C ← β C + α A B, of the OpenBLAS that NumPy has loaded; None for another dtype or BLAS.

    (`matmul` always uses α = 1 and β = 0.)
    """
    kinds = {"f": (ctypes.c_float, "cblas_sgemm"), "d": (ctypes.c_double, "cblas_dgemm")}
    found = _openblas(kinds[char][1]) if char in kinds else None
    if found is None:
        return None
    real = kinds[char][0]
    function, integer = found
    enum, pointer = ctypes.c_int, ctypes.c_void_p
    matrix = [pointer, integer]
    function.argtypes = [enum, enum, enum, integer, integer, integer, real, *matrix, *matrix, real, *matrix]
    function.restype = None

    def gemm(a: Matrix, b: Matrix, c: Matrix, alpha: float, beta: float) -> None:
        (rows, inner), columns = a.shape, b.shape[1]
        a, a_order, a_step = _matrix(a)
        b, b_order, b_step = _matrix(b)
        row_major = 101
        function(
            row_major, a_order, b_order, rows, columns, inner,
            float(alpha), a.ctypes.data, a_step, b.ctypes.data, b_step, float(beta), c.ctypes.data, columns,
        )  # fmt: skip

    return gemm


def _matrix(x: Matrix) -> tuple[Matrix, int, int]:
    """A matrix that BLAS can read, its order (111: as it is, 112: transposed) and its leading dimension."""
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
            # NumPy's own build adds this prefix, and a suffix for 64-bit integers.
            for prefix, suffix in (("scipy_", "64_"), ("", "64_")):
                function = getattr(loaded.dynlib, f"{prefix}{name}{suffix}", None)
                if function is not None:
                    return function, ctypes.c_int64
    return None
