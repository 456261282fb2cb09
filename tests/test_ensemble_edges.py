"""Ensembles at the edges: networks that leave, return and differ, callbacks that change them, odd arguments."""

import copy
import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from test_ensemble import CE, MLP, assert_equal, both, drawn, host
from xpnet import losses, nn, optim, tree
from xpnet.backend import namespace
from xpnet.errors import DivergedError
from xpnet.train.reporting import MetricsFile

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


def test_networks_whose_layers_give_other_shapes() -> None:
    """Inside: the paddings, pools and shortcuts of networks with the same parameters."""
    x = np.random.default_rng(0).normal(size=(7, 6, 6, 1))
    nets = [
        nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 2, 3, stride, padding), nn.Dropout(rate)), nn.Tanh(), pool,
            nn.GlobalAvgPool(), nn.Linear(2, 3),
        )
        for stride, padding, rate, pool in (
            (1, 0, 0.3, nn.MaxPool2d(2)), (1, "same", 0.3, nn.AvgPool2d(2)), (2, 0, 0.1, nn.Identity())
        )
    ]  # fmt: skip
    both(x, Y[:7], nets)


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


def test_a_network_diverges_after_another_has_stopped_in_the_same_epoch() -> None:
    """It goes back to the start of the epoch, with the message of a `Model`."""
    net, rates = nn.Linear(6, 3), [optim.SGD(0.1), optim.SGD(0.1), optim.SGD(1e200)]
    model = xpnet.Model(net, losses.MeanSquaredError(), rates[2], seed=2, **ONE)
    found = xpnet.Ensemble(net, losses.MeanSquaredError(), rates, seeds=(0, 1, 2), **ONE)
    with pytest.raises(DivergedError) as error:
        model.fit(X, Y, epochs=1, batch_size=4)
    with pytest.warns(UserWarning, match="network 2 .* has diverged"):
        found.fit(X, Y, epochs=1, batch_size=4, callbacks=StopsNetwork(1, 1))
    assert found.diverged == {2: str(error.value)}
    assert_equal(found[2], model, 0)
    assert [(each.epoch, each.epoch_step) for each in found] == [(1, 0), (0, 1), (0, 0)]


def test_a_network_that_stops_since_it_diverges_is_found_after_an_interruption() -> None:
    class Watches(xpnet.Callback):
        each_network = True

        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            model.running_loss(step)

    class Fails(xpnet.Callback):
        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            if step == n_steps:
                raise KeyboardInterrupt

    rates = [optim.SGD(0.1), optim.SGD(1e200)]
    found = xpnet.Ensemble(nn.Linear(6, 3), losses.MeanSquaredError(), rates, seeds=(0, 1), **ONE)
    with pytest.raises(KeyboardInterrupt):
        found.fit(X, Y, epochs=1, batch_size=6, callbacks=[Watches(), Fails()])
    with pytest.warns(UserWarning, match="network 1 .* has diverged"):
        found.fit(X, Y, epochs=1, batch_size=6)
    assert found.diverged.keys() == {1}
    assert found[0].epoch == 1


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


@pytest.mark.parametrize("train_metrics", ["running", "end"])
def test_callbacks_of_the_ensemble_get_the_means_of_its_networks(train_metrics: str) -> None:
    """Of those that are left, with None for what is not measured; also in the ensemble's own history."""

    class Keeps(xpnet.Callback):
        def on_epoch(self, model: Any, metrics: Any) -> None:
            kept.append((model.epoch, metrics))

    kept: list[Any] = []
    rates = [optim.SGD(0.1), optim.SGD(0.3), optim.SGD(1e200)]
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    found = xpnet.Ensemble(net, CE, rates, seeds=(0, 1, 2), **ONE)
    with pytest.warns(UserWarning, match="network 2 .* has diverged"):
        found.fit(
            X,
            Y,
            epochs=2,
            batch_size=4,
            validation=(X[:5], Y[:5]),
            train_metrics=train_metrics,
            callbacks=Keeps(),
        )
    assert [epoch for epoch, _ in kept] == [1, 2]
    for number, (_, metrics) in enumerate(kept, 1):
        own = [found[k].history[number - 1] for k in (0, 1)]
        assert (metrics.epoch, metrics.train_metrics, metrics.test_loss) == (number, train_metrics, None)
        for name in (
            "train_loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
            "learning_rate",
        ):
            assert getattr(metrics, name) == pytest.approx(np.mean([getattr(row, name) for row in own]))


# Callbacks that change a network.


