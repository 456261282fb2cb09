"""Learning random labels by heart.

A network that gets unseen images right has learned something about them. Why did it not learn the training
images by heart instead? Zhang and others found that it could have: the same network, with the same training,
fits labels that were drawn by lot, and images that are noise, as completely as true ones. There is nothing in
such data to be learned, so what it then knows of other images is nothing. Neither the number of parameters
nor the training error tells which of the two has happened; the gap between training and test does.
(Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding deep learning requires rethinking generalization",
2017.)

The data are spoilt in several ways. Random labels: a share of the training images get labels that are drawn
from all classes with equal probability; validation and test images keep theirs. Shuffled pixels: one
permutation of the pixels, the same for all images. Random pixels: another permutation for each image.
Gaussian pixels: noise with the mean and the standard deviation of the training images' pixels.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from xpnet import data
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

FITTED = 0.99  # training accuracy in an epoch
TRUE, SHUFFLED, RANDOM, GAUSSIAN = "true data", "shuffled pixels", "random pixels", "Gaussian pixels"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of random labels


def run(options: Options, report: Report) -> None:
    """Train on true and on spoilt data, and compare what is learned."""
    base = sweep.base_config(
        options, hidden=(512, 512), learning_rate=0.03, momentum=0.9, nesterov=True, l2=0.0,
        epochs=options.choose(40, quick=30), batch_size=50,
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base, examples=options.choose(2500, quick=500))
    seeds = options.seeds(options.choose(3, quick=2))
    shares = options.choose(SHARES, quick=SHARES[::2])
    rng = np.random.default_rng(options.seed)
    kinds = {TRUE if share == 0 else by_share(share): random_labels(examples, share, rng) for share in shares}
    kinds |= random_pixels(examples, rng)
    trained = {kind: sweep.sweep(base, {kind: {}}, seeds, kinds[kind])[0] for kind in kinds}
    by_labels = [trained[kind] for kind in list(kinds)[: len(shares)]]
    lottery = by_labels[-1]
    by_pixels = [trained[TRUE], lottery, *(trained[kind] for kind in (SHUFFLED, RANDOM, GAUSSIAN))]

    report.section("True data, random labels and random pixels")
    show(
        report,
        by_pixels,
        f"Mean and range over {len(seeds)} seeds; the data are spoilt once for all of them.",
    )
    n, d = len(examples.train.x), examples.train.x[0].size
    enough = 2 * n + d
    report.text(
        f"The network has {lottery.parameters:,} parameters for the {n:,} training images, the first ones of "
        f"the data set; the {len(examples.validation.x):,} after those are for validation. A network with "
        f"one hidden layer of ReLUs can be given weights that fit any labels of n = {n:,} different images "
        f"of d = {d:,} pixels if it has 2n + d = {enough:,} of them (theorem 1 of the paper); here are "
        f"{lottery.parameters / enough:.3g} times as many. The theorem does not say that training finds such "
        "weights: whether it does is what the curves show."
    )
    report.section("More and more random labels")
    show(report, by_labels, "The share of random labels is in the names.")
    report.figure(
        sweep.against(
            by_labels, shares, "share of random labels", ["train_accuracy", "test_accuracy"], log=False
        ),
        "Accuracy at the end: on the training images with the labels that they were given, and on the test "
        "images with the true ones.",
    )
    report.section("All in numbers")
    sweep.table(
        report, "random-labels", list(trained.values()), "data",
        f"After {base.epochs} epochs: means over the seeds, and the test's range. The generalisation gap is "
        "the training accuracy less the test accuracy.", ["gap"],
    )  # fmt: skip
    needed = {kind: epochs_to_fit(variant) for kind, variant in trained.items()}
    report.table(
        "epochs-to-fit",
        ["data", "epochs to fit", "times those of true data"],
        [(kind, epochs, epochs / needed[TRUE]) for kind, epochs in needed.items()],
        f"The first epoch with a training accuracy of at least {FITTED:.0%}: the mean over the seeds, or – "
        "where a run did not come to that.",
        {"epochs to fit": ".1f", "times those of true data": ".2f"},
    )
    conclude(report, trained, by_labels, needed, examples.classes)


def by_share(share: float) -> str:
    """A name for data with that share of random labels."""
    return "random labels" if share == 1 else f"{share:.0%} random labels"


def random_labels(examples: sweep.Data, share: float, rng: np.random.Generator) -> sweep.Data:
    """A share of the training labels drawn anew, from all classes with equal probability."""
    x, y = examples.train
    chosen = rng.permutation(len(y))[: round(share * len(y))]
    labels = y.copy()
    labels[chosen] = rng.integers(examples.classes, size=len(chosen))
    return examples._replace(train=data.Examples(x, labels))


def random_pixels(examples: sweep.Data, rng: np.random.Generator) -> dict[str, sweep.Data]:
    """The examples with each kind of spoilt pixels, in training, validation and test alike."""
    x = examples.train.x
    order = rng.permutation(x[0].size)
    mean, deviation = x.mean(), x.std()

    def with_pixels(change: Callable[[np.ndarray], np.ndarray]) -> sweep.Data:
        """The examples with `change` done to the pixels (n, d)."""
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
    """The curves of training and validation accuracy."""
    report.figure(
        [sweep.curves(variants, "train_accuracy"), sweep.curves(variants, "validation_accuracy")],
        f"Accuracy on the training images, and on the validation images, in each epoch. {caption}",
    )


def epochs_to_fit(variant: sweep.Variant) -> float:
    """The first epoch in which the training accuracy is at least `FITTED`, a mean over the runs.

    nan if one of them did not come to that.
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
    """What was expected of all that, and what came."""
    variants, true, lottery = list(trained.values()), trained[TRUE], by_labels[-1]
    chance = 1 / classes
    report.text(
        f"With true data the network gets {true.mean('train_accuracy'):.2%} of the training images right, "
        f"and {true.mean('test_accuracy'):.2%} of the test images; with random labels "
        f"{lottery.mean('train_accuracy'):.2%} and {lottery.mean('test_accuracy'):.2%}, where guessing has "
        f"{chance:.0%}. The first is a gap of {100 * true.mean('gap'):.1f} points, the second one of "
        f"{100 * lottery.mean('gap'):.1f}."
    )
    report.expect(
        f"All data are learned: the training accuracy ends at {FITTED:.0%} or more, whatever is random.",
        f"{sweep.listed(variants, 'train_accuracy')}.",
        all(variant.mean("train_accuracy") >= FITTED for variant in variants),
    )
    for variant in (lottery, trained[GAUSSIAN]):
        report.expect(
            f"With {variant.label} nothing is learned of the test images: their accuracy is within 5 points "
            f"of chance, {chance:.0%}.",
            f"{sweep.listed([variant], 'test_accuracy')}.",
            abs(variant.mean("test_accuracy") - chance) <= 0.05,
        )
    report.expect(
        "Shuffled pixels make no difference to an MLP, which does not know which pixels are neighbours: its "
        "test accuracy is within 3 points of that with true data.",
        f"{sweep.listed([true, trained[SHUFFLED]], 'test_accuracy')}.",
        abs(true.mean("test_accuracy") - trained[SHUFFLED].mean("test_accuracy")) <= 0.03,
    )
    report.expect(
        "Random pixels leave how many are dark and how many bright: the test accuracy is above chance, and "
        "less than half of that with true data.",
        f"{sweep.listed([trained[RANDOM], true], 'test_accuracy')}; chance is {chance:.4f}.",
        chance < trained[RANDOM].mean("test_accuracy") < true.mean("test_accuracy") / 2,
    )
    report.expect(
        "The more labels are random, the larger is the generalisation gap.",
        f"{sweep.listed(by_labels, 'gap')}.",
        bool(np.all(np.diff([variant.mean("gap") for variant in by_labels]) > 0)),
    )
    report.expect(
        "Random labels take more epochs to fit than true ones, but less than 10 times as many.",
        in_words(needed, (TRUE, lottery.label)),
        needed[TRUE] < needed[lottery.label] < 10 * needed[TRUE],
    )
    report.expect(
        "Images that are noise are fitted in fewer epochs than random labels of true images.",
        in_words(needed, (GAUSSIAN, lottery.label)),
        needed[GAUSSIAN] < needed[lottery.label],
    )


def in_words(needed: dict[str, float], kinds: Iterable[str]) -> str:
    """How many epochs each of these kinds of data needed."""
    epochs = [
        f"not fitted with {kind}" if math.isnan(needed[kind]) else f"{needed[kind]:.1f} epochs with {kind}"
        for kind in kinds
    ]
    return "; ".join(epochs) + "."
