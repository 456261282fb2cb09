"""Activations in shallow and in deep networks.

In the backward pass, each layer multiplies the gradient by the derivative of its activation. The derivative
of the sigmoid is at most 1/4, so gradients shrink with every layer ("vanish"); that of tanh is at most 1;
that of ReLU is 0 or 1. A linear activation adds nothing: linear layers in a row are one matrix. (Glorot and
Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.)
"""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from xpnet import data, tree
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.config import Config
from xpnet.train.drawing import Figure
from xpnet.train.experiment import make_model
from xpnet.train.registry import ACTIVATIONS

DEEP = 5  # hidden layers of the deep network
SHOWN = ("identity", "sigmoid", "tanh", "relu", "gelu")  # in the figures


def run(options: Options, report: Report) -> None:
    """Compare all activations in a shallow and in a deep network, then the settings of the course."""
    base = sweep.base_config(
        options, weight_init="glorot-uniform", learning_rate=0.05, momentum=0.0, nesterov=False, l2=0.0,
        epochs=options.choose(20, quick=8), batch_size=50,
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base)
    seeds = options.seeds(options.choose(5, quick=2))
    names = SHOWN if options.quick else tuple(ACTIVATIONS)
    changes = {name: {"activation": name} for name in names}
    shallow = sweep.sweep(replace(base, hidden=(64,)), changes, seeds, examples)
    deep = sweep.sweep(replace(base, hidden=(64,) * DEEP), changes, seeds, examples)
    for title, variants, name in (
        ("One hidden layer", shallow, "one-hidden-layer"),
        (f"{DEEP} hidden layers", deep, "deep"),
    ):
        report.section(title)
        shown = [variant for variant in variants if variant.label in SHOWN]
        report.figure(
            [
                sweep.curves(shown, "train_loss", "activation"),
                sweep.curves(shown, "validation_accuracy", "activation"),
            ],
            "64 units a layer, plain gradient descent, Glorot's initial weights: mean and range over "
            f"{len(seeds)} seeds.",
        )
        sweep.table(
            report, name, variants, "activation",
            f"After {base.epochs} epochs: means over the seeds, and the range of the test accuracy.",
        )  # fmt: skip
        best = sweep.best(variants)
        report.text(
            f"On the validation examples {sweep.winners(variants)}, with "
            f"{best.mean('validation_accuracy'):.4f}. On the test examples: "
            f"{sweep.listed(sweep.ties(variants), 'test_accuracy')}."
        )
        linear = next(variant for variant in variants if variant.label == "identity")
        report.expect(
            f"With {title.lower()}, the best activation beats the identity on the validation examples.",
            f"{sweep.listed([best, linear], 'validation_accuracy')}.",
            best.mean("validation_accuracy") > linear.mean("validation_accuracy"),
        )
    gradients(report, replace(base, hidden=(64,) * DEEP), examples)
    worst = min((v for v in deep if not v.diverged), key=lambda variant: variant.mean("validation_accuracy"))
    report.expect(
        f"With {DEEP} hidden layers, the sigmoid learns least.",
        f"{sweep.listed(deep, 'validation_accuracy')}.",
        worst.label == "sigmoid",
    )
    course_set(options, report)


def gradients(report: Report, config: Config, examples: sweep.Data) -> None:
    """Show the size of each layer's gradient before the first step."""
    x, y = examples.train.x[:500], examples.train.y[:500]
    norms: dict[str, list[float]] = {}
    for name in SHOWN:
        model = make_model(replace(config, activation=name), x.shape[1:], examples.classes)
        model.forward(x)
        model.zero_grads()
        model.backward(y)
        weights = [model.backend.to_numpy(gradient) for gradient in tree.weights(model.grads)]
        norms[name] = [
            float(np.sqrt(np.mean(gradient**2))) for gradient in weights[1:]
        ]  # without the first layer, whose inputs are pixels
    report.section("Gradients before the first step")
    report.table(
        "gradients",
        ["activation", *(f"layer {layer}" for layer in range(2, DEEP + 2))],
        [[name, *values] for name, values in norms.items()],
        "Root mean square of the weight gradients of each layer, from the second hidden layer to the output, "
        f"on {len(x)} training images.",
    )
    report.figure(bars(norms), "The same numbers, from the second hidden layer, left, to the output, right.")
    shrunk = {name: values[-1] / values[0] for name, values in norms.items()}
    words = "; ".join(f"{value:.3g} with {name}" for name, value in shrunk.items())
    report.text(f"The gradient of the output layer over the gradient of the second hidden layer is {words}.")
    report.expect(
        f"In a network with {DEEP} hidden layers, the gradient shrinks from the output to the second layer "
        "by a factor of more than 10 with the sigmoid, and of less than 10 with ReLU and tanh.",
        f"Factors: {words}.",
        shrunk["sigmoid"] > 10 and shrunk["relu"] < 10 and shrunk["tanh"] < 10,
    )


