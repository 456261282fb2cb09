"""Gradients checked by finite differences, and the best step ε.

The derivative of the loss L at a weight w is the limit of `(L(w + ε) - L(w - ε)) / 2ε` as ε tends to 0. By
Taylor's theorem this central difference has a truncation error of about `ε²/6 L‴(w)`, and the one-sided
difference `(L(w + ε) - L(w)) / ε` one of about `ε/2 L″(w)`. But a computer evaluates L with a relative error
of about the unit roundoff u, 2⁻⁵³ in float64 and 2⁻²⁴ in float32. Division by ε turns it into a rounding
error of the order of `u |L| / ε`. A smaller ε decreases the truncation error and increases the rounding
error, so a best ε lies in between: about `∛u` for central differences, if the third derivative is about as
large as L. (Press et al., "Numerical recipes", 2007, §5.7.)

Here ε = 1/N. The gradients are those of the loss of one example at the end of training, for the first ten
weights of the second layer.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet import data, gradcheck, losses, nn, optim, tree
from xpnet.errors import ShapeError
from xpnet.model import Model
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.drawing import Figure

UNITS = 32
WEIGHTS = 10
COURSE = 5 * 10**5  # the largest N in the course; larger ones show the rounding error
SIZES = tuple(k * 10**i for i in range(10) for k in (1, 5))
TYPES = {"float64": 2.0**-53, "float32": 2.0**-24}  # with their unit roundoff u
Errors = dict[tuple[str, str], np.ndarray]


class Line(NamedTuple):
    """log₁₀ error = slope · log₁₀ N + start, fitted to the sizes at the positions `sizes`."""

    sizes: np.ndarray
    slope: float
    start: float


class Regimes(NamedTuple):
    """A curve of errors against N: the least error, and fitted lines before and after it."""

    best: int
    error: float
    before: Line
    after: Line

    @property
    def crossing(self) -> float:
        """The N at which the lines meet, or nan."""
        faster = self.after.slope - self.before.slope
        return float(10 ** ((self.before.start - self.after.start) / faster)) if faster > 0 else math.nan


def run(options: Options, report: Report) -> None:
    """Train, then compare the backward pass with finite differences of all sizes."""
    dataset = options.load_dataset()
    report.trained_on(dataset)
    settings = {"hidden units": UNITS, "epochs": options.choose(10, quick=3), "batch size": 50}
    report.config(settings | {"learning rate": 0.5, "momentum": 0.9, "activation": "sigmoid"})
    shape = dataset.train.x.shape[1:]
    model = make_model(options, shape, dataset.classes, "float64")
    model.fit(*dataset.train, epochs=int(settings["epochs"]), batch_size=50, progress=False)
    sample = data.Examples(dataset.train.x[:1], dataset.train.y[:1])
    models = {"float64": model, "float32": make_model(options, shape, dataset.classes, "float32")}
    models["float32"].params = model.params
    by_hand = {dtype: gradients(each, sample) for dtype, each in models.items()}

    report.section("The gradients")
    columns = ["weight", *(f"by hand, {dtype}" for dtype in TYPES)]
    rows = [[i, *(float(by_hand[dtype][i - 1]) for dtype in TYPES)] for i in range(1, WEIGHTS + 1)]
    report.table(
        "gradients", columns, rows,
        f"∂L/∂w of the first {WEIGHTS} weights of the second layer, out of the first hidden unit. The loss "
        f"of the example is {model.loss(sample.y):.6g}.",
        dict.fromkeys(columns[1:], ".9f"),
    )  # fmt: skip
    errors: Errors = {}
    for dtype, each in models.items():
        errors |= errors_by_size(each, sample, by_hand[dtype], dtype)
    largest = max(float(np.abs(exact).max()) for exact in by_hand.values())
    report_errors(report, errors, {key: regimes(values, largest) for key, values in errors.items()})
    check_whole_network(report, models, sample)


def make_model(options: Options, shape: tuple[int, ...], classes: int, dtype: str) -> Model:
    """An untrained network of sigmoids, which is smooth: all derivatives exist."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), UNITS), nn.Sigmoid(), nn.Linear(UNITS, classes)
    )
    return Model(
        net, losses.CrossEntropy(), optim.SGD(0.5, momentum=0.9),
        backend=options.backend, device=options.device, seed=options.seed, dtype=dtype,
    )  # fmt: skip


def second_layer(params: tree.Tree) -> str:
    """The name of the second layer's weights in a tree of parameters."""
    return [name for name, _ in tree.items(params) if name.endswith("weight")][1]


def gradients(model: Model, sample: data.Examples) -> np.ndarray:
    """The gradients of the first weights of the second layer, from the backward pass, (WEIGHTS,)."""
    model.forward(sample.x)
    model.zero_grads()
    model.backward(sample.y)
    found = dict(tree.items(model.grads))[second_layer(model.grads)]
    return model.backend.to_numpy(found).reshape(-1)[:WEIGHTS].astype(np.float64)


def errors_by_size(model: Model, sample: data.Examples, exact: np.ndarray, dtype: str) -> Errors:
    """The largest difference from the backward pass over the weights, for each N: (sizes,)."""
    loss = loss_of_weights(model, sample)
    here = loss(0, 0.0)
    found: Errors = {("central", dtype): np.zeros(len(SIZES)), ("one-sided", dtype): np.zeros(len(SIZES))}
    for i, size in enumerate(SIZES):
        ahead = np.array([loss(j, 1 / size) for j in range(WEIGHTS)])
        behind = np.array([loss(j, -1 / size) for j in range(WEIGHTS)])
        found["central", dtype][i] = np.abs((ahead - behind) * size / 2 - exact).max()
        found["one-sided", dtype][i] = np.abs((ahead - here) * size - exact).max()
    return found


def loss_of_weights(model: Model, sample: data.Examples) -> Callable[[int, float], float]:
    """The loss as a function of a change of the i-th weight of the second layer."""
    params = tree.map(model.backend.copy, model.params)
    name = second_layer(params)
    host = model.backend.to_numpy(dict(tree.items(params))[name])

    def loss(i: int, step: float) -> float:
        changed = host.copy()
        changed.reshape(-1)[i] += step
        model.params = tree.replace(params, dict(tree.items(params)) | {name: changed})
        model.forward(sample.x)
        value = model.loss(sample.y)
        model.params = params
        return value

    return loss


def regimes(errors: np.ndarray, largest: float) -> Regimes:
    """The two regimes on both sides of the least error, as straight lines in log-log axes.

    Arguments:
        errors: for each N, (sizes,).
        largest: the largest gradient; errors of about this size carry no information and are left out.
    """
    least = int(np.argmin(errors))
    middle = min(max(least, 2), len(SIZES) - 3)  # each line needs two points
    before, after = np.arange(middle), np.arange(middle + 1, len(SIZES))
    useful = after[errors[after] < 0.9 * largest]
    parts = (before, useful if len(useful) > 1 else after[:2])
    floor = np.maximum(errors, np.finfo(float).tiny)
    lines = [Line(part, *np.polyfit(np.log10(SIZES)[part], np.log10(floor[part]), 1)) for part in parts]
    return Regimes(SIZES[least], float(errors[least]), *lines)


