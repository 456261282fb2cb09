"""Gradient descent on an activation function.

GELU(x) ≈ x σ(1.702 x) is not monotone: it has one minimum, a little below 0, and is nearly flat far to the
left of it. Gradient descent on this curve shows the effect of the learning rate and of momentum in one
dimension.

`optim.SGD` steps by x ← x - η f'(x). `optim.EMAMomentum` steps by v ← β v + (1 - β) f'(x), x ← x - η v: the
new v moves x. It starts here with v₀ = f'(x₀), the slope at the start.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from xpnet import nn, optim
from xpnet.plots.drawing import Figure
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.studies.sweep import axes_of, styles

GELU = nn.GELU(form="sigmoid")
ACTIVATIONS = {"ReLU": nn.ReLU(), "ELU": nn.ELU(), "GELU": GELU}
BETA = 0.9
RUNS = ((0.0, 0.1), (0.0, 1.0), (-3.0, 0.1))  # start and learning rate η
STEPS = 600
NEAR = 0.01  # a path arrives at the step from which it stays this near to the minimum
PLAIN, WITH_MOMENTUM = "no", f"β = {BETA}"
COLORS = {PLAIN: "#1f77b4", WITH_MOMENTUM: "#d95f02"}
MARKERS, DASHES = {PLAIN: "o", WITH_MOMENTUM: "^"}, {PLAIN: "-", WITH_MOMENTUM: "--"}
GREY = "#999999"


class Curve(NamedTuple):
    """A function and its derivative at some points."""

    x: np.ndarray
    f: np.ndarray
    slope: np.ndarray


def curve(options: Options, function: nn.Layer, x: np.ndarray) -> Curve:
    """The activation and its derivative at these points. Shapes: x and all results (n,)."""
    backend = options.make_backend("float64")
    points = backend.asarray(x)
    f, residuals = function.forward({}, points)
    slope, _ = function.backward({}, residuals, backend.xp.ones_like(points))
    return Curve(x, backend.to_numpy(f), backend.to_numpy(slope))


def descend(options: Options, start: float, optimizer: optim.Optimizer, steps: int) -> Curve:
    """The points x₀ ... x_steps of the optimizer on GELU, from x₀ = start.

    Momentum starts with v₀ = ∇f(x₀). Shapes: (steps + 1,) each.
    """
    backend = options.make_backend("float64")
    ones = backend.asarray([1.0])
    params = {"x": backend.asarray([start])}
    state = optimizer.init(params)
    path = []
    for i in range(steps + 1):
        f, residuals = GELU.forward({}, params["x"])
        slope, _ = GELU.backward({}, residuals, ones)
        if i == 0:
            state = {name: {"x": backend.copy(slope)} for name in state}
        path.append([float(number[0]) for number in (params["x"], f, slope)])
        params, state = optimizer.update(params, {"x": slope}, state)
    return Curve(*np.array(path).T)


def minimum(options: Options) -> float:
    """Where the derivative of GELU is 0."""

    def slope(x: float) -> float:
        return float(curve(options, GELU, np.array([x])).slope[0])

    return float(optimize.brentq(slope, -2, 0, xtol=1e-12))


class Path(NamedTuple):
    """A run: its start, learning rate and momentum, its points, and the step at which it arrived."""

    start: float
    rate: float
    momentum: str
    points: Curve
    arrival: int | None


def paths(options: Options, lowest: float) -> list[Path]:
    """All runs, without and with momentum; from step `arrival` on, x stays near `lowest`."""
    result = []
    for start, rate in RUNS:
        for name, optimizer in ((PLAIN, optim.SGD(rate)), (WITH_MOMENTUM, optim.EMAMomentum(rate, BETA))):
            points = descend(options, start, optimizer, STEPS)
            last_far = int(np.nonzero(np.abs(points.x - lowest) > NEAR)[0].max(initial=-1))
            result.append(Path(start, rate, name, points, last_far + 1 if last_far < STEPS else None))
    return result


def run(options: Options, report: Report) -> None:
    """Show the activations, the first steps, which can be checked by hand, and the longer paths."""
    report.config({"steps": STEPS, "β": BETA, "near": NEAR})
    lowest = minimum(options)
    runs = paths(options, lowest)
    _activations(options, report, lowest)
    _first_steps(options, report, runs, lowest)
    _long_paths(options, report, runs, lowest)


def _activations(options: Options, report: Report, lowest: float) -> None:
    report.section("ReLU, ELU and GELU side by side")
    x = np.linspace(-4, 3, 281)
    figures = []
    for field, label in (("f", "f(x)"), ("slope", "f'(x)")):
        figure, axes = axes_of("x", label)
        for (name, layer), style in zip(ACTIVATIONS.items(), styles(len(ACTIVATIONS)), strict=True):
            axes.plot(x, getattr(curve(options, layer, x), field), label=name, **style | {"marker": ""})
        axes.legend(frameon=False)
        figures.append(figure)
    report.figure(figures, "The three activations and their derivatives.")
    at = np.array([-3.0, -1.0, 1.0])
    slopes = {name: curve(options, layer, at).slope for name, layer in ACTIVATIONS.items()}
    report.table(
        "slopes", ["f", *(f"f'({x:g})" for x in at)], [[name, *row] for name, row in slopes.items()],
        "The slopes at three points, which gradient descent would follow.",
    )  # fmt: skip
    value = float(curve(options, GELU, np.array([lowest])).f[0])
    stays = " Gradient descent on ReLU would never leave this point." if slopes["ReLU"][0] == 0 else ""
    report.text(
        f"GELU has its minimum {value:.4f} at x = {lowest:.4f}. At -3 its slope is {slopes['GELU'][0]:.4f}: "
        f"a step from there is short, but towards the minimum. The slope of ReLU at -3 is "
        f"{slopes['ReLU'][0]:g}, the slope of ELU {slopes['ELU'][0]:.4f}.{stays}"
    )
    wide = np.linspace(-8, 8, 16001)
    error = np.abs(curve(options, GELU, wide).f - curve(options, nn.GELU(), wide).f)
    worst = int(error.argmax())
    report.expect(
        "x σ(1.702 x) is within 0.021 of GELU(x) = x Φ(x).",
        f"The largest difference on a grid from -8 to 8 is {error[worst]:.4f}, at x = {wide[worst]:.2f}.",
        error[worst] < 0.021,
    )


def _first_steps(options: Options, report: Report, runs: list[Path], lowest: float) -> None:
    report.section("The first three steps")
    names = [f"{name}{i}{end}" for name, end in (("x", ""), ("f(x", ")")) for i in "₁₂₃"]
    report.table(
        "first-steps",
        ["x₀", "η", "momentum", *names],
        [[*each[:3], *each.points.x[1:4], *each.points.f[1:4]] for each in runs],
        "The points after the first steps, and the values of the function there; momentum starts with v₀ = "
        "f'(x₀).",
        dict.fromkeys(names, ".6f"),
    )
    _momentum(options, report, runs)
    from_0 = [each for each in runs if each.start == 0]
    report.expect(
        "The slope at 0 is 1/2, so the first step from 0 is -η/2.",
        ", ".join(f"x₁ = {each.points.x[1]:.4g} with η = {each.rate:g}" for each in from_0[::2]) + ".",
        all(np.isclose(each.points.x[1], -each.rate / 2) for each in from_0),
    )
    apart = [
        np.abs(plain.points.x[1:3] - momentum.points.x[1:3])
        for plain, momentum in zip(runs[::2], runs[1::2], strict=True)
    ]
    first, second = np.max(apart, axis=0)[0], np.min(apart, axis=0)[1]
    report.expect(
        "Momentum that starts with v₀ = f'(x₀) takes the same first step as plain gradient descent, and a "
        "different second step.",
        f"With and without momentum, x₁ differs by at most {first:.1g}, and x₂ by at least {second:.1g}.",
        first < 1e-12 < second,
    )
    _compare(options, report, runs, lowest)


def _momentum(options: Options, report: Report, runs: list[Path]) -> None:
    """The velocities, and the other reading of a rule that writes v without an index."""
    with_momentum = [each for each in runs if each.momentum == WITH_MOMENTUM]
    report.text(f"Momentum takes these steps, with β = {BETA}:")
    report.code("v[0] = f'(x[0])\nv[t+1] = β v[t] + (1 - β) f'(x[t])\nx[t+1] = x[t] - η v[t+1]")
    report.text(
        "Where a rule writes the v of the last line without an index, it could also be v[t]: then the second "
        "step goes along f'(x₀) once more. The second table has the steps of that reading."
    )
    rows = []
    for each in with_momentum:
        slopes = each.points.slope[:3]
        v = [slopes[0]]
        for slope in slopes:
            v.append(BETA * v[-1] + (1 - BETA) * slope)
        rows.append([each.start, each.rate, *slopes, *v])
    names = [*(f"f'(x{i})" for i in "₀₁₂"), *(f"v{i}" for i in "₀₁₂₃")]
    report.table(
        "velocities", ["x₀", "η", *names], rows, "The slopes, and the averages that move x.",
        dict.fromkeys(names, ".6f"),
    )  # fmt: skip
    other = []
    for each in with_momentum:
        x = [each.start]
        velocity = float(curve(options, GELU, np.array(x)).slope[0])
        for _ in range(3):
            slope = float(curve(options, GELU, np.array(x[-1:])).slope[0])
            x.append(x[-1] - each.rate * velocity)
            velocity = BETA * velocity + (1 - BETA) * slope
        other.append([each.start, each.rate, *x[1:], *map(float, curve(options, GELU, np.array(x[1:])).f)])
    names = [f"{name}{i}{end}" for name, end in (("x", ""), ("f(x", ")")) for i in "₁₂₃"]
    report.table(
        "first-steps-old-velocity", ["x₀", "η", *names], other,
        f"The first steps if v[t], not v[t+1], moves x; β = {BETA}.", dict.fromkeys(names, ".6f"),
    )  # fmt: skip


def _compare(options: Options, report: Report, runs: list[Path], lowest: float) -> None:
    """How the learning rates and the methods differ after three steps."""
    by_run = {each[:3]: each.points for each in runs}
    least = float(curve(options, GELU, np.array([lowest])).f[0])
    small, large = by_run[0.0, 0.1, PLAIN], by_run[0.0, 1.0, PLAIN]
    plain, averaged = by_run[-3.0, 0.1, PLAIN], by_run[-3.0, 0.1, WITH_MOMENTUM]
    report.table(
        "after-three-steps",
        ["x₀", "η", "momentum", "x₃", "f(x₃)", "part of the way down"],
        [
            [*each[:3], each.points.x[3], each.points.f[3],
             float((each.points.f[0] - each.points.f[3]) / (each.points.f[0] - least))]
            for each in runs
        ],
        f"Where the paths are after three steps: 100% is the minimum, {least:.4f}.",
        {"x₃": ".6f", "f(x₃)": ".6f", "part of the way down": ".2%"},
    )  # fmt: skip
    report.expect(
        "From 0, three steps with η = 1 come nearer to the minimum than with η = 0.1.",
        f"GELU(x₃) is {large.f[3]:.5f} with η = 1 and {small.f[3]:.5f} with η = 0.1; the minimum is "
        f"{least:.5f}.",
        least <= large.f[3] < small.f[3],
    )
    late = [
        each
        for name in (WITH_MOMENTUM, PLAIN)
        for each in runs
        if (each.start, each.momentum) == (-3.0, name)
    ]
    growing = "grow" if np.all(np.diff(np.abs(plain.slope[:4])) > 0) else "do not grow"
    report.expect(
        "From -3, three steps with momentum are slightly behind those without: the slopes grow on the way, "
        "and their average lags. Later it is ahead, where it arrives sooner.",
        f"GELU(x₃) is {averaged.f[3]:.8f} with momentum and {plain.f[3]:.8f} without; the slopes "
        f"{', '.join(f'{slope:.5f}' for slope in plain.slope[:4])} {growing}. "
        f"Momentum {_arrives(late[0])}, plain descent {_arrives(late[1])}.",
        averaged.f[3] > plain.f[3] and growing == "grow" and _steps(late[0]) < _steps(late[1]),
    )


def _long_paths(options: Options, report: Report, runs: list[Path], lowest: float) -> None:
    report.section("The longer paths")
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    report.text(
        "The left pictures show the points x₀, x₁, ... on the curve; points with momentum are drawn a little "
        f"above it. A path arrives at the step from which it stays within {NEAR:g} of the minimum, the "
        "dotted line."
    )
    for plain, momentum in pairs:
        title = f"from {plain.start:g}, η = {plain.rate:g}"
        past = lowest - momentum.points.x.min() if plain.start > lowest else momentum.points.x.max() - lowest
        report.figure(
            [
                _on_the_curve(options, (plain, momentum), lowest, title),
                _against_steps((plain, momentum), lowest, title),
            ],
            f"From {plain.start:g} with η = {plain.rate:g}, plain gradient descent {_arrives(plain)}. "
            f"Momentum {_arrives(momentum)}, after going {max(past, 0):.2g} past the minimum.",
        )
    report.table(
        "arrivals",
        ["x₀", "η", "momentum", "arrived at step", "leftmost x", "last x", "last f(x)"],
        [
            [*each[:3], each.arrival, each.points.x.min(), each.points.x[-1], each.points.f[-1]]
            for each in runs
        ],
        f"All paths. Each ends after {STEPS} steps.",
        dict.fromkeys(["leftmost x", "last x", "last f(x)"], ".4f"),
    )
    report.numbers(
        "paths",
        ["x₀", "η", "momentum", "step", "x", "f(x)", "f'(x)"],
        [[*each[:3], i, *point] for each in runs for i, point in enumerate(zip(*each.points, strict=True))],
        "All points of all paths:",
    )
    (small, small_momentum), (large, large_momentum), (flat, _) = pairs
    report.expect(
        f"With η = {small.rate:g}, plain gradient descent takes longer from {flat.start:g}, where the curve "
        f"is nearly flat, than from {small.start:g}.",
        f"From {flat.start:g}, where the slope is {flat.points.slope[0]:.4f}, it {_arrives(flat)}. From "
        f"{small.start:g}, where the slope is {small.points.slope[0]:.4f}, it {_arrives(small)}.",
        _steps(flat) > _steps(small),
    )
    report.expect(
        f"From {small.start:g}, momentum is faster with the small learning rate and slower with the large "
        "one: the average of past slopes then carries x far past the minimum, to where the curve is nearly "
        "flat.",
        f"With η = {small.rate:g} momentum {_arrives(small_momentum)}, plain descent {_arrives(small)}. With "
        f"η = {large.rate:g} momentum {_arrives(large_momentum)}, plain descent {_arrives(large)}. "
        f"The leftmost point with momentum is {large_momentum.points.x.min():.2f}, where the slope is "
        f"{large_momentum.points.slope[large_momentum.points.x.argmin()]:.4f}.",
        _steps(small_momentum) < _steps(small) and _steps(large_momentum) > _steps(large),
    )


def _steps(path: Path) -> float:
    return np.inf if path.arrival is None else path.arrival


def _arrives(path: Path) -> str:
    return (
        f"has not arrived after {STEPS} steps" if path.arrival is None else f"arrives at step {path.arrival}"
    )


def _on_the_curve(options: Options, pair: tuple[Path, Path], lowest: float, title: str) -> Figure:
    figure, axes = axes_of("x", "f(x)")
    x = np.linspace(min(-2.0, *(each.points.x.min() for each in pair)) - 0.3, 0.4, 300)
    axes.plot(x, curve(options, GELU, x).f, color=GREY, linewidth=1)
    axes.axvline(lowest, color=GREY, linewidth=1, linestyle=":")
    for each, lift in zip(pair, (0, 0.012), strict=True):
        n = STEPS if each.arrival is None else each.arrival
        points = each.points.x[: n + 1], each.points.f[: n + 1] + lift
        label = f"momentum: {each.momentum}"
        marker, color = MARKERS[each.momentum], COLORS[each.momentum]
        axes.plot(*points, marker, color=color, markersize=3, alpha=0.5, label=label)
    axes.set_title(title, fontsize=11)
    axes.set_ylim(-0.18, 0.12)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _against_steps(pair: tuple[Path, Path], lowest: float, title: str) -> Figure:
    figure, axes = axes_of("step", "x")
    end = int(min(1.15 * max(map(_steps, pair)) + 3, STEPS))
    for each in pair:
        label = f"momentum: {each.momentum}"
        dashes, color = DASHES[each.momentum], COLORS[each.momentum]
        axes.plot(each.points.x[: end + 1], dashes, color=color, label=label)
    axes.axhline(lowest, color=GREY, linewidth=1, linestyle=":")
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure
