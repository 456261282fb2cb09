"""What a library does in its own way gives what the standard's words give."""

import operator
from collections.abc import Callable

import numpy as np
import pytest

from conftest import MakeBackend
from xpnet import backend
from xpnet.backend import _bare_numpy, device, namespace

X = np.array([[-2.0, -0.0, 0.0, 1.5], [np.inf, -np.inf, 3.0, -1e-30]])
Y = np.array([[0.0, 1.0, -1.0, 2.0], [1e-30, -0.0, np.inf, 5.0]])


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("reshape", [(4, 2)], {}),
        ("reshape", [-1], {"copy": True}),
        ("permute_dims", [(1, 0)], {}),
        ("take", [np.array([1, 1, 0])], {"axis": 0}),
        ("take", [np.array([-1, 9]), 1], {"mode": "clip"}),
        ("astype", [np.float32], {}),
        ("astype", [np.float32], {"copy": False, "device": "cpu"}),
        ("zeros_like", [], {}),
        ("zeros_like", [], {"dtype": np.int8}),
        ("argmax", [], {}),
        ("argmax", [0], {"keepdims": True}),
        ("max", [], {}),
        ("max", [1], {}),
        ("max", [], {"axis": -1, "keepdims": True}),
        ("sum", [], {"axis": None}),
        ("sum", [0], {"dtype": np.float64}),
        ("sum", [], {"axis": (-2, -1), "keepdims": True}),
        ("isfinite", [], {}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_numpy_s_bare_functions_are_its_own(name: str, arguments: list, options: dict, dtype: type) -> None:
    x = np.where(np.isfinite(X), X, 7).astype(dtype)
    found, expected = (getattr(xp, name)(x, *arguments, **options) for xp in (_bare_numpy, np))
    np.testing.assert_array_equal(found, expected)
    assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)


def test_take(make_backend: MakeBackend) -> None:
    place = make_backend("float64")
    found = place.to_numpy(backend.take(place.asarray(Y), place.asarray(np.array([1, 0, 1]))))
    np.testing.assert_array_equal(found, Y[[1, 0, 1]])


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


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_product_is_added(make_backend: MakeBackend, dtype: str, as_array: bool) -> None:
    """With factors that are numbers or 0-d arrays; only what it is added to may be overwritten."""
    place = make_backend(dtype)
    rng = np.random.default_rng(0)
    x, dy, total = (rng.normal(size=shape).astype(dtype) for shape in ((7, 4), (7, 5), (4, 5)))
    there, right = place.asarray(x), place.asarray(dy)
    scale, decay = (place.asarray(v) if as_array else v for v in (-0.1, 0.5))
    found = backend.Product(there.mT, right).add_to(place.copy(total), scale, decay)
    assert found.dtype == place.dtype
    np.testing.assert_allclose(place.to_numpy(found), 0.5 * total - 0.1 * (x.T @ dy), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(place.to_numpy(there), x)
    np.testing.assert_array_equal(place.to_numpy(right), dy)


def test_to_add_a_product_waits_for_no_device() -> None:
    """Else the step could not be captured. ("meta" is a device that has no values to wait for.)"""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, dy, total, number = (torch.empty(s, device="meta") for s in ((7, 4), (7, 5), (4, 5), ()))
    assert backend.Product(x.mT, dy).add_to(total, number, number) is total


@pytest.mark.parametrize("n", [5, 600, 1024, 1500])
@pytest.mark.parametrize("columns", [27, 400])
def test_products_with_many_rows(make_backend: MakeBackend, n: int, columns: int) -> None:
    """By blocks where that is faster; blocks and the rows that fill none are added up."""
    place = make_backend("float32")
    rng = np.random.default_rng(0)
    rows, matrix, dy = (rng.normal(size=s).astype("float32") for s in ((n, columns), (columns, 16), (n, 16)))
    for x in (
        place.asarray(rows),
        place.asarray(np.ascontiguousarray(rows.T)).mT,
        place.asarray(rows)[::2, :],
    ):
        there = place.to_numpy(x).copy()
        product = backend.rows_product(x, place.asarray(matrix))
        np.testing.assert_allclose(place.to_numpy(product), there @ matrix, rtol=1e-4, atol=1e-4)
        gradient = backend.rows_gradient(x, place.asarray(dy[: len(there)]))
        np.testing.assert_allclose(place.to_numpy(gradient), there.T @ dy[: len(there)], rtol=1e-4, atol=1e-4)
        assert product.dtype == gradient.dtype == place.dtype
        np.testing.assert_array_equal(place.to_numpy(x), there)


@pytest.mark.parametrize("n", [3, 512, 1100])
@pytest.mark.parametrize(("m", "s"), [(4, 6), (6, 4), (5, 5)])
def test_transform(make_backend: MakeBackend, m: int, s: int, n: int) -> None:
    """Less than a block of columns, a block, and two with a rest."""
    place = make_backend("float64")
    rng = np.random.default_rng(0)
    matrix, planes = rng.normal(size=(m, s)), rng.normal(size=(s, s, n))
    expected = np.einsum("ai,bj,ijn->abn", matrix, matrix, planes).reshape(m * m, n)
    for a in (place.asarray(matrix), place.asarray(matrix.T.copy()).mT):
        found = backend.transform(a, place.asarray(planes.reshape(s * s, n)))
        np.testing.assert_allclose(place.to_numpy(found), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3), (64, 3), (2, 5, 3)])
