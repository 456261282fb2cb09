"""Initialisers: functions `(rng, shape) -> array` that draw initial weights on the host, in float64.

Pass one to a layer: `Linear(784, 128, weight_init=init.he_normal)`. Set an option of one with
`functools.partial(init.normal, std=0.001)`; multiply all weights of one with `init.scaled(…, 0.1)`.

For weights of shape `(*window, n_in, n_out)`, fan_in = Π window · n_in and fan_out = Π window · n_out: the
window of a convolution counts for both.

Shapes: each function returns a NumPy array of the given shape.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xpnet.random import Generator

Shape = tuple[int, ...]
Initializer = Callable[[Generator, Shape], np.ndarray]


def _fans(shape: Shape) -> tuple[int, int]:
    *window, n_in, n_out = map(int, shape)  # Python's integers cannot overflow
    return math.prod(window) * n_in, math.prod(window) * n_out


def zeros(rng: Generator | None, shape: Shape) -> np.ndarray:
    """0, for biases. As weights, zeros would keep all units of a layer equal for ever."""
    return np.zeros(shape)


def ones(rng: Generator | None, shape: Shape) -> np.ndarray:
    """1, for scales."""
    return np.ones(shape)


def normal(rng: Generator, shape: Shape, std: float = 1.0) -> np.ndarray:
    """N(0, std²)."""
    return std * rng.standard_normal(shape)


def uniform(rng: Generator, shape: Shape, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """U(low, high)."""
    return rng.uniform(low, high, shape)


def _uniform_of_variance(rng: Generator, shape: Shape, variance: float) -> np.ndarray:
    bound = math.sqrt(3 * variance)  # the variance of U(-a, a) is a²/3
    return rng.uniform(-bound, bound, shape)


def fan_out_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a), a = 1/√fan_out, of variance 1/(3·fan_out): a rule of courses.

    It does not keep the size of signals: the outputs of a linear layer have fan_in/(3·fan_out) times the mean
    square of its inputs.
    """
    return _uniform_of_variance(rng, shape, 1 / (3 * _fans(shape)[1]))


def lecun_normal(rng: Generator, shape: Shape) -> np.ndarray:
    """N(0, 1/fan_in), which keeps the variance from input to output in a linear layer.

    (LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, §4.6.)
    """
    return normal(rng, shape, math.sqrt(1 / _fans(shape)[0]))


def lecun_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a), a = √(3/fan_in), of variance 1/fan_in.

    (LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, §4.6.)
    """
    return _uniform_of_variance(rng, shape, 1 / _fans(shape)[0])


def glorot_normal(rng: Generator, shape: Shape) -> np.ndarray:
    """N(0, 2/(fan_in + fan_out)), for tanh and sigmoid layers.

    (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    eq. 12.)
    """
    return normal(rng, shape, math.sqrt(2 / sum(_fans(shape))))


def glorot_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a), a = √(6/(fan_in + fan_out)), for tanh and sigmoid layers.

    (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    eq. 16.)
    """
    return _uniform_of_variance(rng, shape, 2 / sum(_fans(shape)))


def he_normal(rng: Generator, shape: Shape) -> np.ndarray:
    """N(0, 2/fan_in), for ReLU layers.

    (He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, eq. 10.)
    """
    return normal(rng, shape, math.sqrt(2 / _fans(shape)[0]))


def he_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a), a = √(6/fan_in), of variance 2/fan_in, for ReLU layers.

    (He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, eq. 10.)
    """
    return _uniform_of_variance(rng, shape, 2 / _fans(shape)[0])


def orthogonal(rng: Generator, shape: Shape) -> np.ndarray:
    """A random orthogonal matrix of shape (Π window · n_in, n_out), in the given shape.

    Its columns are orthonormal, or its rows if these are fewer. All such matrices are equally likely:
    Q · sign(diag R), where QR is a matrix of N(0, 1). A square one keeps the length of every vector.

    (Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", 2014; Mezzadri, "How to generate random matrices from the classical compact groups",
    2007, for the signs.)
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))
    return np.reshape(q if rows >= columns else q.T, shape)


def scaled(initializer: Initializer, scale: float) -> Initializer:
    """An initialiser that multiplies the weights of another one by `scale`."""
    return _Scaled(initializer, scale)


@dataclass(frozen=True)
class _Scaled:
    """The result of `scaled`: a class, because a closure cannot be pickled."""

    initializer: Initializer
    scale: float

    def __call__(self, rng: Generator, shape: Shape) -> np.ndarray:
        return self.scale * self.initializer(rng, shape)
