"""The faster forms of networks give the same as the plain ones."""

from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import backend, data, gradcheck, losses, nn, optim, tree
from xpnet._training import step
from xpnet.backend import Product, _numpy_blas
from xpnet.nn import _stacked, _winograd, fast
from xpnet.nn._library import library_form
from xpnet.nn._winograd import WinogradConv2d

MLP = nn.Sequential(
    nn.Residual(nn.Linear(6, 6, bias=False)), nn.Linear(6, 5), nn.Dropout(0.3), nn.Tanh(), nn.Linear(5, 3)
)


@pytest.fixture(params=["openblas", "few numbers", "another BLAS"])
def blas(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "openblas":
        monkeypatch.setattr(_numpy_blas, "FEW", 0)
    if request.param == "another BLAS":
        monkeypatch.setattr(_numpy_blas, "_gemm", lambda char: None)


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
    """Without it everything would be right, but slower."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert (_numpy_blas._gemm("f") is not None) == ("openblas" in blas)


PENALIZED = [
    optim.SGD(0.1),
    optim.SGD(0.1, 0.9),
    optim.SGD(0.1, 0.9, nesterov=True),
    *[kind(0.1) for kind in step.DECAY_GRADIENTS[1:]],
]


@pytest.mark.parametrize("optimizer", [*PENALIZED, optim.AdamW(), optim.SGD(0.1, weight_decay=0.2)], ids=repr)
def test_an_optimizer_that_adds_the_gradient_of_the_penalty_itself_has_the_same_bits(
    optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 6)), rng.integers(3, size=20)
    schedule = xpnet.schedules.Cosine(epochs=2)

    def train() -> list[Any]:
        model = xpnet.Model(MLP, losses.CrossEntropy(), optimizer, l2=0.3)
        metrics = model.fit(x, y, epochs=2, batch_size=8, schedule=schedule)
        return [metrics[-1].train_loss, *tree.leaves(model.params)]

    assert (step.with_penalty(optimizer, 0.3) is not optimizer) == (optimizer in PENALIZED)
    found = train()
    monkeypatch.setattr(step, "with_penalty", lambda optimizer, l2: optimizer)
    for array, expected in zip(found, train(), strict=True):
        np.testing.assert_array_equal(array, expected)


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
        added: list[Product] = []
        add_to = Product.add_to

        def counted(product: Product, *arguments: Any) -> Any:
            added.append(product)
            return add_to(product, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Product, "add_to", counted)
            model.fit(x, y, epochs=3, batch_size=16, schedule=schedule)
        assert bool(added) == defer  # so that the test compares two forms
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


CONVOLUTIONS = [
    (nn.Conv2d(8, 9, 3, padding="same"), (7, 8, 12)),
    (nn.Conv2d(9, 8, 3), (6, 13, 9)),
    (nn.Conv2d(8, 8, 3, padding=3, bias=False), (5, 2, 5)),
    (nn.Conv2d(8, 10, 5), (6, 12, 12)),
    (nn.Conv2d(10, 8, 5, padding="same"), (4, 9, 14)),
    (nn.Conv2d(8, 8, 5, padding=1), (9, 3, 8)),
]


def on_numpy(net: nn.Layer) -> Any:
    return fast.faster(net, backend.get("numpy"))


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
@pytest.mark.parametrize("piece", [None, 1])
def test_winograd_s_convolution_is_the_plain_one(
    layer: Any, shape: Any, dtype: str, tolerance: float, piece: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all images at once, and for pieces of which the last is smaller."""
    if piece is not None:
        monkeypatch.setattr(_winograd, "PIECE", piece)
    winograd = on_numpy(layer)
    assert isinstance(winograd, WinogradConv2d)
    assert winograd.output_shape((*shape, layer.in_channels)) == layer.output_shape(
        (*shape, layer.in_channels)
    )
    rng = np.random.default_rng(0)
    params = tree.map(lambda p: rng.normal(size=p.shape).astype(dtype), layer.init(rng))
    x = rng.normal(size=(*shape, layer.in_channels)).astype(dtype)
    dy = rng.normal(size=layer.output_shape(x.shape)).astype(dtype)
    assert (len(winograd._pieces(x.shape)) > 1) == (piece == 1)
    results = []
    for each in (layer, winograd):
        y, residuals = each.forward(params, x)
        dx, grads = each.backward(params, residuals, dy)
        alone = each.parameter_gradients(params, residuals, dy)
        results.append(dict(tree.items({"y": y, "dx": dx, "grads": grads, "alone": alone})))
    for name, expected in results[0].items():
        found = results[1][name]
        assert found.dtype == dtype
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.std(), err_msg=name)


