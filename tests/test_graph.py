"""Training steps as CUDA graphs, tested without a GPU by recorders on NumPy that imitate one."""

import ctypes
import gc
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import MISSING, ON_GPU, PLACES
from laws import assert_close, assert_same, fetch
from xpnet import backend, losses, nn, optim, schedules, tree
from xpnet.backend._cublas import CuBLAS
from xpnet.backend._cupy import CuPyGraph, CuPyRecorder, replaced_matmul
from xpnet.backend._graph import CapturedLoop
from xpnet.backend._torch import TorchRecorder


class FakeGraph:
    """A graph that runs its function at each launch, on the captured arrays. A capture changes nothing."""

    def __init__(self, recorder: "FakeRecorder") -> None:
        self.recorder = recorder

    def warm_up(self, function: Callable[[], Any]) -> Any:
        self.recorder.log.append("warm up")
        with self.recorder.inside():
            return function()

    def capture(self, function: Callable[[], None]) -> None:
        self.recorder.log.append("begin capture")
        kept = [array.copy() for array in self.recorder.buffers]
        try:
            with self.recorder.inside():
                if self.recorder.fails:
                    raise RuntimeError("operation not permitted\nwhile capturing")
                function()
        finally:
            for array, values in zip(self.recorder.buffers, kept, strict=True):
                array[...] = values
            self.recorder.log.append("end capture")
        self.function = function

    def launch(self) -> None:
        self.recorder.log.append("launch")
        with self.recorder.inside():
            self.function()


class FakeRecorder:
    """A recorder that lists its calls from outside the step."""

    def __init__(self, fails: bool = False) -> None:
        self.log: list[str] = []
        self.buffers: list[np.ndarray] = []
        self.fails = fails
        self.is_inside = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        self.is_inside = True
        try:
            yield
        finally:
            self.is_inside = False

    def new_graph(self) -> FakeGraph:
        self.log.append("new graph")
        return FakeGraph(self)

    def copy(self, x: np.ndarray) -> np.ndarray:
        copy = np.array(x)
        if not self.is_inside:
            self.log.append("copy")
            self.buffers.append(copy)
        return copy

    def write(self, buffer: np.ndarray, x: np.ndarray) -> None:
        assert buffer.shape == x.shape
        assert buffer.dtype == x.dtype
        if not self.is_inside:
            self.log.append("write")
            assert any(buffer is mine for mine in self.buffers)
        buffer[...] = x

    def take_log(self) -> list[str]:
        log, self.log = self.log, []
        return log


def add_up(state: dict, batch: tuple) -> tuple[dict, None]:
    """A step that overwrites one array, makes a fresh one, and moves the old one to another name."""
    data, index, rate = batch
    velocity = state["velocity"]
    velocity *= 0.5
    velocity += data[index, ...].sum(axis=0) * (1 if rate is None else rate)
    return {"velocity": velocity, "sum": state["sum"] + velocity, "sum_before": state["sum"]}, None


def expected_sums(state: dict, data: np.ndarray, rows: np.ndarray, rates: Any = None) -> dict:
    state = {name: array.copy() for name, array in state.items()}
    for i, index in enumerate(rows):
        state, _ = add_up(state, (data, index, None if rates is None else rates[i]))
    return state


def make_sums(n: int = 7) -> tuple[dict, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=3) for name in ("sum", "sum_before", "velocity")}
    return state, rng.normal(size=(20, 3)), rng.integers(20, size=(n, 4))


