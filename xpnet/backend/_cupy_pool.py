"""Max-pooling of images on CuPy: one kernel each way."""

import functools
from typing import Any

from xpnet._util.windows import Lengths, output_lengths

Array = Any  # a CuPy array with all of its methods

SIZES = "int64 h, int64 w, int64 c, int64 out_h, int64 out_w, int64 k_h, int64 k_w, int64 s_h, int64 s_w"

# Thread i computes output (m, r, q, j). A NaN is the maximum of its window.
FORWARD = """
const long long j = i % c, q = i / c % out_w, r = i / (c * out_w) % out_h, m = i / (c * out_w * out_h);
const long long first = ((m * h + r * s_h) * w + q * s_w) * c + j;
T best = x[first];
int at = 0;
for (int a = 0; a < k_h; a++) for (int b = 0; b < k_w; b++) {
  const T v = x[first + (a * w + b) * c];
  if (best == best && !(v <= best)) { best = v; at = a * k_w + b; }
}
y = best;
position = at;
"""
# Thread i computes dx (m, p, o, j), from all windows (r, q) with p = r s_h + a and o = q s_w + b.
BACKWARD = """
const long long j = i % c, o = i / c % w, p = i / (c * w) % h, m = i / (c * w * h);
T sum = 0;
for (long long r = max(0LL, (p - k_h) / s_h); r <= min(p / s_h, out_h - 1); r++) {
  const long long a = p - r * s_h;
  if (a < k_h) for (long long q = max(0LL, (o - k_w) / s_w); q <= min(o / s_w, out_w - 1); q++) {
    const long long b = o - q * s_w, window = ((m * out_h + r) * out_w + q) * c + j;
    if (b < k_w && position[window] == a * k_w + b) sum += dy[window];
  }
}
dx = sum;
"""


def max_pool(cupy: Any, x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array]:
    """`Ops.max_pool` for x (n, h, w, c)."""
    outputs = output_lengths(x.shape[1:-1], kernel, stride)
    shape = (x.shape[0], *outputs, x.shape[-1])
    y, positions = cupy.empty(shape, x.dtype), cupy.empty(shape, "int32")
    _forward(cupy)(x, *x.shape[1:], *outputs, *kernel, *stride, y, positions)
    return y, positions


def max_pool_gradient(
    cupy: Any, dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths
) -> Array:
    """`Ops.max_pool_gradient` for x (n, h, w, c)."""
    dx = cupy.empty(x.shape, dy.dtype)
    _backward(cupy)(dy, positions, *x.shape[1:], *dy.shape[1:-1], *kernel, *stride, dx)
    return dx


@functools.cache
def _forward(cupy: Any) -> Any:
    inputs = f"raw T x, {SIZES}"
    return cupy.ElementwiseKernel(inputs, "T y, int32 position", FORWARD, "xpnet_max_pool")


@functools.cache
def _backward(cupy: Any) -> Any:
    inputs = f"raw T dy, raw int32 position, {SIZES}"
    return cupy.ElementwiseKernel(inputs, "T dx", BACKWARD, "xpnet_max_pool_gradient")
