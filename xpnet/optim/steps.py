"""The small steps that optimizers are composed of: functions of trees, one formula each.

`each_leaf` applies a formula of one parameter to all of them. `xpnet.backend.fused` makes one pass over the
arrays of it where the library can: write a whole update as one formula, as `Adam` does.

A step whose docstring says "May overwrite" may do so with that argument: use the result. No step writes into
gradients. A hyper-parameter is a Python number, a 0-d array, or an array of length K if every parameter has a
leading axis of K networks: one value for each network.

Shapes: all trees have the names and shapes of the parameters.
"""

from typing import Any

from xpnet import tree
from xpnet.backend import Product, device, namespace, ops
from xpnet.backend.fused import Fused, fused, sqrt
from xpnet.tree import Array, Tree

Number = Any  # a Python number, a 0-d array or an array of length K


def zeros_like(params: Tree) -> Tree:
    """A tree of zeros, such as the velocity before the first step."""
    return tree.map(lambda p: namespace(p).zeros_like(p), params)


def copy(params: Tree) -> Tree:
    """The same values in new arrays."""
    return tree.map(lambda p: namespace(p).asarray(p, copy=True), params)


def start_weight(beta: Number, params: Tree) -> Array:
    """0 in the shape of β, in the library and dtype of the parameters, on their device.

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


def shrink_weights(params: Tree, learning_rate: Number, strength: Number) -> Tree:
    """(1 - η λ) w for weights, p for other parameters: decoupled weight decay."""
    if is_zero(strength):
        return params
    factor = 1 - learning_rate * strength
    return tree.map_weights(lambda w: along(factor, w) * w, params)


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


def accumulate_squares(squares: Tree, grads: Tree, beta: Number = 1) -> Tree:
    """s ← β s + g². May overwrite s."""
    return each_leaf(_accumulate_squares, squares, grads, beta=beta)[0]


@fused(overwrites=1)
def _accumulate_squares(s: Any, g: Any, beta: Any) -> Any:
    return beta * s + g * g


def average(velocity: Tree, grads: Tree, beta: Number) -> Tree:
    """v ← β v + (1 - β) g. May overwrite v."""
    return each_leaf(_average, velocity, grads, beta=beta)[0]


@fused(overwrites=1)
def _average(v: Any, g: Any, beta: Any) -> Any:
    return beta * v + (1 - beta) * g


def average_squares(squares: Tree, grads: Tree, beta: Number) -> Tree:
    """s ← β s + (1 - β) g². May overwrite s."""
    return each_leaf(_average_squares, squares, grads, beta=beta)[0]


@fused(overwrites=1)
def _average_squares(s: Any, g: Any, beta: Any) -> Any:
    return beta * s + (1 - beta) * (g * g)


def look_ahead(grads: Tree, velocity: Tree, momentum: Number) -> Tree:
    """g + μ v."""
    return tree.map(lambda g, v: _decay(g, v, along(momentum, v)), grads, velocity)


def interpolate(velocity: Tree, grads: Tree, beta: Number) -> Tree:
    """β v + (1 - β) g, in new arrays: `average` may overwrite v."""

    def step(v: Array, g: Array) -> Array:
        mixed = along(beta, v) * v
        mixed += along(1 - beta, v) * g
        return mixed

    return tree.map(step, velocity, grads)


def weighted_sum(a: Number, x: Tree, b: Number, y: Tree) -> Tree:
    """a x + b y."""

    def step(x: Array, y: Array) -> Array:
        total = along(a, x) * x
        total += along(b, y) * y
        return total

    return tree.map(step, x, y)


def sign(direction: Tree) -> Tree:
    """-1, 0 or 1 for each element."""
    return tree.map(lambda d: ops(d).sign(d), direction)


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


def descend_by_root(
    params: Tree, direction: Tree, squares: Tree, epsilon: Number, learning_rate: Number
) -> Tree:
    """p ← p - η d / (√s + ε). May overwrite p."""
    numbers = {"epsilon": epsilon, "learning_rate": learning_rate}
    return each_leaf(_descend_by_root, params, direction, squares, **numbers)[0]


@fused(overwrites=1)
def _descend_by_root(p: Any, d: Any, s: Any, epsilon: Any, learning_rate: Any) -> Any:
    return p - learning_rate * (d / (sqrt(s) + epsilon))


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
