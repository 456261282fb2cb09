"""Many training steps in one call: the same numbers as one by one, and the calls of callbacks."""

import numpy as np
import pytest

import xpnet
from conftest import MakeBackend, Place
from laws import assert_same, fetch
from xpnet import losses, nn, optim, schedules
from xpnet.backend import JAX
from xpnet.callbacks import Callback


class Steps(Callback):
    """Records the steps that it is called after, and stops the run after one of them if asked to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self.stop_at = stop_at

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        self.seen.append((step, n_steps))
        if self.stop_at is not None and len(self.seen) == self.stop_at:
            model.stop()


class Rarely(Steps):
    every_step = False


def fit(place: Place, callbacks: list[Callback], loss: losses.Loss | None = None, epochs: int = 2) -> tuple:
    """A network with every kind of state that a step changes, on 205 examples: 20 whole batches and a short one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(205, 6))
    y = rng.integers(3, size=205) if loss is None else x[:, :3]
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    model = xpnet.Model(
        net, loss or losses.CrossEntropy(), optim.Adam(0.01), place[0], device=place[1], l2=1e-3
    )
    history = model.fit(
        x, y, epochs=epochs, batch_size=10, schedule=schedules.Cosine(epochs=epochs), callbacks=callbacks
    )
    return model, history


@pytest.mark.parametrize("loss", [None, losses.MeanSquaredError()])
def test_many_steps_at_once_give_the_bits_of_single_ones(place: Place, loss: losses.Loss | None) -> None:
    at_once, history = fit(place, [], loss)
    one_by_one, expected = fit(place, [Steps()], loss)
    assert_same(at_once.backend, at_once.state, fetch(one_by_one.backend, one_by_one.state))
    for found, wanted in zip(history, expected, strict=True):
        assert found.train_loss == wanted.train_loss
        assert found.train_accuracy == wanted.train_accuracy
        assert found.learning_rate == wanted.learning_rate


def test_a_callback_sees_every_step_or_the_last_of_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    monkeypatch.setattr(JAX, "steps_at_once", 8)
    every, rarely, quiet = Steps(), Rarely(), Callback()
    fit(("jax", None), [every, quiet], epochs=1)
    assert every.seen == [(step, 21) for step in range(1, 22)]
    fit(("jax", None), [rarely, quiet], epochs=1)
    assert rarely.seen == [(8, 21), (16, 21), (20, 21), (21, 21)]
    both = Steps(), Rarely()
    fit(("jax", None), list(both), epochs=1)
    assert both[0].seen == both[1].seen == every.seen


def test_stop_ends_after_the_steps_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    monkeypatch.setattr(JAX, "steps_at_once", 8)
    model, history = fit(("jax", None), [Rarely(stop_at=2)])
    assert history == []
    assert int(model.state.step[0]) == 16


def test_a_loop_runs_the_rows_it_is_asked_for(make_backend: MakeBackend) -> None:
    place = make_backend("float64")

    def step(state, batch):
        scale, row, none = batch
        assert none is None
        return {"sum": state["sum"] + scale * row}, row

    loop = place.compile_loop(step)
    state = {"sum": place.asarray([0.0, 0.0])}
    rows = place.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    state = loop(state, (place.asarray(10.0),), (rows, None), 1, 3)
    np.testing.assert_array_equal(place.to_numpy(state["sum"]), [80, 100])
    state = loop(state, (place.asarray(10.0),), (rows, None), 3, 4)
    np.testing.assert_array_equal(place.to_numpy(state["sum"]), [150, 180])
