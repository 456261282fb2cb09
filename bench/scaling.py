"""The figure of time and memory against size: `python -m bench.scaling FILE.json [FIGURE]` draws it.

FILE.json was written by `pytest --benchmark-only bench/test_scaling.py --benchmark-json=FILE.json`, or by the
same command for all of `bench`. The default FIGURE is `bench/scaling.png`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.points import MEMORY, PANELS, PARTS, SCALED
from bench.table import Record, load
from bench.workloads import Workload
from xpnet.plots.drawing import Figure, defaults, ticker

# The title and the label of the x axis of each panel.
TITLES = {
    "width": ("784-w-w-10, batch 128", "hidden units in a layer, w"),
    "depth": ("784-256-…-256-10, batch 128", "hidden layers"),
    "batch size": ("784-512-512-10", "batch size"),
    "data set": ("784-128-10, batch 64", "images in the data set"),
}
MEMORY_TITLES = ("784-512-512-10, Adam", "CNN: two 5×5 convolutions, SGD")
# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in shape, too.
STYLES: dict[str, dict[str, Any]] = {
    SCALED[0]: {"color": "#0072B2", "marker": "o"},
    SCALED[1]: {"color": "#D55E00", "marker": "s"},
    SCALED[2]: {"color": "black", "marker": "", "linestyle": "--", "label": "matrix products alone"},
}
MEMORY_STYLES: dict[str, dict[str, Any]] = {
    "peak of a step, xpnet on NumPy": {"color": "#56B4E9", "marker": "D"},
    "parameters + gradients + optimizer state + activations": {"color": "#009E73", "linestyle": "--"},
    "… without activations": {"color": "#CC79A7", "linestyle": ":"},
}


def draw(records: list[Record]) -> Figure:
    """The figure. KeyError where a point of it was not measured."""
    times = {(r["workload"], r["contestant"]): r for r in records if r["suite"] == "scaling"}
    sizes = {(r["network"], r["batch size"]): r for r in records if r["suite"] == "memory"}
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    axes = figure.subplots(2, 3)
    for (name, panel), ax in zip(PANELS.items(), axes.flat, strict=False):
        draw_times(ax, panel, times)
        title, xlabel = TITLES[name]
        finish(ax, title, xlabel, "time of a step (ms)", panel)
    for title, (network, panel), ax in zip(
        MEMORY_TITLES, MEMORY.items(), axes.flat[len(PANELS) :], strict=True
    ):
        draw_memory(ax, {n: sizes[network, n] for n in panel})
        finish(ax, title, "batch size", "memory of a step (MB)", panel)
    for letter, ax in zip("abcdef", axes.flat, strict=True):
        ax.set_title(f"({letter}) {ax.get_title()}", loc="left", fontsize=9.5)
        ax.set_title("")
    # A legend fills its columns first: this order puts times into the first row and memory into the second.
    lines = (ax.get_legend_handles_labels()[0] for ax in (axes.flat[0], axes.flat[len(PANELS)]))
    handles = [handle for pair in zip(*lines, strict=True) for handle in pair]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_times(ax: Any, panel: dict[int, Workload], times: dict[tuple[str, str], Record]) -> None:
    """For each contestant a line of medians over the rounds, and a band between the quartiles."""
    for name, style in STYLES.items():
        of_step = [
            1000 * record["batch size"] / record["images"] * np.percentile(record["seconds"], (25, 50, 75))
            for record in (times[workload.name, name] for workload in panel.values())
        ]
        low, median, high = np.transpose(of_step)
        ax.plot(list(panel), median, **({"label": name, "markersize": 4, "linewidth": 1.3} | style))
        ax.fill_between(list(panel), low, high, color=style["color"], alpha=0.2, linewidth=0)


def draw_memory(ax: Any, of_size: dict[int, Record]) -> None:
    """Lines of the peak, and of the sum of `PARTS` with and without activations."""
    records = of_size.values()
    lines = (
        [record["peak"] for record in records],
        [sum(record[part] for part in PARTS) for record in records],
        [sum(record[part] for part in PARTS if part != "activations") for record in records],
    )
    for line, (label, style) in zip(lines, MEMORY_STYLES.items(), strict=True):
        ax.plot(list(of_size), np.divide(line, 1e6), label=label, markersize=4, linewidth=1.3, **style)


def finish(ax: Any, title: str, xlabel: str, ylabel: str, ticks: Any) -> None:
    """Set title, labels, and log axes with plain numbers."""
    ax.set(xscale="log", yscale="log", title=title)
    ax.set_xlabel(xlabel, fontsize=9)
    ax.set_ylabel(ylabel, fontsize=9)
    ax.set_xticks(list(ticks), [f"{tick:,}" for tick in ticks])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(ticker.NullFormatter())
    ax.tick_params(labelsize=8)
    ax.grid(color="0.9", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def main(path: str, figure_path: str = str(Path(__file__).with_name("scaling.png"))) -> None:
    _, records = load(path)
    with defaults():  # whatever the user's matplotlibrc says
        try:
            figure = draw(records)
        except KeyError as missing:
            sys.exit(f"bench.scaling: {path} has no record of {missing}: run all of bench/test_scaling.py")
        figure.savefig(figure_path, dpi=200)
    print(figure_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
