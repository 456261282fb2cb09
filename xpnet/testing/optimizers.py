"""The laws of optimizers."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import tree
from xpnet.backend import DTYPES, Backend
from xpnet.optim import Optimizer
from xpnet.testing import subject
from xpnet.testing.compare import (
    assert_close,
    assert_kept,
    assert_like,
    assert_same,
    assert_unchanged,
    difference,
    fetch,
    put,
)
from xpnet.testing.report import Law, LawError, Report, try_laws
from xpnet.testing.subject import BackendLike
from xpnet.tree import Tree

NO_PARAMETERS: Tree = ({}, {})


@dataclass(frozen=True)
class OptimizerTrial:
    """An optimizer to check, and the tolerances (float32, float64) of comparisons between libraries."""

    optimizer: Optimizer
    tolerances: tuple[float, float] = (1e-5, 1e-11)


def draw_params(seed: int, stack: int | None = None) -> Tree:
    """Parameters (or gradients) of a network of three layers, on the host; with `stack`, of K networks."""
    rng = np.random.default_rng(seed)
    lead = () if stack is None else (stack,)
    weight, bias = rng.standard_normal((*lead, 3, 2)), rng.standard_normal((*lead, 2))
    return ({"weight": weight, "bias": bias}, {}, {"scale": rng.standard_normal((*lead, 2))})


def train(
    optimizer: Optimizer, backend: Backend, steps: int = 20, stack: int | None = None
) -> tuple[Tree, Tree]:
    """The parameters and the state after some steps with fixed gradients."""
    params = put(backend, draw_params(0, stack))
    state = optimizer.init(params)
    for step in range(1, steps + 1):
        params, state = optimizer.update(params, put(backend, draw_params(step, stack)), state)
    return params, state


def is_a_frozen_dataclass(trial: OptimizerTrial, backend: Backend) -> None:
    """The hyper-parameters are the fields of a frozen dataclass; nothing else is kept on self."""
    subject.is_a_frozen_dataclass(trial.optimizer)


def repr_shows_every_field(trial: OptimizerTrial, backend: Backend) -> None:
    """repr is the constructor call: run folders show it."""
    subject.repr_shows_every_field(trial.optimizer)


def keeps_structure(trial: OptimizerTrial, backend: Backend) -> None:
    """`update` keeps the dicts, names, shapes and dtypes of the parameters and the state."""
    optimizer = trial.optimizer
    params = put(backend, draw_params(0))
    state = optimizer.init(params)
    if not isinstance(state, dict | tuple):
        raise LawError(f"init gives a {type(state).__name__}, expected a dict of arrays; {{}} for no state")
    for name, leaf in tree.items(state):
        if not hasattr(leaf, "dtype"):
            raise LawError(
                f"init gives state.{name} as {type(leaf).__name__}, expected an array; "
                "a compiled step treats a Python number as a constant"
            )
    wanted_params, wanted_state = fetch(backend, params), fetch(backend, state)
    for step in (1, 2):
        result = optimizer.update(params, put(backend, draw_params(step)), state)
        if not isinstance(result, tuple) or len(result) != 2:
            raise LawError(f"update gives one {type(result).__name__}, expected a pair (params, state)")
        params, state = result
        assert_like("update's params", params, wanted_params, "the params given")
        assert_like("update's state", state, wanted_state, "init's state")
    evaluated = optimizer.evaluation_params(params, state)
    assert_like("evaluation_params' result", evaluated, wanted_params, "the params given")


def keeps_library_dtype_and_device(trial: OptimizerTrial, backend: Backend) -> None:
    """The parameters and the state keep their library, device and dtype."""
    params = put(backend, draw_params(0))
    start = trial.optimizer.init(params)
    assert_kept(backend, {"init's state": start})
    params, state = train(trial.optimizer, backend, 2)
    assert_kept(backend, {"params": params, "state": state})


def does_not_modify_gradients(trial: OptimizerTrial, backend: Backend) -> None:
    """`update` may overwrite parameters and state, but not gradients. `init` overwrites nothing."""
    params, grads = put(backend, draw_params(0)), put(backend, draw_params(1))
    before = fetch(backend, {"params": params, "grads": grads})
    state = trial.optimizer.init(params)
    assert_unchanged("init", backend, {"params": params}, {"params": before["params"]})
    trial.optimizer.update(params, grads, state)
    assert_unchanged("update", backend, {"grads": grads}, {"grads": before["grads"]})


def repeats_itself(trial: OptimizerTrial, backend: Backend) -> None:
    """The same steps give the same bits: an optimizer keeps everything it needs in its state."""
    first = fetch(backend, train(trial.optimizer, backend, 5))
    try:
        assert_same(backend, train(trial.optimizer, backend, 5), first)
    except LawError as error:
        raise LawError(
            f"the same steps give something else the second time: {error}; "
            "keep everything that changes in the state"
        ) from None


def state_has_its_own_memory(trial: OptimizerTrial, backend: Backend) -> None:
    """State and parameters share no memory: both may be overwritten, and JAX cannot donate memory twice."""
    params = draw_params(0)
    state = trial.optimizer.init(params)
    for method in ("init", "update"):
        for name, array in tree.items(state):
            if any(np.shares_memory(array, param) for param in tree.leaves(params)):
                raise LawError(
                    f"{method} gives a state whose {name} is a parameter's own memory; "
                    "copy it, xp.asarray(p, copy=True)"
                )
        params, state = trial.optimizer.update(params, draw_params(1), state)


def takes_no_parameters(trial: OptimizerTrial, backend: Backend) -> None:
    """`init` and `update` accept a network without parameters."""
    optimizer = trial.optimizer
    params, state = optimizer.update(NO_PARAMETERS, NO_PARAMETERS, optimizer.init(NO_PARAMETERS))
    if (params, optimizer.evaluation_params(params, state)) != (NO_PARAMETERS, NO_PARAMETERS):
        raise LawError(f"a network without parameters gets {params}; map over the tree, xpnet.tree.map(…)")


def takes_zero_gradients(trial: OptimizerTrial, backend: Backend) -> None:
    """Zero gradients do not change biases and scales, and give no NaN."""
    before = draw_params(0)
    params = put(backend, before)
    zeros = put(backend, tree.map(np.zeros_like, before))
    state = trial.optimizer.init(params)
    for _ in range(2):
        params, state = trial.optimizer.update(params, zeros, state)
    after = dict(tree.items(fetch(backend, params)))
    for name, array in tree.items(fetch(backend, put(backend, before))):
        if not np.isfinite(after[name]).all():
            raise LawError(f"a gradient of 0 makes {name} NaN or infinite; add an ε to the divisor")
        if not name.endswith("weight") and difference(after[name], array):
            raise LawError(
                f"a gradient of 0 moves {name}{difference(after[name], array)}; "
                "weight decay applies only to arrays called weight: use "
                "xpnet.tree.map_weights or optim.decay_weights"
            )


def descends(trial: OptimizerTrial, backend: Backend) -> None:
    """100 steps decrease ½ Σ a (w - c)² with 0.5 ≤ a ≤ 2."""
    rng = np.random.default_rng(0)
    minimum = rng.standard_normal(8)
    scale, start = rng.uniform(0.5, 2, 8), minimum + 3 * rng.choice([-1.0, 1.0], 8)
    params = {"weight": start.copy()}
    state = trial.optimizer.init(params)
    for _ in range(100):
        params, state = trial.optimizer.update(
            params, {"weight": scale * (params["weight"] - minimum)}, state
        )
    first, last = (float(np.sum(scale * (w - minimum) ** 2)) / 2 for w in (start, params["weight"]))
    if not last < first:
        raise LawError(
            f"100 steps on ½Σa(w - c)² take it from {first:.4g} to {last:.4g}, expected less; "
            "subtract the gradient, and try a smaller learning rate"
        )


def learning_rate_is_replaced(trial: OptimizerTrial, backend: Backend) -> None:
    """`with_learning_rate` changes the learning rate alone; the rate may be a 0-d array."""
    optimizer = trial.optimizer
    before = optimizer.learning_rate
    changed = optimizer.with_learning_rate(0.03)
    if changed.learning_rate != 0.03 or optimizer.learning_rate != before:
        raise LawError(
            "with_learning_rate(0.03) does not give an optimizer with learning_rate 0.03; leave it out"
        )
    if changed.with_learning_rate(before) != optimizer:
        raise LawError("with_learning_rate changes more than the learning rate; leave it out")
    with_array = optimizer.with_learning_rate(backend.asarray(0.03, real=True))
    found = train(with_array, backend, 3)
    assert_kept(backend, {"params": found[0], "state": found[1]})
    try:
        assert_close(backend, found, fetch(backend, train(changed, backend, 3)), 1e-5)
    except LawError as error:
        raise LawError(f"a learning rate of 0.03 as a 0-d array: {error}, as with the number 0.03") from None
    moved = fetch(backend, train(optimizer.with_learning_rate(0.0), backend, 3)[0])
    try:
        assert_close(backend, moved, draw_params(0), 1e-6)
    except LawError as error:
        raise LawError(
            f"with a learning rate of 0: {error}; multiply each step by self.learning_rate"
        ) from None


def compiles(trial: OptimizerTrial, backend: Backend) -> None:
    """A compiled step with a varying learning rate gives the same as `update`; JAX traces it once."""
    traces = []

    def step(state: Any, batch: Any) -> Any:
        traces.append(1)
        grads, rate = batch
        params, inner = trial.optimizer.with_learning_rate(rate).update(state[0], grads, state[1])
        return (params, inner), params

    compiled = backend.compile(step)
    params, expected = put(backend, draw_params(0)), put(backend, draw_params(0))
    state, expected_state = (params, trial.optimizer.init(params)), trial.optimizer.init(expected)
    for number in (1, 2, 3):
        grads = put(backend, draw_params(number))
        rate = 0.1 / number
        state, _ = compiled(state, (grads, backend.asarray(rate, real=True)))
        scheduled = trial.optimizer.with_learning_rate(rate)
        expected, expected_state = scheduled.update(
            expected, put(backend, draw_params(number)), expected_state
        )
    if backend.name == "jax" and len(traces) != 1:
        raise LawError(
            f"3 compiled steps are traced {len(traces)} times, expected once; "
            "keep what changes from step to step in the state, as arrays of one dtype"
        )
    try:
        assert_close(backend, state, fetch(backend, (expected, expected_state)), 1e-5)
    except LawError as error:
        raise LawError(f"in a compiled step {error}, as without") from None


def agrees_with_numpy(trial: OptimizerTrial, backend: Backend) -> None:
    """Every library gives the same numbers as NumPy after 20 steps."""
    wanted = train(trial.optimizer, subject.numpy(backend.dtype_name))
    tolerance = trial.tolerances[DTYPES.index(backend.dtype_name)]
    found = train(trial.optimizer, backend)
    assert_kept(backend, {"params": found[0], "state": found[1]})
    try:
        assert_close(
            backend,
            {"params": found[0], "state": found[1]},
            {"params": wanted[0], "state": wanted[1]},
            tolerance,
        )
    except LawError as error:
        raise LawError(f"differs from NumPy: {error}, as on NumPy") from None


FACTORS = (1.0, 0.5, 0.25)  # at most 1, so that hyper-parameters stay in range


def networks_train_at_once(trial: OptimizerTrial, backend: Backend) -> None:
    """K networks with hyper-parameters as arrays of length K train as K single networks."""
    stacked = _scaled(trial.optimizer, FACTORS, backend)
    count = len(FACTORS)
    start = stacked.init(put(backend, draw_params(0, count)))
    params, state = train(stacked, backend, 3, count)
    assert_like("update's state", state, fetch(backend, start), "init's state")
    evaluated = stacked.evaluation_params(params, state)
    for k, factor in enumerate(FACTORS):
        single = _scaled(trial.optimizer, factor, backend)
        expected = put(backend, tree.map(lambda a, k=k: a[k], draw_params(0, count)))
        single_state = single.init(expected)
        for step in (1, 2, 3):
            grads = put(backend, tree.map(lambda a, k=k: a[k], draw_params(step, count)))
            expected, single_state = single.update(expected, grads, single_state)
        expected = fetch(backend, single.evaluation_params(expected, single_state))
        try:
            assert_close(backend, tree.map(lambda a, k=k: a[k, ...], evaluated), expected, 1e-12)
        except LawError as error:
            raise LawError(
                f"hyper-parameters as arrays of length {count}: in network {k}, {error}, as alone; "
                "compose the update of the steps in xpnet.optim.steps, or say stacks=False"
            ) from None


def _scaled(optimizer: Optimizer, factors: float | tuple[float, ...], backend: Backend) -> Optimizer:
    """The optimizer with each hyper-parameter multiplied by a factor, or by an array of factors."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(optimizer):  # type: ignore[arg-type]  # every subclass is a dataclass
        value = getattr(optimizer, field.name)
        if isinstance(value, Optimizer):
            changes[field.name] = _scaled(value, factors, backend)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            scaled = value * np.asarray(factors)
            changes[field.name] = backend.asarray(scaled) if scaled.ndim else float(scaled)
    return dataclasses.replace(optimizer, **changes)  # type: ignore[type-var]


