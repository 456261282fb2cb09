"""Each operation of each library's `Ops`, and its reference form, agrees with its formula.

A new operation of `Ops` needs a row in `ENTRIES`.
"""

import inspect
import itertools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from conftest import MakeBackend
from xpnet import backend
from xpnet.backend import Backend, Ops, _cupy_windows, device, namespace, ops
from xpnet.backend import _numpy_bare as bare

RNG = np.random.default_rng(0)
X = np.array([[-2.0, -0.0, 0.0, 1.5], [np.inf, -np.inf, 3.0, -1e-30]])
Y = np.array([[0.0, 1.0, -1.0, 2.0], [1e-30, -0.0, np.inf, 5.0]])
FACTORS = [0.5, np.array(0.5), np.array([0.5, 2.0])[:, None]]  # for all, or for each of two networks
# Few and many numbers; rows that cannot be joined, and rows that can; images; two networks.
ROWS = [(1, 3), (64, 3), (40_001, 1), (2048, 20), (9000, 4), (2, 33_000), (8, 32, 16, 12), (2, 2048, 20)]


class Entry(NamedTuple):
    """An operation: its formula on NumPy arrays, arguments for it, and how to call it if not directly."""

    formula: Callable[..., Any]
    cases: list[tuple[Any, ...]]
    call: Callable[..., Any] | None = None


def normal(*shape: int, rng: np.random.Generator = RNG) -> np.ndarray:
    return rng.normal(size=shape)


def row_for(shape: tuple[int, ...], rng: np.random.Generator = RNG) -> np.ndarray:
    """One row for all rows, or one for each of two networks."""
    return normal(2, 1, shape[-1], rng=rng) if len(shape) == 3 else normal(shape[-1], rng=rng)


def put(x: np.ndarray, index: Any, value: np.ndarray, add: bool) -> np.ndarray:
    x = x.copy()
    x[index] = x[index] + value if add else value
    return x


def positions(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> Iterator[tuple[tuple, tuple]]:
    """The index of each output along the middle axes, with the index of its window in x."""
    outputs = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], kernel, stride, strict=True)]
    for output in itertools.product(*map(range, outputs)):
        window = (slice(i * s, i * s + k) for i, k, s in zip(output, kernel, stride, strict=True))
        yield (slice(None), *output), (slice(None), *window)


