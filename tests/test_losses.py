"""Losses: known values, PyTorch's numbers, predictions far from zero, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest

import xpnet
from cases import LOSSES, LossCase, draw
from conftest import MakeBackend, Place
from laws import assert_kept
from xpnet import losses, nn, optim
from xpnet.errors import ConfigError, ShapeError

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def both_passes(loss: losses.Loss, prediction: Any, target: Any) -> tuple[Any, Any]:
    value, residuals = loss.forward(prediction, target)
    return value, loss.backward(residuals)


# PyTorch's numbers. If its loss has another divisor than ours, its sum is divided by ours.


def labels(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.integers(0, d, n)


def soft(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.dirichlet(np.ones(d), n)


def chances(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.uniform(0, 1, (n, d))


def real(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return 2 * rng.standard_normal((n, d))


def weights(d: int) -> tuple[float, ...]:
    return tuple(0.5 + 0.25 * i for i in range(d))


def torch_weights(torch: Any, z: Any) -> Any:
    return torch.tensor(weights(z.shape[-1]), dtype=z.dtype)


PYTORCH = {
    "CrossEntropy labels": (lambda d: losses.CrossEntropy(), labels, lambda torch, f, z, t: f.cross_entropy(z, t)),
    "CrossEntropy soft": (lambda d: losses.CrossEntropy(), soft, lambda torch, f, z, t: f.cross_entropy(z, t)),
    "smooth labels": (lambda d: losses.CrossEntropy(0.1), labels, lambda torch, f, z, t: f.cross_entropy(z, t, label_smoothing=0.1)),
    "smooth soft": (lambda d: losses.CrossEntropy(0.1), soft, lambda torch, f, z, t: f.cross_entropy(z, t, label_smoothing=0.1)),
    "weighted labels": (
        lambda d: losses.CrossEntropy(class_weights=weights(d)),
        labels,
        lambda torch, f, z, t: f.cross_entropy(z, t, torch_weights(torch, z), reduction="sum") / z.shape[0],
    ),
    "weighted soft": (
        lambda d: losses.CrossEntropy(class_weights=weights(d)),
        soft,
        lambda torch, f, z, t: f.cross_entropy(z, t, torch_weights(torch, z)),
    ),
    "weighted smooth labels": (
        lambda d: losses.CrossEntropy(0.2, weights(d)),
        labels,
        lambda torch, f, z, t: f.cross_entropy(z, t, torch_weights(torch, z), reduction="sum", label_smoothing=0.2) / z.shape[0],
    ),
    "weighted smooth soft": (
        lambda d: losses.CrossEntropy(0.2, weights(d)),
        soft,
        lambda torch, f, z, t: f.cross_entropy(z, t, torch_weights(torch, z), label_smoothing=0.2),
    ),
    "BinaryCrossEntropy": (
        lambda d: losses.BinaryCrossEntropy(),
        chances,
        lambda torch, f, z, t: f.binary_cross_entropy_with_logits(z, t),
    ),
    "MeanSquaredError": (lambda d: losses.MeanSquaredError(), real, lambda torch, f, z, t: f.mse_loss(z, t)),
    "MeanAbsoluteError": (lambda d: losses.MeanAbsoluteError(), real, lambda torch, f, z, t: f.l1_loss(z, t)),
    "Huber": (lambda d: losses.Huber(), real, lambda torch, f, z, t: f.huber_loss(z, t)),
    "Huber 2.5": (lambda d: losses.Huber(2.5), real, lambda torch, f, z, t: f.huber_loss(z, t, delta=2.5)),
    "Hinge": (lambda d: losses.Hinge(), labels, lambda torch, f, z, t: z.shape[-1] * f.multi_margin_loss(z, t)),
    "Hinge 0.5": (
        lambda d: losses.Hinge(0.5),
        labels,
        lambda torch, f, z, t: z.shape[-1] * f.multi_margin_loss(z, t, margin=0.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(32, 10), (5, 2), (1, 3), (7, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PYTORCH)
def test_agrees_with_pytorch(name: str, dtype: str, shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    make, make_target, theirs = PYTORCH[name]
    rng = np.random.default_rng(1)
    prediction, target = (3 * rng.standard_normal(shape)).astype(dtype), make_target(rng, *shape)
    target = target if target.dtype.kind == "i" else target.astype(dtype)
    z = torch.tensor(prediction, requires_grad=True)
    value = theirs(torch, torch.nn.functional, z, torch.tensor(target))
    value.backward()
    ours = both_passes(make(shape[-1]), prediction, target)
    for mine, other in zip(ours, (value.detach(), z.grad), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other.numpy(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


# On paper.

LOGITS = np.log(np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]))


def test_label_smoothing_on_paper() -> None:
    value, gradient = both_passes(losses.CrossEntropy(label_smoothing=0.3), LOGITS, np.array([2, 0]))
    t = np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    np.testing.assert_allclose(value, -np.sum(t * LOGITS) / 2, rtol=1e-14)
    np.testing.assert_allclose(gradient, (np.exp(LOGITS) - t) / 2, atol=1e-15)


def test_class_weights_multiply_examples_and_the_batch_still_counts_n() -> None:
    value, gradient = both_passes(losses.CrossEntropy(class_weights=(4, 0, 2)), LOGITS, np.array([2, 0]))
    np.testing.assert_allclose(value, -(2 * np.log(0.5) + 4 * np.log(0.6)) / 2, rtol=1e-14)
    expected = [[2 * 0.2, 2 * 0.3, 2 * -0.5], [4 * -0.4, 4 * 0.3, 4 * 0.1]]
    np.testing.assert_allclose(gradient, np.array(expected) / 2, rtol=1e-13)


def test_options_that_change_nothing_change_nothing() -> None:
    for target in (np.array([2, 0]), np.array([[0.2, 0.3, 0.5], [0, 0, 1]])):
        plain = both_passes(losses.CrossEntropy(), LOGITS, target)
        weighted = both_passes(losses.CrossEntropy(0, (1, 1, 1)), LOGITS, target)
        for mine, other in zip(weighted, plain, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-14)


def test_binary_cross_entropy_on_paper() -> None:
    logits = np.array([[0.0], [math.log(3)], [-math.log(3)]])  # p = 1/2, 3/4, 1/4
    expected = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    for target in (np.array([0, 1, 1]), np.array([[0.0], [1.0], [1.0]])):
        value, gradient = both_passes(losses.BinaryCrossEntropy(), logits, target)
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        np.testing.assert_allclose(gradient, np.array([[0.5], [-0.25], [-0.75]]) / 3, rtol=1e-14)


def test_binary_cross_entropy_of_one_output_is_cross_entropy_of_two() -> None:
    z, target = draw((6, 1)), np.array([0, 1, 1, 0, 1, 0])
    value, gradient = both_passes(losses.BinaryCrossEntropy(), z, target)
    of_two, gradient_of_two = both_passes(losses.CrossEntropy(), np.concatenate([0 * z, z], axis=1), target)
    np.testing.assert_allclose(value, of_two, rtol=1e-14)
    np.testing.assert_allclose(gradient[:, 0], gradient_of_two[:, 1], rtol=1e-13)


def test_absolute_and_huber_on_paper() -> None:
    prediction, target = np.array([[1.0, 2.0], [3.0, -5.0]]), np.array([[0.5, 2.0], [1.0, -2.0]])
    value, gradient = both_passes(losses.MeanAbsoluteError(), prediction, target)
    assert value == (0.5 + 0 + 2 + 3) / 4
    np.testing.assert_array_equal(gradient, [[0.25, 0], [0.25, -0.25]])
    value, gradient = both_passes(losses.Huber(delta=2), prediction, target)  # one difference is just δ
    assert value == (0.125 + 0 + 2 + 2 * (3 - 1)) / 4
    np.testing.assert_array_equal(gradient, [[0.125, 0], [0.5, -0.5]])


def test_hinge_of_the_course_example() -> None:
    """The scores of cat, car and frog in CS231n's lecture on linear classifiers."""
    scores, target = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]), np.array([0, 1, 2])
    value, gradient = both_passes(losses.Hinge(), scores, target)
    np.testing.assert_allclose(value, (2.9 + 0 + 12.9) / 3, rtol=1e-14)
    np.testing.assert_allclose(gradient, np.array([[-1, 1, 0], [0, 0, 0], [1, 1, -2]]) / 3, rtol=1e-14)
    assert losses.Hinge().errors(scores, target) == 2
    np.testing.assert_array_equal(losses.Hinge().predict(scores), [1, 1, 1])


