"""What a library does in its own way gives what the standard's words give."""

import numpy as np
import pytest

from conftest import MakeBackend
from xpnet import backend
from xpnet.backend import device, namespace

X = np.array([[-2.0, -0.0, 0.0, 1.5], [np.inf, -np.inf, 3.0, -1e-30]])
Y = np.array([[0.0, 1.0, -1.0, 2.0], [1e-30, -0.0, np.inf, 5.0]])


def test_positive_part(make_backend: MakeBackend) -> None:
    place = make_backend("float64")
    x = place.asarray(X)
    y = backend.positive_part(x)
    np.testing.assert_array_equal(place.to_numpy(y), np.maximum(X, 0))
    np.testing.assert_array_equal(place.to_numpy(x), X)


def test_where_positive(make_backend: MakeBackend) -> None:
    """0 where y is 0."""
    place = make_backend("float64")
    x, y = place.asarray(np.arange(1.0, 9.0).reshape(2, 4)), place.asarray(Y)
    found = place.to_numpy(backend.where_positive(x, y))
    np.testing.assert_array_equal(found, [[0, 2, 0, 4], [5, 0, 7, 8]])
    np.testing.assert_array_equal(place.to_numpy(x), np.arange(1.0, 9.0).reshape(2, 4))
    np.testing.assert_array_equal(place.to_numpy(y), Y)


@pytest.mark.parametrize("factor", [0.5, np.array(0.5), np.array([0.5, 2.0])[:, None]])
def test_subtract_scaled(make_backend: MakeBackend, factor: float | np.ndarray) -> None:
    """A number, a 0-d array, or one for each of two networks; x may be overwritten and y may not."""
    place = make_backend("float32")
    x, y = np.ones((2, 3), np.float32), np.arange(6.0, dtype=np.float32).reshape(2, 3)
    of_place = factor if isinstance(factor, float) else place.asarray(factor)
    direction = place.asarray(y)
    found = backend.subtract_scaled(place.copy(x), of_place, direction)
    assert found.dtype == place.dtype
    np.testing.assert_array_equal(place.to_numpy(found), x - factor * y)
    np.testing.assert_array_equal(place.to_numpy(direction), y)


@pytest.mark.parametrize("factor", [0.5, np.array(0.5), np.array([0.5, 2.0])[:, None]])
def test_subtract_ratio(make_backend: MakeBackend, factor: float | np.ndarray) -> None:
    """x and z may be overwritten and y may not."""
    place = make_backend("float32")
    x, y = np.ones((2, 3), np.float32), np.arange(6.0, dtype=np.float32).reshape(2, 3)
    of_place = factor if isinstance(factor, float) else place.asarray(factor)
    above, below = place.asarray(y), place.asarray(np.full((2, 3), 4.0))
    found = backend.subtract_ratio(place.copy(x), of_place, above, below)
    assert found.dtype == place.dtype
    np.testing.assert_array_equal(place.to_numpy(found), x - factor * y / 4)
    np.testing.assert_array_equal(place.to_numpy(above), y)


@pytest.mark.parametrize("factor", [0.5, np.array(0.5), np.array([0.5, 2.0])[:, None]])
def test_decay_and_add(make_backend: MakeBackend, factor: float | np.ndarray) -> None:
    place = make_backend("float32")
    x, y = np.ones((2, 3), np.float32), np.arange(6.0, dtype=np.float32).reshape(2, 3)
    of_place = factor if isinstance(factor, float) else place.asarray(factor)
    more = place.asarray(y)
    found = backend.decay_and_add(place.copy(x), of_place, more)
    assert found.dtype == place.dtype
    np.testing.assert_array_equal(place.to_numpy(found), factor * x + y)
    np.testing.assert_array_equal(place.to_numpy(more), y)


def test_add_square(make_backend: MakeBackend) -> None:
    place = make_backend("float32")
    x, y = np.ones((2, 3), np.float32), np.arange(6.0, dtype=np.float32).reshape(2, 3)
    more = place.asarray(y)
    np.testing.assert_array_equal(place.to_numpy(backend.add_square(place.copy(x), more)), x + y * y)
    np.testing.assert_array_equal(place.to_numpy(more), y)


def test_constant(make_backend: MakeBackend) -> None:
    for dtype in ("float32", "float64"):
        place = make_backend(dtype)
        like = place.asarray(X)
        for values in ((1.0, 2.0), (3.0,)):
            found = backend.constant(values, like=like)
            assert namespace(found) is place.xp
            assert found.dtype == like.dtype
            assert device(found) == place.device
            np.testing.assert_array_equal(place.to_numpy(found), values)
