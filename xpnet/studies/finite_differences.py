"""Gradients checked by finite differences, and the best step ε.

The derivative of the loss L at a weight w is the limit of `(L(w + ε) - L(w - ε)) / 2ε` as ε tends to 0. By
Taylor's theorem this central difference has a truncation error of about `ε²/6 L‴(w)`, and the one-sided
difference `(L(w + ε) - L(w)) / ε` one of about `ε/2 L″(w)`. But a computer evaluates L with a rounding error
of about the unit roundoff u, 2⁻⁵³ in float64 and 2⁻²⁴ in float32, times a number of the order of 1. Division
by ε turns it into an error of the order of `u / ε`. A smaller ε decreases the truncation error and increases
the rounding error, so a best ε lies in between: about `∛u` for central differences, if the third derivative
is about as large as L. (Press et al., "Numerical recipes", 2007, §5.7.)

Here ε = 1/N. The network has two hidden layers and is trained. The gradients are those of the loss of one
training example, for the first ten weights of the second layer, and for its ten weights with the largest
gradients.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xpnet import data, gradcheck, nn
from xpnet.errors import ShapeError
from xpnet.plots.drawing import Figure
from xpnet.studies import _differences, sweep
from xpnet.studies._differences import COURSE, KINDS, SIZES, TYPES, WEIGHTS, Line, Regimes, Trained
from xpnet.studies.options import Options
from xpnet.studies.report import Report

SETS = {"first": f"the first {WEIGHTS} weights", "largest": f"the {WEIGHTS} largest gradients"}
CHECKED = 1e-6  # the best difference confirms a gradient if the relative error is below
Errors = dict[tuple[str, str, str], np.ndarray]  # by set, kind of difference and type


class Results(NamedTuple):
    """The gradients of one network by set and type, and the errors of their differences.

    Fields:
        places: the positions of the weights in the second layer's flattened array, by set.
        exact: the gradients from the backward pass, by set and type.
        errors: the largest difference from `exact` for each N.
        smallest: the least error in float64 over the sizes, relative to the largest gradient, by set.
    """

    places: dict[str, np.ndarray]
    exact: dict[tuple[str, str], np.ndarray]
    errors: Errors
    smallest: dict[str, float]


def run(options: Options, report: Report) -> None:
    """Train, then compare the backward pass with finite differences of all sizes."""
    dataset = options.load_dataset()
    report.trained_on(dataset)
    epochs = _differences.epochs(len(dataset.train.y), options.choose(15000, quick=3000))
    report.config(_differences.SETTINGS | {"epochs": epochs})
    smooth, with_kinks = (
        _differences.train(options, dataset, activation, epochs) for activation in (nn.Tanh(), nn.ReLU())
    )
    _the_network(report, (smooth, with_kinks), dataset)
    found = differences(smooth)
    report_gradients(report, smooth, found, "gradients")
    _sizes(report, found)
    _regimes(report, found)
    _relu(report, with_kinks)
    _whole_network(report, smooth)


def differences(trained: Trained, count: int = WEIGHTS) -> Results:
    """Compare `count` weights of each set with finite differences of all sizes, in both types."""
    whole = {dtype: _differences.gradient(model, trained.sample) for dtype, model in trained.models.items()}
    size = np.abs(whole["float64"])
    places = {
        "first": np.arange(min(count, size.size)),
        "largest": np.argsort(-size, kind="stable")[:count],
    }
    exact = {(name, dtype): whole[dtype][at] for name, at in places.items() for dtype in TYPES}
    errors: Errors = {}
    for dtype, model in trained.models.items():
        loss = _differences.loss_of_weights(model, trained.sample)
        for name, at in places.items():
            by_kind = _differences.errors_by_size(loss, at, exact[name, dtype])
            errors |= {(name, kind, dtype): values for kind, values in by_kind.items()}
    smallest = {}
    for name in places:
        least, largest = errors[name, "central", "float64"].min(), np.abs(exact[name, "float64"]).max()
        smallest[name] = float(least / largest) if largest else float(least)
    return Results(places, exact, errors, smallest)


def _the_network(report: Report, networks: Sequence[Trained], dataset: data.Dataset) -> None:
    report.section("The networks")
    smooth = networks[0]
    report.text(
        "The networks have two hidden layers: the first with tanh, which is smooth, the second with ReLU. "
        f"They are trained in float32 on {len(dataset.train.y):,} examples; their parameters are then "
        "copied, without a change, to networks in float64. Where a network is certain, the gradient is close "
        "to 0, and little can be checked. So the example is the one whose loss is nearest to 1 among the "
        f"first {smooth.searched:,} of the training set."
    )
    report.table(
        "networks",
        ["activation", "layers", "parameters", "test accuracy", "example", "its loss"],
        [
            [
                each.activation,
                f"{math.prod(each.sample.x.shape)}-{each.units}-{each.units}-{dataset.classes}",
                each.models["float32"].parameter_count(),
                each.models["float32"].evaluate(*dataset.test).accuracy,
                each.number,
                each.loss,
            ]
            for each in networks
        ],
        "The networks after training, and the number of the training example.",
        {"test accuracy": ".4f", "its loss": ".4f"},
    )


def report_gradients(report: Report, trained: Trained, found: Results, file: str) -> None:
    """Add the gradients of both sets, say whether the first are dead, and whether they are confirmed."""
    if file == "gradients":
        report.section("The gradients")
    columns = ["weights", "from unit", "to unit", *(f"by hand, {dtype}" for dtype in TYPES), "difference"]
    loss, step = _differences.loss_of_weights(trained.models["float64"], trained.sample), 1e-4
    rows = []
    for name, at in found.places.items():
        for i, place in enumerate(at):
            unit = divmod(int(place), trained.units)
            central = (loss(place, step) - loss(place, -step)) / (2 * step)
            exact = [float(found.exact[name, dtype][i]) for dtype in TYPES]
            rows.append([name, unit[0] + 1, unit[1] + 1, *exact, central])
    report.table(
        file, columns, rows,
        f"∂L/∂w of {SETS['first']} of the second layer, all out of the first unit of the first hidden layer, "
        f"and {SETS['largest']} of that layer: from the backward pass, and as central difference in float64 "
        f"with N = {round(1 / step):,}.",
        dict.fromkeys(columns[3:], ".9f"),
    )  # fmt: skip
    report.text(_dead(trained, found))
    report.expect(
        f"With {trained.activation}, the best central difference in float64 confirms both sets of gradients: "
        "relative errors below 10⁻⁶.",
        " and ".join(f"{found.smallest[name]:.1e} for {words}" for name, words in SETS.items()) + ".",
        all(error < CHECKED for error in found.smallest.values()),
    )


def _dead(trained: Trained, found: Results) -> str:
    """Whether units are dead, so that gradients are exactly 0, in words."""
    first, largest = (np.abs(found.exact[name, "float64"]) for name in SETS)
    zeros, off = int((first == 0).sum()), _differences.first_output(trained) == 0
    if zeros < len(first):
        return (
            "For this example the first hidden unit is not dead: the largest of its gradients is "
            f"{first.max():.3g}, {first.max() / largest.max():.2g} of the largest of the layer, "
            f"{largest.max():.3g}."
            + (f" {zeros} of its gradients are 0: they lead to dead units." if zeros else "")
        )
    moved = max(found.errors["first", kind, dtype].max() for kind in KINDS for dtype in TYPES)
    why = "the first hidden unit is dead, with an output of 0" if off else "the units they lead to are dead"
    return (
        f"For this example {why}, so the gradients of {SETS['first']} are exactly 0. The finite differences "
        f"are at most {moved:.2g} for all N. They confirm the zeros, but say nothing about ε: see "
        f"{SETS['largest']} for that."
    )


def _sizes(report: Report, found: Results) -> None:
    report.section("The size of the differences")
    for kind in KINDS:
        report.figure(
            [_figure(found, name, kind) for name in SETS],
            f"The largest difference between gradient and {kind} finite difference, for {SETS['first']} and "
            f"for {SETS['largest']}, with the lines fitted to truncation and rounding error. Right of the "
            "grey line, N is larger than in the course.",
        )
    for name, words in SETS.items():
        _table(report, "differences" if name == "first" else "differences-largest", found, name, words, KINDS)


def _table(report: Report, file: str, found: Results, name: str, words: str, kinds: tuple[str, ...]) -> None:
    names = [f"{kind}, {dtype}" for dtype in TYPES for kind in kinds]
    curves = [found.errors[name, kind, dtype] for dtype in TYPES for kind in kinds]
    rows = [[size, 1 / size, *(float(curve[i]) for curve in curves)] for i, size in enumerate(SIZES)]
    report.table(
        file,
        ["N", "ε", *names],
        rows,
        f"The same numbers for {words}.",
        dict.fromkeys(names, ".3e") | {"ε": "g"},
    )


def _regimes(report: Report, found: Results) -> None:
    fitted = {
        key: _differences.regimes(errors, float(np.abs(found.exact[key[0], key[2]]).max()))
        for key, errors in found.errors.items()
    }
    report.table(
        "regimes",
        ["weights", "difference", "N of the least", "least", "slope before", "slope after", "meet at N"],
        [
            [
                name, f"{kind}, {dtype}", each.best, each.error,
                each.before and each.before.slope, each.after and each.after.slope, each.crossing,
            ]
            for (name, kind, dtype), each in fitted.items()
        ],
        "Truncation error before the least error and rounding error after it. A slope of -2 means that ten "
        "times the N gives a hundredth of the error. The lines go through sizes whose error is at least 10 "
        "times the least, and after it below 0.3 times the largest gradient; a cell is empty where there are "
        "fewer than two.",
        {"least": ".2e", "slope before": ".2f", "slope after": ".2f", "meet at N": ",.0f"},
    )  # fmt: skip
    shown = {key[1:]: each for key, each in fitted.items() if key[0] == "largest"}
    fine, coarse = shown["central", "float64"], shown["central", "float32"]
    report.text(
        f"For {SETS['largest']}, the central difference is best at N = {fine.best:,} in float64, with an "
        f"error of {fine.error:.2g}, and at N = {coarse.best:,} in float32, with an error of "
        f"{coarse.error:.2g}. Below that N the truncation error dominates, above it the rounding error. The "
        f"smallest step of the course, N = {COURSE:,}, has errors of "
        f"{_at(found, 'float64', COURSE):.2g} and {_at(found, 'float32', COURSE):.2g}: the best step is not "
        "the smallest one."
    )
    lines = {("central", -2): fine.before, ("one-sided", -1): shown["one-sided", "float64"].before}
    _expect_slopes(report, "before the least error, truncation", lines)
    lines = {("central", 1): fine.after, ("one-sided", 1): shown["one-sided", "float64"].after}
    _expect_slopes(report, "after it, rounding", lines)
    steps = {dtype: _at(found, dtype, 1) for dtype in TYPES}
    report.expect(
        "The truncation error does not depend on the type: with N = 1 the error in float32 is within 5% of "
        "that in float64.",
        f"{steps['float32']:.4g} and {steps['float64']:.4g} for {SETS['largest']}.",
        abs(steps["float32"] / steps["float64"] - 1) < 0.05,
    )
    factors = {dtype: _differences.rounding(found.errors["largest", "central", dtype], unit)
               for dtype, unit in TYPES.items()}  # fmt: skip
    report.expect(
        "The rounding error is c u/ε in both types, with c between 0.05 and 50.",
        f"For {SETS['largest']}, the median of c is "
        + " and ".join(f"{c:.2g} in {dtype}" for dtype, c in factors.items())
        + ", over the 4 sizes from 10 times the best N on.",
        all(0.05 < c < 50 for c in factors.values()),
    )
    for dtype, unit in TYPES.items():
        best = shown["central", dtype]
        report.expect(
            f"In {dtype} the best ε of the central difference is ∛u = {unit ** (1 / 3):.2g}, within a factor "
            "of 10.",
            f"{1 / best.best:.2g} for {SETS['largest']}.",
            0.1 <= 1 / best.best / unit ** (1 / 3) <= 10,
        )
    report.expect(
        "In float64 the best central difference is more than 10,000 times as accurate as in float32.",
        f"{coarse.error / fine.error:,.0f} times.",
        coarse.error > 1e4 * fine.error,
    )


def _at(found: Results, dtype: str, size: int) -> float:
    return float(found.errors["largest", "central", dtype][SIZES.index(size)])


def _expect_slopes(report: Report, what: str, lines: dict[tuple[str, int], Line | None]) -> None:
    """Compare slopes fitted in float64 with those from Taylor's theorem and the unit roundoff."""
    expected = " and ".join(f"{theory:+d} ({kind})" for kind, theory in lines)
    slopes = {key: math.nan if line is None else line.slope for key, line in lines.items()}
    report.expect(
        f"For {SETS['largest']} in float64, {what}: slopes of {expected} in log-log axes, within 0.3.",
        " and ".join(f"{slope:.2f} ({kind})" for (kind, _), slope in slopes.items()) + ".",
        all(abs(slope - theory) <= 0.3 for (_, theory), slope in slopes.items()),
    )


