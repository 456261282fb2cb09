"""The gradient checker itself: it locates wrong gradients and accepts right ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import xpnet
from cases import draw
from conftest import MakeBackend, Place
from xpnet import gradcheck, losses, nn, optim, schedules
from xpnet.errors import Error, ShapeError
from xpnet.testing import LawError, check_layer


@dataclass(frozen=True, repr=False)
class BiasForgotten(nn.Linear):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, grads | {"bias": 0 * grads["bias"]}


@dataclass(frozen=True, repr=False)
class TwoFaults(BiasForgotten):
    """db is missing, and dW is 1 % too long."""

    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, grads | {"weight": 1.01 * grads["weight"]}


@dataclass(frozen=True, repr=False)
class BiasForgottenInParameterGradients(nn.Linear):
    def parameter_gradients(self, params, residuals, dy):
        grads = super().parameter_gradients(params, residuals, dy)
        return grads | {"bias": 0 * grads["bias"]}


@dataclass(frozen=True, repr=False)
class OneGradientMissing(nn.Linear):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, {"weight": grads["weight"]}


@dataclass(frozen=True, repr=False)
class SlightlyWrong(nn.Tanh):
    def backward(self, params, residuals, dy):
        return (1 + 1e-6) * super().backward(params, residuals, dy)[0], {}


def test_names_the_wrong_array_and_entry() -> None:
    with pytest.raises(
        gradcheck.GradientError, match=r"BiasForgotten: the gradient at params\.bias\[\d\] is 0, finite"
    ):
        gradcheck.check(BiasForgotten(4, 3), draw((5, 4)))


def test_names_the_worst_of_several_faults() -> None:
    with pytest.raises(gradcheck.GradientError, match=r"TwoFaults: the gradient at params\.bias\[\d\] is 0"):
        gradcheck.check(TwoFaults(4, 3), draw((5, 4)))


def test_parameter_gradients_are_compared_with_backward() -> None:
    """Training uses `parameter_gradients`, finite differences check `backward`."""
    with pytest.raises(gradcheck.GradientError) as error:
        gradcheck.check(BiasForgottenInParameterGradients(4, 3), draw((5, 4)))
    assert str(error.value) == (
        "BiasForgottenInParameterGradients: expected parameter_gradients to return the gradients of backward, got others for params.bias"
    )


def test_a_gradient_that_is_missing() -> None:
    with pytest.raises(
        gradcheck.GradientError, match=r"OneGradientMissing: expected backward .* got {'weight': \(4, 3\)}"
    ):
        gradcheck.check(OneGradientMissing(4, 3), draw((5, 4)))


BACKWARDS = {
    "None": (None, "expected backward to return (dx, grads), got None"),
    "dx alone": (np.ones((5, 4)), "expected backward to return (dx, grads), got one ndarray"),
    "three": ((1, 2, 3), "expected backward to return (dx, grads), got 3 values"),
    "no dx": ((None, {}), "expected backward to return dx of the shape of x, (5, 4), got None"),
    "dx as a list": (([[1.0]], {}), "expected backward to return dx of the shape of x, (5, 4), got one list"),
    "dx transposed": (
        (np.ones((4, 5)), {}),
        "expected backward to return dx of the shape of x, (5, 4), got (4, 5)",
    ),
    "no grads": (
        (np.ones((5, 4)), None),
        "expected backward to return the names and shapes of the parameters, {}, got None",
    ),
}


@pytest.mark.parametrize(("result", "message"), BACKWARDS.values(), ids=list(BACKWARDS))
def test_what_backward_returns_is_looked_at_first(result: object, message: str) -> None:
    """As a student's first attempt may return it."""

    @dataclass(frozen=True, repr=False)
    class Attempt(nn.Tanh):
        def backward(self, params, residuals, dy):
            return result

    with pytest.raises(gradcheck.GradientError) as error:
        gradcheck.check(Attempt(), draw((5, 4)))
    assert str(error.value) == f"Attempt: {message}"
    with pytest.raises(LawError, match="forward and backward fit together") as refused:
        check_layer(Attempt(), (5, 4), backends=["numpy"])
    assert len(str(refused.value).splitlines()) == 2  # the laws after it would only repeat the fault


def test_a_loss_that_returns_no_gradient() -> None:
    @dataclass(frozen=True, repr=False)
    class Attempt(losses.MeanSquaredError):
        def backward(self, residuals):
            return None

    with pytest.raises(gradcheck.GradientError) as error:
        gradcheck.check(Attempt(), draw((5, 4)), draw((5, 4)))
    assert str(error.value) == (
        "Attempt: expected backward to return the gradient of the shape of the prediction, (5, 4), got None"
    )


