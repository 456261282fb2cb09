"""Losses: known values, PyTorch's numbers, predictions far from zero, and what is refused."""

import math
import pickle
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


def test_rows_that_do_not_sum_to_one_on_paper() -> None:
    """Value and gradient parted ways: the gradient was p - t, whatever t added up to."""
    t = np.array([[0.5, 1.0, 0.5], [0.0, 0.0, 0.0]])
    value, gradient = both_passes(losses.CrossEntropy(), LOGITS, t)
    np.testing.assert_allclose(value, -np.sum(t * LOGITS) / 2, rtol=1e-14)
    np.testing.assert_allclose(gradient, (np.exp(LOGITS) * [[2.0], [0.0]] - t) / 2, atol=1e-15)
    value, gradient = both_passes(losses.CrossEntropy(0.3), LOGITS, t)
    smooth = np.array([[0.55, 0.9, 0.55], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(value, -np.sum(smooth * LOGITS) / 2, rtol=1e-14)
    np.testing.assert_allclose(gradient, (np.exp(LOGITS) * [[2.0], [0.0]] - smooth) / 2, atol=1e-15)
    assert losses.CrossEntropy().errors(LOGITS, t) == 1  # no label, no error


@pytest.mark.parametrize("label", [-100, 1])
def test_ignored_labels_do_not_count(label: int) -> None:
    """The loss of a batch is that of its other examples; of none, it is 0."""
    loss, others = losses.CrossEntropy(0.1, (4, 1, 2), label), losses.CrossEntropy(0.1, (4, 1, 2))
    target = np.array([2, label, 0, label])
    logits = np.concatenate([LOGITS, LOGITS[::-1]])[[0, 3, 1, 2]]
    value, gradient = both_passes(loss, logits, target)
    expected, expected_gradient = both_passes(others, logits[::2], target[::2])
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(gradient[::2], expected_gradient, rtol=1e-14)
    np.testing.assert_array_equal(gradient[1::2], 0)
    assert loss.errors(logits, target) == others.errors(logits[::2], target[::2])
    assert loss.count(logits.shape, target) == 2
    assert others.count(logits.shape, target) is None
    value, gradient = both_passes(loss, logits, np.full(4, label))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    soft = np.eye(3)[[2, 0, 0, 0]] * [[1], [0], [1], [0]]
    np.testing.assert_allclose(both_passes(loss, logits, soft)[0], expected, rtol=1e-14)
    assert loss.count(logits.shape, soft) == 2


def test_ignored_labels_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    logits, target = draw((5, 3)), np.array([2, -100, 0, 1, -100])
    z = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(z, torch.tensor(target), label_smoothing=0.2)
    theirs.backward()
    value, gradient = both_passes(losses.CrossEntropy(0.2, ignore_label=-100), logits, target)
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-13)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("q", [3.0, [3.0, 0.5, 1.0]], ids=str)
def test_pos_weight_is_pytorchs(q: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    logits, target = 5 * draw((6, 3)), np.random.default_rng(0).uniform(size=(6, 3))
    z = torch.tensor(logits, requires_grad=True)
    f = torch.nn.functional.binary_cross_entropy_with_logits
    theirs = f(z, torch.tensor(target), pos_weight=torch.tensor(q, dtype=torch.float64))
    theirs.backward()
    value, gradient = both_passes(losses.BinaryCrossEntropy(np.array(q)), logits, target)
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-13)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-11)


@pytest.mark.parametrize("library", ["list", "numpy", "torch", "jax.numpy", "array_api_strict"])
def test_class_weights_of_every_kind(library: str) -> None:
    given: Any = [0.5, 2.0, 1.0]
    if library != "list":
        given = pytest.importorskip(library, reason=f"{library} is not installed").asarray(np.array(given))
    loss = losses.CrossEntropy(class_weights=given)
    assert loss == losses.CrossEntropy(class_weights=(0.5, 2.0, 1.0))
    assert repr(loss) == "CrossEntropy(class_weights=(0.5, 2.0, 1.0))"
    assert {loss: 1}[pickle.loads(pickle.dumps(loss))] == 1


