"""Weights come in the training dtype through every door."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from xpnet import losses, nn, optim, tree
from xpnet.errors import ConfigError

X, Y = np.random.default_rng(0).normal(size=(20, 200)), np.arange(20) % 3
NET = nn.Sequential(nn.Linear(200, 60), nn.BatchNorm(60), nn.Linear(60, 3))  # a weight large enough for BLAS
DTYPES = ["i8", ">i4", "u1", "?", "f2", "f4", "f8", ">f8", "g", "O", "bfloat16"]


def make_model(place: Place = ("numpy", None), net: nn.Layer = NET, **options: Any) -> xpnet.Model:
    optimizer = options.pop("optimizer", optim.SGD(1e-3))
    return xpnet.Model(net, losses.CrossEntropy(), optimizer, place[0], device=place[1], **options)


def ones(arrays: Any, dtype: str) -> Any:
    kind = (
        getattr(pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed"), dtype)
        if dtype == "bfloat16"
        else dtype
    )
    return tree.map(lambda array: np.ones(tuple(array.shape)).astype(kind), arrays)


def assert_trains(model: xpnet.Model) -> None:
    for _ in range(2):
        assert all(
            array.dtype == model.backend.dtype for array in tree.leaves((model.params, model.statistics))
        )
        model.fit(X, Y, epochs=1, batch_size=10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_assigned_restored_and_loaded(dtype: str, place: Place, tmp_path: Path) -> None:
    model = make_model(place)
    params, statistics = ones(model.params, dtype), ones(model.statistics, dtype)
    model.params = params
    assert_trains(model)
    model.statistics = statistics
    assert_trains(model)
    model.restore(tree.merge(params, statistics))
    assert_trains(model)
    if dtype not in ("O", "bfloat16"):  # no file holds these without pickle
        np.savez(tmp_path / "model.npz", **dict(tree.items(tree.merge(params, statistics))))
        model.load(tmp_path / "model.npz")
        assert_trains(model)


@dataclass(frozen=True, repr=False)
class Own(nn.Layer):
    """A linear layer whose weights are made in a dtype."""

    dtype: str

    def init(self, rng: Any) -> Any:
        return ones({"weight": np.empty((200, 60))}, self.dtype)

    def forward(self, params: Any, x: Any) -> Any:
        return x @ params["weight"], x

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return dy @ params["weight"].T, {"weight": residuals.T @ dy}


@pytest.mark.parametrize("optimizer", [optim.SGD(1e-3), optim.SGD(1e-3, 0.9), optim.Adam()], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_a_layer_s_own_init(dtype: str, optimizer: optim.Optimizer) -> None:
    assert_trains(make_model(net=nn.Sequential(Own(dtype), nn.Linear(60, 3)), optimizer=optimizer))


DRAWN: dict[str, Any] = {
    "integers": lambda rng, shape: np.ones(shape, int),
    "float32": lambda rng, shape: np.ones(shape, np.float32),
    "lists": lambda rng, shape: np.ones(shape).tolist(),
    "PyTorch": lambda rng, shape: pytest.importorskip("torch", reason="PyTorch is not installed").ones(shape),
    "objects": lambda rng, shape: np.ones(shape, object),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_of_an_initialiser(kind: str) -> None:
    draw = DRAWN[kind]
    assert_trains(make_model(net=nn.Linear(200, 3, weight_init=draw, bias_init=draw)))
    table = nn.Embedding(5, 3, weight_init=draw).init(np.random.default_rng(0))
    kernel = nn.Conv1d(2, 3, 3, weight_init=draw).init(np.random.default_rng(0))
    for params in (table, kernel):
        assert params["weight"].dtype == np.float64
        assert (params["weight"] == 1).all()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda rng, shape: np.ones(shape[::-1]), "expected weight_init to return an array of shape (4, 3), got (3, 4)"),
        (lambda rng, shape: 1.0, "expected weight_init to return an array of shape (4, 3), got ()"),
        (lambda rng, shape: None, "weight_init: expected an array of numbers, got None; pass an array"),
        (lambda rng, shape: np.ma.masked_array(np.ones(shape), mask=True), "weight_init: expected an array of numbers, got a masked array with 12"),
    ],
)  # fmt: skip
def test_an_initialiser_of_something_else_is_refused(draw: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_model(net=nn.Linear(4, 3, weight_init=draw))
    assert str(error.value).startswith(f"Linear(4, 3): {message}")
