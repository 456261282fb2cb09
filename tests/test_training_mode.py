"""Layers with a training mode (dropout, noise, batch normalisation), augmentation and micro-batches."""

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_close, fetch
from xpnet import data, gradcheck, losses, nn, optim, random, tree
from xpnet._training.step import examples_at_once
from xpnet.schedules import Schedule

CNN = nn.Sequential(
    nn.GaussianNoise(0.1),
    nn.Conv2d(1, 4, 3, stride=2),
    nn.BatchNorm(4),
    nn.ReLU(),
    nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding="same"), nn.BatchNorm(4)), nn.Conv2d(4, 4, 1)),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Linear(36, 3),
)


def make_model(
    place: Place = ("numpy", None), net: nn.Layer = CNN, dtype: str = "float64", **options
) -> xpnet.Model:
    backend, device = place
    optimizer = optim.SGD(0.1, 0.9, weight_decay=1e-3)
    return xpnet.Model(net, losses.CrossEntropy(), optimizer, backend, 5, dtype, device=device, **options)


def make_data(n: int = 25) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n)
    return rng.normal(size=(n, 14, 14, 1)) + y[:, None, None, None] * np.linspace(0, 1, 14)[:, None], y


def flip_or_not(x, key):
    from xpnet.backend import namespace

    chosen = random.uniform(key, (x.shape[0], 1, 1, 1), x.dtype) < 0.5
    return namespace(x).where(chosen, namespace(x).flip(x, axis=1), x)


def train(place: Place = ("numpy", None), **options) -> tuple[xpnet.Model, np.ndarray]:
    model = make_model(place, **options)
    history = model.fit(*make_data(), epochs=3, batch_size=10, validation=make_data(13))
    return model, np.array([metrics[1:5] for metrics in history])


@pytest.fixture(scope="module")
def numpy_run() -> tuple[xpnet.Model, np.ndarray]:
    return train(augment=flip_or_not)


def test_curves_agree_on_every_library(place: Place, numpy_run) -> None:
    """Every library gives the same noise, masks, flips and running statistics."""
    model, curve = train(place, augment=flip_or_not)
    np.testing.assert_allclose(curve, numpy_run[1], rtol=1e-9)
    statistics = dict(tree.items(fetch(model.backend, model.statistics)))
    for name, expected in tree.items(numpy_run[0].statistics):
        np.testing.assert_allclose(statistics[name], expected, rtol=1e-9)


def test_float32_stays_float32(place: Place) -> None:
    from laws import assert_kept

    model, _ = train(place, dtype="float32", augment=flip_or_not)
    assert_kept(model.backend, model.state)
    assert_kept(model.backend, model.forward(make_data()[0]))


def test_only_training_is_random() -> None:
    x, y = make_data()
    model = make_model()
    first, second = model.forward(x), model.forward(x)
    np.testing.assert_array_equal(first, second)  # one step has one mask
    model.backward(y)
    model.step()
    assert not np.allclose(model.forward(x), first)
    model.eval()
    np.testing.assert_allclose(model.forward(x).argmax(axis=-1), model.predict(x))
    assert model.loss(y) == pytest.approx(model.evaluate(x, y).loss, rel=1e-12)
    model.train()
    assert model.loss(y) == pytest.approx(model.evaluate(x, y).loss, rel=1e-12)  # still the last forward's
    model.forward(x)
    assert model.loss(y) != pytest.approx(model.evaluate(x, y).loss, rel=1e-3)


def test_steps_by_hand_are_those_of_fit() -> None:
    x, y = make_data()
    fitted, by_hand = make_model(), make_model()
    fitted.fit(x, y, epochs=2, batch_size=10)
    for epoch in range(2):
        for x_batch, y_batch in data.batches(x, y, batch_size=10, seed=5, epoch=epoch):
            by_hand.forward(x_batch)
            by_hand.zero_grads()
            by_hand.backward(y_batch)
            by_hand.step()
    for tree_name in ("params", "statistics"):
        for name, array in tree.items(getattr(fitted, tree_name)):
            found = dict(tree.items(getattr(by_hand, tree_name)))[name]
            np.testing.assert_allclose(found, array, rtol=1e-10, atol=1e-13, err_msg=name)


def test_backward_is_that_of_the_last_forward() -> None:
    """In both modes the gradients agree with finite differences of the loss."""
    x, y = make_data()
    model = make_model()
    gradcheck.check(model, x, y)
    for in_training in (True, False):
        (model.train if in_training else model.eval)()
        model.params = model.params  # with a fresh optimizer and zero gradients
        model.forward(x)
        model.backward(y)
        exact = model.grads[1]["weight"][1, 2, 0, 3]
        values = []
        for step in (1e-5, -1e-5):
            model.params[1]["weight"][1, 2, 0, 3] += step
            model.forward(x)
            values.append(model.loss(y))
            model.params[1]["weight"][1, 2, 0, 3] -= step
        assert exact == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_dropout_keeps_the_mean_and_drops_its_share(place: Place) -> None:
    backend = xpnet.backend.get(*place)
    key = random.Key(backend.xp.asarray([0], dtype=backend.xp.int32, device=backend.device))
    x = backend.asarray(np.full((200, 100), 3.0))
    y = backend.to_numpy(nn.Dropout(0.3).training_mode(key).forward({}, x)[0])
    assert set(np.unique(y)) == {0.0, np.float32(3 * np.float32(1 / np.float32(0.7)))}
    assert (y == 0).mean() == pytest.approx(0.3, abs=5 * (0.21 / 20000) ** 0.5)


