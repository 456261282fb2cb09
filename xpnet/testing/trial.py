"""A layer to check with its input, and one forward and backward pass."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet.backend import Backend
from xpnet.nn import Layer
from xpnet.random import Key
from xpnet.testing.compare import put
from xpnet.testing.subject import draw
from xpnet.tree import Array, Tree


@dataclass(frozen=True)
class LayerTrial:
    """A layer to check, with its input.

    Arguments:
        layer: the layer.
        x: its input, a float64 or int64 NumPy array.
        training: whether to check the layer in training mode.
        tolerances: the tolerances (float32, float64) of comparisons between libraries.
        noise: U(0, noise) is added to the initial parameters. Parameters that are exactly 0 or 1 would hide a
            missing factor.
    """

    layer: Layer
    x: np.ndarray
    training: bool = False
    tolerances: tuple[float, float] = (1e-5, 1e-11)
    noise: float = 0.5

    def on(self, backend: Backend, first: int = 0) -> Layer:
        """The layer in the mode to check, for a part of the batch that starts at example `first`."""
        if not self.training:
            return self.layer
        step = backend.xp.asarray([3], dtype=backend.xp.int32, device=backend.device)
        return self.layer.training_mode(Key(step, 7, first))

    def params(self, seed: int = 0) -> Tree:
        """The initial parameters plus noise, on the host."""
        rng = np.random.default_rng(seed)
        return tree.map(lambda p: p + rng.uniform(0, self.noise, p.shape), self.layer.init(rng))

    def statistics(self, seed: int = 0) -> Tree:
        """The initial statistics plus noise, on the host."""
        rng = np.random.default_rng([seed, 1])
        return tree.map(lambda p: p + rng.uniform(0, 1, p.shape), self.layer.init_statistics())

    def variables(self, seed: int = 0) -> Tree:
        """The tree to pass to `forward`: parameters and, in evaluation mode, statistics."""
        params = self.params(seed)
        return params if self.training else tree.merge(params, self.statistics(seed))


class LayerRun(NamedTuple):
    """The arguments and results of one forward and one backward pass of a layer."""

    params: Tree
    x: Array
    y: Array
    residuals: Any
    dy: Array
    dx: Array
    grads: Tree


def run_layer(trial: LayerTrial, backend: Backend) -> LayerRun:
    """One forward and one backward pass on copies, so that in-place writes break only the law about them."""
    layer = trial.on(backend)
    params, x = put(backend, trial.variables()), backend.copy(trial.x)
    y, residuals = layer.forward(copied(backend, params), backend.copy(x))
    dy = backend.asarray(draw(y.shape, seed=1))
    dx, grads = layer.backward(params, residuals, backend.copy(dy))
    return LayerRun(params, x, y, residuals, dy, dx, grads)


def copied(backend: Backend, arrays: Tree) -> Tree:
    """The same values in fresh arrays."""
    return tree.map(backend.copy, arrays)