WAYS: dict[str, Any] = {
    "params": lambda model: setattr(model, "params", tree.map(lambda p: p / 2, model.params)),
    "optimizer": lambda model: setattr(model, "optimizer", optim.SGD(0.02)),
    "l2": lambda model: setattr(model, "l2", 0.5),
}


class Assigns(xpnet.Callback):
    """Assign something to each network after a step, or after an epoch."""

    each_network = True

    def __init__(self, what: str, hook: str) -> None:
        self.what, self.hook = what, hook

    def on_step(self, model: Any, step: int, n_steps: int) -> None:
        if self.hook == "on_step" and model.seed == 1:
            WAYS[self.what](model)

    def on_epoch(self, model: Any, metrics: Any) -> None:
        if self.hook == "on_epoch" and model.seed == 1:
            WAYS[self.what](model)


@pytest.mark.parametrize(
    ("what", "hook"),
    [("params", "on_step"), ("params", "on_epoch"), ("optimizer", "on_epoch"), ("l2", "on_epoch")],
)
def test_what_a_callback_assigns_counts_from_then_on(what: str, hook: str) -> None:
    """As for `Model`, whose `fit` goes on after that."""
    found = both(X, Y, optimizer=optim.SGD(0.1, 0.9), seeds=(0, 1), epochs=3, callbacks=[Assigns(what, hook)])
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


def test_files_of_callbacks(tmp_path: Path) -> None:
    """Those of one network never replace those of another."""

    class OfEach(xpnet.Checkpoints):
        each_network = True

    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1))
    table = MetricsFile(tmp_path / "metrics.csv")
    history = found.fit(X, Y, epochs=2, callbacks=[OfEach(tmp_path), table])
    for k, model in enumerate(found):
        alone = xpnet.Model(MLP, CE, optim.SGD(0.1), seed=k)
        alone.load_checkpoint(tmp_path / f"network-{k}" / "epoch-2-step-0.safetensors")
        assert_equal(alone, model, 0)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == [each.train_loss.mean() for each in history]


# Answers.


class TwoAxes(losses.CrossEntropy):
    """A user's loss, with code for one network: it answers 2 only where that is more likely than not."""

    def predict(self, prediction: Any) -> Any:
        xp = namespace(prediction)
        p = self.probabilities(prediction)
        return xp.where(p[:, 2] > 0.5, xp.full(p.shape[0], 2), xp.argmax(p[:, :2], axis=1))

    def probabilities(self, logits: Any) -> Any:
        assert logits.ndim == 2
        return super().probabilities(logits)


class Signs(losses.MeanSquaredError):
    """A user's loss with the classes -1 and 1."""

    def predict(self, prediction: Any) -> Any:
        return 2 * (prediction[:, 0] > 0) - 1


class Sure(losses.BinaryCrossEntropy):
    """A user's loss: class 1 from a probability of 0.6 on."""

    def predict(self, prediction: Any) -> Any:
        return 1 * (prediction[:, 0] > np.log(1.5))


def test_answers_of_a_loss_that_xpnet_does_not_know() -> None:
    found = xpnet.Ensemble(MLP, TwoAxes(), optim.SGD(0.1), seeds=(0, 1, 2))
    x = 3 * X
    np.testing.assert_array_equal(found.predict(x), [model.predict(x) for model in found])
    p = found.predict_proba(x)
    assert (p[:, 2] > 0.5).any()
    np.testing.assert_array_equal(
        found.predict(x, combine="mean"), np.where(p[:, 2] > 0.5, 2, p[:, :2].argmax(axis=1))
    )
    signs = xpnet.Ensemble(nn.Linear(6, 1), Signs(), optim.SGD(0.1), seeds=(0, 1, 2))
    np.testing.assert_array_equal(signs.predict(X, combine="vote"), np.sign(signs.predict(X).sum(axis=0)))
    sure = xpnet.Ensemble(nn.Linear(6, 1), Sure(), optim.SGD(0.1), seeds=(0, 1, 2))
    x = 9 * X
    classes, p = sure.predict(x, combine="mean"), sure.predict_proba(x)[:, 0]
    np.testing.assert_array_equal(classes, p > 0.6)
    assert classes.any()
    assert (classes != (p > 0.5)).any()


