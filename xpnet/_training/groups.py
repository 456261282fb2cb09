"""Steps of K networks in groups, which train at the same time, each on a core of its own.

A product of small matrices gains little from several threads, and loses much where other programs use the
cores. Groups of networks need not wait for each other, and run the other operations in parallel too.
"""

import copy
import functools
import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from xpnet import tree
from xpnet._training import cost
from xpnet._training.judging import Weighted
from xpnet._training.networks import Networks
from xpnet._training.state import State, Totals
from xpnet._training.step import Objective, training_step
from xpnet._util.warning import Once
from xpnet.backend import Backend, namespace
from xpnet.data.batches import slices
from xpnet.nn.fast import faster
from xpnet.optim import Optimizer
from xpnet.optim import _stacked as stacked_optimizers
from xpnet.tree import Tree

# Operations of a group in the matrix products of a step. With fewer, the Python code of the groups, which
# does not run in parallel, takes the time that they save: 8 of 784-64-10 gain, 8 of 784-32-10 do not.
LEAST = 50_000_000

Step = Callable[..., tuple[State, Totals]]


class Group(NamedTuple):
    """Some of the networks, and the step that trains them."""

    networks: slice
    step: Step


def training_step_in_groups(
    objective: Objective, optimizer: Optimizer, backend: Backend, networks: Networks, **options: Any
) -> Step:
    """`training_step` of K networks, in groups where that is faster: the same steps, up to rounding.

    Convolutions stay together: a batch of them runs in parallel parts already, and in small ones many short
    operations would wait for each other's Python code (8 networks took 1.3 times as long in groups).
    """
    options["once"] = Once()
    together = training_step(objective, optimizer, backend, networks=networks, **options)
    net, workers = faster(objective.net, backend), backend.workers
    is_one_by_one = isinstance(optimizer, stacked_optimizers.OneByOne)  # its state has no axis of networks
    if workers == 1 or 2 * networks.total < workers or is_one_by_one:
        return together
    one_core = copy.copy(backend)
    one_core.workers = 1

    def in_groups(number: int) -> Step:
        groups, members = [], networks.members
        for part in slices(len(members), math.ceil(len(members) / number)):
            own = Networks(members[part], networks.total)
            l2 = objective.l2[part, ...] if hasattr(objective.l2, "ndim") else objective.l2
            its_objective = replace(objective, loss=own.loss(), l2=l2)
            its_optimizer = stacked_optimizers.of_part(optimizer, part)
            its_step = training_step(its_objective, its_optimizer, one_core, networks=own, **options)
            groups.append(Group(part, its_step))
        return _at_the_same_time(groups, backend, number)

    steps: dict[tuple[int, ...], Step] = {}

    def step(state: State, batch: Any) -> tuple[State, Totals]:
        x, _, index, _ = batch
        shape = index.shape[-1], *x.shape[1:]
        if shape not in steps:
            flops = cost.flops(net, state.params, shape)
            operations = networks.total * (flops.forward + flops.parameter_gradients)
            has_convolutions = cost.workspace(net, (1, *x.shape[1:])) > 0
            # The number before some were taken out: the rounding of the others must not depend on it.
            number = 1 if has_convolutions else min(networks.total, workers, operations // LEAST)
            steps[shape] = together if number < 2 else in_groups(number)
        return steps[shape](state, batch)

    return step


def _at_the_same_time(groups: list[Group], backend: Backend, number: int) -> Step:
    """The step of all groups, of which there were `number` before networks were taken out."""

    def step(state: State, batch: Any) -> tuple[State, Totals]:
        before = [_of(group.networks, state) for group in groups]

        def train(i: int, _: Any) -> list[tuple[State, Totals]]:
            if i >= len(groups):
                return []
            return [groups[i].step(before[i], _batch_of(groups[i].networks, *batch))]

        # As many parts as before, for one of them would use several threads of BLAS.
        found = backend.map_reduce(train, operator.add, range(number))
        states, totals = zip(*found, strict=True)
        joined = tree.map(functools.partial(_joined, len(groups)), state, *before, *states)
        return joined, tree.map(_concat, *totals)

    return step


def _of(part: slice, arrays: Tree) -> Tree:
    """The part of these networks of a tree of arrays."""
    return tree.map(lambda array: None if array is None else array[part, ...], arrays)


def _batch_of(part: slice, x: Any, target: Any, index: Any, rate: Any) -> tuple[Any, Any, Any, Any]:
    """The batch of these networks."""
    if isinstance(target, Weighted) and target.weights.ndim == 2:  # (examples, K)
        target = target._replace(weights=target.weights[:, part])
    own = index if index.shape[0] == 1 else index[part, ...]
    return x, target, own, None if rate is None else rate[part, ...]


def _joined(n: int, whole: Any, *parts: Any) -> Any:
    """An array of all networks after a step: the one before it, if the n groups have overwritten their parts.

    Arguments:
        parts: the parts of the groups before the step, then those after it.
    """
    before, after = parts[:n], parts[n:]
    overwritten = all(old is new for old, new in zip(before, after, strict=True))
    return whole if overwritten else _concat(*after)


def _concat(*parts: Any) -> Any:
    return None if parts[0] is None else namespace(parts[0]).concat(parts)
