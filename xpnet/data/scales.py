"""What the numbers of a file are divided by: said by the user, or decided by what all files hold."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data.dataset import Preparation
from xpnet.errors import DataError

FORM = "255, 16 or another number, none or standardize"
DAMAGED = 0.001  # of pixels: so few outside of 0 to 255 are no scale of their own
ROUNDING = 0.01  # numbers from 0 to 1 may lie as far outside
RATIO = 16.0  # of the largest numbers of two files of one kind
FEW = 10  # rows: of fewer, the largest numbers say little
PART = 4096  # rows at a time in float64


class Scale(NamedTuple):
    """A decision: how numbers become inputs, what to tell, and the largest number allowed, or None."""

    preparation: Preparation
    note: str
    limit: float | None = None


def decide(train: NDArray[Any], test: NDArray[Any], asked: str | None, images: bool = False) -> Scale:
    """The scale of numbers (n, ...).

    Arguments:
        asked: a number to divide by; "none"; "standardize": each column to mean 0 and standard deviation 1
            over the training rows; None: as the numbers of both files are. From 0 to 1, or
            images from -1 to 2: none. Whole, from 0 to 16: 16. Whole, or of images, from 0 to 255: 255. With
            mean 0 and standard deviation 1: none. Any others: standardize.

    Raises DataError for another scale.
    """
    low = float(min(train.min(), test.min()))
    high = float(max(train.max(), test.max()))
    found = f"numbers from {low:.6g} to {high:.6g}"
    if asked in ("none", "standardize"):
        return _standardize(train, found) if asked == "standardize" else _divide(1, f"{found}, not scaled")
    if asked is not None:
        divisor = float(asked) if asked.replace(".", "", 1).isdigit() else 0.0
        if not 0 < divisor < np.inf:
            raise DataError(f"scale={asked}: expected {FORM}")
        return _divide(divisor, f"{found}, divided by {divisor:g}")._replace(limit=divisor)
    if (low >= -ROUNDING and high <= 1 + ROUNDING) or (images and low >= -1 and high <= 2):
        return _divide(1, f"{found}, not scaled")
    whole = all(x.dtype == np.uint8 or bool((x == np.floor(x)).all()) for x in (train, test))
    if low >= 0 and high <= 255 and (whole or images):
        divisor = 16 if high <= 16 else 255
        return _divide(divisor, f"{found}, divided by {divisor}")
    outside = np.mean([((x < 0) | (x > 255)).mean() for x in (train, test)])
    if whole and images and outside < DAMAGED:
        return _divide(255, f"{found}, divided by 255")._replace(limit=255)
    mean, std = float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
    if low < 0 and abs(mean) < 0.2 and 0.5 < std < 2:
        return _divide(1, f"{found} with mean {mean:.2f} and standard deviation {std:.2f}, not scaled")
    return _standardize(train, found)


def _divide(divisor: float, note: str) -> Scale:
    return Scale(Preparation((), (0.0,), (float(divisor),)), note)


def _standardize(train: NDArray[Any], found: str) -> Scale:
    x = train.reshape(len(train), -1)
    mean = x.mean(axis=0, dtype=np.float64)
    parts = (x[i : i + PART].astype(np.float64) for i in range(0, len(x), PART))
    std = np.sqrt(sum(((part - mean) ** 2).sum(axis=0) for part in parts) / len(x))
    precision = 1e-14 if x.dtype == np.float64 else 1e-7
    std[std <= precision * np.abs(mean)] = 1  # constant
    preparation = Preparation((), tuple(mean.tolist()), tuple(std.tolist()))
    return Scale(preparation, f"{found}, each column scaled to mean 0 and standard deviation 1")


def require_same(
    train: NDArray[Any], test: NDArray[Any], train_path: str, test_path: str, asked: str | None
) -> None:
    """DataError where the numbers of the test file are scaled in another way, unless `asked` is "none"."""
    if asked == "none":
        return
    tops = [np.maximum(x.max(axis=0), -x.min(axis=0).astype(np.float64)) for x in (train, test)]
    both = (tops[0] > 0) & (tops[1] > 0)
    ratio = float(np.median(tops[1][both] / tops[0][both])) if both.any() else 1.0
    unlike = min(len(train), len(test)) >= FEW and not 1 / RATIO <= ratio <= RATIO
    largest = [float(top.max()) for top in tops]
    fractions = test.dtype != np.uint8 and bool((test != np.floor(test)).any())
    unlike |= largest[0] > RATIO and largest[1] <= 1 and fractions and train.dtype == np.uint8
    unlike |= largest[0] <= 1 and largest[1] > RATIO
    if unlike:
        ranges = [f"{float(x.min()):.6g} to {float(x.max()):.6g}" for x in (train, test)]
        raise DataError(
            f"{test_path}: expected numbers like those of {train_path}, {ranges[0]}, got {ranges[1]}: scaled "
            "in another way? (scale=none takes them as they are)"
        )
