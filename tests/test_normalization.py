"""Normalisation of the channels: the same numbers for all images, and no NaN."""

import json
import tracemalloc

import numpy as np
import pytest

from conftest import MakeBackend
from data_files import fails
from xpnet.data import Normalization, channel_statistics, load, normalize
from xpnet.errors import ShapeError


def images(n: int = 300, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((n, 5, 7, 3)) * [1, 0.1, 0.01] + [0, 0.5, 0.9]).astype(dtype)


def test_channel_statistics() -> None:
    x = images()
    rows = x.reshape(-1, 3).astype(np.float64)
    mean, std = channel_statistics(x)
    np.testing.assert_allclose(mean, rows.mean(axis=0), 1e-12)
    np.testing.assert_allclose(std, rows.std(axis=0), 1e-12)
    assert Normalization(*map(tuple, json.loads(json.dumps((mean, std))))) == (mean, std)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalized(make_backend: MakeBackend, dtype: str) -> None:
    backend = make_backend(dtype)
    x = images(dtype=dtype)
    normalization = channel_statistics(x)
    here = backend.asarray(x)
    y = normalize(here, normalization)
    assert y.dtype == backend.dtype
    np.testing.assert_array_equal(backend.to_numpy(here), x)
    y = backend.to_numpy(y)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2), dtype=float), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2), dtype=float), 1, atol=1e-5)
    np.testing.assert_array_equal(
        normalize(x[3:5], normalization), normalize(x, normalization)[3:5], strict=True
    )


@pytest.mark.parametrize("value", [0, 1, 0.1, 1 / 3, -0.7, 1e-3, 1e6])
@pytest.mark.parametrize("n", [1, 1000])
def test_constant_channel_becomes_zero(value: float, n: int) -> None:
    x = images(n)
    x[..., 1] = value
    normalization = channel_statistics(x)
    assert normalization.std[1] == 1
    y = normalize(x, normalization)
    assert (y[..., 1] == 0).all()
    assert np.isfinite(y).all()
    x[..., 1] += 1  # as a test image may
    assert np.abs(normalize(x, normalization)[..., 1]).max() <= 1.001


def test_a_channel_that_hardly_changes_is_not_taken_for_a_constant_one() -> None:
    x = np.full((1000, 8, 8, 1), 254 / 255, np.float32)
    x[0, 0, 0, 0] = 1
    assert channel_statistics(x).std[0] == pytest.approx(1 / 255 / 64_000**0.5, rel=1e-4)


def test_statistics_take_little_memory() -> None:
    x = load("shapes").train.x
    tracemalloc.start()
    channel_statistics(x)
    assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    tracemalloc.stop()


def test_wrong_shapes() -> None:
    for shape in ((3, 4), (2, 28, 28), (0, 2, 2, 3)):
        with fails(
            r"^channel_statistics: expected images \(n, height, width, channels\), got float32 of shape \(",
            ShapeError,
        ):
            channel_statistics(np.zeros(shape, np.float32))
    normalization = Normalization((0.0,) * 3, (1.0,) * 3)
    with fails(r"^normalize: expected x of shape \(..., 3\), got \(2, 5, 5, 1\)$", ShapeError):
        normalize(np.zeros((2, 5, 5, 1), np.float32), normalization)
    with fails("^normalize: expected x of a floating dtype, got uint8$", ShapeError):
        normalize(np.zeros((2, 5, 5, 3), np.uint8), normalization)
