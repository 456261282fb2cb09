"""Model: training by hand and by `fit`, checks of arguments, and files."""

import gc
import io
import tracemalloc
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from xpnet import data, losses, nn, optim, tree
from xpnet.callbacks import Callback
from xpnet.errors import CheckpointError, ConfigError, Error, ShapeError
from xpnet.tree import Tree


def make_model(place: Place = ("numpy", None), loss: losses.Loss | None = None, **options) -> xpnet.Model:
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = options.pop("optimizer", optim.SGD(0.1))
    return xpnet.Model(net, loss or losses.CrossEntropy(), optimizer, place[0], device=place[1], **options)


def make_data(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that a small network learns: the index of the largest of three sums of two inputs."""
    x = np.random.default_rng(1).standard_normal((n, 6))
    return x, (x[:, :3] + x[:, 3:]).argmax(axis=1)


def on_host(model: xpnet.Model) -> dict[str, np.ndarray]:
    return {name: model.backend.to_numpy(array).copy() for name, array in tree.items(model.params)}


def test_steps_by_hand_are_those_of_fit(place: Place) -> None:
    x, y = make_data()
    options = {"dtype": "float64", "l2": 0.1, "seed": 5, "optimizer": optim.SGD(0.1, 0.9)}
    fitted, by_hand = make_model(place, **options), make_model(place, **options)
    fitted.fit(x, y, epochs=2, batch_size=16)
    for epoch in range(2):
        for x_batch, y_batch in data.batches(x, y, 16, seed=5, epoch=epoch):
            by_hand.forward(x_batch)
            by_hand.zero_grads()
            by_hand.backward(y_batch)
            by_hand.step()
    for name, array in on_host(fitted).items():
        np.testing.assert_allclose(on_host(by_hand)[name], array, rtol=1e-12, err_msg=name)


def test_a_step_leaves_the_last_forward_as_it_was(place: Place) -> None:
    x, y = make_data()
    model = make_model(place, dtype="float64", l2=0.5)
    model.forward(x)
    model.backward(y)
    loss, grads = model.loss(y), tree.map(model.backend.copy, model.grads)
    model.step()
    assert model.loss(y) == loss
    model.zero_grads()
    model.backward(y)
    for name, array in tree.items(grads):
        again = model.backend.to_numpy(dict(tree.items(model.grads))[name])
        np.testing.assert_array_equal(again, model.backend.to_numpy(array), err_msg=name)


def test_learns(place: Place) -> None:
    x, y = make_data(300)
    model = make_model(place, optimizer=optim.SGD(0.2, 0.9))
    before = model.evaluate(x, y)
    history = model.fit(x, y, epochs=20, batch_size=20)
    after = model.evaluate(x, y)
    assert after.loss < 0.3 * before.loss
    assert after.accuracy is not None
    assert after.accuracy > 0.95
    assert [metrics.epoch for metrics in history] == list(range(1, 21))
    assert history[-1].train_loss < history[0].train_loss


def test_training_keeps_dtype_library_and_device(place: Place) -> None:
    from laws import assert_kept

    model = make_model(place, optimizer=optim.SGD(0.1, 0.9, True, 0.1), l2=0.1)
    model.fit(*make_data(), epochs=1)
    assert_kept(model.backend, model.state)
    assert_kept(model.backend, model.forward(make_data()[0]))


def test_loss_and_errors_are_of_the_last_forward() -> None:
    x, y = make_data()
    model = make_model(l2=0.5, dtype="float64")
    logits = model.forward(x)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    weights = [array for name, array in tree.items(model.params) if name.endswith("weight")]
    penalty = 0.25 * sum((w**2).sum() for w in weights)
    assert model.loss(y) == pytest.approx(-log_p[np.arange(50), y].mean() + penalty, rel=1e-12)
    assert model.errors(y) == (logits.argmax(axis=1) != y).sum()
    evaluation = model.evaluate(x, y, batch_size=7)
    assert evaluation.loss == pytest.approx(model.loss(y), rel=1e-12)
    assert evaluation.errors == model.errors(y)
    assert evaluation.accuracy == 1 - model.errors(y) / 50


def test_backward_adds_up_until_zero_grads() -> None:
    x, y = make_data()
    model = make_model(dtype="float64")
    model.forward(x)
    model.backward(y)
    once = tree.map(np.copy, model.grads)
    model.backward(y)
    for name, array in tree.items(model.grads):
        np.testing.assert_allclose(array, 2 * dict(tree.items(once))[name], rtol=1e-15)
    model.zero_grads()
    assert all(not array.any() for array in tree.leaves(model.grads))


def test_training_metrics_are_means_over_the_examples() -> None:
    """With a learning rate of 0, training in uneven batches measures what `evaluate` does."""
    x, y = make_data()
    model = make_model(dtype="float64", optimizer=optim.SGD(0), l2=0.3)
    metrics = model.fit(x, y, epochs=1, batch_size=16, validation=(x, y))[0]
    assert metrics.train_loss == pytest.approx(metrics.validation_loss, rel=1e-12)
    assert metrics.train_accuracy == metrics.validation_accuracy
    assert metrics.learning_rate == 0
    assert metrics.images_per_second == pytest.approx(50 / metrics.seconds)


def test_predictions(place: Place) -> None:
    x, _ = make_data()
    model = make_model(place)
    logits = model.backend.to_numpy(model.forward(x))
    probabilities = model.predict_proba(x, batch_size=7)
    assert isinstance(probabilities, np.ndarray)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        np.log(probabilities[:, 0] / probabilities[:, 1]), logits[:, 0] - logits[:, 1], atol=1e-5
    )
    np.testing.assert_array_equal(model.predict(x, batch_size=7), logits.argmax(axis=1))


def test_regression() -> None:
    x = make_data()[0]
    y = x[:, :3] - x[:, 3:]
    model = make_model(loss=losses.MeanSquaredError(), optimizer=optim.SGD(0.2, 0.9))
    history = model.fit(x, y, epochs=60, batch_size=10, validation=(x, y))
    assert history[-1].validation_loss < 0.1 * history[0].validation_loss
    assert history[-1].train_accuracy is None
    assert model.evaluate(x, y).errors is None
    np.testing.assert_array_equal(model.predict(x), model.forward(x))
    with pytest.raises(ShapeError, match="expected integer labels to count errors, got real targets"):
        model.errors(y)
    with pytest.raises(ConfigError, match="expected a loss with probabilities, got MeanSquaredError"):
        model.predict_proba(x)


def test_integer_one_hot_targets_are_real_targets() -> None:
    x, y = make_data()
    labels, one_hot = make_model(), make_model()
    labels.fit(x, y, epochs=1)
    one_hot.fit(x, np.eye(3, dtype=int)[y], epochs=1)
    for name, array in on_host(labels).items():
        np.testing.assert_allclose(on_host(one_hot)[name], array, rtol=1e-5)


def test_the_data_a_user_gives_is_never_written_to() -> None:
    x, y = make_data()
    x, y = x.astype(np.float32), y.astype(np.int64)
    before = x.copy(), y.copy()
    params = make_model().params
    kept = tree.map(np.copy, params)
    model = make_model()
    model.params = params
    model.fit(x, y, epochs=2)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    assert all(np.array_equal(a, b) for a, b in zip(tree.leaves(params), tree.leaves(kept), strict=True))


class StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        self.left -= 1
        if self.left == 0:
            model.stop()


@dataclass(frozen=True)
class Overwriting(optim.Optimizer):
    """An optimizer that overwrites the parameters, as `update` may."""

    learning_rate: float = 0.1

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        def overwrite(p, g):
            p[...] = p - self.learning_rate * g
            return p

        return tree.map(overwrite, params, grads), state


def test_the_last_forward_has_parameters_of_its_own() -> None:
    x, y = make_data()
    model = make_model(optimizer=Overwriting())
    model.forward(x)
    model.backward(y)
    before, loss, params = on_host(model), model.loss(y), model.params
    model.step()
    assert model.loss(y) == loss
    for name, array in tree.items(params):
        np.testing.assert_array_equal(array, before[name])
        assert not np.array_equal(on_host(model)[name], before[name])


class Grads(Callback):
    """A callback that reads `grads`, after computing them if asked to."""

    def __init__(self, make: bool = False) -> None:
        self.make = make
        self.found: list[Tree] = []

    def on_epoch(self, model: xpnet.Model, metrics) -> None:
        if self.make:
            model.zero_grads()
            model.forward(make_data()[0])
            model.backward(make_data()[1])
        self.found.append(model.grads)


def test_fit_keeps_no_gradients() -> None:
    model = make_model()
    with pytest.raises(
        Error,
        match=r"^grads: expected forward\(x\) and backward\(target\) in the callback first, got neither",
    ):
        model.fit(*make_data(), epochs=1, callbacks=[Grads()])
    assert not any(array.any() for array in tree.leaves(model.grads))  # zeros again after fit
    grads = Grads(make=True)
    model.fit(*make_data(), epochs=1, callbacks=[grads])
    assert all(array.any() for array in tree.leaves(grads.found[0]))


def test_gradients_take_no_memory_until_they_are_used() -> None:
    net, n = nn.Linear(1000, 1000, bias=False), 4 * 1000 * 1000
    np.ones(n).sum()  # NumPy's one-time allocations
    tracemalloc.start()
    try:
        model = xpnet.Model(net, losses.MeanSquaredError(), optim.SGD(0.1))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1.5 * n
        model.zero_grads()
        model.params = model.params
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1.5 * n
        assert model.grads["weight"].shape == (1000, 1000)
    finally:
        tracemalloc.stop()


GOOD = {"weight": np.ones((6, 3)), "bias": np.zeros(3)}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ((GOOD, {}), "expected params.1.running_mean of shape (3,)"),
        ((GOOD,), "expected params.1.scale of shape (3,), got none"),
        (({**GOOD, "weight": GOOD["weight"].T}, {}), "expected params.0.weight of shape (6, 3), got its transpose, (3, 6)"),
        (({**GOOD, "bias": np.zeros((1, 3))}, {}), "expected params.0.bias of shape (3,), got (1, 3)"),
        ([GOOD, {}], "expected params.0.bias of shape (3,), got a list for params"),
        (({**GOOD, "bias": None}, {}), "params.0.bias: expected an array of numbers, got None; pass an array"),
        (({**GOOD, "bias": "abc"}, {}), "params.0.bias: expected an array of numbers, got a str; read it first, as np.load(x) or np.loadtxt(x) do"),
        (({"weight": GOOD["weight"]}, {}), "expected params.0.bias of shape (3,), got none"),
        (None, "expected params.0.bias of shape (3,), got None for params"),
        (np.zeros(3), "expected params.0.bias of shape (3,), got an array of shape (3,) for params"),
        (({**GOOD, "more": np.zeros(1)}, {"scale": np.ones(3), "shift": np.ones(3)}), "expected no array params.0.more in this network, got an array of shape (1,)"),
    ],
)  # fmt: skip
def test_parameters_of_another_network_are_refused(params, message: str, place: Place) -> None:
    net = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm(3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])
    before = on_host(model)
    if "running_mean" in message:
        with pytest.raises(
            ShapeError, match=r"^Model: expected statistics.1.running_mean of shape \(3,\), got none$"
        ):
            model.statistics = params
    else:
        with pytest.raises(ShapeError) as error:
            model.params = params
        assert str(error.value) == f"Model: {message}"
        with pytest.raises(ShapeError) as error:
            model.restore(params)
    for name, array in on_host(model).items():
        np.testing.assert_array_equal(before[name], array)


def test_a_snapshot_of_another_network_is_refused() -> None:
    net = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm(3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
    other = xpnet.Model(nn.Sequential(nn.Linear(3, 3)), losses.CrossEntropy(), optim.SGD(0.1))
    with pytest.raises(ShapeError, match=r"^Model: expected 0.weight of shape \(6, 3\), got \(3, 3\)$"):
        model.restore(other.snapshot())
    with pytest.raises(
        ShapeError, match=r"^Model: expected no array 1.running_mean in this network, got an array"
    ):
        other.restore(({"weight": np.ones((3, 3)), "bias": np.ones(3)}, model.snapshot()[1]))


def test_parameters_of_any_library_and_dtype_become_those_of_the_model(place: Place) -> None:
    model = make_model(place)
    whole_numbers = tree.map(lambda p: np.ones(tuple(p.shape), int), model.params)
    model.params = whole_numbers
    model.fit(*make_data(), epochs=1)
    by_name = {name: np.ones(tuple(p.shape)) for name, p in tree.items(model.params)}
    model.params = by_name  # as stored in a file
    assert all((array == 1).all() for array in on_host(model).values())


@dataclass(frozen=True, repr=False)
class Own(nn.Layer):
    """A user's layer with given parameters and statistics."""

    params: Any
    statistics: Any = ()

    def init(self, rng: np.random.Generator) -> Any:
        return self.params

    def init_statistics(self) -> Any:
        return self.statistics

    def forward(self, params: Any, x: Any) -> Any:
        return x, ()

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return dy, self.params


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Own([np.ones(2)]), "Own.init: expected a dict or a tuple of arrays, got a list"),
        (Own({"w": [1.0, 2.0]}), "Own.init: expected a dict or a tuple of arrays, got a list for w"),
        (
            Own({"w": {"inner": "text"}}),
            "Own.init: expected a dict or a tuple of arrays, got a str for w.inner",
        ),
        (Own(None), "Own.init: expected a dict or a tuple of arrays, got None"),
        (Own({}, [np.ones(2)]), "Own.init_statistics: expected a dict or a tuple of arrays, got a list"),
    ],
)
def test_a_layer_without_a_tree_of_parameters_is_named(layer: nn.Layer, message: str) -> None:
    for net in (layer, nn.Sequential(nn.Linear(2, 2), nn.Residual(nn.Sequential(nn.Tanh(), layer)))):
        with pytest.raises(ConfigError) as error:
            xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
        assert str(error.value) == message


