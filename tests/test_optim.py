"""Optimizers: their formulas, every array library, and K of them at once."""

import numpy as np
import pytest

from conftest import MakeBackend
from laws import assert_close, assert_kept, assert_same, fetch, put
from xpnet import backend, optim, tree
from xpnet.errors import ConfigError

OPTIMIZERS = [
    optim.SGD(0.1),
    optim.SGD(0.1, weight_decay=0.3),
    optim.SGD(0.1, momentum=0.9),
    optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.3),
    optim.EMAMomentum(0.1, beta=0.8),
    optim.EMAMomentum(0.1, beta=0.8, weight_decay=0.3),
]
FINITE = "a finite number and at least 0"
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def draw_params(seed: int, stack: int | None = None) -> tree.Tree:
    rng = np.random.default_rng(seed)
    lead = () if stack is None else (stack,)
    weight, bias = rng.standard_normal((*lead, 3, 2)), rng.standard_normal((*lead, 2))
    return ({"weight": weight, "bias": bias}, {}, {"scale": rng.standard_normal((*lead, 2))})


def train(optimizer: optim.Optimizer, place: backend.Backend, steps: int = 20) -> tuple[tree.Tree, tree.Tree]:
    """Parameters and state after some steps along fixed gradients."""
    params = put(place, draw_params(0))
    state = optimizer.init(params)
    for step in range(1, steps + 1):
        params, state = optimizer.update(params, put(place, draw_params(step)), state)
    return params, state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_optimizer
def test_agrees_with_numpy(optimizer: optim.Optimizer, dtype: str, make_backend: MakeBackend) -> None:
    place = make_backend(dtype)
    actual, expected = train(optimizer, place), train(optimizer, backend.get("numpy", dtype=dtype))
    assert_close(place, actual, expected, {"float32": 1e-5, "float64": 1e-13}[dtype])
    assert_kept(place, actual)


@every_optimizer
def test_leaves_gradients_alone_and_repeats_itself(
    optimizer: optim.Optimizer, make_backend: MakeBackend
) -> None:
    place = make_backend("float32")
    params, grads = put(place, draw_params(0)), put(place, draw_params(1))
    before = fetch(place, grads)
    optimizer.update(params, grads, optimizer.init(params))
    assert_same(place, grads, before)
    assert_same(place, train(optimizer, place), fetch(place, train(optimizer, place)))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_pytorch(momentum: float, nesterov: bool) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    if nesterov and momentum == 0:
        return
    params = [torch.tensor(array) for array in tree.leaves(draw_params(0))]
    theirs = torch.optim.SGD(params, lr=0.1, momentum=momentum, nesterov=nesterov)
    for step in range(1, 21):
        for param, grad in zip(params, tree.leaves(draw_params(step)), strict=True):
            param.grad = torch.tensor(grad)
        theirs.step()
    ours, _ = train(optim.SGD(0.1, momentum, nesterov), backend.get("numpy", dtype="float64"))
    for array, param in zip(tree.leaves(ours), params, strict=True):
        np.testing.assert_allclose(array, param.numpy(), rtol=1e-13)


def test_momentum_on_paper() -> None:
    """Two steps along the gradient 1 from 0 with η = 0.1 and μ = β = 0.5."""
    expected = {
        optim.SGD(0.1, 0.5): [-0.1, -0.25],  # v = 1, 1.5
        optim.SGD(0.1, 0.5, nesterov=True): [-0.15, -0.325],  # g + μv = 1.5, 1.75
        optim.EMAMomentum(0.1, 0.5): [-0.05, -0.125],  # v = 0.5, 0.75
    }
    for optimizer, positions in expected.items():
        params = {"weight": np.zeros(1)}
        state = optimizer.init(params)
        for position in positions:
            params, state = optimizer.update(params, {"weight": np.ones(1)}, state)
            np.testing.assert_allclose(params["weight"], position, rtol=1e-15, err_msg=repr(optimizer))


def test_ema_momentum_is_sgd_with_a_smaller_rate() -> None:
    place = backend.get("numpy", dtype="float64")
    average, _ = train(optim.EMAMomentum(0.1, 0.9), place)
    total, _ = train(optim.SGD(0.1 * (1 - 0.9), 0.9), place)
    assert_close(place, average, total, 1e-13)


@pytest.mark.parametrize(
    "optimizer", [optim.SGD(0.1, weight_decay=0.5), optim.EMAMomentum(0.1, 0.0, 0.5)], ids=repr
)
def test_weight_decay_acts_on_weights_alone(optimizer: optim.Optimizer) -> None:
    params = draw_params(0)
    before = tree.map(np.copy, params)
    params, _ = optimizer.update(params, tree.map(np.zeros_like, params), optimizer.init(params))
    for name, array in tree.items(params):
        factor = 1 - 0.1 * 0.5 if name == "0.weight" else 1
        np.testing.assert_allclose(array, factor * dict(tree.items(before))[name], rtol=1e-15, err_msg=name)


def test_k_learning_rates_at_once(make_backend: MakeBackend) -> None:
    """K networks, each with its own learning rate, momentum and decay, as K networks one by one."""
    place = make_backend("float64")
    rates, momenta, decays = np.array([0.1, 0.2, 0.4]), np.array([0.0, 0.5, 0.9]), np.array([0.3, 0.0, 0.1])
    params = put(place, draw_params(0, stack=3))
    stacked = optim.SGD(*(place.asarray(a) for a in (rates, momenta)), weight_decay=place.asarray(decays))
    state = stacked.init(params)
    for step in (1, 2, 3):
        params, state = stacked.update(params, put(place, draw_params(step, stack=3)), state)
    for k in range(3):
        single = optim.SGD(rates[k].item(), momenta[k].item(), weight_decay=decays[k].item())
        expected = tree.map(lambda array, k=k: array[k], draw_params(0, stack=3))
        single_state = single.init(expected)
        for step in (1, 2, 3):
            grads = tree.map(lambda array, k=k: array[k], draw_params(step, stack=3))
            expected, single_state = single.update(expected, grads, single_state)
        assert_close(place, tree.map(lambda array, k=k: array[k, ...], params), expected, 1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(0.1, 1), "SGD: expected momentum to be a number below 1 and at least 0, got 1"),
        (lambda: optim.SGD(0.1, nesterov=True), "SGD: expected momentum above 0 with nesterov=True, got 0"),
        (lambda: optim.SGD(-0.1), f"SGD: expected learning_rate to be {FINITE}, got -0.1"),
        (lambda: optim.SGD(float("nan")), f"SGD: expected learning_rate to be {FINITE}, got nan"),
        (lambda: optim.SGD("0.1"), f"SGD: expected learning_rate to be {FINITE}, got '0.1'"),
        (lambda: optim.SGD(0.1, weight_decay=-1), f"SGD: expected weight_decay to be {FINITE}, got -1"),
        (
            lambda: optim.EMAMomentum(0.1, -1),
            "EMAMomentum: expected beta to be a number below 1 and at least 0",
        ),
        (lambda: optim.EMAMomentum(0.1, 0, -1), f"EMAMomentum: expected weight_decay to be {FINITE}, got -1"),
    ],
)
def test_refuses_hyper_parameters_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)
