"""Fused functions give on each library what their formulas say, in every form that a library runs."""

import itertools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import MakeBackend
from laws import fetch
from xpnet import losses
from xpnet._training import judging
from xpnet.backend import Backend, _numba, _numpy
from xpnet.backend._formula import Formula, kinds
from xpnet.backend._passes import passes
from xpnet.backend._torch_fused import with_three_arguments
from xpnet.backend.fused import (
    Fused,
    exp,
    fused,
    log,
    maximum,
    minimum,
    one_hot,
    row_argmax,
    row_max,
    row_sum,
    sign,
    sqrt,
    where,
)
from xpnet.backend.ops import FUNCTIONS
from xpnet.losses.fast import softmax_cross_entropy
from xpnet.optim import adaptive, momentum


@fused(overwrites=2)
def all_functions(x: Any, y: Any, scale: Any, shift: Any) -> Any:
    gate = where(y > shift, exp(-y), x)
    low, high = minimum(x, y), maximum(x, 0.5)
    first = gate * x - low / (2 + high) / scale
    return first, sign(y) * sqrt(maximum(x, 0)) - where(x < y, y, 1), log(1 + x * x)


@fused(overwrites=1)
def swapped(x: Any, y: Any, factor: Any) -> Any:
    """Each result reads what the other may overwrite."""
    return y - factor * x, x + factor * y, factor * (x + y)


STEPS = {  # the number of arrays, and the numbers
    momentum.sgd_step: (2, (0.1, 0.01)),
    momentum.momentum_step: (3, (0.1, 0.9, 0.01)),
    momentum.nesterov_step: (3, (0.1, 0.9, 0.01)),
    momentum.ema_step: (3, (0.1, 0.9, 0.01)),
    adaptive.rmsprop_step: (3, (0.1, 0.9, 1e-3, 0.01)),
    adaptive.adagrad_step: (3, (0.1, 1e-3, 0.01)),
    adaptive.adam_step: (4, (2.0, 3.0, 0.1, 0.9, 0.99, 1e-3, 0.01)),
    adaptive.adamw_step: (4, (2.0, 3.0, 0.1, 0.9, 0.99, 1e-3, 0.01)),
    adaptive.nadam_step: (4, (3.0, 0.2, 0.3, 0.1, 0.9, 0.99, 1e-3, 0.01)),
    adaptive.lion_step: (3, (0.1, 0.9, 0.99, 0.01)),
    all_functions: (2, (0.5, -0.1)),
    swapped: (2, (0.3,)),
}
steps = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
SHAPES = [(7,), (3, 5), (1,), (2, 3, 4), (0, 4), ()]


def arrays_of(step: Fused, shape: tuple[int, ...], dtype: str = "float64") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    count, _ = STEPS[step]
    drawn = [rng.normal(size=shape) for _ in range(count)]
    if count > 2 and step is not adaptive.lion_step:
        drawn[count - 2] = drawn[count - 2] ** 2  # of which a root is taken
    return [np.asarray(array, dtype) for array in drawn]