def _relu(report: Report, trained: Trained) -> None:
    report.section("The same with ReLU: dead units and kinks")
    found = differences(trained)
    kinks = {name: _differences.kink(trained, at) for name, at in found.places.items()}
    report.text(
        "Now the network with ReLU. ReLU has a kink: where a step of ε moves the input of a unit past 0, "
        "Taylor's theorem does not hold. A step crosses the kink of a unit as long as N is below "
        "|output of the unit before / input of the unit|."
    )
    report_gradients(report, trained, found, "gradients-relu")
    report.figure(
        [_figure(found, name, "central", lines=False) for name in SETS],
        f"The largest central difference with ReLU, for {SETS['first']} and for {SETS['largest']}.",
    )
    for name, words in SETS.items():
        end = "" if name == "first" else "-largest"
        _table(report, f"differences-relu{end}", found, name, words, KINDS[:1])
        crossed = [size for size in SIZES if size < kinks[name]]
        errors = found.errors[name, "central", "float64"]
        if not np.any(found.exact[name, "float64"]):
            continue
        after = f"{errors[len(crossed)]:.2g} at N = {SIZES[len(crossed)]:,}"
        report.text(
            f"For {words}, steps cross kinks up to N = {kinks[name]:,.3g}: the error is "
            f"{errors[len(crossed) - 1]:.2g} at N = {crossed[-1]:,}, and {after}, where no step crosses one."
            if crossed
            else f"For {words}, no step crosses a kink: the error is {after}."
        )


