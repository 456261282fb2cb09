"""CuPy: arrays on an NVIDIA GPU."""

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, strided_windows
from xpnet.backend._cublas import CuBLAS
from xpnet.backend._facts import Facts, cuda_version
from xpnet.backend._graph import CapturedLoop
from xpnet.backend.backends import Backend, one_line
from xpnet.backend.ops import CapturedOps
from xpnet.errors import BackendError

Array = Any  # a CuPy array with all of its methods


class CuPy(Backend):
    """CuPy. Training steps are replays of a CUDA graph if nvmath-python is installed."""

    name = "cupy"
    module = "cupy"
    install = "pip install '.[cuda13]', or '.[cuda12]' for a CUDA 12 driver; backend 'numpy' needs no GPU"
    devices = "'cuda' or 'cuda:N'"
    steps_at_once = 16

    def find_namespace(self) -> Any:
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
        try:
            number = int(str(device).removeprefix("cuda:")) if device not in (None, "cuda") else None
        except ValueError:
            self.refuse(device)
        if number is None:
            return self.library.cuda.Device()
        if not 0 <= number < count:
            self.refuse(device, f"there are {count}")
        # CuPy computes on the thread's current device, and cannot mix in arrays of another device.
        self.library.cuda.Device(number).use()
        return self.library.cuda.Device(number)

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.library.asnumpy(x)

    def synchronize(self) -> None:
        self.library.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int | None:
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

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        try:
            cublas = importlib.import_module("nvmath.bindings.cublas")
        except ImportError:
            return super().compile_loop(step)
        return CapturedLoop(step, CuPyRecorder(self.library, cublas))


class CuPyOps(CapturedOps, library="cupy"):
    """In-place forms: a captured step would have to copy another result back into the buffer."""

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

    def subtract_scaled(self, x: Array, factor: Any, y: Array) -> Array:
        x -= factor * y
        return x

    def subtract_ratio(self, x: Array, factor: Any, y: Array, z: Array) -> Array:
        return self.subtract_scaled(x, factor, y / z)


class CuPyRecorder:
    """Capture of CuPy's kernels, with matrix products by cuBLAS through nvmath-python.

    Arguments:
        cupy: the module `cupy`.
        cublas: the module `nvmath.bindings.cublas`: CuPy refuses its own cuBLAS while a stream is capturing.
    """

    def __init__(self, cupy: Any, cublas: Any) -> None:
        self.cupy = cupy
        self.cublas = cublas

    @functools.cached_property
    def stream(self) -> Any:
        # Neither the default stream nor a stream that waits for it can be captured.
        return self.cupy.cuda.Stream(non_blocking=True)

    @functools.cached_property
    def product(self) -> CuBLAS:
        return CuBLAS(self.cublas, self.cupy, self.stream.ptr, lambda x: x.data.ptr)

    def new_graph(self) -> "CuPyGraph":
        return CuPyGraph(self.cupy, self.stream, self.product)

    def copy(self, x: Array) -> Array:
        return x.copy()

    def write(self, buffer: Array, x: Array) -> None:
        self.cupy.copyto(buffer, x)


class CuPyGraph:
    """A graph with its own memory pool: nothing else may use the memory that its kernels write to."""

    def __init__(self, cupy: Any, stream: Any, product: Callable[[Array, Array], Array]) -> None:
        self.cupy = cupy
        self.stream = stream
        self.product = product
        self.pool = cupy.cuda.MemoryPool()
        self.graph: Any = None

    def warm_up(self, function: Callable[[], Any]) -> Any:
        with self._active():
            result = function()
        self.stream.synchronize()
        return result

    def capture(self, function: Callable[[], None]) -> None:
        with self._active():
            self.stream.begin_capture()
            try:
                function()
            except BaseException:
                with suppress(Exception):  # the capture has already failed
                    self.stream.end_capture()
                raise
            self.graph = self.stream.end_capture()

    def launch(self) -> None:
        self.graph.launch()

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Run a block on the graph's stream and in its memory, with matrix products that can be captured."""
        self.cupy.cuda.get_current_stream().synchronize()
        allocator = self.cupy.cuda.using_allocator(self.pool.malloc)
        with allocator, self.stream, replaced_matmul(self.cupy.ndarray, self.product, self._is_current):
            yield

    def _is_current(self) -> bool:
        return bool(self.cupy.cuda.get_current_stream() == self.stream)


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