@pytest.mark.parametrize("piece", [None, 8640, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_winograd_s_convolutions_of_networks_are_those_of_each(
    piece: int | None, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All networks in one piece, in pieces of two, and each in several pieces."""
    if piece is not None:
        monkeypatch.setattr(_winograd, "PIECE", piece)
    residuals = require_same_as_each(on_numpy(nn.Conv2d(8, 10, 3, padding="same", bias=bias)), (6, 6, 5, 8))
    assert len(residuals.v) == {None: 1, 8640: 2, 1: 9}[piece]


LIBRARY_CONVOLUTIONS = [
    (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding="same"), (4, 5, 6, 2)),
    (nn.Conv1d(1, 2, 3, bias=False), (4, 5, 1)),
]


@pytest.mark.parametrize(("layer", "shape"), LIBRARY_CONVOLUTIONS, ids=str)
def test_a_library_s_convolution_of_networks_is_that_of_each(layer: Any, shape: Any) -> None:
    form = library_form(layer)
    require_same_as_each(form, shape)
    three, rng = _stacked.stacked([form] * 3), np.random.default_rng(0)
    assert _stacked.shares_inputs(three)
    params = tree.map(lambda p: rng.normal(size=(3, *p.shape)), layer.init(rng))
    x, dy = rng.normal(size=(1, *shape)), rng.normal(size=(3, *layer.output_shape(shape)))
    results = []
    for each in (x, np.concatenate([x] * 3)):
        y, residuals = three.forward(params, each)
        results.append({"y": y, **three.parameter_gradients(params, residuals, dy)})
    for name, found in results[0].items():
        np.testing.assert_allclose(found, results[1][name], rtol=0, atol=1e-12, err_msg=name)


def require_same_as_each(layer: Any, shape: tuple[int, ...]) -> Any:
    """Three networks at once give what each gives alone, for x of this shape. Returns their residuals."""
    three, rng = _stacked.stacked([layer] * 3), np.random.default_rng(0)
    assert not isinstance(three, _stacked.OneByOne)
    params = tree.map(lambda p: rng.normal(size=(3, *p.shape)), layer.init(rng))
    x, dy = rng.normal(size=(3, *shape)), rng.normal(size=(3, *layer.output_shape(shape)))
    assert three.output_shape(x.shape) == dy.shape
    y, residuals = three.forward(params, x)
    dx, grads = three.backward(params, residuals, dy)
    found = {"y": y, "dx": dx, "grads": grads, "alone": three.parameter_gradients(params, residuals, dy)}
    for k in range(3):
        own = tree.map(lambda p: p[k], params)  # noqa: B023
        its_y, its_residuals = layer.forward(own, x[k])
        its_dx, its_grads = layer.backward(own, its_residuals, dy[k])
        expected = {"y": its_y, "dx": its_dx, "grads": its_grads, "alone": its_grads}
        for (name, one), (_, all_of_them) in zip(tree.items(expected), tree.items(found), strict=True):
            np.testing.assert_allclose(all_of_them[k], one, rtol=0, atol=1e-11, err_msg=name)
    return residuals


def test_what_is_prepared_once_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are transformed once per step, and every layer finds its own."""
    block = nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 8, 5, padding="same"))
    net = on_numpy(nn.Sequential(nn.Residual(block), nn.Residual(nn.Conv2d(8, 8, 3, padding="same"))))
    params = net.init(np.random.default_rng(0))
    x, dy = (np.random.default_rng(seed).normal(size=(2, 6, 6, 8)) for seed in (1, 2))
    y, residuals = net.forward(params, x)
    bare = y, *net.backward(params, residuals, dy)
    prepared = fast.prepared(net, params)
    monkeypatch.setattr(WinogradConv2d, "prepare", lambda self, params: pytest.fail("prepared again"))
    y, residuals = net.forward(prepared, x)
    once = y, *net.backward(prepared, residuals, dy)
    for (name, found), (_, expected) in zip(tree.items(once), tree.items(bare), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_winograd_s_gradients_are_those_of_finite_differences() -> None:
    layer, shape = CONVOLUTIONS[1]
    x = np.random.default_rng(0).normal(size=(*shape, layer.in_channels))
    gradcheck.check(on_numpy(layer), x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, 2),
        nn.Conv2d(8, 8, (3, 5)),
        nn.Conv2d(8, 8, 4),
        nn.Conv2d(3, 8, 3),
        nn.Conv1d(8, 8, 3),
    ],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(layer: nn.Layer) -> None:
    assert on_numpy(layer) is layer


class MySequential(nn.Sequential):
    pass


class MyReLU(nn.ReLU):
    pass


class MyLinear(nn.Linear):
    pass


class MyResidual(nn.Residual):
    pass


@pytest.mark.parametrize(
    "net",
    [
        MySequential(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Linear(2, 2)),
        nn.Sequential(MyReLU(), nn.MaxPool1d(2)),
        MyLinear(3, 3),
        MyResidual(nn.Conv2d(8, 8, 3, padding="same")),
    ],
    ids=str,
)
def test_classes_of_one_s_own_stay_as_they_are(net: nn.Layer) -> None:
    assert fast.deferred(on_numpy(net)) is net or fast.deferred(on_numpy(net)).layers == net.layers


def test_winograd_is_for_numpy() -> None:
    layer, _ = CONVOLUTIONS[0]
    pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    assert fast.faster(layer, backend.get("array-api-strict")) is layer


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2)], ids=str)
def test_pooling_before_relu_gives_the_same_bits(pool: nn.Layer) -> None:
    net = nn.Sequential(nn.ReLU(), pool, nn.Residual(nn.Sequential(nn.ReLU(), nn.ReLU())), nn.ReLU())
    first, second = on_numpy(net).layers[:2]
    assert isinstance(first, type(pool))
    assert type(second) is nn.ReLU
    faster = fast.pool_first(net)
    assert [type(layer) for layer in faster.layers[:2]] == [type(pool), nn.ReLU]
    assert faster.layers[2:] == net.layers[2:]
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, size=(4, 9, 8, 2)).astype(np.float32)  # with ties, and windows all negative
    params = net.init(rng)
    y, residuals = net.forward(params, x)
    dy = rng.normal(size=y.shape).astype(np.float32)
    found, found_residuals = faster.forward(params, x)
    np.testing.assert_array_equal(found, y)
    dx, _ = net.backward(params, residuals, dy)
    np.testing.assert_array_equal(faster.backward(params, found_residuals, dy)[0], dx)


