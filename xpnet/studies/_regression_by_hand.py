"""The second example of `backprop_by_hand`: the mean squared error of a network with two hidden units."""

from typing import NamedTuple

import numpy as np

from xpnet import losses, nn, optim
from xpnet.model import Model
from xpnet.plots.drawing import Figure
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.studies.sweep import axes_of, styles, together

POINTS = np.array([[-1, 0.4], [3, 8], [-3, 0.3], [4, 10], [-0.5, 5]])
TARGETS = np.array([[2], [-4], [3.2], [-8.3], [-2.3]])
W1, B1 = np.array([[0.2, 3.8], [-1.1, 2.3]]), np.array([-1.3, 0.86])
W2, B2 = np.array([[-1.2], [0.7]]), np.zeros(1)
LOSS = 209.4557  # the known result of the example

ORIENTATIONS = {"a row is a hidden unit (x W1ᵀ)": W1.T, "a column is a hidden unit (x W1)": W1}
MEANS = {"1/n Σ (ŷ - y)²": 1.0, "1/(2n) Σ (ŷ - y)²": 0.5, "Σ (ŷ - y)²": float(len(POINTS))}  # times 1/n Σ
ACTIVATIONS = {"ReLU": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "identity": nn.Identity()}
LEARNING_RATES = (0.9, 0.1, 0.001, 0.0001)


class Regression(NamedTuple):
    """The mean squared error before and after each step, and the predictions (5,) before the first."""

    losses: list[float]
    predictions: np.ndarray


def regression(
    options: Options,
    activation: nn.Layer,
    weight: np.ndarray = W1.T,
    learning_rate: float = 0.0,
    steps: int = 0,
) -> Regression:
    """Train the 2-2-1 network for `steps` steps of gradient descent on all five points.

    Shapes: weight (2, 2) in the layout of `nn.Linear`: a column is a hidden unit.
    """
    model = Model(
        nn.Sequential(nn.Linear(2, 2), activation, nn.Linear(2, 1)),
        losses.MeanSquaredError(),
        optim.SGD(learning_rate),
        options.backend,
        dtype="float64",
        device=options.device,
    )
    model.params = ({"weight": weight, "bias": B1}, {}, {"weight": W2, "bias": B2})
    predictions, values = model.predict(POINTS)[:, 0], []
    for _ in range(steps + 1):
        model.forward(POINTS)
        values.append(model.loss(TARGETS))
        model.zero_grads()
        model.backward(TARGETS)
        model.step()
    return Regression(values, predictions)


def by_activation(options: Options) -> dict[str, Regression]:
    """The result with each activation and the same weights."""
    return {name: regression(options, layer) for name, layer in ACTIVATIONS.items()}


def by_learning_rate(options: Options) -> dict[float, Regression]:
    """The result of two steps with ReLU and each learning rate."""
    return {rate: regression(options, nn.ReLU(), learning_rate=rate, steps=2) for rate in LEARNING_RATES}


def run(options: Options, report: Report) -> None:
    """Answer the three questions of the example, each in a section."""
    _orientation(options, report)
    _activations(options, report)
    _learning_rates(options, report)


def _orientation(options: Options, report: Report) -> None:
    report.section("Regression: the orientation of W1")
    report.text(
        "Five points, two inputs, two hidden units with ReLU, one output. The example does not say whether "
        "a row or a column of W1 is a hidden unit, nor which mean the loss takes. All combinations are tried."
    )
    points = [[*x, *y] for x, y in zip(POINTS, TARGETS, strict=True)]
    report.table("points", ["x₁", "x₂", "y"], points, "The points.")
    weights = [
        ["W1, row 1", *W1[0]],
        ["W1, row 2", *W1[1]],
        ["b1", *B1],
        ["w2", *W2[:, 0]],
        ["b2", *B2, None],
    ]
    report.table("weights", ["", "1", "2"], weights, "The weights.")
    values = {
        (name, mean): regression(options, nn.ReLU(), weight).losses[0] * factor
        for name, weight in ORIENTATIONS.items()
        for mean, factor in MEANS.items()
    }
    rows = [[name, *(values[name, mean] for mean in MEANS)] for name in ORIENTATIONS]
    report.table("orientations", ["W1", *MEANS], rows, "The loss.", dict.fromkeys(MEANS, ".4f"))
    matching = [
        f"{name} and the loss is {mean}" for (name, mean), value in values.items() if round(value, 4) == LOSS
    ]
    report.expect(
        f"The mean squared error with ReLU is {LOSS}, with one of the orientations of W1.",
        f"True if {', or if '.join(matching)}." if matching else "True for none of the combinations.",
        len(matching) == 1,
    )


def _activations(options: Options, report: Report) -> None:
    report.section("Regression: the activation with the least loss")
    found = by_activation(options)
    report.table(
        "activations",
        ["activation", "loss", "least ŷ", "greatest ŷ"],
        [
            [name, each.losses[0], each.predictions.min(), each.predictions.max()]
            for name, each in found.items()
        ],
        "The loss with each activation and the same weights, and the range of the predictions.",
        {"loss": ".4f"},
    )
    report.text(
        f"The targets are between {TARGETS.min():g} and {TARGETS.max():g}. The absolute values of tanh and "
        f"sigmoid are at most 1, so |ŷ| is at most |w2₁| + |w2₂| = {np.abs(W2).sum():g}. The "
        f"predictions with ReLU go down to {found['ReLU'].predictions.min():.1f}, with the identity "
        f"to {found['identity'].predictions.min():.1f}."
    )
    best = min(found, key=lambda name: found[name].losses[0])
    report.expect(
        "Of the four activations, tanh has the least loss.",
        f"{_least({name: each.losses[0] for name, each in found.items()})}.",
        best == "tanh",
    )


def _least(losses: dict[str, float]) -> str:
    """The names of the least loss, as it is shown: `tanh has the least loss, 1.0000`."""
    least = f"{min(losses.values()):.4f}"
    names = [name for name, loss in losses.items() if f"{loss:.4f}" == least]
    return f"{together(names)} {'has' if len(names) == 1 else 'have'} the least loss, {least}"


def _learning_rates(options: Options, report: Report) -> None:
    report.section("Regression: the best learning rate for two steps")
    found = by_learning_rate(options)
    report.table(
        "learning-rates",
        ["learning rate", "before", "after 1 step", "after 2 steps"],
        [[f"{rate:g}", *each.losses] for rate, each in found.items()],
        "The loss with ReLU. Each step is gradient descent on all five points.",
    )
    report.figure(_picture(found), "The loss in two steps, for each learning rate.")
    growing = [f"{rate:g}" for rate, each in found.items() if each.losses[2] > each.losses[0]]
    if growing:
        report.text(
            f"With a learning rate of {' or '.join(growing)} the loss grows: a step goes so far past the "
            "minimum that the gradient there is larger, and the next step goes even further."
        )
    best = min(found, key=lambda rate: found[rate].losses[2])
    report.expect(
        "Of the four learning rates, 0.001 has the least loss after two steps.",
        f"{_least({f'{rate:g}': each.losses[2] for rate, each in found.items()})}.",
        best == 0.001,
    )


def _picture(found: dict[float, Regression]) -> Figure:
    figure, axes = axes_of("step", "loss")
    for (rate, each), style in zip(found.items(), styles(len(found)), strict=True):
        axes.plot(each.losses, label=f"{rate:g}", **style)
    axes.set_yscale("log")
    axes.set_xticks([0, 1, 2])
    axes.legend(frameon=False, title="learning rate", fontsize=9)
    return figure
