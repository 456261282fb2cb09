"""Ensembles at the edges: networks that leave, return and differ, callbacks that change them, odd arguments."""

import copy
from typing import Any

import numpy as np
import pytest

import xpnet
from test_ensemble import CE, MLP, assert_equal, both, drawn, host
from xpnet import losses, nn, optim, tree

X, Y = drawn()
ONE = {"dtype": "float64"}


class StopsNetwork(xpnet.Callback):
    """Stop the networks of these seeds after a step of the first epoch."""

    each_network = True

    def __init__(self, step: int, *seeds: int) -> None:
        self.step, self.seeds = step, seeds

    def on_step(self, model: Any, step: int, n_steps: int) -> None:
        if (model.epoch, step) == (0, self.step) and model.seed in self.seeds:
            model.stop()


def test_an_average_of_weights_for_one_network_alone() -> None:
    """Its batch normalisation has statistics of their own for the average."""
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm(4), nn.Linear(4, 3))
    optimizers = [optim.SGD(0.1), optim.AverageWeights(optim.SGD(0.1), 0.5), optim.Adam()]
    both(X, Y, net, optimizer=optimizers, validation=(X, Y))


def test_the_learning_rate_of_an_epoch_that_ended_in_an_exception() -> None:
    """Resumed after its last step, by a copy, which has no learning rate of before."""

    class Fails(xpnet.Callback):
        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            if step == n_steps:
                raise KeyboardInterrupt

    found = xpnet.Ensemble(MLP, CE, optim.SGD(np.array([0.1, 0.2])), seeds=(0, 1))
    with pytest.raises(KeyboardInterrupt):
        found.fit(X, Y, epochs=1, batch_size=4, callbacks=Fails())
    found = copy.deepcopy(found)
    assert found.fit(X, Y, epochs=1, batch_size=4)[0].learning_rate.tolist() == [0.1, 0.2]


def test_a_network_that_diverged_in_a_resumed_epoch_ends_the_fit_for_all() -> None:
    """It is back within that epoch. The next fit trains the networks that had stopped in this one."""
    found = xpnet.Ensemble(
        nn.Linear(6, 3), losses.MeanSquaredError(), [optim.SGD(0.1), optim.SGD(1e200)], seeds=(0, 1), **ONE
    )

    class StopsAll(xpnet.Callback):
        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            model.stop()

    found.fit(X, Y, epochs=1, batch_size=6, callbacks=StopsAll())
    assert found[1].epoch_step == 1
    with pytest.warns(UserWarning, match="network 1 .* has diverged"):
        found.fit(X, Y, epochs=9, batch_size=6, callbacks=xpnet.EarlyStopping(1, "train_loss", 10.0))
    before = found[0].epoch
    found.fit(X, Y, epochs=2, batch_size=6)
    assert found[0].epoch == before + 2


def test_a_network_that_stopped_within_an_epoch_comes_back() -> None:
    """With the others in step, or alone first; all of them with their callbacks, as they were."""
    plain = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1), **ONE)
    plain.fit(X, Y, epochs=4, batch_size=4)
    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1), **ONE)
    stops = StopsNetwork(2, 0, 1)
    found.fit(X, Y, epochs=2, batch_size=4, callbacks=stops)
    kept = found.callbacks_of(1)
    assert [(model.epoch, model.epoch_step) for model in found] == [(0, 2), (0, 2)]
    found.fit(X, Y, epochs=4, batch_size=4, callbacks=stops)
    assert found.callbacks_of(1) == kept
    for k in range(2):
        assert_equal(found[k], plain[k], 0)
    one = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1), **ONE)
    one.fit(X, Y, epochs=2, batch_size=4, callbacks=StopsNetwork(2, 0))
    with pytest.raises(xpnet.Error, match="expected all networks at the same step of an epoch"):
        one.fit(X, Y, epochs=2, batch_size=4)
    one[0].fit(X, Y, epochs=2, batch_size=4)
    one.fit(X, Y, epochs=2, batch_size=4)
    for k in range(2):
        assert_equal(one[k], plain[k])


# Callbacks that change a network.


class Assigns(xpnet.Callback):
    """Assign something to each network after a step, or after an epoch."""

    each_network = True
    ways: Any = {
        "params": lambda model: setattr(model, "params", tree.map(lambda p: p / 2, model.params)),
        "optimizer": lambda model: setattr(model, "optimizer", optim.SGD(0.02)),
        "l2": lambda model: setattr(model, "l2", 0.5),
    }

    def __init__(self, what: str, hook: str) -> None:
        self.what, self.hook = what, hook

    def on_step(self, model: Any, step: int, n_steps: int) -> None:
        if self.hook == "on_step" and model.seed == 1:
            self.ways[self.what](model)

    def on_epoch(self, model: Any, metrics: Any) -> None:
        if self.hook == "on_epoch" and model.seed == 1:
            self.ways[self.what](model)


@pytest.mark.parametrize(
    ("what", "hook"),
    [("params", "on_step"), ("params", "on_epoch"), ("optimizer", "on_epoch"), ("l2", "on_epoch")],
)
def test_what_a_callback_assigns_counts_from_then_on(what: str, hook: str) -> None:
    """As for `Model`, whose `fit` goes on after that."""
    found = both(
        X, Y, optimizer=optim.SGD(0.1, 0.9), seeds=(0, 1), epochs=3, callbacks=[Assigns(what, hook)]
    )
    assert [model.epoch for model in found] == [3, 3]
    plain = both(X, Y, optimizer=optim.SGD(0.1, 0.9), seeds=(0, 1), epochs=3, first=2)
    assert_equal(found[0], plain[0])
    assert not np.allclose(host(found[1])["params.0.weight"], host(plain[1])["params.0.weight"])


def test_another_optimizer_within_an_epoch() -> None:
    """The other networks go on as they were; what another callback reads in between changes nothing."""

    class Reads(xpnet.Callback):
        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            assert model[1].optimizer == optim.SGD(0.02)
            model.snapshot()

    plain = both(X, Y, optimizer=optim.Adam(), seeds=(0, 1), epochs=2, first=2)
    found = xpnet.Ensemble(MLP, CE, optim.Adam(), seeds=(0, 1), **ONE)
    found.fit(X, Y, epochs=2, batch_size=4, callbacks=[Assigns("optimizer", "on_step"), Reads()])
    assert_equal(found[0], plain[0])
    assert found[1].state.optimizer == {}
    assert found.history[-1].learning_rate.tolist() == [0.001, 0.02]
