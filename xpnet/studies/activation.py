"""Activations in shallow and in deep networks.

In the backward pass, each layer multiplies the gradient by the derivative of its activation. The derivative
of the sigmoid is at most 1/4, so gradients shrink with every layer ("vanish"); that of tanh is at most 1;
that of ReLU is 0 or 1. A linear activation adds nothing: linear layers in a row are one matrix. (Glorot and
Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.)
"""

from dataclasses import replace

import numpy as np

from xpnet import tree
from xpnet._util.text import some
from xpnet.plots.drawing import Figure
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.config import Config
from xpnet.train.experiment import make_model
from xpnet.train.registry import ACTIVATIONS

DEEP = 5  # hidden layers of the deep network
SHOWN = ("identity", "sigmoid", "tanh", "relu", "gelu")  # in the figures


def run(options: Options, report: Report) -> None:
    """Compare all activations in a shallow and in a deep network."""
    base = sweep.base_config(
        options, weight_init="glorot-uniform", learning_rate=0.05, momentum=0.0, nesterov=False, l2=0.0,
        epochs=options.choose(20, quick=6), batch_size=50,
    )  # fmt: skip
    examples = sweep.load(options, report, base)
    base = replace(base, epochs=examples.choose(base.epochs, large=min(base.epochs, 4)))
    report.config(base)
    seeds = options.seeds(options.choose(examples.choose(5, large=3), quick=2))
    names = SHOWN if options.quick else tuple(ACTIVATIONS)
    changes = {name: {"activation": name} for name in names}
    shallow, deep = (
        sweep.sweep(replace(base, hidden=(64,) * layers), changes, seeds, examples, options.process_count())
        for layers in (1, DEEP)
    )
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
            f"{some(len(seeds), 'seed')}.",
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