@pytest.mark.parametrize("call", [
    lambda: nn.Layer().forward({}, None), lambda: nn.Layer().backward({}, None, None), lambda: losses.Loss().forward(None, None),
    lambda: losses.Loss().backward(None), lambda: optim.Optimizer().update({}, {}, {}), lambda: schedules.Schedule()(0),
])  # fmt: skip
def test_a_method_that_is_left_out_is_named(call: Callable[[], object]) -> None:
    with pytest.raises(NotImplementedError, match=r"^\w+: expected a method \w+, got none$"):
        call()


def test_sees_an_error_of_a_millionth() -> None:
    with pytest.raises(gradcheck.GradientError, match="SlightlyWrong"):
        gradcheck.check(SlightlyWrong(), draw((5, 4)))


def test_a_random_direction_sees_what_a_few_entries_miss() -> None:
    @dataclass(frozen=True, repr=False)
    class OneEntryWrong(nn.Tanh):
        def backward(self, params, residuals, dy):
            dx, grads = super().backward(params, residuals, dy)
            dx[33, 3] += 1e-3
            return dx, grads

    with pytest.raises(gradcheck.GradientError, match="along a random direction"):
        gradcheck.check(OneEntryWrong(), draw((50, 40)), entries=2)


def test_not_a_number_is_never_right() -> None:
    @dataclass(frozen=True, repr=False)
    class NotANumber(nn.Tanh):
        def backward(self, params, residuals, dy):
            dx, grads = super().backward(params, residuals, dy)
            dx[0, 0] = np.nan
            return dx, grads

    with pytest.raises(gradcheck.GradientError, match=r"NotANumber: the gradient at x\[.*\] is nan"):
        gradcheck.check(NotANumber(), draw((2, 2)))


@pytest.mark.parametrize("loss", [losses.CrossEntropy(), losses.MeanSquaredError()], ids=repr)
def test_a_whole_model_with_l2(loss: losses.Loss, place: Place) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3))
    model = xpnet.Model(net, loss, optim.SGD(0.1), place[0], dtype="float64", device=place[1], l2=0.1)
    report = gradcheck.check(model, draw((4, 2, 3)), np.array([0, 2, 1, 1]))
    assert max(report.directions, report.entries) < 1e-7


def test_measure_tells_of_each_array_apart() -> None:
    found = gradcheck.measure(BiasForgotten(4, 3), draw((5, 4)))
    assert list(found) == ["params.bias", "params.weight", "x"]
    assert found["params.bias"].error > 0.1
    assert found["params.bias"].exact == 0
    assert max(found["params.weight"].error, found["x"].error) < 1e-7


def test_measure_gets_past_a_kink_that_is_near() -> None:
    x = draw((20, 20))
    x[np.abs(x) < 1e-3] = 1e-3
    x[3, 4] = 2e-6  # closer to ReLU's kink than ε
    with pytest.raises(gradcheck.GradientError):
        gradcheck.check(nn.ReLU(), x, directions=20, entries=400, tolerance=1e-6)
    found = gradcheck.measure(nn.ReLU(), x, directions=20, entries=400, tolerance=1e-6)
    assert found["x"].error < 1e-6


def test_a_network_that_is_dead_has_gradient_zero(make_backend: MakeBackend) -> None:
    x = make_backend("float64").asarray(-np.abs(draw((4, 3))))
    assert gradcheck.check(nn.ReLU(), x).entries == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear, draw((5, 4))), "expected a layer, a loss or a model, got the class Linear; write Linear(…)"),
        ((abs, draw((5, 4))), "expected a layer, a loss or a model, got <built-in function abs>"),
        ((nn.Linear(4, 3), draw((5, 4)).tolist()), "expected x to be an array of float64, got one list"),
        ((nn.Linear(4, 3), (5, 4)), "expected x to be an array of float64, got one tuple"),
        ((nn.Linear(4, 3), draw((5, 2))), "Linear(4, 3): expected x of shape (n, 4), got (5, 2)"),
        ((nn.Linear(4, 3), draw((5, 4)), np.zeros(5, int)), "expected no target for Linear(4, 3); a loss and a model have one"),
        ((losses.CrossEntropy(), draw((5, 4))), "expected a target for CrossEntropy(), got none; write check(loss, x, target)"),
        ((losses.CrossEntropy(), draw((2, 4)), np.array([1, 4])), "CrossEntropy(): expected labels from 0 to 3, got labels from 1 to 4"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked(arguments: tuple, message: str) -> None:
    for function in (gradcheck.check, gradcheck.measure):
        with pytest.raises(Error) as error:
            function(*arguments)
        assert str(error.value).removeprefix("gradcheck: ") == message


def test_refuses_float32() -> None:
    with pytest.raises(ShapeError, match="gradcheck: expected float64, got x of float32"):
        gradcheck.check(nn.Tanh(), draw((2, 2)).astype(np.float32))