LAWS = (
    Law("is a frozen dataclass", is_a_frozen_dataclass, on_host=True),
    Law("repr shows every field", repr_shows_every_field, on_host=True),
    Law("update keeps names and shapes", keeps_structure, ("float32",), needed=True),
    Law("results keep library, device, dtype", keeps_library_dtype_and_device),
    Law("gradients are not modified", does_not_modify_gradients, ("float32",)),
    Law("the same steps give the same bits", repeats_itself, ("float32",)),
    Law("state has its own memory", state_has_its_own_memory, ("float64",), on_host=True),
    Law("a network may have no parameters", takes_no_parameters, ("float64",), on_host=True),
    Law("zero gradients move no bias", takes_zero_gradients),
    Law("a convex function decreases", descends, ("float64",), on_host=True),
    Law("learning rate can be replaced", learning_rate_is_replaced, ("float32",)),
    Law("a compiled step does the same", compiles, ("float32",)),
    Law("numbers agree with NumPy", agrees_with_numpy),
)
STACKS = Law("K networks in one update", networks_train_at_once, ("float64",))


def check_optimizer(
    optimizer: Optimizer,
    *,
    backends: Sequence[BackendLike] | None = None,
    dtypes: Sequence[str] = DTYPES,
    stacks: bool = True,
    raise_on_failure: bool = True,
) -> Report:
    """Check that an optimizer obeys the laws of optimizers: structure, dtypes, no side effects, descent.

    The laws cannot check the formula itself: compare a few steps with a paper or another implementation.

    Arguments:
        optimizer: an optimizer of `xpnet.optim` or your own, with hyper-parameters fit for training.
        backends, dtypes, raise_on_failure: as for `check_layer`.
        stacks: whether each hyper-parameter may be an array of length K, for K networks at once.

    Returns the report. Raises LawError if a law does not hold and `raise_on_failure` is true.
    """
    subject.require_instance("check_optimizer", optimizer, Optimizer)
    shown = subject.show(optimizer)
    trial = OptimizerTrial(optimizer)
    laws = (*LAWS, STACKS) if stacks else LAWS
    results = try_laws(laws, trial, subject.places(backends), dtypes, host=subject.numpy)
    report = Report(f"check_optimizer: {shown}", tuple(results))
    return report.require() if raise_on_failure else report