def assert_state(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_first_step_warms_up_and_the_others_are_replays() -> None:
    state, data, rows = make_sums()
    expected = expected_sums(state, data, rows)
    recorder = FakeRecorder()
    loop = CapturedLoop(add_up, recorder)
    found = loop(state, (data,), (rows, None), 0, 3)
    assert recorder.take_log() == [
        "new graph", "warm up", *["copy"] * 3, "copy", "begin capture", "end capture", *["write", "launch"] * 2,
    ]  # fmt: skip
    found = loop(found, (data,), (rows, None), 3, 7)
    assert recorder.take_log() == ["write", "launch"] * 4  # no allocation, no fetch, no wait
    assert_state(found, expected)
    assert all(found[name] is loop.state[name] for name in found)
    assert all(any(array is buffer for buffer in recorder.buffers) for array in found.values())


def test_a_learning_rate_is_an_input() -> None:
    state, data, rows = make_sums()
    rates = np.linspace(0.1, 1, 7)
    expected = expected_sums(state, data, rows, rates)
    recorder = FakeRecorder()
    assert_state(CapturedLoop(add_up, recorder)(state, (data,), (rows, rates), 0, 7), expected)
    assert recorder.log[-3:] == ["write", "write", "launch"]


def test_arrays_of_the_caller_are_copied_into_the_buffers_first() -> None:
    state, data, rows = make_sums()
    recorder = FakeRecorder()
    loop = CapturedLoop(add_up, recorder)
    found = loop(state, (data,), (rows, None), 0, 2)
    mine = {**found, "sum": np.array([1.0, 2.0, 3.0])}
    expected = expected_sums(mine, data, rows[2:4])
    recorder.take_log()
    found = loop(mine, (data,), (rows, None), 2, 4)
    assert recorder.take_log() == ["write", *["write", "launch"] * 2]
    assert_state(found, expected)
    np.testing.assert_array_equal(mine["sum"], [1, 2, 3])


def test_each_shape_and_each_data_set_has_its_graph() -> None:
    state, data, rows = make_sums()
    other = data[::-1].copy()
    short = rows[:1, :2]
    recorder = FakeRecorder()
    loop = CapturedLoop(add_up, recorder)
    expected, found = state, {name: array.copy() for name, array in state.items()}
    for _ in range(2):
        for constants, stack in (((data,), rows), ((data,), short), ((other,), rows)):
            expected = expected_sums(expected, constants[0], stack)
            found = loop(found, constants, (stack, None), 0, len(stack))
            assert_state(found, expected)
    assert recorder.log.count("begin capture") == 3
    assert len(loop.captured) == 3


def test_the_graph_of_a_data_set_that_is_gone_goes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read freed memory, and a new array may have the old one's id."""
    monkeypatch.setattr(FakeGraph, "capture", lambda self, function: None)  # keep no reference to the data
    state, data, rows = make_sums(1)
    loop = CapturedLoop(add_up, FakeRecorder())
    found = {name: array.copy() for name, array in state.items()}
    for shift in range(5):
        part = data + shift
        found = loop(found, (part,), (rows, None), 0, 1)
        assert len(loop.captured) == 1
        (captured,) = loop.captured.values()
        assert captured.reads((part,))
        assert not captured.reads((part.copy(),))
        del part
        gc.collect()
        assert captured.is_stale()


def test_a_state_of_another_shape_starts_anew() -> None:
    state, data, rows = make_sums()
    loop = CapturedLoop(add_up, FakeRecorder())
    loop(state, (data,), (rows, None), 0, 3)
    wide = {name: np.zeros((2, 3)) for name in state}
    expected = expected_sums(wide, data, rows[:3])
    assert_state(loop(wide, (data,), (rows, None), 0, 3), expected)


def test_where_nothing_can_be_captured_the_steps_run_as_they_are() -> None:
    state, data, rows = make_sums()
    expected = expected_sums(state, data, rows)
    recorder = FakeRecorder(fails=True)
    loop = CapturedLoop(add_up, recorder)
    message = (
        r"CUDA graph, got an error \(operation not permitted while capturing\); they run kernel by kernel"
    )
    with pytest.warns(RuntimeWarning, match=message):
        found = loop(state, (data,), (rows, None), 0, 4)
    assert recorder.take_log()[-2:] == ["begin capture", "end capture"]
    assert_state(loop(found, (data,), (rows, None), 4, 7), expected)
    assert recorder.take_log() == []


def test_without_a_graph_the_steps_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    state, data, rows = make_sums()
    expected = expected_sums(state, data, rows)

    def no_graph(self: FakeRecorder) -> None:
        raise OSError("libcublas.so.13 is not there")

    monkeypatch.setattr(FakeRecorder, "new_graph", no_graph)
    with pytest.warns(RuntimeWarning, match="libcublas"):
        found = CapturedLoop(add_up, FakeRecorder())(state, (data,), (rows, None), 0, 7)
    assert_state(found, expected)


def test_a_mistake_in_the_step_is_the_caller_s() -> None:
    state, data, rows = make_sums()
    with pytest.raises(IndexError):
        CapturedLoop(add_up, FakeRecorder())(state, (data[:2],), (rows, None), 0, 1)


OPTIMIZERS = [optim.SGD(0.1), optim.SGD(0.1, 0.9, nesterov=True), optim.Adam(0.01), optim.AverageWeights(optim.Lion(0.01), 0.9)]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_fit_with_graphs_gives_the_bits_of_fit_without(
    optimizer: optim.Optimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all kinds of state, a short last batch, parameters set by hand, and a second data set."""
    plain = train(optimizer)
    recorder = FakeRecorder()
    monkeypatch.setattr(backend.NumPy, "compile_loop", lambda self, step: CapturedLoop(step, recorder))
    captured = train(optimizer)
    assert_same(captured.backend, captured.state, fetch(plain.backend, plain.state))
    assert recorder.log.count("begin capture") == 4  # two data sets, each with a short batch
    assert recorder.log.count("launch") == 3 * 5 + 2 * 3 - 4


def test_weights_of_examples_are_part_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph reads them where they are: other weights have a graph of their own."""
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(20, 5)), rng.integers(3, size=20), rng.integers(3, size=20)

    def trained() -> xpnet.Model:
        model = xpnet.Model(nn.Linear(5, 3), losses.CrossEntropy(ignore_label=2), optim.Adam(0.1))
        for sample_weight in (None, weights, weights + 1):
            model.fit(x, y, epochs=3, batch_size=10, sample_weight=sample_weight)
        return model

    plain, recorder = trained(), FakeRecorder()
    monkeypatch.setattr(backend.NumPy, "compile_loop", lambda self, step: CapturedLoop(step, recorder))
    captured = trained()
    assert_same(captured.backend, captured.state, fetch(plain.backend, plain.state))
    assert recorder.log.count("begin capture") == 3


def train(optimizer: optim.Optimizer) -> xpnet.Model:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 6, 6, 1)).astype(np.float32), rng.integers(3, size=48)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 3)
    )  # fmt: skip
    loss = losses.CrossEntropy(class_weights=(1.0, 2.0, 0.5))
    model = xpnet.Model(net, loss, optimizer, l2=1e-3)
    model.fit(x, y, epochs=2, batch_size=10, schedule=schedules.Cosine(epochs=6))
    model.params = tree.map(lambda p: p * 0.9, model.params)
    model.fit(x, y, epochs=1, batch_size=10, schedule=schedules.Cosine(epochs=6))
    model.fit(x[:23], y[:23], epochs=2, batch_size=10, schedule=schedules.Cosine(epochs=6))
    return model