def report_errors(report: Report, errors: Errors, found: dict[tuple[str, str], Regimes]) -> None:
    """Add the curves and their regimes."""
    report.section("The size of the differences")
    report.figure(
        [figure(errors, found, "central"), figure(errors, found, "one-sided")],
        f"The largest of the {WEIGHTS} differences between gradient and finite difference, and the lines "
        "fitted before and after the least error. Right of the grey line, N is larger than in the course. "
        "Late points without a line have errors as large as the gradient itself.",
    )
    names = [f"{kind}, {dtype}" for kind, dtype in errors]
    rows = [[size, 1 / size, *(float(e[i]) for e in errors.values())] for i, size in enumerate(SIZES)]
    report.table("differences", ["N", "ε", *names], rows, "The same numbers.", dict.fromkeys(names, ".3e"))
    report.table(
        "regimes",
        ["difference", "N of the least", "least", "slope before", "slope after", "lines meet at N"],
        [
            [name, each.best, each.error, each.before.slope, each.after.slope, each.crossing]
            for name, each in zip(names, found.values(), strict=True)
        ],
        "The two regimes. A slope of -2 means that ten times the N gives a hundredth of the error.",
        {"least": ".2e", "slope before": ".2f", "slope after": ".2f", "lines meet at N": ",.0f"},
    )  # fmt: skip
    fine, coarse = found["central", "float64"], found["central", "float32"]
    report.text(
        f"The central difference is best at N = {fine.best:,} in float64, with an error of {fine.error:.2g}, "
        f"and at N = {coarse.best:,} in float32, with an error of {coarse.error:.2g}. Below that N the "
        f"truncation error dominates: the error scales as N to the power of {fine.before.slope:.2f} and "
        f"{coarse.before.slope:.2f}. Above it the rounding error dominates: the powers are "
        f"{fine.after.slope:.2f} and {coarse.after.slope:.2f}. The best step is not the smallest one."
    )
    slopes = {key: each.before.slope for key, each in found.items()}
    expect_slopes(report, "Before the least error, truncation", {"central": -2, "one-sided": -1}, slopes)
    slopes = {key: each.after.slope for key, each in found.items()}
    expect_slopes(report, "After it, rounding", {"central": 1, "one-sided": 1}, slopes)
    for dtype, unit in TYPES.items():
        best = found["central", dtype]
        report.expect(
            f"In {dtype} the best ε of the central difference is ∛u = {unit ** (1 / 3):.2g}, within a factor "
            "of 10.",
            f"{1 / best.best:.2g}; the lines meet at {1 / best.crossing:.2g}.",
            0.1 <= 1 / best.best / unit ** (1 / 3) <= 10,
        )
    report.expect(
        "In float64 the best central difference is more than 10,000 times as accurate as in float32.",
        f"{coarse.error / fine.error:,.0f} times.",
        coarse.error > 1e4 * fine.error,
    )


def expect_slopes(
    report: Report, what: str, theory: dict[str, int], fitted: dict[tuple[str, str], float]
) -> None:
    """Compare the fitted slopes with those from Taylor's theorem and the unit roundoff."""
    expected = " and ".join(f"{slope:+d} ({kind})" for kind, slope in theory.items())
    report.expect(
        f"{what}: slopes of {expected} in log-log axes, within 0.3.",
        "; ".join(f"{slope:.2f} {kind} in {dtype}" for (kind, dtype), slope in fitted.items()) + ".",
        all(abs(slope - theory[kind]) <= 0.3 for (kind, _), slope in fitted.items()),
    )


def check_whole_network(report: Report, models: dict[str, Model], sample: data.Examples) -> None:
    """Check all parameters at once with `xpnet.gradcheck`."""
    report.section("All parameters at once")
    try:
        gradcheck.check(models["float32"], *sample)
        refused = "It accepts float32 too."
    except ShapeError as error:
        refused = f"It refuses float32: `{error}`."
    try:
        checked = gradcheck.check(models["float64"], *sample)
        largest = max(checked.directions, checked.entries)
        result = f"The largest is {largest:.2g}."
    except gradcheck.GradientError as error:
        largest, result = math.inf, f"{error}."
    report.text(
        "`xpnet.gradcheck.check(model, x, y)` takes central differences with ε = 10⁻⁵ along random "
        f"directions in the space of all {models['float64'].parameter_count():,} parameters, and at single "
        f"entries of each array, for the same example. {refused}"
    )
    report.expect(
        "The whole gradient is right: in float64, relative errors below 10⁻⁷.", result, largest < 1e-7
    )


def figure(errors: Errors, found: dict[tuple[str, str], Regimes], kind: str) -> Figure:
    """Errors against N on log axes, for both types, with the fitted lines."""
    picture, axes = sweep.axes_of("N = 1/ε", f"largest error, {kind} difference")
    axes.axvline(COURSE, color="#999999", linewidth=1)
    sizes = np.array(SIZES, float)
    for dtype, style in zip(TYPES, sweep.styles(len(TYPES)), strict=True):
        color = style["color"]
        axes.plot(sizes, errors[kind, dtype], style["marker"], color=color, markersize=4, label=dtype)
        for line in (found[kind, dtype].before, found[kind, dtype].after):
            part = sizes[line.sizes]
            axes.plot(part, 10**line.start * part**line.slope, color=color, linewidth=1)
    axes.set(xscale="log", yscale="log")
    sweep.legend(picture)
    return picture
