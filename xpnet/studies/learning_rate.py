"""Learning rates, from too small to too large.

Gradient descent takes steps of `-η ∂L/∂w`. The gradient describes the loss only nearby: a step that is too
long for the curvature increases the loss, and a step that is too short wastes time. On a quadratic function
with the largest curvature λ, gradient descent converges exactly for `0 < η < 2/λ`.

All other options are those of a config: `scripts/configs/two_layer.yaml`, or another one with `--base`.
"""

from xpnet._util.text import some
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

RATES = (0.001, 0.01, 0.05, 0.1, 1.0, 10.0, 100.0)
QUICK = (0.001, 0.1, 1.0, 100.0)


def run(options: Options, report: Report, *, base: sweep.Base = "two_layer") -> None:
    """Train with each learning rate, and compare.

    Arguments:
        base: the config whose learning rate is changed, and nothing else
    """
    config = sweep.base_config(options, **sweep.BASES[base])
    report.config(config)
    examples = sweep.load(options, report, config)
    seeds = options.seeds(options.choose(examples.choose(5, large=3), quick=2))
    rates = options.choose(RATES, quick=QUICK)
    changes = {f"{rate:g}": {"learning_rate": rate} for rate in rates}
    variants = sweep.sweep(config, changes, seeds, examples, options.process_count())

    report.section("Curves")
    report.figure(
        [sweep.curves(variants, quantity, "learning rate", log=True) for quantity in sweep.LOSSES],
        f"Loss on the training and on the validation images at the end of each epoch, with the options of "
        f"`{base}.yaml`: mean and range over {some(len(seeds), 'seed')}. A line ends where the loss of a "
        "run was no longer finite.",
    )
    report.figure(
        [sweep.curves(variants, quantity, "learning rate") for quantity in sweep.ACCURACIES],
        "Accuracy on the training and on the validation images at the end of each epoch.",
    )
    report.section(f"After {config.epochs} epochs")
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
    steps = config.epochs * -(-len(examples.train.y) // config.batch_size)
    conclude(report, variants, steps)


def conclude(report: Report, variants: list[sweep.Variant], steps: int) -> None:
    """Add the conclusions about runs of so many steps, and compare expectations with results."""
    best = sweep.best(variants)
    i = variants.index(best)
    smallest, largest = variants[0], variants[-1]
    report.text(
        f"On the validation examples {sweep.winners(variants, 'η = ')}, with an accuracy of "
        f"{best.mean('validation_accuracy'):.4f}. On the test examples: "
        f"{sweep.listed(sweep.ties(variants), 'test_accuracy')}. Each run makes {steps:,} steps; the "
        f"training loss falls to {smallest.mean('train_loss'):.4g} with the smallest rate, {smallest.label}, "
        f"and to {best.mean('train_loss'):.4g} with {best.label}. {fate(largest)}"
    )
    report.expect(
        "The best rate is neither the smallest nor the largest.",
        f"{best.label} of {', '.join(variant.label for variant in variants)}.",
        0 < i < len(variants) - 1,
    )
    slower = variants[:i]
    report.expect(
        "Every rate below the best ends with a higher training loss: it is too slow.",
        f"{sweep.listed(variants[: i + 1], 'train_loss', '.4g')}.",
        all(variant.mean("train_loss") > best.mean("train_loss") for variant in slower),
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