def test_statistics_follow_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = nn.BatchNorm(3, 0.2), torch.nn.BatchNorm2d(3, momentum=0.2, dtype=torch.float64)
    statistics = ours.init_statistics()
    layer = ours.training_mode(random.Key(None))
    params = ours.init(None)
    for n in (4, 2, 1):
        x = np.random.default_rng(n).normal(2, 3, size=(n, 2, 5, 3))
        y, residuals = layer.forward(params, x)
        statistics = layer.new_statistics(statistics, residuals)
        expected = theirs(torch.tensor(np.moveaxis(x, -1, 1)))
        np.testing.assert_allclose(y, np.moveaxis(expected.detach().numpy(), 1, -1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(statistics["running_mean"], theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(statistics["running_variance"], theirs.running_var, rtol=1e-12)
    theirs.eval()
    y, _ = ours.forward(tree.merge(params, statistics), x)
    expected = theirs(torch.tensor(np.moveaxis(x, -1, 1))).detach().numpy()
    np.testing.assert_allclose(y, np.moveaxis(expected, 1, -1), rtol=1e-10)


def test_running_statistics_are_moving_averages_of_mean_and_unbiased_variance() -> None:
    """Compared with NumPy's `var`, with the divisor n - 1."""
    norm = nn.BatchNorm(3, 0.2)
    layer, statistics = norm.training_mode(random.Key(None)), norm.init_statistics()
    mean, variance = np.zeros(3), np.ones(3)
    for shape in ((4, 3), (2, 5, 3), (7, 2, 2, 3)):
        x = np.random.default_rng(len(shape)).normal(2, 3, size=shape)
        _, residuals = layer.forward(norm.init(np.random.default_rng(0)), x)
        statistics = layer.new_statistics(statistics, residuals)
        rows = x.reshape(-1, 3)
        mean = 0.8 * mean + 0.2 * rows.mean(axis=0)
        variance = 0.8 * variance + 0.2 * rows.var(axis=0, ddof=1)
        np.testing.assert_allclose(statistics["running_mean"], mean, rtol=1e-12)
        np.testing.assert_allclose(statistics["running_variance"], variance, rtol=1e-12)


def test_a_file_keeps_the_statistics(tmp_path: Path, numpy_run) -> None:
    model, _ = numpy_run
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        assert {"2.running_mean", "4.branch.1.running_variance"} < set(file)
    other = make_model()
    other.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(other.predict_proba(make_data()[0]), model.predict_proba(make_data()[0]))


def test_micro_batches_make_the_same_step(place: Place) -> None:
    """Gradients added up over parts, also uneven ones, equal the whole batch's, with the same masks."""
    noise = nn.GaussianNoise(0.1)
    net = nn.Sequential(
        noise, nn.Conv2d(1, 2, 3, stride=3), nn.Tanh(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 3)
    )
    augment = data.augment.Compose(
        data.augment.RandomCrop(2), data.augment.HorizontalFlip(), data.augment.Cutout(3)
    )
    whole, parts = (make_model(place, net, l2=0.1, augment=augment, micro_batch=micro) for micro in (None, 4))
    for model in (whole, parts):
        model.fit(*make_data(), epochs=2, batch_size=10)
    found = dict(tree.items(fetch(parts.backend, parts.params)))
    for name, expected in tree.items(fetch(whole.backend, whole.params)):
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)
    assert float(parts.state.totals.loss) == pytest.approx(float(whole.state.totals.loss), rel=1e-12)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_parts_side_by_side_share_the_sums_of_batch_normalisation(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It normalises over the whole batch for any number of parts, also if the last one is smaller."""
    monkeypatch.setattr(xpnet.backend.NumPy, "workers", workers)
    x, y = np.random.default_rng(0).normal(size=(30, 60, 60, 2)), np.arange(30) % 3
    convolution = nn.Conv2d(2, 4, 7, padding="same")
    for layers in (
        [convolution, nn.BatchNorm(4)],
        [nn.Residual(nn.Sequential(nn.BatchNorm(2), nn.Conv2d(2, 2, 7, padding="same")))],
    ):
        net = nn.Sequential(*layers, nn.GlobalAvgPool(), nn.Linear(4 if len(layers) > 1 else 2, 3))
        in_training = net.training_mode(random.Key(None))
        at_once = examples_at_once(in_training, x.shape[1:], 30, xpnet.backend.get("numpy"))
        assert at_once == {1: 30, 2: 15, 3: 15, 8: 4}[workers]
        parts, whole = (make_model(net=net, micro_batch=micro) for micro in (None, 30))
        for model in (parts, whole):
            model.fit(x, y, epochs=2, batch_size=30)
        for found, expected in ((parts.params, whole.params), (parts.statistics, whole.statistics)):
            assert_close(parts.backend, found, fetch(whole.backend, expected), 1e-10)


@dataclass(frozen=True, repr=False)
class WithoutMean(nn.Layer):
    """A user's own layer that mixes examples."""

    def forward(self, params: Any, x: Any) -> Any:
        return x - x.mean(axis=0, keepdims=True), ()

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return dy - dy.mean(axis=0, keepdims=True), {}


def test_what_mixes_examples_in_its_own_way_is_not_cut_up() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 7, padding="same"), nn.BatchNorm(4), nn.Residual(WithoutMean()))
    at_once = [
        examples_at_once(layer, (60, 60, 2), 24, xpnet.backend.get("numpy"))
        for layer in (each.training_mode(random.Key(None)) for each in (net, nn.Sequential(*net.layers[:2])))
    ]
    assert at_once[0] == 24
    assert xpnet.backend.NumPy.workers == 1 or at_once[1] < 24


def test_a_part_that_fails_ends_those_that_wait_for_its_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpnet.backend.NumPy, "workers", 4)

    def learn(part: int, common: int) -> int:
        total = xpnet.backend.sum_over_parts(part)
        if part == 2:
            raise ZeroDivisionError("in part 2")
        return total + xpnet.backend.sum_over_parts(1)

    place = xpnet.backend.get("numpy")
    with pytest.raises(ZeroDivisionError, match="in part 2"):
        place.map_reduce(learn, operator.add, [0, 1, 2, 3], together=True)
    assert place.map_reduce(learn, operator.add, [0, 1, 3, 4], together=True) == 4 * (8 + 4)
    assert xpnet.backend.sum_over_parts(5) == 5


