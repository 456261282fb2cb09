"""The array libraries: find one, put arrays on its device, bring them back, wait for it, compile for it.

This is the only place that names them. Everything else is written against the Python array API
standard (https://data-apis.org/array-api) and works on whatever `namespace(x)` gives.
"""

import contextvars
import ctypes
import functools
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import array_api_compat
import numpy as np
import threadpoolctl

from xpnet.errors import BackendError, ShapeError
from xpnet.tree import Array

# NumPy >= 2.1 is the standard itself: array_api_compat's wrappers would only cost microseconds a call.
_namespaces: dict[type, Any] = {np.ndarray: np, np.float32: np, np.float64: np, np.int64: np}

DTYPES = ("float32", "float64")


def namespace(x: Array) -> Any:
    """The array API namespace that an array belongs to."""
    xp = _namespaces.get(type(x))
    if xp is None:
        xp = _namespaces[type(x)] = array_api_compat.array_namespace(x)
    return xp


def device(x: Array) -> Any:
    """The device that an array lives on; None under a tracer, which has none to tell."""
    return getattr(x, "device", None)


# What the standard has no word for. Beside each stands what does the same in its words, or nearly.


def add_at(x: Array, index: Any, value: Array) -> Array:
    """x with the value added to a part of it, overwriting x where the library lets one.

    In the standard, where arrays can be written to: `x[index] += value`.
    """
    if hasattr(x, "at"):
        return x.at[index].add(value)  # JAX's arrays cannot
    x[index] += value
    return x


def window_view(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Array | None:
    """A view (n, *outputs, *kernel, c) of all windows over the middle axes of x; None where there are none.

    In the standard, with a copy: `xpnet.nn._windows.windows`. (On NumPy one copy of the view takes a third
    of the time of stacking the kernel's taps.)
    """
    as_strided: Callable[..., Any]
    if array_api_compat.is_torch_array(x):
        as_strided, strides = x.as_strided, x.stride()
    elif array_api_compat.is_numpy_array(x) or array_api_compat.is_cupy_array(x):
        library = importlib.import_module(type(x).__module__.partition(".")[0])
        as_strided, strides = functools.partial(library.lib.stride_tricks.as_strided, x), x.strides
    else:
        return None
    first, *middle, last = strides
    outputs = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], kernel, stride, strict=True)]
    steps = [step * s for step, s in zip(middle, stride, strict=True)]
    return as_strided((x.shape[0], *outputs, *kernel, x.shape[-1]), (first, *steps, *middle, last))