def test_hinge_has_derivative_zero_at_the_margin() -> None:
    value, gradient = both_passes(losses.Hinge(), np.array([[2.0, 1.0, 0.0]]), np.array([0]))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))


# Predictions and errors.


def test_binary_answers(make_backend: MakeBackend) -> None:
    backend, loss = make_backend("float32"), losses.BinaryCrossEntropy()
    one = backend.asarray(np.array([[0.0], [2.0], [-1.0], [3.0]]))
    np.testing.assert_array_equal(backend.to_numpy(loss.predict(one)), [0, 1, 0, 1])
    assert int(loss.errors(one, backend.asarray(np.array([1, 1, 1, 1])))) == 2
    assert int(loss.errors(one, backend.asarray(np.array([[1.0], [1.0], [0.3], [0.8]])))) == 1
    two = backend.asarray(np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]))
    np.testing.assert_array_equal(backend.to_numpy(loss.predict(two)), [[1, 0], [1, 1], [0, 0]])
    assert int(loss.errors(two, backend.asarray(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])))) == 2
    chances = backend.to_numpy(loss.probabilities(two))
    np.testing.assert_allclose(chances, 1 / (1 + np.exp([[-1, 1], [-1, -1], [1, 1]])), rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.MeanAbsoluteError(), losses.Huber()], ids=str)
