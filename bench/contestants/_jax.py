"""The same networks in plain JAX."""

import math
from typing import Any

import numpy as np

from bench.contestants._contestant import Contestant, Unavailable
from bench.workloads import SEED, Part, Workload, batches
from xpnet import tree
from xpnet.nn import BatchNorm, Conv2d, Flatten, Linear, MaxPool2d
from xpnet.nn._windows import per_axis
from xpnet.optim import SGD, Adam


class JAX(Contestant):
    """JAX with a jitted step, one call for each batch: it gathers the batch and donates the parameters."""

    library = "jax"

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        jax, device = import_jax(self.device)
        self.jax, self.batch_size = jax, workload.batch_size
        learn = training_step(jax, workload)
        self.compile(lambda state, x, y, index: learn(state, x[index], y[index]))
        self.state = jax.device_put(first_state(workload, SEED), device)
        self.parts = jax.device_put([(x, y.astype(np.int32)) for x, y in parts], device)

    def compile(self, step: Any) -> None:
        step = self.jax.jit(step, donate_argnums=0)

        def run(state: Any, x: Any, y: Any, order: Any) -> Any:
            for index in order:
                state = step(state, x, y, index)
            return state

        self.run = run

    def epoch(self, number: int) -> float:
        return float(self.mean_losses(number, ()))

    def mean_losses(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Train on a part; the mean losses, in an array of this shape."""
        x, y = self.parts[number % len(self.parts)]
        order = batches(len(x), self.batch_size, number).astype(np.int32)
        state = *self.state, self.jax.numpy.zeros(shape, device=x.device)
        *self.state, total = self.jax.block_until_ready(self.run(state, x, y, order))
        return np.asarray(total) / len(order)


class ScannedJAX(JAX):
    """The same step in a `lax.scan` over the epoch's batches: one call for each epoch."""

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        self.require_fast_loops(workload)
        super().prepare(workload, parts)

    def require_fast_loops(self, workload: Workload) -> None:
        """Raises Unavailable for convolutions on a CPU."""
        if self.device == "cpu" and workload.has_channels:
            # 635 ms for a step of the smaller network on 2 cores; the jitted step takes 38 to 76 ms.
            raise Unavailable("XLA takes about ten times as long for convolutions in a loop on a CPU")

    def compile(self, step: Any) -> None:
        def run(state: Any, x: Any, y: Any, order: Any) -> Any:
            state, _ = self.jax.lax.scan(lambda state, index: (step(state, x, y, index), None), state, order)
            return state

        self.run = self.jax.jit(run, donate_argnums=0)


def import_jax(device: str) -> tuple[Any, Any]:
    """The module `jax`, and its device. Raises Unavailable where JAX does not find it."""
    import jax

    try:
        return jax, jax.devices({"cuda": "gpu"}.get(device, device))[0]
    except RuntimeError as error:
        raise Unavailable("JAX finds no CUDA device") from error


def training_step(jax: Any, workload: Workload) -> Any:
    """The step `((parameters, statistics, slots, total loss), x, y) -> the same`."""

    def mean_loss(params: Any, statistics: Any, x: Any, y: Any) -> Any:
        new = []
        for layer, *variables in zip(workload.layers, params, statistics, strict=True):
            x, of_layer = apply(jax, layer, *variables, x)
            new.append(of_layer)
        log_p = jax.nn.log_softmax(x)
        return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean(), tuple(new)

    def step(state: Any, x: Any, y: Any) -> Any:
        params, statistics, slots, total = state
        learn = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, statistics), grads = learn(params, statistics, x, y)
        params, slots = update(jax, workload, params, grads, slots)
        return params, statistics, slots, total + loss

    return step


def first_state(workload: Workload, seed: int) -> Any:
    """The state before the first step, without the total."""
    params = workload.initial_params(seed)
    statistics = tuple(first_statistics(layer) for layer in workload.layers)
    return params, statistics, first_slots(workload.optimizer, params)


def first_slots(rule: SGD | Adam, params: Any) -> Any:
    """The optimizer's state before the first step: the velocity, if any, or Adam's moments and step count."""
    if isinstance(rule, SGD):
        return tree.map(np.zeros_like, params) if rule.momentum else ()
    mean, square = (tree.map(np.zeros_like, params) for _ in range(2))
    return mean, square, np.float32(0)


def first_statistics(layer: Any) -> Any:
    """The running mean and variance of batch normalisation; of other layers nothing."""
    if not isinstance(layer, BatchNorm):
        return ()
    return np.zeros(layer.features, np.float32), np.ones(layer.features, np.float32)


def update(jax: Any, workload: Workload, params: Any, grads: Any, slots: Any) -> Any:
    """Parameters and the optimizer's state after a step."""
    rule = workload.optimizer
    if workload.l2:
        grads = tuple(
            g | {"weight": g["weight"] + workload.l2 * p["weight"]} if "weight" in p else g
            for p, g in zip(params, grads, strict=True)
        )
    if isinstance(rule, SGD):
        if rule.momentum:
            slots = jax.tree.map(lambda v, g: rule.momentum * v + g, slots, grads)
            ahead = jax.tree.map(lambda v, g: g + rule.momentum * v, slots, grads)
            grads = ahead if rule.nesterov else slots
        return jax.tree.map(lambda p, g: p - rule.learning_rate * g, params, grads), slots
    b1, b2 = rule.beta1, rule.beta2
    m, v, t = slots
    t = t + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)

    def descend(p: Any, m: Any, v: Any) -> Any:
        root = jax.numpy.sqrt(v / (1 - b2**t)) + rule.epsilon
        return p - rule.learning_rate * m / (1 - b1**t) / root

    return jax.tree.map(descend, params, m, v), (m, v, t)


def apply(jax: Any, layer: Any, params: Any, statistics: Any, x: Any) -> tuple[Any, Any]:
    """The output of a layer in training, written in JAX, and its new statistics."""
    if isinstance(layer, BatchNorm):
        return normalize(jax, layer, params, statistics, x)
    return apply_without_statistics(jax, layer, params, x), ()


def normalize(jax: Any, layer: BatchNorm, params: Any, statistics: Any, x: Any) -> tuple[Any, Any]:
    axes = tuple(range(x.ndim - 1))
    n = math.prod(x.shape[:-1])
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    factor = params["scale"] * jax.lax.rsqrt(variance + layer.epsilon)
    new = jax.lax.stop_gradient((mean, variance * n / (n - 1)))
    statistics = jax.tree.map(lambda old, new: old + layer.momentum * (new - old), statistics, new)
    return (x - mean) * factor + params["shift"], statistics


def apply_without_statistics(jax: Any, layer: Any, params: Any, x: Any) -> Any:
    lax = jax.lax
    match layer:
        case Linear():
            return x @ params["weight"] + params["bias"]
        case Conv2d():
            padding = "SAME" if layer.padding == "same" else [(layer.padding, layer.padding)] * 2
            axes = "NHWC", "HWIO", "NHWC"
            y = lax.conv_general_dilated(
                x, params["weight"], per_axis(layer.stride, layer.axes), padding, dimension_numbers=axes
            )
            return y + params["bias"]
        case MaxPool2d():
            window = (1, *per_axis(layer.kernel_size, layer.axes), 1)
            stride = window if layer.stride is None else (1, *per_axis(layer.stride, layer.axes), 1)
            return lax.reduce_window(x, -math.inf, lax.max, window, stride, "VALID")
        case Flatten():
            return x.reshape(len(x), -1)
        case _:
            return getattr(jax.nn, type(layer).__name__.lower())(x)
