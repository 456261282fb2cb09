"""The shell: training by hand and by `fit`, what it checks, what it saves."""

import io
import zipfile

import numpy as np
import pytest

import xpnet
from conftest import Place
from xpnet import data, losses, nn, optim, tree
from xpnet.callbacks import Callback
from xpnet.errors import CheckpointError, ConfigError, Error, ShapeError


def make_model(place: Place = ("numpy", None), loss: losses.Loss | None = None, **options) -> xpnet.Model:
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = options.pop("optimizer", optim.SGD(0.1))
    return xpnet.Model(net, loss or losses.CrossEntropy(), optimizer, place[0], device=place[1], **options)


def make_data(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that a small network learns: the largest of three sums of two inputs."""
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
    with pytest.raises(ShapeError, match="expected integer labels to count, got real targets"):
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


@pytest.mark.parametrize(("steps", "whole_epochs"), [(1, 0), (4, 1), (5, 1), (8, 2)])
def test_stop_ends_after_the_current_step(steps: int, whole_epochs: int) -> None:
    """50 examples in batches of 16 are 4 steps an epoch; a broken-off epoch is not in the history."""
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
        (None, "expected a .npz file of parameters: "),
        (b"", "expected a .npz file of parameters: "),
        (b"not a zip file", "expected a .npz file of parameters: "),
        (_pickled(), "expected a .npz file of parameters: "),
        (_no_array(), "expected a .npz file of parameters: 0.weight is no array"),
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
    for name, array in on_host(model).items():
        np.testing.assert_array_equal(before[name], array)


X, Y = make_data(4)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: m.fit(X[:, :5], Y), r"layer 0, Linear(6, 5): expected x of shape (n, 6), got (4, 5)"),
        (lambda m: m.forward(X[0]), r"layer 0, Linear(6, 5): expected x of shape (n, 6), got (6,)"),
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
        ConfigError, match=r"Sequential: expected layer 1 to be an xpnet.nn layer, got <class"
    ):
        nn.Sequential(nn.Tanh(), nn.Tanh)  # type: ignore[arg-type]


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
