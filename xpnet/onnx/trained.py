"""The trained network on the host, to export and to compare with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpnet import data, special
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.random import generator
from xpnet.tree import Tree

DRAWN = 8  # examples: a batch of 1 and one of 7
LARGEST_INTEGER = 2**31
# Operators that make probabilities of the outputs of a network.
FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {"Softmax": special.softmax, "Sigmoid": special.sigmoid}  # type: ignore[dict-item]


class Trained(NamedTuple):
    """A trained network on the host, and what its ONNX model adds to it.

    Fields:
        variables: its parameters and statistics, NumPy arrays of this dtype.
        input_shape: the shape of one example.
        normalization: what the model begins with, or None.
        last: the operator on the outputs, one of `FUNCTIONS`, or "".
    """

    net: Layer
    variables: Tree
    dtype: str
    input_shape: Shape
    normalization: data.Normalization | None = None
    last: str = ""

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """What the ONNX model should return for x."""
        x = data.normalize(x, self.normalization) if self.normalization else x
        with np.errstate(all="ignore"):
            y: Any = self.net.forward(self.variables, x)[0]
            return FUNCTIONS[self.last](y) if self.last else y

    def draw(self) -> np.ndarray:
        """Random examples: normal, with the mean and deviation of the data, or integers that fit."""
        rng, size, integers = generator(0, "onnx"), (DRAWN, *self.input_shape), self.net.integers
        if integers is not None:
            return rng.integers(integers.start, min(integers.stop, LARGEST_INTEGER), size)
        x = rng.standard_normal(size)
        if self.normalization:
            x = x * self.normalization.std + self.normalization.mean
        return x.astype(self.dtype)
