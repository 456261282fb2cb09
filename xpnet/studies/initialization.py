"""Initial weights: zeros, a standard normal distribution, and Glorot's.

A network with two hidden layers of 512 ReLUs is trained from three kinds of initial weights: zeros; draws
from N(0, 1); and Glorot's draws from U(-a, a) with `a² = 6 / (inputs + outputs)` of the layer, which keep the
signals of the same size from layer to layer. (Glorot and Bengio, "Understanding the difficulty of training
deep feedforward neural networks", 2010.)

No training can correct the fault of zeros. Let a network with one hidden layer have two units with equal
weights, w₁ = w₂ into them and v₁ = v₂ out of them. Then they have equal outputs `h = f(w·x)` and equal
gradients, `∂L/∂v = h ∂L/∂ŷ` and `∂L/∂w = v f'(w·x) x ∂L/∂ŷ`; so every step of gradient descent leaves them
equal. A layer of such units can do no more than a single unit.
"""

import math
from dataclasses import replace

import numpy as np

from xpnet import nn
from xpnet._util.text import some
from xpnet.model import Model
from xpnet.studies import equal_units, sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.config import Config
from xpnet.train.experiment import make_model

KINDS = {"zeros": "zeros", "N(0, 1)": "normal", "Glorot": "glorot-uniform"}


def run(options: Options, report: Report) -> None:
    """Train from each kind of initial weights, and observe hidden units that start equal."""
    base = sweep.base_config(
        options, hidden=(512, 512), learning_rate=0.03, momentum=0.0, nesterov=False, l2=0.0,
        epochs=options.choose(10, quick=4), batch_size=100,
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base, examples=options.choose(None, quick=1500))
    start_of_training(report, base, examples)
    training(options, report, base, examples)
    equal_units.train_and_compare(options, report, examples)


def start_of_training(report: Report, base: Config, examples: sweep.Data) -> None:
    """Show the sizes of signals and gradients before the first step."""
    n = 500
    x, y = examples.train.x[:n], examples.train.y[:n]
    first_losses, rows, growth = {}, [], {}
    for kind, name in KINDS.items():
        model = make_model(replace(base, weight_init=name), x.shape[1:], examples.classes)
        model.forward(x)
        model.zero_grads()
        model.backward(y)
        first_losses[kind] = model.loss(y)
        of_layers = sizes(model, x)
        rows += [(kind, layer, *of_layer) for layer, of_layer in enumerate(of_layers, start=1)]
        growth[kind] = of_layers[-1][0] / max(of_layers[0][0], 1e-30)

    report.section("Before the first step")
    losses = ", ".join(f"{loss:.4g} from {kind}" for kind, loss in first_losses.items())
    chance = math.log(examples.classes)
    report.text(
        f"A network without knowledge gives each of {examples.classes} classes the same probability; its "
        f"cross-entropy is ln {examples.classes} = {chance:.4f}. The initial loss is {losses}."
    )
    report.table(
        "before-the-first-step",
        [
            "initial weights",
            "layer",
            "standard deviation of outputs",
            "root mean square of weight gradient",
        ],
        rows,
        f"The outputs, before the ReLU, and gradients of each fully connected layer, on {len(x)} training "
        "images.",
    )
    report.text(
        "From the outputs of the first layer to those of the last, the standard deviation grows "
        f"{growth['N(0, 1)']:.3g} times with weights from N(0, 1), and {growth['Glorot']:.3g} times with "
        "Glorot's. The softmax of large outputs puts all probability on one class, usually a wrong one."
    )
    report.expect(
        f"From zeros the initial loss is ln {examples.classes}, the loss of equal probabilities.",
        f"{first_losses['zeros']:.6f}, where ln {examples.classes} is {chance:.6f}.",
        math.isclose(first_losses["zeros"], chance, rel_tol=1e-5),
    )
    report.expect(
        f"From Glorot's weights the initial loss is within 1 of ln {examples.classes}; from N(0, 1) it is "
        f"more than 100 times ln {examples.classes}.",
        f"{losses}.",
        abs(first_losses["Glorot"] - chance) < 1 and first_losses["N(0, 1)"] > 100 * chance,
    )


