"""The laws of losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet import gradcheck
from xpnet.backend import DTYPES, Backend
from xpnet.errors import ConfigError
from xpnet.losses import Loss
from xpnet.testing import subject
from xpnet.testing.compare import assert_close, assert_kept, assert_same, assert_unchanged, difference, fetch
from xpnet.testing.report import Law, LawError, Report, try_laws
from xpnet.testing.subject import BackendLike, draw
from xpnet.tree import Array


@dataclass(frozen=True)
class LossTrial:
    """A loss to check, with a prediction and a target as float64 or int64 NumPy arrays."""

    loss: Loss
    prediction: np.ndarray
    target: np.ndarray
    tolerances: tuple[float, float] = (1e-5, 1e-11)


class LossRun(NamedTuple):
    """The arguments and results of one forward and one backward pass of a loss."""

    prediction: Array
    target: Array
    value: Array
    residuals: Any
    dprediction: Array


def run_loss(trial: LossTrial, backend: Backend) -> LossRun:
    """One forward and one backward pass."""
    prediction, target = backend.copy(trial.prediction), backend.copy(trial.target)
    value, residuals = trial.loss.forward(prediction, target)
    return LossRun(prediction, target, value, residuals, trial.loss.backward(residuals))


def is_a_frozen_dataclass(trial: LossTrial, backend: Backend) -> None:
    """The hyper-parameters are the fields of a frozen dataclass; nothing else is kept on self."""
    subject.is_a_frozen_dataclass(trial.loss)


def repr_shows_every_field(trial: LossTrial, backend: Backend) -> None:
    """repr is the constructor call: errors and run folders show it."""
    subject.repr_shows_every_field(trial.loss)


def fits_together(trial: LossTrial, backend: Backend) -> None:
    """`forward` returns (0-d value, residuals), `backward` a gradient shaped like the prediction."""
    prediction, target = backend.copy(trial.prediction), backend.copy(trial.target)
    result = trial.loss.forward(prediction, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise LawError(f"forward gives {type(result).__name__}, expected a pair (value, residuals)")
    value, residuals = result
    if not hasattr(value, "shape") or tuple(value.shape) != ():
        got = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else f"type {type(value).__name__}"
        raise LawError(
            f"forward gives a value of {got}, expected a 0-d array: the mean over the batch, xp.mean(…)"
        )
    gradient = trial.loss.backward(residuals)
    if not hasattr(gradient, "shape") or tuple(gradient.shape) != trial.prediction.shape:
        shape = f"a gradient of shape {tuple(gradient.shape)}" if hasattr(gradient, "shape") else ""
        got = shape or type(gradient).__name__
        raise LawError(
            f"backward gives {got}, expected the shape of the prediction, {trial.prediction.shape}"
        )


def keeps_library_dtype_and_device(trial: LossTrial, backend: Backend) -> None:
    """All results have the library, device and dtype of the prediction."""
    assert_kept(backend, run_loss(trial, backend)._asdict())


def does_not_modify_arguments(trial: LossTrial, backend: Backend) -> None:
    """No method modifies its arguments."""
    loss = trial.loss
    prediction, target = backend.copy(trial.prediction), backend.copy(trial.target)
    given: dict[str, Any] = {"prediction": prediction, "target": target}
    before = fetch(backend, given)
    _, residuals = loss.forward(prediction, target)
    assert_unchanged("forward", backend, given, before)
    given["residuals"] = residuals
    before = fetch(backend, given)
    loss.backward(residuals)
    assert_unchanged("backward", backend, given, before)
    loss.errors(prediction, target)
    assert_unchanged("errors", backend, given, before)
    loss.predict(prediction)
    assert_unchanged("predict", backend, given, before)


def repeats_itself(trial: LossTrial, backend: Backend) -> None:
    """The same call gives the same bits, also with another call between forward and backward."""
    first = run_loss(trial, backend)
    _, residuals = trial.loss.forward(first.prediction, first.target)
    trial.loss.forward(-1 * first.prediction, first.target)
    again = {"gradient": trial.loss.backward(residuals), "value": run_loss(trial, backend).value}
    try:
        assert_same(backend, again, fetch(backend, {"value": first.value, "gradient": first.dprediction}))
    except LawError as error:
        raise LawError(
            f"the same call gives something else the second time: {error}; keep nothing on self; "
            "return what backward needs in the residuals"
        ) from None


def gradient_is_right(trial: LossTrial, backend: Backend) -> None:
    """`backward` is the derivative of `forward`, by finite differences along random directions."""
    gradcheck.check(trial.loss, backend.copy(trial.prediction), backend.copy(trial.target))


def agrees_with_numpy(trial: LossTrial, backend: Backend) -> None:
    """Every library gives the same numbers as NumPy."""
    found, wanted = run_loss(trial, backend), run_loss(trial, subject.numpy(backend.dtype_name))
    tolerance = trial.tolerances[DTYPES.index(backend.dtype_name)]
    expected = {"value": wanted.value, "dprediction": wanted.dprediction}
    actual = {"value": found.value, "dprediction": found.dprediction}
    try:
        assert_close(backend, actual, expected, tolerance)
    except LawError as error:
        raise LawError(f"differs from NumPy: {error}, as on NumPy") from None


def is_the_mean_over_the_batch(trial: LossTrial, backend: Backend) -> None:
    """Value and gradient of a batch are the means over its examples that count, each computed alone."""
    prediction, target = backend.copy(trial.prediction), backend.copy(trial.target)
    n, counted = prediction.shape[0], trial.loss.count(prediction.shape, target)
    n_counted = n if counted is None else max(int(counted), 1)
    whole, residuals = trial.loss.forward(prediction, target)
    gradient = backend.to_numpy(trial.loss.backward(residuals))
    values, rows = [], []
    for i in range(n):
        value, residuals = trial.loss.forward(prediction[i : i + 1, ...], target[i : i + 1, ...])
        values.append(float(value))
        rows.append(backend.to_numpy(trial.loss.backward(residuals)) / n_counted)
    fault = difference(float(whole), np.sum(values) / n_counted, 1e-11)
    if fault:
        raise LawError(
            f"the value{fault}, the mean of the {n} examples' own values; "
            "divide by the number of examples, prediction.shape[-2] or what `count` returns, and by "
            "nothing else that depends on the batch"
        )
    fault = difference(gradient, np.concatenate(rows), 1e-11)
    if fault:
        raise LawError(f"the gradient{fault}, the example's own gradient divided by n = {n_counted}")


def stacked_losses_match_single_ones(trial: LossTrial, backend: Backend) -> None:
    """Predictions (K, n, …) of K networks give the same K values as K single calls."""
    predictions = draw((3, *trial.prediction.shape))
    targets = np.stack([trial.target] * 3)
    target = backend.copy(trial.target)
    values, residuals = trial.loss.forward(backend.asarray(predictions), backend.asarray(targets))
    if tuple(values.shape) != (3,):
        raise LawError(
            f"predictions {predictions.shape} give a value of shape {tuple(values.shape)}, expected (3,); "
            "sum over the last two axes, axis=(-2, -1), or say stacks=False"
        )
    gradients = trial.loss.backward(residuals)
    for k in range(3):
        value, residuals = trial.loss.forward(backend.asarray(predictions[k]), target)
        single = {"value": value, "gradient": trial.loss.backward(residuals)}
        found = {"value": values[k, ...], "gradient": gradients[k, ...]}
        try:
            assert_close(backend, found, fetch(backend, single), 1e-13)
        except LawError as error:
            raise LawError(
                f"network {k} of 3 in a stack: {error}, as alone; count axes from the last"
            ) from None


LAWS = (
    Law("is a frozen dataclass", is_a_frozen_dataclass, on_host=True),
    Law("repr shows every field", repr_shows_every_field, on_host=True),
    Law("forward and backward fit together", fits_together, needed=True),
    Law("results keep library, device, dtype", keeps_library_dtype_and_device),
    Law("arguments are not modified", does_not_modify_arguments, ("float32",)),
    Law("the same call gives the same bits", repeats_itself, ("float32",)),
    Law("gradient is right", gradient_is_right, ("float64",)),
    Law("value is the mean over the batch", is_the_mean_over_the_batch, ("float64",), on_host=True),
    Law("numbers agree with NumPy", agrees_with_numpy),
)
STACKS = Law("K networks in one pass", stacked_losses_match_single_ones, ("float64",))


def check_loss(
    loss: Loss,
    prediction: Any,
    target: Any,
    *,
    backends: Sequence[BackendLike] | None = None,
    dtypes: Sequence[str] = DTYPES,
    stacks: bool = False,
    raise_on_failure: bool = True,
) -> Report:
    """Check that a loss obeys the laws of losses: a mean over the batch, gradient, dtypes, no side effects.

    Arguments:
        loss: a loss of `xpnet.losses` or your own.
        prediction: an array, or the shape (n, d) of an array to draw, with n ≥ 2.
        target: integer labels (n,), an array of real numbers, or the shape of an array to draw.
        backends, dtypes, raise_on_failure: as for `check_layer`.
        stacks: whether predictions (K, n, d) of K networks give K values, as for every loss of xpnet.

    Returns the report. Raises LawError if a law does not hold and `raise_on_failure` is true.
    """
    subject.require_instance("check_loss", loss, Loss)
    shown = subject.show(loss)
    host = subject.as_host("check_loss", "prediction", prediction)
    labels = subject.as_host("check_loss", "target", target)
    if host.ndim < 2:
        raise ConfigError(f"check_loss: expected prediction of shape (n, d), got {host.shape}")
    trial = LossTrial(loss, host, labels)
    laws = (*LAWS, STACKS) if stacks else LAWS
    results = try_laws(laws, trial, subject.places(backends), dtypes, host=subject.numpy)
    report = Report(f"check_loss: {shown}, prediction {host.shape}, target {labels.shape}", tuple(results))
    return report.require() if raise_on_failure else report
