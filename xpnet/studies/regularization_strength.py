"""The strength of the L2 penalty.

The penalty adds `λ/2 · Σw²` over all weights to the loss, and `λw` to their gradients: each step also
multiplies every weight by `1 - ηλ`. Weights that do not help to fit the training examples shrink; this can
keep a large network from memorising a small training set. Too strong a penalty also prevents the fit. (Krogh
and Hertz, "A simple weight decay can improve generalization", 1991.)

All other options are those of a config: `scripts/configs/two_layer.yaml`, or another one with `--base`.
"""

from collections.abc import Sequence

import numpy as np

from xpnet._util.text import some
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

STRENGTHS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def run(options: Options, report: Report, *, base: sweep.Base = "two_layer") -> None:
    """Train with each strength, and compare.

    Arguments:
        base: the config whose L2 penalty is changed, and nothing else
    """
    config = sweep.base_config(options, **sweep.BASES[base])
    report.config(config)
    examples = sweep.load(options, report, config)
    seeds = options.seeds(options.choose(examples.choose(5, large=3), quick=2))
    strengths = options.choose(STRENGTHS, quick=STRENGTHS[::2] + STRENGTHS[-1:])
    changes = {f"{strength:g}": {"l2": strength} for strength in strengths}
    variants = sweep.sweep(config, changes, seeds, examples, options.process_count())

    report.section("Curves")
    report.figure(
        [sweep.curves(variants, quantity, "λ", log=True) for quantity in sweep.LOSSES],
        "Loss, with the penalty, on the training and on the validation images at the end of each epoch, with "
        f"the options of `{base}.yaml`: mean and range over {some(len(seeds), 'seed')}.",
    )
    report.figure(
        [sweep.curves(variants, quantity, "λ") for quantity in sweep.ACCURACIES],
        "Accuracy on the training and on the validation images at the end of each epoch.",
    )
    report.section(f"After {config.epochs} epochs")
    report.figure(
        [
            sweep.against(
                variants, strengths, "λ", ["train_accuracy", "validation_accuracy", "test_accuracy"]
            ),
            sweep.against(variants, strengths, "λ", ["weight_norm"]),
        ],
        "Accuracy, and the norm √Σw² of all weights, against the strength of the penalty.",
    )
    sweep.table(
        report, "regularization-strength", variants, "λ",
        "Means over the seeds, and the range of the test accuracy. The gap is the training accuracy minus "
        "the test accuracy. The losses include the penalty.", ["gap", "weight_norm"],
    )  # fmt: skip
    conclude(report, variants, examples)


def conclude(report: Report, variants: Sequence[sweep.Variant], examples: sweep.Data) -> None:
    """Add the conclusions, and compare expectations with results."""
    none, strongest, best = variants[0], variants[-1], sweep.best(variants)
    spread = float(np.ptp(none.final("test_accuracy")))
    report.text(
        f"Without a penalty, the final training accuracy is {none.mean('train_accuracy'):.2%} and the test "
        f"accuracy {none.mean('test_accuracy'):.2%}: a gap of {100 * none.mean('gap'):.2f} points, which is "
        "all that a penalty could close. Over the seeds, the test accuracy without a penalty varies by "
        f"{100 * spread:.2f} points. {verdict(none, best, sweep.ties(variants))}"
    )
    report.text(
        f"With the strongest penalty, λ = {strongest.label}, the weights shrink to a norm of "
        f"{strongest.mean('weight_norm'):.3g}, from {none.mean('weight_norm'):.3g} without a penalty, and "
        f"the training accuracy is {strongest.mean('train_accuracy'):.2%}."
    )
    norms = [variant.mean("weight_norm") for variant in variants]
    report.expect(
        "A stronger penalty makes the weights smaller: √Σw² falls with each larger λ.",
        f"{sweep.listed(variants, 'weight_norm', '.4g')}.",
        bool(np.all(np.diff(norms) < 0)),
    )
    report.expect(
        "Too strong a penalty prevents the fit: the strongest lowers the training accuracy.",
        f"{sweep.listed(variants, 'train_accuracy')}.",
        strongest.mean("train_accuracy") < none.mean("train_accuracy"),
    )
    chance = 1 / examples.classes
    report.expect(
        f"With λ = {strongest.label} the penalty outweighs the loss: the training accuracy is less than "
        f"twice that of chance, {chance:.0%}.",
        f"{sweep.listed([strongest], 'train_accuracy')}.",
        strongest.mean("train_accuracy") < 2 * chance,
    )
    report.expect(
        f"The strongest penalty is worse on the validation images than all λ up to {variants[-3].label}.",
        f"{sweep.listed(variants, 'validation_accuracy')}.",
        strongest.mean("validation_accuracy") < min(v.mean("validation_accuracy") for v in variants[:-2]),
    )


def verdict(none: sweep.Variant, best: sweep.Variant, equal: Sequence[sweep.Variant]) -> str:
    """Whether a penalty helps, in a sentence; `equal` look as good as the best."""
    others = [f"λ = {variant.label}" for variant in equal if variant is not best]
    also = f", and as good is {sweep.together(others)}" if others else ""
    if best is none:
        return f"On the validation images, training without a penalty is best{also}."
    gain = 100 * (best.mean("test_accuracy") - none.mean("test_accuracy"))
    return (
        f"On the validation images λ = {best.label} is best{also}; its test accuracy is "
        f"{best.mean('test_accuracy'):.2%}, {abs(gain):.2f} points {'more' if gain > 0 else 'less'} than "
        "without a penalty."
    )