def results_of(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def as_written(step: Fused, arguments: list[Any]) -> tuple[Any, ...]:
    return results_of(step.function(*arguments))


def variations(step: Fused) -> list[tuple[float, ...]]:
    """The numbers, with 0 or 1 in place of one of them: those drop out of the formula."""
    numbers = STEPS[step][1]
    names = step.names[-len(numbers) :]
    found = [numbers]
    for i, name in enumerate(names):
        for value in (0, 1.0):
            if name not in ("a", "b", "epsilon", "scale"):
                found.append((*numbers[:i], value, *numbers[i + 1 :]))
    return found


@steps
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_agrees_with_the_formula(make_backend: MakeBackend, step: Fused, dtype: str) -> None:
    backend = make_backend(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    varied = variations(step)
    if backend.name != "numpy":  # others compile each variation
        varied = [varied[0], varied[-2]]
    for shape, numbers in itertools.product(SHAPES, varied):
        drawn = arrays_of(step, shape, dtype)
        with np.errstate(all="ignore"):
            expected = as_written(step, [*[array.astype("float64") for array in drawn], *numbers])
        as_arrays = [backend.asarray(np.array(number), real=True) for number in numbers]
        for scalars in (numbers, as_arrays)[: 1 + (numbers == STEPS[step][1])]:
            given = [backend.copy(array) for array in drawn]
            with np.errstate(all="ignore"):
                found = results_of(step(*given, *scalars))
            for result, wanted in zip(found, expected, strict=True):
                assert result.dtype == backend.dtype
                assert tuple(result.shape) == shape
                np.testing.assert_allclose(
                    fetch(backend, result), np.broadcast_to(wanted, shape), tolerance, tolerance
                )
            for array, before in list(zip(given, drawn, strict=True))[step.overwrites :]:
                assert np.array_equal(fetch(backend, array), before)
                assert all(result is not array for result in found)


@steps
def test_a_scalar_for_each_network_and_one_for_each_column(make_backend: MakeBackend, step: Fused) -> None:
    backend = make_backend("float64")
    drawn, numbers = arrays_of(step, (2, 3, 4)), STEPS[step][1]
    for shape in ((2, 1, 1), (4,), (3, 4)):
        scalars = [np.linspace(number, 1.1 * number, np.prod(shape)).reshape(shape) for number in numbers]
        expected = as_written(step, [*drawn, *scalars])
        found = step(*[backend.copy(array) for array in drawn], *[backend.asarray(each) for each in scalars])
        for result, wanted in zip(results_of(found), expected, strict=True):
            np.testing.assert_allclose(fetch(backend, result), wanted, 1e-12, 1e-12)


@pytest.fixture(params=["Numba", "Python"])
def compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Numba, or Python in its place, which runs the loops as they stand."""
    if request.param == "Numba":
        pytest.importorskip("numba", reason="Numba is not installed")
    else:
        _numba.numba_is_installed()  # before another module has the name
        blocked = tmp_path / "file"
        blocked.touch()
        fake = types.SimpleNamespace(njit=lambda **options: lambda function: function)
        monkeypatch.setitem(sys.modules, "numba", fake)
        monkeypatch.setattr(_numba, "_folders", lambda: [blocked / "folder", tmp_path])
    return request.param


def in_passes_of_three(formula: Formula, overwrites: int) -> Callable[..., Any]:
    """PyTorch's form, by NumPy."""

    def put(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        if out is None:
            return result
        out[...] = result
        return out

    words = {
        "add_scaled": lambda x, y, s, out=None: put(x + s * y, out),
        "addcmul": lambda x, y, z, s, out=None: put(x + s * (y * z), out),
        "addcdiv": lambda x, y, z, s, out=None: put(x + s * (y / z), out),
    }
    return passes(with_three_arguments(formula), overwrites, _numpy.UFUNCS | words, FUNCTIONS)


@steps
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_forms_for_numpy_have_the_same_bits(step: Fused, dtype: str, compiler: str) -> None:
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2]):
        drawn, numbers = arrays_of(step, (9, 30), dtype), STEPS[step][1]
        expected = as_written(step, [*[layout(array) for array in drawn], *numbers])
        formula = step.formula(kinds((*drawn, *numbers)))
        in_passes = passes(formula, step.overwrites, _numpy.UFUNCS, FUNCTIONS)
        for form in (in_passes, _numba.loop(formula, step.overwrites, in_passes, FUNCTIONS)):
            found = results_of(form(*[layout(array.copy()) for array in drawn], *numbers))
            for result, wanted in zip(found, expected, strict=True):
                assert np.array_equal(result, wanted)
        of_three = in_passes_of_three(formula, step.overwrites)
        found = results_of(of_three(*[layout(array.copy()) for array in drawn], *numbers))
        for result, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(result, wanted, *((2e-6,) * 2 if dtype == "float32" else (1e-14,) * 2))


@fused()
def normalized(x: Any, scale: Any, shift: Any, epsilon: Any) -> Any:
    centered = x - row_max(x) / 2
    inverse = 1 / sqrt(row_sum(centered * centered) + epsilon)
    return centered * inverse * scale + shift, inverse


@fused()
def softmax_error(z: Any, labels: Any, share: Any) -> Any:
    shifted = z - row_max(z)
    p = exp(shifted)
    t = one_hot(labels, z)
    value = log(row_sum(p)) - row_sum(where(t > 0, shifted, 0))
    return (p / row_sum(p) - t) * share, value, row_argmax(z)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 10), (1, 3), (5, 70), (2, 6, 4), (3, 3)])
