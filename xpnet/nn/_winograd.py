"""Winograd convolution: fewer multiplications, for kernels of 3 x 3 and 5 x 5 with stride 1.

A polynomial of degree m + r - 2 is determined by its values at m + r - 1 points. So m outputs of a kernel of
length r take m + r - 1 multiplications instead of m r. In two dimensions, a tile d of the image with side
m + r - 1 gives m x m outputs y,

    y = Aᵀ ((G w Gᵀ) ∘ (Bᵀ d B)) A

where ∘ multiplies element by element. The products are summed over the channels: each of the (m + r - 1)²
elements takes one matrix product, (tiles, channels) by (channels, channels). The transforms are linear: the
adjoint of x ↦ C x Cᵀ is y ↦ Cᵀ y C.

(Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for convolutional
neural networks", 2016.)
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import device, namespace, ops
from xpnet.nn._layer import Layer, Shape
from xpnet.nn._windows import empty, geometry, zeros
from xpnet.nn.conv import Conv2d
from xpnet.tree import Array, Tree

M = 4  # outputs along the side of a tile
# The polynomials are evaluated at these points and at infinity: small numbers keep rounding errors small.
POINTS = {3: (0, 1, -1, 2, -2), 5: (0, 1, -1, 2, -2, 0.5, -0.5)}
ONES = 1  # position of the point 1, whose powers are all 1: a bias added there is added to every output
PIECE = 300_000  # elements: a piece and its transform fit in the second-level cache of a core
FEWEST_CHANNELS = 8  # with fewer, the transforms cost more time than they save


class WinogradResiduals(NamedTuple):
    """Fields: the shape of x, and V (s², t, in_channels) of each piece of the batch."""

    shape: tuple[int, ...]
    v: tuple[Array, ...]


Pieces = list[tuple[slice, Tree]]


@dataclass(frozen=True, repr=False)
class WinogradConv2d(Conv2d):
    """`Conv2d` by tiles of 4 x 4 outputs.

    V = Bᵀ D B,  U = G W Gᵀ,  Mₖ = Vₖ Uₖ for each element k of a tile,  Y = Aᵀ M A

    dM = A dY Aᵀ,  dUₖ = Vₖᵀ dMₖ,  dW = Gᵀ dU G,  dVₖ = dMₖ Uₖᵀ,  dD = B dV Bᵀ

    Shapes, with t tiles of side s = 3 + kernel_size: D and V (s², t in_channels), W (kernel_size²,
    in_channels out_channels), M (s², t out_channels), Y (16, t out_channels).
    """

    kernel_size: int

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        params = self._prepared(params)
        y, v = self.outputs(x, [(piece, params) for piece in self._pieces(x.shape)])
        return y, WinogradResiduals(x.shape, v)

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        params, shape = self._prepared(params), residuals.shape
        dx, du = self.gradients(shape, residuals.v, dy, [(piece, params) for piece in self._pieces(shape)])
        return dx, self._summed_gradients(du, dy)

    def parameter_gradients(self, params: Tree, residuals: Any, dy: Array) -> Tree:
        pieces = self._pieces(residuals.shape)
        return self._summed_gradients(self.product_gradients(residuals.v, dy, pieces), dy)

    def outputs(self, x: Array, pieces: Pieces) -> tuple[Array, tuple[Array, ...]]:
        """y, and V of each piece.

        Arguments:
            pieces: the examples of each piece, and its parameters, made by `prepare`. With U (s², k,
                in_channels, out_channels) and b (k, 1, out_channels) they are the examples of k networks.
        """
        xp, v = namespace(x), []
        n, h, w, _ = self.output_shape(x.shape)
        rows, columns, side = tiles(h), tiles(w), M + self.kernel_size - 1
        a, b, _ = matrices(self.kernel_size, like=x)
        windows = self._tiles(x, rows, columns)
        y = empty((n, rows, M, columns, M, self.out_channels), like=x)
        for piece, params in pieces:
            d = xp.permute_dims(windows[piece, ...], (3, 4, 0, 1, 2, 5))
            v_piece = ops(x).transform(b.mT, xp.reshape(d, (side * side, -1)))
            u = params["transformed"]
            v.append(xp.reshape(v_piece, (*u.shape[:-2], -1, self.in_channels)))
            m = v[-1] @ u
            if self.bias:
                m = ops(m).add_at(m, ONES * side + ONES, params["bias"])
            outputs = ops(x).transform(a.mT, xp.reshape(m, (side * side, -1)))
            outputs = xp.reshape(outputs, (M, M, -1, rows, columns, self.out_channels))
            y = ops(y).set_at(y, piece, xp.permute_dims(outputs, (2, 3, 0, 4, 1, 5)))
        return xp.reshape(y, (n, rows * M, columns * M, -1))[:, :h, :w, :], tuple(v)

    def gradients(
        self, shape: Shape, v: tuple[Array, ...], dy: Array, pieces: Pieces
    ) -> tuple[Array, list[Array]]:
        """dx in this shape, and dU of each piece."""
        xp, du = namespace(dy), []
        n, rows, _, columns, _, _ = (whole := self._whole_tiles(dy)).shape
        side = M + self.kernel_size - 1
        _, b, _ = matrices(self.kernel_size, like=dy)
        dx = zeros((n, rows + 1, M, columns + 1, M, self.in_channels), like=dy)
        for (piece, params), v_piece in zip(pieces, v, strict=True):
            dm = self._product_gradient(whole[piece, ...], v_piece)
            du.append(v_piece.mT @ dm)
            dd = ops(dy).transform(b, xp.reshape(dm @ params["transposed"], (side * side, -1)))
            dd = xp.reshape(dd, (side, side, -1, rows, columns, self.in_channels))
            dx = self._overlap_add(dx, piece, xp.permute_dims(dd, (2, 3, 0, 4, 1, 5)))
        _, _, ((top, _), (left, _)) = self._geometry(shape)
        dx = xp.reshape(dx, (n, (rows + 1) * M, (columns + 1) * M, -1))
        return dx[:, top : top + shape[1], left : left + shape[2], :], du

    def product_gradients(self, v: tuple[Array, ...], dy: Array, pieces: list[slice]) -> list[Array]:
        """dU of each piece."""
        whole = self._whole_tiles(dy)
        return [
            each.mT @ self._product_gradient(whole[piece, ...], each)
            for piece, each in zip(pieces, v, strict=True)
        ]

    def _summed_gradients(self, du: list[Array], dy: Array) -> Tree:
        """The gradients of the parameters from dU of each piece."""
        grads = {"weight": self.weight_gradient(functools.reduce(operator.add, du))}
        if self.bias:
            rows = namespace(dy).reshape(dy, (-1, self.out_channels))
            grads["bias"] = ops(dy).sum_of_rows(rows)
        return grads

    def weight_gradient(self, du: Array) -> Array:
        """dW (kernel_size, kernel_size, ...) from dU (s², ...)."""
        xp, size = namespace(du), self.kernel_size
        _, _, g = matrices(size, like=du)
        weight = ops(du).transform(g.mT, xp.reshape(du, (du.shape[0], -1)))
        return xp.reshape(weight, (size, size, *du.shape[1:]))

    def _whole_tiles(self, dy: Array) -> Array:
        """dy in tiles (n, rows, 4, columns, 4, out_channels), padded with zeros at the end of each axis."""
        n, h, w, _ = dy.shape
        rows, columns = tiles(h), tiles(w)
        dy = ops(dy).pad(dy, [(0, rows * M - h), (0, columns * M - w)])
        return namespace(dy).reshape(dy, (n, rows, M, columns, M, -1))

    def _product_gradient(self, dy: Array, v: Array) -> Array:
        """dM (s², t, out_channels) from dy in tiles; with V (s², k, t, in_channels), dM likewise."""
        xp = namespace(dy)
        a, _, _ = matrices(self.kernel_size, like=dy)
        dy = xp.reshape(xp.permute_dims(dy, (2, 4, 0, 1, 3, 5)), (M * M, -1))
        return xp.reshape(ops(dy).transform(a, dy), (*v.shape[:-1], self.out_channels))

    def prepare(self, params: Tree) -> Tree:
        """The parameters, plus U (s², in_channels, out_channels) and its transposed planes Uₖᵀ."""
        xp, weight = namespace(params["weight"]), params["weight"]
        _, _, g = matrices(self.kernel_size, like=weight)
        u = ops(weight).transform(g, xp.reshape(weight, (self.kernel_size**2, -1)))
        u = xp.reshape(u, (-1, *weight.shape[2:]))
        # Reshaping to one axis and back copies: OpenBLAS takes 1.5 times as long with the transposed view.
        transposed = xp.reshape(xp.reshape(u.mT, (-1,)), u.mT.shape)
        return {**params, "transformed": u, "transposed": transposed}

    def _prepared(self, params: Tree) -> Tree:
        return params if "transformed" in params else self.prepare(params)

    def _tiles(self, x: Array, rows: int, columns: int) -> Array:
        """x in overlapping tiles, a view (n, rows, columns, s, s, in_channels) of x padded to whole tiles."""
        _, _, padding = self._geometry(x.shape)
        side = M + self.kernel_size - 1
        around = [
            (low, (number - 1) * M + side - low - length)
            for number, length, (low, _) in zip((rows, columns), x.shape[1:3], padding, strict=True)
        ]
        return ops(x).window_view(ops(x).pad(x, around), (side, side), (M, M))

    def _overlap_add(self, dx: Array, piece: slice, dd: Array) -> Array:
        """dx with the overlapping tiles dd of one piece added.

        Shapes: dx (n, rows + 1, 4, columns + 1, 4, in_channels), dd (n, rows, s, columns, s, in_channels).
        """
        rows, columns = dd.shape[1], dd.shape[3]
        # A tile overlaps the next tile, but none beyond it: kernel_size - 1 <= M.
        here_and_next = (slice(0, M), slice(M, None))
        put = ops(dx).set_at  # the first part is the first in its place, so it need not be added
        for i, j in itertools.product((0, 1), (0, 1)):
            part = dd[:, :, here_and_next[i], :, here_and_next[j], :]
            height, width = part.shape[2], part.shape[4]
            where = (piece, slice(i, i + rows), slice(height), slice(j, j + columns), slice(width))
            dx = put(dx, where, part)
            put = ops(dx).add_at
        return dx

    def _pieces(self, input_shape: Shape) -> list[slice]:
        """The batch in pieces, each processed as a whole.

        A piece fits in the cache of a core, but is at least as large as U: reading U then pays.
        """
        n, size = input_shape[0], 1
        room = max(PIECE, (M + self.kernel_size - 1) ** 2 * self.in_channels * self.out_channels)
        one_image = self.plane_elements((1, *input_shape[1:]))
        if n * one_image <= 2 * room:
            return [slice(0, n)]  # the calls for two pieces would take more time than the cache saves
        while 2 * size * one_image <= room:
            size *= 2
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def plane_elements(self, input_shape: Shape) -> int:
        """The number of elements of the larger of V and M."""
        n, h, w, _ = self.output_shape(input_shape)
        plane = n * tiles(h) * tiles(w) * max(self.in_channels, self.out_channels)
        return (M + self.kernel_size - 1) ** 2 * plane


def tiles(outputs: int) -> int:
    """The number of tiles that cover these outputs along one axis."""
    return -(-outputs // M)


def winograd(layer: Layer) -> Layer:
    """The layer as a `WinogradConv2d` where that is faster, otherwise the layer itself."""
    if type(layer) is not Conv2d:
        return layer
    (height, width), stride, _ = geometry((0, 0), layer.kernel_size, layer.stride, layer.padding)
    suits = height == width and height in POINTS and stride == (1, 1)
    if not suits or min(layer.in_channels, layer.out_channels) < FEWEST_CHANNELS:
        return layer
    return WinogradConv2d(**{**vars(layer), "kernel_size": height})


def matrices(size: int, like: Array) -> tuple[Array, Array, Array]:
    """A (s, 4), B (s, s) and G (s, size) in the library and dtype of the array `like`, on its device."""
    return _matrices(size, namespace(like), like.dtype, device(like))


@functools.cache
def _matrices(size: int, xp: Any, dtype: Any, device: Any) -> tuple[Array, Array, Array]:
    points = POINTS[size]
    others = [tuple(q for q in points if q != p) for p in points]
    infinity = [0.0] * (size - 1) + [1.0]
    a_rows = [[float(p**i) for i in range(M)] for p in points] + [[0.0] * (M - 1) + [1.0]]
    b_columns = [[*polynomial(roots), 0.0] for roots in others] + [polynomial(points)]
    g_rows = [
        [p**i / math.prod(p - q for q in rest) for i in range(size)]
        for p, rest in zip(points, others, strict=True)
    ] + [infinity]
    a, b_transposed, g = (
        xp.asarray(rows, dtype=dtype, device=device) for rows in (a_rows, b_columns, g_rows)
    )
    return a, b_transposed.mT, g


def polynomial(roots: Sequence[float]) -> list[float]:
    """The coefficients of (x - r₁)(x - r₂)…, the constant term first."""
    coefficients = [1.0]
    for root in roots:
        shifted, scaled = [0.0, *coefficients], [*(root * c for c in coefficients), 0.0]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients
