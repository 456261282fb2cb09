"""Gradient check: compare hand-written gradients with finite differences, in float64.

For a scalar function s(θ) with gradient g, a direction v and a small ε,

    (s(θ + εv) - s(θ - εv)) / 2ε  =  g·v + O(ε²)

One random direction v over all entries tests the whole gradient. Single entries show where it is wrong. The
check uses both.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._util.checks import one_network
from xpnet._util.text import example_call
from xpnet.backend import device, namespace
from xpnet.errors import ConfigError, ShapeError
from xpnet.losses import Loss
from xpnet.losses._loss import has_labels
from xpnet.nn import Layer
from xpnet.tree import Array, Tree


class GradientError(AssertionError):
    """A gradient differs from the finite difference."""


class Report(NamedTuple):
    """The largest relative errors of a check.

    Fields:
        directions: over the random directions.
        entries: over the single entries.
        worst_entry: the entry with the largest error, "params.weight[3, 5]".
    """

    directions: float
    entries: float
    worst_entry: str


class Difference(NamedTuple):
    """A derivative by hand and by finite difference.

    Fields:
        where: the entry, "params.weight[3, 5]", or "" for a random direction.
        exact: g·v from the gradient by hand.
        numeric: the finite difference.
        error: the relative error, infinite if one of the two is NaN.
    """

    where: str
    exact: float
    numeric: float
    error: float

    def __str__(self) -> str:
        return f"{self.exact:.9g}, finite differences give {self.numeric:.9g}"


def check(
    subject: Any,
    x: Array,
    target: Array | None = None,
    params: Tree | None = None,
    *,
    statistics: Tree | None = None,
    directions: int = 3,
    entries: int = 5,
    epsilon: float = 1e-5,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> Report:
    """Check the backward pass of a layer, a loss or a model.

    - A layer: the gradients of s = Σ forward(x) · dy with a random dy, with respect to the parameters and,
      unless x holds integers, to x. `parameter_gradients` must agree with `backward`. If the layer computes
      another function in training, check `layer.training_mode(key)` too; `xpnet.testing.check_layer` does so.
    - A loss: the gradient with respect to the prediction x.
    - A model of dtype float64: the gradients of the loss plus L2 penalty with respect to the parameters.

    The function must be smooth near x: keep inputs of ReLU a few ε away from 0.

    Arguments:
        subject: a layer, a loss or an `xpnet.Model`.
        x: the input, for a loss the prediction: a float64 array of any library.
        target: the target, for a loss or a model.
        params: the layer's parameters, float64 in the library of x; by default from `layer.init`.
        statistics: the layer's statistics, likewise; by default from `layer.init_statistics`.
        directions: the number of random directions over all entries.
        entries: the number of single entries in each array.
        epsilon: ε, the largest change of an entry.
        tolerance: the largest relative error |numeric - exact| / max(|numeric|, |exact|, floor) allowed. The
            floor is a thousandth of the largest entry of the gradient, or the smallest derivative that the
            rounding errors of s allow to measure, whichever is larger.
        seed: seed of the directions, the entries, dy and the parameters drawn.

    Returns the largest errors.

    Raises GradientError, which names the array and the entry, if a gradient is wrong; ShapeError if an array
    is not float64 or does not fit; ConfigError for another subject, or a target that is missing or too many.
    """
    rng = np.random.default_rng(seed)
    problem = _problem(subject, x, target, params, rng, statistics)
    name = type(subject).__name__

    def compare(direction: Tree, where: str = "") -> Difference:
        return problem.compare(direction, where, epsilon, tolerance)

    point = problem.point
    if target is None and "params" in point:
        _compare_parameter_gradients(subject, x, point["params"], statistics, rng)
    along = [compare(tree.map(lambda p: rng.standard_normal(p.shape), point)) for _ in range(directions)]
    at = [
        compare(problem.within(leaf, one), where)
        for leaf in dict(tree.items(point))
        for where, one in problem.entries(leaf, entries, rng)
    ]
    nothing = Difference("", 0.0, 0.0, 0.0)
    worst_along = max(along, key=lambda difference: difference.error, default=nothing)
    worst_at = max(at, key=lambda difference: difference.error, default=nothing)
    for worst, where in (
        (worst_at, f"at {worst_at.where}"),
        (worst_along, "along a random direction"),
    ):
        if worst.error > tolerance:
            raise GradientError(
                f"{name}: the gradient {where} is {worst} (relative error {worst.error:.1e} > {tolerance:g})"
            )
    return Report(worst_along.error, worst_at.error, worst_at.where)


def measure(
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
) -> dict[str, Difference]:
    """The largest difference in each array, under its name. Arguments: see `check`.

    Each random direction lies within one array. A difference above the tolerance is measured again with ε/10
    and ε/100, and the smallest error counts: a kink of ReLU or max-pooling within ε spoils the difference,
    but may lie outside a smaller step. A wrong gradient is wrong for every ε.

    Raises ShapeError if an array is not float64.
    """
    rng = np.random.default_rng(seed)
    problem = _problem(subject, x, target, params, rng)
    worst = {}
    for leaf, array in tree.items(problem.point):
        steps = [("", rng.standard_normal(array.shape)) for _ in range(directions)]
        found = []
        for where, step in [*steps, *problem.entries(leaf, entries, rng)]:
            direction = problem.within(leaf, step)
            best = problem.compare(direction, where, epsilon, tolerance)
            for factor in (10, 100):
                if best.error > tolerance:
                    again = problem.compare(direction, where, epsilon / factor, tolerance)
                    best = min(best, again, key=lambda difference: difference.error)
            found.append(best)
        worst[leaf] = max(found, key=lambda difference: difference.error)
    return worst


class _Problem(NamedTuple):
    """A scalar function to check.

    Fields:
        function: from a tree of arrays to a number.
        point: the tree at which to check the gradient.
        gradient: the gradient there, by hand.
        noise: the rounding error of the function there.
        largest: the largest entry of the gradient.
    """

    function: Callable[[Tree], float]
    point: Tree
    gradient: Tree
    noise: float
    largest: float

    def compare(self, direction: Tree, where: str, epsilon: float, tolerance: float) -> Difference:
        """The derivatives along a direction, which is a tree of host arrays."""
        floor = max(1e-3 * self.largest, 10 * self.noise / epsilon / tolerance)
        step = epsilon / max(float(np.max(np.abs(d))) for d in tree.leaves(direction))
        ahead = self.function(tree.map(lambda p, d: p + _like(p, step * d), self.point, direction))
        behind = self.function(tree.map(lambda p, d: p - _like(p, step * d), self.point, direction))
        numeric = (ahead - behind) / (2 * step)
        pairs = zip(tree.leaves(self.gradient), tree.leaves(direction), strict=True)
        exact = sum(float(namespace(g).sum(g * _like(g, d))) for g, d in pairs)
        scale = max(abs(numeric), abs(exact), floor)
        error = abs(numeric - exact) / scale if scale else 0.0
        return Difference(where, exact, numeric, math.inf if math.isnan(error) else error)

    def within(self, leaf: str, step: np.ndarray) -> Tree:
        """The direction that is `step` in one array and zero in all others."""
        zeros = {name: np.zeros(array.shape) for name, array in tree.items(self.point)}
        return tree.replace(self.point, zeros | {leaf: step})

    def entries(self, leaf: str, count: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        """Random entries of an array: the name of each, and the unit step in it, zeros with a single one."""
        shape = dict(tree.items(self.point))[leaf].shape
        size = math.prod(shape)
        for flat in rng.choice(size, min(count, size), replace=False):
            index = tuple(int(i) for i in np.unravel_index(flat, shape))
            one = np.zeros(shape)
            one[index] = 1
            yield f"{leaf}[{', '.join(map(str, index))}]", one


def _problem(
    subject: Any,
    x: Array,
    target: Array | None,
    params: Tree | None,
    rng: np.random.Generator,
    statistics: Tree | None = None,
) -> _Problem:
    """The `_Problem` of a check; ShapeError if an array to check is not float64."""
    _require(subject, x, target)
    function, point, gradient = _function(subject, x, target, params, rng, statistics)
    for leaf, array in tree.items(point):
        if array.dtype != namespace(array).float64:
            raise ShapeError(f"gradcheck: expected float64, got {leaf} of {array.dtype}")
    largest = max((float(namespace(g).max(namespace(g).abs(g))) for g in tree.leaves(gradient)), default=0.0)
    return _Problem(function, point, gradient, _noise(function, point), largest)


def _require(subject: Any, x: Any, target: Any) -> None:
    """ConfigError or ShapeError for arguments of `check` that do not belong together."""
    expected = "gradcheck: expected a layer, a loss or a model"
    if isinstance(subject, type):
        raise ConfigError(f"{expected}, got the class {subject.__name__}; write {example_call(subject)}")
    if not (hasattr(subject, "forward") and hasattr(subject, "backward")):
        raise ConfigError(f"{expected}, got {subject!r}{one_network(subject)}")
    if isinstance(subject, Loss) and target is None:
        raise ConfigError(
            f"gradcheck: expected a target for {subject}, got none; write check(loss, x, target)"
        )
    if isinstance(subject, Layer) and target is not None:
        raise ConfigError(f"gradcheck: expected no target for {subject}; a loss and a model have one")
    if hasattr(subject, "objective"):
        return
    if not hasattr(x, "dtype"):
        raise ShapeError(f"gradcheck: expected x to be an array of float64, got one {type(x).__name__}")
    if isinstance(subject, Loss) and has_labels(x, target) and subject.classes(x.shape[-1]) > 1:
        subject._check_range(target, subject.classes(x.shape[-1]) - 1)


def _noise(function: Callable[[Tree], float], point: Tree) -> float:
    """The rounding error of s: u |s|, or the change of s when rounding changes each entry, if that is larger.

    It is larger if s is a small difference of large numbers, such as the loss of a confident prediction.
    """
    unit, rng = np.finfo(np.float64).eps, np.random.default_rng(0)
    value = function(point)

    def perturbed(p: Array) -> Array:
        return p * _like(p, 1 + unit * rng.choice((-1.0, 1.0), p.shape))

    return max([unit * abs(value), *(abs(function(tree.map(perturbed, point)) - value) for _ in range(3))])


def _function(
    subject: Any,
    x: Array,
    target: Array | None,
    params: Tree | None,
    rng: np.random.Generator,
    statistics: Tree | None,
) -> tuple[Callable[[Tree], float], Tree, Tree]:
    """The function, point and gradient of a `_Problem`."""
    if hasattr(subject, "objective"):
        model = subject
        x, target = model.prepare(x, target)
        gradient = model.objective.gradients(tree.merge(model.params, model.statistics), x, target)

        def objective(params: Tree) -> float:
            return float(model.objective.value(tree.merge(params, model.statistics), x, target))

        return objective, model.params, gradient
    if target is not None:
        loss = subject
        _, residuals = _pair(loss, "forward", "(value, residuals)", x, target)
        dprediction = loss.backward(residuals)
        _require_shape(loss, "the gradient", dprediction, "the prediction", x)
        gradient = {"prediction": dprediction}
        return lambda point: float(loss.forward(point["prediction"], target)[0]), {"prediction": x}, gradient
    layer = subject
    if params is None:
        params = tree.map(lambda p: _float64(x, p), layer.init(rng))
    if statistics is None:
        statistics = tree.map(lambda p: _float64(x, p), layer.init_statistics())
    variables = tree.merge(params, statistics)
    try:
        y, residuals = _pair(layer, "forward", "(y, residuals)", variables, x)
    except Exception:
        if isinstance(layer, Layer):
            layer.output_shape(tuple(x.shape))  # raises ShapeError if x does not fit
        raise
    dy = _like(y, rng.standard_normal(y.shape))
    given = namespace(dy).asarray(dy, copy=True)
    dx, grads = _pair(layer, "backward", "(dx, grads)", variables, residuals, given)
    _require_shape(layer, "dx", dx, "x", x)
    _compare_names(layer, "backward", grads, "the parameters", params)

    def project(point: Tree) -> float:
        y, _ = layer.forward(tree.merge(point["params"], statistics), point.get("x", x))
        return float(namespace(y).sum(y * dy))

    if namespace(x).isdtype(x.dtype, "integral"):
        return project, {"params": params}, {"params": grads}
    return project, {"x": x, "params": params}, {"x": dx, "params": grads}


def _pair(subject: Any, method: str, expected: str, *arguments: Any) -> tuple[Any, Any]:
    """What the method returns. GradientError unless it is a pair."""
    result = getattr(subject, method)(*arguments)
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"{len(result)} values" if isinstance(result, tuple) else _kind(result)
        raise GradientError(f"{type(subject).__name__}: expected {method} to return {expected}, got {got}")
    return result


def _require_shape(subject: Any, what: str, found: Any, of: str, array: Array) -> None:
    """GradientError unless the array that `backward` returned has the shape of the other one."""
    if not hasattr(found, "dtype"):
        got = _kind(found)
    elif (shape := tuple(found.shape)) != tuple(array.shape):
        got = str(shape)
    else:
        return
    raise GradientError(
        f"{type(subject).__name__}: expected backward to return {what} of the shape of {of}, "
        f"{tuple(array.shape)}, got {got}"
    )


def _kind(value: Any) -> str:
    """What a value is that is none of the arrays or pairs that were expected."""
    return "None" if value is None else f"one {type(value).__name__}"


def _compare_names(layer: Any, method: str, found: Tree, source: str, expected: Tree) -> None:
    """GradientError unless two trees have arrays of the same names and shapes."""
    want = {name: tuple(a.shape) for name, a in tree.items(expected)}
    got: Any = _kind(found)
    if isinstance(found, dict | tuple):
        got = {name: tuple(a.shape) if hasattr(a, "shape") else _kind(a) for name, a in tree.items(found)}
    if got != want:
        raise GradientError(
            f"{type(layer).__name__}: expected {method} to return the names and shapes of {source}, {want}, "
            f"got {got}"
        )


def _compare_parameter_gradients(
    layer: Any, x: Array, params: Tree, statistics: Tree | None, rng: np.random.Generator
) -> None:
    """GradientError unless `parameter_gradients` agrees with `backward`, up to rounding."""
    if statistics is None:
        statistics = tree.map(lambda p: _float64(x, p), layer.init_statistics())
    variables, results, dy = tree.merge(params, statistics), [], None
    for method in (lambda *inputs: layer.backward(*inputs)[1], layer.parameter_gradients):
        y, residuals = layer.forward(variables, x)  # once for each, because a method may overwrite residuals
        dy = rng.standard_normal(y.shape) if dy is None else dy
        results.append(method(variables, residuals, namespace(y).asarray(_like(y, dy), copy=True)))
    grads, alone = results
    _compare_names(layer, "parameter_gradients", alone, "backward", grads)
    for (name, found), wanted in zip(tree.items(alone), tree.leaves(grads), strict=True):
        xp = namespace(wanted)
        if wanted.size and not float(xp.max(xp.abs(found - wanted))) <= 1e-10 * float(xp.max(xp.abs(wanted))):
            raise GradientError(
                f"{type(layer).__name__}: expected parameter_gradients to return the gradients of backward, "
                f"got others for params.{name}"
            )


def _float64(array: Array, host: np.ndarray) -> Array:
    """Values from the host as float64 in the library of the array, on its device."""
    return namespace(array).asarray(host, dtype=namespace(array).float64, device=device(array))


def _like(array: Array, host: np.ndarray) -> Array:
    """Values from the host in the library and dtype of the array, on its device."""
    return namespace(array).asarray(host, dtype=array.dtype, device=device(array))
