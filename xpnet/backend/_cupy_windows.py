"""Windows of images and sequences as rows of a matrix, on CuPy: one kernel."""

import functools
import math
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, output_lengths
from xpnet.backend.ops import Padding

Array = Any  # a CuPy array with all of its methods

# A thread copies element i of its windows, each at (r, q) of an image, one after another. A division takes as
# long as 20 other instructions: the loop has none.
SOURCE = """
extern "C" __global__ void xpnet_windows(
    const {dtype}* x, {dtype}* rows, const unsigned windows, const unsigned columns, const int h, const int w,
    const unsigned c, const unsigned out_h, const unsigned out_w, const unsigned k_w, const int s_h,
    const int s_w, const int top, const int left) {{
  const unsigned i = blockIdx.y * blockDim.x + threadIdx.x;
  const unsigned first = blockIdx.x * blockDim.y * {each} + threadIdx.y;
  if (i >= columns || first >= windows) return;
  const int a = i / c / k_w - top, b = i / c % k_w - left;
  unsigned r = first / out_w, q = first % out_w;
  const long long size = (long long)h * w * c, step = (long long)blockDim.y * columns;
  const {dtype}* image = x + r / out_h * size + i % c;
  {dtype}* y = rows + (long long)first * columns + i;
  r %= out_h;
  for (unsigned more = min({each}, (windows - first - 1) / blockDim.y + 1); more > 0; more--) {{
    const int p = r * s_h + a, o = q * s_w + b;
    *y = p >= 0 && p < h && o >= 0 && o < w ? image[(long long)(p * w + o) * c] : 0;
    y += step;
    for (q += blockDim.y; q >= out_w; q -= out_w) if (++r == out_h) {{ r = 0; image += size; }}
  }}
}}
"""
WARP, MOST = 32, 256  # threads in a block
EACH = 8  # windows of a thread


def takes(x: Array, padding: Padding) -> bool:
    """Whether `rows_of_windows` takes these images: it counts pixels and windows in 32 bits."""
    lengths = [length + low + high for length, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    return x.ndim <= 4 and x.dtype.char in "fd" and len(x) * math.prod(lengths) < 1 << 31


def rows_of_windows(cupy: Any, x: Array, kernel: Lengths, stride: Lengths, padding: Padding) -> Array:
    """`Ops.rows_of_windows` for x (n, h, w, c) or (n, t, c)."""
    n, *lengths, c = x.shape
    one = [1] * (2 - len(lengths))  # a sequence is an image with one row
    padded = [length + low + high for length, (low, high) in zip(lengths, padding, strict=True)]
    outputs = output_lengths(padded, kernel, stride)
    columns = math.prod(kernel) * c
    rows = cupy.empty((n * math.prod(outputs), columns), x.dtype)
    if rows.size:
        before = [*[0] * len(one), *[low for low, _ in padding]]
        sizes = [len(rows), columns, *one, *lengths, c, *one, *outputs, kernel[-1], *one, *stride, *before]
        parts = -(-columns // MOST)
        width = -(-columns // (parts * WARP)) * WARP
        height = MOST // width
        grid = -(-len(rows) // (height * EACH)), -(-columns // width)
        arguments = (cupy.ascontiguousarray(x), rows, *map(np.int32, sizes))
        _kernel(cupy, x.dtype.char)(grid, (width, height), arguments)
    return rows


@functools.cache
def _kernel(cupy: Any, char: str) -> Any:
    dtype = {"f": "float", "d": "double"}[char]
    return cupy.RawKernel(SOURCE.format(dtype=dtype, each=EACH), "xpnet_windows")
