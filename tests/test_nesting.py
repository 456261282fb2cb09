"""Containers inside each other: everything works up to a depth, beyond which the constructor says so."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import init, losses, nn, optim
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn.containers import DEEPEST

X, Y = np.ones((6, 3)), np.arange(6) % 3


def nested(wrap: Callable[[nn.Layer], nn.Layer], depth: int) -> nn.Layer:
    net: nn.Layer = nn.Linear(3, 3)
    for _ in range(depth):
        net = wrap(net)
    return net


WRAPS: dict[str, Callable[[nn.Layer], nn.Layer]] = {"Residual": nn.Residual, "Sequential": nn.Sequential}


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("depth", [DEEPEST + 1, 400])
def test_too_deep_is_refused(name: str, depth: int) -> None:
    message = (
        f"^{name}: expected layers at most 100 deep inside each other, got more; put blocks side by side: "
    )
    with pytest.raises(ConfigError, match=message):
        nested(WRAPS[name], depth)


@dataclass(frozen=True, repr=False)
class Wrapped(nn.Container):
    """A user's own container, whose constructor checks nothing."""

    inner: nn.Layer

    def children(self) -> dict[Any, nn.Layer]:
        return {"inner": self.inner}

    def forward(self, params: Any, x: Any) -> Any:
        y, residuals = self.inner.forward(params["inner"], x)
        return y, nn.ContainerResiduals({"inner": residuals})


def test_a_model_of_own_containers_that_are_too_deep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Wrapped: expected layers at most 100 deep"):
        xpnet.Model(nested(Wrapped, 400), losses.CrossEntropy(), optim.SGD(0.1))


def test_shared_layers_count_once() -> None:
    """Each container holds the one before it twice: 2⁶⁰ paths."""
    assert nested(lambda net: nn.Residual(net, net), 60).children()


@pytest.mark.parametrize("name", WRAPS)
def test_everything_works_at_the_greatest_depth(name: str, tmp_path: Path) -> None:
    net = nested(WRAPS[name], DEEPEST)
    model = xpnet.Model(net, losses.CrossEntropy(), optim.Adam(1e-9))
    model.fit(X, Y, epochs=1)
    model.forward(X)
    model.backward(Y)
    model.step()
    model.save_checkpoint(tmp_path / "checkpoint")
    model.load_checkpoint(tmp_path / "checkpoint")
    model.save(tmp_path / "model.npz")
    model.load(tmp_path / "model.npz")
    model.params = model.params
    assert model.summary((3,))
    assert repr(net).startswith(name)
    assert net == pickle.loads(pickle.dumps(net)) == copy.deepcopy(net)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
    with pytest.raises(ShapeError, match=r"expected x of shape \(n, 3\), got \(6, 2\)"):
        model.predict(X[:, :2])


def test_many_blocks_side_by_side() -> None:
    model = xpnet.Model(
        nn.Sequential(*[nn.Residual(nn.Linear(3, 3, weight_init=init.zeros)) for _ in range(400)]),
        losses.CrossEntropy(),
        optim.SGD(1e-9),
    )
    model.fit(X, Y, epochs=1)
