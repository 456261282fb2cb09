"""Max-pooling and ReLU by a library's own loops and kernels, where their reference forms are easily told apart."""

from typing import Any

import numpy as np
import pytest

from conftest import MakeBackend
from laws import fetch
from xpnet import nn
from xpnet.backend import Backend, Ops, ops
from xpnet.nn._library import library_form

LAYERS = [nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d((12, 11), (1, 3))]


def test_windows_with_ties_gaps_and_many_elements(make_backend: MakeBackend) -> None:
    """Of arrays that are not contiguous; 12 x 11 positions do not fit into 7 bits."""
    backend = make_backend("float32")
    for layer in LAYERS if backend.name in ("numpy", "cupy") else LAYERS[:1]:
        check(backend, layer)


def check(backend: Backend, layer: nn.MaxPool2d) -> None:
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(2, 13, 24, 6)), 1).astype("float32")
    form = library_form(layer)
    y, residuals = layer.forward({}, x[..., ::2])
    dy = rng.normal(size=y.shape).astype("float32")
    dx, _ = layer.backward({}, residuals, dy)
    given = backend.asarray(x)[..., ::2]
    found, kept = form.forward({}, given)
    np.testing.assert_array_equal(fetch(backend, found), y)
    strided = backend.asarray(np.repeat(dy, 2, axis=2))[:, :, ::2, :]
    np.testing.assert_allclose(fetch(backend, form.backward({}, kept, strided)[0]), dx, 1e-6, 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_nan_is_the_maximum(make_backend: MakeBackend, dtype: str) -> None:
    backend = make_backend(dtype)
    x = np.zeros((1, 2, 4, 1), dtype)
    x[0, 1, 0], x[0, 0, 3] = np.nan, np.inf
    y, _ = library_form(nn.MaxPool2d(2)).forward({}, backend.asarray(x))
    np.testing.assert_array_equal(fetch(backend, y).reshape(-1), [np.nan, np.inf])


def test_relu_of_large_arrays(make_backend: MakeBackend) -> None:
    """Also of numbers that are not finite, and of arrays that are not contiguous."""
    backend, rng = make_backend("float32"), np.random.default_rng(0)
    x, y = rng.normal(size=(2, 300, 240)).astype("float32")
    x[0, :3], y[0, :6] = np.nan, [np.nan, 1, -1, 0, -0.0, np.inf]
    x[1], y[2] = np.inf, -np.inf
    for part in ((slice(None), slice(None)), (slice(None), slice(None, None, 2))):
        arrays: list[Any] = [backend.asarray(array)[part] for array in (x, y)]
        with np.errstate(invalid="ignore"):
            where = fetch(backend, ops(arrays[0]).where_positive(*arrays))
            positive = fetch(backend, ops(arrays[1]).positive_part(arrays[1]))
        finite = np.isfinite(x[part])
        reference = Ops(np)
        np.testing.assert_array_equal(where[finite], reference.where_positive(x[part], y[part])[finite])
        np.testing.assert_array_equal(positive, reference.positive_part(y[part]))
