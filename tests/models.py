"""Models as after a training, for tests of what is done with them."""

from typing import Any

import numpy as np

from xpnet import Model, losses, nn, optim, tree


def drawn(net: nn.Layer, loss: losses.Loss | None = None, **options: Any) -> Model:
    """A model with random biases, scales and statistics."""
    model = Model(net, loss or losses.MeanSquaredError(), optim.SGD(0.1), **options)
    rng = np.random.default_rng(5)
    host = model.backend.to_numpy
    model.params = tree.map(lambda leaf: host(leaf) + 0.1 * rng.standard_normal(leaf.shape), model.params)
    model.statistics = tree.map(lambda leaf: host(leaf) + 0.3 * rng.random(leaf.shape), model.statistics)
    return model
