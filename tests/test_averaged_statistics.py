"""Averaged weights are evaluated with statistics of their own, through every door."""

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import fetch
from xpnet import data, losses, nn, optim, random, tree
from xpnet._training import checkpoint
from xpnet.backend import namespace
from xpnet.optim import steps

DENSE = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm(16), nn.Tanh(), nn.Linear(16, 3))
CNN = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding="same"),
    nn.BatchNorm(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.BatchNorm(8), nn.ReLU())),
    nn.GlobalAvgPool(),
    nn.Linear(8, 3),
)
AVERAGE = optim.AverageWeights(optim.SGD(0.1, 0.9), 0.95)


def make_model(
    net: nn.Layer = DENSE, optimizer: optim.Optimizer = AVERAGE, place: Place = ("numpy", None), **options
) -> xpnet.Model:
    options = {"dtype": "float64", "seed": 3} | options
    return xpnet.Model(net, losses.CrossEntropy(), optimizer, place[0], device=place[1], **options)


def points(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6)) * 5 + 3
    return x, (x[:, 0] * x[:, 1] > 9) + (x[:, 2] > 3).astype(int)


def images(n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(0).normal(size=(n, 10, 10, 1)), np.arange(n) % 3
    return x + 3 * (y == 1)[:, None, None, None] * np.linspace(0, 1, 10)[:, None] - 2 * (y == 2)[
        :, None, None, None
    ], y


def recomputed(net: nn.Layer, variables: tree.Tree, x: np.ndarray) -> tree.Tree:
    """The variables with the statistics of all of x, by the layers' own rule without the part of before."""
    layer, before = net.training_mode(random.Key(np.zeros(1, np.int32))), net.init_statistics()
    _, residuals = layer.forward(variables, x)
    new = layer.new_statistics(before, residuals)
    return with_statistics(variables, tree.map(lambda a, b: (b - 0.9 * a) / 0.1, before, new))


def with_statistics(variables: tree.Tree, statistics: tree.Tree) -> tree.Tree:
    return tree.replace(variables, dict(tree.items(variables)) | dict(tree.items(statistics)))


def loss_with(net: nn.Layer, variables: tree.Tree, x: np.ndarray, y: np.ndarray) -> float:
    other = make_model(net, optim.SGD(0.1))
    other.restore(variables)
    return other.evaluate(x, y).loss


def noisy_points() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(2000, 10)) * 5 + 3
    return x, (x[:, 0] * x[:, 1] > 9).astype(int)


WIDE = nn.Sequential(nn.Linear(10, 64), nn.BatchNorm(64), nn.ReLU(), nn.Linear(64, 2))


@pytest.mark.parametrize(
    ("net", "examples", "rate", "batch_size"),
    [(WIDE, noisy_points(), 0.01, 64), (CNN, images(), 0.02, 40)],
    ids=["dense", "convolutional"],
)
def test_evaluation_is_as_good_as_with_recomputed_statistics(
    net: nn.Layer, examples: tuple[np.ndarray, np.ndarray], rate: float, batch_size: int, tmp_path: Path
) -> None:
    x, y = examples
    model = make_model(net, optim.AverageWeights(optim.Adam(rate), 0.98))
    told = model.fit(x, y, epochs=10, batch_size=batch_size, validation=(x, y))
    expected = loss_with(net, recomputed(net, model.snapshot(), x), x, y)
    raw = with_statistics(model.snapshot(), model.statistics)
    assert loss_with(net, raw, x, y) > 1.1 * expected
    found = model.evaluate(x, y).loss
    assert found < 1.05 * expected
    assert told[-1].validation_loss == found == loss_with(net, model.snapshot(), x, y)
    model.save(tmp_path / "model.npz")
    loaded = make_model(net)
    loaded.load(tmp_path / "model.npz")
    assert loaded.evaluate(x, y).loss == found
    model.eval()
    model.forward(x)
    assert model.loss(y) == pytest.approx(found)


def test_early_stopping_goes_back_to_them() -> None:
    model = make_model(CNN)
    x, y = images(90)
    told = model.fit(
        x[:60],
        y[:60],
        epochs=15,
        batch_size=20,
        validation=(x[60:], y[60:]),
        callbacks=[xpnet.EarlyStopping(3)],
    )
    assert model.evaluate(x[60:], y[60:]).loss == min(metrics.validation_loss for metrics in told)