def test_the_best_network() -> None:
    """After early stopping and more epochs alone, and with a loss that is NaN."""
    found = xpnet.Ensemble(MLP, CE, optim.SGD(np.array([0.001, 0.1])), seeds=(0, 1), **ONE)
    stopping = [xpnet.EarlyStopping(2), xpnet.EarlyStopping(1, "train_loss", restore=True)]
    found.fit(X, Y, epochs=4, validation=(X, Y), callbacks=stopping)
    assert found.best() is found[1]
    found[0].optimizer = optim.SGD(0.5)
    found[0].fit(X, Y, epochs=40, validation=(X, Y))
    assert found.best() is found[0]
    assert pickle.loads(pickle.dumps(found)).best().seed == 0
    net, y = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), np.eye(3)[Y]
    nan = xpnet.Ensemble(net, losses.MeanSquaredError(), optim.SGD(0.1), seeds=(0, 1))
    with np.errstate(all="ignore"):
        nan.fit(X, y, epochs=1, validation=(np.full_like(X, 3e38), y))
    assert np.isnan(nan.history[-1].validation_loss[0])
    nan[1].fit(X, y, epochs=1, validation=(X, y))
    assert nan.best() is nan[1]


def test_an_accuracy_that_one_network_does_not_have() -> None:
    """None of its examples counts."""
    y = np.stack([Y, np.full_like(Y, -1)])
    found = xpnet.Ensemble(MLP, losses.CrossEntropy(ignore_label=-1), optim.SGD(0.1), seeds=(0, 1))
    evaluated = found.evaluate(np.stack([X, X]), y, own_data=True)
    assert evaluated.accuracy.dtype == float
    assert np.isnan(evaluated.accuracy).tolist() == [False, True]


# Odd arguments.


def ensemble(**given: Any) -> xpnet.Ensemble:
    options = {"net": MLP, "loss": CE, "optimizer": optim.SGD(0.1), "seeds": (0, 1), **given}
    return xpnet.Ensemble(**options)


def fit(x: Any = X, y: Any = Y, **given: Any) -> xpnet.Ensemble:
    found = ensemble(net=given.pop("net", MLP))
    found.fit(x, y, **{"epochs": 1, **given})
    return found


def spoilt(array: Any, value: float, *place: int) -> Any:
    """Two of these arrays, with this value in one place."""
    both = np.stack([array, array])
    both[place] = value
    return both


class InOnePiece(optim.Optimizer):
    """A user's optimizer that is no dataclass."""

    def __init__(self, learning_rate: Any) -> None:
        self.learning_rate = learning_rate


def normed(layer: nn.Layer) -> nn.Layer:
    return nn.Sequential(nn.Linear(6, 3), layer)


