"""Matrix products by cuBLAS on a given stream, so that a CUDA graph can capture them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # a CuPy array with all of its methods


WORKSPACE = 32 << 20  # bytes; NVIDIA's recommendation for Hopper, and more than for other GPUs


class CuBLAS:
    """left @ right for float32 or float64 arrays of at least 2 axes.

    cuBLAS reads matrices in column-major order and sees a row-major matrix as its transpose. So compute
    yᵀ = rightᵀ leftᵀ, which in row-major order is y = left right.

    Arguments:
        cublas: the module `nvmath.bindings.cublas`.
        xp: the array library.
        stream: the address of the CUDA stream.
        pointer: returns the address of an array's memory.
    """

    def __init__(self, cublas: Any, xp: Any, stream: int, pointer: Callable[[Array], int]) -> None:
        self.cublas = cublas
        self.xp = xp
        self.pointer = pointer
        self.handle = cublas.create()
        cublas.set_stream(self.handle, stream)
        compute = cublas.ComputeType
        cuda_r_32f, cuda_r_64f = 0, 1
        self.types = {"f": (cuda_r_32f, compute.COMPUTE_32F), "d": (cuda_r_64f, compute.COMPUTE_64F)}

    def use(self, workspace: Array, tf32: bool) -> None:
        """Set the memory and the precision of the products that follow.

        Arguments:
            workspace: without any, cuBLAS allocates some, also while the stream is capturing.
            tf32: whether products of float32 round their factors to TF32.
        """
        self.cublas.set_workspace(self.handle, self.pointer(workspace), workspace.nbytes)
        compute = self.cublas.ComputeType
        self.types["f"] = 0, compute.COMPUTE_32F_FAST_TF32 if tf32 else compute.COMPUTE_32F

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
        return self.add_to(y, left, right, 1, 0)

    def add_to(self, y: Array, left: Array, right: Array, scale: float, decay: float) -> Array:
        """decay · y + scale · left @ right, which overwrites y: an array in C order."""
        *batch, rows, columns = y.shape
        inner = left.shape[-1]
        if 0 in (*y.shape, inner):
            y[...] = decay * y if decay else 0  # new memory may hold NaN, and 0 · NaN is NaN
            return y
        left, left_order, left_step, left_next = self._matrices(left, tuple(batch))
        right, right_order, right_step, right_next = self._matrices(right, tuple(batch))
        number, compute = self.types[left.dtype.char]
        scalars = [np.array(value, left.dtype.char) for value in (scale, decay)]
        alpha, beta = (value.ctypes.data for value in scalars)
        # For each operand: address, type, leading dimension, distance between matrices.
        self.cublas.gemm_strided_batched_ex(
            self.handle, right_order, left_order, columns, rows, inner, alpha,
            self.pointer(right), number, right_step, right_next,
            self.pointer(left), number, left_step, left_next, beta,
            self.pointer(y), number, columns, rows * columns,
            math.prod(batch), compute, self.cublas.GemmAlgo.DEFAULT,
        )  # fmt: skip
        return y

    def _matrices(self, x: Array, batch: tuple[int, ...]) -> tuple[Array, int, int, int]:
        """(x, copied if needed, its order, leading dimension, distance between matrices) for cuBLAS."""
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
