"""Optimizers: their formulas, every array library, and K of them at once."""

from collections.abc import Callable
from typing import Any

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
    optim.RMSprop(0.01),
    optim.RMSprop(0.01, 0.9, 1e-3, weight_decay=0.3),
    optim.Adagrad(0.1),
    optim.Adagrad(0.1, 1e-3, weight_decay=0.3),
    optim.Adam(0.01),
    optim.Adam(0.01, 0.8, 0.95, 1e-3, weight_decay=0.3),
    optim.Adam(0.01, 0.0, 0.0),
    optim.AdamW(0.01),
    optim.AdamW(0.01, 0.8, 0.95, 1e-3, weight_decay=0.3),
    optim.Lion(0.01),
    optim.Lion(0.01, 0.8, 0.95, weight_decay=0.3),
    optim.ClipNorm(optim.SGD(0.1, 0.9), 1.5),
    optim.ClipNorm(optim.SGD(0.1), 1e9),
    optim.ClipValue(optim.Adam(0.01), 0.5),
    optim.AverageWeights(optim.ClipNorm(optim.Adam(0.01), 1.0), 0.9),
    optim.ClipValue(optim.AverageWeights(optim.SGD(0.1), 0.9), 1.0),
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


@every_optimizer
def test_network_without_parameters(optimizer: optim.Optimizer) -> None:
    params, state = optimizer.update(({}, {}), ({}, {}), optimizer.init(({}, {})))
    assert params == ({}, {})
    assert optimizer.evaluation_params(params, state) == ({}, {})


@every_optimizer
def test_state_shares_no_memory_with_the_parameters(optimizer: optim.Optimizer) -> None:
    """Either may be overwritten, and JAX refuses to donate the same memory twice."""
    params = draw_params(0)
    for state in (
        optimizer.init(params),
        optimizer.update(params, draw_params(1), optimizer.init(params))[1],
    ):
        for array in tree.leaves(state):
            assert not any(np.shares_memory(array, param) for param in tree.leaves(params))


@every_optimizer
def test_float32_rounds_and_no_more(optimizer: optim.Optimizer) -> None:
    """The corrections of Adam's first steps are differences of nearly equal numbers."""
    for steps in (1, 2, 20):
        low = backend.get("numpy", dtype="float32")
        params, state = train(optimizer, low, steps)
        wide = train(optimizer, backend.get("numpy", dtype="float64"), steps)
        assert_close(low, (params, state), wide, 2e-6)


@every_optimizer
def test_learning_rate_is_replaced_and_nothing_else(optimizer: optim.Optimizer) -> None:
    before = optimizer.learning_rate
    assert optimizer.with_learning_rate(0.2).learning_rate == 0.2
    assert optimizer.with_learning_rate(0.2) != optimizer
    assert optimizer.with_learning_rate(0.2).with_learning_rate(before) == optimizer
    with pytest.raises(ConfigError, match="expected learning_rate to be a finite number"):
        optimizer.with_learning_rate(-0.1)


@every_optimizer
def test_learning_rate_changes_without_a_new_compilation(optimizer: optim.Optimizer) -> None:
    jax = pytest.importorskip("jax", reason="counts what JAX compiles, which is not installed")
    place = backend.get("jax")
    traces = []

    @jax.jit
    def step(params: tree.Tree, grads: tree.Tree, state: tree.Tree, rate: Any) -> tuple[tree.Tree, tree.Tree]:
        traces.append(rate)
        return optimizer.with_learning_rate(rate).update(params, grads, state)

    params, numpy_params = put(place, draw_params(0)), draw_params(0)
    state, numpy_state = optimizer.init(params), optimizer.init(numpy_params)
    for number in (1, 2, 3):
        params, state = step(params, put(place, draw_params(number)), state, place.asarray(0.1 / number))
        scheduled = optimizer.with_learning_rate(0.1 / number)
        numpy_params, numpy_state = scheduled.update(numpy_params, draw_params(number), numpy_state)
    assert len(traces) == 1
    assert_close(place, (params, state), (numpy_params, numpy_state), 1e-5)


@every_optimizer
def test_numpy_number_is_a_number(optimizer: optim.Optimizer) -> None:
    """A hyper-parameter of type np.float64, as from np.logspace, would turn float32 into float64."""
    place = backend.get("numpy", dtype="float32")
    assert_kept(place, train(optimizer.with_learning_rate(np.float64(0.1)), place, steps=2))


