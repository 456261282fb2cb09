"""Backpropagation by hand.

Some networks are so small that every number can be checked on paper. The first is the worked example of a
machine-learning course: one hidden layer of sigmoid units, a softmax with cross-entropy, one example. The
second is a regression with two hidden units. Then come two hidden units that start equal, statements to judge
by experiment, and gradients through many steps of a recurrent network.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import gradcheck, losses, nn, optim
from xpnet.backend import Backend
from xpnet.model import Model
from xpnet.studies import (
    _matrix_forms,
    _regression_by_hand,
    _softmax_jacobian,
    _statements,
    _through_time,
    _two_units,
)
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.drawing import Figure
from xpnet.tree import Tree

# A row is a unit, its bias first: α for the 4 hidden units, β for the 3 outputs.
ALPHA = np.array(
    [[1, 1, 2, -3, 0, 1, -3], [1, 2, 1, 1, 1, 0, 2], [1, 3, 2, 2, 2, 2, 1], [1, 2, 0, 3, 1, -2, 2]], float
)
BETA = np.array([[1, 1, 2, -2, 3], [1, 2, -1, 3, 1], [1, 3, 1, -1, 1]], float)
X, LABEL = np.array([[1, 0, 1, 0, 1, 1]], float), np.array([2])
NETWORK = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 3))
LEARNING_RATE = 1.0
L2 = 0.02  # λ of λ/2·Σw²: the course writes 0.01·Σw²
SHOWN = (0, 1, 2, 3, 5, 10, 20, 50, 100)  # steps of the long training


class Trace(NamedTuple):
    """All values of the forward and backward pass for one example, without L2."""

    a: np.ndarray
    z: np.ndarray
    b: np.ndarray
    y: np.ndarray
    loss: float
    db: np.ndarray
    dz: np.ndarray
    da: np.ndarray
    dalpha: np.ndarray
    dbeta: np.ndarray


class Step(NamedTuple):
    """A step of gradient descent: the gradients, α and β after it, and the loss before it.

    `gradient_error` is the largest relative difference between the gradients and finite differences.
    """

    dalpha: np.ndarray
    dbeta: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    loss: float
    gradient_error: float


def course_model(options: Options, l2: float = 0.0) -> Model:
    """6 inputs, 4 sigmoid units, 3 softmax outputs, with the weights α and β."""
    model = Model(
        NETWORK,
        losses.CrossEntropy(),  # of the logits b: it contains the softmax
        optim.SGD(LEARNING_RATE),
        options.backend,
        dtype="float64",
        device=options.device,
        l2=l2,
    )
    model.params = (
        {"weight": ALPHA[:, 1:].T, "bias": ALPHA[:, 0]},
        {},
        {"weight": BETA[:, 1:].T, "bias": BETA[:, 0]},
    )
    return model


def trace(options: Options) -> Trace:
    """The forward and backward pass of `Model`, one layer at a time."""
    model = course_model(options)
    backend, loss_function = model.backend, model.loss_function
    alpha, _, beta = model.params
    hidden, sigmoid, output = NETWORK.layers
    x, label = backend.asarray(X), backend.asarray(LABEL)

    a, hidden_residuals = hidden.forward(alpha, x)
    z, sigmoid_residuals = sigmoid.forward({}, a)
    b, output_residuals = output.forward(beta, z)
    y, _ = nn.Softmax().forward({}, b)
    loss, loss_residuals = loss_function.forward(b, label)

    db = loss_function.backward(loss_residuals)
    dz, dbeta = output.backward(beta, output_residuals, db)
    da, _ = sigmoid.backward({}, sigmoid_residuals, dz)
    _, dalpha = hidden.backward(alpha, hidden_residuals, da)

    a, z, b, y, db, dz, da = (backend.to_numpy(row)[0] for row in (a, z, b, y, db, dz, da))
    return Trace(a, z, b, y, float(loss), db, dz, da, _units(backend, dalpha), _units(backend, dbeta))


def step(options: Options, l2: float = 0.0) -> Step:
    """One step of `Model`, with its gradients checked against finite differences first."""
    model = course_model(options, l2)
    checked = gradcheck.check(model, X, LABEL, entries=ALPHA.size)
    model.forward(X)
    loss = model.loss(LABEL)
    model.backward(LABEL)
    dalpha, _, dbeta = model.grads
    model.step()
    alpha, _, beta = model.params
    dalpha, dbeta, alpha, beta = (_units(model.backend, each) for each in (dalpha, dbeta, alpha, beta))
    return Step(dalpha, dbeta, alpha, beta, loss, float(max(checked.directions, checked.entries)))


def _units(backend: Backend, layer: Tree) -> np.ndarray:
    """The parameters of a linear layer, or their gradients: a row for each unit, its bias first."""
    weight, bias = backend.to_numpy(layer["weight"]), backend.to_numpy(layer["bias"])
    return np.column_stack([bias, weight.T])


def long_training(options: Options) -> list[list[Any]]:
    """Steps of gradient descent on the one example: for the steps of SHOWN the loss, ŷ and the class."""
    model, rows = course_model(options), []
    for i in range(SHOWN[-1] + 1):
        model.forward(X)
        if i in SHOWN:
            prediction = model.predict_proba(X)[0]
            rows.append([i, model.loss(LABEL), *map(float, prediction), int(prediction.argmax()) + 1])
            model.forward(X)
        model.zero_grads()
        model.backward(LABEL)
        model.step()
    return rows


def run(options: Options, report: Report) -> None:
    """Show all examples with every intermediate number."""
    report.config({"learning rate": LEARNING_RATE, "λ": L2})
    traced = trace(options)
    steps = {l2: step(options, l2) for l2 in (0.0, L2)}
    long = long_training(options)
    _answers(options, report, traced, steps, long)
    _forward_and_back(report, traced)
    target = np.eye(3)[LABEL[0]]
    forms = _matrix_forms.columns(ALPHA, BETA, X[0], target, traced)
    _matrix_forms.report_columns(report, forms, BETA, traced.z)
    _update(report, steps)
    _many_steps(report, long)
    differences = _matrix_forms.of_the_input(ALPHA, BETA, X[0], target)
    rows = _matrix_forms.rows(options.make_backend("float64"), ALPHA, BETA, X[0], target)
    _matrix_forms.report_rows(report, rows, differences)
    _softmax_jacobian.run(options, report, traced.b)
    _regression_by_hand.run(options, report)
    _two_units.run(options, report)
    _statements.run(options, report, lambda l2: course_model(options, l2), X, LABEL, L2)
    _through_time.run(options, report)


def _answers(
    options: Options, report: Report, traced: Trace, steps: dict[float, Step], long: list[list[Any]]
) -> None:
    """The questions whose answers are known, in one table."""
    report.section("The known answers")
    plain, penalized = steps.values()
    by_activation = _regression_by_hand.by_activation(options)
    by_rate = _regression_by_hand.by_learning_rate(options)
    rows: list[list[Any]] = [
        ["a₁", traced.a[0], -3],
        ["z₁", traced.z[0], 0.0474],
        ["b₂", traced.b[1], 4.0945],
        ["ŷ₂", traced.y[1], 0.4799],
        ["predicted class", int(traced.y.argmax()) + 1, 2],
        ["loss", traced.loss, 2.6912],
        ["β₂,₁ after a step", plain.beta[1, 1], 1.9772],
        ["β₁,₀ after a step", plain.beta[0, 0], 0.5477],
        ["α₃,₄ after a step", plain.alpha[2, 4], 2],
        ["predicted class after many steps", long[-1][-1], 3],
        ["loss with L2", penalized.loss, 3.9712],
        ["loss of the regression", by_activation["ReLU"].losses[0], _regression_by_hand.LOSS],
        ["activation with the least loss", _least(by_activation, 0), "tanh"],
        ["learning rate with the least loss after 2 steps", _least(by_rate, 2), 0.001],
    ]
    agree = [answer == known or round(answer, 4) == known for _, answer, known in rows]
    report.table(
        "answers",
        ["question", "answer", "known", "agrees"],
        [[*row, same] for row, same in zip(rows, agree, strict=True)],
        "The answers, worked out in the sections below, and those that are known. The file has all digits.",
        {"answer": ".10g", "known": ".7g"},
    )
    wrong = [question for (question, *_), same in zip(rows, agree, strict=True) if not same]
    report.expect(
        f"All {len(rows)} known answers come out, to four decimals.",
        f"{sum(agree)} of them agree" + (f"; not {', '.join(wrong)}." if wrong else "."),
        all(agree),
    )


def _least(found: dict[Any, _regression_by_hand.Regression], steps: int) -> Any:
    return min(found, key=lambda name: found[name].losses[steps])


def _many_steps(report: Report, long: list[list[Any]]) -> None:
    report.section("Classification: many steps")
    report.table(
        "many-steps",
        ["steps", "loss", "ŷ₁", "ŷ₂", "ŷ₃", "predicted class"],
        long,
        f"Steps with learning rate {LEARNING_RATE:g} on the same example, without L2.",
        dict.fromkeys(("loss", "ŷ₁", "ŷ₂", "ŷ₃"), ".4f"),
    )
    first, last = long[0], long[-1]
    report.expect(
        "Before training the prediction is class 2, after many steps it is the true class 3.",
        f"It is class {first[-1]} with ŷ = {first[first[-1] + 1]:.4f} before, and class {last[-1]} with ŷ = "
        f"{last[last[-1] + 1]:.4f} after {last[0]} steps.",
        (first[-1], last[-1]) == (2, 3),
    )


def _forward_and_back(report: Report, traced: Trace) -> None:
    report.section("Classification: forward and back")
    report.text(
        f"The input is x = ({', '.join(f'{x:g}' for x in X[0])}), its class is the third. A row of α or β "
        "is a unit: its bias, then its weights. Forward, a = α x, z = σ(a), b = β z and ŷ = softmax(b), "
        "where x and z have a 1 in front for the bias. The loss is L = -log ŷ₃."
    )
    inputs, hidden = _names("x", 6), _names("z", 4)
    report.table("alpha", ["unit", "bias", *inputs], _named("α", ALPHA), "α before the step.")
    report.table("beta", ["unit", "bias", *hidden], _named("β", BETA), "β before the step.")
    slope, target = traced.z * (1 - traced.z), np.eye(3, dtype=int)[LABEL[0]]
    _table(
        report, "hidden", ["unit", "a", "z", "∂L/∂z", "z (1 - z)", "∂L/∂a"],
        _named("α", np.column_stack([traced.a, traced.z, traced.dz, slope, traced.da])),
        "The hidden units, forward and back.",
    )  # fmt: skip
    _table(
        report, "outputs", ["unit", "b", "ŷ", "y", "∂L/∂b = ŷ - y"],
        zip(_names("β", 3), traced.b, traced.y, target, traced.db, strict=True),
        f"The outputs. The loss is {traced.loss:.4f}.",
    )  # fmt: skip
    report.figure(
        _picture(traced),
        "The network, the values of its units, and the gradients of its weights: the wider a line, the "
        "larger |∂L/∂w|. The step increases the weights drawn in blue and decreases those in red.",
    )
    silent = [name for name, x in zip(inputs, X[0], strict=True) if x == 0]
    report.text(
        f"The largest |∂L/∂β| is {np.abs(traced.dbeta).max():.4f}, the largest |∂L/∂α| is "
        f"{np.abs(traced.dalpha).max():.4f}. The backward pass to α multiplies the gradient by z (1 - z), "
        f"which is at most {slope.max():.4f} here, but would be 1/4 at a = 0: all |a| are at least "
        f"{np.abs(traced.a).min():g}, so the hidden units are saturated. ∂L/∂α is ∂L/∂a times x, and so 0 "
        f"for the weights of {' and '.join(silent)}."
    )


def _update(report: Report, steps: dict[float, Step]) -> None:
    report.section("Classification: the step, without and with L2")
    report.text(
        f"A step of gradient descent with learning rate {LEARNING_RATE:g}: for the loss alone (λ = 0), and "
        f"for the loss with λ/2·Σw² (λ = {L2:g}). The sum is over weights, not biases, so the penalty adds "
        "λ w to the gradient of each weight. The course writes the same penalty as 0.01·Σw²."
    )
    for file, name, columns in (
        ("alpha", "α", ["λ", "unit", "bias", *_names("x", 6)]),
        ("beta", "β", ["λ", "unit", "bias", *_names("z", 4)]),
    ):
        gradients, updated = (
            [[f"{l2:g}", *row] for l2, each in steps.items() for row in _named(name, getattr(each, field))]
            for field in (f"d{file}", file)
        )
        _table(report, f"{file}-gradient", columns, gradients, f"The gradient ∂L/∂{name}.")
        _table(report, f"{file}-updated", columns, updated, f"{name} after the step.")
    plain, penalized = steps.values()
    for name, value, expected in (
        ("β₂,₁", plain.beta[1, 1], 1.9772),
        ("β₁,₀", plain.beta[0, 0], 0.5477),
        ("α₃,₄", plain.alpha[2, 4], 2),
    ):
        claim = f"{name} is {expected} after the step without L2."
        report.expect(claim, f"It is {value:.4f}.", round(value, 4) == expected)
    report.expect(
        "The loss with L2 is 3.9712 before the step.",
        f"It is {plain.loss:.4f} + {penalized.loss - plain.loss:.4f} = {penalized.loss:.4f}.",
        round(penalized.loss, 4) == 3.9712,
    )
    squares = [float((weights[:, 1:] ** 2).sum()) for weights in (ALPHA, BETA)]
    report.table(
        "l2",
        ["quantity", "formula", "formula's value", "from the layers"],
        [
            ["loss with L2", "ℓ + 0.01 (Σ α*² + Σ β*²)", plain.loss + L2 / 2 * sum(squares), penalized.loss],
            [
                "G of α₁,₁",
                "∂ℓ/∂α₁,₁ + 2·0.01·α₁,₁",
                plain.dalpha[0, 1] + L2 * ALPHA[0, 1],
                penalized.dalpha[0, 1],
            ],
            ["G of α₁,₀, a bias", "∂ℓ/∂α₁,₀", plain.dalpha[0, 0], penalized.dalpha[0, 0]],
        ],
        f"The loss with L2 by its formula, where α* and β* are without biases, Σ α*² = {squares[0]:g} and "
        f"Σ β*² = {squares[1]:g}; and the G of the step α ← α - η G.",
        {"formula's value": ".6f", "from the layers": ".6f"},
    )
    added = np.hstack([(penalized.dalpha - plain.dalpha).ravel(), (penalized.dbeta - plain.dbeta).ravel()])
    penalty = np.hstack([_penalty_gradient(weights).ravel() for weights in (ALPHA, BETA)])
    report.expect(
        "With the penalty 0.01·Σw², a weight w takes the step -η G with G = ∂ℓ/∂w + 2·0.01·w, and a bias b "
        "with G = ∂ℓ/∂b.",
        f"The gradients differ from it by at most {np.abs(added - penalty).max():.1g}.",
        bool(np.allclose(added, penalty, rtol=0, atol=1e-13)),
    )
    worst = max(each.gradient_error for each in steps.values())
    report.expect(
        "All gradients agree with finite differences to 7 digits.",
        f"`gradcheck.check` finds a relative error of at most {worst:.1e}.",
        worst < 1e-7,
    )


def _penalty_gradient(weights: np.ndarray) -> np.ndarray:
    """2·0.01·w for each weight, 0 for the biases in the first column."""
    penalty = L2 * weights
    penalty[:, 0] = 0
    return penalty


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{digit}" for digit in "₁₂₃₄₅₆"[:count]]


def _named(name: str, units: np.ndarray) -> list[list[Any]]:
    return [[label, *row] for label, row in zip(_names(name, len(units)), units, strict=True)]


def _table(
    report: Report, name: str, columns: list[str], rows: Iterable[Sequence[Any]], caption: str
) -> None:
    """Add a table with four decimals, except for the target y."""
    report.table(name, columns, rows, caption, {column: ".4f" for column in columns if column != "y"})


def _picture(traced: Trace) -> Figure:
    """The network; wider lines are weights with larger gradients."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    layers = [np.r_[1, X[0]], np.r_[1, traced.z], traced.y]
    heights = [np.linspace(1, 0, len(layer) + 2)[1:-1] for layer in layers]
    for k, gradients in enumerate((traced.dalpha, traced.dbeta)):
        first = 1 if k == 0 else 0  # no weight leads to the constant 1 of the bias
        for (unit, source), gradient in np.ndenumerate(gradients):
            axes.plot(
                [k, k + 1], [heights[k][source], heights[k + 1][unit + first]],
                color="#c0392b" if gradient > 0 else "#1f77b4",
                linewidth=6 * np.sqrt(abs(gradient)), alpha=0.6, zorder=1,
            )  # fmt: skip
    for k, (layer, ys) in enumerate(zip(layers, heights, strict=True)):
        axes.scatter([k] * len(ys), ys, s=700, color="white", edgecolor="#666666", zorder=2)
        for i, (value, y) in enumerate(zip(layer, ys, strict=True)):
            is_given = k == 0 or (k == 1 and i == 0)
            shown = f"{value:g}" if is_given else f"{value:.2f}"
            axes.text(k, y, shown, ha="center", va="center", fontsize=9, zorder=3)
    for k, label in enumerate(("1 and x", "1 and z", "ŷ")):
        axes.text(k, 1, label, ha="center", fontsize=11)
    axes.set(xlim=(-0.2, 2.2), ylim=(0, 1.06))
    return figure
