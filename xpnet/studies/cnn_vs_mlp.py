"""A convolutional network against fully connected networks of the same size.

A convolution computes each output from a few neighbouring pixels, with the same weights everywhere. This
builds in that neighbouring pixels belong together, and that a stroke is the same at every position. A fully
connected layer has to learn both from examples. To compare these built-in assumptions, not the capacity, all
networks have nearly the same number of parameters: the width of the fully connected ones is chosen for that.
(LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.)

Then the convolutional network is trained on fewer images, with one technique of regularisation at a time.
Each technique should keep the network from memorising the images, and makes it fit them less well.
(Srivastava et al., "Dropout", 2014; Krogh and Hertz, "A simple weight decay can improve generalization",
1991; Prechelt, "Early stopping, but when?", 1998; Bishop, "Training with noise is equivalent to Tikhonov
regularization", 1995.)
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet import data
from xpnet._util.text import some
from xpnet.plots.drawing import Figure
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.config import Config
from xpnet.train.experiment import make_model

CNN = "CNN"
PLAIN = "none"
NETWORK = (16, 32), 5, (400,)  # channels, kernel size and hidden layer of scripts/configs/cnn.yaml
SMALL = (4, 8), 3, (100,)
TECHNIQUES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "dropout": {"dropout": 0.5},
    "weight decay": {"weight_decay": 0.003},
    "early stopping": {"early_stopping": 3},
    "input noise": {"input_noise": 0.2},
    "augmentation": {"random_crop": 2},
}


def run(options: Options, report: Report) -> None:
    """Compare networks of equal size, then techniques of regularisation."""
    channels, kernel_size, hidden = options.choose(NETWORK, quick=SMALL)
    base = sweep.base_config(
        options, channels=channels, kernel_size=kernel_size, pool=(2,), hidden=hidden,
        learning_rate=0.02, momentum=0.9, nesterov=True, l2=0.0,
        epochs=options.choose(10, quick=6), batch_size=20,
    )  # fmt: skip
    report.config(base)
    examples = sweep.load(options, report, base, examples=options.choose(10_000, quick=800))
    networks(options, report, base, examples)
    n = options.choose(1000, quick=120)
    few = examples._replace(train=data.Examples(examples.train.x[:n], examples.train.y[:n]))
    regularisation(options, report, replace(base, epochs=options.choose(20, quick=16)), few)


def parameter_count(config: Config, examples: sweep.Data) -> int:
    """The number of parameters of the config's network."""
    return make_model(config, examples.train.x.shape[1:], examples.classes).parameter_count()


def mlp_of_size(base: Config, layers: int, size: int, examples: sweep.Data) -> Config:
    """The MLP with `layers` hidden layers of equal width whose number of parameters is nearest to `size`."""

    def mlp(width: int) -> Config:
        return replace(base, channels=(), hidden=(width,) * layers)

    def excess(width: int) -> int:
        return parameter_count(mlp(width), examples) - size

    most = size // examples.train.x[0].size + 1  # the first layer alone has inputs · width parameters
    width = bisect_left(range(most), 0, lo=1, key=excess)
    return mlp(min(max(width - 1, 1), width, key=lambda width: abs(excess(width))))


def networks(options: Options, report: Report, base: Config, examples: sweep.Data) -> None:
    """Train networks of equal size, and compare their errors by epoch."""
    size = parameter_count(base, examples)
    one, two = (mlp_of_size(base, layers, size, examples) for layers in (1, 2))
    changes: dict[str, dict[str, Any]] = {CNN: {}} | {
        "MLP " + "-".join(map(str, mlp.hidden)): {"channels": (), "hidden": mlp.hidden} for mlp in (one, two)
    }
    seeds = options.seeds(options.choose(3, quick=2))
    cnn, *mlps = variants = sweep.sweep(base, changes, seeds, examples, options.process_count())
    sizes = [f"{mlp.parameters:,} with {mlp.label} ({mlp.parameters / size - 1:+.2%})" for mlp in mlps]

    report.section("Networks of equal size")
    report.text(
        f"The CNN has {size:,} parameters. It is compared with the nearest MLPs with 1 hidden layer and with "
        f"2 of equal width: {' and '.join(sizes)}; the numbers in the names are the units of the hidden "
        f"layers. All else is the same. The networks are trained on the first {len(examples.train.x):,} "
        f"training images of the data set; the next {len(examples.validation.x):,} are for validation. The "
        "layers of the CNN:"
    )
    shape = examples.train.x.shape[1:]
    report.code(make_model(base, shape, examples.classes).summary(shape, base.batch_size))
    report.figure(
        [sweep.curves(variants, quantity, log=True) for quantity in sweep.LOSSES],
        f"Loss on the training and on the validation images at the end of each of {base.epochs} epochs, on "
        f"logarithmic axes: mean and range over {some(len(seeds), 'seed')}.",
    )
    report.figure(
        [sweep.curves(variants, quantity, log=True) for quantity in sweep.ERRORS],
        "Error at the end of each epoch, on logarithmic axes. A line that drops to the axis reached 0.",
    )
    sweep.table(
        report, "networks", variants, "network",
        f"After {base.epochs} epochs: means over the seeds, and the range of the test accuracy. The gap is "
        "the training accuracy minus the test accuracy.", ["gap"],
    )  # fmt: skip
    mlp = sweep.best(mlps)
    report.text(
        f"The CNN gets {cnn.mean('test_error'):.2%} of the test images wrong; {mlp.label}, the better MLP on "
        f"the validation images, gets {mlp.mean('test_error'):.2%}. On the training images the "
        f"errors are {cnn.mean('train_error'):.2%} and {mlp.mean('train_error'):.2%}. The CNN uses each "
        "weight of its convolutions at every position, so the same number of parameters needs more "
        f"operations: an epoch of the CNN took {cnn.mean('seconds'):.3g} s, an epoch of the MLP "
        f"{mlp.mean('seconds'):.3g} s."
    )
    report.expect(
        "The MLPs have as many parameters as the CNN, within 1%.",
        f"{size:,} with {CNN}; {'; '.join(sizes)}.",
        all(abs(mlp.parameters - size) <= 0.01 * size for mlp in mlps),
    )
    report.expect(
        f"After {base.epochs} epochs the CNN has the least validation error.",
        f"{sweep.listed(variants, 'validation_error')}.",
        sweep.best(variants) is cnn,
    )
    report.expect(
        "The CNN has the least gap between training and test accuracy.",
        f"{sweep.listed(variants, 'gap')}.",
        cnn.mean("gap") < min(mlp.mean("gap") for mlp in mlps),
    )
    report.expect(
        "An epoch of the CNN takes longer than an epoch of each MLP.",
        f"{sweep.listed(variants, 'seconds', '.3g')}, in seconds.",
        cnn.mean("seconds") > max(mlp.mean("seconds") for mlp in mlps),
    )


