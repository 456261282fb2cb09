"""Hidden units that start equal, observed after each epoch: a part of `initialization`."""

import math
from typing import Any, NamedTuple

import numpy as np

from xpnet import init, losses, nn, optim, tree
from xpnet.callbacks import Callback
from xpnet.metrics import EpochMetrics
from xpnet.model import Model
from xpnet.plots.drawing import Figure
from xpnet.studies import sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report

UNITS = 8


class Units(NamedTuple):
    """The differences between hidden units, and the size of their weights.

    Fields:
        into: the largest difference between two units' weights from the same input.
        out: the largest difference between two units' weights to the same class.
        largest: the largest absolute weight.
    """

    into: float
    out: float
    largest: float


class WatchUnits(Callback):
    """Record the hidden units before the first epoch and after each epoch."""

    def __init__(self) -> None:
        self.seen: list[Units] = []

    def on_start(self, model: Model) -> None:
        self.look(model)

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        self.look(model)

    def look(self, model: Model) -> None:
        """Record the hidden units."""
        w, v = hidden_weights(model)
        into, out = np.ptp(w, axis=1).max(), np.ptp(v, axis=0).max()
        self.seen.append(Units(float(into), float(out), float(max(np.abs(w).max(), np.abs(v).max()))))


def hidden_weights(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The weights into the hidden units (inputs, units), and out of them (units, classes)."""
    w, v = tree.weights(model.params)
    return model.backend.to_numpy(w), model.backend.to_numpy(v)


def train_and_compare(options: Options, report: Report, examples: sweep.Data) -> None:
    """Train a small network of sigmoids whose hidden units start equal, and inspect its weights."""
    starts = {"zeros": init.zeros, "all 0.1": init.scaled(init.ones, 0.1), "Glorot": init.glorot_uniform}
    shape, epochs = examples.train.x.shape[1:], options.choose(10, quick=5)
    rows: list[list[Any]] = []
    seen, accuracy, drawings = {}, {}, []
    for start, weight_init in starts.items():
        net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), UNITS, weight_init=weight_init),
            nn.Sigmoid(),
            nn.Linear(UNITS, examples.classes, weight_init=weight_init),
        )
        model = Model(
            net, losses.CrossEntropy(), optim.SGD(0.5),
            backend=options.backend, device=options.device, seed=options.seed, dtype="float64",
        )  # fmt: skip
        watch = WatchUnits()
        model.fit(*examples.train, epochs=epochs, callbacks=[watch], progress=False)
        seen[start], accuracy[start] = watch.seen, model.evaluate(*examples.test).accuracy or 0.0
        rows += [[start, i, *watch.seen[i], None] for i in (0, 1, epochs)]
        rows[-1][-1] = accuracy[start]
        if len(shape) == 3 and start != "all 0.1":  # all units would be the same grey
            title = f"from {start}, after {epochs} epochs"
            drawings.append(drawing(hidden_weights(model)[0].T.reshape(UNITS, *shape), title))

    report.section("Units that start equal")
    report.table(
        "units",
        [
            "initial weights",
            "epochs",
            "difference of weights in",
            "difference of weights out",
            "largest weight",
            "test accuracy",
        ],
        rows,
        f"A network with {UNITS} sigmoids, in float64, learning rate 0.5: the largest difference between any "
        "two hidden units, over all inputs or classes, and the largest absolute weight.",
    )
    if drawings:
        report.figure(
            drawings,
            f"The weights into each of the {UNITS} hidden units, one picture each: red above 0, blue below.",
        )
    zeros, equal, glorot = (seen[start][-1] for start in starts)
    report.text(
        f"After {epochs} epochs the weights are no longer zero: the largest is {zeros.largest:.3g}. But the "
        f"largest difference between two hidden units is {zeros.into:.3g} in the weights into them, and "
        f"{zeros.out:.3g} in the weights out of them. If all weights start at 0.1, the differences are "
        f"{equal.into:.3g} and {equal.out:.3g}: what matters is not zero, but that the units are equal. From "
        f"Glorot's weights they are {glorot.into:.3g} and {glorot.out:.3g}; the test accuracy is "
        f"{accuracy['Glorot']:.1%}, against {accuracy['zeros']:.1%} from zeros."
    )
    for start in ("zeros", "all 0.1"):
        first, last = seen[start][0], seen[start][-1]
        report.expect(
            f"From {start}, hidden units stay equal, w₁ = w₂ and v₁ = v₂, while the weights change.",
            f"After {epochs} epochs the largest difference is {max(last.into, last.out):.3g}; the largest "
            f"weight went from {first.largest:.3g} to {last.largest:.3g}.",
            max(last.into, last.out) <= 1e-12 * last.largest and last.largest != first.largest,
        )


def drawing(images: np.ndarray, title: str) -> Figure:
    """The weights into each unit, (units, height, width, channels), as pictures with the same scale."""
    figure = Figure(figsize=(5.2, 2.9), layout="constrained")
    figure.suptitle(title)
    largest = float(np.abs(images).max()) or 1.0
    for axes, image in zip(figure.subplots(2, len(images) // 2).flat, images, strict=True):
        axes.imshow(image.mean(axis=-1), cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set_axis_off()
    return figure
