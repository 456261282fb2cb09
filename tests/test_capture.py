"""What a CUDA graph holds besides a whole training step: each operation, products by cuBLAS, the order of work.

All of it runs on the stand-in for CUDA (`cuda_on_cpu`), and on a GPU.
"""

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import cuda_on_cpu
from conftest import MISSING
from test_ops import ENTRIES, results
from xpnet.backend import namespace, ops
from xpnet.backend._cupy import CuPyRecorder, _tools
from xpnet.backend._graph import CapturedLoop

pytestmark = pytest.mark.gpu
if "cupy" in MISSING:
    pytest.skip(MISSING["cupy"], allow_module_level=True)
cupy = importlib.import_module("cupy")
cublas = pytest.importorskip("nvmath.bindings.cublas", reason="nvmath-python is not installed")
ON_CARD = not cuda_on_cpu.is_installed()


@pytest.fixture
def recorder() -> CuPyRecorder:
    return CuPyRecorder(cupy, cublas)


def normal(*shape: int, dtype: str = "float32") -> Any:
    return cupy.asarray(np.random.default_rng(0).normal(size=shape), dtype=dtype)


def replayed(
    recorder: CuPyRecorder, function: Callable[[], Any], change: Callable[[], Any] = lambda: None
) -> list[Any]:
    """The results of a function that is captured, launched, and launched again after `change`."""
    graph, captured = recorder.new_graph(), []
    graph.capture(lambda: captured.extend(results(function())))
    graph.launch()
    change()
    graph.launch()
    return [array if array is None else array.get() for array in captured]


@pytest.mark.parametrize("name", ENTRIES)
def test_an_operation_is_captured(name: str, recorder: CuPyRecorder) -> None:
    """A replay reads what is in the arguments then."""
    _, cases, call = ENTRIES[name]
    table = ops(cupy.empty(0))
    for case in (cases[0], cases[-1]):
        given = [
            cupy.asarray(value, "float32" if value.dtype.kind == "f" else None)
            if isinstance(value, np.ndarray)
            else value
            for value in case
        ]
        arrays = [value for value in given if isinstance(value, cupy.ndarray)]

        def function(given: list[Any] = given) -> Any:
            fresh = [value.copy() if isinstance(value, cupy.ndarray) else value for value in given]
            return call(table, *fresh) if call else getattr(table, name)(*fresh)

        def change(arrays: list[Any] = arrays) -> None:
            for array in arrays:
                cupy.copyto(array, cupy.flip(array) if array.ndim else 2 * array)

        recorder.new_graph().warm_up(function)
        found = replayed(recorder, function, change)
        for array, expected in zip(found, results(function()), strict=True):
            if array is not None:
                np.testing.assert_allclose(array, expected.get(), rtol=1e-5, atol=1e-3)


def layouts(x: Any) -> Iterator[Any]:
    """The same matrices stored by rows, by columns, with gaps, and with reversed columns."""
    yield x
    yield cupy.ascontiguousarray(x.mT).mT
    yield cupy.repeat(x, 2, axis=-2)[..., ::2, :]
    yield cupy.repeat(x, 2, axis=-1)[..., ::2]
    yield cupy.flip(cupy.flip(x, -1).copy(), -1)


