"""K networks of one architecture, trained at once: what the steps need to know of them.

Their arrays have a leading axis of K networks. A leading axis of 1 on inputs and targets stands for the same
examples for all networks.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet import random, tree
from xpnet._training.state import State, Totals
from xpnet.backend import Backend, namespace
from xpnet.losses import Loss
from xpnet.losses import _stacked as stacked_losses
from xpnet.nn import Layer
from xpnet.nn import _stacked as stacked_nets
from xpnet.nn._stacked import stack
from xpnet.nn.fast import faster
from xpnet.optim import Optimizer
from xpnet.optim import _stacked as stacked_optimizers
from xpnet.random import Key
from xpnet.tree import Array, Tree


class Member(NamedTuple):
    """One of K networks: what `Model` is made of."""

    net: Layer
    loss: Loss
    optimizer: Optimizer
    seed: int
    l2: float


@dataclass(frozen=True)
class Networks:
    """K networks.

    Arguments:
        members: the networks.
        total: the number of networks before some were taken out. It decides how a batch is split, so that the
            rounding of the others does not depend on it.
    """

    members: tuple[Member, ...]
    total: int

    def net(self, backend: Backend) -> Layer:
        """The networks as one, in their fast forms."""
        forms: dict[int, Layer] = {}
        for member in self.members:
            if id(member.net) not in forms:
                forms[id(member.net)] = faster(member.net, backend)
        return stacked_nets.stacked([forms[id(member.net)] for member in self.members])

    def loss(self) -> Loss:
        """Their losses as one."""
        return stacked_losses.stacked([member.loss for member in self.members])

    def optimizer(self, backend: Backend) -> Optimizer:
        """Their optimizers as one."""
        return stacked_optimizers.stacked([member.optimizer for member in self.members], backend)

    def l2(self, backend: Backend) -> Any:
        """λ of each, an array (K,); 0 if all are 0."""
        strengths = [float(member.l2) for member in self.members]
        return backend.asarray(strengths) if any(strengths) else 0.0

    def state(self, optimizer: Optimizer, states: Sequence[State]) -> State:
        """The states of the networks as one; `optimizer` is what `self.optimizer` made."""
        params = stack([state.params for state in states])
        xp = namespace(states[0].step)
        return State(
            params,
            stack([state.statistics for state in states]),
            stacked_optimizers.stack_states(optimizer, [state.optimizer for state in states], params),
            _stacked_totals([state.totals for state in states]),
            xp.concat([state.step for state in states]),
            xp.stack([state.finite_steps for state in states]),
            _stacked_averages(states),
        )

    def states_of(self, optimizer: Optimizer, state: State, like: Sequence[State]) -> list[State]:
        """The state of each of them, in the structures of their own states `like`. On the host, too."""
        each: Any = _parts(state._replace(optimizer={}, step=state.step[:, None]))
        inner = stacked_optimizers.states_of_networks(
            optimizer, state.optimizer, [one.optimizer for one in like], _parts
        )
        return [
            State(
                _of(k, each.params),
                _of(k, each.statistics),
                inner[k],
                Totals(*[None if total is None else total[k] for total in each.totals]),
                each.step[k],
                each.finite_steps[k],
                _of(k, each.averaged_statistics) if own.averaged_statistics else {},
            )
            for k, own in enumerate(like)
        ]

    def streams(self) -> tuple[int, ...]:
        """The stream of the random numbers of each."""
        return tuple([random.stream(member.seed, "noise") for member in self.members])

    def everywhere(self, x: Array) -> Array:
        """x with the axis of networks, which may be 1 before."""
        k = len(self.members)
        return x if x.shape[0] == k else namespace(x).broadcast_to(x, (k, *x.shape[1:]))

    def inputs(self, net: Layer, backend: Backend | None = None) -> Callable[[Array], Array]:
        """The function that gives x as the first layers of `net`, made by `self.net`, take it.

        With a backend, it may copy x where that makes their products faster.
        """
        if not stacked_nets.shares_inputs(net):
            return self.everywhere
        if backend is None or not stacked_nets.starts_with_products(net):
            return lambda x: x
        return functools.partial(backend.for_products, networks=len(self.members))


def _parts(arrays: Tree) -> Tree:
    """For each array, a list of its parts for the networks: one call takes JAX as long as one part."""

    def parts(array: Array | None) -> list[Array] | None:
        if array is None:
            return None
        xp = namespace(array)
        # NumPy's parts of a vector are numbers.
        return [part if isinstance(part, type(array)) else xp.asarray(part) for part in xp.unstack(array)]

    return tree.map(parts, arrays)


def _of(k: int, parts: Any) -> Any:
    """The k-th part of each leaf in a tree of `_parts`."""
    return tree.map(lambda leaf: leaf[k], parts)


def _stacked_totals(totals: Sequence[Totals]) -> Totals:
    """The totals of an epoch that was interrupted; else those before the first step, which are numbers."""
    if not hasattr(totals[0].loss, "dtype"):
        return Totals(0.0, 0)
    return Totals(*[None if each[0] is None else stack(each) for each in zip(*totals, strict=True)])


def _stacked_averages(states: Sequence[State]) -> Tree:
    """The averaged statistics of all networks: those of one without an average are its statistics."""
    if not any(state.averaged_statistics for state in states):
        return {}
    return stack([state.averaged_statistics or state.statistics for state in states])


def augmented(augment: Any, x: Array, keys: Key) -> Array:
    """The inputs of each network (K or 1, n, ...), augmented with its own key: (K, n, ...)."""
    numbers = keys.stream.numbers  # type: ignore[attr-defined]
    each = [augment(x[k if x.shape[0] > 1 else 0, ...], keys.network(k)) for k in range(len(numbers))]
    return namespace(each[0]).stack(each)
