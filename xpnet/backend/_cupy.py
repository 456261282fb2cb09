"""CuPy: arrays on an NVIDIA GPU."""

import contextvars
import functools
import importlib
import math
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, strided_windows
from xpnet.backend import _cupy_pool, _cupy_windows
from xpnet.backend._cublas import WORKSPACE, CuBLAS
from xpnet.backend._cupy_columns import ColumnsKernel
from xpnet.backend._cupy_fused import kernel
from xpnet.backend._facts import Facts, cuda_version
from xpnet.backend._graph import CAPTURING, CapturedLoop
from xpnet.backend._reading import one_line
from xpnet.backend.backends import Backend
from xpnet.backend.fused import Fused, positive_part, where_positive
from xpnet.backend.ops import FUNCTIONS, CapturedOps, Padding
from xpnet.errors import BackendError

Array = Any  # a CuPy array with all of its methods

TALL = 4096  # rows; CuPy sums fewer as fast in one stage


class CuPy(Backend):
    """CuPy. Training steps are replays of a CUDA graph if nvmath-python is installed."""

    name = "cupy"
    module = "cupy"
    install = "pip install '.[cuda13]', or '.[cuda12]' for a CUDA 12 driver; backend 'numpy' needs no GPU"
    devices = "'cuda' or 'cuda:N'"
    steps_at_once = 16
    has_max_pool = True

    def find_namespace(self) -> Any:
        # CuPy imports it at the first division. It imports Optuna, which keeps an ImportError and so all
        # frames of the importing thread, with the model in them.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(importlib.import_module, "cupyx").result()
        return importlib.import_module("array_api_compat.cupy")

    def find_device(self, device: Any) -> Any:
        runtime = self.library.cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            raise BackendError(
                f"backend 'cupy': expected an NVIDIA GPU and its driver, got none ({one_line(error)}); "
                "backend 'numpy' needs no GPU"
            ) from error
        if isinstance(device, self.library.cuda.Device):
            device = device.id
        try:
            number = int(str(device).removeprefix("cuda:")) if device not in (None, "cuda") else None
        except ValueError:
            self.refuse(device)
        if number is None:
            return self.library.cuda.Device()
        if not 0 <= number < count:
            self.refuse(device, f"there are {count}")
        self.library.cuda.Device(number).use()
        return self.library.cuda.Device(number)

    # CuPy computes on the thread's current device, and cannot mix in arrays of another device. Each thread
    # that trains calls one of the following methods first.

    def asarray(self, x: Any, real: bool = False) -> Array:
        self.device.use()
        return super().asarray(x, real)

    def from_host(self, x: np.ndarray) -> Array:
        self.device.use()
        return super().from_host(x)

    def refilled(self, buffer: Array | None, x: Array) -> Array:
        given = self.owns(x)
        if buffer is None or len(buffer) < len(x):
            return x.copy() if given else self.from_host(x)
        self.device.use()
        if given:
            buffer[: len(x)] = x
        else:
            buffer[: len(x)].set(x)
        return buffer

    def synchronize(self) -> None:
        self.device.use()
        self.library.cuda.get_current_stream().synchronize()

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.library.asnumpy(x)

    def free_bytes(self) -> int | None:
        self.device.use()
        in_pool = self.library.get_default_memory_pool().free_bytes()
        return self.library.cuda.runtime.memGetInfo()[0] + in_pool

    def facts(self) -> Facts:
        runtime = self.library.cuda.runtime
        driver, own = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        try:
            importlib.import_module("nvmath.bindings.cublas")
            steps, advice = "CUDA graph", ""
        except ImportError as error:
            steps = "kernel by kernel"
            extra = f"nvmath-python[cu{own // 1000}]"
            advice = f"pip install '{extra}' makes steps faster, as CUDA graphs ({one_line(error)})"
        return (
            super()
            .facts()
            ._replace(
                device=runtime.getDeviceProperties(self.device.id)["name"].decode(),
                memory=runtime.memGetInfo()[1],
                driver=f"driver for CUDA {cuda_version(driver)}, runtime {cuda_version(own)}",
                steps=steps,
                advice=advice,
            )
        )

    @functools.cached_property
    def cublas(self) -> Any:
        """nvmath's cuBLAS; None if it is not installed."""
        try:
            return importlib.import_module("nvmath.bindings.cublas")
        except ImportError:
            return None

    @property
    def adds_products(self) -> bool:  # type: ignore[override]  # in captured steps alone
        return self.cublas is not None

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.cublas is None:
            return super().compile_loop(step)
        return CapturedLoop(step, CuPyRecorder(self.library, self.cublas, self.tf32))


