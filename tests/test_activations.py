"""Activations: known values, PyTorch's numbers, and arguments far from zero."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conftest import MakeBackend
from laws import assert_kept
from xpnet import nn
from xpnet.errors import ConfigError

Function = Callable[[Any], Any]

PYTORCH: list[tuple[nn.Layer, Callable[[Any], Function]]] = [
    (nn.ReLU(), lambda f: f.relu),
    (nn.LeakyReLU(), lambda f: f.leaky_relu),
    (nn.LeakyReLU(slope=0.3), lambda f: lambda x: f.leaky_relu(x, 0.3)),
    (nn.ELU(), lambda f: f.elu),
    (nn.ELU(alpha=1.7), lambda f: lambda x: f.elu(x, 1.7)),
    (nn.ELU(alpha=0.4), lambda f: lambda x: f.elu(x, 0.4)),
    (nn.GELU(), lambda f: f.gelu),
    (nn.GELU(form="tanh"), lambda f: lambda x: f.gelu(x, approximate="tanh")),
    (nn.GELU(form="sigmoid"), lambda f: lambda x: x * f.sigmoid(1.702 * x)),
    (nn.SiLU(), lambda f: f.silu),
    (nn.Softplus(), lambda f: f.softplus),
    (nn.Sigmoid(), lambda f: f.sigmoid),
    (nn.Tanh(), lambda f: f.tanh),
    (nn.Softmax(), lambda f: lambda x: f.softmax(x, dim=-1)),
]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def both_passes(layer: nn.Layer, x: Any, dy: Any) -> tuple[Any, Any]:
    y, residuals = layer.forward({}, x)
    dx, grads = layer.backward({}, residuals, dy)
    assert grads == {}
    return y, dx


@pytest.mark.parametrize("shape", [(64, 33), (1, 7), (2, 5, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layer", "theirs"), PYTORCH, ids=lambda value: str(value) if isinstance(value, nn.Layer) else ""
)
def test_agrees_with_pytorch(layer: nn.Layer, theirs, dtype: str, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    rng = np.random.default_rng(0)
    host, dy = (3 * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    x = torch.tensor(host, requires_grad=True)
    y = theirs(torch.nn.functional)(x)
    y.backward(torch.tensor(dy))
    ours = both_passes(layer, host, dy)
    for mine, other in zip(ours, (y.detach(), x.grad), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other.numpy(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("layer", "y", "dx"),
    [
        (nn.LeakyReLU(0.2), [-0.4, 0, 2], [0.2, 0.2, 1]),
        (nn.LeakyReLU(0), [0, 0, 2], [0, 0, 1]),
        (nn.LeakyReLU(1), [-2, 0, 2], [1, 1, 1]),
        (nn.ELU(), [math.exp(-2) - 1, 0, 2], [math.exp(-2), 1, 1]),
        (nn.ELU(3), [3 * math.exp(-2) - 3, 0, 2], [3 * math.exp(-2), 3, 1]),
        (nn.ELU(0), [0, 0, 2], [0, 0, 1]),
        (nn.SiLU(), [-2 / (1 + math.exp(2)), 0, 2 / (1 + math.exp(-2))], [-0.0907842487848955, 0.5, 1.0907842487848955]),
        (nn.Softplus(), [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(2))], [1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2))]),
        # Φ(2) and φ(2) from tables of the normal distribution
        (nn.GELU(), [-2 * 0.0227501319481792, 0, 2 * 0.9772498680518208], [0.0227501319481792 - 2 * 0.0539909665131881, 0.5, 0.9772498680518208 + 2 * 0.0539909665131881]),
    ],
    ids=str,
)  # fmt: skip
def test_on_paper(layer: nn.Layer, y: list[float], dx: list[float]) -> None:
    """Values and derivatives at -2, 0 (a kink for some) and 2, worked out on paper."""
    actual_y, actual_dx = both_passes(layer, np.array([[-2.0, 0.0, 2.0]]), np.ones((1, 3)))
    np.testing.assert_allclose(actual_y, [y], rtol=1e-14)
    np.testing.assert_allclose(actual_dx, [dx], rtol=1e-14)


@pytest.mark.parametrize(("form", "distance"), [("tanh", 5e-4), ("sigmoid", 0.021)])
def test_gelu_forms_are_as_close_as_their_docstring_says(form: Any, distance: float) -> None:
    x = np.linspace(-10, 10, 100_001)
    exact, _ = nn.GELU().forward({}, x)
    approximate, _ = nn.GELU(form).forward({}, x)
    assert 0.9 * distance < np.max(np.abs(approximate - exact)) < distance


def test_softmax_of_known_logits() -> None:
    y, dx = both_passes(
        nn.Softmax(), np.log(np.array([[1.0, 2, 5], [3, 3, 2]])), np.array([[1.0, 0, 0], [0, 0, 1]])
    )
    np.testing.assert_allclose(y, [[1 / 8, 2 / 8, 5 / 8], [3 / 8, 3 / 8, 2 / 8]], rtol=1e-14)
    np.testing.assert_allclose(dx, [[7 / 64, -2 / 64, -5 / 64], [-6 / 64, -6 / 64, 12 / 64]], rtol=1e-14)


LARGE = 1e4


@pytest.mark.parametrize(
    ("layer", "y", "dx"),
    [
        (nn.LeakyReLU(), [-100, LARGE], [0.01, 1]),
        (nn.ELU(), [-1, LARGE], [0, 1]),
        (nn.ELU(alpha=1.7), [-1.7, LARGE], [0, 1]),
        (nn.GELU(), [0, LARGE], [0, 1]),
        (nn.GELU(form="tanh"), [0, LARGE], [0, 1]),
        (nn.GELU(form="sigmoid"), [0, LARGE], [0, 1]),
        (nn.SiLU(), [0, LARGE], [0, 1]),
        (nn.Softplus(), [0, LARGE], [0, 1]),
        (nn.Sigmoid(), [0, 1], [0, 0]),
        (nn.Tanh(), [-1, 1], [0, 0]),
        (nn.Softmax(), [0, 1], [0, 0]),
    ],
    ids=str,
)
def test_exact_and_without_warnings_far_from_zero(
    layer: nn.Layer, y: list[float], dx: list[float], make_backend: MakeBackend
) -> None:
    backend = make_backend("float32")
    x = backend.asarray(np.array([[-LARGE, LARGE]]))
    results = both_passes(layer, x, backend.asarray(np.ones((1, 2))))
    assert_kept(backend, results)
    for actual, expected in zip(results, (y, dx), strict=True):
        np.testing.assert_allclose(backend.to_numpy(actual), [expected], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("layer", [layer for layer, _ in PYTORCH if layer != nn.Softmax()], ids=str)
def test_float32_is_float64_rounded_at_all_sizes(layer: nn.Layer) -> None:
    x = np.concatenate([s * np.logspace(-6, 4, 501) for s in (-1, 1)])[:, None].astype(np.float32)
    single = both_passes(layer, x, np.ones_like(x))
    double = both_passes(layer, x.astype(np.float64), np.ones(x.shape))
    for actual, expected in zip(single, double, strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LeakyReLU(-0.1), "LeakyReLU: expected slope to be a number from 0 to 1, got -0.1"),
        (lambda: nn.LeakyReLU(2), "LeakyReLU: expected slope to be a number from 0 to 1, got 2"),
        (lambda: nn.LeakyReLU(math.nan), "LeakyReLU: expected slope to be a number from 0 to 1, got nan"),
        (lambda: nn.LeakyReLU("0.1"), "LeakyReLU: expected slope to be a number from 0 to 1, got '0.1'"),
        (lambda: nn.ELU(-1), "ELU: expected alpha to be a finite number and at least 0, got -1"),
        (lambda: nn.ELU(math.inf), "ELU: expected alpha to be a finite number and at least 0, got inf"),
        (lambda: nn.GELU("erf"), "GELU: expected form to be 'exact', 'tanh' or 'sigmoid', got 'erf'"),
        (lambda: nn.GELU(None), "GELU: expected form to be 'exact', 'tanh' or 'sigmoid', got None"),
    ],
)
def test_refuses_hyper_parameters_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message
