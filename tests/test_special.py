"""The functions that the array API standard lacks, compared with Python's."""

import math

import numpy as np
import pytest

from conftest import MakeBackend
from laws import assert_kept
from xpnet import special

ULPS = {"float32": 8, "float64": 4}  # JAX's expm1 is 5 units off in float32, NumPy's 2, PyTorch's less than 1
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def points(dtype: str) -> np.ndarray:
    """Points close together where erf rises, then out to where it is 1, and down towards 0."""
    tiny = np.logspace(-30, -1, 2000)
    far = np.array([8, 30, 1e4, 1e30, np.inf])
    return np.concatenate([np.linspace(-7, 7, 40001), tiny, -tiny, far, -far]).astype(dtype)


def assert_is_erf(y: np.ndarray, x: np.ndarray) -> None:
    exact = np.array([math.erf(value) for value in x.astype(np.float64)])
    ulp = np.spacing(np.abs(exact).astype(x.dtype)).astype(np.float64)
    assert np.max(np.abs(y - exact) / ulp) <= ULPS[x.dtype.name]
    assert np.max(np.abs(y)) == 1


@both_dtypes
def test_erf_is_exact_to_a_few_units_in_the_last_place(dtype: str, make_backend: MakeBackend) -> None:
    backend, x = make_backend(dtype), points(dtype)
    y = special.erf(backend.asarray(x))
    assert_kept(backend, {"y": y})
    assert_is_erf(backend.to_numpy(y), x)


def test_erf_where_jax_has_no_float64() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    x = points("float32")
    with jax.enable_x64(False):
        for function in (special.erf, jax.jit(special.erf)):
            y = function(jax.numpy.asarray(x))
            assert y.dtype == "float32"
            assert_is_erf(np.asarray(y), x)


@both_dtypes
def test_erf_at_zero_and_of_what_is_no_number(dtype: str, make_backend: MakeBackend) -> None:
    backend = make_backend(dtype)
    y = backend.to_numpy(special.erf(backend.asarray(np.array([0.0, np.nan]))))
    np.testing.assert_array_equal(y, [0.0, np.nan])


@both_dtypes
def test_sigmoid_and_softmax_keep_their_argument(dtype: str, make_backend: MakeBackend) -> None:
    backend, host = make_backend(dtype), np.array([[-1e4, -3, 0, 2, 1e4]], dtype=dtype)
    x = backend.asarray(host.copy())
    results = {"sigmoid": special.sigmoid(x), "softmax": special.softmax(x), "erf": special.erf(x)}
    assert_kept(backend, results)
    np.testing.assert_array_equal(backend.to_numpy(x), host)
    np.testing.assert_allclose(backend.to_numpy(results["softmax"]), [[0, 0, 0, 0, 1]])