# CuPy's and PyTorch's graphs, on fake modules that record calls.


def fake_cupy(log: list[str]) -> Any:
    current = [types.SimpleNamespace(synchronize=lambda: log.append("wait for the current stream"))]

    class Stream:
        ptr = 17

        def __init__(self, non_blocking: bool) -> None:
            assert non_blocking

        def __enter__(self) -> None:
            current.append(self)

        def __exit__(self, *error: object) -> None:
            current.pop()

        def synchronize(self) -> None:
            log.append("wait for the graph's stream")

        def begin_capture(self) -> None:
            assert current[-1] is self
            log.append("begin capture")

        def end_capture(self) -> types.SimpleNamespace:
            log.append("end capture")
            return types.SimpleNamespace(launch=lambda: log.append("launch"))

    class MemoryPool:
        def malloc(self, size: int) -> None:
            raise NotImplementedError

        def free_all_blocks(self) -> None:
            log.append("free its memory")

    @contextmanager
    def using_allocator(malloc: Callable) -> Iterator[None]:
        log.append("its memory")
        try:
            yield
        finally:
            log.append("all memory")

    cuda = types.SimpleNamespace(
        Device=FakeDevice, Stream=Stream, MemoryPool=MemoryPool, using_allocator=using_allocator, get_current_stream=lambda: current[-1]
    )  # fmt: skip
    # Hashable, as modules are.
    cupy = types.ModuleType("cupy")
    vars(cupy).update(cuda=cuda, ndarray=type("ndarray", (np.ndarray,), {}), empty=fake_empty)
    return cupy


