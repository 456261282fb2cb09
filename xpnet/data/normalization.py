"""Bring the channels of images to mean 0 and standard deviation 1."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.backend import device, namespace
from xpnet.errors import ShapeError
from xpnet.tree import Array


class Normalization(NamedTuple):
    """What `normalize` takes away and divides by: numbers that fit into JSON.

    Fields:
        mean, std: a number for each channel; no std is 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(x: NDArray[np.floating]) -> Normalization:
    """The mean and the standard deviation of each channel, over all images and pixels, in float64.

    A channel that is the same everywhere gets the standard deviation 1, and so becomes 0 by `normalize`.

    Arguments:
        x: images on the host, (n, height, width, channels): those to train on, and no others.

    Raises ShapeError where x has another number of axes, or no pixels, or is not of real numbers.
    """
    if x.ndim != 4 or not x.size or x.dtype.kind not in "biuf":
        expected = "channel_statistics: expected images (n, height, width, channels)"
        raise ShapeError(f"{expected}, got {x.dtype} of shape {x.shape}")
    mean = x.mean(axis=(0, 1, 2), dtype=np.float64)
    parts = np.array_split(x, math.ceil(len(x) / 128))  # all of CIFAR-10 in float64 is 1.2 GB
    std = np.sqrt(sum(((part - mean) ** 2).sum(axis=(0, 1, 2)) for part in parts) / (x.size / x.shape[3]))
    std[std <= 1e-7 * np.abs(mean)] = 1  # less than float32 can tell apart: rounding
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))


def normalize(x: Array, normalization: Normalization) -> Array:
    """(x - mean) / std, channel by channel, in a fresh array of x's library, device and dtype.

    Arguments:
        x: images (..., channels), of a floating dtype.
        normalization: from `channel_statistics` of the training images, for the test images too.

    Raises ShapeError where x has another number of channels or is of integers.
    """
    xp = namespace(x)
    channels = len(normalization.mean)
    if x.ndim < 1 or x.shape[-1] != channels:
        raise ShapeError(f"normalize: expected x of shape (..., {channels}), got {tuple(x.shape)}")
    if not xp.isdtype(x.dtype, "real floating"):
        raise ShapeError(f"normalize: expected x of a floating dtype, got {x.dtype}")
    mean, std = (xp.asarray(values, dtype=x.dtype, device=device(x)) for values in normalization)
    y = x - mean
    y /= std
    return y
