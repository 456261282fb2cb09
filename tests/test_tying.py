"""Tied parameters: one array in two layers, equal to PyTorch's tying and to finite differences."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_close, fetch
from xpnet import gradcheck, losses, nn, optim, tree
from xpnet.backend import Product
from xpnet.errors import CheckpointError, ConfigError, ShapeError
from xpnet.nn import fast

WORDS = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 7))
TIED = nn.Tied(WORDS, {"4.weight": "0.weight.T"})


def make_data(n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(7, size=(n, 2)), rng.integers(7, size=n)


def make_model(net: nn.Layer = TIED, place: Place = ("numpy", None), **options) -> xpnet.Model:
    options = {"dtype": "float64", "optimizer": optim.SGD(0.1, 0.9), "l2": 0.01} | options
    return xpnet.Model(net, losses.CrossEntropy(), backend=place[0], device=place[1], **options)


def names(arrays: object) -> list[str]:
    return [name for name, _ in tree.items(arrays)]


def test_the_array_exists_once(tmp_path: Path) -> None:
    """In the tree, counts, the penalty, the optimizer's state, files and checkpoints."""
    given = {"2.weight": "0.weight.T"}
    net = nn.Tied(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 5)), given)
    given.clear()
    assert net.ties == {"2.weight": "0.weight.T"}
    model, once = make_model(), ["0.weight", "2.bias", "2.weight", "4.bias"]
    assert names(model.params) == names(model.grads) == once
    assert names(model.state.optimizer) == [f"velocity.{name}" for name in once]
    assert model.parameter_count() == 28 + 36 + 7
    squares = sum(float(np.sum(w * w)) for w in (model.params[0]["weight"], model.params[2]["weight"]))
    assert model.evaluate(*make_data()).loss - make_model(l2=0.0).evaluate(
        *make_data()
    ).loss == pytest.approx(0.005 * squares)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        assert sorted(file) == once


