"""Initial weights: functions `(rng, shape) -> array` that draw on the host, in float64.

Give one to a layer: `Linear(784, 128, weight_init=init.he_normal)`. To change a parameter of one,
`functools.partial(init.normal, std=0.001)`; to draw the same weights smaller, `init.scaled(…, 0.1)`.

`fan_in` and `fan_out` are the numbers of inputs and outputs that one weight array of shape
`(..., n_in, n_out)` connects; leading axes, the window of a convolution, count for both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xpnet.random import Generator

Shape = tuple[int, ...]
Initializer = Callable[[Generator, Shape], np.ndarray]


def _fans(shape: Shape) -> tuple[int, int]:
    *window, n_in, n_out = map(int, shape)  # Python's integers, which have no end
    return math.prod(window) * n_in, math.prod(window) * n_out


def zeros(rng: Generator | None, shape: Shape) -> np.ndarray:
    """0. Right for biases; as weights it keeps all units of a layer equal for ever."""
    return np.zeros(shape)


def ones(rng: Generator | None, shape: Shape) -> np.ndarray:
    """1."""
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


def lecun_normal(rng: Generator, shape: Shape) -> np.ndarray:
    """N(0, 1/fan_in), which keeps the variance of a linear unit's input (LeCun et al., 1998, §4.6)."""
    return normal(rng, shape, math.sqrt(1 / _fans(shape)[0]))


def lecun_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a) with variance 1/fan_in (LeCun et al., 1998, §4.6)."""
    return _uniform_of_variance(rng, shape, 1 / _fans(shape)[0])


def glorot_normal(rng: Generator, shape: Shape) -> np.ndarray:
    """N(0, 2/(fan_in + fan_out)), for tanh and sigmoid units (Glorot and Bengio, 2010, eq. 12)."""
    return normal(rng, shape, math.sqrt(2 / sum(_fans(shape))))


def glorot_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a), a = √(6/(fan_in + fan_out)), for tanh and sigmoid units (Glorot and Bengio, 2010, eq. 16)."""
    return _uniform_of_variance(rng, shape, 2 / sum(_fans(shape)))


def he_normal(rng: Generator, shape: Shape) -> np.ndarray:
    """N(0, 2/fan_in), for ReLU units (He et al., 2015, eq. 10)."""
    return normal(rng, shape, math.sqrt(2 / _fans(shape)[0]))


def he_uniform(rng: Generator, shape: Shape) -> np.ndarray:
    """U(-a, a) with variance 2/fan_in, for ReLU units (He et al., 2015, eq. 10)."""
    return _uniform_of_variance(rng, shape, 2 / _fans(shape)[0])


def orthogonal(rng: Generator, shape: Shape) -> np.ndarray:
    """Orthonormal columns, or rows where these are fewer, of the weights as a matrix of one column an output.

    A product with them keeps lengths. All such matrices are equally likely: Q of N(0, 1) = QR, with the
    signs of R's diagonal. (Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", 2014; Mezzadri, 2007, for the signs.)
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))
    return np.reshape(q if rows >= columns else q.T, shape)


def scaled(initializer: Initializer, scale: float) -> Initializer:
    """An initialiser that draws `scale` times what another draws."""
    return _Scaled(initializer, scale)


@dataclass(frozen=True)
class _Scaled:
    """`scaled` as a class, since a closure cannot be pickled."""

    initializer: Initializer
    scale: float

    def __call__(self, rng: Generator, shape: Shape) -> np.ndarray:
        return self.scale * self.initializer(rng, shape)
