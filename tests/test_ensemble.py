"""K networks at once: each is what a `Model` of its own gives."""

import math
from typing import Any

import numpy as np
import pytest

import cases
import xpnet
from xpnet import losses, nn, optim, tree

CE = losses.CrossEntropy()
MLP = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))
CNN = nn.Sequential(
    nn.Conv2d(1, 2, 3, padding="same"), nn.BatchNorm(2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
)  # fmt: skip
SEEDS = (3, 1, 4)


def drawn(shape: tuple[int, ...] = (6,), n: int = 11, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, *shape)), rng.integers(classes, size=n)


def host(model: xpnet.Model) -> dict[str, np.ndarray]:
    """The parameters, statistics and optimizer state of a model, by name."""
    state = {"params": model.params, "statistics": model.statistics, "optimizer": model.state.optimizer}
    return {name: np.asarray(model.backend.to_numpy(array)) for name, array in tree.items(state)}


def assert_equal(found: xpnet.Model, expected: xpnet.Model, tolerance: float = 1e-12) -> None:
    mine, other = host(found), host(expected)
    assert mine.keys() == other.keys()
    for name, array in other.items():
        np.testing.assert_allclose(mine[name], array, rtol=0, atol=tolerance, err_msg=name)
    assert (found.epoch, found.epoch_step) == (expected.epoch, expected.epoch_step)
    assert len(found.history) == len(expected.history)
    for one, two in zip(found.history, expected.history, strict=True):
        for field in (
            "train_loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
            "learning_rate",
        ):
            mine, other = getattr(one, field), getattr(two, field)
            assert mine is other is None or abs(mine - other) <= 1e-12, field


def both(
    x: Any, y: Any, net: Any = MLP, loss: Any = CE, optimizer: Any = None, seeds: Any = SEEDS, **given: Any
) -> xpnet.Ensemble:
    """An ensemble after `fit`, checked against a `Model` for each of its networks."""
    optimizer = optimizer or optim.SGD(0.1, momentum=0.9)
    of_model = {
        key: given.pop(key) for key in ("backend", "device", "l2", "augment", "micro_batch") if key in given
    }
    given = {"epochs": 2, "batch_size": 4, **given}
    found = xpnet.Ensemble(net, loss, optimizer, seeds=seeds, dtype="float64", **of_model)
    found.fit(x, y, **given)
    for k, seed in enumerate(seeds):
        own = {name: value[k] if isinstance(value, list) else value for name, value in of_model.items()}
        model = xpnet.Model(
            net[k] if isinstance(net, list) else net,
            loss,
            optimizer[k] if isinstance(optimizer, list) else optimizer,
            seed=seed,
            dtype="float64",
            **own,
        )
        model.fit(x, y, **(given | {"shuffle": bool(given.get("shuffle", True))}))
        assert_equal(found[k], model)
    return found


# Layers.


@pytest.mark.parametrize("case", cases.LAYERS, ids=str)
def test_every_layer(case: cases.LayerCase) -> None:
    """In a network that ends in a Linear layer; also where no other layer has parameters before it."""
    _, *example = case.layer.output_shape(("n", *case.shape[1:]))
    net = nn.Sequential(case.layer, nn.Flatten(), nn.Linear(math.prod(example), 3))
    rng, n = np.random.default_rng(0), 7
    shape = n, *case.shape[1:]
    x = rng.integers(case.entries, size=shape) if case.entries else rng.normal(size=shape)
    if len(case.shape) == 2 and type(case.layer) is not nn.Embedding:
        net = nn.Sequential(nn.Linear(case.shape[1], case.shape[1], bias=False), net)  # and with a gradient
    both(x, rng.integers(3, size=n), net, seeds=(5, 2), optimizer=optim.SGD(0.1), epochs=1, batch_size=5)
