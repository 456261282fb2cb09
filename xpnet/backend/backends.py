"""The base class of backends."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from xpnet.backend import _reading
from xpnet.backend._facts import Facts
from xpnet.backend._lazy import LazyArray
from xpnet.backend._parts import PairwiseSum
from xpnet.backend._reading import one_line, unreadable
from xpnet.backend.ops import device, namespace
from xpnet.errors import BackendError, ShapeError
from xpnet.tree import Array

DTYPES = ("float32", "float64")
NUMBERS = ("bool", "integral", "real floating")


def _numbers(version: str) -> list[int]:
    """The numbers of a version: 2, 13, 0 of "2.13.0+cpu"."""
    return [int(each) for each in re.findall(r"\d+", version.partition("+")[0])]


class Backend:
    """One array library on one device, with the training dtype.

    To add a library, derive a class in its own file, and one from `Ops` if it has faster operations.

    Arguments:
        device: the device of the arrays; None: the library's default.
        dtype: "float32" or "float64".
        tf32: whether products of float32 matrices may use TF32 on a device that has it.

    Attributes:
        oldest: the oldest version of the library that works.
        xp: the array API namespace.
        device: the library's own object for the device.
        dtype: the library's own object for the dtype.
        index_dtype: the dtype of integers: int64, or int32 on JAX.
        itemsize: the bytes of one number in the training dtype.
        adds_products: whether adding a `Product` to an array is faster than computing it first.
        winograd: the dtypes in which convolutions are computed by `nn._winograd`.
        has_convolution: whether the library's `Ops` have a convolution faster than the product with windows.
        has_max_pool: the same of max-pooling of images.
        part_bytes: two limits for the largest array in a part of a batch. A part above the first limit is
            halved if cores would be idle, a part above the second always. None: never split a batch.
        steps_at_once: the number of training steps to run in one call of a compiled loop.
        n_devices: the number of devices that share each batch.
        spans_processes: whether some of the devices belong to another process.
        survives_fork: whether a process that has used the library can be forked.
        stacked_parameters: the parameters of a dense network up to which an ensemble is faster than its
            networks one after the other; None: it always is.
        stacks_convolutions: the same of networks with convolutions, of any size.
        workers: the number of parts of a batch that `map_reduce` runs in parallel.

    Raises BackendError if the library or the device is missing, or the library is too old.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    oldest: ClassVar[str] = ""
    devices: ClassVar[str] = "'cpu'"
    adds_products: ClassVar[bool] = False
    winograd: ClassVar[tuple[str, ...]] = ()
    has_convolution: ClassVar[bool] = False
    has_max_pool: ClassVar[bool] = False
    part_bytes: ClassVar[tuple[int, int] | None] = None
    steps_at_once: ClassVar[int] = 1
    n_devices: int = 1
    spans_processes: bool = False
    survives_fork: ClassVar[bool] = False
    stacked_parameters: ClassVar[int | None] = None
    stacks_convolutions: ClassVar[bool] = False
    workers: ClassVar[int] = 1

    def __init__(self, device: Any = None, dtype: str = "float32", tf32: bool = False) -> None:
        if dtype not in DTYPES:
            raise BackendError(f"backend {self.name!r}: expected dtype float32 or float64, got {dtype!r}")
        self.library = self.import_library()
        if _numbers(self.version) < _numbers(self.oldest):
            raise BackendError(
                f"backend {self.name!r}: expected version {self.oldest} or later, got {self.version}; "
                f"{self.install.replace('install', 'install -U', 1)}"
            )
        self.dtype_name = dtype
        self.tf32 = tf32
        self.xp = self.find_namespace()
        self.device = self.find_device(device)
        self.dtype = getattr(self.xp, dtype)
        self.itemsize = np.dtype(dtype).itemsize
        self.index_dtype = self.xp.arange(1).dtype

    def __repr__(self) -> str:
        return f"<xpnet backend {self.name}, {self.device_name}, {self.dtype_name}>"

    def import_library(self) -> Any:
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == self.module
            problem = "is not installed" if missing else f"cannot be imported ({one_line(error)})"
            raise BackendError(f"backend {self.name!r}: {self.module} {problem}; {self.install}") from error

    @property
    def version(self) -> str:
        """The version of the library."""
        return getattr(sys.modules[self.module.partition(".")[0]], "__version__", "unknown")

    def find_namespace(self) -> Any:
        return self.library

    def find_device(self, device: Any) -> Any:
        if device not in (None, "cpu"):
            self.refuse(device)
        return "cpu"

    def refuse(self, device: Any, reason: Any = None) -> None:
        because = f" ({one_line(reason)})" if reason else ""
        if str(device).endswith(":all") and ":all" not in self.devices:
            because += "; backend 'jax' trains on many devices"
        raise BackendError(f"backend {self.name!r}: expected device {self.devices}, got {device!r}{because}")

    @property
    def device_name(self) -> str:
        """The device in words."""
        return str(self.device)

    def asarray(self, x: Any, real: bool = False) -> Array:
        """x as an array on this backend's device, in its dtype (reals) or its index dtype (integers).

        With `real`, integers become reals too. `x` may be an array of any library, nested lists, a table of
        numbers such as a DataFrame, or an array in an h5py or zarr store. The result may share memory with
        `x`.

        Raises ShapeError if `x` is not an array of numbers, or its values cannot be read.
        """
        host: Any = None
        x = self.adopted(x)
        with self._reading(x):
            if not self.owns(x) or not self.xp.isdtype(x.dtype, NUMBERS):
                host = self.on_host(x, real)
                host = host if isinstance(host, np.ndarray) else host[:]
        if host is not None:
            return self.from_host(host)  # an error here is not one of x
        with self._reading(x):
            real = real or self.xp.isdtype(x.dtype, "real floating")
            dtype = self.dtype if real else self.index_dtype
            x = x if x.dtype == dtype else self._cast(x, dtype)
            return x if device(x) == self.device else array_api_compat.to_device(x, self.device)

    def _cast(self, x: Array, dtype: Any) -> Array:
        with np.errstate(all="ignore"):  # a number may be too large or too small for the training dtype
            return self.xp.astype(x, dtype)

    def on_host(self, x: Any, real: bool = False) -> np.ndarray | LazyArray:
        """`numbers(x)` in the training dtype (reals) or in int64 (integers): `asarray` on the host."""
        host = self.numbers(x)
        real = real or host.dtype.kind == "f"
        with np.errstate(all="ignore"):  # a number may be too large or too small for the training dtype
            return host.astype(self.dtype_name if real else np.int64, copy=False)

    def numbers(self, x: Any, name: str = "x") -> np.ndarray | LazyArray:
        """x on the host in its own dtype. An array in a store stays there, as a `LazyArray`.

        Raises ShapeError, which calls the array by its name, if `x` is not an array of numbers, or its values
        cannot be read.
        """
        with self._reading(x, name):
            return _reading.numbers(self.to_numpy(x) if self.owns(x) else x, name)

    @contextmanager
    def _reading(self, x: Any, name: str = "x") -> Iterator[None]:
        """Raise ShapeError in place of a library's own error when it cannot read the values of x."""
        try:
            yield
        except ShapeError:
            raise
        except Exception as error:
            if self.is_out_of_memory(error):
                raise
            raise ShapeError(unreadable(x, error, name)) from error

    def from_host(self, x: np.ndarray) -> Array:
        """A NumPy array on this backend's device, in its own dtype."""
        return self.xp.asarray(x, device=self.device)

    def refilled(self, buffer: Array | None, x: Array) -> Array:
        """An array on this backend's device with x in its first rows, in x's own dtype.

        May be `buffer`, overwritten: an earlier result for rows of the same shape and dtype. Backends that
        capture steps need this, since a captured step reads its data at a fixed address. x may be on the
        device already.
        """
        host: Any = x
        return x if self.owns(x) else self.from_host(host)

    def adopted(self, x: Any) -> Any:
        """x as an array of this library, without a copy, if DLPack alone or best reads it; else x itself.

        That is the case for an object with no other protocol of arrays, and for an array of another library
        on a GPU.
        """
        if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")) or self.owns(x):
            return x
        try:
            best = x.__dlpack_device__()[0] != _reading.CPU or not _reading.is_readable(x)
            return self.xp.from_dlpack(x) if best else x
        except Exception:  # of another device, or of a dtype that the library does not take
            return x

    def owns(self, x: Any) -> bool:
        """Whether `x` is an array of this library."""
        is_array = array_api_compat.is_array_api_obj(x) and not isinstance(x, LazyArray)
        return is_array and namespace(x) is self.xp

    def copy(self, x: Any) -> Array:
        """A fresh array with the values of x, as `asarray` places and converts it."""
        return self.xp.asarray(self.asarray(x), copy=True)

    def to_numpy(self, x: Array) -> np.ndarray:
        """x as a NumPy array on the host. Waits for the device."""
        return np.asarray(x)

    def synchronize(self) -> None:
        """Wait until the device has finished all work."""

    def free_bytes(self) -> int | None:
        """The free bytes of the device's memory; None if the device uses the host's memory."""
        return None

    def facts(self) -> Facts:
        """What the library reports of itself and of the device."""
        return Facts(version=self.version)

    def other_devices(self) -> tuple[str, ...]:
        """The kinds of devices on this machine that the library can use besides its default."""
        return ()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether this is one of the library's out-of-memory errors."""
        return _reading.is_too_large(error)

    def precision(self) -> AbstractContextManager[Any]:
        """Within the block, products of float32 matrices are in float32, or in TF32 if `tf32`."""
        return nullcontext()

    def map_reduce(
        self,
        function: Callable[[Any, Any], Any],
        add: Callable[[Any, Any], Any],
        parts: Sequence[Any],
        common: Any = None,
        prepare: Callable[[Any], Any] = lambda common: common,
        together: bool = False,
    ) -> Any:
        """The sum of `function(part, common)` over the parts of a batch, which may run in parallel.

        Arguments:
            function: computes the result of one part.
            add: adds two results.
            parts: the parts.
            common: passed to every call.
            prepare: applied to `common` once, if there are two parts or more.
            together: whether all parts, at most `workers`, must run at the same time; then they may call
                `sum_over_parts`.
        """
        if len(parts) == 1:
            return function(parts[0], common)
        prepared, total = prepare(common), PairwiseSum(add, len(parts))
        for i, part in enumerate(parts):
            total.put(i, function(part, prepared))
        return total.result

    def for_products(self, x: Array, networks: int) -> Array:
        """x (K, n, d), or (1, n, d), for products with a matrix of each of K networks; K copies if faster."""
        return x

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile the pure `step(state, batch) -> (state, metrics)`.

        The compiled step may donate: it may reuse the memory of the given state for the state it returns.
        """
        return step

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a loop of pure steps: `(state, constants, rows, start, stop) -> state`.

        For i from `start` to `stop` - 1 it computes `state, _ = step(state, (*constants, *row))`, where row i
        holds `array[i, ...]` for each array in the tuple `rows`, and None for None. The step must keep the
        structure of the state. The loop may donate, as in `compile`. Call it through `quiet`.
        """
        return loop_of(self.compile(step))

    # Many devices, of one process or of several that train together: the defaults are those of one device.

    def shard(self, batch: Any, axis: int = 0) -> Any:
        """A batch in a compiled step, a tree of arrays with this axis of examples: each device has a part."""
        return batch

    def own_examples(self, batch_size: int) -> slice | None:
        """The examples of each batch that this process places by `from_batches`; None: use `refilled`."""
        return None

    def from_batches(self, x: np.ndarray, batch_size: int) -> Array:
        """Batches (n, batch_size, ...) on all devices, a part of each batch on each.

        Arguments:
            x: their `own_examples`, (n, own, ...).
        """
        raise NotImplementedError

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes that train together. Waits for all of them."""
        return flag

    def any_process_each(self, flags: Sequence[bool]) -> list[bool]:
        """`any_process` for each of these flags."""
        return list(flags)

    def agreement(self) -> Callable[[bool], bool]:
        """`any_process` for a loop, where it must not wait: each call gives the result of the call before."""
        return bool

    def require_same(self, what: str, settings: Mapping[str, object]) -> None:
        """ConfigError unless the processes that train together have the same settings. Waits for all."""

    def lost_process(self, error: BaseException) -> bool:
        """Whether the error is that another process does not answer any more."""
        return False

    def quiet(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, without a library's warnings of infinite and NaN numbers: xpnet tells of them itself.

        It belongs to the thread that calls `quiet`, with the context variables of that moment.
        """
        return function


def loop_of(step: Callable[..., Any]) -> Callable[..., Any]:
    """The loop that `Backend.compile_loop` describes, of a step that is already compiled."""

    def loop(state: Any, constants: tuple[Any, ...], rows: tuple[Any, ...], start: int, stop: int) -> Any:
        for i in range(start, stop):
            state, _ = step(state, (*constants, *row(rows, i)))
        return state

    return loop


def row(rows: tuple[Array | None, ...], i: Any) -> list[Array | None]:
    """Row i of the arrays that a compiled loop runs over; None stays None."""
    return [None if array is None else array[i, ...] for array in rows]
