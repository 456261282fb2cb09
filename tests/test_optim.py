"""Optimizers: formulas, array libraries, and K networks at once."""

from collections.abc import Callable

import numpy as np
import pytest

from cases import OPTIMIZERS
from conftest import MakeBackend
from laws import assert_close, assert_kept, assert_same, put
from xpnet import backend, optim, tree
from xpnet.errors import ConfigError
from xpnet.testing import optimizers
from xpnet.testing.optimizers import OptimizerTrial, draw_params, train

FINITE = "a finite number and at least 0"
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def trial(optimizer: optim.Optimizer) -> OptimizerTrial:
    return OptimizerTrial(optimizer, tolerances=(1e-5, 1e-13))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_optimizer
def test_agrees_with_numpy(optimizer: optim.Optimizer, dtype: str, make_backend: MakeBackend) -> None:
    optimizers.agrees_with_numpy(trial(optimizer), make_backend(dtype))


@every_optimizer
def test_does_not_modify_gradients_and_repeats_itself(
    optimizer: optim.Optimizer, make_backend: MakeBackend
) -> None:
    optimizers.does_not_modify_gradients(trial(optimizer), make_backend("float32"))
    optimizers.repeats_itself(trial(optimizer), make_backend("float32"))


@pytest.mark.parametrize(
    "law",
    [
        optimizers.is_a_frozen_dataclass,
        optimizers.repr_shows_every_field,
        optimizers.keeps_structure,
        optimizers.keeps_library_dtype_and_device,
        optimizers.state_has_its_own_memory,
        optimizers.takes_no_parameters,
        optimizers.takes_zero_gradients,
        optimizers.descends,
    ],
    ids=lambda law: law.__name__,
)
def test_law_on_the_host(law: Callable) -> None:
    for optimizer in OPTIMIZERS:
        for dtype in ("float32", "float64"):
            try:
                law(trial(optimizer), backend.get("numpy", dtype=dtype))
            except AssertionError as error:
                raise AssertionError(f"{optimizer}: {error}") from error


@every_optimizer
def test_float32_rounds_and_no_more(optimizer: optim.Optimizer) -> None:
    """The corrections of Adam's first steps are differences of nearly equal numbers."""
    for steps in (1, 2, 20):
        low = backend.get("numpy", dtype="float32")
        params, state = train(optimizer, low, steps)
        wide = train(optimizer, backend.get("numpy", dtype="float64"), steps)
        assert_close(low, (params, state), wide, 2e-6)


@every_optimizer
def test_learning_rate_out_of_range(optimizer: optim.Optimizer) -> None:
    assert optimizer.with_learning_rate(0.2) != optimizer
    with pytest.raises(ConfigError, match="expected learning_rate to be a finite number"):
        optimizer.with_learning_rate(-0.1)


@every_optimizer
def test_learning_rate_changes_without_a_new_compilation(optimizer: optim.Optimizer) -> None:
    pytest.importorskip("jax", reason="counts what JAX compiles, which is not installed")
    optimizers.compiles(trial(optimizer), backend.get("jax"))


@every_optimizer
def test_numpy_number_is_a_number(optimizer: optim.Optimizer) -> None:
    """A hyper-parameter of type np.float64, as from np.logspace, must not turn float32 into float64."""
    place = backend.get("numpy", dtype="float32")
    assert_kept(place, train(optimizer.with_learning_rate(np.float64(0.1)), place, steps=2))


