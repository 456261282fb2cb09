"""Small pictures of coloured shapes, drawn on demand, to try convolutional networks on.

The colours of shape and background, the size and the place are random. So a single pixel says nothing about
the class, and a linear model learns little; a small convolutional network classifies nearly all correctly.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.random import generator

SIZE = 32

# Whether the point (u, v) is in the shape, which has its centre at (0, 0) and radius 1, or in the pattern.
SHAPES: dict[str, Callable[[Any, Any], Any]] = {
    "circle": lambda u, v: u * u + v * v < 1,
    "ring": lambda u, v: np.abs(u * u + v * v - 0.7) < 0.3,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.85,
    "triangle": lambda u, v: (v < 0.8) & (2 * np.abs(u) < v + 1.1),
    "plus": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.3) & (np.maximum(np.abs(u), np.abs(v)) < 1),
    "rows": lambda u, v: v % 1 < 0.5,
    "columns": lambda u, v: u % 1 < 0.5,
    "diagonals": lambda u, v: (u + v) % 1.4 < 0.7,
    "checkerboard": lambda u, v: (u % 1 < 0.5) == (v % 1 < 0.5),
    "dots": lambda u, v: (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.1,
}
CLASS_NAMES = tuple(SHAPES)


def draw(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """n pictures in random order; class counts differ by at most one. The seed determines the pictures.

    Returns x (n, 32, 32, 3) float32 in [0, 1], whole 255ths as in a file of bytes, and y (n,) int64.
    """
    rng = generator(seed, "shapes")
    y = rng.permutation(np.arange(n) % len(SHAPES))
    radius = rng.uniform(6, 11, (n, 1, 1))
    row, column = rng.uniform(11, SIZE - 11, (2, n, 1, 1))  # of the centre: no shape is cut off
    v = (np.arange(SIZE)[:, np.newaxis] - row) / radius
    u = (np.arange(SIZE) - column) / radius
    inside = np.empty((n, SIZE, SIZE, 1), bool)
    for i, shape in enumerate(SHAPES.values()):
        inside[y == i, ..., 0] = shape(u[y == i], v[y == i])
    front = rng.integers(256, size=(n, 1, 1, 3), dtype=np.int16)
    back = (front + rng.integers(64, 193, (n, 1, 1, 3), np.int16)) % 256  # they differ by 64 or more
    x = np.where(inside, front, back) + rng.integers(-20, 21, (n, SIZE, SIZE, 3), np.int16)
    return np.clip(x, 0, 255).astype(np.float32) / np.float32(255), y
