"""Gradients checked by finite differences, and how small a difference should be.

The derivative of the loss L at a weight w is the limit of `(L(w + ε) - L(w - ε)) / 2ε` for ε to 0. By
Taylor's theorem this central difference is off by about `ε²/6 L‴(w)`, the truncation error, and the
one-sided difference `(L(w + ε) - L(w)) / ε` by about `ε/2 L″(w)`. But a computer has L only up to a
relative error of about the unit u, 2⁻⁵³ in float64 and 2⁻²⁴ in float32. Divided by ε, that is a rounding
error in the order of `u |L| / ε`. One falls with ε and the other grows, so there is a best ε in between: for
central differences about `∛u`, where the third derivative is about as large as L. (Press et al., "Numerical
recipes", 2007, §5.7.)

Here ε = 1/N, and the gradients are those of the first ten weights of the second layer, at the end of
training, of the loss of one example.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from xpnet import data, gradcheck, losses, nn, optim, tree
from xpnet.errors import ShapeError
from xpnet.model import Model
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

UNITS = 32
WEIGHTS = 10
COURSE = 5 * 10**5  # the largest N of the course's; those beyond show how it goes on
SIZES = tuple(k * 10**i for i in range(10) for k in (1, 5))
TYPES = {"float64": 2.0**-53, "float32": 2.0**-24}  # with their units u
Errors = dict[tuple[str, str], np.ndarray]


class Line(NamedTuple):
    """log₁₀ error = slope log₁₀ N + start, fitted to the sizes at these positions."""

    sizes: np.ndarray
    slope: float
    start: float


class Regimes(NamedTuple):
    """What a curve of errors against N is made of: a least error, and lines before and after it."""

    best: int
    error: float
    before: Line
    after: Line

    @property
    def crossing(self) -> float:
        """The N at which the lines meet; not a number where they do not."""
        faster = self.after.slope - self.before.slope
        return float(10 ** ((self.before.start - self.after.start) / faster)) if faster > 0 else math.nan


def run(options: Options, report: Report) -> None:
    """Train, then compare the gradients by hand with differences of all sizes."""
    dataset = options.load_dataset()
    report.trained_on(dataset)
    settings = {"hidden units": UNITS, "epochs": options.choose(10, quick=3), "batch size": 50}
    report.config(settings | {"learning rate": 0.5, "momentum": 0.9, "activation": "sigmoid"})
    shape = dataset.train.x.shape[1:]
    model = make_model(options, shape, dataset.classes, "float64")
    model.fit(*dataset.train, epochs=int(settings["epochs"]), batch_size=50)
    sample = data.Examples(dataset.train.x[:1], dataset.train.y[:1])
    models = {"float64": model, "float32": make_model(options, shape, dataset.classes, "float32")}
    models["float32"].params = model.params
    by_hand = {dtype: gradients(each, sample) for dtype, each in models.items()}

    report.section("The gradients")
    columns = ["weight", *(f"by hand, {dtype}" for dtype in TYPES)]
    rows = [[i, *(float(by_hand[dtype][i - 1]) for dtype in TYPES)] for i in range(1, WEIGHTS + 1)]
    report.table(
        "gradients", columns, rows,
        f"∂L/∂w of the first {WEIGHTS} weights of the second layer, those out of the first hidden unit. The "
        f"loss of the example is {model.loss(sample.y):.6g}.",
        dict.fromkeys(columns[1:], ".9f"),
    )  # fmt: skip
    errors: Errors = {}
    for dtype, each in models.items():
        errors |= errors_by_size(each, sample, by_hand[dtype], dtype)
    largest = max(float(np.abs(exact).max()) for exact in by_hand.values())
    tell_of_errors(report, errors, {key: regimes(values, largest) for key, values in errors.items()})
    check_whole_network(report, models, sample)


def make_model(options: Options, shape: tuple[int, ...], classes: int, dtype: str) -> Model:
    """An untrained network of sigmoids: smooth, so that all derivatives are there."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), UNITS), nn.Sigmoid(), nn.Linear(UNITS, classes)
    )
    return Model(
        net, losses.CrossEntropy(), optim.SGD(0.5, momentum=0.9),
        backend=options.backend, device=options.device, seed=options.seed, dtype=dtype,
    )  # fmt: skip


def second_layer(params: tree.Tree) -> str:
    """The name of its weights in a tree of parameters."""
    return [name for name, _ in tree.items(params) if name.endswith("weight")][1]


def gradients(model: Model, sample: data.Examples) -> np.ndarray:
    """Those of the first weights of the second layer, by the backward pass, (WEIGHTS,)."""
    model.forward(sample.x)
    model.zero_grads()
    model.backward(sample.y)
    found = dict(tree.items(model.grads))[second_layer(model.grads)]
    return model.backend.to_numpy(found).reshape(-1)[:WEIGHTS].astype(np.float64)