def test_class_weights_by_name() -> None:
    loss = losses.CrossEntropy(class_weights={2: np.float32(0.5), np.int64(1): 2})
    assert loss == losses.CrossEntropy(class_weights={1: 2, 2: 0.5}) == eval(f"losses.{loss}")
    assert loss == losses.CrossEntropy(class_weights=[[np.int64(1), np.float32(2)], [2, 0.5]])  # as in YAML
    whole = losses.CrossEntropy(class_weights=(1, 2, 0.5))
    for mine, other in zip(
        *(both_passes(each, LOGITS, np.array([2, 1])) for each in (loss, whole)), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
    assert hash(loss) == hash(losses.CrossEntropy(class_weights={1: 2, 2: 0.5}))


def test_balanced_class_weights_are_scikit_learns() -> None:
    weights = pytest.importorskip("sklearn.utils.class_weight", reason="compares with scikit-learn")
    y = np.array([0, 2, 2, 0, 2, 2, 4])
    found = losses.CrossEntropy(class_weights="balanced").balanced(y)
    expected = weights.compute_class_weight("balanced", classes=np.unique(y), y=y)
    assert found == losses.CrossEntropy(class_weights=dict(zip((0, 2, 4), expected.tolist(), strict=True)))
    soft = losses.CrossEntropy(class_weights="balanced").balanced(np.eye(5)[y])
    assert soft == found
    twice = losses.CrossEntropy(class_weights="balanced", ignore_label=4)
    assert twice.balanced(y, np.where(y == 2, 2, 1)) == twice.balanced(np.array([0, 0] + 8 * [2]))
    with pytest.raises(ConfigError, match="from the labels to train on, got none; call fit first"):
        twice.forward(draw((2, 5)), np.array([0, 1]))


def test_one_output_has_no_classes_to_regress_on() -> None:
    """The integers 0 and 1 were labels, and 3 an error that spoke of labels."""
    prediction, target = draw((4, 1)), np.array([0, 3, 1, 0])
    for loss in (losses.MeanSquaredError(), losses.MeanAbsoluteError(), losses.Huber()):
        flat, column = (both_passes(loss, prediction, t) for t in (target, target[:, None].astype(float)))
        for mine, other in zip(flat, column, strict=True):
            np.testing.assert_array_equal(mine, other)
        assert loss.errors(prediction, target) is None


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


RULED_OUT = np.array([[0.0, 1.0, -math.inf], [2.0, 0.0, -math.inf]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_class_that_is_ruled_out(soft: bool, dtype: str, make_backend: MakeBackend) -> None:
    """A logit of -∞ masks a class; 0 · ∞ made the loss NaN. PyTorch's numbers."""
    backend, loss = make_backend(dtype), losses.CrossEntropy()
    target = np.eye(3)[[0, 1]] if soft else np.array([0, 1])
    with np.errstate(all="raise"):
        value, gradient = both_passes(loss, backend.asarray(RULED_OUT), backend.asarray(target))
    expected = (math.log(1 + math.e) + math.log(1 + math.e**2)) / 2
    np.testing.assert_allclose(backend.to_numpy(value), expected, rtol=1e-6)
    p = np.array(
        [[1 / (1 + math.e), math.e / (1 + math.e), 0], [1 / (1 + math.e**-2), 1 / (1 + math.e**2), 0]]
    )
    np.testing.assert_allclose(backend.to_numpy(gradient), (p - np.eye(3)[[0, 1]]) / 2, rtol=1e-6)
    target = np.eye(3)[[2, 1]] if soft else np.array([2, 1])
    value, gradient = both_passes(loss, backend.asarray(RULED_OUT), backend.asarray(target))
    assert float(value) == math.inf
    np.testing.assert_allclose(backend.to_numpy(gradient), (p - np.eye(3)[[2, 1]]) / 2, rtol=1e-6)
    value, _ = losses.CrossEntropy(0.1).forward(backend.asarray(RULED_OUT), backend.asarray(np.array([0, 1])))
    assert float(value) == math.inf  # smoothing gives every class a share


def test_a_not_a_number_stays_one(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    logits = backend.asarray(np.array([[0.0, math.nan], [1.0, 0.0]]))
    for loss in (losses.CrossEntropy(), losses.Hinge()):
        assert math.isnan(loss.forward(logits, backend.asarray(np.array([0, 0])))[0])
    assert math.isnan(losses.BinaryCrossEntropy().forward(logits, backend.asarray(np.eye(2)))[0])


@pytest.mark.parametrize("q", [1, 3.0])
def test_certain_binary_logits(q: float, make_backend: MakeBackend) -> None:
    backend, loss = make_backend("float32"), losses.BinaryCrossEntropy(q)
    for logit, target, value, gradient in (
        (math.inf, 1.0, 0, 0),
        (-math.inf, 0.0, 0, 0),
        (math.inf, 0.0, math.inf, 1),
        (-math.inf, 1.0, math.inf, -q),
    ):
        results = both_passes(loss, backend.asarray([[logit]]), backend.asarray([[target]]))
        assert [float(backend.to_numpy(each).item()) for each in results] == [value, gradient]


def test_hinge_of_a_class_that_is_ruled_out(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    value, gradient = both_passes(
        losses.Hinge(), backend.asarray(RULED_OUT), backend.asarray(np.array([0, 1]))
    )
    assert float(value) == (2 + 3) / 2
    np.testing.assert_array_equal(backend.to_numpy(gradient), np.array([[-1, 1, 0], [1, -1, 0]]) / 2)


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
        *(
            (
                lambda weights=weights: losses.CrossEntropy(class_weights=weights),
                "CrossEntropy: expected class_weights to be numbers of at least 0, one for each class, a dict "
                f"from classes to such numbers, 'balanced', or None, got {shown}",
            )
            for weights, shown in (
                ([1, -2], "(1, -2)"),
                (np.array([1, math.nan]), "(1.0, nan)"),
                (2.0, "2.0"),
                ("even", "'even'"),
                ((True, 1.0), "(True, 1.0)"),
                ((), "()"),
                ({0: -1}, "((0, -1),)"),
                ({-1: 1.0}, "((-1, 1.0),)"),
                ({"a": 1.0}, "(('a', 1.0),)"),
                ({0: 2.0, "a": 1.0}, "(('a', 1.0), (0, 2.0))"),
            )
        ),
        (
            lambda: losses.CrossEntropy(ignore_label=1.5),
            "CrossEntropy: expected ignore_label to be an integer of 32 bits or None, got 1.5",
        ),
        (
            lambda: losses.BinaryCrossEntropy([1.0, 0.0]),
            "BinaryCrossEntropy: expected pos_weight to be a finite number above 0, or one for each output, "
            "got (1.0, 0.0)",
        ),
        (
            lambda: losses.BinaryCrossEntropy(math.inf),
            "BinaryCrossEntropy: expected pos_weight to be a finite number above 0, or one for each output, got inf",
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
        (losses.BinaryCrossEntropy(), (2, 3), np.array([0, 1]), "BinaryCrossEntropy(): expected targets of shape (2, 3), got int64 of shape (2,); labels of several classes are for CrossEntropy()"),
        (losses.BinaryCrossEntropy(), (2, 1), np.array([[-1.0], [1.0]]), "BinaryCrossEntropy(): expected targets from 0 to 1, got targets from -1 to 1"),
        (losses.Hinge(), (2, 3), np.eye(3)[:2], "Hinge(): expected integer labels of shape (2,), got float64 of shape (2, 3)"),
        (losses.Hinge(), (2, 3), np.array([0, 3]), "Hinge(): expected labels from 0 to 2, got labels from 0 to 3"),
        (losses.CrossEntropy(class_weights={3: 2.0}), (2, 3), np.array([0, 1]), "CrossEntropy(class_weights=((3, 2.0),)): expected logits of at least 4 classes, one for each of class_weights, got 3"),
        (losses.CrossEntropy(), (2, 3), np.array([0, -1]), "CrossEntropy(): expected labels from 0 to 2, got labels from -1 to 0"),
        (losses.CrossEntropy(ignore_label=-100), (2, 3), np.array([-100, -1]), "CrossEntropy(ignore_label=-100): expected labels from 0 to 2, got labels from -1 to 0"),
        (losses.CrossEntropy(), (2, 3), np.array([[0, 1, 0], [0, 1.5, -0.5]]), "CrossEntropy(): expected targets of at least 0, got targets from -0.5 to 1.5"),
        (losses.CrossEntropy(), (2, 3), np.array([[0, 1, 0], [0, math.nan, 1]]), "CrossEntropy(): expected targets of at least 0, got targets from nan to nan"),
        (losses.BinaryCrossEntropy(), (2, 1), np.array([[math.nan], [1.0]]), "BinaryCrossEntropy(): expected targets from 0 to 1, got targets from nan to nan"),
        (losses.MeanSquaredError(), (2, 1), np.array([3, 4]), "MeanSquaredError(): expected targets of shape (2, 1) for one output, got int64 of shape (2,); pass y[:, None]"),
        (losses.MeanSquaredError(), (2, 1), np.array([0, 0]), "MeanSquaredError(): expected targets of shape (2, 1) for one output, got int64 of shape (2,); pass y[:, None]"),
        (losses.Huber(), (2, 1), np.array([3.0, 4.0]), "Huber(): expected targets of shape (2, 1) for one output, got float64 of shape (2,); pass y[:, None]"),
        (losses.Huber(2.0), (2, 3), np.zeros((3, 2)), "Huber(delta=2.0): expected integer labels of shape (2,) or real targets of shape (2, 3), got float64 of shape (3, 2)"),
    ],
)  # fmt: skip
def test_refuses_targets_that_do_not_fit(
    loss: losses.Loss, shape: tuple[int, ...], target: np.ndarray, message: str
) -> None:
    with pytest.raises(ShapeError) as error:
        loss.check(shape, target)
    assert str(error.value) == message


@pytest.mark.parametrize("loss", [losses.CrossEntropy(), losses.Hinge()], ids=str)
def test_one_output_is_not_for_classes(loss: losses.Loss) -> None:
    """The softmax of one output is 1: the loss was 0 and the accuracy 1, whatever the network said."""
    with pytest.raises(ConfigError) as error:
        loss.check((4, 1), np.zeros(4, int))
    assert str(error.value) == (
        f"{loss}: expected an output for each of at least 2 classes, got 1 output; use two outputs, or "
        "BinaryCrossEntropy() for one output and labels 0 and 1"
    )


def test_pos_weight_is_for_as_many_outputs_as_there_are() -> None:
    with pytest.raises(ConfigError, match="expected 2 outputs, one for each of pos_weight, got 3"):
        losses.BinaryCrossEntropy((1.0, 2.0)).check((4, 3), np.ones((4, 3)))


# One output of these is for laws alone: `check` refuses it.
FOR_MODELS = [case for case in LOSSES if case.shape[-1] > 1 or case.target.ndim == 2 or "Binary" in str(case)]


@pytest.mark.parametrize("case", FOR_MODELS, ids=str)
def test_accepts_the_targets_of_all_cases(case: LossCase, make_backend: MakeBackend) -> None:
    case.loss.check(case.shape, make_backend("float32").asarray(case.target))