def test_sum_of_rows(make_backend: MakeBackend, shape: tuple[int, ...]) -> None:
    """With a leading axis, of each network's rows."""
    place = make_backend("float64")
    rows = np.random.default_rng(0).normal(size=shape)
    found = place.to_numpy(backend.sum_of_rows(place.asarray(rows)))
    np.testing.assert_allclose(found, rows.sum(axis=-2), rtol=1e-14, atol=1e-14)


SHAPES = [(1, 3), (64, 3), (5, 100), (2, 5, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_maxima_of_rows(make_backend: MakeBackend, shape: tuple[int, ...]) -> None:
    """A column for each network; with a number that is not one, nothing in its row is."""
    place = make_backend("float64")
    rows = np.random.default_rng(0).normal(size=shape)
    rows[..., 0, 1] = np.nan
    x = place.asarray(rows)
    sums, maxima = place.to_numpy(backend.row_sums(x)), place.to_numpy(backend.row_maxima(x))
    np.testing.assert_allclose(sums, rows.sum(axis=-1, keepdims=True), rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(maxima, rows.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(place.to_numpy(x), rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_inner_product(make_backend: MakeBackend, shape: tuple[int, ...]) -> None:
    """Of each network's rows, however they lie in memory."""
    place = make_backend("float64")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape), rng.normal(size=shape)
    transposed = place.asarray(np.ascontiguousarray(np.swapaxes(y, -1, -2))).mT
    for other in (place.asarray(y), transposed):
        found = backend.inner_product(place.asarray(x), other)
        assert found.shape == shape[:-2]
        assert found.dtype == place.dtype
        np.testing.assert_allclose(place.to_numpy(found), (x * y).sum(axis=(-2, -1)), rtol=1e-13)


@pytest.mark.parametrize("shape", [(1,), (64,), (2, 5)])
def test_count(make_backend: MakeBackend, shape: tuple[int, ...]) -> None:
    place = make_backend("float32")
    x = np.random.default_rng(0).normal(size=shape)
    found = backend.count(place.asarray(x) > 0)
    assert found.shape == shape[:-1]
    assert place.xp.isdtype(found.dtype, "integral")
    np.testing.assert_array_equal(place.to_numpy(found), (x > 0).sum(axis=-1))


def test_exp_or_infinity(make_backend: MakeBackend) -> None:
    """Without a warning, which would fail the test."""
    for dtype, bound in (("float32", 89.0), ("float64", 710.0)):
        place = make_backend(dtype)
        found = place.to_numpy(backend.exp_or_infinity(place.asarray([-np.inf, -1e4, 0, 1, bound, 1e4])))
        np.testing.assert_allclose(found, [0, 0, 1, np.e, np.inf, np.inf], rtol=1e-6)


# Few numbers and many; rows that make no long one, and some that do; images; two networks with a row each.
ROWS = [(1, 3), (64, 3), (40_001, 1), (2048, 20), (9000, 4), (2, 33_000), (8, 32, 16, 12), (2, 2048, 20)]


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("operation", [operator.sub, operator.mul, operator.iadd, operator.imul])
def test_each_row(make_backend: MakeBackend, shape: tuple[int, ...], operation: Callable) -> None:
    """However the rows lie in memory; only where it is asked for, in place."""
    place = make_backend("float32")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=shape).astype("float32")
    row = rng.normal(size=(2, 1, 20) if shape[0] == 2 < len(shape) else shape[-1]).astype("float32")
    expected = operation(rows.copy(), row)
    for x in (place.copy(rows), place.copy(rows.T.copy()).mT if rows.ndim == 2 else place.copy(rows)):
        other = place.asarray(row)
        found = backend.each_row(operation, x, other)
        assert found.dtype == place.dtype
        np.testing.assert_array_equal(place.to_numpy(found), expected)
        np.testing.assert_array_equal(place.to_numpy(other), row)
        if operation in (operator.sub, operator.mul):
            np.testing.assert_array_equal(place.to_numpy(x), rows)


@pytest.mark.parametrize("n", [1, 7, 64, 20_000])
def test_add_to_rows(make_backend: MakeBackend, n: int) -> None:
    place = make_backend("float32")
    rows = np.random.default_rng(0).normal(size=(n, 3)).astype("float32")
    row = np.arange(3, dtype="float32")
    for copy in (place.copy(rows), place.copy(rows.T).mT):
        np.testing.assert_array_equal(
            place.to_numpy(backend.add_to_rows(copy, place.asarray(row))), rows + row
        )


@pytest.mark.parametrize("shape", [shape for shape in ROWS if len(shape) < 4])
def test_sum_of_products(make_backend: MakeBackend, shape: tuple[int, ...]) -> None:
    """Of each network's rows, however they lie in memory; with a NaN, nothing in its column is a number."""
    place = make_backend("float64")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape), rng.normal(size=shape)
    x[..., -1, 0] = np.nan
    transposed = place.asarray(np.ascontiguousarray(np.swapaxes(y, -1, -2))).mT
    for other in (place.asarray(y), transposed):
        here = place.asarray(x)
        found = backend.sum_of_products(here, other)
        assert found.dtype == place.dtype
        np.testing.assert_allclose(place.to_numpy(found), (x * y).sum(axis=-2), rtol=1e-12, atol=1e-11)
        np.testing.assert_array_equal(place.to_numpy(here), x)


@pytest.mark.parametrize("n", [200_000, 200_001, 200_002])
def test_sum_of_many_products_is_accurate(n: int) -> None:
    """Few long columns, each added up number by number in float32, would give less exact sums."""
    x = np.random.default_rng(0).normal(size=(n, 8)).astype("float32")
    exact = (x.astype("float64") ** 2).sum(axis=0)
    np.testing.assert_allclose(backend.sum_of_products(x, x), exact, rtol=1e-5)


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
