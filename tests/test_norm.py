"""Normalisations: numbers worked out on paper, and PyTorch's."""

from collections.abc import Callable

import numpy as np
import pytest

from xpnet import nn
from xpnet.errors import ConfigError


def test_group_norm_on_paper() -> None:
    """Two groups of two features: means 2 and 20, standard deviations 1 and 10."""
    params = {"scale": np.array([1.0, 2, 3, 4]), "shift": np.array([0.0, 0, 1, 0])}
    x = np.array([[1.0, 3, 10, 30]])
    y, residuals = nn.GroupNorm(2, 4, epsilon=0).forward(params, x)
    np.testing.assert_allclose(y, [[-1, 2, -2, 4]], rtol=1e-15)
    np.testing.assert_allclose(residuals.inverse_std.reshape(-1), [1, 0.1], rtol=1e-15)
    # dx̂ = (1, 0, 0, 0): subtracting its mean 1/2 and x̂ · mean(dx̂ x̂) = -x̂/2 gives 0 for groups of two.
    dx, grads = nn.GroupNorm(2, 4, epsilon=0).backward(params, residuals, np.array([[1.0, 0, 0, 0]]))
    np.testing.assert_allclose(dx, np.zeros((1, 4)), atol=1e-15)
    np.testing.assert_allclose(grads["scale"], [-1, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(grads["shift"], [1, 0, 0, 0], atol=1e-15)


def test_group_norm_is_over_positions_too() -> None:
    """One group of the features (0, 4) and (2, 6), per example: mean 3, variance 5."""
    x = np.array([[[0.0, 4], [2, 6]], [[1, 1], [1, 1]]])
    params = {"scale": np.ones(2), "shift": np.zeros(2)}
    y, _ = nn.GroupNorm(1, 2).forward(params, x)
    np.testing.assert_allclose(y[0], np.array([[-3, 1], [-1, 3]]) / np.sqrt(5), rtol=1e-5)
    np.testing.assert_array_equal(y[1], np.zeros((2, 2)))


def test_layer_norm_on_paper() -> None:
    params = {"scale": np.array([1.0, 2]), "shift": np.array([0.0, 1])}
    y, _ = nn.LayerNorm(2, epsilon=0).forward(params, np.array([[1.0, 3], [40, 20]]))
    np.testing.assert_allclose(y, [[-1, 3], [1, -1]], rtol=1e-15)


@pytest.mark.parametrize(
    ("layer", "theirs"),
    [
        (nn.LayerNorm(6), lambda f, x, w, b: f.layer_norm(x, (6,), w, b)),
        (nn.LayerNorm(6, 0.1), lambda f, x, w, b: f.layer_norm(x, (6,), w, b, 0.1)),
        (nn.GroupNorm(3, 6), lambda f, x, w, b: f.group_norm(x.movedim(-1, 1), 3, w, b).movedim(1, -1)),
        (nn.GroupNorm(1, 6), lambda f, x, w, b: f.group_norm(x.movedim(-1, 1), 1, w, b).movedim(1, -1)),
        (nn.GroupNorm(6, 6, 0.1), lambda f, x, w, b: f.group_norm(x.movedim(-1, 1), 6, w, b, 0.1).movedim(1, -1)),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Layer) else "",  # names without addresses, since xdist compares them
)  # fmt: skip
@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 3, 4, 6)], ids=str)
def test_is_pytorch_s(layer: nn.Layer, theirs: Callable, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    params = {"scale": rng.standard_normal(6), "shift": rng.standard_normal(6)}
    y, residuals = layer.forward(params, x)
    dx, grads = layer.backward(params, residuals, dy)
    inputs = [torch.tensor(a, requires_grad=True) for a in (x, params["scale"], params["shift"])]
    out = theirs(torch.nn.functional, *inputs)
    out.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-11, atol=1e-12)
    for found, expected in zip((dx, grads["scale"], grads["shift"]), inputs, strict=True):
        np.testing.assert_allclose(found, expected.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.GroupNorm(4, 6), "GroupNorm(4, 6): expected groups to divide features, 6, got 4"),
        (lambda: nn.GroupNorm(0, 6), "GroupNorm(0, 6): expected groups to be an integer of at least 1, got 0"),
        (lambda: nn.GroupNorm(2, 0), "GroupNorm(2, 0): expected features to be an integer of at least 1, got 0"),
        (lambda: nn.GroupNorm(2, 6, -1), "GroupNorm(2, 6, epsilon=-1): expected epsilon to be a finite number and at least 0"),
    ],
)  # fmt: skip
def test_refuses_arguments_out_of_range(make: Callable, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)
