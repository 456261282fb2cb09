"""The base class of backends."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from xpnet.backend._lazy import LazyArray, is_lazy
from xpnet.backend._parts import PairwiseSum
from xpnet.backend.ops import device, namespace, ops
from xpnet.errors import BackendError, ShapeError
from xpnet.tree import Array

DTYPES = ("float32", "float64")


class Backend:
    """One array library on one device, with the dtype of training.

    To add a library, derive a class in a file of its own, and one from `Ops` if it says something faster.

    Arguments:
        device: where arrays live; None: the library's default.
        dtype: "float32" or "float64".

    Attributes:
        xp: the array API namespace.
        device: the library's own object for the device.
        dtype: the library's own object for the dtype.
        index_dtype: the dtype of integers: int64, on JAX int32.
        itemsize: bytes of a number in the dtype of training.
        adds_products: whether adding a `Product` to an array is faster than computing it first.
        winograd: whether convolutions are faster by `nn._winograd`.
        has_convolution: whether the library's `Ops` have a convolution and a pooling of its own.
        part_bytes: two sizes of the largest array in a part of a batch. A part above the first is halved if
            cores would idle, above the second always. None: a batch is one part.
        steps_at_once: how many training steps to ask `compile_loop` for at a time.
        workers: how many parts of a batch `map_reduce` runs side by side.

    Raises BackendError where the library or the device is missing.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    devices: ClassVar[str] = "'cpu'"
    adds_products: ClassVar[bool] = False
    winograd: ClassVar[bool] = False
    has_convolution: ClassVar[bool] = False
    part_bytes: ClassVar[tuple[int, int] | None] = None
    steps_at_once: ClassVar[int] = 1
    workers: ClassVar[int] = 1

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
            problem = "is not installed" if missing else f"cannot be imported ({one_line(error)})"
            raise BackendError(f"backend {self.name!r}: {self.module} {problem}; {self.install}") from error

    def find_namespace(self) -> Any:
        return self.library

    def find_device(self, device: Any) -> Any:
        if device not in (None, "cpu"):
            self.refuse(device)
        return "cpu"

    def refuse(self, device: Any, reason: Any = None) -> None:
        because = f" ({one_line(reason)})" if reason else ""
        raise BackendError(f"backend {self.name!r}: expected device {self.devices}, got {device!r}{because}")

    def asarray(self, x: Any, real: bool = False) -> Array:
        """The same values on this backend's device: reals in its dtype, integers in its index dtype.

        With `real`, integers become reals too. The result may share memory with `x`, which may be an array of
        this library or another, nested lists, or an array in a store, of h5py or zarr. Raises ShapeError
        where `x` is not an array of numbers, or its values cannot be read.
        """
        if not self.owns(x):
            host = self.on_host(x, real)
            return self.from_host(host if isinstance(host, np.ndarray) else host[:])
        with self._reading(x):
            if not self.xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
                raise ShapeError(f"expected an array of real numbers, got dtype {x.dtype}")
            real = real or self.xp.isdtype(x.dtype, "real floating")
            dtype = self.dtype if real else self.index_dtype
            x = x if x.dtype == dtype else self.xp.astype(x, dtype)
            return x if device(x) == self.device else array_api_compat.to_device(x, self.device)

    def on_host(self, x: Any, real: bool = False) -> np.ndarray | LazyArray:
        """`numbers(x)` in the dtype of training or in int64, as `asarray` has them on the device."""
        host = self.numbers(x)
        real = real or host.dtype.kind == "f"
        return host.astype(self.dtype_name if real else np.int64, copy=False)

    def numbers(self, x: Any) -> np.ndarray | LazyArray:
        """The same values on the host, in their own dtype; what is in a store stays there as `LazyArray`.

        Raises ShapeError where these are no numbers or cannot be read.
        """
        host: np.ndarray | LazyArray
        if is_lazy(x):
            host = LazyArray(x, x.dtype) if not isinstance(x, LazyArray) else x
        else:
            with self._reading(x):
                host = self.to_numpy(x) if self.owns(x) else np.asarray(x)
        if host.dtype.kind not in "biuf":
            raise ShapeError(f"expected an array of real numbers, got dtype {host.dtype}")
        return host

    @contextmanager
    def _reading(self, x: Any) -> Iterator[None]:
        """ShapeError in place of a library's own errors where it does not give the values of x."""
        try:
            yield
        except ShapeError:
            raise
        except Exception as error:
            if self.is_out_of_memory(error):
                raise
            raise ShapeError(unreadable(x, error)) from error

    def from_host(self, x: np.ndarray) -> Array:
        """A NumPy array's values on this backend's device, in their own dtype."""
        return self.xp.asarray(x, device=self.device)

    def owns(self, x: Any) -> bool:
        """Whether `x` is an array of this library."""
        is_array = array_api_compat.is_array_api_obj(x) and not isinstance(x, LazyArray)
        return is_array and namespace(x) is self.xp

    def copy(self, x: Any) -> Array:
        """A fresh array with the same values, on this backend's device and in its dtype."""
        return self.xp.asarray(self.asarray(x), copy=True)

    def to_numpy(self, x: Array) -> np.ndarray:
        """The values as a NumPy array on the host; this waits for the device."""
        return np.asarray(x)

    def synchronize(self) -> None:
        """Wait until the device has finished all work."""

    def free_bytes(self) -> int | None:
        """Free bytes in the device's own memory; None where arrays are in that of the host."""
        return None

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether the library raised this error for lack of memory."""
        too_large = ("array is too big", "Maximum allowed dimension")  # for any machine, says NumPy
        return isinstance(error, MemoryError) or any(words in str(error) for words in too_large)

    def map_reduce(
        self,
        function: Callable[[Any, Any], Any],
        add: Callable[[Any, Any], Any],
        parts: Sequence[Any],
        common: Any = None,
        prepare: Callable[[Any], Any] = lambda common: common,
        together: bool = False,
    ) -> Any:
        """The sum, by `add`, of `function(part, common)` over the parts of a batch, perhaps side by side.

        Two or more parts get `prepare(common)`, computed once. With `together` all parts, no more than
        `workers`, run at the same time and may call `sum_over_parts`.
        """
        if len(parts) == 1:
            return function(parts[0], common)
        prepared, total = prepare(common), PairwiseSum(add, len(parts))
        for i, part in enumerate(parts):
            total.put(i, function(part, prepared))
        return total.result

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The pure `step(state, batch) -> (state, metrics)`, faster.

        It may reuse (donate) the state that it is given for the one that it returns.
        """
        return step

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A function `(state, constants, rows, start, stop) -> state` that runs the pure step many times.

        For i from `start` to `stop` - 1 it does `state, _ = step(state, (*constants, *row))`; row i holds
        `array[i, ...]` for each array in the tuple `rows`, None for a None. The step must keep the structure
        of the state. The function may reuse the state that it is given for the one that it returns.
        """
        compiled = self.compile(step)

        def loop(state: Any, constants: tuple[Any, ...], rows: tuple[Any, ...], start: int, stop: int) -> Any:
            for i in range(start, stop):
                row = [None if array is None else array[i, ...] for array in rows]
                state, _ = compiled(state, (*constants, *row))
            return state

        return loop


def unreadable(x: Any, reason: object) -> str:
    """The error line for an array whose values a library does not give, for that reason."""
    if array_api_compat.is_array_api_obj(x):
        kind = f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}"
        got = f"a {kind} of dtype {x.dtype} on {device(x)} ({one_line(reason)}); {ops(x).advice(x)}"
    elif isinstance(reason, ValueError):
        got = f"uneven rows ({one_line(reason)})"
    else:
        got = f"a {type(x).__name__} ({one_line(reason)})"
    return f"expected an array of numbers, got {got}"


def one_line(text: object) -> str:
    """The text with its line breaks and runs of blanks as one blank each."""
    return " ".join(str(text).split())
