"""Memorising random labels.

A network that classifies unseen images correctly has learned something general. Could it have memorised the
training images instead? Zhang and others found that it could: the same network, trained in the same way, fits
random labels, and images that are noise, as completely as true ones. Such data contain nothing general, so
the network then knows nothing about other images. Neither the number of parameters nor the training error
shows whether a network has memorised; the gap between training and test accuracy does. (Zhang, Bengio, Hardt,
Recht and Vinyals, "Understanding deep learning requires rethinking generalization", 2017.)

The data are randomised in several ways. Random labels: a share of the training images gets labels drawn from
all classes with equal probability; validation and test images keep theirs. Shuffled pixels: one permutation
of the pixels, the same for all images. Random pixels: a different permutation for each image. Gaussian
pixels: noise with the mean and the standard deviation of the pixels of the training images.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from xpnet import data
from xpnet._util.text import some
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

FITTED = 0.99  # training accuracy of an epoch that fits the data
TRUE, SHUFFLED, RANDOM, GAUSSIAN = "true data", "shuffled pixels", "random pixels", "Gaussian pixels"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of random labels


def run(options: Options, report: Report) -> None:
    """Train on true and on randomised data, and compare the results."""
    base = sweep.base_config(
        options, hidden=options.choose((512, 512), quick=(256, 256)),
        learning_rate=0.03, momentum=0.9, nesterov=True, l2=0.0,
        epochs=options.choose(40, quick=20), batch_size=options.choose(50, quick=20),
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base, examples=options.choose(2500, quick=400))
    seeds = options.seeds(options.choose(3, quick=2))
    shares = options.choose(SHARES, quick=SHARES[::2])
    rng = np.random.default_rng(options.seed)
    kinds = {TRUE if share == 0 else by_share(share): random_labels(examples, share, rng) for share in shares}
    kinds |= random_pixels(examples, rng)
    variants = sweep.sweep(base, {kind: {} for kind in kinds}, seeds, kinds, options.process_count())
    trained = dict(zip(kinds, variants, strict=True))
    by_labels = [trained[kind] for kind in list(kinds)[: len(shares)]]
    lottery = by_labels[-1]
    by_pixels = [trained[TRUE], lottery, *(trained[kind] for kind in (SHUFFLED, RANDOM, GAUSSIAN))]

    report.section("True data, random labels and random pixels")
    show(
        report,
        by_pixels,
        f"Mean and range over {some(len(seeds), 'seed')}; all seeds share the same randomised data.",
    )
    n, d = len(examples.train.x), examples.train.x[0].size
    enough = 2 * n + d
    report.text(
        f"The network has {lottery.parameters:,} parameters for the {n:,} training images, the first ones of "
        f"the data set; the next {len(examples.validation.x):,} are for validation. By theorem 1 of the "
        f"paper, a network with one hidden layer of ReLUs and 2n + d = {enough:,} weights can fit any labels "
        f"of n = {n:,} different images of d = {d:,} pixels; this network has "
        f"{lottery.parameters / enough:.3g} times as many. The theorem does not say that training finds such "
        "weights; the curves show whether it does."
    )
    report.section("More and more random labels")
    show(report, by_labels, "The names contain the share of random labels.")
    report.figure(
        sweep.against(
            by_labels, shares, "share of random labels", ["train_accuracy", "test_accuracy"], log=False
        ),
        "Final accuracy on the training images with their random labels, and on the test images with the "
        "true labels.",
    )
    report.section("All in numbers")
    sweep.table(
        report, "random-labels", list(trained.values()), "data",
        f"After {base.epochs} epochs: means over the seeds, and the range of the test accuracy. The "
        "generalisation gap is the training accuracy minus the test accuracy.", ["gap"],
    )  # fmt: skip
    needed = {kind: epochs_to_fit(variant) for kind, variant in trained.items()}
    report.table(
        "epochs-to-fit",
        ["data", "epochs to fit", "relative to true data"],
        [(kind, epochs, epochs / needed[TRUE]) for kind, epochs in needed.items()],
        f"The first epoch with a training accuracy of at least {FITTED:.0%}: the mean over the seeds, or – "
        "if a run did not reach it.",
        {"epochs to fit": ".1f", "relative to true data": ".2f"},
    )
    conclude(report, trained, by_labels, needed, examples.classes)


def by_share(share: float) -> str:
    """The name of the data with that share of random labels."""
    return "random labels" if share == 1 else f"{share:.0%} random labels"


def random_labels(examples: sweep.Data, share: float, rng: np.random.Generator) -> sweep.Data:
    """Draw a share of the training labels anew, from all classes with equal probability."""
    x, y = examples.train
    chosen = rng.permutation(len(y))[: round(share * len(y))]
    labels = y.copy()
    labels[chosen] = rng.integers(examples.classes, size=len(chosen))
    return examples._replace(train=data.Examples(x, labels))


def random_pixels(examples: sweep.Data, rng: np.random.Generator) -> dict[str, sweep.Data]:
    """The examples with each kind of randomised pixels, in training, validation and test."""
    x = examples.train.x
    order = rng.permutation(x[0].size)
    mean, deviation = x.mean(), x.std()

    def with_pixels(change: Callable[[np.ndarray], np.ndarray]) -> sweep.Data:
        """The examples with `change` applied to the pixels (n, d)."""
        train, validation, test = (
            data.Examples(change(x.reshape(len(x), -1)).reshape(x.shape), y) for x, y in examples[:3]
        )
        return sweep.Data(train, validation, test, examples.classes)

    return {
        SHUFFLED: with_pixels(lambda pixels: pixels[:, order]),
        RANDOM: with_pixels(lambda pixels: rng.permuted(pixels, axis=1)),
        GAUSSIAN: with_pixels(lambda pixels: rng.normal(mean, deviation, pixels.shape).astype(pixels.dtype)),
    }


def show(report: Report, variants: Sequence[sweep.Variant], caption: str) -> None:
    """Add the curves of training and validation accuracy."""
    report.figure(
        [sweep.curves(variants, "train_accuracy"), sweep.curves(variants, "validation_accuracy")],
        f"Accuracy on the training images, and on the validation images, at the end of each epoch. {caption}",
    )


def epochs_to_fit(variant: sweep.Variant) -> float:
    """The first epoch with a training accuracy of at least `FITTED`: the mean over the runs.

    nan if a run did not reach it.
    """
    fitted = variant.curve("train_accuracy") >= FITTED
    return float(np.where(fitted.any(axis=1), fitted.argmax(axis=1) + 1, np.nan).mean())


def conclude(
    report: Report,
    trained: dict[str, sweep.Variant],
    by_labels: Sequence[sweep.Variant],
    needed: dict[str, float],
    classes: int,
) -> None:
    """Add the conclusions, and compare expectations with results."""
    variants, true, lottery = list(trained.values()), trained[TRUE], by_labels[-1]
    chance = 1 / classes
    report.text(
        f"With true data the network has a training accuracy of {true.mean('train_accuracy'):.2%} and a test "
        f"accuracy of {true.mean('test_accuracy'):.2%}, a gap of {100 * true.mean('gap'):.1f} points. With "
        f"random labels they are {lottery.mean('train_accuracy'):.2%} and "
        f"{lottery.mean('test_accuracy'):.2%}, a gap of {100 * lottery.mean('gap'):.1f} points. Chance is "
        f"{chance:.0%}."
    )
    report.expect(
        f"The network fits all data: each training accuracy ends at {FITTED:.0%} or more.",
        f"{sweep.listed(variants, 'train_accuracy')}.",
        all(variant.mean("train_accuracy") >= FITTED for variant in variants),
    )
    for variant in (lottery, trained[GAUSSIAN]):
        report.expect(
            f"With {variant.label} the network learns nothing general: the test accuracy is within 5 points "
            f"of chance, {chance:.0%}.",
            f"{sweep.listed([variant], 'test_accuracy')}.",
            abs(variant.mean("test_accuracy") - chance) <= 0.05,
        )
    report.expect(
        "Shuffled pixels do not affect an MLP, which does not use the positions of pixels: its test accuracy "
        "is within 3 points of the accuracy with true data.",
        f"{sweep.listed([true, trained[SHUFFLED]], 'test_accuracy')}.",
        abs(true.mean("test_accuracy") - trained[SHUFFLED].mean("test_accuracy")) <= 0.03,
    )
    report.expect(
        "Random pixels preserve only the numbers of dark and bright pixels: the test accuracy is above "
        "chance, but less than half of the accuracy with true data.",
        f"{sweep.listed([trained[RANDOM], true], 'test_accuracy')}; chance is {chance:.4f}.",
        chance < trained[RANDOM].mean("test_accuracy") < true.mean("test_accuracy") / 2,
    )
    report.expect(
        "The generalisation gap grows with the share of random labels.",
        f"{sweep.listed(by_labels, 'gap')}.",
        bool(np.all(np.diff([variant.mean("gap") for variant in by_labels]) > 0)),
    )
    report.expect(
        "Random labels take more epochs to fit than true labels, but less than 10 times as many.",
        in_words(needed, (TRUE, lottery.label)),
        needed[TRUE] < needed[lottery.label] < 10 * needed[TRUE],
    )
    report.expect(
        "Noise images take fewer epochs to fit than random labels of true images.",
        in_words(needed, (GAUSSIAN, lottery.label)),
        needed[GAUSSIAN] < needed[lottery.label],
    )


def in_words(needed: dict[str, float], kinds: Iterable[str]) -> str:
    """The epochs that these kinds of data needed, in words."""
    epochs = [
        f"not fitted with {kind}" if math.isnan(needed[kind]) else f"{needed[kind]:.1f} epochs with {kind}"
        for kind in kinds
    ]
    return "; ".join(epochs) + "."
