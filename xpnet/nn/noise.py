"""Layers that add randomness in training and do nothing otherwise."""

from dataclasses import dataclass
from typing import NamedTuple

from xpnet import random
from xpnet.backend import namespace
from xpnet.nn._layer import Layer, NoResiduals, SameShape, require_number
from xpnet.random import Key
from xpnet.tree import Array, Tree


@dataclass(frozen=True, repr=False)
class Dropout(SameShape):
    """Dropout: in training, set each element to 0 with probability p.

    In training: y = x m, dx = dy m, where m is 0 with probability p and otherwise 1/(1 - p).

    Outside training: y = x, dx = dy.

    Shapes: x and y (...).

    Arguments:
        rate: p, 0 ≤ p < 1.

    Raises ConfigError for a rate out of its range.

    (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", 2014.)
    """

    examples = "independent"

    rate: float = 0.5

    def __post_init__(self) -> None:
        require_number(self, "rate", below=1)

    def forward(self, params: Tree, x: Array) -> tuple[Array, NoResiduals]:
        return x, NoResiduals()

    def backward(self, params: Tree, residuals: NoResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy, {}

    def training_mode(self, key: Key) -> Layer:
        return DropoutInTraining(self.rate, key)


class DropoutResiduals(NamedTuple):
    mask: Array


@dataclass(frozen=True, repr=False)
class DropoutInTraining(SameShape):
    """`Dropout` in a training step: y = x m, where m is 0 with probability p and otherwise 1/(1 - p).

    dx = dy m

    The expected value of y is x.
    """

    examples = "independent"

    rate: float
    key: Key

    def forward(self, params: Tree, x: Array) -> tuple[Array, DropoutResiduals]:
        draws = random.bits(self.key, x.shape) & 0x7FFFFFFF  # from 0 to 2³¹ - 1, all equally likely
        mask = namespace(x).astype(draws >= round(self.rate * 2**31), x.dtype)
        mask /= 1 - self.rate
        return x * mask, DropoutResiduals(mask)

    def backward(self, params: Tree, residuals: DropoutResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy * residuals.mask, {}


@dataclass(frozen=True, repr=False)
class GaussianNoise(SameShape):
    """Gaussian noise: in training, add noise of standard deviation σ to each element.

    y = x + σ z in training, with z ~ N(0, 1) for each element, and y = x outside training.

    dx = dy

    Shapes: x and y (...).

    Arguments:
        std: σ ≥ 0, in units of x.

    Raises ConfigError for a std out of its range.

    (Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995, for noise on the inputs.)
    """

    examples = "independent"

    std: float

    def __post_init__(self) -> None:
        require_number(self, "std")

    def forward(self, params: Tree, x: Array) -> tuple[Array, NoResiduals]:
        return x, NoResiduals()

    def backward(self, params: Tree, residuals: NoResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy, {}

    def training_mode(self, key: Key) -> Layer:
        return GaussianNoiseInTraining(self.std, key)


@dataclass(frozen=True, repr=False)
class GaussianNoiseInTraining(SameShape):
    """`GaussianNoise` in a training step: y = x + σ z,  z ~ N(0, 1) for each element.

    dx = dy
    """

    examples = "independent"

    std: float
    key: Key

    def forward(self, params: Tree, x: Array) -> tuple[Array, NoResiduals]:
        y = random.normal(self.key, x.shape, x.dtype)
        y *= self.std
        y += x
        return y, NoResiduals()

    def backward(self, params: Tree, residuals: NoResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy, {}
