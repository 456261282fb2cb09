"""Batch sizes: many noisy steps, or few precise ones.

The gradient of a batch is the mean over its B examples. Its noise falls as `1/√B`, and an epoch has `n/B`
steps: a batch four times as large halves the noise and quarters the number of steps. With a learning rate in
proportion to B, one large step moves about as far as k small ones, as long as the gradient changes little in
between. (Goyal et al., "Accurate, large minibatch SGD", 2017.) Large batches pay where the hardware processes
them faster.
"""

from dataclasses import replace

import numpy as np

from xpnet._util.text import some
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

SIZES = (10, 30, 100, 300, 1000)
RATE, OF_SIZE = 0.05, 30  # the learning rate, and the batch size that has it where rates are in proportion


def run(options: Options, report: Report) -> None:
    """Train with each batch size, at the same learning rate and at a rate in proportion."""
    base = sweep.base_config(
        options, hidden=(128,), learning_rate=RATE, momentum=0.0, nesterov=False, l2=0.0,
        epochs=options.choose(20, quick=4),
    )  # fmt: skip
    examples = sweep.load(options, report, base, examples=options.choose(None, quick=1500))
    base = replace(base, epochs=examples.choose(base.epochs, large=min(base.epochs, 5)))
    report.config(base)
    seeds = options.seeds(options.choose(examples.choose(5, large=3), quick=2))
    processes = options.process_count()
    n = len(examples.train.x)

    report.section("The same learning rate")
    same = sweep.sweep(base, {f"{size}": {"batch_size": size} for size in SIZES}, seeds, examples, processes)
    show(report, "batch-size", same, f"Learning rate {RATE} with all batch sizes")
    smallest, largest = same[0], same[-1]
    steps = {variant: -(-n // variant.config.batch_size) for variant in (smallest, largest)}
    report.text(
        f"Batches of {smallest.label} make {steps[smallest]:,} steps an epoch, batches of {largest.label} "
        f"only {steps[largest]:,}. After {base.epochs} epochs the training loss is "
        f"{smallest.mean('train_loss'):.4g} with batches of {smallest.label} and "
        f"{largest.mean('train_loss'):.4g} with batches of {largest.label}. An epoch took "
        f"{smallest.mean('seconds'):.3g} s and {largest.mean('seconds'):.3g} s."
    )
    report.expect(
        "With the same learning rate and number of epochs, the training loss rises with the batch size.",
        f"{sweep.listed(same, 'train_loss', '.4g')}.",
        rises([variant.mean("train_loss") for variant in same]),
    )
    report.expect(
        "An epoch with the largest batches takes less time than one with the smallest.",
        f"{sweep.listed([smallest, largest], 'seconds', '.3g')}, in seconds.",
        largest.mean("seconds") < smallest.mean("seconds"),
    )

    report.section("A learning rate in proportion to the batch size")
    rates = {size: RATE * size / OF_SIZE for size in SIZES}
    labels = {size: f"{size}, η = {rate:.3g}" for size, rate in rates.items()}
    changes = {
        labels[size]: {"batch_size": size, "learning_rate": rates[size]} for size in SIZES if size != OF_SIZE
    }
    scaled = sweep.sweep(base, changes, seeds, examples, processes)
    i = SIZES.index(OF_SIZE)  # it is trained already, at this rate
    scaled.insert(i, replace(same[i], label=labels[OF_SIZE]))
    show(report, "scaled-learning-rate", scaled, f"Learning rate η = {RATE} · B/{OF_SIZE}")
    spread_same, spread_scaled = spread(same), spread(scaled)
    report.text(
        f"Over the batch sizes up to {SIZES[-2]}, the final training loss differs by a factor of "
        f"{spread_same:.3g} with the same learning rate, and of {spread_scaled:.3g} with a rate in "
        f"proportion. With batches of {SIZES[-1]} and η = {scaled[-1].config.learning_rate:.3g}, "
        + (
            f"{scaled[-1].diverged} of {len(seeds)} runs diverged."
            if scaled[-1].diverged
            else f"the training loss is {scaled[-1].mean('train_loss'):.4g}."
        )
    )
    report.expect(
        f"Up to {SIZES[-2]}, a learning rate in proportion makes the training losses of the batch sizes more "
        "similar.",
        f"Largest over least loss: {spread_scaled:.3g} in proportion, {spread_same:.3g} with the same rate.",
        spread_scaled < spread_same,
    )


def show(report: Report, name: str, variants: list[sweep.Variant], caption: str) -> None:
    """Add the curves and the table of some variants."""
    report.figure(
        [
            sweep.curves(variants, "train_loss", "batch size", log=True),
            sweep.curves(variants, "validation_accuracy", "batch size"),
        ],
        f"{caption}: mean and range over {some(len(variants[0].runs), 'seed')}.",
    )
    sweep.table(
        report, name, variants, "batch size",
        "Means over the seeds, and the range of the test accuracy; seconds per epoch.", ["seconds"],
    )  # fmt: skip


def rises(values: list[float]) -> bool:
    """Whether each value is above the one before."""
    return bool(np.all(np.diff(values) > 0))


def spread(variants: list[sweep.Variant]) -> float:
    """The largest over the least training loss, except for the largest batches."""
    values = [variant.mean("train_loss") for variant in variants[:-1]]
    return max(values) / min(values)
