"""Max-pooling of images on CuPy: one kernel each way."""

import functools
from typing import Any

from xpnet._util.windows import Lengths, output_lengths

Array = Any  # a CuPy array with all of its methods

SIZES = ", ".join([f"int64 {name}" for name in ["h", "w", "c", "out_h", "out_w", "k_h", "k_w", "s_h", "s_w"]])

# Thread i computes output (m, r, q, j). A NaN is the maximum of its window.
FORWARD = """
const I e = i, C = c, W = out_w, H = out_h;
const I j = e % C, q = e / C % W, r = e / (C * W) % H, m = e / (C * W * H);
const I first = ((m * h + r * s_h) * w + q * s_w) * c + j;
T best = x[first];
int at = 0;
for (I a = 0; a < k_h; a++) for (I b = 0; b < k_w; b++) {
  const T v = x[first + (a * w + b) * c];
  if (best == best && !(v <= best)) { best = v; at = a * k_w + b; }
}
y = best;
position = at;
"""
# Thread i computes dx (m, p, o, j), from all windows (r, q) with p = r s_h + a and o = q s_w + b.
BACKWARD = """
const I e = i, C = c, W = w, H = h;
const I j = e % C, o = e / C % W, p = e / (C * W) % H, m = e / (C * W * H);
const I rows = s_h, columns = s_w, height = out_h, width = out_w;
T sum = 0;
for (I r = max((I)0, (p - (I)k_h) / rows); r <= min(p / rows, height - 1); r++) {
  const I a = p - r * rows;
  if (a < k_h) for (I q = max((I)0, (o - (I)k_w) / columns); q <= min(o / columns, width - 1); q++) {
    const I b = o - q * columns, window = ((m * height + r) * width + q) * C + j;
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
    _forward(cupy, _integer(x))(x, *x.shape[1:], *outputs, *kernel, *stride, y, positions)
    return y, positions


def max_pool_gradient(
    cupy: Any, dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths
) -> Array:
    """`Ops.max_pool_gradient` for x (n, h, w, c)."""
    dx = cupy.empty(x.shape, dy.dtype)
    _backward(cupy, _integer(x))(dy, positions, *x.shape[1:], *dy.shape[1:-1], *kernel, *stride, dx)
    return dx


def _integer(x: Array) -> str:
    """The type of a position in x: a GPU divides integers of 32 bits several times as fast."""
    return "int" if x.size < 1 << 31 else "long long"


@functools.cache
def _forward(cupy: Any, integer: str) -> Any:
    code = f"typedef {integer} I;{FORWARD}"
    return cupy.ElementwiseKernel(f"raw T x, {SIZES}", "T y, int32 position", code, "xpnet_max_pool")


@functools.cache
def _backward(cupy: Any, integer: str) -> Any:
    inputs, code = f"raw T dy, raw int32 position, {SIZES}", f"typedef {integer} I;{BACKWARD}"
    return cupy.ElementwiseKernel(inputs, "T dx", code, "xpnet_max_pool_gradient")
