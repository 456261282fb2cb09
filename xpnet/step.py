"""One step of training, and of evaluation, as pure functions for `backend.compile`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet import losses, optim, tree
from xpnet.data.batches import take
from xpnet.losses import Loss
from xpnet.nn import Layer
from xpnet.optim import Optimizer
from xpnet.tree import Array, Tree


class Totals(NamedTuple):
    """Sums over examples, 0-d arrays; errors is None where the targets name no class."""

    loss: Array
    errors: Array | None


class State(NamedTuple):
    """Everything that a training step changes."""

    params: Tree
    optimizer: Tree
    totals: Totals


@dataclass(frozen=True)
class Objective:
    """What training minimises: L(net(x), target) + λ/2·Σw², over weights and never biases.

    Arguments:
        net: the network.
        loss: L.
        l2: λ.
    """

    net: Layer
    loss: Loss
    l2: float = 0.0

    def value(self, params: Tree, x: Array, target: Array) -> Array:
        """The objective on these examples, a 0-d array."""
        prediction, _ = self.net.forward(params, x)
        value, _ = self.loss.forward(prediction, target)
        return self.penalized(params, value)

    def gradients(self, params: Tree, x: Array, target: Array) -> Tree:
        """The gradient of `value` at the parameters."""
        prediction, residuals = self.net.forward(params, x)
        _, loss_residuals = self.loss.forward(prediction, target)
        return self.backward(params, residuals, loss_residuals)

    def penalized(self, params: Tree, value: Array) -> Array:
        """A value of the loss with the penalty added."""
        return value if self.l2 == 0 else value + losses.l2(tree.weights(params), self.l2)

    def backward(self, params: Tree, residuals: Any, loss_residuals: Any) -> Tree:
        """The gradients, given what the forward passes of network and loss left."""
        dprediction = self.loss.backward(loss_residuals)
        grads = self.net.parameter_gradients(params, residuals, dprediction)
        return optim.decay_weights(grads, params, self.l2)


def training_step(objective: Objective, optimizer: Optimizer) -> Callable[..., tuple[State, Totals]]:
    """The pure step `(state, (x, target, index)) -> (state, totals of this batch)`.

    It trains on the examples of the data set (x, target) at the positions `index`. Arrays of the
    state that goes in may be overwritten.
    """

    def step(state: State, batch: tuple[Array, Array, Array]) -> tuple[State, Totals]:
        x, target, index = batch
        x, target = take(x, index), take(target, index)
        prediction, residuals = objective.net.forward(state.params, x)
        value, loss_residuals = objective.loss.forward(prediction, target)
        value = objective.penalized(state.params, value)
        totals = Totals(value * x.shape[0], objective.loss.errors(prediction, target))
        grads = objective.backward(state.params, residuals, loss_residuals)
        params, optimizer_state = optimizer.update(state.params, grads, state.optimizer)
        return State(params, optimizer_state, _add(state.totals, totals)), totals

    return step


def evaluation_step(objective: Objective) -> Callable[..., tuple[Totals, Totals]]:
    """The pure step `(totals, (params, x, target)) -> (totals, totals of this batch)`, without penalty."""

    def step(totals: Totals, batch: tuple[Tree, Array, Array]) -> tuple[Totals, Totals]:
        params, x, target = batch
        prediction, _ = objective.net.forward(params, x)
        value, _ = objective.loss.forward(prediction, target)
        here = Totals(value * x.shape[0], objective.loss.errors(prediction, target))
        return _add(totals, here), here

    return step


def prediction_step(net: Layer) -> Callable[..., tuple[tuple[()], Array]]:
    """The pure step `((), (params, x)) -> ((), prediction)`."""
    return lambda state, batch: (state, net.forward(*batch)[0])


def _add(totals: Totals, more: Totals) -> Totals:
    errors = None if more.errors is None else totals.errors + more.errors
    return Totals(totals.loss + more.loss, errors)
