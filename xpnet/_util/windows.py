"""Positions of sliding windows along the axes of an array, as integers and slices.

A window of kernel (k₁, k₂) with stride (s₁, s₂) at output position (i, j) holds x[n, s₁ i + a, s₂ j + b, c]
for all 0 ≤ a < k₁ and 0 ≤ b < k₂. The pair (a, b) is called a tap. Every function takes any number of axes.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

Lengths = tuple[int, ...]


def output_lengths(lengths: Sequence[Any], kernel: Lengths, stride: Lengths) -> tuple[Any, ...]:
    """The number of windows that fit along each axis; less than 1 if none fits."""
    return tuple((n - k) // s + 1 for n, k, s in zip(lengths, kernel, stride, strict=True))


@functools.lru_cache
def taps(lengths: Lengths, kernel: Lengths, stride: Lengths) -> list[tuple[slice, ...]]:
    """For each tap, the index of its elements in all windows: x[tap] is (n, *output_lengths, c)."""
    outputs = output_lengths(lengths, kernel, stride)
    along = [
        [slice(offset, offset + (n - 1) * s + 1, s) for offset in range(k)]
        for n, k, s in zip(outputs, kernel, stride, strict=True)
    ]
    return [(slice(None), *tap, slice(None)) for tap in itertools.product(*along)]


def strided_windows(
    shape: Lengths, strides: Lengths, kernel: Lengths, stride: Lengths
) -> tuple[Lengths, Lengths]:
    """Shape and strides of the view (n, *outputs, *kernel, c) of all windows of an array (n, *lengths, c)."""
    first, *middle, last = strides
    steps = [step * s for step, s in zip(middle, stride, strict=True)]
    outputs = output_lengths(shape[1:-1], kernel, stride)
    return (shape[0], *outputs, *kernel, shape[-1]), (first, *steps, *middle, last)


def channel_groups(c: int, *arrays: Any) -> list[Any]:
    """The parts of the arrays' last axes in each group of c channels of the first; None stays None."""
    n = arrays[0].shape[-1] // c

    def part(array: Any, i: int) -> Any:
        length = array.shape[-1] // n
        return array[..., i * length : (i + 1) * length]

    return [[None if array is None else part(array, i) for array in arrays] for i in range(n)]