WORDS = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(6, 3))
WORD_NUMBERS = np.zeros((11, 2), int)
RATES = np.array([0.1, 0.2])
WRONG: list[tuple[Any, str]] = [
    (lambda: fit(shuffle=1), 'fit: expected shuffle to be "each", "shared" or False, got 1'),
    (lambda: fit(shuffle=np.ones(2)), 'fit: expected shuffle to be "each", "shared" or False, got array([1., 1.])'),
    (lambda: fit(own_data=1), "Ensemble: expected own_data to be True or False, got 1"),
    (lambda: ensemble(l2=[None, 0.1]), "Ensemble: expected l2 to be a number, or 2 of them, got [None, 0.1]"),
    (lambda: ensemble(l2=[True, False]), "Ensemble: expected l2 to be a number, or 2 of them, got [True, False]"),
    (lambda: ensemble(l2=np.array([1j, 2])), "Ensemble: expected l2 to be a number, or 2 of them, got array([0.+1.j, 2.+0.j])"),
    (lambda: ensemble(l2=np.array([0.1, np.nan])), "Ensemble: expected l2 to be a number, or 2 of them, got array([0.1, nan])"),
    (lambda: ensemble(optimizer=[optim.SGD(RATES)] * 2), "Model: expected learning_rate of SGD to be a number, got an array of shape (2,); xpnet.Ensemble trains a network for each"),
    (lambda: ensemble(optimizer=[optim.ClipNorm(optim.SGD(0.1), RATES)] * 2), "Model: expected max_norm of ClipNorm to be a number, got an array of shape (2,); xpnet.Ensemble trains a network for each"),
    (lambda: ensemble(optimizer=InOnePiece(RATES)), "Model: expected learning_rate of InOnePiece to be a number, got an array of shape (2,); xpnet.Ensemble trains a network for each"),
    (lambda: xpnet.Model(MLP, CE, optim.Adam(0.1, RATES)), "Model: expected beta1 of Adam to be a number, got an array of shape (2,); xpnet.Ensemble trains a network for each"),
    (lambda: setattr(ensemble()[0], "optimizer", optim.SGD(RATES)), "Model: expected learning_rate of SGD to be a number, got an array of shape (2,); xpnet.Ensemble trains a network for each"),
    (lambda: fit(sample_weight=1.0), "sample_weight: expected weights of shape (11,), or (2, 11) for each network, got ()"),
    (lambda: fit(sample_weight=np.ones(20), validation_split=0.2), "sample_weight: expected weights of shape (11,), or (2, 11) for each network, got (20,)"),
    (lambda: fit(sample_weight=np.ones((2, 9)), validation_split=0.2), "sample_weight: expected weights of shape (11,), or (2, 11) for each network, got (2, 9)"),
    (lambda: fit(np.stack([X, X]), np.stack([Y, Y])), "CrossEntropy(): expected a network with outputs of shape (n, d), got (2, 11, 3); nn.Flatten() or nn.GlobalAvgPool() makes a row of each example; for x and y of each network write own_data=True"),
    (lambda: xpnet.Model(MLP, CE, optim.SGD(0.1)).fit(np.stack([X, X]), np.stack([Y, Y])), "CrossEntropy(): expected a network with outputs of shape (n, d), got (2, 11, 3); nn.Flatten() or nn.GlobalAvgPool() makes a row of each example"),
    (lambda: xpnet.Model(MLP, CE, optim.SGD(0.1)).fit(X, Y, sample_weight=1.0), "sample_weight: expected 11 weights of shape (11,), got ()"),
    (lambda: ensemble(net=[normed(nn.BatchNorm(3)), normed(nn.LayerNorm(3))]), "Ensemble: expected networks with the same statistics, got 1.running_mean of shape (3,) in network 0 and none in network 1"),
    (lambda: ensemble(net=[nn.Linear(6, 3, bias=False), nn.Embedding(6, 3)]).predict(X), "Ensemble: expected networks with outputs of one shape, got (n, 6, 3) from network 1 and (n, 3) from network 0"),
    (lambda: ensemble(net=[nn.Embedding(6, 3), nn.Linear(6, 3, bias=False)]).fit(Y, Y), "network 1: Linear(6, 3, bias=False): expected x of shape (n, 6), got (11,)"),
    (lambda: ensemble().restore(ensemble(seeds=(0, 1, 2)).snapshot()), "restore: expected a snapshot of 2 networks, got 3"),
    (lambda: ensemble().evaluate(X, Y, data_on_device="no"), "evaluate: expected data_on_device to be True or False, got 'no'"),
    (lambda: ensemble().evaluate(spoilt(X, np.nan, 1, 4, 2), spoilt(Y, 0, 0, 0), own_data=True), "network 1: expected finite numbers in x, got nan at x[4, 2]"),
    (lambda: ensemble().predict(spoilt(X, np.nan, 1, 4, 2), own_data=True), "network 1: expected finite numbers in x, got nan at x[4, 2]"),
    (lambda: fit(spoilt(X, 0, 0, 0), spoilt(Y, 7, 1, 3), own_data=True), "network 1: CrossEntropy(): expected labels from 0 to 2, got labels from 0 to 7; y[3] is 7"),
    (lambda: fit(spoilt(WORD_NUMBERS, 9, 1, 2, 1), spoilt(Y, 0, 0, 0), net=WORDS, own_data=True), "network 1: layer 0, Embedding(4, 3): expected x to hold integers from 0 to 3, got 9 at x[2, 1]"),
    (lambda: fit(spoilt(WORD_NUMBERS, 9, 1, 2, 1), spoilt(Y, 0, 0, 0), net=WORDS, own_data=True, data_on_device=False), "network 1: layer 0, Embedding(4, 3): expected x to hold integers from 0 to 3, got 9 at x[2, 1]"),
    (lambda: fit(spoilt(WORD_NUMBERS, 9, 1, 10, 1), spoilt(Y, 0, 0, 0), net=WORDS, own_data=True, data_on_device=False, shuffle=False), "network 1: layer 0, Embedding(4, 3): expected x to hold integers from 0 to 3, got 9 at x[10, 1]"),
    (lambda: ensemble(net=WORDS).evaluate(spoilt(WORD_NUMBERS, 9, 1, 2, 1), spoilt(Y, 0, 0, 0), own_data=True, data_on_device=False), "network 1: layer 0, Embedding(4, 3): expected x to hold integers from 0 to 3, got 9 at x[2, 1]"),
    (lambda: fit(WORD_NUMBERS + 9 * np.eye(11, 2, -3, int), net=WORDS, data_on_device=False), "layer 0, Embedding(4, 3): expected x to hold integers from 0 to 3, got 9 at x[3, 0]"),
    (lambda: fit(spoilt(X, 0, 0, 0), spoilt(Y, 7, 1, 3), own_data=True, data_on_device=False), "network 1: CrossEntropy(): expected labels from 0 to 2, got labels from 0 to 7; y[3] is 7"),
    (lambda: fit(validation=(X, spoilt(Y, 7, 1, 3)[1])), "validation: CrossEntropy(): expected labels from 0 to 2, got labels from 0 to 7; y[3] is 7"),
    (lambda: fit(sample_weight=spoilt(np.ones(11), -1, 1, 3)), "network 1: sample_weight: expected finite weights of at least 0, one above 0, got weights from -1 to 1; sample_weight[3] is -1"),
    (lambda: fit(sample_weight=np.ones((11, 2))), "sample_weight: expected weights of shape (11,), or (2, 11) for each network, got (11, 2); pass its transpose"),
    (lambda: fit([X, X[:9]], [Y, Y[:9]], own_data=True), "own_data: expected x of one shape for all networks, got (11, 6) for network 0 and (9, 6) for network 1; fill up the shorter ones, with sample_weight 0 for what is filled up"),
    (lambda: ensemble().predict(np.stack([X, X])), "CrossEntropy(): expected a network with outputs of shape (n, d), got (2, 11, 3); nn.Flatten() or nn.GlobalAvgPool() makes a row of each example; for x of each network write own_data=True"),
    (lambda: ensemble().predict(np.zeros((2, 11, 5))), "layer 0, Linear(6, 5): expected x of shape (n, 6), got (2, 11, 5)"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "line"), WRONG, ids=[line[:40] for _, line in WRONG])