def test_formulas_of_rows(make_backend: MakeBackend, shape: tuple[int, ...], dtype: str) -> None:
    backend, rng = make_backend(dtype), np.random.default_rng(0)
    x = np.round(rng.normal(size=shape), 1).astype(dtype)  # with equal elements in a row
    d = shape[-1]
    labels = rng.integers(d, size=(*shape[:-1], 1))
    cases: list[tuple[Fused, list[Any]]] = [
        (softmax_error, [x, labels, 0.25]),
        (softmax_error, [x, labels, np.asarray(0.25, dtype)]),
        (normalized, [x, rng.normal(size=d).astype(dtype), rng.normal(size=d).astype(dtype), 0.1]),
        (normalized, [x, np.asarray(2.0, dtype), rng.normal(size=(*shape[:-1], 1)).astype(dtype), 0.1]),
    ]
    for function, arguments in cases:
        expected = function.function(
            *[np.asarray(each, "f8") if np.ndim(each) else each for each in arguments]
        )
        given = [backend.asarray(each) if hasattr(each, "ndim") else each for each in arguments]
        for result, wanted in zip(function(*given), expected, strict=True):
            assert result.dtype == backend.dtype
            np.testing.assert_allclose(fetch(backend, result), wanted, 1e-5 if dtype == "float32" else 1e-12)


def test_a_condition_on_an_argument_is_refused() -> None:
    @fused()
    def absolute(x: Any) -> Any:
        return x if x > 0 else -x

    with pytest.raises(TypeError, match="no condition on an argument in a fused function"):
        absolute(np.ones(3))


def test_loops_over_rows(compiler: str) -> None:
    rng = np.random.default_rng(0)
    x, row, column = rng.normal(size=(5, 7)), rng.normal(size=(5, 1)), rng.normal(size=7)
    labels = rng.integers(7, size=(5, 1))
    cases: list[tuple[Fused, list[Any]]] = [
        (softmax_error, [x, labels, 0.25]),
        (softmax_error, [x, labels, np.array(0.25)]),
        (normalized, [x, column, row, 0.1]),
        (swapped, [x, 2 * x, column]),
        (swapped, [x, 2 * x, row]),
    ]
    for function, arguments in cases:
        expected = as_written(function, arguments)
        formula = function.formula(kinds(tuple(arguments)))
        given = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
        form = _numba.loop(formula, function.overwrites, refuse, FUNCTIONS)
        for result, wanted in zip(form(*given), expected, strict=True):
            np.testing.assert_allclose(result, wanted, 1e-12, 1e-12)


@fused(overwrites=2)
def with_names_of_loops(n: Any, d: Any, i: Any, j: Any, np: Any, number: Any, T: Any, out: Any) -> Any:
    return n + i * (d - j), d / np + number * T - out


def test_arguments_may_have_any_names(make_backend: MakeBackend) -> None:
    backend, rng = make_backend("float64"), np.random.default_rng(0)
    arrays, numbers = [rng.normal(size=(4, 3)) for _ in range(2)], [0.5, 2.0, 3.0, 0.25, 1.5, 0.125]
    for shape in ((), (4, 1), (3,)):
        given = [*arrays, *[np.full(shape, number) if shape else number for number in numbers]]
        expected = as_written(with_names_of_loops, given)
        placed = [backend.copy(each) if hasattr(each, "ndim") else each for each in given]
        for result, wanted in zip(with_names_of_loops(*placed), expected, strict=True):
            np.testing.assert_allclose(fetch(backend, result), wanted, 1e-12)


