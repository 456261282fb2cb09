"""Statements that an experiment shows to be true or false: a part of `backprop_by_hand`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpnet import losses, nn, optim, tree
from xpnet.model import Model
from xpnet.random import generator
from xpnet.studies import _regression_by_hand as regression
from xpnet.studies.options import Options
from xpnet.studies.report import Report

FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of the weights
LARGE = 8.0
SHRINKING = 20  # steps
RATES = (1e-3, 1e-4, 1e-5, 1e-6)
PASSES = 20
LENGTH, KERNEL = 32, 5
SHAPES = np.array([[0, 1, 2, 1, 0], [1, 1, 0, 1, 1]], float)  # a peak and a dip of equal sum
EXAMPLES, EPOCHS = 400, 20
KNOWN = (False, True, False, True, False, False)  # which of the statements are true
MakeModel = Callable[[float, float], Model]  # from a factor for all weights and λ


class Verdict(NamedTuple):
    """A statement, whether it is true, and the numbers that decide it."""

    statement: str
    is_true: bool
    evidence: str


def run(
    options: Options, report: Report, make: Callable[[float], Model], x: np.ndarray, y: np.ndarray, l2: float
) -> None:
    """Decide all statements; those about L2 with the network `make(λ)` and the example (x, y)."""
    report.section("Statements, true or false")
    report.text(
        "Each statement is decided by an experiment: those about L2 with the classification network, that "
        "about SGD with the five points of the regression, the last with a network for sequences."
    )

    def scaled(factor: float, l2: float) -> Model:
        """The network with all weights multiplied, and the biases as they are."""
        model = make(l2)
        host = tree.map(model.backend.to_numpy, model.params)
        model.params = tree.map_weights(lambda weight: factor * weight, host)
        return model

    verdicts = [
        *of_regularization(report, scaled, x, y, l2),
        of_sgd(options, report),
        of_sequences(options, report),
    ]
    _add(report, verdicts)


def of_regularization(
    report: Report, make: MakeModel, x: np.ndarray, y: np.ndarray, l2: float
) -> list[Verdict]:
    """Four statements about the loss with and without L2, for the network that `make` makes."""
    rows = []
    for factor in FACTORS:
        plain, penalized = (_loss(make(factor, each), x, y) for each in (0.0, l2))
        rows.append([factor, plain, penalized, penalized - plain])
    report.table(
        "larger-weights",
        ["weights times", "loss ℓ", "loss with L2", "penalty"],
        rows,
        "The loss of the example for smaller and larger weights, without and with L2; biases stay.",
        {"loss ℓ": ".4f", "loss with L2": ".4f", "penalty": ".4f"},
    )
    losses_, penalized_, penalties = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
    at_one = FACTORS.index(1.0)
    growth = np.diff(penalties)
    gradients = [_gradients(make(1.0, each), x, y) for each in (0.0, l2)]
    smaller = int((np.abs(gradients[1]) < np.abs(gradients[0])).sum())
    norms = {each: _shrink(make(LARGE, each), x, y) for each in (0.0, l2)}
    lost = {each: 1 - norm[-1] / norm[0] for each, norm in norms.items()}
    report.numbers(
        "shrinking-weights",
        ["step", "√Σw² without L2", "√Σw² with L2"],
        [[i, *map(float, pair)] for i, pair in enumerate(zip(*norms.values(), strict=True))],
        f"The size of weights that start {LARGE:g} times as large, step by step:",
    )
    return [
        Verdict(
            "The loss without regularisation is always above the regularised loss.",
            bool(np.all(losses_ > penalized_)),
            f"it is {losses_[at_one]:.4f}, and {penalized_[at_one]:.4f} with L2",
        ),
        Verdict(
            "As weights become larger, the regularised loss increases faster than the loss.",
            bool(np.all(growth > 0)),
            f"from {FACTORS[0]:g} to {FACTORS[-1]:g} times the weights the loss grows by "
            f"{losses_[-1] - losses_[0]:.3f}, the regularised loss by {penalized_[-1] - penalized_[0]:.3f}",
        ),
        Verdict(
            "With regularisation, gradient updates always become larger.",
            smaller == 0,
            f"{smaller} of {gradients[0].size} weights have a smaller gradient with L2",
        ),
        Verdict(
            "Large initial weights decrease more rapidly with the regularised loss.",
            lost[l2] > lost[0.0],
            f"in {SHRINKING} steps from {LARGE:g} times the weights, √Σw² falls by {lost[l2]:.1%} with L2 "
            f"and by {lost[0.0]:.1%} without",
        ),
    ]


def _loss(model: Model, x: np.ndarray, y: np.ndarray) -> float:
    model.forward(x)
    return model.loss(y)


def _weights(model: Model, params: Any) -> np.ndarray:
    """All weights, or their gradients, without the biases, in one vector."""
    found = [model.backend.to_numpy(layer["weight"]).ravel() for layer in params if "weight" in layer]
    return np.concatenate(found)


def _gradients(model: Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    model.forward(x)
    model.zero_grads()
    model.backward(y)
    return _weights(model, model.grads)


def _shrink(model: Model, x: np.ndarray, y: np.ndarray) -> list[float]:
    """√Σw² before each of the steps of gradient descent, and after the last."""
    norms = [float(np.linalg.norm(_weights(model, model.params)))]
    for _ in range(SHRINKING):
        _gradients(model, x, y)
        model.step()
        norms.append(float(np.linalg.norm(_weights(model, model.params))))
    return norms


def of_sgd(options: Options, report: Report) -> Verdict:
    """Whether SGD lowers the training error at every step, on the points of the regression."""
    rows: list[list[Any]] = []
    for rate in RATES:
        raised = {batch: rises(options, rate, batch) for batch in (1, len(regression.POINTS))}
        steps = {batch: PASSES * len(regression.POINTS) // batch for batch in raised}
        rows.append([f"{rate:g}", *(each for b in raised for each in (raised[b], steps[b]))])
    report.table(
        "sgd-steps",
        ["learning rate", "SGD: steps that raise the error", "SGD: steps", "all points: steps that raise it",
         "all points: steps"],
        rows,
        "The error on all five points of the regression with tanh after each step: SGD takes one point at a "
        "time, in order; gradient descent takes all points.",
    )  # fmt: skip
    return Verdict(
        "For any network, the training error decreases at every step of SGD if the step is small enough.",
        all(row[1] == 0 for row in rows),
        "on one point at a time, "
        + ", ".join(f"{row[1]} of {row[2]} steps raise it with a learning rate of {row[0]}" for row in rows)
        + f"; on all points together, {' and '.join(str(row[3]) for row in rows)} of {rows[0][4]}",
    )


def rises(options: Options, rate: float, batch: int) -> int:
    """The number of steps of `batch` points that raise the error on all points, in PASSES passes."""
    model = Model(
        nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)),
        losses.MeanSquaredError(),
        optim.SGD(rate),
        options.backend,
        dtype="float64",
        device=options.device,
    )
    first = {"weight": regression.W1.T, "bias": regression.B1}
    model.params = (first, {}, {"weight": regression.W2, "bias": regression.B2})
    x, y, count = regression.POINTS, np.asarray(regression.TARGETS, float), 0
    before = _loss(model, x, y)
    for _ in range(PASSES):
        for i in range(0, len(x), batch):
            _gradients(model, x[i : i + batch], y[i : i + batch])
            model.step()
            after = _loss(model, x, y)
            count += after > before
            before = after
    return count


def of_sequences(options: Options, report: Report) -> Verdict:
    """Whether a CNN learns from inputs that are no images: sequences with a peak or a dip somewhere."""
    accuracy, parameters = sequences(options)
    report.table(
        "sequences",
        ["input", "network", "parameters", "test examples", "test accuracy"],
        [[f"{LENGTH} numbers in a row", f"Conv1d of {KERNEL}, ReLU, GlobalAvgPool, Linear", parameters,
          EXAMPLES, accuracy]],
        f"A convolutional network for sequences: is there a peak or a dip of {KERNEL} numbers somewhere?",
        {"test accuracy": ".3f"},
    )  # fmt: skip
    return Verdict(
        "Convolutional networks can only be used with two-dimensional inputs such as images.",
        accuracy < 0.9,
        f"a network with Conv1d tells a peak from a dip in sequences of {LENGTH} numbers with a test "
        f"accuracy of {accuracy:.1%}",
    )


def sequences(options: Options) -> tuple[float, int]:
    """The test accuracy of a network with `Conv1d`, and its number of parameters."""
    parts = []
    for part in ("train", "test"):
        rng = generator(options.seed, part)
        labels, x = rng.integers(2, size=EXAMPLES), 0.2 * rng.normal(size=(EXAMPLES, LENGTH, 1))
        starts = rng.integers(LENGTH - KERNEL + 1, size=EXAMPLES)
        for row, start, label in zip(x, starts, labels, strict=True):
            row[start : start + KERNEL, 0] += SHAPES[label]
        parts.append((x, labels))
    model = Model(
        nn.Sequential(nn.Conv1d(1, 8, KERNEL), nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(8, 2)),
        losses.CrossEntropy(),
        optim.Adam(0.02),
        options.backend,
        seed=options.seed,
        device=options.device,
    )
    model.fit(*parts[0], epochs=EPOCHS, batch_size=20, progress=False)
    return float(model.evaluate(*parts[1]).accuracy or 0.0), model.parameter_count()


def _add(report: Report, verdicts: list[Verdict]) -> None:
    """Add the statements with their verdicts, and compare with the known ones."""
    words = ["true" if each.is_true else "false" for each in verdicts]
    for i, (each, word) in enumerate(zip(verdicts, words, strict=True), 1):
        report.text(f"{i}. “{each.statement}” This is {word}: {each.evidence}.")
    report.numbers(
        "statements",
        ["statement", "verdict", "because"],
        [[each.statement, word, each.evidence] for each, word in zip(verdicts, words, strict=True)],
        "The statements with their verdicts:",
    )
    found = tuple(each.is_true for each in verdicts)
    report.expect(
        f"Of the {len(KNOWN)} statements, number {_numbers(KNOWN)} are true, and the others false.",
        f"True by experiment: number {_numbers(found)}.",
        found == KNOWN,
    )


def _numbers(verdicts: tuple[bool, ...]) -> str:
    return " and ".join(str(i) for i, is_true in enumerate(verdicts, 1) if is_true) or "none"
