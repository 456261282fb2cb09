"""Matrix products by cuBLAS on a stream of one's own, as a CUDA graph can hold them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # of CuPy, with its own members


WORKSPACE = 32 << 20  # bytes; what NVIDIA recommends for Hopper, and more than what it does for others


class CuBLAS:
    """left @ right for float32 and float64, as arrays of matrices of at least 2 axes.

    cuBLAS reads matrices column by column, and then a matrix stored by rows is its transpose. So it is asked
    for yᵀ = rightᵀ leftᵀ, which is y = left right when it is read by rows again.

    Arguments:
        cublas: the functions and constants of `nvmath.bindings.cublas`.
        xp: the arrays' library.
        stream: the address of the CUDA stream.
        pointer: gives the address of an array's memory.
    """

    def __init__(self, cublas: Any, xp: Any, stream: int, pointer: Callable[[Array], int]) -> None:
        self.cublas = cublas
        self.xp = xp
        self.pointer = pointer
        self.handle = cublas.create()
        cublas.set_stream(self.handle, stream)
        # Otherwise cuBLAS would allocate while the stream is capturing.
        self.workspace = xp.empty(WORKSPACE, dtype=np.uint8)
        cublas.set_workspace(self.handle, pointer(self.workspace), WORKSPACE)
        compute = cublas.ComputeType
        cuda_r_32f, cuda_r_64f = 0, 1
        self.types = {"f": (cuda_r_32f, compute.COMPUTE_32F), "d": (cuda_r_64f, compute.COMPUTE_64F)}
        self.scalars = {char: (np.ones((), char), np.zeros((), char)) for char in "fd"}

    def __call__(self, left: Array, right: Array) -> Array:
        *left_batch, rows, inner = left.shape
        *right_batch, _, columns = right.shape
        if left.dtype != right.dtype or left.dtype.char not in self.types or right.shape[-2] != inner:
            raise TypeError(
                f"expected matrices of one real dtype that fit, got {left.dtype} {left.shape} "
                f"and {right.dtype} {right.shape}"
            )
        batch = np.broadcast_shapes(tuple(left_batch), tuple(right_batch))
        y = self.xp.empty((*batch, rows, columns), dtype=left.dtype)
        if 0 in (*y.shape, inner):
            y[...] = 0
            return y
        left, left_order, left_step, left_next = self._matrices(left, batch)
        right, right_order, right_step, right_next = self._matrices(right, batch)
        number, compute = self.types[left.dtype.char]
        one, zero = (scalar.ctypes.data for scalar in self.scalars[left.dtype.char])
        # Of each operand: address, type, distance of its rows or columns, distance of its matrices.
        self.cublas.gemm_strided_batched_ex(
            self.handle, right_order, left_order, columns, rows, inner, one,
            self.pointer(right), number, right_step, right_next,
            self.pointer(left), number, left_step, left_next, zero,
            self.pointer(y), number, columns, rows * columns,
            math.prod(batch), compute, self.cublas.GemmAlgo.DEFAULT,
        )  # fmt: skip
        return y

    def _matrices(self, x: Array, batch: tuple[int, ...]) -> tuple[Array, int, int, int]:
        """x as cuBLAS can read it, copied if need be: in which order, and with which distances."""
        rows, columns = x.shape[-2:]
        if x.ndim > 2:
            x = self.xp.reshape(self.xp.broadcast_to(x, (*batch, rows, columns)), (-1, rows, columns))
        operation = self.cublas.Operation
        down, along = (stride // x.itemsize for stride in x.strides[-2:])
        matrices = x.strides[0] // x.itemsize if x.ndim > 2 else 0
        if along == 1 and down >= columns:
            return x, operation.N, down, matrices
        if down == 1 and along >= rows:
            return x, operation.T, along, matrices
        x = x.copy()
        return x, operation.N, columns, rows * columns if x.ndim > 2 else 0
