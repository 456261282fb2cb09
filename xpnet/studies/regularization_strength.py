"""The strength of the L2 penalty.

The penalty adds `λ/2 · Σw²` over all weights to the loss, and `λw` to their gradients: each step also
multiplies every weight by `1 - ηλ`. Weights that do not help to fit the training examples shrink; this keeps
a large network from memorising a small training set. Too strong a penalty also prevents the fit. (Krogh and
Hertz, "A simple weight decay can improve generalization", 1991.)
"""

from collections.abc import Sequence

import numpy as np

from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

STRENGTHS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def run(options: Options, report: Report) -> None:
    """Train on few examples with each strength, and compare."""
    base = sweep.base_config(
        options, hidden=(256,), learning_rate=0.1, momentum=0.9, nesterov=True,
        epochs=options.choose(50, quick=15), batch_size=50,
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base, examples=1250)
    seeds = options.seeds(options.choose(5, quick=2))
    strengths = (0.0, 1e-3, 1e-2, 1e-1) if options.quick else STRENGTHS
    changes = {f"{strength:g}": {"l2": strength} for strength in strengths}
    variants = sweep.sweep(base, changes, seeds, examples)

    report.section("Curves")
    report.figure(
        [
            sweep.curves(variants, "train_accuracy", "λ"),
            sweep.curves(variants, "validation_accuracy", "λ"),
        ],
        f"A network with 256 ReLUs on {len(examples.train.x):,} training images: mean and range over "
        f"{len(seeds)} seeds.",
    )
    report.section(f"After {base.epochs} epochs")
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
        "Means over the seeds, and the range of "
        "the test accuracy. The losses include the penalty.", ["weight_norm"],
    )  # fmt: skip

    none, strongest, best = variants[0], variants[-1], sweep.best(variants)
    report.text(
        f"Without a penalty, the final training accuracy is {none.mean('train_accuracy'):.2%}, and the test "
        f"accuracy {none.mean('test_accuracy'):.2%}. With the strongest penalty, λ = {strongest.label}, the "
        f"training accuracy is {strongest.mean('train_accuracy'):.2%}. "
        f"{verdict(none, best, sweep.ties(variants))}"
    )
    norms = [variant.mean("weight_norm") for variant in variants]
    report.expect(
        "A stronger penalty makes the weights smaller: √Σw² falls with each larger λ.",
        f"{sweep.listed(variants, 'weight_norm', '.3g')}.",
        bool(np.all(np.diff(norms) < 0)),
    )
    report.expect(
        f"The gap between training and test accuracy is smaller with λ = {strongest.label} than without a "
        "penalty.",
        f"{sweep.listed(variants, 'gap')}.",
        strongest.mean("gap") < none.mean("gap"),
    )
    report.expect(
        "The best λ on the validation images is neither 0 nor the largest.",
        f"{sweep.listed(variants, 'validation_accuracy')}.",
        best not in (none, strongest),
    )
    report.expect(
        "The strongest penalty has the lowest training accuracy.",
        f"{sweep.listed(variants, 'train_accuracy')}.",
        strongest.mean("train_accuracy") <= min(variant.mean("train_accuracy") for variant in variants),
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
