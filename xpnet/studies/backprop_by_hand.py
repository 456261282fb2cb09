"""Backpropagation by hand.

Two networks so small that every number can be checked on paper. The first is the worked example of
a machine-learning course: one hidden layer of sigmoid units, a softmax with cross-entropy, one
example, one step. The second is a regression with two hidden units.
"""

from typing import NamedTuple

import numpy as np

import xpnet
from xpnet import gradcheck, losses, nn, optim
from xpnet.backend import Backend
from xpnet.studies.options import Options
from xpnet.tree import Tree

# A row is a unit, its bias first: α of the 4 hidden units, β of the 3 outputs.
ALPHA = np.array(
    [[1, 1, 2, -3, 0, 1, -3], [1, 2, 1, 1, 1, 0, 2], [1, 3, 2, 2, 2, 2, 1], [1, 2, 0, 3, 1, -2, 2]], float
)
BETA = np.array([[1, 1, 2, -2, 3], [1, 2, -1, 3, 1], [1, 3, 1, -1, 1]], float)
X, LABEL = np.array([[1, 0, 1, 0, 1, 1]], float), np.array([2])
LEARNING_RATE = 1.0
L2 = 0.02  # λ of λ/2·Σw²: the course writes 0.01·Σw²

POINTS = np.array([[-1, 0.4], [3, 8], [-3, 0.3], [4, 10], [-0.5, 5]])
TARGETS = np.array([[2], [-4], [3.2], [-8.3], [-2.3]])
W1, B1 = np.array([[0.2, 3.8], [-1.1, 2.3]]), np.array([-1.3, 0.86])
W2, B2 = np.array([[-1.2], [0.7]]), np.zeros(1)
ORIENTATIONS = {"rows are hidden units, x W1ᵀ": W1.T, "columns are hidden units, x W1": W1}
MSE = {"1/n Σ (ŷ - y)²": 1.0, "1/(2n) Σ (ŷ - y)²": 0.5, "Σ (ŷ - y)²": float(len(POINTS))}  # times 1/n
ACTIVATIONS = {"ReLU": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "identity": nn.Identity()}
LEARNING_RATES = (0.9, 0.1, 0.001, 0.0001)


class Trace(NamedTuple):
    """All values on the way through the network and back, for one example, without L2."""

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
    """A step of gradient descent: the loss before it, the gradients, and what α and β are after it."""

    loss: float
    dalpha: np.ndarray
    dbeta: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    gradient_error: float


class Jacobian(NamedTuple):
    """The derivatives ∂sᵢ/∂bⱼ of s = softmax(b), found in three ways."""

    formula: np.ndarray
    backward: np.ndarray
    differences: np.ndarray


def course_model(options: Options, l2: float = 0.0) -> xpnet.Model:
    """6 inputs, 4 sigmoid units, 3 softmax outputs, with the weights α and β."""
    net = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 3))
    model = _model(net, losses.CrossEntropy(), LEARNING_RATE, options, l2)
    model.params = (
        {"weight": ALPHA[:, 1:].T, "bias": ALPHA[:, 0]},
        {},
        {"weight": BETA[:, 1:].T, "bias": BETA[:, 0]},
    )
    return model


def trace(options: Options) -> Trace:
    """Layer after layer forward, and layer after layer back: what `Model` does, one call at a time."""
    model = course_model(options)
    backend = model.backend
    hidden, sigmoid, output = model.net.layers
    alpha, _, beta = model.params
    x, label = backend.asarray(X), backend.asarray(LABEL)

    a, hidden_residuals = hidden.forward(alpha, x)
    z, sigmoid_residuals = sigmoid.forward({}, a)
    b, output_residuals = output.forward(beta, z)
    y, _ = nn.Softmax().forward({}, b)
    loss, loss_residuals = model.loss_function.forward(b, label)

    db = model.loss_function.backward(loss_residuals)
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
    units = [_units(model.backend, layer) for layer in (dalpha, dbeta, alpha, beta)]
    return Step(loss, *units, gradient_error=max(checked.directions, checked.entries))


def softmax_jacobian(options: Options, b: np.ndarray, epsilon: float = 1e-5) -> Jacobian:
    """diag(s) - ssᵀ; `nn.Softmax.backward`; and central differences. Shapes: b (d,), each of them (d, d)."""
    backend = options.make_backend("float64")
    softmax, unit_vectors = nn.Softmax(), np.eye(len(b))

    def s(rows: np.ndarray) -> np.ndarray:
        return backend.to_numpy(softmax.forward({}, backend.asarray(rows))[0])

    # Row i of what backward gives for dy = eᵢ is the gradient of sᵢ.
    _, residuals = softmax.forward({}, backend.asarray(np.tile(b, (len(b), 1))))
    backward, _ = softmax.backward({}, residuals, backend.asarray(unit_vectors))
    differences = (s(b + epsilon * unit_vectors) - s(b - epsilon * unit_vectors)).T / (2 * epsilon)
    probabilities = s(b[None])[0]
    formula = np.diag(probabilities) - np.outer(probabilities, probabilities)
    return Jacobian(formula, backend.to_numpy(backward), differences)


def regression_losses(
    options: Options,
    weight: np.ndarray,
    activation: nn.Layer,
    learning_rate: float = 0.0,
    steps: int = 0,
) -> list[float]:
    """The mean squared error of the 2-2-1 network before and after each step on all five points.

    Shapes: weight (2, 2), as `nn.Linear` has it: a column is a hidden unit. Returns steps + 1 numbers.
    """
    net = nn.Sequential(nn.Linear(2, 2), activation, nn.Linear(2, 1))
    model = _model(net, losses.MeanSquaredError(), learning_rate, options)
    model.params = ({"weight": weight, "bias": B1}, {}, {"weight": W2, "bias": B2})
    values = []
    for _ in range(steps + 1):
        model.forward(POINTS)
        values.append(model.loss(TARGETS))
        model.zero_grads()
        model.backward(TARGETS)
        model.step()
    return values


def activation_losses(options: Options) -> dict[str, float]:
    """The loss with each activation, with the same weights."""
    return {name: regression_losses(options, W1.T, layer)[0] for name, layer in ACTIVATIONS.items()}


def learning_rate_losses(options: Options) -> dict[float, list[float]]:
    """The losses of the ReLU network before, after one and after two steps, for each learning rate."""
    return {rate: regression_losses(options, W1.T, nn.ReLU(), rate, steps=2) for rate in LEARNING_RATES}


def _model(
    net: nn.Layer, loss: losses.Loss, learning_rate: float, options: Options, l2: float = 0.0
) -> xpnet.Model:
    optimizer = optim.SGD(learning_rate)
    return xpnet.Model(net, loss, optimizer, options.backend, dtype="float64", device=options.device, l2=l2)


def _units(backend: Backend, layer: Tree) -> np.ndarray:
    """The parameters of a linear layer, or their gradients, as rows of one unit each, its bias first."""
    weight, bias = backend.to_numpy(layer["weight"]), backend.to_numpy(layer["bias"])
    return np.column_stack([bias, weight.T])