def test_labels_stand_for_one_hot_rows(loss: losses.Loss) -> None:
    prediction, target = draw((4, 3)), np.array([0, 2, 1, 2])
    of_labels, of_rows = (
        both_passes(loss, prediction, target),
        both_passes(loss, prediction, np.eye(3)[target]),
    )
    for mine, other in zip(of_labels, of_rows, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert loss.errors(prediction, target) == np.sum(prediction.argmax(axis=-1) != target)
    assert loss.errors(prediction, np.eye(3)[target]) is None
    assert loss.predict(prediction) is prediction


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (losses.CrossEntropy(0.1, (1.0, 2.0)), lambda positive: positive),
        (losses.BinaryCrossEntropy(), lambda positive: positive),
        (losses.BinaryCrossEntropy(), lambda positive: np.stack([positive, 1 - positive], axis=1)),
        (losses.Hinge(), lambda positive: positive),
        (losses.MeanAbsoluteError(), lambda positive: positive),
        (losses.Huber(), lambda positive: positive),
    ],
    ids=lambda value: str(value) if isinstance(value, losses.Loss) else "",
)
def test_a_model_learns_with_it(loss: losses.Loss, y: Any, place: Place) -> None:
    """A model learns on which side of a line a point lies; this calls every method of a loss, in compiled steps."""
    x = draw((64, 2))
    target = y((x[:, 0] + x[:, 1] > 0).astype(np.int64))
    n_out = 1 if isinstance(loss, losses.BinaryCrossEntropy) and target.ndim == 1 else 2
    net = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(), nn.Linear(8, n_out))
    model = xpnet.Model(net, loss, optim.SGD(0.2, 0.9), place[0], device=place[1])
    before = model.evaluate(x, target).loss
    model.fit(x, target, epochs=5, batch_size=8)
    after = model.evaluate(x, target)
    assert after.loss < 0.7 * before
    assert after.accuracy is not None
    assert after.accuracy > 0.9
    if n_out == 1 or isinstance(loss, losses.CrossEntropy | losses.Hinge):
        assert np.mean(model.predict(x) == target) > 0.9


# Far from zero.

LARGE = 1e4
FAR = np.array([[LARGE, -LARGE], [LARGE, LARGE], [-LARGE, LARGE]])
ZERO_ONE = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("loss", "target", "value", "gradient"),
    [
        (losses.CrossEntropy(0.5), np.array([1, 0, 1]), (1.5 * LARGE + math.log(2) + 0.5 * LARGE) / 3, [[0.75, -0.75], [-0.25, 0.25], [-0.25, 0.25]]),
        (losses.CrossEntropy(0.5, (4.0, 8.0)), np.array([1, 0, 1]), (12 * LARGE + 5 * math.log(2) + 2 * LARGE) / 3, [[6, -6], [-0.5, 0.5], [-1, 1]]),
        (losses.BinaryCrossEntropy(), ZERO_ONE, 3 * LARGE / 6, np.array([[1, -1], [0, 1], [0, 0]]) / 2),
        (losses.Hinge(), np.array([1, 0, 1]), (2 * LARGE + 2) / 3, [[1, -1], [-1, 1], [0, 0]]),
        (losses.MeanAbsoluteError(), -FAR, 2 * LARGE, np.array([[1, -1], [1, 1], [-1, 1]]) / 2),
        (losses.Huber(), -FAR, 2 * LARGE - 0.5, np.array([[1, -1], [1, 1], [-1, 1]]) / 2),
        (losses.MeanSquaredError(), -FAR, 4 * LARGE**2, FAR * 2),
    ],
    ids=lambda value: str(value) if isinstance(value, losses.Loss) else "",
)  # fmt: skip
def test_exact_and_without_warnings_far_from_zero(
    loss: losses.Loss, target: np.ndarray, value: float, gradient: Any, make_backend: MakeBackend
) -> None:
    backend = make_backend("float32")
    results = both_passes(loss, backend.asarray(FAR), backend.asarray(target))
    assert_kept(backend, results)
    np.testing.assert_allclose(backend.to_numpy(results[0]), value, rtol=1e-6)
    np.testing.assert_allclose(backend.to_numpy(results[1]), np.array(gradient) / 3, rtol=1e-6, atol=1e-30)