def trained(
    place: Place = ("numpy", None), net: nn.Layer = CNN, n: int = 30, **options
) -> dict[str, np.ndarray]:
    model = make_model(net, place=place, **options)
    model.fit(*images(n), epochs=2, batch_size=10)
    return dict(tree.items(fetch(model.backend, model.snapshot())))


def assert_near(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-9
) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


def test_every_library_has_the_same(place: Place) -> None:
    assert_near(trained(place), trained())


@pytest.mark.usefixtures("two_threads")
def test_parts_over_the_cores_have_those_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(micro_batch=10)
    monkeypatch.setattr(xpnet.backend.NumPy, "workers", 4)
    monkeypatch.setattr(xpnet.backend.NumPy, "part_bytes", (1, 16 << 20))
    assert_near(trained(), whole)
    uneven = trained(micro_batch=4)
    assert all(np.isfinite(array).all() for array in uneven.values())


def test_steps_by_hand_are_those_of_fit() -> None:
    x, y = images(30)
    fitted, by_hand = make_model(CNN), make_model(CNN)
    fitted.fit(x, y, epochs=2, batch_size=10)
    for epoch in range(2):
        for x_batch, y_batch in data.batches(x, y, batch_size=10, seed=3, epoch=epoch):
            by_hand.forward(x_batch)
            by_hand.zero_grads()
            by_hand.backward(y_batch)
            by_hand.step()
    assert_near(dict(tree.items(by_hand.snapshot())), dict(tree.items(fitted.snapshot())))