def test_errors_say_what_is_wrong_in_one_line(wrong: Any, line: str) -> None:
    with pytest.raises(xpnet.Error) as error:
        wrong()
    assert str(error.value) == line


def test_numbers_in_arrays_without_axes() -> None:
    """Of float32, as one hyper-parameter for all or in a list."""
    rate = np.array(0.1, np.float32)
    optimizers = optim.ClipNorm(optim.SGD(rate), np.array(1.0, np.float32)), [optim.SGD(rate), optim.Adam()]
    for optimizer in optimizers:
        found = ensemble(optimizer=optimizer)
        found.fit(X, Y, epochs=1, shuffle=np.True_)
        assert found[0].learning_rate == float(rate)


def test_weights_in_one_part_of_an_epoch() -> None:
    for first, second, line in (
        (None, np.ones(11), "expected no sample_weight, as in the interrupted epoch, got one"),
        (np.ones(11), None, "expected a sample_weight, as in the interrupted epoch, got none"),
    ):
        found = ensemble()
        found.fit(X, Y, epochs=1, batch_size=4, sample_weight=first, callbacks=StopsNetwork(1, 0, 1))
        with pytest.raises(xpnet.Error, match=line + "; set ensemble.epoch_step = 0 to restart"):
            found.fit(X, Y, epochs=1, batch_size=4, sample_weight=second)


def test_own_data_with_a_validation_for_all() -> None:
    x, y = spoilt(X, 0, 0, 0), spoilt(Y, 0, 0, 0)
    found, weights = ensemble(), np.arange(11.0)
    found.fit(x, y, epochs=2, own_data=True, validation=(X, Y, weights), test=(x[:, :4], y[:, :4]))
    last = found.history[-1]
    expected = found.evaluate(X, Y, sample_weight=weights), found.evaluate(x[:, :4], y[:, :4], own_data=True)
    for loss, accuracy, (expected_loss, expected_accuracy, _) in (
        (last.validation_loss, last.validation_accuracy, expected[0]),
        (last.test_loss, last.test_accuracy, expected[1]),
    ):
        np.testing.assert_array_equal(loss, expected_loss)
        np.testing.assert_array_equal(accuracy, expected_accuracy)
    with pytest.raises(xpnet.Error, match=r"validation: own_data: expected x of one shape for all networks"):
        found.fit(x, y, own_data=True, validation=([X, X[:3]], [Y, Y[:3]]))


def test_a_network_whose_own_data_is_not_finite() -> None:
    """The message is that of a `Model`."""
    x, y = spoilt(X, np.nan, 1, 4, 2), spoilt(Y, 0, 0, 0)
    model = xpnet.Model(MLP, CE, optim.SGD(0.1), seed=1)
    with pytest.raises(DivergedError) as error:
        model.fit(x[1], y[1], epochs=1, batch_size=4)
    found = ensemble()
    with pytest.warns(UserWarning, match=r"network 1 .*nan at x\[4, 2\]"):
        found.fit(x, y, epochs=1, batch_size=4, own_data=True)
    assert found.diverged == {1: str(error.value)}