def regularisation(options: Options, report: Report, base: Config, examples: sweep.Data) -> None:
    """Train the CNN on few images, with one technique at a time."""
    seeds = options.seeds(options.choose(3, quick=1))
    plain, *others = variants = sweep.sweep(base, TECHNIQUES, seeds, examples, options.process_count())
    stopped, augmented = (
        next(variant for variant in others if variant.label == label)
        for label in ("early stopping", "augmentation")
    )
    report.section("One technique of regularisation at a time")
    report.text(
        f"The same CNN, on the first {len(examples.train.x):,} training images, for {base.epochs} epochs: "
        f"without regularisation ({PLAIN}); with dropout of {value('dropout'):.0%} of the inputs of the "
        f"fully connected layers; with weight decay, λ = {value('weight decay'):g}; with early stopping "
        f"after {value('early stopping')} epochs without a higher validation accuracy, which restores the "
        f"best epoch; with noise from N(0, {value('input noise'):g}²) on the pixels; and with augmentation, "
        f"which shifts each image by up to {value('augmentation')} pixels."
    )
    report.figure(
        [sweep.curves(variants, quantity, log=True) for quantity in sweep.LOSSES],
        "Loss on the unchanged training images and on the validation images at the end of each epoch: mean "
        f"and range over {some(len(seeds), 'seed')}. Dropout, noise and shifts act in the training steps "
        "alone. A line that ends early belongs to runs that stopped early.",
    )
    report.figure(
        [sweep.curves(variants, quantity) for quantity in sweep.ERRORS],
        "Error at the end of each epoch.",
    )
    report.figure(
        final_errors(variants),
        "Final errors on the unchanged training images and on the test images: mean and range over the "
        "seeds. The distance between the two is the gap.",
    )
    sweep.table(
        report, "regularisation", variants, "technique",
        "At the end: means over the seeds, and the range of the test accuracy.", ["gap"],
    )  # fmt: skip
    helped = [v.label for v in others if v.mean("test_error") < plain.mean("test_error")]
    report.text(
        f"Without regularisation, the final error of the CNN is {plain.mean('train_error'):.2%} on the "
        f"training images and {plain.mean('test_error'):.2%} on the test images. Techniques that lower the "
        f"test error: {', '.join(helped) or 'none'}. On the validation images {sweep.winners(variants)}. "
        f"Test errors: {sweep.listed(sweep.ties(variants), 'test_error', '.2%')}."
    )
    for variant in others:
        if variant is not stopped:
            report.expect(
                f"With {variant.label}, the CNN fits the images less closely: its training loss ends "
                "higher than without regularisation.",
                f"{sweep.listed([variant, plain], 'train_loss', '.4g')}; gap between training and test "
                f"accuracy {sweep.listed([variant, plain], 'gap')}.",
                variant.mean("train_loss") > plain.mean("train_loss"),
            )
    report.expect(
        "Early stopping trains for fewer epochs, and its validation accuracy is no lower than without "
        "regularisation.",
        f"{sweep.listed([stopped, plain], 'epochs', '.1f')}, in epochs; validation accuracy "
        f"{sweep.listed([stopped, plain], 'validation_accuracy')}.",
        stopped.mean("epochs") < plain.mean("epochs")
        and stopped.mean("validation_accuracy") >= plain.mean("validation_accuracy"),
    )
    report.expect(
        "Augmentation, which adds knowledge about images, has the least test error.",
        f"{sweep.listed(variants, 'test_error')}.",
        augmented.mean("test_error") <= min(variant.mean("test_error") for variant in variants),
    )


def value(technique: str) -> Any:
    """The value of the option that a technique sets."""
    (option,) = TECHNIQUES[technique].values()
    return option


def final_errors(variants: Sequence[sweep.Variant]) -> Figure:
    """Training and test error of each variant, one below the other."""
    figure, axes = sweep.axes_of("error", "")
    places = np.arange(len(variants))
    for quantity, style in zip(("train_error", "test_error"), sweep.styles(2), strict=True):
        finals = np.array([variant.final(quantity) for variant in variants])
        mean = finals.mean(1)
        bars = np.array([mean - finals.min(1), finals.max(1) - mean])
        axes.errorbar(
            mean, places, xerr=bars,
            label=quantity.replace("_", " "), markersize=4, capsize=3, **style | {"linestyle": ""},
        )  # fmt: skip
    axes.set_yticks(places, [variant.label for variant in variants])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    sweep.legend(figure)
    return figure