def test_statistics_of_micro_batches_are_averaged() -> None:
    """The mean of the parts' means is the batch's mean, and the running mean advances once per step."""
    x, y = make_data(16)
    net = nn.Sequential(nn.BatchNorm(1), nn.Flatten(), nn.Linear(196, 3))
    means = []
    for micro in (None, 4, 8):
        model = make_model(net=net, micro_batch=micro)
        model.fit(x, y, epochs=1, batch_size=16)
        means.append(model.statistics[0]["running_mean"])
        np.testing.assert_allclose(means[-1], 0.1 * x.mean(), rtol=1e-12)


def test_every_part_of_a_network_is_in_training_mode() -> None:
    """Also in nested branches and shortcuts."""
    norm = nn.BatchNorm(3)
    net = nn.Sequential(norm, nn.Residual(nn.Sequential(norm), nn.Residual(norm, nn.Sequential(norm, norm))))
    assert str(net.training_mode(random.Key(None))).count("BatchNormInTraining(") == 5
    x = np.random.default_rng(0).normal(5, 1, size=(8, 3))
    layer, params = net.training_mode(random.Key(None)), net.init(np.random.default_rng(0))
    _, residuals = layer.forward(params, x)
    before = dict(tree.items(net.init_statistics()))
    after = dict(tree.items(layer.new_statistics(net.init_statistics(), residuals)))
    assert len(before) == 10
    assert all(not np.array_equal(after[name], before[name]) for name in before if name.endswith("variance"))


class Halving(Schedule):
    def __call__(self, epoch: float) -> float:
        return 0.5 ** int(epoch)


def test_a_schedule_scales_the_learning_rate(place: Place) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 3))
    scheduled, by_hand = make_model(place, net), make_model(place, net)
    history = scheduled.fit(*make_data(), epochs=3, batch_size=10, schedule=Halving())
    assert [metrics.learning_rate for metrics in history] == [0.1, 0.05, 0.025]
    for epoch in range(3):
        by_hand.optimizer = optim.SGD(0.1 / 2**epoch, 0.9, weight_decay=1e-3)
        for x, y in data.batches(*make_data(), batch_size=10, seed=5, epoch=epoch):
            by_hand.forward(x)
            by_hand.zero_grads()
            by_hand.backward(y)
            by_hand.step()
    found = dict(tree.items(fetch(scheduled.backend, scheduled.params)))
    for name, expected in tree.items(fetch(by_hand.backend, by_hand.params)):
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-13, err_msg=name)


def test_a_schedule_does_not_compile_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    loops: list[Any] = []

    def compile_loop(self: Any, step: Any, compile_loop: Any = xpnet.backend.JAX.compile_loop) -> Any:
        loops.append(compile_loop(self, step))
        return loops[-1]

    monkeypatch.setattr(xpnet.backend.JAX, "compile_loop", compile_loop)
    model = make_model(("jax", None), dtype="float32")
    model.fit(*make_data(20), epochs=4, batch_size=10, schedule=Halving())
    assert [loop._cache_size() for loop in loops] == [1]