def textbook(optimizer: optim.Optimizer, params: tree.Tree, gradients: list[tree.Tree]) -> tree.Tree:
    """The formulas of the papers, with step t, for each parameter array."""
    match optimizer:
        case optim.ClipNorm(inner, limit):
            norms = [np.sqrt(sum((g**2).sum() for g in tree.leaves(gradient))) for gradient in gradients]
            clipped = [
                tree.map(lambda g, norm=norm: g * min(1, limit / norm), gradient)
                for gradient, norm in zip(gradients, norms, strict=True)
            ]
            return textbook(inner, params, clipped)
        case optim.ClipValue(inner, limit):
            clipped = [tree.map(lambda g: g.clip(-limit, limit), gradient) for gradient in gradients]
            return textbook(inner, params, clipped)
        case optim.AverageWeights(inner):
            return textbook(inner, params, gradients)
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
                case optim.SGD(momentum=momentum, nesterov=nesterov):
                    m = momentum * m + g
                    w = w - rate * (g + momentum * m if nesterov else m)
                case optim.EMAMomentum(beta=beta):
                    m = beta * m + (1 - beta) * g
                    w = w - rate * m
                case optim.RMSprop(beta=beta, epsilon=epsilon):
                    v = beta * v + (1 - beta) * g**2
                    w = w - rate * g / (np.sqrt(v) + epsilon)
                case optim.Adagrad(epsilon=epsilon):
                    v = v + g**2
                    w = w - rate * g / (np.sqrt(v) + epsilon)
                case optim.Adam(beta1=beta1, beta2=beta2, epsilon=epsilon):
                    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
                    w = w - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
                case optim.NAdam(beta1=beta1, beta2=beta2, epsilon=epsilon, momentum_decay=psi):
                    mu = [beta1 * (1 - 0.5 * 0.96 ** (psi * i)) for i in range(1, t + 2)]
                    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
                    ahead = (1 - mu[-2]) / (1 - np.prod(mu[:-1])) * g + mu[-1] / (1 - np.prod(mu)) * m
                    w = w - rate * ahead / (np.sqrt(v / (1 - beta2**t)) + epsilon)
                case optim.Lion(beta1=beta1, beta2=beta2):
                    w = w - rate * np.sign(beta1 * m + (1 - beta1) * g)
                    m = beta2 * m + (1 - beta2) * g
                case _:
                    raise AssertionError(f"{optimizer}: expected the formula of its paper here")
        return w

    return tree.replace(params, {name: learn(name, w) for name, w in tree.items(params)})


@every_optimizer
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
        case optim.NAdam():
            betas, decay = (optimizer.beta1, optimizer.beta2), optimizer.momentum_decay
            return torch.optim.NAdam(groups, lr, betas, optimizer.epsilon, momentum_decay=decay)
        case optim.Adam():
            return torch.optim.Adam(groups, lr, (optimizer.beta1, optimizer.beta2), optimizer.epsilon)


PYTORCH_HAS = (
    optim.SGD | optim.RMSprop | optim.Adagrad | optim.Adam | optim.NAdam | optim.ClipNorm | optim.ClipValue
)


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
        # PyTorch's clipping adds 1e-6 to the norm, and its NAdam keeps the product of μ in float32.
        rtol = {optim.ClipNorm: 1e-5, optim.NAdam: 1e-8}.get(type(optimizer), 1e-11)
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
    optimizers.learning_rate_is_replaced(trial(optimizer), make_backend("float32"))


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


def test_nadam_on_paper() -> None:
    """Two steps along the gradient 1 from 0 with η = 0.1, β₁ = 0.5, ψ = 0: μ = 1/4, and v is corrected to 1."""
    optimizer = optim.NAdam(0.1, 0.5, epsilon=0, momentum_decay=0)
    params = {"weight": np.zeros(1)}
    state = optimizer.init(params)
    for position in (
        -0.1 * (1 + 0.5 / 4 / (1 - 1 / 16)),  # m = 1/2
        -0.1 * (1 + 0.5 / 4 / (1 - 1 / 16) + 0.75 / (1 - 1 / 16) + 0.75 / 4 / (1 - 1 / 64)),  # m = 3/4
    ):
        params, state = optimizer.update(params, {"weight": np.ones(1)}, state)
        np.testing.assert_allclose(params["weight"], position, rtol=1e-14)


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
    """K networks with their own learning rates, momenta and decays train as K single networks."""
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


@every_optimizer
def test_k_of_each_option_at_once(optimizer: optim.Optimizer, make_backend: MakeBackend) -> None:
    optimizers.networks_train_at_once(trial(optimizer), make_backend("float64"))


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
        (lambda: optim.NAdam(momentum_decay=-1), f"NAdam: expected momentum_decay to be {FINITE}, got -1"),
        (lambda: optim.NAdam(beta1=1), "NAdam: expected beta1 to be a number below 1 and at least 0, got 1"),
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


A, B = np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[0.5, 3.0], [-1.0, 2.0]])
FORMULAS = {  # of trees with the leaves A and B
    "accumulate": ((0.9,), 0.9 * A + B),
    "average": ((0.9,), 0.9 * A + 0.1 * B),
    "interpolate": ((0.9,), 0.9 * A + 0.1 * B),
    "decay_weights": ((0.1,), A + 0.1 * B),
    "descend": ((0.1,), A - 0.1 * B),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_step_is_its_formula(name: str) -> None:
    numbers, expected = FORMULAS[name]
    for scalars in (numbers, [np.array(number) for number in numbers]):
        found = getattr(optim.steps, name)({"weight": A.copy()}, {"weight": B.copy()}, *scalars)
        np.testing.assert_allclose(found["weight"], expected, 1e-15)
