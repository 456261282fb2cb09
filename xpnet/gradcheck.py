"""Are hand-written gradients right? Compare them with finite differences, in float64.

For a scalar function s(θ), its gradient g, a direction v and a small ε,

    (s(θ + εv) - s(θ - εv)) / 2ε  =  g·v + O(ε²)

A random direction v over all entries at once proves the whole gradient with one product. Single
entries tell where it is wrong. Both are checked.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet.backend import device, namespace
from xpnet.errors import ShapeError
from xpnet.tree import Array, Tree


class GradientError(AssertionError):
    """A gradient is not what the finite difference says."""


class Report(NamedTuple):
    """The largest relative errors that were found."""

    directions: float
    entries: float
    worst_entry: str


def check(
    subject: Any,
    x: Array,
    target: Array | None = None,
    params: Tree | None = None,
    *,
    directions: int = 3,
    entries: int = 5,
    epsilon: float = 1e-5,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> Report:
    """Check the backward pass of a layer, a loss or a model; GradientError if it is wrong.

    A layer is checked at x, unless that is integers, and at its parameters, through s = Σ forward(x)·dy
    with a random dy. Where it does something else in training, check its `training_mode(key)` too.
    A loss is checked at a prediction x, given the target. A model, whose dtype must be float64, is
    checked at its parameters through its whole loss with L2, given an input x and a target.

    The function has to be smooth near x: keep inputs of ReLU a few ε away from 0.

    Arguments:
        subject: a layer of `xpnet.nn` or your own, a loss, or an `xpnet.Model`.
        x: a float64 array of any library.
        target: what the loss needs, for a loss or a model.
        params: the layer's parameters, like x; drawn by `layer.init` if not given.
        directions: how many random directions over everything.
        entries: how many single entries of each array.
        epsilon: ε, the largest change of an entry.
        tolerance: the relative error |numeric - exact| / max(|numeric|, |exact|, floor) allowed. The
            floor is a thousandth of the largest entry of the gradient, or what the rounding errors
            of s let a difference see, whichever is larger.
        seed: of the directions, the entries, dy and the drawn parameters.

    Raises GradientError, which names the array and the entry; ShapeError where x is not float64.
    """
    rng = np.random.default_rng(seed)
    function, point, gradient = _problem(subject, x, target, params, rng)
    for leaf, array in tree.items(point):
        if array.dtype != namespace(array).float64:
            raise ShapeError(f"gradcheck: expected float64, got {leaf} of {array.dtype}")
    name = type(subject).__name__
    rounding = np.finfo(np.float64).eps * abs(function(point)) / epsilon
    largest = max((float(namespace(g).max(namespace(g).abs(g))) for g in tree.leaves(gradient)), default=0.0)
    floor = max(1e-3 * largest, 10 * rounding / tolerance)

    def compare(direction: Tree) -> tuple[float, str]:
        """The relative error along a direction, infinite for NaN, and the two numbers in words."""
        step = epsilon / max(float(np.max(np.abs(d))) for d in tree.leaves(direction))
        ahead = function(tree.map(lambda p, d: p + _like(p, step * d), point, direction))
        behind = function(tree.map(lambda p, d: p - _like(p, step * d), point, direction))
        numeric = (ahead - behind) / (2 * step)
        pairs = zip(tree.leaves(gradient), tree.leaves(direction), strict=True)
        exact = sum(float(namespace(g).sum(g * _like(g, d))) for g, d in pairs)
        scale = max(abs(numeric), abs(exact), floor)
        error = abs(numeric - exact) / scale if scale else 0.0
        words = (
            f"{exact:.9g}, finite differences give {numeric:.9g} (relative error {error:.1e} > {tolerance:g})"
        )
        return math.inf if math.isnan(error) else error, words

    along = [compare(tree.map(lambda p: rng.standard_normal(p.shape), point)) for _ in range(directions)]
    at = []
    zeros = {leaf: np.zeros(array.shape) for leaf, array in tree.items(point)}
    for leaf, zero in zeros.items():
        for flat in rng.choice(zero.size, min(entries, zero.size), replace=False):
            index = tuple(int(i) for i in np.unravel_index(flat, zero.shape))
            one = zero.copy()
            one[index] = 1
            entry = f"{leaf}[{', '.join(map(str, index))}]"
            at.append((*compare(tree.replace(point, zeros | {leaf: one})), entry))

    worst_along, along_words = max(along, default=(0.0, ""))
    worst_at, at_words, entry = max(at, default=(0.0, "", ""))
    if worst_at > tolerance:
        raise GradientError(f"{name}: the gradient at {entry} is {at_words}")
    if worst_along > tolerance:
        raise GradientError(f"{name}: the gradient along a random direction is {along_words}")
    return Report(worst_along, worst_at, entry)


def _problem(
    subject: Any, x: Array, target: Array | None, params: Tree | None, rng: np.random.Generator
) -> tuple[Callable[[Tree], float], Tree, Tree]:
    """A scalar function of a tree, the tree to check it at, and its gradient there, by hand."""
    if hasattr(subject, "objective"):
        model = subject
        x, target = model.prepare(x, target)
        gradient = model.objective.gradients(tree.merge(model.params, model.statistics), x, target)

        def objective(params: Tree) -> float:
            return float(model.objective.value(tree.merge(params, model.statistics), x, target))

        return objective, model.params, gradient
    if target is not None:
        loss = subject
        _, residuals = loss.forward(x, target)
        gradient = {"prediction": loss.backward(residuals)}
        return lambda point: float(loss.forward(point["prediction"], target)[0]), {"prediction": x}, gradient
    layer = subject
    if params is None:
        params = tree.map(lambda p: _float64(x, p), layer.init(rng))
    statistics = tree.map(lambda p: _float64(x, p), layer.init_statistics())
    variables = tree.merge(params, statistics)
    y, residuals = layer.forward(variables, x)
    dy = _like(y, rng.standard_normal(y.shape))
    dx, grads = layer.backward(variables, residuals, dy)

    def project(point: Tree) -> float:
        y, _ = layer.forward(tree.merge(point["params"], statistics), point.get("x", x))
        return float(namespace(y).sum(y * dy))

    if namespace(x).isdtype(x.dtype, "integral"):
        return project, {"params": params}, {"params": grads}
    return project, {"x": x, "params": params}, {"x": dx, "params": grads}


def _float64(array: Array, host: np.ndarray) -> Array:
    """Values from the host, in float64, in the library of an array and on its device."""
    return namespace(array).asarray(host, dtype=namespace(array).float64, device=device(array))


def _like(array: Array, host: np.ndarray) -> Array:
    """Values from the host, in the library and dtype of an array and on its device."""
    return namespace(array).asarray(host, dtype=array.dtype, device=device(array))
