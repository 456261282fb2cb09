"""What optimizers are made of: a formula of one parameter applied to all of them, and steps on whole trees.

The update of most optimizers is one formula, such as `adam_step`: `xpnet.backend.fused` makes it one pass
over the arrays, where the library can, and `each_leaf` applies it to all parameters. Plain `SGD` and the
wrappers are composed of steps.

A step whose docstring says "May overwrite" may do so with that argument: use the result. No step writes into
gradients. A hyper-parameter is a Python number, a 0-d array, or an array of length K if every parameter has a
leading axis of K networks: one value for each network.

Shapes: all trees have the names and shapes of the parameters.
"""

from typing import Any

from xpnet import tree
from xpnet.backend import Product, device, namespace, ops
from xpnet.backend.fused import Fused, fused
from xpnet.tree import Array, Tree

Number = Any  # a Python number, a 0-d array or an array of length K


def zeros_like(params: Tree) -> Tree:
    """A tree of zeros, such as the velocity before the first step."""
    return tree.map(lambda p: namespace(p).zeros_like(p), params)


def copy(params: Tree) -> Tree:
    """The same values in new arrays."""
    return tree.map(lambda p: namespace(p).asarray(p, copy=True), params)


def start_weight(beta: Number, params: Tree) -> Array:
    """The sum of the weights of no gradients: 0 in the shape of β, in the library of the parameters.

    It is an array even if β is a number: a compiled step would treat a Python number as a constant.
    """
    if hasattr(beta, "ndim"):
        return namespace(beta).zeros_like(beta)
    first = tree.leaves(params)[0]
    return namespace(first).zeros((), dtype=first.dtype, device=device(first))


def each_leaf(step: Fused, *trees: Tree, **numbers: Number) -> tuple[Tree, ...]:
    """The trees of the results of a fused step, computed for the leaves in the same place of all trees.

    The step overwrites as many arguments as it has results.

    Arguments:
        step: a function of one leaf of each tree, and then of the numbers.
        trees: the trees.
        numbers: the numbers, by the names of the step's arguments and in their order. `weight_decay` is 0 for
            leaves that are no weights, such as biases.
    """
    names = tuple(numbers)
    decays = "weight_decay" in numbers
    of_networks = any(getattr(number, "ndim", 0) for number in numbers.values())

    def of_leaf(key: str, *leaves: Any) -> tuple[Any, ...]:
        values = list(numbers.values())
        if of_networks:
            values = [along(value, leaves[0]) for value in values]
        if decays and key != "weight":
            values[names.index("weight_decay")] = 0
        found = step(*leaves, *values)
        return found if isinstance(found, tuple) else (found,)

    return tree.map_several(of_leaf, step.overwrites, *trees)


def decay_weights(grads: Tree, params: Tree, strength: Number) -> Tree:
    """g + λ w for weights, g for other parameters: the gradient of the loss plus λ/2 · Σ w²."""
    if is_zero(strength):
        return grads
    return tree.map_weights(lambda g, w: _decay(g, w, along(strength, w)), grads, params)


@fused()
def _decay(g: Any, w: Any, strength: Any) -> Any:
    return g + strength * w


def accumulate(velocity: Tree, grads: Tree, momentum: Number) -> Tree:
    """v ← μ v + g. May overwrite v; g may be a `Product`."""

    def step(v: Array, g: Array) -> Array:
        if isinstance(g, Product):
            return g.add_to(v, 1, along(momentum, v))
        return _accumulate(v, g, along(momentum, v))

    return tree.map(step, velocity, grads)


@fused(overwrites=1)
def _accumulate(v: Any, g: Any, momentum: Any) -> Any:
    return momentum * v + g


def average(velocity: Tree, grads: Tree, beta: Number) -> Tree:
    """v ← β v + (1 - β) g. May overwrite v."""
    return each_leaf(_average, velocity, grads, beta=beta)[0]


@fused(overwrites=1)
def _average(v: Any, g: Any, beta: Any) -> Any:
    return beta * v + (1 - beta) * g


def interpolate(velocity: Tree, grads: Tree, beta: Number) -> Tree:
    """β v + (1 - β) g, in new arrays: `average` may overwrite v."""

    def step(v: Array, g: Array) -> Array:
        mixed = along(beta, v) * v
        mixed += along(1 - beta, v) * g
        return mixed

    return tree.map(step, velocity, grads)


def clip_norm(grads: Tree, max_norm: Number) -> Tree:
    """g · c / max(‖g‖, c) with ‖g‖ = √Σg² over all leaves, or over one network's for c of length K."""
    leaves = tree.leaves(grads)
    if not leaves:
        return grads
    xp = namespace(leaves[0])
    networks = getattr(max_norm, "shape", ())
    rows = [xp.reshape(g, (*networks, 1, -1)) for g in leaves]
    norm = xp.sqrt(sum(ops(row).inner_product(row, row) for row in rows))
    factor = max_norm / xp.maximum(norm, _array(max_norm, norm))
    return tree.map(lambda g: _scale(g, along(factor, g)), grads)


@fused()
def _scale(g: Any, factor: Any) -> Any:
    return factor * g


def clip_value(grads: Tree, max_value: Number) -> Tree:
    """min(max(g, -c), c) for each element."""
    # The standard's `clip` would wait for the device on CuPy, in array-api-compat.

    def step(g: Array) -> Array:
        xp = namespace(g)
        limit = _array(max_value, g)
        return xp.minimum(xp.maximum(g, -limit), limit)

    return tree.map(step, grads)


def descend(params: Tree, direction: Tree, learning_rate: Number) -> Tree:
    """p ← p - η d. May overwrite p; d may be a `Product`."""

    def step(p: Array, d: Array) -> Array:
        if isinstance(d, Product):
            return d.add_to(p, -along(learning_rate, p), 1)
        return _descend(p, d, along(learning_rate, p))

    return tree.map(step, params, direction)


@fused(overwrites=1)
def _descend(p: Any, d: Any, learning_rate: Any) -> Any:
    return p - learning_rate * d


def is_zero(value: Number) -> bool:
    """Whether the value is the Python number 0; False for every array, whose values are on the device."""
    return not hasattr(value, "ndim") and value == 0


def along(value: Number, parameter: Array) -> Number:
    """A factor for the parameter: a number unchanged, an array of length K in the shape (K, 1, ..., 1)."""
    if getattr(value, "ndim", 0) == 0:
        return value
    return value[(..., *[None] * (parameter.ndim - 1))]


def _array(value: Number, parameter: Array) -> Array:
    """`along`, but a number becomes a 0-d array like the parameter, for functions that take only arrays."""
    zero = namespace(parameter).zeros((), dtype=parameter.dtype, device=device(parameter))
    return zero + along(value, parameter)
