"""The optimizers of K networks as one optimizer: every array has a leading axis of K networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Self

from xpnet import tree
from xpnet.backend import Backend, namespace
from xpnet.errors import ConfigError
from xpnet.optim._optimizer import Optimizer
from xpnet.optim.adaptive import Adagrad, Adam, AdamW, Lion, NAdam, RMSprop
from xpnet.optim.momentum import SGD, EMAMomentum
from xpnet.optim.wrappers import AverageWeights, ClipNorm, ClipValue
from xpnet.tree import Tree

TAKE_ARRAYS = (SGD, EMAMomentum, RMSprop, Adagrad, Adam, AdamW, NAdam, Lion, ClipNorm, AverageWeights)


def of_each_network(optimizer: Optimizer, networks: int) -> list[Optimizer]:
    """K optimizers: each hyper-parameter that is an array of length K, as a number for each.

    Raises ConfigError for an array of another length.
    """
    changes: list[dict[str, Any]] = [{} for _ in range(networks)]
    given: Any = with_numbers(optimizer)
    for field in fields(given) if is_dataclass(given) else ():
        value = getattr(given, field.name)
        if isinstance(value, Optimizer):
            each: Any = of_each_network(value, networks)
        elif getattr(value, "ndim", 0) > 0:
            if tuple(value.shape) != (networks,):
                raise ConfigError(
                    f"Ensemble: expected {field.name} of {type(optimizer).__name__} to be a number, or an "
                    f"array of {networks}, one for each network, got an array of shape {tuple(value.shape)}"
                )
            each = [float(value[k]) for k in range(networks)]
        else:
            continue
        for change, new in zip(changes, each, strict=True):
            change[field.name] = new
    return [replace(given, **change) if change else given for change in changes]


def with_numbers(optimizer: Optimizer) -> Optimizer:
    """The optimizer with numbers in place of arrays of one number."""
    given: Any = optimizer
    changes: dict[str, Any] = {}
    for field in fields(given) if is_dataclass(given) else ():
        value = getattr(optimizer, field.name)
        if isinstance(value, Optimizer) and with_numbers(value) is not value:
            changes[field.name] = with_numbers(value)
        elif getattr(value, "ndim", None) == 0:
            changes[field.name] = float(value)
    return replace(given, **changes) if changes else optimizer


def stacked(optimizers: Sequence[Optimizer], backend: Backend) -> Optimizer:
    """One optimizer for K networks, with an array of K where their hyper-parameters differ.

    Optimizers that xpnet does not know, and those of several classes, update the networks one by one.
    """
    return _together(optimizers, backend) or OneByOne(tuple(optimizers))


def _together(optimizers: Sequence[Optimizer], backend: Backend) -> Optimizer | None:
    first = optimizers[0]
    kind = type(first)
    if kind not in (*TAKE_ARRAYS, ClipValue) or any(type(each) is not kind for each in optimizers):
        return None
    changes: dict[str, Any] = {}
    for field in fields(first):  # type: ignore[arg-type]  # a class of xpnet
        values = [getattr(each, field.name) for each in optimizers]
        if isinstance(values[0], Optimizer):
            changes[field.name] = _together(values, backend)
            if changes[field.name] is None:
                return None
        elif len({*values}) > 1 or (kind is ClipNorm):  # a norm of each network
            if kind is ClipValue or isinstance(values[0], bool):
                return None
            changes[field.name] = backend.asarray([float(value) for value in values])
    return replace(first, **changes) if changes else first  # type: ignore[type-var]


@dataclass(frozen=True)
class OneByOne(Optimizer):
    """K optimizers, one for each network; the state is a tuple of theirs."""

    optimizers: tuple[Optimizer, ...]

    @property
    def learning_rate(self) -> Any:
        return [each.learning_rate for each in self.optimizers]

    def with_learning_rate(self, rate: Any) -> Self:
        each = [one.with_learning_rate(rate[k, ...]) for k, one in enumerate(self.optimizers)]
        return replace(self, optimizers=tuple(each))

    def init(self, params: Tree) -> Tree:
        return tuple([one.init(_network(params, k)) for k, one in enumerate(self.optimizers)])

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        found = [
            one.update(_network(params, k), _network(grads, k), state[k])
            for k, one in enumerate(self.optimizers)
        ]
        return _stack([params for params, _ in found]), tuple([state for _, state in found])

    def evaluation_params(self, params: Tree, state: Tree) -> Tree:
        given = [_network(params, k) for k in range(len(self.optimizers))]
        found = [
            one.evaluation_params(each, its_state)
            for one, each, its_state in zip(self.optimizers, given, state, strict=True)
        ]
        same = all(one is other for one, other in zip(found, given, strict=True))
        return params if same else _stack(found)


def stack_states(optimizer: Optimizer, states: Sequence[Tree], params: Tree) -> Tree:
    """The state of the optimizer for K networks, from the states of the optimizers of each.

    Arguments:
        optimizer: what `stacked` made of their optimizers.
        states: their states.
        params: the parameters of all networks.
    """
    if isinstance(optimizer, OneByOne):
        return tuple(states)
    named = [dict(tree.items(state)) for state in states]
    if all(each.keys() == named[0].keys() for each in named):
        return _stack(list(states))
    like = optimizer.init(params)
    arrays = {}
    for name, start in tree.items(like):
        # Of K momenta, some may be 0: such a network has no velocity of its own.
        each = [
            of_network[name] if name in of_network else start[k, ...] for k, of_network in enumerate(named)
        ]
        arrays[name] = namespace(start).stack(each)
    return tree.replace(like, arrays)


def states_of_networks(
    optimizer: Optimizer, state: Tree, like: Sequence[Tree], parts: Callable[[Tree], Tree]
) -> list[Tree]:
    """The state of each network, in the structures `like`.

    Arguments:
        optimizer: what `stacked` made of their optimizers.
        state: its state.
        like: trees with the names of the states of each network.
        parts: gives the tree with a list of the parts of the networks in place of each array.
    """
    if isinstance(optimizer, OneByOne):
        return list(state)
    named = dict(tree.items(parts(state)))
    return [
        tree.replace(one, {name: named[name][k] for name, _ in tree.items(one)}) for k, one in enumerate(like)
    ]


def _network(arrays: Tree, k: int) -> Tree:
    return tree.map(lambda array: array[k, ...], arrays)


def _stack(trees: list[Tree]) -> Tree:
    return tree.map(lambda *arrays: namespace(arrays[0]).stack(arrays), *trees)
