"""Numbers that can be worked out on paper or are known from elsewhere."""

import numpy as np
import pytest

import xpnet
from xpnet import losses, nn, optim

ALPHA = np.array(
    [[1, 1, 2, -3, 0, 1, -3], [1, 2, 1, 1, 1, 0, 2], [1, 3, 2, 2, 2, 2, 1], [1, 2, 0, 3, 1, -2, 2]]
)
BETA = np.array([[1, 1, 2, -2, 3], [1, 2, -1, 3, 1], [1, 3, 1, -1, 1]])


def course_model(l2: float) -> xpnet.Model:
    """6 inputs, 4 sigmoid units, 3 softmax outputs; a row of ALPHA or BETA is a unit, its bias first."""
    net = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(learning_rate=1.0), dtype="float64", l2=l2)
    model.params = (
        {"weight": ALPHA[:, 1:].T.astype(float), "bias": ALPHA[:, 0].astype(float)},
        {},
        {"weight": BETA[:, 1:].T.astype(float), "bias": BETA[:, 0].astype(float)},
    )
    return model


def test_one_step_of_the_course_example() -> None:
    model = course_model(l2=0)
    x, class_3 = [[1, 0, 1, 0, 1, 1]], [2]
    model.forward(x)
    model.backward(class_3)
    model.step()
    alpha, _, beta = model.params
    assert round(float(beta["weight"][0, 1]), 4) == 1.9772  # β₂,₁
    assert round(float(beta["bias"][0]), 4) == 0.5477  # β₁,₀
    assert round(float(alpha["weight"][3, 2]), 4) == 2  # α₃,₄


def test_regularised_loss_of_the_course_example() -> None:
    model = course_model(l2=0.02)  # λ/2·Σw² = 0.01·Σw², without the biases
    model.forward([[1, 0, 1, 0, 1, 1]])
    assert round(model.loss([2]), 4) == 3.9712


def test_cross_entropy_of_known_probabilities() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4]])
    value, _ = losses.CrossEntropy().forward(np.log(probabilities), np.array([1, 2, 0]))
    assert round(float(value), 5) == 0.93780


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_cross_entropy_of_huge_logits_is_finite(size: float) -> None:
    logits = np.array([[size, 0, -size], [0, size, size]], dtype=np.float32)
    for target in (np.array([2, 0]), np.eye(3, dtype=np.float32)[[2, 0]]):
        value, residuals = losses.CrossEntropy().forward(logits, target)
        gradient = losses.CrossEntropy().backward(residuals)
        expected = {1e4: (2e4 + 1e4 + np.log(2)) / 2, -1e4: 0.0}[size]
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        wanted = {1e4: [[0.5, 0, -0.5], [-0.5, 0.25, 0.25]], -1e4: [[0, 0, 0], [0, 0, 0]]}[size]
        np.testing.assert_allclose(gradient, wanted, atol=1e-7)


def test_mean_squared_error_is_the_mean_over_examples_and_outputs() -> None:
    prediction, target = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.0, 2.0], [1.0, 2.0]])
    value, residuals = losses.MeanSquaredError().forward(prediction, target)
    assert value == (1 + 0 + 4 + 9) / 4
    np.testing.assert_array_equal(losses.MeanSquaredError().backward(residuals), [[0.5, 0], [1, 1.5]])


def test_relu_has_derivative_zero_at_zero() -> None:
    x = np.array([[-1.0, 0.0, 2.0]])
    y, residuals = nn.ReLU().forward({}, x)
    dx, _ = nn.ReLU().backward({}, residuals, np.ones((1, 3)))
    np.testing.assert_array_equal(y, [[0, 0, 2]])
    np.testing.assert_array_equal(dx, [[0, 0, 1]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_exact_far_from_zero(dtype: str) -> None:
    x = np.array([[-1e4, -80, -30, 0, 30, 1e4]], dtype=dtype)
    y, _ = nn.Sigmoid().forward({}, x)
    expected = [0, np.exp(-80.0), 1 / (1 + np.exp(30.0)), 0.5, 1, 1]
    np.testing.assert_allclose(y[0], expected, rtol=1e-5, atol=1e-38)
    assert y.dtype == dtype


def test_l2_is_half_lambda_times_the_sum_of_squares() -> None:
    assert losses.l2([np.array([[1.0, 2.0]]), np.array([[3.0]])], strength=0.5) == 0.25 * (1 + 4 + 9)
    assert losses.l2([], strength=0.5) == 0  # a network of biases alone


def test_errors_count_the_first_of_equal_outputs() -> None:
    logits = np.zeros((4, 3))
    assert losses.CrossEntropy().errors(logits, np.array([0, 1, 2, 0])) == 2