class FakeDevice:
    id = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def fake_empty(shape: Any, dtype: Any) -> types.SimpleNamespace:
    """An array of CuPy's on the host."""
    x = np.empty(shape, dtype)
    return types.SimpleNamespace(data=types.SimpleNamespace(ptr=x.ctypes.data), nbytes=x.nbytes)


def cupy_graph(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> CuPyGraph:
    monkeypatch.setattr(CuBLAS, "__call__", lambda self, left, right: "of cuBLAS")
    return CuPyRecorder(cupy, FakeCuBLAS()).new_graph()


def test_cupy_s_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    cupy = fake_cupy(log)
    x = np.eye(2).view(cupy.ndarray)

    def kernel() -> str:
        log.append(f"kernel, product {(x @ x)!s}")
        return "result"

    graph = cupy_graph(cupy, monkeypatch)
    assert graph.warm_up(kernel) == "result"
    start, kernel_line = ["wait for the current stream", "its memory"], "kernel, product of cuBLAS"
    assert log == [*start, kernel_line, "wait for the graph's stream", "all memory"]
    log.clear()
    graph.capture(kernel)
    assert log == [*start, "begin capture", kernel_line, "end capture", "all memory"]
    log.clear()
    graph.launch()
    assert log == ["launch"]
    np.testing.assert_array_equal(x @ x, np.eye(2))
    log.clear()
    del graph
    gc.collect()
    assert log == ["free its memory"]


def test_cupy_s_capture_ends_where_the_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    cupy = fake_cupy(log)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cupy_graph(cupy, monkeypatch).capture(fail)
    assert log[2:4] == ["begin capture", "end capture"]
    assert cupy.cuda.get_current_stream().__class__ is types.SimpleNamespace
    assert "__matmul__" not in vars(cupy.ndarray)


def test_only_products_on_the_graph_s_stream_are_replaced() -> None:
    array_type = type("array", (np.ndarray,), {})
    x, here = np.eye(2).view(array_type), [True]
    with replaced_matmul(array_type, lambda left, right: "mine", lambda: here[0]):
        assert x @ x == "mine"
        here[0] = False
        np.testing.assert_array_equal(x @ x, np.eye(2))
    here[0] = True
    np.testing.assert_array_equal(x @ x, np.eye(2))


def fake_torch(log: list[str]) -> Any:
    """The parts of PyTorch that captures use. As in PyTorch, a capture that fails leaves its stream current."""

    class Graph:
        def replay(self) -> None:
            log.append("launch")

    class Stream:
        def __init__(self, device: str, name: str = "side") -> None:
            self.device, self.name = device, name

        def wait_stream(self, other: "Stream") -> None:
            log.append(f"{self.name} waits for {other.name}")

    streams = {device: Stream(device, f"main of {device}") for device in ("cuda:0", "cuda:1")}
    devices = ["cuda:0"]

    def set_stream(stream: Stream) -> None:
        streams[stream.device] = stream

    @contextmanager
    def device(device: str) -> Iterator[None]:
        devices.append(device)
        try:
            yield
        finally:
            devices.pop()

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        before = streams[stream.device]
        set_stream(stream)
        yield
        set_stream(before)

    @contextmanager
    def capture(graph: Graph, pool: str, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        log.append(f"begin capture on {stream.device}, {pool}, {capture_error_mode}")
        before = streams[stream.device]
        set_stream(stream)
        yield
        set_stream(before)
        log.append("end")

    cuda = types.SimpleNamespace(
        CUDAGraph=Graph, Stream=Stream, current_stream=lambda: streams[devices[-1]], stream=on, graph=capture,
        device=device, set_stream=set_stream, graph_pool_handle=lambda: "its memory",
    )  # fmt: skip
    return types.SimpleNamespace(cuda=cuda)


def test_pytorch_s_calls() -> None:
    """On the device of the arrays, though another one is current."""
    log: list[str] = []
    torch = fake_torch(log)

    def kernel() -> str:
        log.append(
            f"kernel on the {torch.cuda.current_stream().name} of {torch.cuda.current_stream().device}"
        )
        return "result"

    recorder = TorchRecorder(torch, "cuda:1")
    graph = recorder.new_graph()
    assert graph.warm_up(kernel) == "result"
    line = "kernel on the side of cuda:1"
    assert log == ["side waits for main of cuda:1", line, "main of cuda:1 waits for side"]
    for each in (graph, recorder.new_graph()):
        log.clear()
        each.capture(kernel)
        each.launch()
        assert log == ["begin capture on cuda:1, its memory, thread_local", line, "end", "launch"]


def test_pytorch_s_stream_is_current_again_after_a_capture_that_fails() -> None:
    torch = fake_torch([])
    with torch.cuda.device("cuda:1"):
        with pytest.raises(ZeroDivisionError):
            TorchRecorder(torch, "cuda:1").new_graph().capture(lambda: 1 / 0)
        assert torch.cuda.current_stream().name == "main of cuda:1"


class FakeCuBLAS:
    """cublasGemmStridedBatchedEx as documented, on the memory at the given addresses."""

    ComputeType = types.SimpleNamespace(
        COMPUTE_32F="float32", COMPUTE_32F_FAST_TF32="tf32", COMPUTE_64F="float64"
    )
    Operation = types.SimpleNamespace(N="N", T="T")
    GemmAlgo = types.SimpleNamespace(DEFAULT=-1)

    def create(self) -> str:
        return "handle"

    def set_stream(self, handle: str, stream: int) -> None:
        self.stream = stream

    def set_workspace(self, handle: str, address: int, size: int) -> None:
        self.workspace = address, size

    def gemm_strided_batched_ex(
        self, handle, order_a, order_b, m, n, k, alpha, a, type_a, lda, next_a, b, type_b, ldb, next_b,
        beta, c, type_c, ldc, next_c, count, compute, algo,
    ) -> None:  # fmt: skip
        dtype = {0: np.float32, 1: np.float64}[type_a]
        assert type_a == type_b == type_c
        self.compute = compute
        assert lda >= (m if order_a == "N" else k)
        assert ldb >= (k if order_b == "N" else n)
        assert ldc >= m

        def matrix(address: int, rows: int, columns: int, ld: int) -> np.ndarray:
            """A matrix stored by columns."""
            size = (columns - 1) * ld + rows
            memory = np.ctypeslib.as_array(
                ctypes.cast(address, ctypes.POINTER(np.ctypeslib.as_ctypes_type(dtype))), (size,)
            )
            step = memory.itemsize
            return np.lib.stride_tricks.as_strided(memory, (rows, columns), (step, ld * step))

        def scalar(address: int) -> float:
            return matrix(address, 1, 1, 1)[0, 0]

        assert scalar(beta) == 0
        for i in range(count):
            step = i * np.dtype(dtype).itemsize
            left = matrix(a + next_a * step, *((m, k) if order_a == "N" else (k, m)), lda)
            right = matrix(b + next_b * step, *((k, n) if order_b == "N" else (n, k)), ldb)
            product = (left if order_a == "N" else left.T) @ (right if order_b == "N" else right.T)
            matrix(c + next_c * step, m, n, ldc)[...] = scalar(alpha) * product


def layouts(x: np.ndarray) -> Iterator[np.ndarray]:
    """The same matrices stored by rows, by columns, with gaps, and with reversed columns."""
    yield x
    yield np.ascontiguousarray(x.mT).mT
    yield np.repeat(x, 2, axis=-2)[..., ::2, :]
    yield np.repeat(x, 2, axis=-1)[..., ::2]
    yield x[..., ::-1].copy()[..., ::-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 4), (4, 5)), ((1, 4), (4, 1)), ((3, 1), (1, 5)), ((1, 1), (1, 1)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((6, 1, 3, 4), (2, 4, 5)), ((3, 0), (0, 2)), ((0, 3), (3, 2))],
)  # fmt: skip
def test_products_by_cublas(left: tuple, right: tuple, dtype: str) -> None:
    rng = np.random.default_rng(0)
    cublas = FakeCuBLAS()
    product = CuBLAS(cublas, np, 17, lambda x: x.ctypes.data)
    assert cublas.stream == 17
    a, b = (rng.normal(size=shape).astype(dtype) for shape in (left, right))
    for x in layouts(a):
        for y in layouts(b):
            found = product(x, y)
            if found.size and a.size:
                assert cublas.compute == dtype
            assert found.dtype == dtype
            assert found.flags.c_contiguous
            np.testing.assert_allclose(found, a @ b, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_products_refuse_what_cublas_cannot() -> None:
    product = CuBLAS(FakeCuBLAS(), np, 0, lambda x: x.ctypes.data)
    for left, right in ((np.ones((2, 3)), np.ones((2, 3))), (np.ones((2, 2)), np.ones((2, 2), np.float32))):
        with pytest.raises(TypeError, match="expected matrices of one real dtype that fit, got float64"):
            product(left, right)


@pytest.mark.gpu
@pytest.mark.parametrize("place", [place for place in ON_GPU if place not in MISSING])
def test_steps_are_captured_on_a_gpu(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, training with graphs gives the same as without."""
    if place == "cupy":
        pytest.importorskip("nvmath", reason="nvmath-python is not installed")
    name, device = PLACES[place]

    def fit() -> xpnet.Model:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(205, 8, 8, 2)), rng.integers(3, size=205)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same"), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Dropout(0.1), nn.Linear(64, 3),
        )  # fmt: skip
        loss = losses.CrossEntropy(class_weights=(1.0, 2.0, 0.5))
        model = xpnet.Model(net, loss, optim.Adam(0.01), name, device=device, dtype="float64", l2=1e-3)
        model.fit(x, y, epochs=3, batch_size=20, schedule=schedules.Cosine(epochs=3))
        return model

    kind = backend.BACKENDS[name]
    loops: list[CapturedLoop] = []

    def compile_loop(self, step, compile_loop=kind.compile_loop):
        loops.append(compile_loop(self, step))
        return loops[-1]

    monkeypatch.setattr(kind, "compile_loop", compile_loop)
    captured = fit()
    (loop,) = loops
    assert isinstance(loop, CapturedLoop)
    assert loop.can_capture
    assert len(loop.captured) == 2
    monkeypatch.setattr(kind, "compile_loop", lambda self, step: backend.Backend.compile_loop(self, step))
    plain = fit()
    assert_close(captured.backend, captured.params, fetch(plain.backend, plain.params), 1e-10)