def test_an_update_of_tensors_on_a_cpu_has_the_bits_of_numpy() -> None:
    """By the same loop, which takes tensors in one order in memory; PyTorch's operations take all others."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("numba", reason="Numba is not installed")
    step, numbers = adaptive.adam_step, STEPS[adaptive.adam_step][1]
    drawn = arrays_of(step, (9, 30), "float32")
    expected = step(*[array.copy() for array in drawn], *numbers)
    for of_columns in ((), (0, 1, 2, 3), (3,)):
        given = [torch.tensor(array.T.copy()).T if i in of_columns else torch.tensor(array)
                 for i, array in enumerate(drawn)]  # fmt: skip
        for result, tensor, wanted in zip(step(*given, *numbers), given, expected, strict=False):
            assert result.data_ptr() == tensor.data_ptr()
            if len(of_columns) == 1:
                np.testing.assert_allclose(result.numpy(), wanted, 1e-5, 1e-6)
            else:
                np.testing.assert_array_equal(result.numpy(), wanted)
        assert np.array_equal(given[3].numpy(), drawn[3])


def refuse(*arguments: Any) -> None:
    raise AssertionError("the loop did not take these arguments")


def judged_by(backend: Backend, logits: np.ndarray, labels: np.ndarray) -> tuple[Any, Any, Any]:
    totals, residuals = judging.forward(
        losses.CrossEntropy(), backend.asarray(logits), backend.asarray(labels)
    )
    assert totals.count is None
    return totals.loss, totals.errors, judging.backward(losses.CrossEntropy(), residuals)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 10), (1, 2), (40, 3), (3, 65), (2, 700)])
def test_cross_entropy_at_once_is_cross_entropy(
    make_backend: MakeBackend, shape: tuple[int, int], dtype: str
) -> None:
    """Also of equal logits, of a class that is ruled out, and of logits that are large or not finite."""
    backend, rng = make_backend(dtype), np.random.default_rng(0)
    labels = rng.integers(1, shape[1], size=shape[0])
    logits = np.round(rng.normal(size=shape), 1)
    ruled_out, infinite, not_a_number = (logits.copy() for _ in range(3))
    ruled_out[:, 0] = -np.inf
    infinite[0, labels[0]] = -np.inf
    not_a_number[0, 0] = np.nan
    for given in (logits, 0 * logits, 1e4 * logits, ruled_out, infinite, not_a_number):
        given = given.astype(dtype)
        loss = losses.CrossEntropy()
        with np.errstate(all="ignore"):
            value, residuals = loss.forward(given, labels)
            expected = value * shape[0], loss.errors(given, labels), loss.backward(residuals)
        found = judged_by(backend, given, labels)
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(fetch(backend, found[0]), expected[0], tolerance)
        np.testing.assert_allclose(fetch(backend, found[2]), expected[2], tolerance, tolerance)
        if backend.name == "numpy":
            np.testing.assert_array_equal(found[2], expected[2], "the bits of the gradient")
        if not np.isnan(given).any():
            assert int(found[1]) == expected[1]


def test_the_formula_of_cross_entropy_is_cross_entropy() -> None:
    """Also where no library that fuses rows is installed."""
    rng = np.random.default_rng(0)
    logits, labels = np.round(rng.normal(size=(9, 4)), 1), rng.integers(4, size=9)
    value, residuals = losses.CrossEntropy().forward(logits, labels)
    gradient, values, wrong = softmax_cross_entropy(logits, labels[:, None], 1 / 9)
    np.testing.assert_allclose(gradient, losses.CrossEntropy().backward(residuals), 1e-12)
    np.testing.assert_allclose(values.mean(), value, 1e-12)
    assert wrong.sum() == losses.CrossEntropy().errors(logits, labels)