def errors_by_size(model: Model, sample: data.Examples, exact: np.ndarray, dtype: str) -> Errors:
    """The largest difference from the gradients by hand, over the weights, for each N: (sizes,)."""
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
    """The loss as a function of what is added to the i-th weight of the second layer."""
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
        largest: of the gradients; a difference that is off by about as much tells nothing and is left out.
    """
    least = int(np.argmin(errors))
    middle = min(max(least, 2), len(SIZES) - 3)  # two points or more for either line
    before, after = np.arange(middle), np.arange(middle + 1, len(SIZES))
    useful = after[errors[after] < 0.9 * largest]
    parts = (before, useful if len(useful) > 1 else after[:2])
    floor = np.maximum(errors, np.finfo(float).tiny)
    lines = [Line(part, *np.polyfit(np.log10(SIZES)[part], np.log10(floor[part]), 1)) for part in parts]
    return Regimes(SIZES[least], float(errors[least]), *lines)


def tell_of_errors(report: Report, errors: Errors, found: dict[tuple[str, str], Regimes]) -> None:
    """The curves, and the regimes in them."""
    report.section("The size of the differences")
    report.figure(
        [figure(errors, found, "central"), figure(errors, found, "one-sided")],
        f"The largest of the {WEIGHTS} differences between gradient and finite difference, and the lines "
        "fitted before and after the least one. Right of the grey line, N is larger than the course's. Late "
        "points without a line are off by as much as the gradient itself.",
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
        "The two regimes. A slope of -2 means: ten times the N, a hundredth of the error.",
        {"least": ".2e", "slope before": ".2f", "slope after": ".2f", "lines meet at N": ",.0f"},
    )  # fmt: skip
    fine, coarse = found["central", "float64"], found["central", "float32"]
    report.text(
        f"In float64 the central difference is best with N = {fine.best:,}, with an error of "
        f"{fine.error:.2g}, in float32 with N = {coarse.best:,}, with {coarse.error:.2g}. Before, where the "
        f"truncation error rules, the error goes as N to the power of {fine.before.slope:.2f} and "
        f"{coarse.before.slope:.2f}; after, where the rounding error rules, as N to the power of "
        f"{fine.after.slope:.2f} and {coarse.after.slope:.2f}. The step that is best is not the smallest one."
    )
    came = {key: each.before.slope for key, each in found.items()}
    expect_slopes(report, "Before the least error, truncation", {"central": -2, "one-sided": -1}, came)
    came = {key: each.after.slope for key, each in found.items()}
    expect_slopes(report, "After it, rounding", {"central": 1, "one-sided": 1}, came)
    for dtype, unit in TYPES.items():
        best = found["central", dtype]
        report.expect(
            f"In {dtype} the best ε of the central difference is ∛u = {unit ** (1 / 3):.2g}, within a factor "
            "of 10.",
            f"{1 / best.best:.2g}; the lines meet at {1 / best.crossing:.2g}.",
            0.1 <= 1 / best.best / unit ** (1 / 3) <= 10,
        )
    report.expect(
        "Float64 lets a central difference be more than 10,000 times as accurate as float32 does.",
        f"{coarse.error / fine.error:,.0f} times.",
        coarse.error > 1e4 * fine.error,
    )


def expect_slopes(
    report: Report, what: str, slopes: dict[str, int], came: dict[tuple[str, str], float]
) -> None:
    """Note the slopes that Taylor's theorem and the unit of rounding let one expect."""
    expected = " and ".join(f"{slope:+d} ({kind})" for kind, slope in slopes.items())
    report.expect(
        f"{what}: slopes of {expected} in log-log axes, within 0.3.",
        "; ".join(f"{slope:.2f} {kind} in {dtype}" for (kind, dtype), slope in came.items()) + ".",
        all(abs(slope - slopes[kind]) <= 0.3 for (kind, _), slope in came.items()),
    )


def check_whole_network(report: Report, models: dict[str, Model], sample: data.Examples) -> None:
    """The same for all parameters at once, by `xpnet.gradcheck`."""
    report.section("All parameters at once")
    try:
        gradcheck.check(models["float32"], *sample)
        refused = "float32 is taken too."
    except ShapeError as error:
        refused = f"In float32 it refuses to judge: `{error}`."
    try:
        checked = gradcheck.check(models["float64"], *sample)
        largest = max(checked.directions, checked.entries)
        came = f"The largest is {largest:.2g}."
    except gradcheck.GradientError as error:
        largest, came = math.inf, f"{error}."
    report.text(
        "`xpnet.gradcheck.check(model, x, y)` takes central differences with ε = 10⁻⁵ along random "
        f"directions in the space of all {models['float64'].parameter_count():,} parameters, and at single "
        f"entries of each array, for the same example. {refused}"
    )
    report.expect(
        "The whole gradient is right: in float64, relative errors below 10⁻⁷.", came, largest < 1e-7
    )


def figure(errors: Errors, found: dict[tuple[str, str], Regimes], kind: str) -> Figure:
    """Errors against N on log axes, in both types, with the fitted lines."""
    picture, axes = sweep.axes_of("N = 1/ε", f"largest error, {kind} difference")
    axes.axvline(COURSE, color="#999999", linewidth=1)
    sizes = np.array(SIZES, float)
    for dtype, color in zip(TYPES, ("#1f77b4", "#d95f02"), strict=True):
        axes.plot(sizes, errors[kind, dtype], "o", color=color, markersize=4, label=dtype)
        for line in (found[kind, dtype].before, found[kind, dtype].after):
            part = sizes[line.sizes]
            axes.plot(part, 10**line.start * part**line.slope, color=color, linewidth=1)
    axes.set(xscale="log", yscale="log")
    sweep.legend(picture)
    return picture
