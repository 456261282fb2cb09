"""Gradient descent on an activation function

GELU(x) ≈ x σ(1.702 x) is not monotone: it has one minimum, a little below 0, and is nearly flat to the
left of it. Gradient descent on this curve shows in one dimension what a learning rate and momentum do.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from xpnet import nn, optim
from xpnet.studies.options import Options

GELU = nn.GELU(form="sigmoid")
ACTIVATIONS = {"ReLU": nn.ReLU(), "ELU": nn.ELU(), "GELU": GELU}
BETA = 0.9
RUNS = ((0.0, 0.1), (0.0, 1.0), (-3.0, 0.1))  # where it starts, and the learning rate η
STEPS = 600


class Curve(NamedTuple):
    """A function and its derivative at some points."""

    x: np.ndarray
    f: np.ndarray
    slope: np.ndarray


def curve(options: Options, function: nn.Layer, x: np.ndarray) -> Curve:
    """The activation and its derivative at these points. Shapes: x (n,), all results too."""
    backend = options.make_backend("float64")
    points = backend.asarray(x)
    f, residuals = function.forward({}, points)
    slope, _ = function.backward({}, residuals, backend.xp.ones_like(points))
    return Curve(x, backend.to_numpy(f), backend.to_numpy(slope))


def descend(options: Options, start: float, optimizer: optim.Optimizer, steps: int) -> Curve:
    """The points x₀ ... x_steps that the optimizer goes through from x₀ = start, on GELU.

    Momentum starts with v₀ = ∇f(x₀). Shapes: (steps + 1,) each.
    """
    backend = options.make_backend("float64")
    ones = backend.asarray([1.0])
    params = {"x": backend.asarray([start])}
    state = optimizer.init(params)
    path = []
    for i in range(steps + 1):
        f, residuals = GELU.forward({}, params["x"])
        slope, _ = GELU.backward({}, residuals, ones)
        if i == 0:
            state = {name: {"x": backend.copy(slope)} for name in state}
        path.append([float(number[0]) for number in (params["x"], f, slope)])
        params, state = optimizer.update(params, {"x": slope}, state)
    return Curve(*np.array(path).T)


def minimum(options: Options) -> float:
    """Where the derivative of GELU is 0."""

    def slope(x: float) -> float:
        return float(curve(options, GELU, np.array([x])).slope[0])

    return float(optimize.brentq(slope, -2, 0, xtol=1e-12))
