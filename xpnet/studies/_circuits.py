"""The hand-set networks of `logic_gates` as a table and as drawings."""

from collections.abc import Mapping, Sequence
from typing import Any

from xpnet.plots.drawing import Figure

Units = Mapping[str, Sequence[float]]  # the weights of a unit, then its bias
Circuits = Mapping[str, tuple[str, str, str]]  # the units of a network: two hidden ones, then the output


def rows(units: Units, circuits: Circuits) -> list[list[Any]]:
    """A row for each unit of each network: gate, network, unit, the gate that the unit is, weights, bias."""
    found: list[list[Any]] = []
    for gate, unit in units.items():
        *weights, bias = unit
        found.append(
            [gate, f"{len(weights)}-1", "output", gate, *weights, *[None] * (2 - len(weights)), bias]
        )
    for gate, names in circuits.items():
        for place, name in zip(("hidden 1", "hidden 2", "output"), names, strict=True):
            found.append([gate, "2-2-1", place, name, *units[name]])
    return found


def drawing(gate: str, units: Units, circuits: Circuits) -> Figure:
    """The network of two hidden units and an output: weights on the lines, biases in the units."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(-0.25, 2.45), ylim=(-0.4, 1.45))
    *hidden, output = circuits[gate]
    places = {
        (0, 0): (0.0, 1.0),
        (0, 1): (0.0, 0.0),
        (1, 0): (1.0, 1.0),
        (1, 1): (1.0, 0.0),
        (2, 0): (2.0, 0.5),
    }
    lines = [((0, i), (1, j), units[hidden[j]][i]) for i in range(2) for j in range(2)]
    lines += [((1, j), (2, 0), units[output][j]) for j in range(2)]
    for start, end, weight in lines:
        (x, y), (to_x, to_y) = places[start], places[end]
        color = "#1f77b4" if weight > 0 else "#c0392b"
        axes.plot([x, to_x], [y, to_y], color=color, linewidth=1.5, zorder=1)
        axes.text(
            x + 0.3 * (to_x - x), y + 0.3 * (to_y - y), f"{weight:g}", color=color, fontsize=10,
            ha="center", va="center", zorder=2, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    labels = {(0, 0): "x₁", (0, 1): "x₂", (2, 0): f"{units[output][-1]:g}"}
    labels |= {(1, j): f"{units[name][-1]:g}" for j, name in enumerate(hidden)}
    names = {(1, j): name for j, name in enumerate(hidden)} | {(2, 0): output}
    for place, (x, y) in places.items():
        axes.scatter(x, y, s=1100, color="white", edgecolor="#666666", zorder=3)
        axes.text(x, y, labels[place], ha="center", va="center", fontsize=10, zorder=4)
        if place in names:
            axes.text(x, y + 0.27, names[place], ha="center", fontsize=10, zorder=4)
    axes.text(2.2, 0.5, gate, va="center", fontsize=11)
    return figure