@pytest.mark.parametrize(("steps", "whole_epochs"), [(1, 0), (4, 1), (5, 1), (8, 2)])
def test_stop_ends_after_the_current_step(steps: int, whole_epochs: int) -> None:
    """50 examples in batches of 16 make 4 steps per epoch; an incomplete epoch is not in the history."""
    stopper = StopAfter(steps)
    history = make_model().fit(*make_data(), epochs=9, batch_size=16, callbacks=[stopper])
    assert stopper.left == 0
    assert len(history) == whole_epochs


def test_another_fit_goes_on_with_new_orders() -> None:
    x, y = make_data()
    at_once, in_two = make_model(dtype="float64"), make_model(dtype="float64")
    at_once.fit(x, y, epochs=3)
    history = in_two.fit(x, y, epochs=1) + in_two.fit(x, y, epochs=2)
    assert [metrics.epoch for metrics in history] == [1, 2, 3]
    for name, array in on_host(at_once).items():
        np.testing.assert_array_equal(on_host(in_two)[name], array)


def test_save_and_load(place: Place, tmp_path) -> None:
    trained, fresh = make_model(place, seed=1), make_model(seed=2)
    trained.fit(*make_data(), epochs=1)
    trained.save(tmp_path / "model.npz")
    fresh.load(tmp_path / "model.npz")
    for name, array in on_host(trained).items():
        np.testing.assert_array_equal(on_host(fresh)[name], array)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def _pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"0.weight": np.array([{}], dtype=object)})
    return buffer.getvalue()