SHAPES = [
    ((3, 4), (4, 5)), ((1, 4), (4, 1)), ((65, 200), (200, 130)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)),
    ((6, 1, 3, 4), (2, 4, 5)), ((3, 0), (0, 2)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_products_by_cublas(left: tuple, right: tuple, dtype: str, recorder: CuPyRecorder) -> None:
    """In every layout; and added to a matrix."""
    a, b = normal(*left, dtype=dtype), normal(*right, dtype=dtype)
    expected = a.get().astype("float64") @ b.get()
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    close = {"rtol": tolerance, "atol": tolerance * abs(expected).max(initial=1)}
    _, product = _tools(cupy, cublas, 0)
    with recorder.section() as stream:
        found = [product(x, y) for x in layouts(a) for y in layouts(b)]
        found.append(product.add_to(product(a, b), a, b, -3, 0.5) / -2.5)
        stream.synchronize()
    for array in found:
        np.testing.assert_allclose(array.get(), expected, **close)


def test_products_in_tf32_where_they_are_asked_for_and_only_there() -> None:
    """The recorders share a handle of cuBLAS. TF32 rounds factors to 11 bits; cards before Ampere lack it."""
    x, y = normal(256, 1024), normal(1024, 128)
    expected = x.get().astype("float64") @ y.get()
    errors = []
    for tf32 in (False, True, False):
        recorder = CuPyRecorder(cupy, cublas, tf32)
        recorder.new_graph().warm_up(lambda: x @ y)
        (found,) = replayed(recorder, lambda: x @ y)
        errors.append(float(abs(found - expected).max() / abs(expected).max()))
    assert max(errors[::2]) < 2e-6
    if not ON_CARD or int(cupy.cuda.Device().compute_capability) >= 80:
        assert 2e-5 < errors[1] < 5e-3


def test_a_capture_in_which_a_kernel_is_compiled(
    recorder: CuPyRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "1")  # a cache on disk may have it
    kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = 3 * x + 1", "compiled_while_capturing")
    x = normal(100)
    (found,) = replayed(recorder, lambda: kernel(x))
    np.testing.assert_allclose(found, 3 * x.get() + 1, rtol=1e-6)


def test_a_capture_in_which_memory_is_allocated(recorder: CuPyRecorder) -> None:
    """By CUDA, since the recorder's pool has none."""
    n = (16 if ON_CARD else 1) << 20
    (found,) = replayed(recorder, lambda: cupy.zeros(n, cupy.float32) + 1)
    assert found.min() == found.max() == 1
    assert recorder.pool.total_bytes() >= 8 * n


X, W = np.ones((8, 4), np.float32), np.ones((4, 3), np.float32)
REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "a mask, whose result has a length that the host must know": lambda x, w: x[x > 0],
    "CuPy's own product": lambda x, w: cupy.matmul(x, w),
    "array-api-compat's sign, which fetches a value": lambda x, w: namespace(x).sign(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_after_a_capture_that_failed_others_work(name: str, recorder: CuPyRecorder) -> None:
    x, w = cupy.asarray(X), cupy.asarray(W)
    with pytest.raises((RuntimeError, NotImplementedError)):
        recorder.new_graph().capture(lambda: REFUSED[name](x, w))
    assert "__matmul__" not in vars(cupy.ndarray)
    recorder.new_graph().warm_up(lambda: x @ w)
    (found,) = replayed(recorder, lambda: x @ w)
    np.testing.assert_array_equal(found, X @ W)
    np.testing.assert_array_equal((x @ w).get(), X @ W)


def test_writes_launches_and_reads_are_in_order(recorder: CuPyRecorder) -> None:
    """On the default stream, with much work before them, and nothing waits for it."""
    slow = cupy.ones((8192 if ON_CARD else 64,) * 2, cupy.float32)
    row, total, rows = cupy.zeros(1, int), cupy.zeros(1, int), cupy.arange(300)
    graph = recorder.new_graph()

    def step() -> None:
        cupy.copyto(total, total + 2 * row)

    graph.warm_up(step)
    graph.capture(step)
    for i in range(300):
        if i % 50 == 0:
            for _ in range(10):
                slow = slow * 1.0001 + 1
        recorder.write(row, rows[i : i + 1])
        graph.launch()
    assert int(total[0]) == 300 * 299


def test_arrays_that_change_places_in_the_state() -> None:
    """A captured step that moves a buffer to another leaf of the state reads it before it is overwritten."""

    def step(state: dict, batch: tuple) -> tuple[dict, None]:
        (data, index) = batch
        return {"a": state["b"], "b": state["a"], "sum": state["sum"] + data[index].sum()}, None

    data, rows = cupy.arange(12.0), cupy.arange(12).reshape(6, 2)
    state = {"a": cupy.ones(3), "b": cupy.zeros(3), "sum": cupy.zeros(())}
    loop = CapturedLoop(step, CuPyRecorder(cupy, cublas))
    found = loop(state, (data,), (rows,), 0, 5)
    assert found["a"].tolist() == [0] * 3
    assert found["b"].tolist() == [1] * 3
    assert float(found["sum"]) == 45


def test_two_threads_capture_one_after_the_other() -> None:
    x = cupy.ones((2, 2), np.float32)
    inside, problems = [0], []

    def run() -> None:
        def function() -> None:
            inside[0] += 1
            if inside[0] > 1:
                problems.append("two captures at a time")
            threading.Event().wait(0.02)
            x @ x
            inside[0] -= 1

        graph = CuPyRecorder(cupy, cublas).new_graph()
        try:
            graph.warm_up(function)
            graph.capture(function)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert "__matmul__" not in vars(cupy.ndarray)