def textbook(optimizer: optim.Optimizer, params: tree.Tree, gradients: list[tree.Tree]) -> tree.Tree:
    """The formulas as the papers write them, with the step number t, one parameter array at a time."""
    decay = optimizer.weight_decay
    rate = optimizer.learning_rate

    def learn(name: str, w: np.ndarray) -> np.ndarray:
        m, v = np.zeros_like(w), np.zeros_like(w)
        weight_decay = decay if name.endswith("weight") else 0.0
        for t, gradient in enumerate(gradients, start=1):
            g = dict(tree.items(gradient))[name]
            if isinstance(optimizer, optim.AdamW | optim.Lion):
                w = w - rate * weight_decay * w
            else:
                g = g + weight_decay * w
            match optimizer:
                case optim.RMSprop(beta=beta, epsilon=epsilon):
                    v = beta * v + (1 - beta) * g**2
                    w = w - rate * g / (np.sqrt(v) + epsilon)
                case optim.Adagrad(epsilon=epsilon):
                    v = v + g**2
                    w = w - rate * g / (np.sqrt(v) + epsilon)
                case optim.Adam(beta1=beta1, beta2=beta2, epsilon=epsilon):
                    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
                    w = w - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
                case optim.Lion(beta1=beta1, beta2=beta2):
                    w = w - rate * np.sign(beta1 * m + (1 - beta1) * g)
                    m = beta2 * m + (1 - beta2) * g
        return w

    return tree.replace(params, {name: learn(name, w) for name, w in tree.items(params)})


ADAPTIVE = [o for o in OPTIMIZERS if isinstance(o, optim.RMSprop | optim.Adagrad | optim.Adam | optim.Lion)]


@pytest.mark.parametrize("optimizer", ADAPTIVE, ids=repr)
def test_is_the_formula_of_the_paper(optimizer: optim.Optimizer) -> None:
    place = backend.get("numpy", dtype="float64")
    expected = textbook(optimizer, draw_params(0), [draw_params(step) for step in range(1, 21)])
    assert_close(place, train(optimizer, place)[0], expected, 1e-11)


