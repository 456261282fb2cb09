"""Batch normalisation of one value, which has no variance: running statistics normalise it and stay as they are."""

import warnings
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_close, fetch
from xpnet import gradcheck, losses, nn, optim, random, tree
from xpnet.errors import ConfigError, ShapeError, TrainingWarning

NET = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 3))
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(65, 4)), RNG.integers(0, 3, 65)
MESSAGE = (
    "BatchNorm(8): expected 2 or more values of each feature in a batch, got 1, without a variance; the running "
    "statistics normalise it and stay as they are; another batch_size or micro_batch helps"
)


def make_model(net: nn.Layer = NET, place: Place = ("numpy", None), **options: Any) -> xpnet.Model:
    options = {"optimizer": optim.SGD(0.1), "dtype": "float64"} | options
    return xpnet.Model(net, losses.CrossEntropy(), backend=place[0], device=place[1], **options)


def test_the_last_batch_of_an_epoch(place: Place) -> None:
    """65 examples in batches of 64: one warning, at the line that calls `fit`, and the statistics of the 64."""
    model, expected = (make_model(optimizer=optim.SGD(0.0), place=each) for each in (place, ("numpy", None)))
    with pytest.warns(TrainingWarning) as told:
        model.fit(X, Y, epochs=3, batch_size=64, shuffle=False)
    assert [str(warning.message) for warning in told] == [MESSAGE]
    if place[0] != "jax":  # XLA traces the step below frames of its own
        assert told[0].filename == __file__
    expected.fit(X[:64], Y[:64], epochs=3, batch_size=64, shuffle=False)
    assert_close(model.backend, model.statistics, fetch(expected.backend, expected.statistics), 1e-12)


def test_it_may_be_made_an_error_of_one_line() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(xpnet.Error) as error:
            make_model().fit(X, Y, epochs=1, batch_size=64)
    assert str(error.value) == MESSAGE


@pytest.mark.parametrize(
    "options", [{}, {"micro_batch": 1}, {"optimizer": optim.AverageWeights(optim.SGD(0.1), 0.5)}]
)
def test_batches_of_one_train_the_network_that_is_evaluated(options: dict[str, Any]) -> None:
    """The loss falls, and with a learning rate of 0 it is the loss of evaluation."""
    batch_size = 13 if "micro_batch" in options else 1
    model = make_model(**options)
    with pytest.warns(TrainingWarning):
        told = model.fit(X, Y, epochs=20, batch_size=batch_size)
    for name, array in tree.items(model.statistics):
        np.testing.assert_array_equal(array, np.ones(8) if "variance" in name else np.zeros(8))
    assert told[-1].train_loss < 0.9 * told[0].train_loss
    if "optimizer" not in options:
        assert model.evaluate(X, Y).loss < 1.1 * told[-1].train_loss
    still = make_model(optimizer=optim.SGD(0.0), micro_batch=options.get("micro_batch"))
    with pytest.warns(TrainingWarning):
        told = still.fit(X, Y, epochs=1, batch_size=batch_size)
    assert still.evaluate(X, Y).loss == pytest.approx(told[-1].train_loss, rel=1e-12)


def test_a_step_by_hand(place: Place) -> None:
    """It is that of evaluation, with its gradients."""
    model = make_model(place=place)
    model.fit(X[:60], Y[:60], epochs=2, batch_size=20)
    before = fetch(model.backend, model.statistics)
    with pytest.warns(TrainingWarning, match="BatchNorm"):
        model.forward(X[:1])
    y = fetch(model.backend, model.forward(X[:1]))  # a second warning would be an error
    model.zero_grads()
    model.backward(Y[:1])
    grads = fetch(model.backend, model.grads)
    model.eval()
    model.zero_grads()
    np.testing.assert_allclose(y, fetch(model.backend, model.forward(X[:1])), rtol=1e-12)
    model.backward(Y[:1])
    assert_close(model.backend, model.grads, grads, 1e-12)
    assert_close(model.backend, model.statistics, before, 1e-15)
    gradcheck.check(model, X[:1], Y[:1])


