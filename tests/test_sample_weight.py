"""Weights of examples, ignored labels and balanced classes, in whole trainings and evaluations."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xpnet
from conftest import Place
from xpnet import callbacks, data, losses, nn, optim
from xpnet._training import judging
from xpnet.backend import namespace
from xpnet.errors import ConfigError, Error, ShapeError
from xpnet.tree import leaves

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
W = np.random.default_rng(1).integers(0, 4, 40)
REPEATED = np.repeat(np.arange(40), W)
TARGETS = {
    "labels": (losses.CrossEntropy(), Y),
    "soft": (losses.CrossEntropy(0.1, (1, 2, 0.5)), RNG.uniform(size=(40, 3)) * RNG.integers(0, 2, (40, 1))),
    "ignored": (losses.CrossEntropy(ignore_label=-100), np.where(RNG.uniform(size=40) < 0.3, -100, Y)),
    "balanced": (losses.CrossEntropy(class_weights="balanced"), Y),
    "binary": (losses.BinaryCrossEntropy([1.0, 3.0, 0.5]), RNG.uniform(size=(40, 3))),
    "real": (losses.Huber(), RNG.normal(size=(40, 3))),
    "hinge": (losses.Hinge(), Y),
}


def make(
    loss: losses.Loss = TARGETS["labels"][0], place: Place = ("numpy", None), **options: Any
) -> xpnet.Model:
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    options = {"dtype": "float64", "l2": 0.01, **options}
    return xpnet.Model(net, loss, optim.SGD(0.3, momentum=0.5), place[0], device=place[1], **options)


def parameters(model: xpnet.Model) -> np.ndarray:
    return np.concatenate([model.backend.to_numpy(leaf).ravel() for leaf in leaves(model.params)])


def assert_alike(a: xpnet.Model, b: xpnet.Model, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(parameters(a), parameters(b), atol=atol)
    for mine, other in zip(a.history, b.history, strict=True):
        np.testing.assert_allclose(mine.train_loss, other.train_loss, rtol=1e-9)
        assert (mine.train_accuracy is None) == (other.train_accuracy is None)
        if mine.train_accuracy is not None:
            np.testing.assert_allclose(mine.train_accuracy, other.train_accuracy, rtol=1e-12)


# Weights.


@pytest.mark.parametrize("name", TARGETS)
def test_weights_are_repeated_examples(name: str) -> None:
    check_repeated(name, ("numpy", None))


def test_weights_are_repeated_examples_on_every_library(place: Place) -> None:
    check_repeated("ignored", place)


def check_repeated(name: str, place: Place) -> None:
    loss, y = TARGETS[name]
    weighted, repeated = make(loss, place), make(loss, place)
    weighted.fit(X, y, epochs=3, batch_size=100, sample_weight=W)
    repeated.fit(X[REPEATED], y[REPEATED], epochs=3, batch_size=400)
    assert_alike(weighted, repeated)
    found, expected = weighted.evaluate(X, y, 7, sample_weight=W), repeated.evaluate(X[REPEATED], y[REPEATED])
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-9)
    assert found.errors == expected.errors
    assert found.accuracy == pytest.approx(expected.accuracy)


@pytest.mark.parametrize("name", TARGETS)
def test_weights_in_parts_and_chunks_are_those_of_whole_batches(name: str) -> None:
    check_parts(name, ("numpy", None))


def test_weights_in_parts_and_chunks_on_every_library(place: Place) -> None:
    check_parts("ignored", place)


def check_parts(name: str, place: Place) -> None:
    loss, y = TARGETS[name]
    whole, parts, streamed = make(loss, place), make(loss, place, micro_batch=5), make(loss, place)
    for model, options in ((whole, {}), (parts, {}), (streamed, {"data_on_device": False})):
        model.fit(X, y, epochs=2, batch_size=20, sample_weight=W, **options)
    assert_alike(parts, whole, 1e-12)
    assert_alike(streamed, whole, 1e-13)
    evaluations = [streamed.evaluate(X, y, 9, place, sample_weight=W) for place in (True, False)]
    assert evaluations[0] == evaluations[1]


def test_equal_weights_are_none() -> None:
    plain, weighted = make(), make()
    plain.fit(X, Y, epochs=3, batch_size=16)
    weighted.fit(X, Y, epochs=3, batch_size=16, sample_weight=np.full(40, 0.7))
    assert_alike(weighted, plain, 1e-13)
    shares = make()
    shares.fit(X, Y, epochs=3, batch_size=16, sample_weight=np.full(40, 1 / 40))  # a batch weighs less than 1
    assert_alike(shares, plain, 1e-13)
    assert weighted.evaluate(X, Y, sample_weight=[2] * 40).accuracy == plain.evaluate(X, Y).accuracy


@pytest.mark.usefixtures("two_threads")
def test_parts_on_cores_weigh_as_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    def model() -> xpnet.Model:
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)
        )
        return xpnet.Model(net, losses.CrossEntropy(ignore_label=2), optim.Adam(0.01), dtype="float64")

    x = rng.normal(size=(40, 6, 6, 1))
    whole, parts = model(), model()
    whole.fit(x, Y, epochs=2, sample_weight=W)
    monkeypatch.setattr(type(parts.backend), "part_bytes", (1 << 10, 1 << 30))
    monkeypatch.setattr(type(parts.backend), "workers", 2)
    parts.fit(x, Y, epochs=2, sample_weight=W)
    assert_alike(parts, whole, 1e-10)


def test_a_batch_that_weighs_nothing_has_no_gradient() -> None:
    weights = np.where(np.arange(40) < 20, 1.0, 0.0)
    model = make(l2=0.0)
    halves = make(l2=0.0)
    model.fit(X, Y, epochs=1, batch_size=20, shuffle=False, sample_weight=weights)
    halves.fit(X[:20], Y[:20], epochs=1, batch_size=20, shuffle=False)
    assert model.history[0].train_loss == pytest.approx(halves.history[0].train_loss)
    assert model.history[0].train_accuracy == halves.history[0].train_accuracy
    still = make(l2=0.0)
    still.optimizer = optim.SGD(0.3)
    before = parameters(still)
    still.forward(X)
    still.backward(Y, sample_weight=1e-300 + 0 * weights)  # tiny weights are weights
    assert np.any(leaves(still.grads)[0] != 0)
    still.zero_grads()
    assert np.array_equal(parameters(still), before)


def test_an_example_of_weight_zero_may_have_an_infinite_loss() -> None:
    """A class that is ruled out for one example, which does not count."""
    logits, target = np.array([[0.0, 1.0], [-np.inf, 1.0]]), np.array([0, 0])
    net = nn.Sequential(nn.Linear(2, 2, weight_init=lambda rng, shape: np.eye(2)))
    model = xpnet.Model(net, losses.MeanAbsoluteError(), optim.SGD(0.1))
    model.forward(np.eye(2))
    assert model.loss([[1, 0], [math.inf, 0]], sample_weight=[1, 0]) == 0
    totals, residuals = judging.forward(
        losses.CrossEntropy(), logits, judging.Weighted(target, np.array([2.0, 0.0]))
    )
    assert float(totals.loss) == pytest.approx(2 * math.log(1 + math.e))
    assert np.all(judging.backward(losses.CrossEntropy(), residuals)[1] == 0)


def test_training_by_hand_takes_weights() -> None:
    hand, fitted = make(), make()
    hand.forward(X)
    loss = hand.loss(Y, sample_weight=W)
    hand.backward(Y, sample_weight=W)
    hand.step()
    fitted.fit(X, Y, epochs=1, batch_size=40, sample_weight=W)
    np.testing.assert_allclose(parameters(hand), parameters(fitted), atol=1e-13)
    assert loss == pytest.approx(fitted.history[0].train_loss)


def test_an_interrupted_epoch_goes_on_with_its_weights(tmp_path) -> None:
    whole, broken, other = make(), make(), make()
    options = {"batch_size": 8, "sample_weight": W}
    whole.fit(X, Y, epochs=2, **options)

    class Stop(callbacks.Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if step == 3:
                model.stop()

    broken.fit(X, Y, epochs=1, callbacks=[Stop()], **options)
    assert broken.epoch_step == 3
    broken.save_checkpoint(tmp_path / "checkpoint.safetensors")
    other.load_checkpoint(tmp_path / "checkpoint.safetensors")
    with pytest.raises(ConfigError, match="expected a sample_weight, as in the interrupted epoch, got none"):
        other.fit(X, Y, epochs=1, batch_size=8)
    other.fit(X, Y, epochs=2, **options)
    np.testing.assert_array_equal(parameters(other), parameters(whole))
    assert [each.train_loss for each in other.history] == [each.train_loss for each in whole.history]


def test_the_running_loss_is_a_weighted_mean() -> None:
    seen = []

    class Look(callbacks.Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            seen.append(model.running_loss(min(40, 16 * step)))

    model = make()
    model.fit(X, Y, epochs=1, batch_size=16, callbacks=[Look()], sample_weight=W)
    assert seen[-1] == model.history[0].train_loss


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (W[:-1], "sample_weight: expected 40 weights of shape (40,), got (39,)"),
        (W[:, None], "sample_weight: expected 40 weights of shape (40,), got (40, 1)"),
        (W - 1.0, "sample_weight: expected finite weights of at least 0, one above 0, got weights from -1 to 2; sample_weight[4] is -1"),
        (W * math.nan, "sample_weight: expected finite weights of at least 0, one above 0, got weights from nan to nan; sample_weight[0] is nan"),
        (W + np.inf, "sample_weight: expected finite weights of at least 0, one above 0, got weights from inf to inf; sample_weight[0] is inf"),
        (0 * W, "sample_weight: expected finite weights of at least 0, one above 0, got weights from 0 to 0"),
        (np.array(["a"] * 40), "expected an array of real numbers, got dtype <U1, with 'a' at sample_weight[0]; number the words, as np.unique(sample_weight, return_inverse=True)[1] does"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_refused_weights(weights: Any, message: str) -> None:
    model = make()
    model.forward(X)
    for use in (
        lambda: model.fit(X, Y, epochs=1, sample_weight=weights),
        lambda: model.evaluate(X, Y, sample_weight=weights),
        lambda: model.loss(Y, sample_weight=weights),
        lambda: model.backward(Y, sample_weight=weights),
    ):
        with pytest.raises(ShapeError) as error:
            use()
        assert str(error.value) == message


@dataclass(frozen=True, repr=False)
class Flat(losses.MeanSquaredError):
    """A loss without a value for each network of a stack."""

    examples = "independent"

    def forward(self, prediction: Any, target: Any) -> Any:
        value, residuals = super().forward(prediction, target)
        return namespace(value).sum(value), residuals


@dataclass(frozen=True, repr=False)
class Unknown(losses.MeanSquaredError):
    def forward(self, prediction: Any, target: Any) -> Any:
        return super().forward(prediction, target)


def test_losses_that_are_no_means_over_examples() -> None:
    with pytest.raises(
        ConfigError, match="expected a loss whose examples are independent, got Unknown"
    ) as error:
        make(Unknown()).fit(X, Y, epochs=1, sample_weight=W)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="to give 40 values for predictions of shape"):
        make(Flat()).fit(X, Y, epochs=1, sample_weight=W)


def test_validation_is_a_pair() -> None:
    with pytest.raises(Error):
        make().fit(X, Y, epochs=1, validation=(X, Y, W))


def test_an_augmented_training_with_weights(rng: np.random.Generator) -> None:
    model = xpnet.Model(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
        losses.CrossEntropy(),
        optim.SGD(0.1),
        augment=data.augment.HorizontalFlip(),
    )
    x = rng.normal(size=(40, 4, 4, 1))
    model.fit(x, Y, epochs=10, sample_weight=W)
    assert model.history[-1].train_loss < model.history[0].train_loss


# Ignored labels.


def test_ignored_examples_are_as_if_they_were_not_there(place: Place) -> None:
    loss, y = TARGETS["ignored"]
    kept = y != -100
    whole, parts, others = (
        make(loss, place),
        make(loss, place, micro_batch=7),
        make(losses.CrossEntropy(), place),
    )
    for model in (whole, parts):
        model.fit(X, y, epochs=3, batch_size=40)
        assert_alike(model, whole, 1e-12)
    others.fit(X[kept], y[kept], epochs=3, batch_size=40)
    assert_alike(whole, others, 1e-12)
    for batch_size in (40, 3):
        found, expected = whole.evaluate(X, y, batch_size), others.evaluate(X[kept], y[kept])
        assert found.loss == pytest.approx(expected.loss, rel=1e-9)
        assert found[1:] == expected[1:]


def test_nothing_counts() -> None:
    model, y = make(losses.CrossEntropy(ignore_label=-1), l2=0.0), np.full(40, -1)
    before = parameters(model)
    told = model.fit(X, y, epochs=1)
    assert (told[0].train_loss, told[0].train_accuracy) == (0, None)
    assert np.array_equal(parameters(model), before)
    assert model.evaluate(X, y) == (0, None, 0)


# Balanced classes.


def test_balanced_classes_come_from_the_targets_of_fit(tmp_path) -> None:
    loss = losses.CrossEntropy(class_weights="balanced")
    model = make(loss)
    for use in (lambda: model.evaluate(X, Y), lambda: (model.forward(X), model.loss(Y))):
        with pytest.raises(ConfigError, match="call fit first"):
            use()
    counts = np.bincount(Y)
    explicit = make(losses.CrossEntropy(class_weights=40 / (3 * counts)))
    for each in (model, explicit):
        each.fit(X, Y, epochs=2, batch_size=16)
    assert_alike(model, explicit, 1e-12)
    assert model.evaluate(X, Y).loss == pytest.approx(explicit.evaluate(X, Y).loss)
    assert model.loss_function == loss
    assert copy.deepcopy(model).evaluate(X, Y) == model.evaluate(X, Y)
    model.optimizer = optim.SGD(0.1)
    assert model.evaluate(X, Y).loss == pytest.approx(explicit.evaluate(X, Y).loss)
    model.fit(X[Y < 2], Y[Y < 2], epochs=1)  # other targets, other weights: a class that is missing weighs 1
    assert model.objective.loss.class_weights[-1][0] == 1


# For random losses, weights and targets.


@st.composite
def losses_and_targets(draw: Any) -> tuple[losses.Loss, np.ndarray, int]:
    """A loss, targets for it, and the number of outputs."""
    rng, n, d = (
        np.random.default_rng(draw(st.integers(0, 2**16))),
        draw(st.integers(1, 6)),
        draw(st.integers(2, 4)),
    )
    kind = draw(st.sampled_from(["cross-entropy", "binary", "squared", "huber"]))
    if kind != "cross-entropy":
        q = draw(st.sampled_from([1.0, 2.5, tuple(rng.uniform(0.1, 4, d))]))
        made = {
            "binary": losses.BinaryCrossEntropy(q),
            "squared": losses.MeanSquaredError(),
            "huber": losses.Huber(),
        }
        return made[kind], rng.uniform(size=(n, d)), d
    weights = draw(st.sampled_from([None, "numbers", "names"]))
    loss = losses.CrossEntropy(
        draw(st.sampled_from([0.0, 0.2])),
        {None: None, "numbers": rng.uniform(size=d), "names": {int(rng.integers(d)): 3.0}}[weights],
        draw(st.sampled_from([None, -100, 0, 1])),
    )
    if draw(st.booleans()):  # rows of any sum, also of zeros
        return loss, rng.uniform(size=(n, d)) * rng.integers(0, 3, (n, 1)), d
    labels = rng.integers(0, d, n)
    if loss.ignore_label is not None:
        labels = np.where(rng.uniform(size=n) < 0.4, loss.ignore_label, labels)
    return loss, labels, d


quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@quick
@given(losses_and_targets(), st.booleans(), st.integers(0, 99))
def test_gradients_are_finite_differences(case: Any, has_weights: bool, seed: int) -> None:
    """Of the loss alone, and of the weighted mean, at every element."""
    loss, target, d = case
    rng = np.random.default_rng(seed)
    n = len(target)
    z = rng.normal(size=(n, d))
    weights = rng.integers(0, 3, n) * rng.uniform(size=n)
    placed = judging.Weighted(target, weights) if has_weights else target

    def value(z: np.ndarray) -> float:
        return float(judging.mean(judging.forward(loss, z, placed)[0], n))

    gradient = judging.backward(loss, judging.forward(loss, z, placed)[1])
    assert gradient.shape == z.shape
    for i in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[i] = 1e-5
        slope = (value(z + step) - value(z - step)) / 2e-5
        assert slope == pytest.approx(gradient[i], abs=1e-8)


@quick
@given(losses_and_targets(), st.integers(0, 99), st.sampled_from([None, 2]))
def test_integer_weights_are_repeated_examples(case: Any, seed: int, micro_batch: int | None) -> None:
    loss, target, d = case
    rng = np.random.default_rng(seed)
    n = len(target)
    x, weights = rng.normal(size=(n, 3)), rng.integers(0, 4, n)
    weights[rng.integers(n)] = 2
    repeated = np.repeat(np.arange(n), weights)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, d))
    a, b = (
        xpnet.Model(net, loss, optim.Adam(0.1), dtype="float64", micro_batch=m) for m in (micro_batch, None)
    )
    a.fit(x, target, epochs=2, batch_size=64, sample_weight=weights)
    b.fit(x[repeated], target[repeated], epochs=2, batch_size=64)
    assert_alike(a, b)
    found, expected = (
        a.evaluate(x, target, 2, sample_weight=weights),
        b.evaluate(x[repeated], target[repeated]),
    )
    assert found.loss == pytest.approx(expected.loss, rel=1e-9)
    assert found.errors == expected.errors


# Guards.


def test_a_batch_of_a_class_that_weighs_nothing() -> None:
    model = make(losses.CrossEntropy(class_weights=(0.0, 1.0, 1.0)), l2=0.0)
    assert model.fit(X, np.zeros(40, int), epochs=1)[0].train_loss == 0


@pytest.mark.parametrize(
    "labels", [Y - 1, Y + 1, Y[:, None], Y.astype(float), np.array(["a", "b"] * 20), Y[:-1]]
)
def test_labels_that_fit_nothing(labels: np.ndarray) -> None:
    with pytest.raises(Error):
        make().fit(X, labels, epochs=1)


@pytest.mark.parametrize("y", [X[:, 0], (10 * X[:, 0]).astype(int), 0 * Y, X[:-1, :1]], ids=str)
def test_targets_of_one_output_never_become_a_square(y: np.ndarray) -> None:
    model = xpnet.Model(nn.Linear(4, 1), losses.MeanSquaredError(), optim.SGD(0.1))
    with pytest.raises(ShapeError, match=r"\(40, 1\)"):
        model.fit(X, y, epochs=1)
    model.fit(X, (10 * X[:, :1]).astype(int), epochs=1)  # integers are numbers
