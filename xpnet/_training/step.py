"""Steps of training, evaluation and prediction: pure functions for `backend.compile`."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet import losses, optim, random, tree
from xpnet._training import judging
from xpnet._training.networks import Networks, augmented
from xpnet._training.sizes import examples_at_once
from xpnet._training.state import State, Totals
from xpnet._util.checks import is_number, require_integer, settled
from xpnet._util.examples import Examples, combined
from xpnet._util.warning import Once
from xpnet.backend import Backend, namespace, ops
from xpnet.backend.fused import fused, where
from xpnet.data.batches import slices
from xpnet.errors import ConfigError
from xpnet.losses import Loss
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.nn.fast import deferred, faster, prepared
from xpnet.nn.norm import of_one_value
from xpnet.optim import Optimizer
from xpnet.optim.steps import along, is_zero
from xpnet.random import Key, Keys, Streams
from xpnet.tree import Array, Tree

Augment = Callable[[Array, Key], Array]


@dataclass(frozen=True)
class Objective:
    """The objective of training: L(net(x), target) + λ/2·Σw², a sum over all weights, never biases.

    Arguments:
        net: the network.
        loss: L.
        l2: λ.
    """

    net: Layer
    loss: Loss
    l2: Any = 0.0

    def __post_init__(self) -> None:
        if not is_number(settled(self, "l2")) or self.l2 < 0:
            raise ConfigError(f"Model: expected l2 to be a finite number and at least 0, got {self.l2!r}")

    def value(self, params: Tree, x: Array, target: Array) -> Array:
        """The objective on these examples, a 0-d array."""
        prediction, _ = self.net.forward(params, x)
        value, _ = self.loss.forward(prediction, target)
        return self.penalized(params, value)

    def gradients(self, params: Tree, x: Array, target: Array) -> Tree:
        """The gradient of `value` at the parameters."""
        prediction, residuals = self.net.forward(params, x)
        _, loss_residuals = self.loss.forward(prediction, target)
        grads = self.net.parameter_gradients(params, residuals, self.loss.backward(loss_residuals))
        return self.penalized_gradients(params, grads)

    def penalized(self, params: Tree, value: Any) -> Any:
        """`value`, a value of the loss, plus the penalty."""
        return value if is_zero(self.l2) else value + losses.l2(tree.weights(params), self.l2)

    def penalized_gradients(self, params: Tree, grads: Tree) -> Tree:
        """`grads`, gradients of the loss, plus the gradients of the penalty."""
        return optim.decay_weights(grads, params, self.l2)


class SharedObjective(Objective):
    """The objectives of K networks: `net` is one of them, `loss` that of all, and `l2` 0 or an array (K,)."""

    def __post_init__(self) -> None:
        """Nothing to check: the objective of each network has been."""


def training_step(
    objective: Objective,
    optimizer: Optimizer,
    backend: Backend,
    *,
    seed: int = 0,
    augment: Augment | None = None,
    micro_batch: int | None = None,
    networks: Networks | None = None,
) -> Callable[..., tuple[State, Totals]]:
    """The pure step `(state, (x, target, index, learning_rate)) -> (state, totals of this batch)`.

    In short, `grads = objective.gradients(params, x, target)`, then `optimizer.update(params, grads, state)`.
    All else serves batches in parts, noise, statistics of layers, weights of examples, and K networks.

    It trains on the examples of the data set (x, target) at the positions `index`, or on all of them if that
    is None, and may overwrite the arrays of the given state. The target is an array or `Weighted`.
    `learning_rate` is a 0-d array that replaces the optimizer's own, or None.

    Arguments:
        objective: the objective to minimise.
        optimizer: the optimizer.
        backend: runs the micro-batches, in parallel if it can.
        seed: seed of the random numbers of dropout, noise and augmentation.
        augment: applied to each batch of inputs.
        micro_batch: the number of examples that go through the network at once; None: what suits the backend.
            The step adds up their gradients before the update, so that the update is the same as for the
            whole batch, with the same masks and noise. Exception: batch normalisation normalises each
            micro-batch of a given size by itself, but the whole batch if `micro_batch` is None.
        networks: K networks to train at once, in place of one with this seed. Then all arrays of the state
            have a leading axis of K, and `index` is (K, n), or (1, n) for the same examples for all.
    """
    if micro_batch is not None:
        require_integer("Model", "micro_batch", micro_batch)
    one = faster(objective.net, backend)
    one_in_training = one.training_mode(Key(None))  # as with a real key, but for the numbers that it draws
    if networks is None:
        net, in_training, stream = one, one_in_training, noise_stream(seed)
    else:
        net = networks.net(backend)
        in_training, streams = net.training_mode(Key(None)), Streams(networks.streams())
    is_plain = in_training is net
    measures = bool(tree.leaves(one.init_statistics()))
    n_networks = 1 if networks is None else networks.total
    inputs_of = None if networks is None else networks.inputs(net, backend)
    # A weight gradient that is only added to another array need not be computed as an array.
    may_defer = backend.adds_products and only_adds_gradients(optimizer) and is_zero(objective.l2)
    deferring = deferred(net) if may_defer else net
    decaying = with_penalty(optimizer, objective.l2)
    of_augment: Examples = "independent" if augment is None else getattr(augment, "examples", "mixed")
    examples = combined([in_training.examples, objective.loss.examples, of_augment])
    together = examples == "summed" and micro_batch is None
    once = Once()

    @functools.cache
    def parts_of(input_shape: Shape, n: int) -> tuple[int, list[slice]]:
        """The size of the parts of a batch of n examples, and the parts."""
        size = micro_batch or examples_at_once(one_in_training, input_shape, n, backend, examples, n_networks)
        return size, slices(n, size)

    def examples_of(x: Array, target: Any, index: Array | None, part: slice, key: Key) -> tuple[Array, Any]:
        """The inputs and the targets of a part of a batch."""
        rows: Any = part if index is None else index[..., part]
        if networks is None or inputs_of is None:
            inputs, targets = backend.shard((judging.take(x, rows), judging.take(target, rows)))
            return inputs if augment is None else augment(inputs, key.child(1)), targets
        taken = judging.take_of_each(x, rows), judging.take_of_each(target, rows)
        inputs, targets = backend.shard(taken, 1)
        inputs = inputs_of(inputs) if augment is None else augmented(augment, inputs, key.child(1))
        return inputs, tree.map(networks.everywhere, targets)

    def key_of(step: Array, first: int) -> Key:
        return Key(step, stream, first) if networks is None else Keys(step, streams, first)  # type: ignore[arg-type]

    def step(state: State, batch: tuple[Array, Array, Array | None, Array | None]) -> tuple[State, Totals]:
        x, target, index, learning_rate = batch
        n = x.shape[0] if index is None else index.shape[-1]
        params = state.params

        size, parts = parts_of(x.shape[1:], n)
        whole = deferring if size >= n else net

        def learn(part: slice, given: tuple[Tree, Tree]) -> tuple[Tree, Tree, Totals]:
            """Gradients, statistics and totals of a part of the batch, weighted by its share of the batch."""
            params, evaluated = given
            here_n, key = part.stop - part.start, key_of(state.step, part.start)
            inputs, targets = examples_of(x, target, index, part, key)
            here = whole if is_plain else whole.training_mode(key.child(0))
            # A single example has no variance: batch normalisation then needs its running statistics.
            alone = measures and here_n == 1 and (n == 1 or not together)
            averaged = averaged_statistics(here, state, evaluated, inputs, alone)
            if alone:
                params = tree.merge(params, state.statistics)
            prediction, residuals = here.forward(params, inputs)
            if networks is not None:
                prediction = networks.everywhere(prediction)
            if alone:
                warn_of_one_value(here, residuals, once)
            totals, loss_residuals = judging.forward(objective.loss, prediction, targets)
            dprediction = judging.backward(objective.loss, loss_residuals)
            collected = here.new_statistics(state.statistics, residuals) if measures else state.statistics
            statistics = collected, averaged
            share = here_n / n
            if share < 1:
                # Divided by the whole batch's count after the sum over the parts, which alone knows it.
                counted = share if totals.count is None else judging.float_count(totals)
                dprediction = dprediction * along(counted, dprediction)
                statistics = tree.map(lambda value: value * share, statistics)
            grads = here.parameter_gradients(params, residuals, dprediction)
            return grads, statistics, totals

        averages = bool(state.averaged_statistics)
        evaluated = optimizer.evaluation_params(params, state.optimizer) if averages else {}

        def prepare(given: tuple[Tree, Tree]) -> tuple[Tree, Tree]:
            return prepared(net, given[0]), prepared(net, given[1]) if averages else {}

        grads, (statistics, averaged), totals = backend.map_reduce(
            learn, _add_parts, parts, (params, evaluated), prepare, together
        )
        if totals.count is not None and size < n:
            divisor = judging.divisor(judging.float_count(totals))
            grads = tree.map(lambda g: g / along(divisor, g), grads)
        if not is_zero(objective.l2):
            counted = n if totals.count is None else judging.float_count(totals)
            totals = totals._replace(loss=totals.loss + counted * objective.penalized(params, 0.0))
            if decaying is optimizer:
                grads = objective.penalized_gradients(params, grads)
        chosen = decaying if learning_rate is None else decaying.with_learning_rate(learning_rate)
        params, optimizer_state = chosen.update(params, grads, state.optimizer)
        counters = _counters_fused if ops(totals.loss).is_captured else _counters
        totals_so_far, done, finite_steps = counters(state, totals)
        new = State(params, statistics, optimizer_state, totals_so_far, done, finite_steps, averaged)
        return new, totals

    return step


def _counters(state: State, totals: Totals) -> tuple[Totals, Array, Array]:
    """The totals, the steps and the finite steps of an epoch after a step with these totals."""
    so_far = _add_totals(state.totals, totals)
    xp = namespace(so_far.loss)
    finite_steps = state.finite_steps + xp.astype(xp.isfinite(so_far.loss), xp.int32)
    return so_far, state.step + 1, finite_steps


def _counters_fused(state: State, totals: Totals) -> tuple[Totals, Array, Array]:
    """`_counters` with one kernel for each."""
    so_far = tree.map(lambda sum, more: None if more is None else add(sum, more), state.totals, totals)
    return so_far, add(state.step, 1), count_if_finite(state.finite_steps, so_far.loss)


@fused(overwrites=1)
def add(total: Any, more: Any) -> Any:
    """total + more."""
    return total + more


@fused(overwrites=1)
def count_if_finite(count: Any, value: Any) -> Any:
    """count + 1 if the value is finite, else count."""
    return where(value < math.inf, where(value > -math.inf, count + 1, count), count)


def averaged_statistics(net: Layer, state: State, params: Tree, x: Array, alone: bool) -> Tree:
    """The `averaged_statistics` of the state after a step: those of a forward pass with other parameters.

    An average of the statistics themselves would not do: averaged weights have another variance than the
    average of variances, and in deeper layers also another mean.

    Arguments:
        net: the network in training mode.
        state: the state before the step.
        params: the optimizer's `evaluation_params` before the step.
        x: the inputs of the step.
        alone: whether x is one example, and all that the network normalises by.
    """
    before = state.averaged_statistics
    if not before:
        return before
    if alone:
        params = tree.merge(params, before)
    _, residuals = net.forward(params, x)
    return net.new_statistics(before, residuals)


def warn_of_one_value(net: Layer, residuals: Any, once: Once) -> None:
    """Warn if a batch normalisation in the network had one value of each feature to normalise."""
    for layer in of_one_value(net, residuals):
        once.warn(
            f"{layer}: expected 2 or more values of each feature in a batch, got 1, without a variance; the "
            "running statistics normalise it and stay as they are; another batch_size or micro_batch helps"
        )


def only_adds_gradients(optimizer: Optimizer) -> bool:
    """Whether the optimizer uses gradients only by adding them to arrays.

    Always False for a subclass, which may use them in any way.
    """
    return type(optimizer) is optim.SGD and not optimizer.nesterov and is_zero(optimizer.weight_decay)


DECAY_GRADIENTS = (optim.SGD, optim.EMAMomentum, optim.RMSprop, optim.Adagrad, optim.Adam, optim.NAdam)


def with_penalty(optimizer: Optimizer, l2: Any) -> Optimizer:
    """The optimizer with λ as its weight decay, where that is the gradient of the penalty: one pass less.

    Else the same optimizer: if it has a weight decay already, decouples it, or is of another class.
    """
    chosen: Any = optimizer
    if is_zero(l2) or type(optimizer) not in DECAY_GRADIENTS or not is_zero(chosen.weight_decay):
        return optimizer
    found: Optimizer = replace(chosen, weight_decay=l2)
    return found


def noise_stream(seed: int) -> int:
    """The stream of the random numbers in training steps. ConfigError for an invalid seed."""
    require_integer("Model", "seed", seed, least=0)
    return random.stream(seed, "noise")


def zero_totals(
    objective: Objective, backend: Backend, x: Array, target: Any, networks: Networks | None = None
) -> Totals:
    """The totals of no examples. errors is None if the loss does not count errors for such targets."""
    loss = objective.loss if networks is None else networks.members[0].loss
    shape = () if networks is None else (len(networks.members),)
    has_weights = isinstance(target, judging.Weighted)
    output = np.zeros(objective.net.output_shape((1, *x.shape[1:])))
    example = np.zeros((1, *(target.target if has_weights else target).shape[1:]))
    names_classes = loss.errors(output, example) is not None
    has_count = has_weights or loss.count(output.shape, example) is not None

    def zero(dtype: str) -> Array:
        return backend.from_host(np.zeros(shape, dtype))

    whole = backend.dtype_name if has_weights else "int64"
    return Totals(
        zero(backend.dtype_name), zero(whole) if names_classes else None, zero(whole) if has_count else None
    )


def evaluation_step(
    objective: Objective, backend: Backend, networks: Networks | None = None
) -> Callable[..., tuple[Totals, Totals]]:
    """The pure step `(totals, (params, x, target)) -> (totals, totals of this batch)`, without L2 penalty.

    With networks, x and target are (K, n, ...), or (1, n, ...) for the same examples for all.
    """

    one = faster(objective.net, backend)
    net = one if networks is None else networks.net(backend)
    examples = combined([net.examples, objective.loss.examples])
    axis, n_networks = (0, 1) if networks is None else (1, networks.total)

    def step(totals: Totals, batch: tuple[Tree, Array, Array]) -> tuple[Totals, Totals]:
        params, x, target = batch
        n = x.shape[axis]

        def judge(part: slice, params: Tree) -> Totals:
            if networks is None:
                inputs, targets = backend.shard((x[part, ...], judging.take(target, part)))
                prediction, _ = net.forward(params, inputs)
            else:
                rows = (slice(None), part, ...)
                inputs, targets = backend.shard(tree.map(lambda array: array[rows], (x, target)), 1)
                targets = tree.map(networks.everywhere, targets)
                prediction, _ = net.forward(params, networks.inputs(net)(inputs))
                prediction = networks.everywhere(prediction)
            return judging.forward(objective.loss, prediction, targets)[0]

        size = examples_at_once(one, x.shape[axis + 1 :], n, backend, examples, n_networks)
        prepare = functools.partial(prepared, net)
        here = backend.map_reduce(judge, _add_totals, slices(n, size), params, prepare)
        return _add_totals(totals, here), here

    return step


def prediction_step(
    net: Layer, backend: Backend, networks: Networks | None = None
) -> Callable[..., tuple[Array, Array]]:
    """The pure step `(finite, (params, x)) -> (finite, prediction)`.

    `finite`, a 0-d array, says whether all predictions so far are finite. With networks, x is (K, n, ...), or
    (1, n, ...) for the same examples for all.
    """
    net = faster(net, backend) if networks is None else networks.net(backend)

    def step(finite: Array, batch: tuple[Tree, Array]) -> tuple[Array, Array]:
        params, x = batch
        x = backend.shard(x) if networks is None else networks.inputs(net)(backend.shard(x, 1))
        prediction, _ = net.forward(params, x)
        if networks is not None:
            prediction = networks.everywhere(prediction)
        xp = namespace(prediction)
        return finite & xp.all(xp.isfinite(prediction)), prediction

    return step


def _add_parts(
    total: tuple[Tree, Tree, Totals], more: tuple[Tree, Tree, Totals]
) -> tuple[Tree, Tree, Totals]:
    grads, statistics = tree.map(lambda a, b: a + b, total[:2], more[:2])
    return grads, statistics, _add_totals(total[2], more[2])


def _add_totals(totals: Totals, more: Totals) -> Totals:
    errors = None if more.errors is None else totals.errors + more.errors
    count = None if more.count is None else totals.count + more.count
    return Totals(totals.loss + more.loss, errors, count)