def test_the_last_micro_batch_of_one_counts_as_no_measurement() -> None:
    """9 examples in micro-batches of 4: 8/9 of the new statistics come from the two others."""
    model = make_model(optimizer=optim.SGD(0.0), micro_batch=4)
    with pytest.warns(TrainingWarning):
        model.fit(X[:9], Y[:9], epochs=1, batch_size=9, shuffle=False)
    hidden = X[:8] @ model.params[0]["weight"]
    means = [0.1 * part.mean(axis=0) for part in (hidden[:4], hidden[4:])]
    expected = 4 / 9 * (means[0] + means[1])
    np.testing.assert_allclose(model.statistics[1]["running_mean"], expected, rtol=1e-12)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 2}])
def test_one_example_with_several_positions_is_a_batch(
    options: dict[str, int], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """And so are two examples in two parts of a batch, which share their sums. No warning."""
    monkeypatch.setattr(xpnet.backend.NumPy, "workers", 2)
    monkeypatch.setattr(xpnet.backend.NumPy, "part_bytes", (1, 16 << 20))
    kernel = 2 if options["batch_size"] == 1 else 4  # an output of 3 x 3 or of one position
    net = nn.Sequential(nn.Conv2d(1, 8, kernel), nn.BatchNorm(8), nn.GlobalAvgPool(), nn.Linear(8, 3))
    model = make_model(net)
    model.fit(rng.normal(size=(4, 4, 4, 1)), Y[:4], epochs=1, **options)
    assert np.all(model.statistics[1]["running_mean"] != 0)
    assert np.all(model.statistics[1]["running_variance"] < 1)


def test_a_stack_of_networks(rng: np.random.Generator) -> None:
    norm = nn.BatchNorm(2)
    layer = norm.training_mode(random.Key(None))
    variables = {
        "scale": np.ones((3, 2)), "shift": np.zeros((3, 2)),
        "running_mean": np.full((3, 2), 1.0), "running_variance": np.full((3, 2), 4.0),
    }  # fmt: skip
    x = rng.normal(size=(3, 1, 2))
    y, residuals = layer.forward(variables, x)
    np.testing.assert_allclose(y, (x - 1) / np.sqrt(4 + norm.epsilon))
    dx, grads = layer.backward(variables, residuals, x)
    np.testing.assert_allclose(dx, x / np.sqrt(4 + norm.epsilon))
    assert grads["scale"].shape == (3, 2)
    assert layer.new_statistics({"running_mean": 0}, residuals) == {"running_mean": 0}


def test_an_empty_batch_is_refused(rng: np.random.Generator) -> None:
    layer = nn.BatchNorm(4).training_mode(random.Key(None))
    with pytest.raises(ShapeError) as error:
        layer.forward(nn.BatchNorm(4).init(rng), np.zeros((0, 4)))
    assert str(error.value).endswith("expected x of shape (n, ..., 4) with at least one example, got (0, 4)")


def test_norms_of_one_value_within_an_example_are_refused() -> None:
    """Their output is β for any x, so that nothing before them would learn."""
    with pytest.raises(ConfigError, match=r"^LayerNorm\(1\): expected features of at least 2, got 1"):
        nn.LayerNorm(1)
    with pytest.raises(ShapeError) as error:
        make_model(nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(6, 6), nn.Linear(6, 3))).fit(X, Y)
    assert str(error.value) == (
        "layer 1, GroupNorm(6, 6): expected x of shape (n, ..., 6) with more than one value in each group, got (65, 6)"
    )
    assert nn.GroupNorm(6, 6).output_shape(("n", 2, 6)) == ("n", 2, 6)
    assert nn.GroupNorm(1, 1).output_shape((5, 2, 1)) == (5, 2, 1)