def test_a_convolutional_network_learns_the_same() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 10, 10, 3)), rng.integers(3, size=40)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(8, 8, 3, padding="same")),
        nn.BatchNorm(8),
        nn.Dropout(0.2),
        nn.Conv2d(8, 9, 5, padding=1),
        nn.ReLU(),
        nn.GlobalAvgPool(),
        nn.Linear(9, 3),
    )
    trained = []
    for winograd in ((), ("float64",)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend.NumPy, "winograd", winograd)
            model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1, 0.9), dtype="float64")
        model.fit(x, y, epochs=2, batch_size=16)
        trained.append(dict(tree.items(model.params)))
    for name, array in trained[0].items():
        np.testing.assert_allclose(trained[1][name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_ties_of_max_pooling_are_broken_alike_in_float64() -> None:
    """Images with a constant border have windows of equal values: the first one gets the gradient everywhere."""
    pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    digits = data.load("mnist-sample").train
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.GlobalAvgPool(),
        nn.Linear(8, 10),
    )
    numpy, strict = (
        xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1, 0.9), name, dtype="float64")
        for name in ("numpy", "array-api-strict")
    )
    for model in (numpy, strict):
        model.fit(digits.x[:100], digits.y[:100], epochs=2, batch_size=25)
    found = dict(tree.items(numpy.params))
    for name, array in tree.items(tree.map(strict.backend.to_numpy, strict.params)):
        np.testing.assert_allclose(found[name], array, rtol=1e-11, atol=1e-13, err_msg=name)
