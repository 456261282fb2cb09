"""Dask, a library that needs one file and no change elsewhere: networks train on it as on NumPy."""

import numpy as np
import pytest

import xpnet
from cases import LAYERS, LOSSES, draw
from laws import assert_close
from xpnet import losses, nn, optim
from xpnet.testing import layers as layer_laws
from xpnet.testing import losses as loss_laws

pytest.importorskip("dask.array", reason="Dask is not installed")

MLP = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
NORMALIZED = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 3))
CNN = nn.Sequential(
    nn.Conv2d(2, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.GlobalAvgPool()
)


@pytest.mark.parametrize(
    ("net", "optimizer", "shape"),
    [
        (MLP, optim.SGD(0.1, momentum=0.9), (20, 6)),
        (NORMALIZED, optim.Adam(0.01), (20, 6)),
        (CNN, optim.SGD(0.1), (20, 8, 8, 2)),
    ],
    ids=["MLP", "BatchNorm and Dropout", "CNN"],
)
def test_trains_as_numpy_does(net: nn.Layer, optimizer: optim.Optimizer, shape: tuple[int, ...]) -> None:
    x, y = draw(shape), np.arange(shape[0]) % 3

    def train(backend: str) -> tuple:
        model = xpnet.Model(net, losses.CrossEntropy(), optimizer, backend, dtype="float64")
        history = model.fit(x, y, epochs=2, batch_size=8, validation=(x, y))
        state = {"params": model.params, "statistics": model.statistics}
        predictions = model.predict_proba(x)
        return model.backend, [metrics[1:5] for metrics in history], state, predictions

    _, history, state, predictions = train("numpy")
    place, found_history, found, found_predictions = train("dask")
    np.testing.assert_allclose(found_history, history, rtol=1e-9)
    assert_close(place, found, state, 1e-9)
    np.testing.assert_allclose(found_predictions, predictions, rtol=1e-8)


def test_a_state_keeps_no_history() -> None:
    """Its arrays are computed after each step; otherwise the task graph would grow with every step."""
    model = xpnet.Model(MLP, losses.CrossEntropy(), optim.SGD(0.1), "dask")
    model.fit(draw((20, 6)), np.arange(20) % 3, epochs=2, batch_size=5)
    assert all(len(layer["weight"].dask) == 1 for layer in model.params if layer)


def test_layers_and_losses_agree_with_numpy() -> None:
    dask = xpnet.backend.get("dask", dtype="float64")
    for case in LAYERS:
        layer_laws.agrees_with_numpy(case.trial, dask)
    for case in LOSSES:
        loss_laws.agrees_with_numpy(case.trial, dask)