def _whole_network(report: Report, trained: Trained) -> None:
    """Check all parameters at once with `xpnet.gradcheck`."""
    report.section("All parameters at once")
    try:
        gradcheck.check(trained.models["float32"], *trained.sample)
        refused = "It accepts float32 too."
    except ShapeError as error:
        refused = f"It refuses float32: `{error}`."
    try:
        checked = gradcheck.check(trained.models["float64"], *trained.sample, epsilon=1e-6)
        largest = max(checked.directions, checked.entries)
        result = f"The largest is {largest:.2g}."
    except gradcheck.GradientError as error:
        largest, result = math.inf, f"{error}."
    report.text(
        "`xpnet.gradcheck.check(model, x, y, epsilon=1e-6)` takes central differences along random "
        f"directions in the space of all {trained.models['float64'].parameter_count():,} parameters, and at "
        f"single entries of each array, for the same example and the network with tanh. {refused}"
    )
    report.expect(
        "The whole gradient is right: in float64, relative errors below 10⁻⁷.", result, largest < 1e-7
    )


def _figure(found: Results, name: str, kind: str, lines: bool = True) -> Figure:
    """Errors against N on log axes, for both types, with the fitted lines. Errors of 0 have no point."""
    picture, axes = sweep.axes_of("N = 1/ε", f"largest error, {kind} difference")
    axes.set_title(SETS[name], fontsize=11)
    axes.axvline(COURSE, color="#999999", linewidth=1)
    sizes = np.array(SIZES, float)
    drawn = False
    for dtype, style in zip(TYPES, sweep.styles(len(TYPES)), strict=True):
        color, errors = style["color"], found.errors[name, kind, dtype]
        seen = errors > 0
        drawn |= bool(seen.any())
        axes.plot(sizes[seen], errors[seen], style["marker"], color=color, markersize=4, label=dtype)
        fitted: Regimes = _differences.regimes(errors, float(np.abs(found.exact[name, dtype]).max()))
        for line in (fitted.before, fitted.after) if lines else ():
            if line is not None:
                part = sizes[line.sizes]
                axes.plot(part, 10**line.start * part**line.slope, color=color, linewidth=1)
    axes.set(xscale="log", xlim=(0.5, 2 * SIZES[-1]))
    if drawn:
        axes.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "all errors are 0", ha="center", transform=axes.transAxes)
    sweep.legend(picture)
    return picture
