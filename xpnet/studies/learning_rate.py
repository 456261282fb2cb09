"""Learning rates, from too small to too large.

Gradient descent takes steps of `-η ∂L/∂w`. The gradient describes the loss only nearby: a step that is too
long for the curvature increases the loss, and a step that is too short wastes time. On a quadratic function
with the largest curvature λ, gradient descent converges exactly for `0 < η < 2/λ`.
"""

import numpy as np

from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def run(options: Options, report: Report) -> None:
    """Train with each learning rate, and compare."""
    base = sweep.base_config(
        options, hidden=(128,), momentum=0.0, nesterov=False, l2=0.0,
        epochs=options.choose(20, quick=4), batch_size=50,
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base)
    seeds = options.seeds(options.choose(5, quick=2))
    rates = RATES[::2] if options.quick else RATES
    changes = {f"{rate:g}": {"learning_rate": rate} for rate in rates}
    variants = sweep.sweep(base, changes, seeds, examples)

    report.section("Curves")
    report.figure(
        [
            sweep.curves(variants, "train_loss", "learning rate", log=True),
            sweep.curves(variants, "validation_accuracy", "learning rate"),
        ],
        f"A network with 128 ReLUs, plain gradient descent in batches of {base.batch_size}: mean and range "
        f"over {len(seeds)} seeds. A line ends where the loss of a run was no longer finite.",
    )
    report.section(f"After {base.epochs} epochs")
    report.figure(
        [
            sweep.against(variants, rates, "learning rate", ["train_loss", "test_loss"]),
            sweep.against(variants, rates, "learning rate", ["train_accuracy", "test_accuracy"]),
        ],
        "Final loss and accuracy for each rate; rates without a point diverged.",
    )
    sweep.table(
        report,
        "learning-rate",
        variants,
        "learning rate",
        "Means over the seeds, and the range of the test accuracy.",
    )

    best = sweep.best(variants)
    i = variants.index(best)
    smallest, largest = variants[0], variants[-1]
    report.text(
        f"On the validation examples, {sweep.winners(variants)}, with "
        f"{best.mean('validation_accuracy'):.4f}. On the test examples: "
        f"{sweep.listed(sweep.ties(variants), 'test_accuracy')}. With the smallest rate, {smallest.label}, "
        f"training reaches a loss of {smallest.mean('train_loss'):.4g} in the same number of steps, with "
        f"{best.label} of {best.mean('train_loss'):.4g}. {fate(largest)}"
    )
    report.expect(
        "The best rate is neither the smallest nor the largest.",
        f"{best.label} of {', '.join(changes)}.",
        0 < i < len(variants) - 1,
    )
    up_to_best = [variant.mean("train_loss") for variant in variants[: i + 1]]
    report.expect(
        "Up to the best rate, each larger rate trains faster: the final training loss falls.",
        f"{sweep.listed(variants[: i + 1], 'train_loss', '.4g')}.",
        bool(np.all(np.diff(up_to_best) < 0)),
    )
    report.expect(
        f"The largest rate, {largest.label}, fails: it diverges, or ends with a higher training loss than "
        "the best.",
        fate(largest),
        bool(largest.diverged) or largest.mean("train_loss") > best.mean("train_loss"),
    )


def fate(variant: sweep.Variant) -> str:
    """Whether the runs with a rate diverged, in a sentence."""
    if variant.diverged:
        return f"With {variant.label}, {variant.diverged} of {len(variant.runs)} runs diverged."
    loss = variant.mean("train_loss")
    return f"With {variant.label}, no run diverged, and the training loss ended at {loss:.4g}."
