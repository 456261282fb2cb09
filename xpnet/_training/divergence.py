"""Divergence: detect infinite and NaN values after an epoch, then trace them to their origin."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import cost, judging
from xpnet._training.state import State
from xpnet._training.step import Objective
from xpnet._util.examples import Examples
from xpnet.backend import Backend, namespace
from xpnet.nn import Container, Layer
from xpnet.nn._layer import Shape
from xpnet.random import Generator, Key
from xpnet.tree import Array, Tree


class StepRange(NamedTuple):
    """Consecutive training steps.

    Fields:
        first: the number of steps of the epoch that come before this range.
        data: inputs and targets, of all examples or of this range's; empty if `rows` begins with them.
        rows: one row per step: the positions of its examples in `data`, and its learning rate or None. For
            data from the host on many devices: its inputs, its targets, None, and its learning rate.
        begin: the first row to run; earlier rows belong to steps that were already taken.
    """

    first: int
    data: tuple[Any, ...]
    rows: tuple[Any, ...]
    begin: int = 0


class Origin(NamedTuple):
    """The origin of the first infinite or NaN value.

    Fields:
        step: the step of the epoch, from 1.
        where: a description, "in the output of layer 2, ReLU()".
        is_input: whether it was already in the step's inputs, rather than computed in the step.
    """

    step: int
    where: str
    is_input: bool = False


def is_finite(arrays: Tree) -> bool:
    """Whether all values in a tree of arrays are finite. Waits for the device."""
    finite: Any = True
    for array in tree.leaves(arrays):
        if not hasattr(array, "dtype"):
            continue  # a total before the first step is the number 0
        xp = namespace(array)
        if xp.isdtype(array.dtype, "real floating"):
            finite = xp.all(xp.isfinite(array)) & finite
    return bool(finite)


def finite_networks(backend: Backend, arrays: Tree, networks: int) -> np.ndarray:
    """Whether all values of each of K networks are finite, (K,), in arrays with an axis of networks."""
    finite = np.ones(networks, bool)
    for array in tree.leaves(arrays):
        if not hasattr(array, "dtype"):
            continue
        xp = namespace(array)
        if xp.isdtype(array.dtype, "real floating"):
            rows = xp.reshape(xp.isfinite(array), (networks, -1))
            finite &= np.asarray(backend.to_numpy(xp.all(rows, axis=1)))
    return finite


def has_diverged(state: State) -> bool:
    """Whether a loss of this epoch, a parameter or a statistic is infinite or NaN. Waits for the device.

    Checking once an epoch is enough: a sum of losses that is not finite stays so, and so does a parameter.
    """
    return not is_finite((state.totals.loss, state.params, state.statistics))


def _copy(backend: Backend, state: Tree) -> Tree:
    return tree.map(lambda array: None if array is None else backend.xp.asarray(array, copy=True), state)


def trace(
    state: State,
    ranges: Iterable[StepRange],
    objective: Objective,
    run: Callable[..., State],
    make_step: Callable[[Objective], Callable[..., tuple[State, Any]]],
    backend: Backend,
) -> Origin | None:
    """Repeat the steps of an epoch that diverged, and find the first infinite or NaN value.

    Arguments:
        state: the state before the first of these steps; it is overwritten.
        ranges: the steps.
        objective: the objective that they minimise.
        run: `(state, data, rows, start, stop) -> state`, made by `Backend.compile_loop`.
        make_step: makes the pure step for an objective (`xpnet._training.step.training_step`).

    Returns None if all values are finite this time, as may happen on a device that is not deterministic.
    """
    for first, data, rows, begin in ranges:
        for i in range(begin, rows[0].shape[0]):
            before = _copy(backend, state)
            state = run(state, data, rows, i, i + 1)
            if has_diverged(state):
                batch = *data, *[tree.map(functools.partial(_row, i), each) for each in rows]
                return _find_origin(first + i + 1, before, batch, objective, make_step)
    return None


def _row(i: int, array: Array | None) -> Array | None:
    return None if array is None else array[i, ...]


def _find_origin(
    number: int,
    state: State,
    batch: tuple[Any, ...],
    objective: Objective,
    make_step: Callable[[Objective], Callable[..., tuple[State, Any]]],
) -> Origin:
    """The origin of the first infinite or NaN value in step `number`, which starts from `state`."""
    x, target, index, rate = batch
    rows = slice(None) if index is None else index
    step_inputs = {
        "in the parameters before it": (state.params, state.statistics),
        "in the inputs": judging.take(x, rows),
        "in the targets": judging.take(target, rows),
        "the learning rate": () if rate is None else rate,
    }
    for name, arrays in step_inputs.items():
        if not is_finite(arrays):
            return Origin(number, name, is_input=True)
    found: list[tuple[int, str]] = []
    net = watched(objective.net, found)
    net.output_shape(x.shape)  # may be a dry run, which must not count as part of the step
    found.clear()
    with np.errstate(all="ignore"):  # this step is not compiled
        _, totals = make_step(Objective(net, objective.loss, objective.l2))(state, batch)
    if not is_finite(totals.loss):
        found.append((_LOSS, f"in the loss, {objective.loss}"))
    # Parts of the batch run in parallel: order by the place in the step, not by the time of discovery.
    return Origin(number, min(found)[1] if found else "in the parameters after the update")


@dataclass(frozen=True, repr=False)
class Watched(Layer):
    """A wrapper that records when the output or the gradients of a layer are not finite.

    Arguments:
        layer: the layer.
        name: its name and position in the network, for errors.
        place: the number of layers before it.
        found: the list of records (order within the step, description).
    """

    layer: Layer
    name: str
    place: int
    found: list[tuple[int, str]] = field(compare=False)

    def init(self, rng: Generator) -> Tree:
        return self.layer.init(rng)

    def init_statistics(self) -> Tree:
        return self.layer.init_statistics()

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        y, residuals = self.layer.forward(params, x)
        self._note(y, self.place, "output")
        return y, residuals

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        dx, grads = self.layer.backward(params, residuals, dy)
        self._note((dx, grads), _LAST - self.place, "gradient")
        return dx, grads

    def parameter_gradients(self, params: Tree, residuals: Any, dy: Array) -> Tree:
        grads = self.layer.parameter_gradients(params, residuals, dy)
        self._note(grads, _LAST - self.place, "gradient")
        return grads

    def _note(self, arrays: Tree, order: int, what: str) -> None:
        if not is_finite(arrays):
            self.found.append((order, f"in the {what} of {self.name}"))

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.output_shape(input_shape)

    @property
    def examples(self) -> Examples:
        return self.layer.examples

    @property
    def integers(self) -> range | None:
        return self.layer.integers

    def training_mode(self, key: Key) -> Layer:
        layer = self.layer.training_mode(key)
        return self if layer is self.layer else Watched(layer, self.name, self.place, self.found)

    def new_statistics(self, statistics: Tree, residuals: Any) -> Tree:
        return self.layer.new_statistics(statistics, residuals)


@cost.workspace.register
def _(layer: Watched, input_shape: Shape) -> int:
    return cost.workspace(layer.layer, input_shape)


_LOSS = 1 << 29  # after the outputs of all layers
_LAST = 1 << 30  # the backward pass comes after all outputs and the loss, the last layer first


def watched(
    net: Layer, found: list[tuple[int, str]], name: str = "", places: Iterator[int] | None = None
) -> Layer:
    """The network with each layer wrapped in `Watched`."""
    places = itertools.count() if places is None else places
    children = net.children()
    if not children or not isinstance(net, Container):
        return Watched(net, f"{name}{net}", next(places), found)

    def inside(key: Any, child: Layer) -> Layer:
        return watched(child, found, f"{name}{f'layer {key}' if isinstance(key, int) else key}, ", places)

    return net.with_children({key: inside(key, child) for key, child in children.items()})