def _other_network() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"0.weight": np.zeros((6, 5)), "0.bias": np.zeros(5), "2.weight": np.zeros((4, 3))})
    return buffer.getvalue()


def _no_array() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("0.weight", b"not an array")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a .npz file of parameters: No such file or directory"),
        (b"", "expected a .npz file of parameters: "),
        (b"not a zip file", "expected a .npz file of parameters: "),
        (_pickled(), "expected a .npz file of parameters: "),
        (_no_array(), "expected a .npz file of parameters: 0.weight is not an array"),
        (_other_network()[:200], "expected a .npz file of parameters: "),
        (_other_network(), "expected 2.bias of shape (3,), got None"),
    ],
)
def test_load_refuses_what_is_not_its_own(content: bytes | None, message: str, tmp_path) -> None:
    model = make_model()
    before = on_host(model)
    if content is not None:
        (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        model.load(tmp_path / "bad.npz")
    assert str(error.value).startswith(f"{tmp_path / 'bad.npz'}: {message}")
    assert "\n" not in str(error.value)
    assert str(error.value).count("bad.npz") == 1
    with pytest.raises(
        CheckpointError, match=r"or directory; xpnet\.convert reads weights of PyTorch and Keras$"
    ):
        model.load("net.weights.h5")
    for name, array in on_host(model).items():
        np.testing.assert_array_equal(before[name], array)


X, Y = make_data(4)
SIX = data.Dataset("six", data.Examples(X, Y), data.Examples(X, Y), 3)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: m.fit(X[:, :5], Y), r"layer 0, Linear(6, 5): expected x of shape (n, 6), got (4, 5)"),
        (lambda m: m.forward(X[0]), r"layer 0, Linear(6, 5): expected x of shape (n, 6), got (6,); for one example, pass x[None]"),
        (lambda m: m.predict(X[0]), r"layer 0, Linear(6, 5): expected x of shape (n, 6), got (6,); for one example, pass x[None]"),
        (lambda m: m.fit(SIX), "fit: expected x to be an array, got a Dataset; write fit(*dataset.train)"),
        (lambda m: m.evaluate(SIX), "evaluate: expected x to be an array, got a Dataset; write evaluate(*dataset.test)"),
        (lambda m: m.fit(X, Y[:, None]), "CrossEntropy(): expected integer labels of shape (4,) or real targets of shape (4, 3), got float32 of shape (4, 1); labels have no axis of their own: pass y[:, 0]"),
        (lambda m: m.fit(X, Y.astype(float)), "CrossEntropy(): expected integer labels of shape (4,) or real targets of shape (4, 3), got float32 of shape (4,); labels are integers: pass y.astype(int)"),
        (lambda m: m.predict(3.0), r"layer 0, Linear(6, 5): expected x of shape (n, 6), got ()"),
        (lambda m: m.fit(X, Y[:3]), "CrossEntropy(): expected 4 labels, one for each example, got 3"),
        (lambda m: m.fit(X, [0, 1, 2, 3]), "CrossEntropy(): expected labels from 0 to 2, got labels from 0 to 3"),
        (lambda m: m.evaluate(X, [0, -1, 2, 1]), "CrossEntropy(): expected labels from 0 to 2, got labels from -1 to 2"),
        (lambda m: m.fit(X, X), "CrossEntropy(): expected integer labels of shape (4,) or real targets of shape (4, 3)"),
        (lambda m: m.fit(X, [0.0, 1.0, 2.0, 1.0]), "CrossEntropy(): expected integer labels of shape (4,)"),
        (lambda m: m.fit(X[:0], Y[:0]), "expected at least one example, got x of shape (0, 6)"),
        (lambda m: m.fit([["a"] * 6], [1]), "expected an array of real numbers, got dtype <U1"),
        (lambda m: m.fit([[1, 2], [3]], [1, 2]), "expected an array of numbers, got uneven rows"),
        (lambda m: m.fit(X, Y, batch_size=0), "fit: expected batch_size to be an integer of at least 1, got 0"),
        (lambda m: m.loss(Y), "Model: expected a call of forward(x) first, got none"),
        (lambda m: m.summary((6,), batch_size=0), "summary: expected batch_size to be an integer of at least 1, got 0"),
        (lambda m: m.summary(6), "summary: expected input_shape to be the shape of one example, such as (28, 28, 1), got 6; write (6,)"),
        (lambda m: m.summary((5,)), "layer 0, Linear(6, 5): expected x of shape (n, 6), got (n, 5)"),
    ],
)  # fmt: skip
def test_refuses_bad_input_in_one_line(use, message: str) -> None:
    model = make_model()
    before = on_host(model)
    with pytest.raises(Error) as error:
        use(model)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    for name, array in on_host(model).items():
        np.testing.assert_array_equal(before[name], array)


