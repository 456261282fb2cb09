"""A layer with an input to try it at, and one pass through it."""

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
    """A layer with an input to try it at.

    Arguments:
        layer: a layer.
        x: its input, a float64 or int64 NumPy array.
        training: whether to try what the layer is in training.
        tolerances: of comparisons between libraries, in float32 and in float64.
        noise: the parameters are those of `init` with U(0, noise) added: one that is still 0 or 1 as `init`
            made it hides a factor that is missing.
    """

    layer: Layer
    x: np.ndarray
    training: bool = False
    tolerances: tuple[float, float] = (1e-5, 1e-11)
    noise: float = 0.5

    def on(self, backend: Backend, first: int = 0) -> Layer:
        """The layer as it is tried, for a part of the batch that starts with that example."""
        if not self.training:
            return self.layer
        step = backend.xp.asarray([3], dtype=backend.xp.int32, device=backend.device)
        return self.layer.training_mode(Key(step, 7, first))

    def params(self, seed: int = 0) -> Tree:
        """Parameters on the host, other than at the start of training."""
        rng = np.random.default_rng(seed)
        return tree.map(lambda p: p + rng.uniform(0, self.noise, p.shape), self.layer.init(rng))

    def statistics(self, seed: int = 0) -> Tree:
        """Statistics on the host, other than at the start of training."""
        rng = np.random.default_rng([seed, 1])
        return tree.map(lambda p: p + rng.uniform(0, 1, p.shape), self.layer.init_statistics())

    def variables(self, seed: int = 0) -> Tree:
        """What `forward` is given: parameters and, outside training, statistics."""
        params = self.params(seed)
        return params if self.training else tree.merge(params, self.statistics(seed))


class LayerRun(NamedTuple):
    """What goes into one forward and one backward pass of a layer, and what comes out."""

    params: Tree
    x: Array
    y: Array
    residuals: Any
    dy: Array
    dx: Array
    grads: Tree


def run_layer(trial: LayerTrial, backend: Backend) -> LayerRun:
    """One forward and one backward pass, each on copies: writing into arguments shall break one law alone."""
    layer = trial.on(backend)
    params, x = put(backend, trial.variables()), backend.copy(trial.x)
    y, residuals = layer.forward(copied(backend, params), backend.copy(x))
    dy = backend.asarray(draw(y.shape, seed=1))
    dx, grads = layer.backward(params, residuals, backend.copy(dy))
    return LayerRun(params, x, y, residuals, dy, dx, grads)


def copied(backend: Backend, arrays: Tree) -> Tree:
    """The same values in fresh arrays."""
    return tree.map(backend.copy, arrays)