def bars(norms: dict[str, list[float]]) -> Figure:
    """A line for each activation over the layers."""
    figure, axes = sweep.axes_of("layer", "root mean square of the gradient")
    for (name, values), style in zip(norms.items(), sweep.styles(len(norms)), strict=True):
        axes.plot(range(2, len(values) + 2), values, label=name, **style)
    axes.set_yscale("log")
    axes.set_xticks(range(2, DEEP + 2))
    sweep.legend(figure)
    return figure


def course_set(options: Options, report: Report) -> None:
    """Sigmoid or ReLU with two learning rates and two batch sizes, and a network with two hidden layers."""
    base = sweep.base_config(
        options, weight_init="glorot-uniform", momentum=0.0, nesterov=False, l2=0.0, shuffle=False,
        epochs=options.choose(50, quick=10),
    )  # fmt: skip
    dataset = options.load_dataset()
    train = data.Examples(dataset.train.x[:3000], dataset.train.y[:3000])
    test = data.Examples(dataset.test.x[:1000], dataset.test.y[:1000])
    networks = (((256,), "sigmoid"), ((256,), "relu"), ((384, 256), "relu"))
    changes: dict[str, dict[str, Any]] = {}
    for (hidden, activation), rate, size in product(networks, (0.01, 0.001), (50, 200)):
        label = f"{'-'.join(map(str, hidden))} {activation}, η {rate}, batch {size}"
        changes[label] = {
            "hidden": hidden, "activation": activation, "learning_rate": rate, "batch_size": size,
        }  # fmt: skip
    variants = sweep.sweep(base, changes, options.seeds(1), sweep.Data(train, test, test, dataset.classes))
    rows = []
    for variant in variants:
        c, accuracies = variant.config, [variant.mean("train_accuracy"), variant.mean("test_accuracy")]
        layers = "-".join(map(str, c.hidden))
        rows.append([layers, c.activation, c.learning_rate, c.batch_size, *accuracies])
    report.section("Sigmoid or ReLU, by learning rate and batch size")
    report.table(
        "sigmoid-or-relu",
        ["hidden layers", "activation", "learning rate", "batch size", "train accuracy", "test accuracy"],
        rows,
        f"After {base.epochs} epochs of plain gradient descent on the first {len(train.x):,} training "
        "images, in the order of the file, from Glorot's initial weights; tested on the first "
        f"{len(test.x):,} test images.",
        {"train accuracy": ".4f", "test accuracy": ".4f"},
    )
    by_rate = [[v for v in variants if v.config.learning_rate == rate] for rate in (0.01, 0.001)]
    report.figure(
        [sweep.curves(some, "validation_accuracy", ylabel="test accuracy") for some in by_rate],
        "Accuracy on the test images after each epoch, for the two learning rates η.",
    )
    sigmoid, relu, deeper = np.array([row[-1] for row in rows]).reshape(3, 4)
    report.expect(
        "With one hidden layer of 256, ReLU ends with a higher test accuracy than the sigmoid, for each "
        "learning rate and batch size.",
        "; ".join(f"{r:.4f} against {s:.4f}" for r, s in zip(relu, sigmoid, strict=True)) + ".",
        bool(np.all(relu > sigmoid)),
    )
    trained = np.array([row[-2] for row in rows]).reshape(3, 2, 2)  # network, learning rate, batch size
    higher, smaller = np.sum(trained[:, 0] > trained[:, 1]), np.sum(trained[:, :, 0] > trained[:, :, 1])
    report.expect(
        "These trainings are short: for each network, ten times the learning rate, or a quarter of the batch "
        "size, ends with a higher training accuracy.",
        f"In {higher} of 6 pairs with the larger learning rate, in {smaller} of 6 with the smaller batches.",
        bool(higher == 6 and smaller == 6),
    )
    report.text(
        "With two hidden layers instead of one, ReLU's test accuracy changes by "
        f"{', '.join(f'{100 * change:+.1f}' for change in deeper - relu)} points in the four settings, in "
        "the table's order."
    )
