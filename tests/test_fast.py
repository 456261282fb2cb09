"""The faster forms of networks do what the plain ones do."""

from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import losses, nn, optim, tree
from xpnet.backend import Product, _products

MLP = nn.Sequential(
    nn.Residual(nn.Linear(6, 6, bias=False)), nn.Linear(6, 5), nn.Dropout(0.3), nn.Tanh(), nn.Linear(5, 3)
)


@pytest.fixture(params=["openblas", "another BLAS"])
def blas(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "another BLAS":
        monkeypatch.setattr(_products, "_gemm", lambda char: None)


def matrices(dtype: str, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in ((7, 4), (7, 5), (4, 5))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["as they are", "transposed", "with gaps"])
def test_a_product_is_added_as_its_formula_says(blas: None, dtype: str, layout: str) -> None:
    x, dy, total = matrices(dtype)
    if layout == "transposed":
        x, dy = (np.asfortranarray(array) for array in (x, dy))
    if layout == "with gaps":
        x, dy = (np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3] for array in (x, dy))
    expected = 0.5 * total - 0.1 * (x.T @ dy)
    product = Product(x.T, dy)
    found = product.add_to(total, np.float32(-0.1), 0.5)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(product.evaluate(), x.T @ dy)


def test_numpy_s_openblas_is_found() -> None:
    """Else all would still be right, and slower."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert (_products._gemm("f") is not None) == ("openblas" in blas)


@pytest.mark.parametrize("optimizer", [optim.SGD(0.3), optim.SGD(0.1, momentum=0.9)], ids=str)
@pytest.mark.parametrize("schedule", [None, xpnet.schedules.Cosine(epochs=3)], ids=str)
def test_deferred_gradients_train_the_same(
    blas: None, optimizer: Any, schedule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 6)), rng.integers(3, size=50)

    def train(net: nn.Layer, defer: bool) -> dict[str, np.ndarray]:
        with monkeypatch.context() as patch:
            patch.setattr(xpnet.backend.NumPy, "adds_products", defer)
            model = xpnet.Model(net, losses.CrossEntropy(), optimizer, dtype="float64")
        before, values = model.params, tree.map(np.copy, model.params)
        model.fit(x, y, epochs=3, batch_size=16, schedule=schedule)
        overwritten = [(a != b).any() for a, b in zip(*map(tree.leaves, (before, values)), strict=True)]
        if optimizer.momentum == 0 and _products._gemm("d"):
            assert any(overwritten) == defer  # so this test has compared two things
        return dict(tree.items(model.params))

    expected, found = train(MLP, defer=False), train(MLP, defer=True)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("optimizer", "l2"),
    [
        (optim.SGD(0.1, momentum=0.9, nesterov=True), 0.0),
        (optim.SGD(0.1, weight_decay=0.1), 0.0),
        (optim.SGD(0.1), 0.1),
        (optim.AverageWeights(optim.SGD(0.1)), 0.0),
        (optim.ClipNorm(optim.SGD(0.1), 1.0), 0.0),
        (optim.Adam(), 0.0),
    ],
    ids=str,
)
def test_whoever_needs_the_gradients_themselves_gets_them(optimizer: Any, l2: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 6)), rng.integers(3, size=50)
    model = xpnet.Model(MLP, losses.CrossEntropy(), optimizer, l2=l2)
    first, *_, last = model.fit(x, y, epochs=20, batch_size=16)
    assert last.train_loss < first.train_loss


def test_micro_batches_add_up_their_gradients() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 6)), rng.integers(3, size=50)
    trained = []
    for micro_batch in (None, 5):
        model = xpnet.Model(
            MLP, losses.CrossEntropy(), optim.SGD(0.1), dtype="float64", micro_batch=micro_batch
        )
        model.fit(x, y, epochs=2, batch_size=16)
        trained.append(dict(tree.items(model.params)))
    for name, array in trained[0].items():
        np.testing.assert_allclose(trained[1][name], array, rtol=1e-10, err_msg=name)
