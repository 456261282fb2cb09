"""Convolution by hand

One image of 6×6 numbers and one filter of 3×3: small enough to check each product on paper. The same
three layers, a convolution, zero padding and a pooling, are what a convolutional network is made of.
"""

from typing import NamedTuple

import numpy as np

from xpnet import nn
from xpnet.studies.options import Options

IMAGE = np.array(
    [
        [-1, 0, -2, 3, 4, 1],
        [2, 9, 5, 6, 0, -1],
        [0, -3, 1, 3, 4, 4],
        [6, 5, 2, 0, 6, 8],
        [-5, 4, -3, 1, 3, -2],
        [4, 1, 2, 8, 9, 7],
    ],
    float,
)
FILTER = np.array([[-2, -2, -2], [-2, 5, -2], [-2, -2, -2]], float)
AVERAGE = np.full((2, 2), 1 / 4)
J = 9  # the letter's place in the alphabet, from 0: outputs are named A, B, C ... row by row


class Grids(NamedTuple):
    """What comes out of each layer for the image."""

    valid: np.ndarray
    same: np.ndarray
    pooled: np.ndarray
    averaged: np.ndarray


def grids(options: Options) -> Grids:
    """The convolution without and with zero padding, the average pooling, and the convolution that equals it.

    Shapes: (4, 4), (6, 6), (3, 3), (3, 3).
    """
    return Grids(
        valid=_apply(options, nn.Conv2d(1, 1, kernel_size=3, bias=False), FILTER),
        same=_apply(options, nn.Conv2d(1, 1, kernel_size=3, padding="same", bias=False), FILTER),
        pooled=_apply(options, nn.AvgPool2d(kernel_size=2, stride=2)),
        averaged=_apply(options, nn.Conv2d(1, 1, kernel_size=2, stride=2, bias=False), AVERAGE),
    )


def _apply(options: Options, layer: nn.Layer, kernel: np.ndarray | None = None) -> np.ndarray:
    """The layer's output for the image, as a grid: one example, one channel."""
    backend = options.make_backend("float64")
    params = {} if kernel is None else {"weight": backend.asarray(kernel[:, :, None, None])}
    y, _ = layer.forward(params, backend.asarray(IMAGE[None, :, :, None]))
    return backend.to_numpy(y)[0, :, :, 0]
