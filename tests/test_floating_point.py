"""A program that makes floating-point errors or warnings exceptions: xpnet trains as ever."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import cases
import xpnet
from cases import LayerCase, LossCase
from xpnet import data, losses, nn, optim
from xpnet.errors import ConfigError, DivergedError, ShapeError

SCALES = (1.0, 1e-25, 100.0)  # the square of the second is no float32, nor is exp of the third


@pytest.fixture(autouse=True)
def _everything_raises() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def use(model: xpnet.Model, x: np.ndarray, y: np.ndarray) -> None:
    """All that computes, in one call and by hand."""
    model.fit(x, y, epochs=2, batch_size=max(1, len(x) // 2), validation=(x, y))
    model.evaluate(x, y)
    model.predict(x)
    if hasattr(model.loss_function, "probabilities"):
        model.predict_proba(x)
    model.forward(x)
    model.loss(y)
    model.backward(y)
    model.step()


@pytest.mark.parametrize("case", cases.LAYERS, ids=str)
def test_every_layer(case: LayerCase) -> None:
    net = nn.Sequential(case.layer, nn.Flatten())
    shape = net.output_shape(case.shape)
    for scale in SCALES:
        x = case.draw_x() if case.entries else scale * case.draw_x()
        model = xpnet.Model(net, losses.MeanAbsoluteError(), optim.SGD(1e-3), l2=1e-3)
        if len(x) == 1:  # too few for batch normalisation, which warns
            x = np.concatenate([x, x + 1, 2 * x, x - 1])
        use(model, x, np.ones((len(x), *shape[1:])))


def is_for_models(case: LossCase) -> bool:
    """Whether a `Model` takes such outputs and targets; a loss alone takes more."""
    try:
        case.loss.check(case.shape, np.asarray(case.target))
    except (ConfigError, ShapeError):
        return False
    return True


@pytest.mark.parametrize("case", [case for case in cases.LOSSES if is_for_models(case)], ids=str)
def test_every_loss(case: LossCase) -> None:
    for scale in SCALES:
        model = xpnet.Model(nn.Linear(3, case.shape[1]), case.loss, optim.SGD(1e-3))
        use(model, scale * cases.draw((case.shape[0], 3)), case.target)


@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=str)
def test_every_optimizer(optimizer: optim.Optimizer) -> None:
    for scale in SCALES[:2]:
        model = xpnet.Model(nn.Linear(3, 2), losses.MeanSquaredError(), optimizer, l2=1e-30)
        use(model, scale * cases.draw((6, 3)), np.zeros((6, 2)))


@pytest.mark.usefixtures("two_threads")
def test_parts_of_a_batch_and_chunks_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, too: those of the parts and the one that reads."""
    monkeypatch.setattr(xpnet.backend.NumPy, "workers", 2)
    net = nn.Sequential(nn.Conv2d(1, 8, 5, padding="same"), nn.Sigmoid(), nn.GlobalAvgPool(), nn.Linear(8, 3))
    model = xpnet.Model(
        net, losses.CrossEntropy(), optim.Adam(), augment=data.augment.RandomCrop(2), micro_batch=64
    )
    x = 1e-25 * cases.draw((256, 12, 12, 1))
    for on_device in (True, False):
        model.fit(x, np.arange(256) % 3, epochs=1, batch_size=128, data_on_device=on_device)


def test_numbers_beyond_the_dtype_of_training() -> None:
    model = xpnet.Model(nn.Linear(2, 2), losses.CrossEntropy(), optim.SGD(0.1))
    model.fit([[1e-300, 1.0], [2.0, 1e-300]], [0, 1], epochs=1)
    model.params = {"weight": np.full((2, 2), 1e-300), "bias": [0.0, 0.0]}
    with pytest.raises(DivergedError, match=r"in the inputs, in step 1 \(inf at x\[1, 0\]\)"):
        model.fit([[1.0, 1.0], [1e300, 1.0]], [0, 1], epochs=1)


def test_a_rate_too_high_is_a_diverged_error() -> None:
    model = xpnet.Model(
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), losses.CrossEntropy(), optim.SGD(1e30)
    )
    with pytest.raises(DivergedError, match="a lower learning rate may help"):
        model.fit(cases.draw((8, 2)), np.arange(8) % 2, epochs=3)
