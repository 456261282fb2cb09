"""Backpropagation by hand.

Two networks are so small that every number can be checked on paper. The first is the worked example of a
machine-learning course: one hidden layer of sigmoid units, a softmax with cross-entropy, one example, one
step. The second is a regression with two hidden units.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import gradcheck, losses, nn, optim
from xpnet.backend import Backend
from xpnet.model import Model
from xpnet.studies import _regression_by_hand
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


class Jacobian(NamedTuple):
    """The derivatives ∂sᵢ/∂bⱼ of s = softmax(b), found in three ways."""

    formula: np.ndarray
    backward: np.ndarray
    differences: np.ndarray


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


def softmax_jacobian(options: Options, b: np.ndarray, epsilon: float = 1e-5) -> Jacobian:
    """diag(s) - ssᵀ, `nn.Softmax.backward` and central differences. Shapes: b (d,), each result (d, d)."""
    backend = options.make_backend("float64")
    softmax, unit_vectors = nn.Softmax(), np.eye(len(b))

    def s(rows: np.ndarray) -> np.ndarray:
        return backend.to_numpy(softmax.forward({}, backend.asarray(rows))[0])

    # With dy = eᵢ, row i of the result of `backward` is the gradient of sᵢ.
    _, residuals = softmax.forward({}, backend.asarray(np.tile(b, (len(b), 1))))
    backward, _ = softmax.backward({}, residuals, backend.asarray(unit_vectors))
    differences = (s(b + epsilon * unit_vectors) - s(b - epsilon * unit_vectors)).T / (2 * epsilon)
    probabilities = s(b[None])[0]
    formula = np.diag(probabilities) - np.outer(probabilities, probabilities)
    return Jacobian(formula, backend.to_numpy(backward), differences)


def _units(backend: Backend, layer: Tree) -> np.ndarray:
    """The parameters of a linear layer, or their gradients: a row for each unit, its bias first."""
    weight, bias = backend.to_numpy(layer["weight"]), backend.to_numpy(layer["bias"])
    return np.column_stack([bias, weight.T])


def run(options: Options, report: Report) -> None:
    """Show both examples with every intermediate number."""
    report.config({"learning rate": LEARNING_RATE, "λ": L2})
    traced = trace(options)
    steps = {l2: step(options, l2) for l2 in (0.0, L2)}
    _forward_and_back(report, traced)
    _update(report, steps)
    _jacobian(options, report, traced)
    _regression_by_hand.run(options, report)


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
    worst = max(each.gradient_error for each in steps.values())
    report.expect(
        "All gradients agree with finite differences to 7 digits.",
        f"`gradcheck.check` finds a relative error of at most {worst:.1e}.",
        worst < 1e-7,
    )


def _jacobian(options: Options, report: Report, traced: Trace) -> None:
    report.section("The derivatives of softmax")
    found = softmax_jacobian(options, traced.b)
    report.text(
        "Each output of s = softmax(b) depends on each input. The derivatives ∂sᵢ/∂bⱼ form the matrix "
        "diag(s) - s sᵀ. `nn.Softmax.backward` never forms it: it computes the product with a "
        "gradient ds, s (ds - Σ s ds). Unit vectors ds give the matrix row by row."
    )
    rows = _named("∂s", found.formula)
    _table(report, "jacobian", ["", *_names("∂b", 3)], rows, "diag(s) - s sᵀ for the b of the example.")
    backward, differences = (float(np.abs(each - found.formula).max()) for each in found[1:])
    report.expect(
        "The Jacobian of softmax is diag(s) - s sᵀ.",
        f"`nn.Softmax.backward` differs from it by at most {backward:.1e}, the central differences of "
        f"`nn.Softmax.forward` by {differences:.1e}.",
        backward < 1e-14 and differences < 1e-9,
    )


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