def sizes(model: Model, x: np.ndarray) -> list[tuple[float, float]]:
    """Standard deviation of the outputs, and root mean square of the gradient, of each layer with weights."""
    assert isinstance(model.net, nn.Sequential)
    found = []
    signal = model.backend.asarray(x)
    for layer, params, grads in zip(model.net.layers, model.params, model.grads, strict=True):
        signal, _ = layer.forward(params, signal)
        if "weight" in params:
            gradient = model.backend.to_numpy(grads["weight"])
            deviation = float(model.backend.to_numpy(signal).std())
            found.append((deviation, float(np.sqrt(np.mean(gradient**2)))))
    return found


def training(options: Options, report: Report, base: Config, examples: sweep.Data) -> None:
    """Train from each kind of initial weights, and compare the curves."""
    changes = {kind: {"weight_init": name} for kind, name in KINDS.items()}
    seeds = options.seeds(options.choose(examples.choose(5, large=3), quick=2))
    variants = sweep.sweep(base, changes, seeds, examples, options.process_count())
    zeros, normal, glorot = variants
    report.section("Training")
    report.text(
        f"The network has {glorot.parameters:,} parameters; its biases start at 0. It is trained by plain "
        f"gradient descent with a learning rate of {base.learning_rate}, in batches of {base.batch_size}, on "
        f"{len(examples.train.y):,} images."
    )
    report.figure(
        [sweep.curves(variants, quantity, log=True) for quantity in sweep.LOSSES],
        "Loss on the training and on the validation images at the end of each epoch, on logarithmic axes: "
        f"mean and range over {some(len(zeros.runs), 'seed')}.",
    )
    report.figure(
        [sweep.curves(variants, quantity) for quantity in sweep.ERRORS],
        "Error on the training and on the validation images at the end of each epoch.",
    )
    losses = [variant.curve("train_loss").mean(0) for variant in variants]
    report.table(
        "losses", ["epoch", *KINDS],
        [[epoch, *map(float, row)] for epoch, row in enumerate(zip(*losses, strict=True), start=1)],
        "Average loss on all training images at the end of each epoch, by the initial weights: means over "
        "the seeds.",
        dict.fromkeys(KINDS, ".5g"),
    )  # fmt: skip
    sweep.table(
        report,
        "training",
        variants,
        "initial weights",
        f"After {base.epochs} epochs: means over the seeds, and the range of the test accuracy.",
    )
    frequencies = np.bincount(examples.train.y) / len(examples.train.y)
    entropy = -float(
        np.sum(frequencies * np.log(frequencies, where=frequencies > 0, out=np.zeros_like(frequencies)))
    )
    zero_loss, most = zeros.mean("train_loss"), float(frequencies.max())
    report.text(
        "From zeros, all hidden units output 0, so all weight gradients stay 0: only the biases of the "
        "output layer learn, and at best they learn the frequencies of the classes. The loss is then their "
        f"entropy, {entropy:.4f}; training reached {zero_loss:.4f} and a training accuracy of "
        f"{zeros.mean('train_accuracy'):.1%}. The most frequent class has {most:.1%} of the training images."
    )
    report.expect(
        "From zeros the network learns only the frequencies of the classes: the loss ends within 0.01 of "
        "their entropy.",
        f"Loss {zero_loss:.4f}, entropy {entropy:.4f}.",
        abs(zero_loss - entropy) < 0.01,
    )
    first = {variant.label: float(variant.curve("train_loss")[:, 0].mean()) for variant in variants}
    report.expect(
        "After the first epoch, the training loss is least from Glorot's weights.",
        "; ".join(f"{loss:.4g} from {label}" for label, loss in first.items()) + ".",
        first["Glorot"] <= np.nanmin(list(first.values())),
    )
    report.expect(
        "At the end, the validation accuracy is highest from Glorot's weights.",
        f"{sweep.listed(variants, 'validation_accuracy', word='from')}.",
        sweep.best(variants) is glorot,
    )
    if normal.diverged:
        report.text(f"From N(0, 1), {normal.diverged} of {len(normal.runs)} runs diverged.")
    else:
        lower = sweep.best([normal, glorot], "train_loss")
        higher = sweep.best([normal, glorot])
        gaps = [v.mean("train_accuracy") - v.mean("validation_accuracy") for v in (normal, glorot)]
        report.text(
            f"Of the two that learn, {lower.label} ends with the lower training loss, and {higher.label} "
            "with the higher validation accuracy. From training to validation images the accuracy falls by "
            f"{100 * gaps[0]:.1f} points with N(0, 1), and by {100 * gaps[1]:.1f} points with Glorot's "
            "weights: this part of the training accuracy does not generalise."
        )