def test_training_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = make_model(optimizer=optim.Adam(0.01), l2=0.0)
    embedding, hidden, output = (
        torch.nn.Embedding(7, 4).double(), torch.nn.Linear(8, 4).double(), torch.nn.Linear(4, 7).double(),
    )  # fmt: skip
    output.weight = embedding.weight
    with torch.no_grad():
        embedding.weight.copy_(torch.tensor(model.params[0]["weight"]))
        hidden.weight.copy_(torch.tensor(model.params[2]["weight"].T.copy()))
        for layer in (hidden, output):
            layer.bias.zero_()
    parameters = [embedding.weight, hidden.weight, hidden.bias, output.bias]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    x, y = map(torch.tensor, make_data())
    for _ in range(10):
        optimizer.zero_grad()
        logits = output(torch.tanh(hidden(embedding(x).flatten(1))))
        torch.nn.functional.cross_entropy(logits, y).backward()
        optimizer.step()
    model.fit(*make_data(), epochs=10, batch_size=30, shuffle=False)
    np.testing.assert_allclose(model.params[0]["weight"], embedding.weight.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(model.params[2]["weight"].T, hidden.weight.detach().numpy(), rtol=1e-9)


def test_every_library_trains_alike(place: Place) -> None:
    model, expected = make_model(place=place), make_model()
    for each in (model, expected):
        each.fit(*make_data(), epochs=3, batch_size=10)
    assert_close(model.backend, model.params, expected.params, 1e-10)


def test_steps_by_hand_micro_batches_and_fit_agree() -> None:
    x, y = make_data()
    models = [make_model() for _ in range(2)] + [make_model(micro_batch=7)]
    for _ in range(4):
        models[0].forward(x)
        models[0].zero_grads()
        models[0].backward(y)
        models[0].step()
    for model in models[1:]:
        model.fit(x, y, epochs=4, batch_size=30, shuffle=False)
    for model in models[1:]:
        assert_close(model.backend, model.params, models[0].params, 1e-11)
    gradcheck.check(models[0], x, y)


def test_plain_descent_which_defers_gradients_is_right() -> None:
    """The gradient of a tied weight is an array; those of other layers stay products."""
    deferred, plain = (
        make_model(optimizer=each, l2=0.0) for each in (optim.SGD(0.1), optim.SGD(np.array(0.1)))
    )
    for model in (deferred, plain):
        model.fit(*make_data(), epochs=3, batch_size=10)
    assert_close(plain.backend, deferred.params, plain.params, 1e-12)
    x, y = make_data()
    net = fast.deferred(TIED)
    prediction, residuals = net.forward(plain.params, x)
    loss = losses.CrossEntropy()
    grads = net.parameter_gradients(plain.params, residuals, loss.backward(loss.forward(prediction, y)[1]))
    assert isinstance(grads[2]["weight"], Product)
    assert isinstance(grads[0]["weight"], np.ndarray)


def test_files_checkpoints_and_copies(tmp_path: Path) -> None:
    model, unbroken = make_model(), make_model()
    unbroken.fit(*make_data(), epochs=4, batch_size=10)
    model.fit(*make_data(), epochs=2, batch_size=10)
    model.save_checkpoint(tmp_path / "checkpoint")
    model.save(tmp_path / "model.npz")
    resumed, loaded = make_model(), make_model()
    resumed.load_checkpoint(tmp_path / "checkpoint")
    loaded.load(tmp_path / "model.npz")
    x, _ = make_data()
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))
    for each in (resumed, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        each.fit(*make_data(), epochs=2, batch_size=10)
        np.testing.assert_array_equal(each.params[0]["weight"], unbroken.params[0]["weight"])
    make_model(WORDS).save(tmp_path / "untied.npz")
    with pytest.raises((CheckpointError, ShapeError), match=r"4\.weight"):
        make_model().load(tmp_path / "untied.npz")


def test_the_summary_counts_it_once() -> None:
    tied, untied = make_model(), make_model(WORDS)
    for arguments in ((), ((2,), 10)):
        lines, others = (model.summary(*arguments).splitlines() for model in (tied, untied))
        assert len(lines) == len(others)
        output = next(line for line in lines if line.startswith("Linear(4, 7)"))
        assert " 7 " in f"{output} "
        assert any(line.startswith("total") and " 71" in line for line in lines)
    assert tied.step_memory((2,)).parameters == 71 * 8
    assert tied.step_memory((2,)).saved_activations == untied.step_memory((2,)).saved_activations


BLOCK = nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.BatchNorm(8), nn.ReLU(), nn.MaxPool2d(2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_nested_containers_and_with_fast_forms(dtype: str, place: Place) -> None:
    """Two convolutions share a kernel, in Winograd's form where a library has it; statistics stay apart."""
    residual = nn.Residual(
        nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.BatchNorm(8), nn.Dropout(0.2))
    )
    net = nn.Sequential(BLOCK, residual, nn.GlobalAvgPool(), nn.Linear(8, 3))
    tied = nn.Sequential(
        nn.Tied(nn.Sequential(*net.layers[:2]), {"1.branch.0.weight": "0.0.weight"}), *net.layers[2:]
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 8, 8, 8)), np.arange(12) % 3
    model, expected = make_model(tied, place, dtype=dtype), make_model(tied, dtype="float64")
    assert "0.1.branch.0.weight" not in names(model.params)
    assert names(model.statistics)[:2] == ["0.0.1.running_mean", "0.0.1.running_variance"]
    for each in (model, expected):
        each.fit(x, y, epochs=2, batch_size=6)
    tolerance = 2e-3 if dtype == "float32" else 1e-9
    for part in ("params", "statistics"):
        for found, wanted in zip(
            *(tree.leaves(fetch(m.backend, getattr(m, part))) for m in (model, expected)), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_a_chain_of_containers_and_several_ties() -> None:
    layer = nn.Linear(4, 4)
    net = nn.Tied(
        nn.Sequential(
            layer, nn.Tanh(), layer, nn.Tanh(), nn.Tied(nn.Sequential(layer, layer), {"1.weight": "0.weight"})
        ),
        {"2.weight": "0.weight", "4.0.weight": "0.weight.T", "2.bias": "0.bias"},
    )
    params = net.init(np.random.default_rng(0))
    assert names(params) == ["0.bias", "0.weight", "4.0.bias", "4.1.bias"]
    gradcheck.check(net, np.random.default_rng(1).normal(size=(5, 4)), params=params)


def test_a_layer_that_stands_twice_shares_nothing() -> None:
    layer = nn.Linear(4, 4)
    first, second = nn.Sequential(layer, layer).init(np.random.default_rng(0))
    assert not np.array_equal(first["weight"], second["weight"])


def test_divergence_names_the_layer() -> None:
    model = make_model(optimizer=optim.SGD(1e300))
    with np.errstate(all="ignore"), pytest.raises(xpnet.DivergedError, match="layer"):
        model.fit(*make_data(), epochs=3, batch_size=10)


@pytest.mark.parametrize(
    ("net", "ties", "message"),
    [
        (WORDS, {"4.weights": "0.weight.T"}, "Tied: expected a parameter of the network (0.weight, 2.bias, 2.weight, 4.bias, 4.weight), got '4.weights'"),
        (WORDS, {"4.weight": "1.weight"}, "Tied: expected a parameter of the network (0.weight, 2.bias, 2.weight, 4.bias, 4.weight), got '1.weight'"),
        (WORDS, {"4": "0"}, "Tied: expected a parameter of the network (0.weight, 2.bias, 2.weight, 4.bias, 4.weight), got '4'"),
        (WORDS, {"4.weight": "0.weight"}, "Tied: expected 0.weight to have the shape of 4.weight, (4, 7), got (7, 4); write '0.weight.T'"),
        (WORDS, {"4.weight": "2.weight"}, "Tied: expected 2.weight to have the shape of 4.weight, (4, 7), got (8, 4)"),
        (WORDS, {"4.bias": "2.bias.T"}, "Tied: expected 2.bias.T to have the shape of 4.bias, (7,), got ()"),
        (nn.Linear(3, 3), {"weight": "weight.T"}, "Tied: expected weight to be tied to a parameter of its own, got itself"),
        (WORDS, {"4.weight": "2.weight", "2.weight": "0.weight"}, "Tied: expected 4.weight to be tied to a parameter of its own, got 2.weight, which is tied to 0.weight"),
        (WORDS, ["4.weight"], "Tied: expected ties to be a dict of names, {\"3.weight\": \"0.weight\"}, got ['4.weight']"),
        (WORDS, {4: "0.weight"}, "Tied: expected ties to be a dict of names"),
        ([], {"4.weight": "0.weight"}, "Tied: expected net to be an xpnet.nn layer, got []"),
    ],
)  # fmt: skip
def test_refuses_wrong_names_and_shapes(net, ties, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_model(nn.Tied(net, ties))
    assert str(error.value).startswith(message)


def test_ids_stay_integers() -> None:
    """As float32, 2²⁴ + 1 would be 2²⁴."""
    net = nn.Tied(nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7)), {"1.weight": "0.weight.T"})
    assert net.integers == range(7)
    with pytest.raises(ShapeError, match="from 0 to 6, got 7"):
        xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1)).predict(np.array([7, 0]))
