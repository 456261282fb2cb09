"""Fused functions with columns, and with sums of rows, give on each library what their formulas say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conftest import MakeBackend
from laws import fetch
from xpnet.backend import _numpy
from xpnet.backend._formula import kinds
from xpnet.backend.fused import Fused, fused, sqrt, sum_of_products, sum_of_rows


@fused()
def standardized(x: Any, mean: Any, variance: Any, scale: Any, epsilon: Any) -> Any:
    centered = x - mean
    return centered, centered * (scale / sqrt(variance + epsilon)) + mean


@fused()
def moments(x: Any, mean: Any, factor: Any) -> Any:
    """The sums stand before, between and after the arrays."""
    centered = x - factor * mean
    return sum_of_rows(x), centered, sum_of_products(centered, x), 2 * x, sum_of_products(x, x)


@fused()
def sums(x: Any, y: Any) -> Any:
    return sum_of_products(x, y), sum_of_rows(y)


@fused()
def total(x: Any) -> Any:
    return sum_of_rows(x * x)


@fused(overwrites=1)
def scaled(x: Any, column: Any) -> Any:
    return x * column + 1


SHAPES = [(4, 2, 3, 6), (7, 3), (1, 5), (5, 1), (0, 4), (4096, 24), (40_000, 2), (3, 40_000), (1100, 70)]
FUSING = ("numpy", "cupy")  # others run each operation as it stands, and JAX compiles it for each shape


def arguments_of(function: Fused, shape: tuple[int, ...], dtype: str, networks: int = 0) -> list[Any]:
    rng = np.random.default_rng(0)

    def array(*axes: int) -> np.ndarray:
        return (rng.normal(size=axes) ** 2 - 0.3).astype(dtype)

    def column() -> np.ndarray:
        if networks:
            return array(networks, *[1] * (len(shape) - 1), shape[-1])
        return array(shape[-1])

    whole = (networks, *shape) if networks else shape
    return {
        standardized: lambda: [array(*whole), column(), column() ** 2, column(), 0.1],
        moments: lambda: [array(*whole), column(), np.asarray(0.5, dtype)],
        sums: lambda: [array(*whole), array(*whole)],
        total: lambda: [array(*whole)],
        scaled: lambda: [array(*whole), column()],
    }[function]()


def results_of(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def in_float64(function: Fused, arguments: list[Any]) -> tuple[Any, ...]:
    return results_of(function.function(*[np.asarray(each, "f8") for each in arguments]))


functions = pytest.mark.parametrize(
    "function", [standardized, moments, sums, total, scaled], ids=lambda each: each.__name__
)


@functions
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_agrees_with_the_formula(
    make_backend: MakeBackend, function: Fused, dtype: str
) -> None:
    backend = make_backend(dtype)
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    cases = [*[(shape, 0) for shape in SHAPES], ((1, 1), 3), ((7, 3), 2)]
    for shape, networks in cases if backend.name in FUSING else (cases[0], cases[-1]):
        arguments = arguments_of(function, shape, dtype, networks)
        expected = in_float64(function, arguments)
        given = [backend.copy(each) if hasattr(each, "ndim") else each for each in arguments]
        for result, wanted in zip(results_of(function(*given)), expected, strict=True):
            assert result.dtype == backend.dtype
            assert tuple(result.shape) == wanted.shape
            scale = 1 + float(np.max(np.abs(wanted), initial=0))
            np.testing.assert_allclose(fetch(backend, result), wanted, tolerance, tolerance * scale)
        for array, before in list(zip(given, arguments, strict=True))[function.overwrites :]:
            if hasattr(before, "ndim"):
                assert np.array_equal(fetch(backend, array), before)


FORMS: dict[str, Callable[..., Any]] = {"passes": _numpy.in_passes, "loop": _numpy.in_a_loop}


@functions
@pytest.mark.parametrize("form", FORMS)
def test_the_forms_for_numpy_have_the_same_bits(function: Fused, form: str) -> None:
    """But for sums, also where rows cannot be joined."""
    if form == "loop":
        pytest.importorskip("numba", reason="Numba is not installed")
    for shape in [(4096, 24), (300, 7), (9, 30)]:
        arguments = arguments_of(function, shape, "float32")
        found = FORMS[form](function.formula(kinds(tuple(arguments))), function.overwrites)
        for layout in (np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2]):
            given = [layout(each) if np.ndim(each) == 2 else each for each in arguments]
            expected = results_of(function.function(*[each + 0 for each in given]))
            results = results_of(
                found(*[layout(each.copy()) if np.ndim(each) == 2 else each for each in given])
            )
            for result, wanted in zip(results, expected, strict=True):
                if wanted.shape == shape:
                    assert np.array_equal(result, wanted)
                else:
                    np.testing.assert_allclose(result, wanted, 1e-4, 1e-3)


def test_an_operation_on_a_sum_is_refused() -> None:
    """A batch may be split, so that a sum in the function is of a part of it."""

    @fused()
    def centered(x: Any) -> Any:
        return x - sum_of_rows(x)

    with pytest.raises(TypeError, match="expected a sum of rows to be a result of a fused function"):
        centered(np.ones((3, 2)))
