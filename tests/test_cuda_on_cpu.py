"""The stand-in for CUDA: CuPy's numbers are NumPy's, and a capture refuses what a device refuses."""

import contextlib
import ctypes
import importlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import cuda_on_cpu

if not cuda_on_cpu.is_installed():
    pytest.skip("needs the stand-in for CUDA: CUDA_ON_CPU=1 pytest", allow_module_level=True)

cupy = importlib.import_module("cupy")
device = importlib.import_module("cuda_on_cpu.device")
pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(0)
FLOATS = [np.float32, np.float64]
X = RNG.normal(size=(7, 6, 5))
I = RNG.integers(-(2**31), 2**31, size=(7, 6, 5)).astype(np.int32)  # noqa: E741
FUNCTIONS = [
    "negative", "abs", "exp", "log1p", "expm1", "tanh", "sin", "cos", "sqrt", "sign", "floor", "rint",
    "isfinite", "isnan", "square", "reciprocal",
]  # fmt: skip
OPERATORS = [
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "less_equal", "equal",
    "power", "arctan2",
]  # fmt: skip
INTEGER_OPERATORS = [
    "add", "subtract", "multiply", "bitwise_xor", "bitwise_and", "left_shift", "right_shift",
    "floor_divide",
]  # fmt: skip
AXES = [None, 0, 1, 2, -1, (0, 1), (1, 2), (0, 2), (0, 1, 2)]