def test_binary_cross_entropy_keeps_small_losses() -> None:
    """A confident right prediction has the loss e^-20; rounding max(z, 0) - z t would lose it."""
    value, _ = both_passes(losses.BinaryCrossEntropy(), np.array([[20.0]], dtype=np.float32), np.array([1]))
    np.testing.assert_allclose(value, math.exp(-20), rtol=1e-6)


# Assumptions of the laws.


@pytest.mark.parametrize(
    "case",
    [case for case in LOSSES if type(case.loss).__name__ in ("Hinge", "Huber", "MeanAbsoluteError")],
    ids=str,
)
def test_cases_keep_away_from_kinks(case: LossCase) -> None:
    prediction, target = draw(case.shape), case.target
    one_hot = np.eye(case.shape[-1])[target] if target.ndim == 1 else target
    if isinstance(case.loss, losses.Hinge):
        right = np.sum(prediction * one_hot, axis=-1, keepdims=True)
        distance = np.abs(prediction - right + case.loss.margin)
    else:
        kink = case.loss.delta if isinstance(case.loss, losses.Huber) else 0
        distance = np.abs(np.abs(prediction - one_hot) - kink)
    assert np.min(distance) > 0.01


# Errors.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: losses.CrossEntropy(1),
            "CrossEntropy: expected label_smoothing to be a number below 1 and at least 0, got 1",
        ),
        (
            lambda: losses.CrossEntropy(-0.1),
            "CrossEntropy: expected label_smoothing to be a number below 1 and at least 0, got -0.1",
        ),
        (
            lambda: losses.CrossEntropy("0.1"),
            "CrossEntropy: expected label_smoothing to be a number below 1 and at least 0, got '0.1'",
        ),
        (
            lambda: losses.CrossEntropy(0.1, [1, 2]),
            "CrossEntropy: expected class_weights to be a tuple of finite numbers of at least 0, got [1, 2]",
        ),
        (
            lambda: losses.CrossEntropy(0.1, (1, -2)),
            "CrossEntropy: expected class_weights to be a tuple of finite numbers of at least 0, got (1, -2)",
        ),
        (
            lambda: losses.CrossEntropy(0.1, (1, math.nan)),
            "CrossEntropy: expected class_weights to be a tuple of finite numbers of at least 0, got (1, nan)",
        ),
        (lambda: losses.Huber(0), "Huber: expected delta to be a finite number above 0, got 0"),
        (lambda: losses.Huber(math.inf), "Huber: expected delta to be a finite number above 0, got inf"),
        (lambda: losses.Hinge(-1), "Hinge: expected margin to be a finite number above 0, got -1"),
        (lambda: losses.Hinge(math.nan), "Hinge: expected margin to be a finite number above 0, got nan"),
    ],
)
def test_refuses_hyper_parameters_out_of_range(make, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("loss", "shape", "target", "message"),
    [
        (losses.CrossEntropy(0, (1, 2)), (4, 3), np.array([0, 1, 2, 1]), "CrossEntropy(class_weights=(1, 2)): expected logits of 2 classes, one for each of class_weights, got 3"),
        (losses.BinaryCrossEntropy(), (2, 1), np.array([0, 2]), "BinaryCrossEntropy(): expected labels from 0 to 1, got labels from 0 to 2"),
        (losses.BinaryCrossEntropy(), (2, 1), np.array([0, 1, 1]), "BinaryCrossEntropy(): expected 2 labels, one for each example, got 3"),
        (losses.BinaryCrossEntropy(), (2, 3), np.array([0, 1]), "BinaryCrossEntropy(): expected targets of shape (2, 3), got int64 of shape (2,)"),
        (losses.BinaryCrossEntropy(), (2, 1), np.array([[-1.0], [1.0]]), "BinaryCrossEntropy(): expected targets from 0 to 1, got targets from -1 to 1"),
        (losses.Hinge(), (2, 3), np.eye(3)[:2], "Hinge(): expected integer labels of shape (2,), got float64 of shape (2, 3)"),
        (losses.Hinge(), (2, 3), np.array([0, 3]), "Hinge(): expected labels from 0 to 2, got labels from 0 to 3"),
        (losses.Huber(2.0), (2, 3), np.zeros((3, 2)), "Huber(delta=2.0): expected integer labels of shape (2,) or real targets of shape (2, 3), got float64 of shape (3, 2)"),
    ],
)  # fmt: skip
def test_refuses_targets_that_do_not_fit(
    loss: losses.Loss, shape: tuple[int, ...], target: np.ndarray, message: str
) -> None:
    with pytest.raises(ShapeError) as error:
        loss.check(shape, target)
    assert str(error.value) == message


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_accepts_the_targets_of_all_cases(case: LossCase, make_backend: MakeBackend) -> None:
    case.loss.check(case.shape, make_backend("float32").asarray(case.target))