def test_one_image_alone_is_told_after_a_training() -> None:
    """Before one, nobody knows whether (28, 28, 1) is an image or 28 rows."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
    for advice in ("", "; for one example, pass x[None]"):
        with pytest.raises(ShapeError) as error:
            model.predict(X[0].reshape(2, 3))
        assert str(error.value) == f"layer 1, Linear(6, 3): expected x of shape (n, 6), got (2, 3){advice}"
        model.fit(X.reshape(4, 2, 3), Y, epochs=1)


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="Model: expected l2 to be a finite number and at least 0, got -1"):
        make_model(l2=-1)
    with pytest.raises(
        ConfigError, match=r"Linear\(0, 3\): expected n_in to be an integer of at least 1, got 0"
    ):
        nn.Linear(0, 3)
    with pytest.raises(ConfigError, match=r"Linear\(3, 2.5\): expected n_out to be an integer"):
        nn.Linear(3, 2.5)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError,
        match=r"Sequential: expected layer 1 to be an xpnet.nn layer, got <class .*; write Tanh\(\)$",
    ):
        nn.Sequential(nn.Tanh(), nn.Tanh)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"got <class .*; write Linear\(…\)$"):
        nn.Residual(nn.Linear)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"got \[Tanh\(\)\]; write Sequential\(\*layers\)$"):
        nn.Sequential([nn.Tanh()])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"got 'relu'; write an object such as ReLU\(\)$"):
        nn.Sequential(nn.Tanh(), "relu")  # type: ignore[arg-type]


def test_a_network_out_of_step_says_which_layer() -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(4, 3))
    params = net.init(np.random.default_rng(0))
    with pytest.raises(
        ShapeError, match=r"^layer 2, Linear\(4, 3\): expected x of shape \(n, 4\), got \(7, 5\)$"
    ):
        net.forward(params, np.zeros((7, 6)))


def test_summary_of_the_last_input_seen() -> None:
    model = make_model()
    assert "(n, 5)" in model.summary((6,))
    assert "(n, 5)" not in model.summary()
    model.forward(X)
    assert model.summary() == model.summary((6,))


@pytest.mark.parametrize("other", [optim.SGD(0.01), optim.Adam(0.02)], ids=str)
def test_another_optimizer_takes_over(other: optim.Optimizer) -> None:
    """It continues from the parameters; its state is fresh unless the old one has the same arrays."""
    x, y = np.random.default_rng(0).normal(size=(24, 5)), np.arange(24) % 3
    model = xpnet.Model(nn.Linear(5, 3), losses.CrossEntropy(), optim.SGD(0.1), dtype="float64")
    model.fit(x, y, epochs=1, batch_size=8)
    expected = xpnet.Model(nn.Linear(5, 3), losses.CrossEntropy(), other, dtype="float64")
    expected.params, expected.epoch = model.params, 1
    model.optimizer = other
    for each in (model, expected):
        each.fit(x, y, epochs=1, batch_size=8)
    np.testing.assert_array_equal(model.params["weight"], expected.params["weight"])


def test_another_learning_rate_keeps_the_momentum() -> None:
    x, y = np.random.default_rng(0).normal(size=(24, 5)), np.arange(24) % 3
    model = xpnet.Model(nn.Linear(5, 3), losses.CrossEntropy(), optim.SGD(0.1, 0.9))
    model.fit(x, y, epochs=1, batch_size=8)
    velocity = model.state.optimizer["velocity"]["weight"].copy()
    model.optimizer = optim.SGD(0.0, 0.9)
    np.testing.assert_array_equal(model.state.optimizer["velocity"]["weight"], velocity)
    before = model.params["weight"].copy()
    assert model.fit(x, y, epochs=1, batch_size=8)[0].learning_rate == 0.0
    np.testing.assert_array_equal(model.params["weight"], before)


@pytest.mark.parametrize("data_is", ["on the device", "on the host", "in batches"])
def test_pixels_that_are_not_scaled_are_told(data_is: str) -> None:
    """With them a network of ReLUs dies in its first steps, and no number of epochs helps."""
    digits = data.load("mnist-sample").train
    x, y = np.round(255 * digits.x[:200]).astype(np.uint8), digits.y[:200]
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))

    def fit(x: np.ndarray, rate: float) -> None:
        model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(rate))
        if data_is == "in batches":
            model.fit(list(data.batches(x, y, 20)), epochs=2)
        else:
            model.fit(x, y, epochs=2, batch_size=20, data_on_device=data_is == "on the device")

    message = (
        r"^fit: the loss of epoch 1 is \S+e\+0\d, and inputs reach 255: scale them, pixels by x / 255, other"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        fit(x, 0.1)
    assert [warning.filename for warning in caught] == [__file__]
    fit(x, 1e-6)  # trains; warnings are errors here
    fit(x / 255, 0.1)
    fit(x / 255, 1e5)  # a rate that is too high is another fault
