"""Deeper or wider: networks of 0 to 4 hidden layers.

A fully connected layer from n to m units has `(n + 1)m` parameters. Wider layers have more features to choose
from, and deeper networks build features from features. A network without hidden layers is softmax regression:
it separates the classes by planes, however long it is trained.
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from xpnet._util.text import some
from xpnet.plots.drawing import Figure
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

DEPTHS = (1, 2, 3, 4)
WIDTHS = (8, 32, 128, 512)

Grid = dict[tuple[int, int], sweep.Variant]


def run(options: Options, report: Report) -> None:
    """Train a grid of networks, and compare them by depth, width and number of parameters."""
    base = sweep.base_config(
        options, learning_rate=0.05, momentum=0.9, nesterov=True, l2=0.0,
        epochs=options.choose(20, quick=4), batch_size=50,
    )  # fmt: skip
    examples = sweep.load(options, report, base)
    base = replace(base, epochs=examples.choose(base.epochs, large=min(base.epochs, 5)))
    report.config(base)
    seeds = options.seeds(options.choose(examples.choose(3, large=2), quick=2))
    depths, widths = options.choose((DEPTHS, WIDTHS), quick=((1, 3), (8, 32, 128)))
    sizes = [(depth, width) for depth in depths for width in widths]
    changes = {"none": {"hidden": ()}} | {
        f"{depth} x {width}": {"hidden": (width,) * depth} for depth, width in sizes
    }
    linear, *others = variants = sweep.sweep(base, changes, seeds, examples, options.process_count())
    grid = dict(zip(sizes, others, strict=True))

    report.section("Accuracy and size")
    report.figure(
        [by_parameters(linear, grid, quantity) for quantity in ("train_accuracy", "validation_accuracy")],
        f"After {base.epochs} epochs: mean and range over {some(len(seeds), 'seed')}. A line joins networks "
        "of the same depth, wider to the right.",
    )
    sweep.table(
        report, "depth-and-width", variants, "hidden layers",
        "Means over the seeds, and the range of the test accuracy; seconds per epoch.", ["seconds"],
    )  # fmt: skip
    report.section("Curves")
    deepest, widest = depths[-1], widths[-1]
    report.figure(
        [
            sweep.curves(
                [linear, *(grid[depth, widest] for depth in depths)], "train_loss", "hidden layers", log=True
            ),
            sweep.curves(
                [linear, *(grid[1, width] for width in widths)], "train_loss", "hidden layers", log=True
            ),
        ],
        f"Training loss of networks with {widest} units a layer, left, and with one hidden layer, right.",
    )

    best = sweep.best(variants)
    report.text(
        f"On the validation examples {sweep.winners(variants)}, with an accuracy of "
        f"{best.mean('validation_accuracy'):.4f}. On the test examples: "
        f"{sweep.listed(sweep.ties(variants), 'test_accuracy')}. The best has {best.parameters:,} "
        f"parameters. Softmax regression, without hidden layers, has {linear.mean('test_accuracy'):.4f}."
    )
    report.text(largest_jump(grid.values()))
    one, deep = grid[1, widest], grid[deepest, widest]
    report.text(
        f"With {widest} units a layer, going from 1 to {deepest} hidden layers changes the validation "
        f"accuracy by {100 * (deep.mean('validation_accuracy') - one.mean('validation_accuracy')):+.2f} "
        f"points; with one hidden layer, going from {widths[0]} to {widest} units changes it by "
        f"{100 * (one.mean('validation_accuracy') - grid[1, widths[0]].mean('validation_accuracy')):+.2f} "
        "points."
    )
    for depth in depths:
        of_depth = [grid[depth, width] for width in widths]
        lowest = [f"{lowest_loss(variant).mean():.4g} with {variant.label}" for variant in of_depth]
        report.expect(
            f"With {depth} hidden layer{'s' if depth > 1 else ''}, wider networks fit the training "
            "examples better: the lowest loss of an epoch falls with each width, until a network has "
            "every example right.",
            f"{'; '.join(lowest)}.",
            all(
                lowest_loss(b).mean() < lowest_loss(a).mean() or has_all_right(a, b)
                for a, b in itertools.pairwise(of_depth)
            ),
        )
    report.expect(
        f"A hidden layer of {widest} units is better on the validation examples than none.",
        f"{sweep.listed([one, linear], 'validation_accuracy')}.",
        one.mean("validation_accuracy") > linear.mean("validation_accuracy"),
    )


def lowest_loss(variant: sweep.Variant) -> np.ndarray:
    """The lowest training loss after an epoch of each run, (runs,); nan if it diverged."""
    lowest: np.ndarray = variant.curve("train_loss").min(1)
    return lowest


def largest_jump(variants: Iterable[sweep.Variant]) -> str:
    """The run whose loss ends highest above its lowest: why a last epoch alone says little."""
    jump, run, variant = max(
        (
            (last / lowest, run, variant)
            for variant in variants
            for last, lowest, run in zip(
                variant.final("train_loss"), lowest_loss(variant), variant.runs, strict=True
            )
            if last > lowest
        ),
        key=lambda each: each[0],
        default=(1.0, None, None),
    )
    if run is None or variant is None:
        return "In every run, the last epoch has the lowest training loss."
    return (
        "All networks have one learning rate, at which the loss of some jumps now and then: the training "
        f"loss of {variant.label} with seed {run.seed} ends {jump:.3g} times as high as in an earlier epoch."
    )


def has_all_right(*variants: sweep.Variant) -> bool:
    """Whether each run of each variant had, after some epoch, every training example right."""
    return all(bool(np.all(variant.curve("train_accuracy").max(1) == 1)) for variant in variants)


def by_parameters(linear: sweep.Variant, grid: Grid, quantity: str) -> Figure:
    """A quantity against the number of parameters, with a line for each depth."""
    figure, axes = sweep.axes_of("parameters", quantity.replace("_", " "))
    lines = {0: [linear]}
    for (depth, _), variant in grid.items():
        lines.setdefault(depth, []).append(variant)
    for (depth, variants), style in zip(lines.items(), sweep.styles(len(lines)), strict=True):
        finals = np.array([variant.final(quantity) for variant in variants])
        mean = finals.mean(1)
        bars = np.array([mean - finals.min(1), finals.max(1) - mean])
        axes.errorbar(
            [variant.parameters for variant in variants], mean, bars,
            label=str(depth), markersize=4, capsize=3, **style,
        )  # fmt: skip
    axes.set_xscale("log")
    sweep.legend(figure, "hidden layers")
    return figure
