"""Five networks: learning rate, activation, batch size and depth.

A network with one hidden layer of 256 sigmoids, trained with a learning rate of 0.01 in batches of 50, is
changed in one option at a time: a tenth of the learning rate; ReLUs; with these, batches of 200; or two
hidden layers, of 384 and 256. All are trained for 50 epochs by plain gradient descent on 3,000 images, in the
order of the file, and tested on 1,000 after each epoch. The initial weights are drawn from U(-a, a) with
`a = 1/√outputs` of the layer, the biases are 0.
"""

from typing import Any

import numpy as np

from xpnet import data
from xpnet._util.text import some
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

TRAIN, TEST = 3000, 1000  # the first images of the data set
RELU = {"hidden": (256,), "activation": "relu", "learning_rate": 0.01, "batch_size": 50}
NETWORKS: dict[str, dict[str, Any]] = {
    "a": RELU | {"activation": "sigmoid"},
    "b": RELU | {"activation": "sigmoid", "learning_rate": 0.001},
    "c": RELU,
    "d": RELU | {"batch_size": 200},
    "e": RELU | {"hidden": (384, 256)},
}


def run(options: Options, report: Report) -> None:
    """Train the five networks, and compare those that differ in one option."""
    base = sweep.base_config(
        options, weight_init="fan-out-uniform", momentum=0.0, nesterov=False, l2=0.0, shuffle=False,
        epochs=options.choose(50, quick=5),
    )  # fmt: skip
    report.config(base)
    dataset = options.load_dataset()
    report.trained_on(dataset)
    train, test = (
        data.Examples(part.x[:n], part.y[:n]) for part, n in ((dataset.train, TRAIN), (dataset.test, TEST))
    )
    examples = sweep.Data(train, test, test, dataset.classes, test_each_epoch=True)
    seeds = options.seeds(options.choose(5, quick=2))
    networks = sweep.sweep(base, NETWORKS, seeds, examples, options.process_count())
    columns = ["network", "hidden layers", "activation", "learning rate", "batch size"]
    accuracies = ["train accuracy", "test accuracy"]
    report.section(f"After {base.epochs} epochs")
    report.table(
        "five-networks", [*columns, *accuracies],
        [
            [
                each.label, "-".join(map(str, each.config.hidden)), each.config.activation,
                each.config.learning_rate, each.config.batch_size,
                *(getattr(each.runs[0], part).accuracy for part in ("train", "test")),
            ]
            for each in networks
        ],
        f"Trained on the first {len(train.y):,} training images and tested on the first {len(test.y):,} test "
        f"images, with seed {options.seed}.",
        dict.fromkeys(accuracies, ".4f"),
    )  # fmt: skip
    report.figure(
        [sweep.curves(networks, f"{part}_accuracy", "network") for part in ("train", "test")],
        "Accuracy on the training and on the test images at the end of each epoch: mean and range over "
        f"{some(len(seeds), 'seed')}.",
    )
    sweep.table(
        report, "seeds", networks, "network",
        f"Over {some(len(seeds), 'seed')}: means, and the range of the test accuracy. The validation "
        "images are the test images: nothing is chosen by them.",
    )  # fmt: skip
    report.section("One option at a time")
    a, b, c, d, e = networks
    steps = {each: base.epochs * -(-len(train.y) // each.config.batch_size) for each in networks}
    report.text(
        f"Learning rate: {change(a, b, 'a tenth of the learning rate')} In the same {steps[a]:,} steps the "
        f"weights move less far: the training loss ends at {b.mean('train_loss'):.4g} instead of "
        f"{a.mean('train_loss'):.4g}."
    )
    report.text(
        f"Activation: {change(a, c, 'ReLU instead of the sigmoid')} The training loss ends at "
        f"{c.mean('train_loss'):.4g} instead of {a.mean('train_loss'):.4g}: the derivative of the sigmoid, "
        "at most 1/4, makes the gradients of the hidden layer smaller."
    )
    report.text(
        f"Batch size: {change(c, d, 'batches of 200 instead of 50')} It makes {steps[d]:,} steps instead of "
        f"{steps[c]:,}: the training loss ends at {d.mean('train_loss'):.4g} instead of "
        f"{c.mean('train_loss'):.4g}."
    )
    better = e.mean("test_accuracy") > c.mean("test_accuracy")
    report.text(
        f"Depth: {change(c, e, 'a second hidden layer')} So the deeper network is "
        f"{'better' if better else 'not better'} on the test images. It has {e.parameters:,} parameters for "
        f"{len(train.y):,} images, the other {c.parameters:,}; its training accuracy is "
        f"{100 * e.mean('gap'):.1f} points above its test accuracy, that of the other "
        f"{100 * c.mean('gap'):.1f} points."
    )
    pairs = {"larger learning rate, a and b": (a, b), "smaller batches, c and d": (c, d)}
    for what, (more, fewer) in pairs.items():
        report.expect(
            f"The {what}: it trains further in these epochs, with a higher training accuracy.",
            f"{sweep.listed([more, fewer], 'train_accuracy')}.",
            more.mean("train_accuracy") > fewer.mean("train_accuracy"),
        )
    report.expect(
        "ReLU, c, has a higher training and test accuracy than the sigmoid, a.",
        f"Training: {sweep.listed([c, a], 'train_accuracy')}. Test: {sweep.listed([c, a], 'test_accuracy')}.",
        all(c.mean(f"{part}_accuracy") > a.mean(f"{part}_accuracy") for part in ("train", "test")),
    )
    report.expect(
        "On so few images a second hidden layer changes the test accuracy, from c to e, by less than 2 "
        "points.",
        f"{sweep.listed([e, c], 'test_accuracy')}.",
        abs(e.mean("test_accuracy") - c.mean("test_accuracy")) < 0.02,
    )


def change(before: sweep.Variant, after: sweep.Variant, what: str) -> str:
    """The effect of a change on both accuracies, in a sentence, with the spread over the seeds."""
    parts = []
    for part in ("train", "test"):
        old, new = (each.mean(f"{part}_accuracy") for each in (before, after))
        parts.append(f"the {part} accuracy by {100 * (new - old):+.2f} points, from {old:.4f} to {new:.4f}")
    spread = max(float(np.ptp(each.final("test_accuracy"))) for each in (before, after))
    return (
        f"{what} changes {' and '.join(parts)}; over the seeds, the test accuracy varies by up to "
        f"{100 * spread:.2f} points."
    )