def same(function, *arrays, rtol=0.0, atol=0.0):
    """function(namespace, *arrays) is the same by CuPy and by NumPy, in values, shape and dtype."""
    expected = np.asarray(function(np, *arrays))
    found = cupy.asnumpy(function(cupy, *(cupy.asarray(x) for x in arrays)))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def layouts(x):
    return [x, x.T.copy().T, np.repeat(x, 2, axis=1)[:, ::2], x[::-1, :, ::-1], x[:, 1:2], x[..., 0], x[:0]]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementwise(dtype, name):
    for x in layouts(X.astype(dtype)):
        if name == "log1p" or name == "sqrt":
            x = abs(x)
        same(lambda xp, x: getattr(xp, name)(x), x, rtol=1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("shape", [(7, 6, 5), (5,), (6, 1), (1, 1, 5), ()])
@pytest.mark.parametrize("dtype", FLOATS)
def test_broadcasting(name, shape, dtype, rng):
    y = abs(rng.normal(size=shape)).astype(dtype)
    same(lambda xp, x, y: getattr(xp, name)(abs(x), y), X.astype(dtype), y, rtol=3e-6)


@pytest.mark.parametrize("name", INTEGER_OPERATORS)
def test_integers_wrap_around(name, rng):
    y = rng.integers(1, 31, size=I.shape).astype(np.int32)
    same(lambda xp, x, y: getattr(xp, name)(x, y), I, y)
    same(lambda xp, x, y: getattr(xp, name)(x.astype(xp.uint32), y.astype(xp.uint32)), I, y)
    same(lambda xp, x, y: getattr(xp, name)(x.astype(xp.int64), y), I, y)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(
    "name", ["sum", "prod", "max", "min", "mean", "var", "any", "all", "count_nonzero", "argmax", "argmin"]
)
@pytest.mark.parametrize("dtype", [*FLOATS, np.int32, bool])
def test_reductions(name, axis, dtype):
    if name.startswith("arg") and isinstance(axis, tuple):
        return
    x = X * (abs(X) > 0.5)
    for each in layouts(x.astype(dtype))[:5]:
        if name in ("mean", "var") and dtype not in FLOATS:
            continue
        same(
            lambda xp, x: getattr(xp, name)(x, axis=axis),
            each,
            rtol=2e-5 if dtype == np.float32 else 1e-12,
            atol=1e-6,
        )


@pytest.mark.parametrize("shape", [(100_000,), (1000, 300), (300, 1000), (3, 40_000), (40_000, 3)])
def test_large_reductions(shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    for axis in (None, *range(len(shape))):
        same(partial(reduced, "sum", axis), x, rtol=1e-3, atol=0.05)
        same(partial(reduced, "max", axis), x)
        same(partial(reduced, "argmax", axis), x)


def reduced(name, axis, xp, x):
    return getattr(x, name)(axis=axis)


@pytest.mark.parametrize("name", ["sum", "max", "maximum", "argmax"])
def test_nan_and_infinity(name):
    x = X.astype(np.float32)
    x[0, 0, 0], x[1, 1, 1], x[2, 2, 2] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        same(
            lambda xp, x: xp.maximum(x, 0.0) if name == "maximum" else getattr(xp, name)(x, axis=1),
            x,
            atol=1e-5,
        )


def test_indexing(rng):
    rows = rng.integers(-7, 7, size=(4, 3))
    same(lambda xp, x: xp.take(x, xp.asarray(rows), axis=0), X)
    same(lambda xp, x: x[xp.asarray(rows)], X)
    same(lambda xp, x: xp.where(x > 0, x, -1.0), X)
    same(lambda xp, x: x[x > 0], X)
    same(lambda xp, x: xp.nonzero(x > 0)[0], X)
    same(lambda xp, x: xp.flip(x, axis=(0, 2)), X)
    same(lambda xp, x: xp.cumsum(x, axis=1), X, rtol=1e-12)
    same(lambda xp, x: xp.cumsum(x), np.ones(10_000, np.int64))
    same(lambda xp, x: xp.concatenate([x, x], axis=1), X)
    same(lambda xp, x: xp.stack([x, x], axis=-1), X)
    same(lambda xp, x: xp.lib.stride_tricks.as_strided(x, (3, 4), (x.strides[0], x.strides[2])) + 0, X)

    def put(xp, x):
        y = xp.zeros((9, 8, 5))
        y[1:-1, 1:-1] = x
        y[::2, ::2] += 1
        y[0] = y[1]
        return y

    same(put, X)


@pytest.mark.parametrize("source", [np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("target", [np.float32, np.float64, np.float16, np.int32, np.int64, bool])
def test_astype(source, target):
    same(lambda xp, x: x.astype(target), (abs(X) * 10).astype(source))


def same_product(product, x, y):
    """product(x, y) by CuPy is x @ y to rounding: |error| ≤ k·ε·(|x| @ |y|) for sums of k terms.

    An error relative to the sum itself has no bound: its terms may cancel.
    """
    found = cupy.asnumpy(product(cupy.asarray(x), cupy.asarray(y)))
    assert found.dtype == x.dtype
    wide = np.result_type(x, np.float64)
    epsilon = np.finfo(x.dtype).eps if x.dtype.kind in "fc" else 0
    bound = x.shape[-1] * epsilon * (abs(x).astype(np.float64) @ abs(y).astype(np.float64))
    assert np.all(abs(found - x.astype(wide) @ y.astype(wide)) <= bound)


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16, np.complex64, np.int64])
def test_matmul(dtype, rng):
    for a, b in (((4, 3), (3, 5)), ((3,), (3, 5)), ((4, 3), (3,)), ((3,), (3,)), ((2, 4, 3), (2, 3, 5)), ((2, 4, 3), (3, 5)),
                 ((6, 1, 4, 3), (2, 3, 5)), ((4, 0), (0, 5)), ((200, 3), (3, 150))):  # fmt: skip
        x, y = ((rng.normal(size=shape) * 4).astype(dtype) for shape in (a, b))
        same_product(lambda x, y: x @ y, x, y)
        if min(len(a), len(b)) > 1:
            same_product(lambda x, y: x.mT.copy().mT @ y.mT.copy().mT, x, y)


def capture(function):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            function(stream)
        except BaseException:
            with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):  # where it was broken
                stream.end_capture()
            raise
        return stream.end_capture()


def test_a_capture_runs_nothing_and_each_replay_all_of_it():
    x, y = cupy.zeros(5), cupy.zeros(5)

    def step(stream):
        x.__iadd__(1)
        cupy.copyto(y, (x * 2).sum() + y)

    cupy.copyto(y, (x * 2).sum() + y)  # kernels are compiled
    graph = capture(step)
    assert x.tolist() == [0] * 5
    graph.launch()
    graph.launch()
    assert x.tolist() == [2] * 5
    assert y.tolist() == [30] * 5


def test_scalars_are_those_of_the_capture_and_memory_that_of_the_replay():
    x, factor = cupy.zeros(1), 3.0

    def step(stream):
        x.__iadd__(factor)

    step(None)
    graph = capture(step)
    factor = 100.0
    x.fill(1)
    graph.launch()
    assert x.tolist() == [4]


@pytest.mark.parametrize(
    ("forbidden", "error"),
    {
        "synchronizing": (lambda stream: stream.synchronize(), "cudaErrorStreamCaptureUnsupported"),
        "waiting for the device": (
            lambda stream: cupy.cuda.Device().synchronize(),
            "cudaErrorStreamCaptureUnsupported",
        ),
        "reading": (
            lambda stream: float(cupy.ones(()) + 1),
            "D2H transfers are disallowed|cudaErrorStreamCapture",
        ),
        "writing": (
            lambda stream: cupy.asarray([1.0, 2.0]).set(np.ones(2)),
            "H2D transfers|cudaErrorStreamCapture|capturing",
        ),
        "CuPy's product": (lambda stream: cupy.ones((2, 2)) @ cupy.ones((2, 2)), "cuBLAS"),
        "waiting for an event": (lambda stream: stream.record().synchronize(), "cudaErrorCapturedEvent"),
    }.values(),
)
def test_forbidden_while_capturing(forbidden, error):
    with pytest.raises((RuntimeError, NotImplementedError), match=error):
        capture(forbidden)
    capture(lambda stream: cupy.ones(3))  # another one works


def test_the_legacy_stream_while_a_blocking_stream_captures():
    x, stream = cupy.zeros(3), cupy.cuda.Stream()
    stream.begin_capture()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureImplicit"):
        x += 1
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
        stream.end_capture()


def test_memory_is_not_zero_and_writing_behind_it_is_found():
    address = cupy.cuda.runtime.malloc(100)
    assert ctypes.string_at(address, 100) == b"\xff" * 100
    cupy.cuda.runtime.memset(address, 0, 101)
    with pytest.raises(device.CorruptMemory):
        cupy.cuda.runtime.free(address)


def test_a_kernel_that_does_not_compile_says_why():
    kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = nonsense(x)", "nonsense")
    with pytest.raises(cupy.cuda.compiler.CompileException, match="nonsense"):
        kernel(cupy.ones(2, cupy.float32))


RAW = r"""
extern "C" __global__ void reverse(const float* x, float* y, int n) {
  extern __shared__ float row[];
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  row[threadIdx.x] = x[i];
  atomicAdd(&count, 1);
  __syncthreads();
  float v = row[blockDim.x - 1 - threadIdx.x];
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_down_sync(0xffffffff, v, offset);
  y[i] = threadIdx.x % 32 == 0 ? v : count;
}
template <typename T, int N> __global__ void times(T* x) { x[threadIdx.x + blockDim.x * threadIdx.y] *= N; }
"""


def test_threads_of_a_block_wait_for_each_other():
    module = cupy.RawModule(code=RAW, name_expressions=("times<double, 3>",))
    x = np.arange(128, dtype=np.float32)
    y = cupy.empty(128, cupy.float32)
    module.get_function("reverse")((2,), (64,), (cupy.asarray(x), y, np.int32(128)), shared_mem=64 * 4)
    expected = np.full(128, 64, np.float32)
    expected[::32] = x.reshape(4, 32).sum(axis=1)[[1, 0, 3, 2]]
    assert y.get().tolist() == expected.tolist()
    z = cupy.ones(6)
    module.get_function("times<double, 3>")((1,), (3, 2), (z,))
    assert z.tolist() == [3] * 6


@pytest.mark.parametrize(("grid", "block"), [((1, 65_536), (1,)), ((1,), (1, 1, 65)), ((1,), (1025,))])
def test_a_grid_that_no_device_takes(grid, block):
    kernel = cupy.RawKernel('extern "C" __global__ void nothing(int n) {}', "nothing")
    kernel((1, 65_535), (1,), (np.int32(0),))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="nvalid"):
        kernel(grid, block, (np.int32(0),))


LAZY = """
import cuda_on_cpu; cuda_on_cpu.install()
import cupy
x, stream = cupy.zeros(1), cupy.cuda.Stream(non_blocking=True)
cupy.cuda.Stream.null.synchronize()
with stream: x += 1
print(float(x[0]))
cupy.cuda.Stream.null.wait_event(stream.record())
print(float(x[0]))
"""


@pytest.mark.parametrize(("order", "told"), [("1", "1.0 1.0"), ("lazy", "0.0 1.0")])
def test_what_is_not_waited_for_is_not_done_where_lazy(order, told, monkeypatch):
    monkeypatch.setenv("CUDA_ON_CPU", order)
    command = [sys.executable, "-c", LAZY]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.stdout.split() == told.split(), done.stderr