def windows(x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    indices = list(positions(x, kernel, stride))
    outputs = [last + 1 for last in indices[-1][0][1:]]
    view = np.zeros((x.shape[0], *outputs, *kernel, x.shape[-1]))
    for output, window in indices:
        view[output] = x[window]
    return view


def pad(x: np.ndarray, padding: Any) -> np.ndarray:
    return np.pad(x, [(0, 0), *padding, (0, 0)])


def convolve(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, stride: Any, padding: Any
) -> np.ndarray:
    kernel, n = weight.shape[:-2], x.shape[-1] // weight.shape[-2]
    if n > 1:
        biases = [None] * n if bias is None else np.split(bias, n)
        parts = zip(np.split(x, n, -1), np.split(weight, n, -1), biases, strict=True)
        return np.concatenate([convolve(*each, stride, padding) for each in parts], axis=-1)
    axes = list(range(len(kernel) + 1))
    y = np.tensordot(windows(pad(x, padding), kernel, stride), weight, ([-1 - a for a in axes], axes[::-1]))
    return y if bias is None else y + bias


def convolve_gradients(
    x: np.ndarray, weight: np.ndarray, dy: np.ndarray, stride: Any, padding: Any, of_input: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    n = x.shape[-1] // weight.shape[-2]
    if n > 1:
        parts = zip(*[np.split(each, n, -1) for each in (x, weight, dy)], strict=True)
        found = zip(*[convolve_gradients(*each, stride, padding, of_input) for each in parts], strict=True)
        dx, dweight, dbias = [None if each[0] is None else np.concatenate(each, axis=-1) for each in found]
        return dx, dweight, dbias
    padded = pad(x, padding)
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for output, window in positions(padded, weight.shape[:-2], stride):
        dpadded[window] += np.tensordot(dy[output], weight, ([1], [-1]))
        dweight += np.moveaxis(np.tensordot(dy[output], padded[window], ([0], [0])), 0, -1)
    inner = [slice(low, low + n) for n, (low, _) in zip(x.shape[1:-1], padding, strict=True)]
    dx = dpadded[(slice(None), *inner)] if of_input else None
    return dx, dweight, dy.sum(axis=tuple(range(dy.ndim - 1)))


def max_pool_gradient(dy: np.ndarray, x: np.ndarray, kernel: Any, stride: Any) -> np.ndarray:
    dx = np.zeros_like(x)
    for output, window in positions(x, kernel, stride):
        rows = x[window].reshape(x.shape[0], -1, x.shape[-1])
        first = np.arange(rows.shape[1])[:, None] == rows.argmax(axis=1)[:, None]
        dx[window] += (first * dy[output][:, None]).reshape(x[window].shape)
    return dx


IMAGES = np.round(normal(2, 7, 8, 3))  # with equal elements in a window
GEOMETRY = [  # kernel, stride, padding
    ((3, 3), (1, 1), ((1, 1), (1, 1))),
    ((2, 3), (2, 1), ((0, 0), (0, 0))),
    ((4, 2), (2, 3), ((1, 2), (0, 1))),
]


def convolutions() -> Iterator[tuple]:
    """x, weight, dy, stride, padding"""
    for kernel, stride, padding in GEOMETRY:
        weight = normal(*kernel, 3, 4)
        yield IMAGES, weight, normal(*convolve(IMAGES, weight, None, stride, padding).shape), stride, padding
    series, weight = normal(2, 9, 3), normal(4, 3, 5)
    yield series, weight, normal(*convolve(series, weight, None, (2,), ((2, 1),)).shape), (2,), ((2, 1),)
    yield normal(2, 4, 4), normal(2, 2, 6), normal(2, 2, 6), (2,), ((0, 0),)  # two groups of channels


MIDDLE = (slice(None), slice(1, 6, 2), slice(0, 4), slice(None))
PARTS = (IMAGES, MIDDLE, normal(2, 3, 4, 3))
POOLS = [(IMAGES, (2, 2), (2, 2)), (IMAGES, (3, 2), (1, 2)), (np.round(normal(2, 9, 3)), (3,), (2,))]
SCALED = [(normal(2, 3), factor, normal(2, 3)) for factor in FACTORS]
SHAPES = [(1, 3), (64, 3), (5, 100), (2, 5, 3)]
TIMES = [(scale, decay) for scale in (-0.1, np.array(-0.1)) for decay in (0.5, np.array(0.5), 1)]

ENTRIES = {
    "constant": Entry(lambda values, like: np.array(values), [((1.0, 2.0), X), ((3.0,), X), ((1.0, 2.0), X)]),
    "transposed": Entry(lambda x: x.swapaxes(-1, -2), [(X,), (normal(2, 3, 4),)]),
    "take_in_each": Entry(
        lambda x, index: np.stack([each[i] for each, i in zip(x, index, strict=True)]),
        [(normal(3, 4, 2), np.array([[1, 0], [3, 3], [2, 1]])), (normal(2, 5), np.array([[4], [0]]))],
    ),
    "take": Entry(lambda x, index: x[index], [(Y, np.array([1, 0, 1])), (normal(9, 2, 3), np.array([8, 3]))]),
    "set_at": Entry(lambda x, index, value: put(x, index, value, add=False), [PARTS]),
    "add_at": Entry(lambda x, index, value: put(x, index, value, add=True), [PARTS]),
    "pad": Entry(pad, [(IMAGES, padding) for _, _, padding in GEOMETRY] + [(normal(2, 5, 3), ((2, 1),))]),
    "window_view": Entry(windows, POOLS),
    "positive_part": Entry(lambda x: np.maximum(x, 0), [(X,), (normal(3, 5),)]),
    "where_positive": Entry(
        lambda x, y: np.where(y > 0, x, 0), [(normal(2, 4), Y), (normal(3, 5), normal(3, 5))]
    ),
    "where_nonzero": Entry(
        lambda x, y: np.where(y != 0, x, 0), [(normal(2, 4), Y), (np.array([np.inf, -np.inf, 2]), np.array([0.0, 1, -1]))]
    ),
    "exp_or_infinity": Entry(np.exp, [(np.array([-np.inf, -1e4, 0, 1, 89, 710, 1e4]),)]),
    "sign": Entry(np.sign, [(X,)]),
    "row_maxima": Entry(lambda x: x.max(axis=-1, keepdims=True), [(normal(*shape),) for shape in SHAPES]),
    "row_sums": Entry(lambda x: x.sum(axis=-1, keepdims=True), [(normal(*shape),) for shape in SHAPES]),
    "inner_product": Entry(
        lambda x, y: (x * y).sum(axis=(-2, -1)),
        [(normal(*shape), normal(*shape)) for shape in [*SHAPES, (300, 400)]],
    ),
    "weighted_sum": Entry(
        lambda weights, x: (weights * np.where(weights == 0, 0, x)).sum(axis=(-2, -1)),
        [(normal(*shape), normal(*shape)) for shape in SHAPES]
        + [(np.eye(3), np.where(np.eye(3) == 0, -np.inf, 2.0)), (np.eye(2), np.full((2, 2), -np.inf))]
        + [(np.stack([np.eye(3)] * 2), np.where(np.eye(3) == 0, -np.inf, np.ones((2, 3, 3))))],
    ),
    "sum_of_rows": Entry(lambda rows: rows.sum(axis=-2), [(normal(*shape),) for shape in SHAPES]),
    "sum_of_products": Entry(
        lambda x, y: (x * y).sum(axis=-2),
        [(normal(*shape), normal(*shape)) for shape in ROWS if len(shape) < 4],
    ),
    "each_row": Entry(
        lambda operation, rows, row: operation(rows.copy(), row),
        [
            (operation, normal(*shape), row_for(shape))
            for shape in ROWS
            for operation in (operator.sub, operator.mul, operator.iadd, operator.imul)
        ],
    ),
    "add_to_rows": Entry(
        lambda rows, row: rows + row, [(normal(*shape), row_for(shape)) for shape in [*ROWS, (20_000, 3)]]
    ),
    "add_product": Entry(
        lambda total, left, right, scale, decay: decay * total + scale * (left @ right),
        [
            (normal(*shape), normal(shape[0], 7), normal(7, shape[1]), scale, decay)
            for shape in ((4, 5), (120, 100))
            for scale, decay in TIMES
        ]
        + [  # of two networks, with inputs of their own or the same for both
            (normal(2, *shape), normal(lefts, shape[0], 7), normal(2, 7, shape[1]), scale, decay)
            for shape in ((4, 5), (120, 100))
            for lefts in (1, 2)
            for scale, decay in ((0.5, 1), (1, 0.9), (np.array([[[0.5]], [[-2.0]]]), np.array([[[0.1]], [[3.0]]])))
        ],
    ),
    "rows_product": Entry(
        lambda rows, matrix: rows @ matrix,
        [(normal(n, columns), normal(columns, 16)) for n in (5, 600, 1024, 1500) for columns in (27, 400)],
    ),
    "rows_gradient": Entry(
        lambda rows, dy: rows.T @ dy,
        [(normal(n, columns), normal(n, 16)) for n in (5, 600, 1024, 1500) for columns in (27, 400)],
    ),
    "transform": Entry(
        lambda a, planes: np.einsum("ai,bj,ijn->abn", a, a, planes.reshape(a.shape[1], a.shape[1], -1)).reshape(
            len(a) ** 2, -1
        ),
        [
            (normal(m, s), normal(s * s, n))
            for m, s in ((4, 6), (6, 4), (5, 5))
            for n in (3, 512, 1100)  # less than one block of columns, one block, and two with a remainder
        ],
    ),
    "rows_of_windows": Entry(
        lambda x, kernel, stride, padding: windows(pad(x, padding), kernel, stride).reshape(-1, np.prod(kernel) * x.shape[-1]),
        [(x, weight.shape[:-2], stride, padding) for x, weight, _, stride, padding in convolutions()]
        + [  # on a GPU: several blocks of a row, and a thread with windows of several images
            (normal(2, 4, 3, 70), (3, 3), (1, 1), ((1, 1), (1, 1))),
            (normal(40, 2, 3, 1), (2, 2), (1, 1), ((0, 0), (1, 0))),
        ],
    ),
    "convolve": Entry(
        convolve,
        [
            (x, weight, bias, stride, padding)
            for x, weight, _, stride, padding in convolutions()
            for bias in (None, normal(weight.shape[-1]))
        ],
    ),
    "convolve_gradients": Entry(
        convolve_gradients, [(*case, of_input) for case in convolutions() for of_input in (True, False)]
    ),
    "max_pool": Entry(
        lambda x, kernel, stride: windows(x, kernel, stride).max(axis=tuple(range(-1 - len(kernel), -1))),
        POOLS,
        lambda table, *arguments: table.max_pool(*arguments)[0],
    ),
    "max_pool_gradient": Entry(
        max_pool_gradient,
        [(normal(*windows(*case).shape[: case[0].ndim - 1], 3), *case) for case in POOLS],
        lambda table, dy, x, *geometry: table.max_pool_gradient(dy, x, table.max_pool(x, *geometry)[1], *geometry),
    ),
}  # fmt: skip
# Tested below, in test_unreadable.py and in test_fused.py.
WITHOUT_ARRAYS = {"device", "advice", "fused", "compile_fused"}

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
LAYOUTS = ["as they are", "transposed", "with gaps"]


def tables() -> list[type[Ops]]:
    found = [Ops]
    for table in found:
        found += table.__subclasses__()
    return found


def test_every_entry_has_cases() -> None:
    names = {
        name for table in tables() for name, member in vars(table).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }  # fmt: skip
    assert names == ENTRIES.keys() | WITHOUT_ARRAYS
    assert {name for name, member in vars(Ops).items() if inspect.isfunction(member) and not member.__doc__} <= {
        "__init__", "__init_subclass__",
    }  # fmt: skip


def may_overwrite(name: str) -> set[str]:
    """The arguments that an operation may overwrite, by the docstring of the reference."""
    sentences = re.findall(r"May overwrite ([^.,]*)", getattr(Ops, name).__doc__)
    return {word for sentence in sentences for word in sentence.split(" and ")}


def on(place: Backend, array: np.ndarray, layout: str) -> Any:
    """A fresh array on the device, with the given memory layout."""
    if array.dtype.kind != "f" or array.ndim < 2:
        return place.xp.asarray(place.asarray(array), copy=True)
    if layout == "transposed":
        there = place.xp.asarray(place.asarray(np.ascontiguousarray(array.swapaxes(-1, -2))), copy=True)
        return ops(there).transposed(there)
    if layout == "with gaps":
        return place.xp.asarray(place.asarray(np.repeat(array, 2, axis=0)), copy=True)[::2, ...]
    return place.xp.asarray(place.asarray(array), copy=True)


def results(found: Any) -> list[Any]:
    return list(found) if isinstance(found, tuple) else [found]


def test_cupys_kernel_counts_windows_in_32_bits():
    images = np.broadcast_to(np.float32(0), (1 << 21, 30, 30, 3))
    assert _cupy_windows.takes(images, ((0, 0), (0, 0)))
    assert not _cupy_windows.takes(images, ((1, 1), (1, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_its_formula(name: str, dtype: str, make_any_backend: MakeBackend) -> None:
    """Both the library's form and the reference; they overwrite only what the docstring allows."""
    place, (formula, cases, call) = make_any_backend(dtype), ENTRIES[name]
    own = ops(place.asarray(0.0))
    parameters = list(inspect.signature(getattr(Ops, name)).parameters)[1:]
    # The reference needs the whole standard, which Dask lacks. JAX and Dask have no memory layouts.
    checked = [own, Ops(own.xp)] if place.name in ("numpy", "array-api-strict") else [own]
    layouts = LAYOUTS[:1] if place.name in ("jax", "dask") else LAYOUTS
    for case, layout, table in itertools.product(cases, layouts, checked):
        host = [value.astype(dtype) if getattr(value, "dtype", "") == "float64" else value for value in case]
        exact = [value.astype("float64") if getattr(value, "dtype", "") == dtype else value for value in host]
        with np.errstate(all="ignore"):
            expected = [x if x is None else np.asarray(x) for x in results(formula(*exact))]
            expected = [x if x is None or x.dtype.kind != "f" else x.astype(dtype) for x in expected]
        there = [on(place, value, layout) if isinstance(value, np.ndarray) else value for value in host]
        with np.errstate(over="ignore" if type(table) is Ops else "warn"):
            found = results(call(table, *there) if call else getattr(table, name)(*there))
        for array, values in zip(found, expected, strict=True):
            if values is None:
                assert array is None
                continue
            assert namespace(array) is place.xp
            assert device(array) == place.device
            assert array.dtype == (place.dtype if values.dtype.kind == "f" else place.index_dtype)
            finite = np.abs(values[np.isfinite(values)])
            scale = max(1.0, finite.max(initial=0)) * TOLERANCE[dtype]
            np.testing.assert_allclose(place.to_numpy(array), values, rtol=TOLERANCE[dtype], atol=scale)
        for parameter, value, array in zip(parameters, host, there, strict=call is None):
            if isinstance(value, np.ndarray) and parameter not in may_overwrite(name):
                np.testing.assert_array_equal(place.to_numpy(array), value, err_msg=parameter)


@pytest.mark.parametrize("shape", ROWS)
def test_each_row_writes_only_where_the_operation_does(
    make_backend: MakeBackend, shape: tuple, rng: np.random.Generator
) -> None:
    place = make_backend("float32")
    host = normal(*shape, rng=rng).astype("float32")
    rows, row = place.copy(host), place.asarray(row_for(shape, rng))
    for operation in (operator.sub, operator.mul):
        ops(rows).each_row(operation, rows, row)
        np.testing.assert_array_equal(place.to_numpy(rows), host)


def test_the_table_is_found_by_type(make_any_backend: MakeBackend) -> None:
    place = make_any_backend("float32")
    x = place.asarray(X)
    assert ops(x) is ops(place.asarray([1, 2]))
    assert ops(x).xp is place.xp is namespace(x)
    assert ops(x).device(x) == place.device
    assert isinstance(ops(x).advice(x), str)


def test_numpy_s_scalars_and_subclasses_have_its_table(tmp_path: Any) -> None:
    class Mine(np.ndarray):
        pass

    table = ops(np.zeros(3))
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (2, 2))
    others = [np.float32(1), np.int64(1), np.bool_(True), np.zeros(3).view(Mine), mapped, np.zeros(3).max()]
    assert all(ops(x) is table for x in others)


def test_a_library_that_xpnet_does_not_know_has_the_reference() -> None:
    """NumPy arrays in a class that declares the array API standard."""

    class Namespace:
        @staticmethod
        def sum(x: "Unknown", axis: int) -> "Unknown":
            return Unknown(x.values.sum(axis=axis))

    class Unknown:
        def __init__(self, values: np.ndarray) -> None:
            self.values = values

        def __array_namespace__(self, api_version: str | None = None) -> Any:
            return Namespace

    x = Unknown(np.ones((2, 3)))
    assert type(ops(x)) is Ops
    assert namespace(x) is Namespace
    np.testing.assert_array_equal(ops(x).sum_of_rows(x).values, [2, 2, 2])


def test_tracers_have_jax_s_table() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    x = jax.numpy.zeros(3)
    tables = []
    jax.jit(lambda traced: tables.append(ops(traced)))(x)
    assert tables == [ops(x)]


def test_a_constant_is_kept_where_steps_are_captured() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.zeros(3)
    assert ops(x).constant((1.0, 2.0), like=x) is ops(x).constant((1.0, 2.0), like=x)


def test_to_add_a_product_waits_for_no_device() -> None:
    """Otherwise the step could not be captured. (The device "meta" has no values to wait for.)"""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, dy, total, number = (torch.empty(s, device="meta") for s in ((7, 4), (7, 5), (4, 5), ()))
    assert backend.Product(x.mT, dy).add_to(total, number, number) is total


@pytest.mark.parametrize("n", [200_000, 200_001, 200_002])
def test_sum_of_many_products_is_accurate(n: int) -> None:
    """Adding up few long columns number by number in float32 would give less exact sums."""
    x = np.random.default_rng(0).normal(size=(n, 8)).astype("float32")
    exact = (x.astype("float64") ** 2).sum(axis=0)
    np.testing.assert_allclose(ops(x).sum_of_products(x, x), exact, rtol=1e-5)


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
    found, expected = (getattr(xp, name)(x, *arguments, **options) for xp in (bare, np))
    np.testing.assert_array_equal(found, expected)
    assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)