class CuPyOps(CapturedOps, library="cupy"):
    """In-place forms: a captured step would have to copy another result back into the buffer."""

    fuses_rows = True
    gathers_windows = True
    is_captured = True

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.cupy = importlib.import_module("cupy")

    def advice(self, x: Array) -> str:
        return "pass cupy.asnumpy(x)"

    def window_view(self, x: Array, kernel: Lengths, stride: Lengths) -> Array:
        view = strided_windows(x.shape, x.strides, kernel, stride)
        return self.cupy.lib.stride_tricks.as_strided(x, *view)

    def sign(self, x: Array) -> Array:
        """CuPy's own: array-api-compat's `sign` fetches a value to the host."""
        return self.cupy.sign(x)

    def compile_fused(self, function: Fused, kinds: tuple[str, ...]) -> Callable[..., Any]:
        """One kernel, and another one for sums of many rows."""
        formula = function.formula(kinds)
        if formula.sums:
            return ColumnsKernel(formula, f"xpnet_{function.name}", self.cupy).function(FUNCTIONS)
        return kernel(formula, function.name, function.overwrites, self.cupy, FUNCTIONS)

    def positive_part(self, x: Array) -> Array:
        return positive_part(x)

    def where_positive(self, x: Array, y: Array) -> Array:
        return where_positive(x, y)

    def add_product(self, total: Array, left: Array, right: Array, scale: Any, decay: Any) -> Array:
        """One product that cuBLAS adds to `total`, in a captured step."""
        product = _product.get()
        if product is None or not total.flags.c_contiguous or hasattr(decay, "ndim"):
            return super().add_product(total, left, right, scale, decay)
        if hasattr(scale, "ndim"):
            right, scale = scale * right, 1
        return product.add_to(total, left, right, scale, decay)

    def rows_of_windows(self, x: Array, kernel: Lengths, stride: Lengths, padding: Padding) -> Array:
        """One kernel, which reads x where it is, in place of a padded copy and its windows."""
        if not _cupy_windows.takes(x, padding):
            return super().rows_of_windows(x, kernel, stride, padding)
        return _cupy_windows.rows_of_windows(self.cupy, x, kernel, stride, padding)

    def max_pool(self, x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array]:
        if x.ndim != 4:
            return super().max_pool(x, kernel, stride)
        return _cupy_pool.max_pool(self.cupy, x, kernel, stride)

    def max_pool_gradient(
        self, dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths
    ) -> Array:
        if x.ndim != 4:
            return super().max_pool_gradient(dy, x, positions, kernel, stride)
        return _cupy_pool.max_pool_gradient(self.cupy, dy, x, positions, kernel, stride)

    def inner_product(self, x: Array, y: Array) -> Array:
        return _inner_product(self.cupy)(x, y, axis=(x.ndim - 2, x.ndim - 1))

    def _new_constant(self, values: tuple[float, ...], like: Array) -> Array:
        """Outside the memory of the graph that is recorded: the constant stays when the graph goes."""
        with self.cupy.cuda.using_allocator(self.cupy.get_default_memory_pool().malloc):
            return super()._new_constant(values, like)

    def sum_of_rows(self, rows: Array) -> Array:
        """In two stages for many rows: CuPy gives each column one block, which leaves most of a GPU idle."""
        *batch, n, columns = rows.shape
        parts = _divisor(n) if n >= TALL else 1
        if parts > 1:
            rows = rows.reshape(*batch, parts, n // parts, columns).sum(axis=-2)
        return rows.sum(axis=-2)


# cuBLAS for the step that this thread is recording.
_product: contextvars.ContextVar[CuBLAS | None] = contextvars.ContextVar("product", default=None)


@functools.cache
def _inner_product(cupy: Any) -> Callable[..., Array]:
    return cupy.ReductionKernel("T x, T y", "T sum", "x * y", "a + b", "sum = a", "0", "xpnet_inner_product")


def _divisor(n: int) -> int:
    """The largest divisor of n up to its square root, for stages of a sum that are about equally long."""
    return next(divisor for divisor in range(math.isqrt(n), 0, -1) if n % divisor == 0)


class CuPyRecorder:
    """Capture of CuPy's kernels, with matrix products by cuBLAS through nvmath-python.

    All graphs of a recorder share its memory: they run one after the other. Nothing else may use that memory
    while a graph exists.

    Arguments:
        cupy: the module `cupy`.
        cublas: the module `nvmath.bindings.cublas`: CuPy refuses its own cuBLAS while a stream is capturing.
        tf32: whether products of float32 use TF32. CuPy's own variable, CUPY_TF32=1, turns it on too.
    """

    def __init__(self, cupy: Any, cublas: Any, tf32: bool = False) -> None:
        self.tf32 = tf32 or os.environ.get("CUPY_TF32") == "1"
        self.cupy = cupy
        self.cublas = cublas
        self.pool = cupy.cuda.MemoryPool()
        # CuPy does not free the memory of a pool that is dropped.
        finalizer = weakref.finalize(self, _free, self.pool, cupy.cuda.Device())
        finalizer.atexit = False

    def new_graph(self) -> "CuPyGraph":
        return CuPyGraph(self)

    def copy(self, x: Array) -> Array:
        return x.copy()

    def write(self, buffer: Array, x: Array) -> None:
        self.cupy.copyto(buffer, x)

    @functools.cached_property
    def workspace(self) -> Array:
        """cuBLAS's memory, for this recorder alone: graphs of others may run at the same time."""
        return self.cupy.empty(WORKSPACE, dtype=np.uint8)

    @contextmanager
    def section(self) -> Iterator[Any]:
        """Run a block on a stream that can capture, in the recorder's memory, with cuBLAS's products.

        Yields the stream. Blocks of several threads run one after the other.
        """
        with CAPTURING:
            stream, product = _tools(self.cupy, self.cublas, self.cupy.cuda.Device().id)
            product.use(self.workspace, self.tf32)
            self.cupy.cuda.get_current_stream().synchronize()

            def is_current() -> bool:
                return bool(self.cupy.cuda.get_current_stream() == stream)

            allocator = self.cupy.cuda.using_allocator(self.pool.malloc)
            with allocator, stream, replaced_matmul(self.cupy.ndarray, product, is_current):
                token = _product.set(product)
                try:
                    yield stream
                finally:
                    _product.reset(token)


@functools.cache
def _tools(cupy: Any, cublas: Any, device: int) -> tuple[Any, CuBLAS]:
    """The stream for captures on the current device and products on it: one of each for the process."""
    # Neither the default stream nor a stream that waits for it can be captured.
    stream = cupy.cuda.Stream(non_blocking=True)
    return stream, CuBLAS(cublas, cupy, stream.ptr, lambda x: x.data.ptr)


def _free(pool: Any, device: Any) -> None:
    with device:
        pool.free_all_blocks()


class CuPyGraph:
    """A graph in its recorder's memory."""

    def __init__(self, recorder: CuPyRecorder) -> None:
        self.graph: Any = None  # before the recorder, so that it goes before the memory
        self.recorder = recorder

    def warm_up(self, function: Callable[[], Any]) -> Any:
        with self.recorder.section() as stream:
            result = function()
            stream.synchronize()
        return result

    def capture(self, function: Callable[[], None]) -> None:
        with self.recorder.section() as stream:
            stream.begin_capture()
            try:
                function()
            except BaseException:
                with suppress(Exception):  # the capture has already failed
                    stream.end_capture()
                raise
            self.graph = stream.end_capture()

    def launch(self) -> None:
        self.graph.launch()


@contextmanager
def replaced_matmul(
    array_type: Any, product: Callable[[Array, Array], Array], here: Callable[[], bool]
) -> Iterator[None]:
    """Within a block, let `left @ right` of `array_type` call `product(left, right)` when `here()` is true.

    `here` is needed because the type belongs to the whole process: other threads may multiply on other
    streams.
    """
    original = array_type.__matmul__
    inherited = "__matmul__" not in vars(array_type)

    def matmul(left: Array, right: Any) -> Array:
        mine = here() and isinstance(right, array_type)
        return product(left, right) if mine else original(left, right)

    array_type.__matmul__ = matmul
    try:
        yield
    finally:
        if inherited:
            del array_type.__matmul__
        else:
            array_type.__matmul__ = original