def in_torch(optimizer: optim.Optimizer, torch, weights: list, others: list):
    """PyTorch's optimizer of the same name and hyper-parameters, with decay on weights only."""
    if isinstance(optimizer, optim.ClipNorm | optim.ClipValue):
        return in_torch(optimizer.optimizer, torch, weights, others)
    groups = [
        {"params": weights, "weight_decay": optimizer.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    lr = optimizer.learning_rate
    match optimizer:
        case optim.SGD():
            return torch.optim.SGD(groups, lr, optimizer.momentum, nesterov=optimizer.nesterov)
        case optim.RMSprop():
            return torch.optim.RMSprop(groups, lr, optimizer.beta, optimizer.epsilon)
        case optim.Adagrad():
            return torch.optim.Adagrad(groups, lr, eps=optimizer.epsilon)
        case optim.AdamW():
            return torch.optim.AdamW(groups, lr, (optimizer.beta1, optimizer.beta2), optimizer.epsilon)
        case optim.Adam():
            return torch.optim.Adam(groups, lr, (optimizer.beta1, optimizer.beta2), optimizer.epsilon)


PYTORCH_HAS = optim.SGD | optim.RMSprop | optim.Adagrad | optim.Adam | optim.ClipNorm | optim.ClipValue


@pytest.mark.parametrize(
    "optimizer",
    [o for o in OPTIMIZERS if isinstance(o, PYTORCH_HAS) and not isinstance(getattr(o, "optimizer", None), optim.AverageWeights)],
    ids=repr,
)  # fmt: skip
def test_follows_pytorch(optimizer: optim.Optimizer) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    params = {name: torch.tensor(array) for name, array in tree.items(draw_params(0))}
    weights = [p for name, p in params.items() if name.endswith("weight")]
    theirs = in_torch(
        optimizer, torch, weights, [p for name, p in params.items() if not name.endswith("weight")]
    )
    for step in range(1, 21):
        for name, grad in tree.items(draw_params(step)):
            params[name].grad = torch.tensor(grad)
        if isinstance(optimizer, optim.ClipNorm):
            torch.nn.utils.clip_grad_norm_(params.values(), optimizer.max_norm)
        if isinstance(optimizer, optim.ClipValue):
            torch.nn.utils.clip_grad_value_(params.values(), optimizer.max_value)
        theirs.step()
    ours = dict(tree.items(train(optimizer, backend.get("numpy", dtype="float64"))[0]))
    for name, param in params.items():
        # PyTorch's clipping adds 1e-6 to the norm.
        rtol = 1e-5 if isinstance(optimizer, optim.ClipNorm) else 1e-11
        np.testing.assert_allclose(ours[name], param.numpy(), rtol=rtol, err_msg=name)


def test_clip_norm_is_over_all_parameters(make_backend: MakeBackend) -> None:
    place = make_backend("float64")
    grads = draw_params(1)
    norm = np.sqrt(sum((g**2).sum() for g in tree.leaves(grads)))

    def zeros() -> tree.Tree:
        return put(place, tree.map(np.zeros_like, grads))

    for max_norm in (0.5 * norm, 2 * norm):
        moved, _ = optim.ClipNorm(optim.SGD(1.0), max_norm).update(zeros(), put(place, grads), {})
        assert_close(place, moved, tree.map(lambda g, c=max_norm: -g * min(c / norm, 1), grads), 1e-14)
    nothing, _ = optim.ClipNorm(optim.SGD(1.0), 1.0).update(zeros(), zeros(), {})
    assert_close(place, nothing, tree.map(np.zeros_like, grads), 0)


def test_average_weights_are_what_is_evaluated() -> None:
    place = backend.get("numpy", dtype="float64")
    plain, averaged = optim.SGD(0.1, 0.9), optim.AverageWeights(optim.SGD(0.1, 0.9), 0.8)
    expected = draw_params(0)
    for steps in range(1, 5):
        params, state = train(averaged, place, steps)
        assert_same(place, params, train(plain, place, steps)[0])
        expected = tree.map(lambda a, p: 0.8 * a + 0.2 * p, expected, params)
        assert_close(place, averaged.evaluation_params(params, state), expected, 1e-13)
        nested = optim.ClipValue(averaged, 1e9)
        assert_close(place, nested.evaluation_params(params, state), expected, 1e-13)


@every_optimizer
def test_a_learning_rate_on_the_device_is_the_number(
    optimizer: optim.Optimizer, make_backend: MakeBackend
) -> None:
    place = make_backend("float32")
    rate = place.asarray(0.03, real=True)
    with_number = train(optimizer.with_learning_rate(0.03), place, 3)
    with_array = train(optimizer.with_learning_rate(rate), place, 3)
    assert optimizer.with_learning_rate(0.03).learning_rate == 0.03
    assert_kept(place, with_array)
    assert_close(place, with_array, fetch(place, with_number), 1e-5)


def test_wrappers_pass_on_what_they_do_not_change() -> None:
    """`evaluation_params` finds the average inside any wrapper; of two averages, the outer one counts."""
    place = backend.get("numpy", dtype="float64")
    inner = optim.AverageWeights(optim.Adam(0.1), 0.5)
    expected = inner.evaluation_params(*train(inner, place))
    for outer in (optim.ClipNorm(inner, 1e9), optim.ClipValue(inner, 1e9)):
        assert_same(place, outer.evaluation_params(*train(outer, place)), expected)
    twice = optim.AverageWeights(inner, 0.0)
    params, state = train(twice, place)
    assert_same(place, twice.evaluation_params(params, state), params)
    assert optim.Adam(0.1).evaluation_params(params, state) is params


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
    "optimizer",
    [
        optim.SGD(0.1, weight_decay=0.5),
        optim.EMAMomentum(0.1, 0.0, 0.5),
        optim.AdamW(0.1, weight_decay=0.5),
        optim.Lion(0.1, weight_decay=0.5),
    ],
    ids=repr,
)
def test_weight_decay_acts_on_weights_alone(optimizer: optim.Optimizer) -> None:
    params = draw_params(0)
    before = tree.map(np.copy, params)
    params, _ = optimizer.update(params, tree.map(np.zeros_like, params), optimizer.init(params))
    for name, array in tree.items(params):
        factor = 1 - 0.1 * 0.5 if name == "0.weight" else 1
        np.testing.assert_allclose(array, factor * dict(tree.items(before))[name], rtol=1e-15, err_msg=name)


@pytest.mark.parametrize("make", [optim.Adagrad, optim.RMSprop, optim.Adam], ids=lambda cls: cls.__name__)
def test_coupled_weight_decay_spares_biases(make: Callable[..., optim.Optimizer]) -> None:
    place = backend.get("numpy", dtype="float64")
    decayed, _ = train(make(0.1, weight_decay=0.5), place)
    free, _ = train(make(0.1), place)
    same = {name: np.array_equal(array, dict(tree.items(free))[name]) for name, array in tree.items(decayed)}
    assert same == {"0.bias": True, "0.weight": False, "2.scale": True}


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


STACKS = [
    (optim.RMSprop, {"learning_rate": (0.1, 0.2, 0.3), "beta": (0.5, 0.0, 0.9), "epsilon": (1e-3, 1e-4, 1e-5), "weight_decay": (0.0, 0.1, 0.2)}),
    (optim.Adagrad, {"learning_rate": (0.1, 0.2, 0.3), "epsilon": (1e-3, 1e-4, 1e-5)}),
    (optim.Adam, {"learning_rate": (0.1, 0.2, 0.3), "beta1": (0.5, 0.0, 0.9), "beta2": (0.9, 0.5, 0.0), "epsilon": (1e-3, 1e-4, 1e-5)}),
    (optim.Adam, {"learning_rate": (0.1, 0.2, 0.3)}),
    (optim.AdamW, {"learning_rate": (0.1, 0.2, 0.3), "beta1": (0.5, 0.0, 0.9), "weight_decay": (0.0, 0.1, 0.2)}),
    (optim.Lion, {"learning_rate": (0.1, 0.2, 0.3), "beta1": (0.5, 0.0, 0.9), "beta2": (0.9, 0.5, 0.0), "weight_decay": (0.0, 0.1, 0.2)}),
    (lambda max_norm: optim.ClipNorm(optim.SGD(0.1), max_norm), {"max_norm": (0.1, 1.0, 9.0)}),
    (lambda decay: optim.AverageWeights(optim.SGD(0.1), decay), {"decay": (0.1, 0.5, 0.9)}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "options"), STACKS)
def test_k_of_each_option_at_once(make, options: dict, make_backend: MakeBackend) -> None:
    place = make_backend("float64")
    stacked = make(**{name: place.asarray(np.array(values)) for name, values in options.items()})
    params = put(place, draw_params(0, stack=3))
    state = stacked.init(params)
    shapes = {name: tuple(array.shape) for name, array in tree.items(state)}
    for step in (1, 2, 3):
        params, state = stacked.update(params, put(place, draw_params(step, stack=3)), state)
    assert {name: tuple(array.shape) for name, array in tree.items(state)} == shapes
    for k in range(3):
        single = make(**{name: values[k] for name, values in options.items()})
        expected = tree.map(lambda array, k=k: array[k], draw_params(0, stack=3))
        single_state = single.init(expected)
        for step in (1, 2, 3):
            grads = tree.map(lambda array, k=k: array[k], draw_params(step, stack=3))
            expected, single_state = single.update(expected, grads, single_state)
        evaluated = stacked.evaluation_params(params, state)
        expected = single.evaluation_params(expected, single_state)
        assert_close(place, tree.map(lambda array, k=k: array[k, ...], evaluated), expected, 1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(0.1, 1), "SGD: expected momentum to be a number below 1 and at least 0, got 1"),
        (lambda: optim.SGD(0.1, nesterov=True), "SGD: expected momentum above 0 with nesterov=True, got 0"),
        (lambda: optim.SGD(-0.1), f"SGD: expected learning_rate to be {FINITE}, got -0.1"),
        (lambda: optim.SGD(float("nan")), f"SGD: expected learning_rate to be {FINITE}, got nan"),
        (lambda: optim.SGD(np.float64(-1)), f"SGD: expected learning_rate to be {FINITE}, got -1.0"),
        (lambda: optim.SGD("0.1"), f"SGD: expected learning_rate to be {FINITE}, got '0.1'"),
        (lambda: optim.SGD(0.1, weight_decay=-1), f"SGD: expected weight_decay to be {FINITE}, got -1"),
        (
            lambda: optim.EMAMomentum(0.1, -1),
            "EMAMomentum: expected beta to be a number below 1 and at least 0",
        ),
        (lambda: optim.Adam(0.1, 1.0), "Adam: expected beta1 to be a number below 1 and at least 0, got 1.0"),
        (lambda: optim.AdamW(0.1, epsilon=-1), f"AdamW: expected epsilon to be {FINITE}, got -1"),
        (
            lambda: optim.RMSprop(0.1, 2),
            "RMSprop: expected beta to be a number below 1 and at least 0, got 2",
        ),
        (lambda: optim.Adagrad(-1), f"Adagrad: expected learning_rate to be {FINITE}, got -1"),
        (lambda: optim.Lion(0.1, beta2=-0.1), "Lion: expected beta2 to be a number below 1 and at least 0"),
        (
            lambda: optim.ClipNorm(optim.SGD(1), 0),
            "ClipNorm: expected max_norm to be a finite number and above 0",
        ),
        (
            lambda: optim.ClipValue(optim.SGD(1), "1"),
            "ClipValue: expected max_value to be a finite number and above",
        ),
        (
            lambda: optim.AverageWeights(optim.SGD(1), 1),
            "AverageWeights: expected decay to be a number below 1",
        ),
        (lambda: optim.EMAMomentum(0.1, 0, -1), f"EMAMomentum: expected weight_decay to be {FINITE}, got -1"),
    ],
)
def test_refuses_hyper_parameters_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)
