"""CuPy: an NVIDIA GPU."""

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, strided_windows
from xpnet.backend._cublas import CuBLAS
from xpnet.backend._graph import CapturedLoop
from xpnet.backend.backends import Backend, one_line
from xpnet.backend.ops import CapturedOps
from xpnet.errors import BackendError

Array = Any  # of CuPy, with its own members


class CuPy(Backend):
    """Training steps are replays of a CUDA graph where nvmath-python is there; otherwise kernel by kernel."""

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
                f"backend 'cupy': no CUDA device ({one_line(error)}); it needs an NVIDIA GPU and its "
                "driver, backend 'numpy' needs neither"
            ) from error
        try:
            number = int(str(device).removeprefix("cuda:")) if device not in (None, "cuda") else None
        except ValueError:
            self.refuse(device)
        if number is None:
            return self.library.cuda.Device()
        if not 0 <= number < count:
            self.refuse(device, f"there are {count}")
        # CuPy works on the thread's current device; arrays of another one cannot be mixed in.
        self.library.cuda.Device(number).use()
        return self.library.cuda.Device(number)

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.library.asnumpy(x)

    def synchronize(self) -> None:
        self.library.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int | None:
        in_pool = self.library.get_default_memory_pool().free_bytes()
        return self.library.cuda.runtime.memGetInfo()[0] + in_pool

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        try:
            cublas = importlib.import_module("nvmath.bindings.cublas")
        except ImportError:
            return super().compile_loop(step)
        return CapturedLoop(step, CuPyRecorder(self.library, cublas))


class CuPyOps(CapturedOps, library="cupy"):
    """In place where a captured step would have to copy the result back."""

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.cupy = importlib.import_module("cupy")

    def advice(self, x: Array) -> str:
        return "pass cupy.asnumpy(x)"

    def window_view(self, x: Array, kernel: Lengths, stride: Lengths) -> Array:
        view = strided_windows(x.shape, x.strides, kernel, stride)
        return self.cupy.lib.stride_tricks.as_strided(x, *view)

    def sign(self, x: Array) -> Array:
        """array-api-compat's fetches a value to the host."""
        return self.cupy.sign(x)

    def subtract_scaled(self, x: Array, factor: Any, y: Array) -> Array:
        x -= factor * y
        return x

    def subtract_ratio(self, x: Array, factor: Any, y: Array, z: Array) -> Array:
        return self.subtract_scaled(x, factor, y / z)


class CuPyRecorder:
    """Graphs of CuPy's kernels, with matrix products by cuBLAS through nvmath-python.

    Arguments:
        cupy: the module.
        cublas: `nvmath.bindings.cublas`, since CuPy refuses its own cuBLAS while a stream is capturing.
    """

    def __init__(self, cupy: Any, cublas: Any) -> None:
        self.cupy = cupy
        self.cublas = cublas

    @functools.cached_property
    def stream(self) -> Any:
        # The default stream cannot be captured, and one that waits for it cannot either.
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
    """A graph, and a memory pool for it alone: nobody else may use what its kernels write to."""

    def __init__(self, cupy: Any, stream: Any, product: Callable[[Array, Array], Array]) -> None:
        self.cupy = cupy
        self.stream = stream
        self.product = product
        self.pool = cupy.cuda.MemoryPool()
        self.graph: Any = None

    def warm_up(self, function: Callable[[], Any]) -> Any:
        with self._place():
            result = function()
        self.stream.synchronize()
        return result

    def capture(self, function: Callable[[], None]) -> None:
        with self._place():
            self.stream.begin_capture()
            try:
                function()
            except BaseException:
                with suppress(Exception):  # of a capture that is broken already
                    self.stream.end_capture()
                raise
            self.graph = self.stream.end_capture()

    def launch(self) -> None:
        self.graph.launch()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Work on the graph's stream and in its memory, with products that may be captured."""
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
    """Let `left @ right` of that type be `product(left, right)` where `here()` is true.

    (The type is the whole process's, and other threads may be multiplying on other streams.)
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
