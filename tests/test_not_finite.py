"""Infinite and NaN values in data and results: one line says where the first one is."""

from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from xpnet import losses, nn, optim
from xpnet._training import outcome
from xpnet.errors import DivergedError, ShapeError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def make_model(
    place: Place = ("numpy", None), loss: losses.Loss | None = None, n_out: int = 3
) -> xpnet.Model:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, n_out))
    return xpnet.Model(net, loss or losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])


def spoilt(value: float = np.nan) -> np.ndarray:
    x = X.copy()
    x[7, 2] = x[30, 0] = value
    return x


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("on_device", [True, False])
def test_in_x(value: str, on_device: bool, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "AT_ONCE", 5)
    model, x = make_model(place), spoilt(BAD[value])
    with pytest.raises(DivergedError, match=rf"in the inputs, in step \d \({value} at x\[7, 2\]\)$"):
        model.fit(x, Y, epochs=1, batch_size=8, data_on_device=on_device)
    found = rf"expected finite numbers in x, got {value} at x\[7, 2\]$"
    with pytest.raises(ShapeError, match=f"^{found}"):
        model.evaluate(x, Y, data_on_device=on_device)
    with pytest.raises(ShapeError, match=f"^validation: {found}"):
        model.fit(X, Y, epochs=1, validation=(x, Y), data_on_device=on_device)
    for predict in (model.predict, model.predict_proba):
        with pytest.raises(ShapeError, match=f"^{found}"):
            predict(x)


def test_in_targets(place: Place) -> None:
    model = make_model(place, losses.MeanSquaredError(), 1)
    y = X[:, :1].copy()
    y[5, 0] = np.nan
    with pytest.raises(DivergedError, match=r"in the targets, in step \d \(nan at y\[5, 0\]\)$"):
        model.fit(X, y, epochs=1, batch_size=8)
    with pytest.raises(ShapeError, match=r"^expected finite numbers in y, got nan at y\[5, 0\]$"):
        model.evaluate(X, y)


def test_a_network_that_has_diverged_says_so(place: Place) -> None:
    model = make_model(place)
    params = [
        {name: np.array(model.backend.to_numpy(a)) for name, a in layer.items()} for layer in model.params
    ]
    params[2]["weight"][1, 2] = np.nan
    model.params = tuple(params)
    found = r"for finite data; the network has diverged: nan at params\.2\.weight\[1, 2\]$"
    for predict in (model.predict, model.predict_proba):
        with pytest.raises(DivergedError, match=f"^predict: expected finite outputs, got nan {found}"):
            predict(X)
    with pytest.raises(DivergedError, match=f"^evaluate: expected a finite loss, got nan {found}"):
        model.evaluate(X, Y)


def test_an_overflow_of_finite_parameters_says_so() -> None:
    model = xpnet.Model(nn.Linear(2, 2), losses.CrossEntropy(), optim.SGD(0.1))
    model.params = {"weight": np.full((2, 2), 1e38), "bias": np.zeros(2)}
    with pytest.raises(
        DivergedError,
        match=r"expected finite outputs, got inf for finite data; its parameters are finite, so a layer divides by zero or overflows float32$",
    ):
        model.predict([[1e30, 1e30]])


class RulesOut(nn.Layer):
    """The logit of class 0 becomes -∞."""

    def forward(self, params: Any, x: Any) -> Any:
        y = x.copy()
        y[:, 0] = -np.inf
        return y, ()


def test_an_output_of_minus_infinity_may_be_meant() -> None:
    net = nn.Sequential(nn.Linear(4, 3), RulesOut())
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
    assert set(model.predict(X)) <= {1, 2}
    assert (model.predict_proba(X)[:, 0] == 0).all()


def test_good_data_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*arguments: Any) -> None:
        raise AssertionError("the data were searched")

    monkeypatch.setattr(outcome, "first_not_finite", search)
    model = make_model()
    model.fit(X, Y, epochs=1, validation=(X, Y))
    model.evaluate(X, Y)
    model.predict(X)