def test_a_resumed_training_and_copies_go_on_bit_for_bit(tmp_path: Path) -> None:
    x, y = images(30)
    unbroken, model = make_model(CNN), make_model(CNN)
    unbroken.fit(x, y, epochs=3, batch_size=10)
    model.fit(x, y, epochs=1, batch_size=10)
    model.save_checkpoint(tmp_path / "checkpoint")
    resumed = make_model(CNN)
    resumed.load_checkpoint(tmp_path / "checkpoint")
    for each in (resumed, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert each.evaluate(x, y) == model.evaluate(x, y)
        each.fit(x, y, epochs=2, batch_size=10)
        for found, expected in zip(tree.leaves(each.state[:3]), tree.leaves(unbroken.state[:3]), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert each.evaluate(x, y) == unbroken.evaluate(x, y)


@pytest.mark.parametrize("optimizer", [AVERAGE, optim.SGD(0.1)], ids=["averaged", "plain"])
def test_a_checkpoint_of_an_earlier_version_can_be_read(optimizer: optim.Optimizer, tmp_path: Path) -> None:
    """The averaged network then starts with the statistics of the other one."""
    model = make_model(optimizer=optimizer)
    model.fit(*points(), epochs=1)
    saved = checkpoint.capture(model._training, model.backend, model.seed)
    del saved["averaged_statistics"]
    checkpoint.write(tmp_path / "checkpoint", saved)
    resumed = make_model(optimizer=optimizer)
    resumed.load_checkpoint(tmp_path / "checkpoint")
    expected = tree.merge(optimizer.evaluation_params(model.params, model.state.optimizer), model.statistics)
    assert_near(dict(tree.items(resumed.snapshot())), dict(tree.items(expected)), 0)
    resumed.fit(*points(), epochs=1)


@dataclass(frozen=True)
class Lookahead(optim.Optimizer):
    """A user's own optimizer: every other step, the slow weights go half of the way to the fast ones."""

    learning_rate: steps.Number

    def init(self, params: Any) -> Any:
        zero = steps.start_weight(0.5, params)
        return {"slow": steps.copy(params), "step": zero}

    def update(self, params: Any, grads: Any, state: Any) -> Any:
        params = steps.descend(params, grads, self.learning_rate)
        step = state["step"] + 1
        share = 0.5 * (step % 2 == 0)
        slow = tree.map(lambda a, b: a + namespace(a).astype(share, a.dtype) * (b - a), state["slow"], params)
        return params, {"slow": slow, "step": step}

    def evaluation_params(self, params: Any, state: Any) -> Any:
        return state["slow"]


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.ClipNorm(AVERAGE, 1.0),
        optim.AverageWeights(optim.ClipValue(optim.Adam(0.02), 1.0), 0.95),
        optim.AverageWeights(AVERAGE, 0.9),
        Lookahead(0.1),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_any_optimizer_that_evaluates_other_weights(optimizer: optim.Optimizer) -> None:
    x, y = points(600)
    model = make_model(optimizer=optimizer)
    model.fit(x, y, epochs=10, batch_size=40)
    assert set(tree.shapes(model.state.averaged_statistics)) == set(tree.shapes(model.statistics))
    expected = loss_with(DENSE, recomputed(DENSE, model.snapshot(), x), x, y)
    assert model.evaluate(x, y).loss < 1.05 * expected


class Largest(NamedTuple):
    value: Any


@dataclass(frozen=True, repr=False)
class LargestSoFar(nn.Layer):
    """A user's own layer that measures its inputs, in no other mode: x, and the largest |x| of training."""

    def init_statistics(self) -> Any:
        return {"largest": np.zeros(())}

    def forward(self, params: Any, x: Any) -> Any:
        return x, Largest(namespace(x).max(namespace(x).abs(x)))

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return dy, {}

    def new_statistics(self, statistics: Any, residuals: Any) -> Any:
        return {"largest": namespace(residuals.value).maximum(statistics["largest"], residuals.value)}


def test_a_user_s_own_statistics(place: Place) -> None:
    """They are collected in `fit` also if the layer has no mode of its own for training."""
    net = nn.Sequential(nn.Linear(6, 4), LargestSoFar(), nn.Linear(4, 3))
    x, y = points(40)
    model = make_model(net, optim.AverageWeights(optim.SGD(0.3), 0.95), place)
    first = float(np.abs(x @ make_model(net).params[0]["weight"]).max())
    model.fit(x, y, epochs=1, batch_size=40)
    assert float(model.statistics[1]["largest"]) == pytest.approx(first)
    model.fit(x, y, epochs=30, batch_size=40)
    averaged, raw = (float(each[1]["largest"]) for each in (model.snapshot(), model.statistics))
    assert first <= averaged < raw


def test_assigned_statistics_and_another_optimizer_start_anew() -> None:
    x, y = points()
    model = make_model()
    model.fit(x, y, epochs=1)
    ones = tree.map(np.ones_like, model.statistics)
    model.statistics = ones
    assert_near(dict(tree.items(model.state.averaged_statistics)), dict(tree.items(ones)), 0)
    model.fit(x, y, epochs=1)
    model.params = model.params
    assert_near(
        dict(tree.items(model.snapshot())), dict(tree.items(tree.merge(model.params, model.statistics))), 0
    )
    model.optimizer = optim.SGD(0.1, 0.9)
    assert model.state.averaged_statistics == {}
    model.fit(x, y, epochs=1)
    model.optimizer = AVERAGE
    assert_near(dict(tree.items(model.state.averaged_statistics)), dict(tree.items(model.statistics)), 0)
    model.fit(x, y, epochs=1)
    averaged = model.state.averaged_statistics
    model.optimizer = optim.AverageWeights(optim.SGD(0.01, 0.9), 0.9)  # takes over the state
    assert model.state.averaged_statistics is averaged


COUNTED: list[int] = []


@dataclass(frozen=True, repr=False)
class Counts(nn.Identity):
    def forward(self, params: Any, x: Any) -> Any:
        COUNTED.append(len(x))
        return super().forward(params, x)

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return super().backward(params, residuals, dy)


@pytest.mark.parametrize(
    ("optimizer", "norm", "passes"),
    [
        (AVERAGE, nn.BatchNorm(16), 2),
        (AVERAGE, nn.LayerNorm(16), 1),
        (AVERAGE.optimizer, nn.BatchNorm(16), 1),
    ],
    ids=str,
)
def test_only_what_needs_it_pays_for_a_second_pass(
    optimizer: optim.Optimizer, norm: nn.Layer, passes: int
) -> None:
    x, y = points(40)
    model = make_model(nn.Sequential(nn.Linear(6, 16), norm, Counts(), nn.Linear(16, 3)), optimizer)
    COUNTED.clear()
    model.fit(x, y, epochs=1, batch_size=40)
    assert COUNTED.count(40) == passes
