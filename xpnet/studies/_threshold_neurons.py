"""The first half of `logic_gates`: gates that one threshold neuron can be, and a proof for the others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from xpnet import nn
from xpnet.plots.drawing import Figure
from xpnet.studies.options import Options
from xpnet.studies.report import Report

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
GATES = {  # the output for each row of INPUTS; NOT has one input, 0 or 1
    "NOT": np.array([1, 0]),
    "AND": np.array([0, 0, 0, 1]),
    "OR": np.array([0, 1, 1, 1]),
    "NAND": np.array([1, 1, 1, 0]),
    "NOR": np.array([1, 0, 0, 0]),
    "XOR": np.array([0, 1, 1, 0]),
    "XNOR": np.array([1, 0, 0, 1]),
}
NEURONS = ("AND", "OR", "XOR", "XNOR")  # the gates to try with one threshold neuron
GRID = np.arange(-32, 33) / 16  # of w₁, w₂ and b: sixteenths, whose sums are exact


class Search(NamedTuple):
    """The neurons on a grid: how many are `perfect`, and how many of 4 rows the `best` gets right."""

    units: int
    perfect: int
    best: int


class Separation(NamedTuple):
    """The result of linear programming for one threshold neuron.

    Either weights (w₁, w₂, b) that satisfy all inequalities A (w₁, w₂, b) ≥ c, with c = `sides`, or a
    certificate y ≥ 0 that no such weights exist: yᵀA = 0 although yᵀc > 0.
    """

    inequalities: np.ndarray
    sides: np.ndarray
    weights: np.ndarray | None
    certificate: np.ndarray | None


def search(options: Options, gate: str) -> Search:
    """Try all threshold neurons with w₁, w₂ and b on the grid, as the outputs of one `Linear`."""
    backend = options.make_backend("float64")
    w1, w2, b = (axis.ravel() for axis in np.meshgrid(GRID, GRID, GRID))
    params = {"weight": backend.asarray(np.stack([w1, w2])), "bias": backend.asarray(b)}
    z, _ = nn.Linear(2, len(b)).forward(params, backend.asarray(INPUTS))
    fires = threshold(backend.to_numpy(z))
    right = (fires == GATES[gate][:, None]).sum(axis=0)
    return Search(len(b), int((right == len(INPUTS)).sum()), int(right.max()))


def threshold(z: np.ndarray) -> np.ndarray:
    """1 where z ≥ 0, else 0: at exactly 0 the neuron fires."""
    return (z >= 0).astype(int)


def separate(gate: str) -> Separation:
    """Weights for one threshold neuron, or a certificate (Farkas' lemma) that none exist.

    The neuron is right if w·x + b ≥ 0 where the gate gives 1, and w·x + b < 0 where it gives 0. Weights for
    that can be scaled up until -(w·x + b) ≥ 1 in the second case: an inequality for each input. The weights
    returned have w·x + b ≥ 1 in the first case too, so that no rounding error changes an output.
    """
    signs = 2 * GATES[gate][:, None] - 1
    inequalities = signs * np.column_stack([INPUTS, np.ones(len(INPUTS))]) + 0.0  # no -0
    sides = 1.0 - GATES[gate]
    one = np.ones(len(INPUTS))
    found = optimize.linprog(np.zeros(3), A_ub=-inequalities, b_ub=-one, bounds=(None, None))
    if found.success:
        return Separation(inequalities, sides, found.x, None)
    refuted = optimize.linprog(-sides, A_eq=inequalities.T, b_eq=np.zeros(3), bounds=(0, 1))
    return Separation(inequalities, sides, None, refuted.x)


def threshold_neuron(options: Options, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w·x + b of the neuron with weights (w₁, w₂, b) for the four inputs, and its outputs, (4,) each."""
    backend = options.make_backend("float64")
    params = {"weight": backend.asarray(weights[:2, None]), "bias": backend.asarray(weights[2:])}
    z, _ = nn.Linear(2, 1).forward(params, backend.asarray(INPUTS))
    values = backend.to_numpy(z)[:, 0]
    return values, threshold(values)


def run(options: Options, report: Report) -> None:
    """Find weights for each gate, or prove that none exist."""
    _neurons(options, report)
    _certificates(report)


def _neurons(options: Options, report: Report) -> None:
    report.section("One threshold neuron")
    separations = {gate: separate(gate) for gate in NEURONS}
    found = {gate: search(options, gate) for gate in NEURONS}
    report.text(
        "A threshold neuron gives 1 where w₁x₁ + w₂x₂ + b ≥ 0, and 0 where it is below 0. Linear programming "
        "finds weights that are right for all four inputs, or shows that none exist. As an independent "
        f"check, all neurons with w₁, w₂ and b from {GRID[0]:g} to {GRID[-1]:g} in steps of "
        f"1/{1 / (GRID[1] - GRID[0]):g} are tried: {found['AND'].units:,}."
    )
    report.table(
        "neurons",
        ["gate", "w₁", "w₂", "b", "right on the grid", "most inputs right"],
        [
            [
                gate,
                *([None] * 3 if each.weights is None else each.weights),
                found[gate].perfect,
                found[gate].best,
            ]
            for gate, each in separations.items()
        ],
        "Weights from linear programming; the number of neurons on the grid that are right for all four "
        "inputs; and the number of inputs for which the best neuron is right.",
    )
    report.figure(
        _planes(separations),
        "The plane of the inputs. Full circles are inputs with output 1; the neuron fires on the blue side "
        "of its line. For XOR and XNOR, the segments between equal outputs cross, so no line separates "
        "them.",
    )
    edge = np.array([1.0, 1.0, -2.0])
    z, fires = threshold_neuron(options, edge)
    report.text(
        f"At exactly 0 the neuron fires: with w = (1, 1) and b = -2, the inputs in the order of the truth "
        f"table give w·x + b = {', '.join(f'{each:g}' for each in z)}, and the outputs "
        f"{', '.join(map(str, fires))}: "
        + (
            f"{' or '.join(same)}."
            if (same := [g for g in NEURONS if np.array_equal(fires, GATES[g])])
            else "no gate."
        )
    )
    found_outputs = {
        gate: threshold_neuron(options, each.weights)
        for gate, each in separations.items()
        if each.weights is not None
    }
    report.table(
        "neuron-outputs",
        ["gate", "x₁", "x₂", "w·x + b", "output", "gate gives"],
        [
            [gate, *map(int, x), *values]
            for gate, (zs, outputs) in found_outputs.items()
            for x, *values in zip(INPUTS, zs, outputs, GATES[gate], strict=True)
        ],
        "The neurons with the weights from linear programming, input by input.",
    )
    right = [gate for gate, (_, outputs) in found_outputs.items() if np.array_equal(outputs, GATES[gate])]
    report.expect(
        "One threshold neuron can be AND or OR.",
        f"Weights that are right for all four inputs were found for {in_words(right)}.",
        right == ["AND", "OR"],
    )
    without = [gate for gate in NEURONS if found[gate].perfect == 0]
    report.expect(
        "For XOR and XNOR, no neuron on the grid is right for more than three inputs.",
        f"No neuron is right for all four inputs of {in_words(without)}; the best are right for "
        f"{' and '.join(str(found[gate].best) for gate in without)}.",
        without == ["XOR", "XNOR"] and all(found[gate].best == 3 for gate in without),
    )


def _certificates(report: Report) -> None:
    report.section("Why one neuron cannot be XOR or XNOR")
    report.text(
        "A neuron is right if w₁x₁ + w₂x₂ + b ≥ 0 for the inputs where the gate gives 1, and below 0 where "
        "it gives 0. In the second case w and b can be scaled up until -(w₁x₁ + w₂x₂ + b) ≥ 1 for each of "
        "these inputs. Linear programming finds a factor y ≥ 0 for each inequality such that the sum is a "
        "contradiction: on the left all weights cancel, and on the right is a number above 0. By Farkas' "
        "lemma such factors exist whenever no weights do."
    )
    proofs = {}
    for gate in ("XOR", "XNOR"):
        inequalities, sides, _, y = separate(gate)
        if y is None:
            continue
        total, right = y @ inequalities, float(y @ sides)
        rows = [
            [f"({x[0]:g}, {x[1]:g})", int(output), *row, side, factor]
            for x, output, row, side, factor in zip(INPUTS, GATES[gate], inequalities, sides, y, strict=True)
        ]
        report.table(
            f"certificate-{gate.lower()}",
            ["input", gate, "w₁", "w₂", "b", "≥", "times y"],
            [*rows, ["sum", None, *total, right, None]],
            f"The inequalities of {gate}: the columns hold the coefficients of w₁, w₂ and b. The last row is "
            "the sum of the inequalities, each times its y.",
            dict.fromkeys(("w₁", "w₂", "b", "≥", "times y"), "g"),
        )
        proofs[gate] = np.allclose(total, 0, atol=1e-9) and y.min() >= 0 and right > 0.5
        left = " + ".join(f"{each:g} {name}" for each, name in zip(total, ("w₁", "w₂", "b"), strict=True))
        report.text(f"So weights for {gate} would have to satisfy {left} ≥ {right:g}, which is impossible.")
    proved = [gate for gate, holds in proofs.items() if holds]
    report.expect(
        "A certificate proves that no threshold neuron can be XOR or XNOR.",
        f"Certificates exist for {in_words(proved)}.",
        proved == ["XOR", "XNOR"],
    )


def in_words(names: list[str]) -> str:
    """The names, or "none"."""
    return ", ".join(names) or "none"


def draw_points(axes: Any, gate: str) -> None:
    """The four inputs in the plane, full where the gate gives 1."""
    for x, output in zip(INPUTS, GATES[gate], strict=True):
        face = "black" if output else "white"
        axes.plot(*x, "o", color="black", markerfacecolor=face, markersize=8, clip_on=False, zorder=4)
    axes.set(xlim=(-0.4, 1.4), ylim=(-0.4, 1.4), aspect="equal", xticks=[0, 1], yticks=[0, 1])


def _planes(separations: Mapping[str, Separation]) -> Figure:
    figure = Figure(figsize=(5.2, 5.4), layout="constrained")
    grid = np.linspace(-0.4, 1.4, 181)
    for axes, (gate, separation) in zip(figure.subplots(2, 2).flat, separations.items(), strict=True):
        draw_points(axes, gate)
        axes.set_title(gate, fontsize=11)
        if separation.weights is not None:
            w1, w2, b = separation.weights
            z = w1 * grid + w2 * grid[:, None] + b
            axes.contourf(grid, grid, z >= 0, levels=[0.5, 1.5], colors=["#cfe1f2"])
            axes.contour(grid, grid, z, levels=[0], colors=["#1f77b4"])
        else:
            for output in (0, 1):
                axes.plot(*INPUTS[GATES[gate] == output].T, color="#d95f02", linewidth=2)
    return figure
