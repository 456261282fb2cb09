"""Bring the channels of images to mean 0 and standard deviation 1."""

import math
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xpnet.backend import device, namespace
from xpnet.backend._reading import as_array, numbers
from xpnet.errors import ShapeError
from xpnet.tree import Array, ArrayLike

AnyArray = TypeVar("AnyArray", bound=Array)


class Normalization(NamedTuple):
    """The mean that `normalize` subtracts and the standard deviation it divides by, as JSON numbers.

    Fields:
        mean, std: one number for each channel; no std is 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(x: ArrayLike) -> Normalization:
    """The mean and the standard deviation of each channel, over all images and pixels, in float64.

    A constant channel gets the standard deviation 1, so `normalize` makes it 0.

    Arguments:
        x: training images on the host, (n, height, width, channels): an array or nested lists.

    Raises ShapeError where x does not have four axes, is empty, or does not hold real numbers.
    """
    images: Any = numbers(x)[...]
    if images.ndim != 4 or not images.size:
        expected = "channel_statistics: expected images (n, height, width, channels)"
        raise ShapeError(f"{expected}, got {images.dtype} of shape {images.shape}")
    mean = images.mean(axis=(0, 1, 2), dtype=np.float64)
    parts = np.array_split(images, math.ceil(len(images) / 128))  # all of CIFAR-10 in float64 is 1.2 GB
    std = np.sqrt(
        sum(((part - mean) ** 2).sum(axis=(0, 1, 2)) for part in parts) / (images.size / images.shape[3])
    )
    std[std <= 1e-7 * np.abs(mean)] = 1  # below the precision of float32: only rounding
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))


def normalize(x: AnyArray, normalization: Normalization) -> AnyArray:
    """(x - mean) / std for each channel, in a new array of the library, device and dtype of x.

    Arguments:
        x: images (..., channels), of a floating dtype.
        normalization: the `channel_statistics` of the training images, also for test images.

    Raises ShapeError where x has another number of channels or does not have a floating dtype.
    """
    x = as_array(x)
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
