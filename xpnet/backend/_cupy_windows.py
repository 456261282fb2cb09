"""Windows of images and sequences as rows of a matrix, on CuPy: one kernel."""

import functools
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, output_lengths
from xpnet.backend.ops import Padding

Array = Any  # a CuPy array with all of its methods

# A block copies the window at (r, q) of the image m.
SOURCE = """
extern "C" __global__ void xpnet_windows(
    const {dtype}* x, {dtype}* rows, const int h, const int w, const int c, const int out_h, const int out_w,
    const int k_h, const int k_w, const int s_h, const int s_w, const int top, const int left) {{
  const long long window = blockIdx.x, columns = k_h * k_w * c;
  const int q = window % out_w, r = window / out_w % out_h;
  const {dtype}* image = x + window / out_w / out_h * h * w * c;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) {{
    const int tap = i / c, p = r * s_h + tap / k_w - top, o = q * s_w + tap % k_w - left;
    const bool inside = p >= 0 && p < h && o >= 0 && o < w;
    rows[window * columns + i] = inside ? image[((long long)p * w + o) * c + i % c] : 0;
  }}
}}
"""
WARP, MOST = 32, 256  # threads in a block


def rows_of_windows(cupy: Any, x: Array, kernel: Lengths, stride: Lengths, padding: Padding) -> Array:
    """`Ops.rows_of_windows` for x (n, h, w, c) or (n, t, c)."""
    n, *lengths, c = x.shape
    one = [1] * (2 - len(lengths))  # a sequence is an image with one row
    padded = [length + low + high for length, (low, high) in zip(lengths, padding, strict=True)]
    outputs = output_lengths(padded, kernel, stride)
    columns = int(np.prod(kernel)) * c
    rows = cupy.empty((n * int(np.prod(outputs)), columns), x.dtype)
    if rows.size:
        before = [*[0] * len(one), *[low for low, _ in padding]]
        sizes = [*one, *lengths, c, *one, *outputs, *one, *kernel, *one, *stride, *before]
        threads = min(MOST, -(-columns // WARP) * WARP)
        arguments = (cupy.ascontiguousarray(x), rows, *map(np.int32, sizes))
        _kernel(cupy, x.dtype.char)((len(rows),), (threads,), arguments)
    return rows


@functools.cache
def _kernel(cupy: Any, char: str) -> Any:
    return cupy.RawKernel(SOURCE.format(dtype={"f": "float", "d": "double"}[char]), "xpnet_windows")