class Backend:
    """One array library on one device, with the dtype that training uses.

    Arguments:
        device: where arrays live; None is the library's default.
        dtype: "float32" or "float64".

    Attributes:
        xp: the array API namespace.
        device: the library's own object for the device.
        dtype: the library's own object for the dtype.
        index_dtype: that of its integers, int64 but for JAX's int32.
        itemsize: bytes of a number in that dtype.
        cache_bytes: how large the arrays are that `map` should make one at a time; None: it does not matter.

    Raises BackendError where the library or the device is not there.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    devices: ClassVar[str] = "'cpu'"
    cache_bytes: ClassVar[int | None] = None

    def __init__(self, device: Any = None, dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise BackendError(f"backend {self.name!r}: expected dtype float32 or float64, got {dtype!r}")
        self.library = self.import_library()
        self.dtype_name = dtype
        self.xp = self.find_namespace()
        self.device = self.find_device(device)
        self.dtype = getattr(self.xp, dtype)
        self.itemsize = np.dtype(dtype).itemsize
        self.index_dtype = self.xp.arange(1).dtype

    def __repr__(self) -> str:
        return f"<xpnet backend {self.name}, {self.device}, {self.dtype_name}>"

    def import_library(self) -> Any:
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == self.module
            problem = "is not installed" if missing else f"cannot be imported ({_one_line(error)})"
            raise BackendError(f"backend {self.name!r}: {self.module} {problem}; {self.install}") from error

    def find_namespace(self) -> Any:
        return self.library

    def find_device(self, device: Any) -> Any:
        if device not in (None, "cpu"):
            self.refuse(device)
        return "cpu"

    def refuse(self, device: Any, reason: Any = None) -> None:
        because = f" ({_one_line(reason)})" if reason else ""
        raise BackendError(f"backend {self.name!r}: expected device {self.devices}, got {device!r}{because}")

    def asarray(self, x: Any, real: bool = False) -> Array:
        """The same values on this backend's device: reals in its dtype, integers in its index dtype.

        With `real`, integers become reals too. The result may share memory with `x`, which may be
        an array of this library, a NumPy array, or nested lists. Raises ShapeError where `x` is
        not an array of numbers.
        """
        if self.owns(x):
            real = real or self.xp.isdtype(x.dtype, "real floating")
            dtype = self.dtype if real else self.index_dtype
            x = x if x.dtype == dtype else self.xp.astype(x, dtype)
            return x if device(x) == self.device else array_api_compat.to_device(x, self.device)
        try:
            host = np.asarray(x)
        except ValueError as error:
            raise ShapeError(f"expected an array of numbers, got uneven rows ({_one_line(error)})") from error
        if host.dtype.kind not in "biuf":
            raise ShapeError(f"expected an array of real numbers, got dtype {host.dtype}")
        real = real or host.dtype.kind == "f"
        return self.from_host(host.astype(self.dtype_name if real else np.int64, copy=False))

    def from_host(self, x: np.ndarray) -> Array:
        """The same values and dtype on this backend's device."""
        return self.xp.asarray(x, device=self.device)

    def owns(self, x: Any) -> bool:
        """Whether `x` is an array of this library."""
        return array_api_compat.is_array_api_obj(x) and namespace(x) is self.xp

    def copy(self, x: Any) -> Array:
        """A fresh array with the same values, on this backend's device and in its dtype."""
        return self.xp.asarray(self.asarray(x), copy=True)

    def to_numpy(self, x: Array) -> np.ndarray:
        """The values as a NumPy array on the host; this waits for the device."""
        return np.asarray(x)

    def synchronize(self) -> None:
        """Wait until the device has finished all that was asked of it."""

    def map(self, function: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        """The function's value for each part of a step's work, in their order; maybe side by side."""
        return [function(part) for part in parts]

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does what the pure `step(state, batch) -> (state, metrics)` does, faster.

        The state that goes in may be reused (donated) for the state that comes out.
        """
        return step


class NumPy(Backend):
    """Parts of a step's work run on all cores, a part on a core: BLAS gets one thread meanwhile.

    How the work is cut into parts does not depend on the number of cores, nor does any result.
    """

    name = "numpy"
    module = "numpy"
    install = "pip install numpy"
    cache_bytes = 8 << 20  # of 1, 2, 4, 8 and 16 MiB the fastest, in both CNNs of the speed suite on 2 cores

    def map(self, function: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        if len(parts) < 2:
            return super().map(function, parts)
        _keep_freed_memory()
        # A copy for each part, so that np.errstate and the like hold in the threads too.
        contexts = [contextvars.copy_context() for _ in parts]
        with _one_at_a_time, _blas().limit(limits=1, user_api="blas"):
            return list(_threads().map(lambda context, part: context.run(function, part), contexts, parts))


_one_at_a_time = threading.Lock()


@functools.cache
def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step, which asks for the same again.

    Otherwise it gives large arrays back to the system and pays for a page fault every 4 KiB when it gets
    them anew: a step of a small convolutional network takes 1.5 times as long. Elsewhere this does nothing.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    can_tell = hasattr(os, "sched_getaffinity")
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if can_tell else os.cpu_count())


class CuPy(Backend):
    name = "cupy"
    module = "cupy"
    install = "pip install '.[cuda13]', or '.[cuda12]' for a CUDA 12 driver; backend 'numpy' needs no GPU"
    devices = "'cuda' or 'cuda:N'"

    def find_namespace(self) -> Any:
        return importlib.import_module("array_api_compat.cupy")

    def find_device(self, device: Any) -> Any:
        runtime = self.library.cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            raise BackendError(
                f"backend 'cupy': no CUDA device ({_one_line(error)}); it needs an NVIDIA GPU and its "
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


class Torch(Backend):
    name = "torch"
    module = "torch"
    install = "pip install torch"
    devices = "'cpu', 'cuda' or 'cuda:N'"

    def find_namespace(self) -> Any:
        return importlib.import_module("array_api_compat.torch")

    def find_device(self, device: Any) -> Any:
        try:
            found = self.library.device(device or "cpu")
            # A tensor tells 'cuda:0' where 'cuda' was asked for, and asking for one proves that it is there.
            return self.library.empty(0, device=found).device
        except (RuntimeError, AssertionError, TypeError) as error:
            self.refuse(device, error)

    def from_host(self, x: np.ndarray) -> Array:
        return super().from_host(np.require(x, requirements="W"))  # PyTorch warns of read-only memory

    def to_numpy(self, x: Array) -> np.ndarray:
        return x.numpy(force=True)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            self.library.cuda.synchronize(self.device)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return self.library.no_grad()(step)


class JAX(Backend):
    name = "jax"
    module = "jax"
    install = "pip install jax"
    devices = "'cpu', 'gpu', 'tpu' or one of these with ':N'"

    def find_namespace(self) -> Any:
        if self.dtype_name == "float64":
            # The switch is global in JAX, and without it float64 silently becomes float32.
            self.library.config.update("jax_enable_x64", True)
        return importlib.import_module("jax.numpy")

    def find_device(self, device: Any) -> Any:
        platform, _, number = str(device or "").partition(":")
        try:
            return self.library.devices(platform or None)[int(number or 0)]
        except (RuntimeError, ValueError, IndexError) as error:
            self.refuse(device, error)

    def synchronize(self) -> None:
        self.library.block_until_ready(self.library.live_arrays())

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return self.library.jit(step, donate_argnums=0)


class Strict(Backend):
    """The reference implementation of the standard, which refuses everything outside of it.

    Its `device1` behaves like a GPU: nothing is converted to NumPy, or mixed with other devices,
    unless asked for. It is slow, and it finds on any machine most of what would break on a GPU.
    """

    name = "array-api-strict"
    module = "array_api_strict"
    install = "pip install array-api-strict"
    devices = "'CPU_DEVICE', 'device1' or 'device2'"

    def find_device(self, device: Any) -> Any:
        try:
            return self.library.Device(device or "CPU_DEVICE")
        except ValueError:
            self.refuse(device)

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x.to_device(self.library.Device("CPU_DEVICE")))


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (NumPy, CuPy, Torch, JAX, Strict)}


def get(name: str, device: Any = None, dtype: str = "float32") -> Backend:
    """The backend of that name: numpy, cupy, torch, jax or array-api-strict.

    Raises BackendError, in one line, where the name is unknown, or where its library or its
    device is not there; the line says what to install.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: expected one of {', '.join(BACKENDS)}")
    return BACKENDS[name](device, dtype)


def available() -> dict[str, str | None]:
    """Each backend's name, with None where it can be used here and the reason where it cannot.

    This imports every library that is installed, which takes seconds.
    """
    reasons: dict[str, str | None] = {}
    for name in BACKENDS:
        try:
            get(name)
            reasons[name] = None
        except BackendError as error:
            reasons[name] = str(error).partition(": ")[2]
    return reasons
