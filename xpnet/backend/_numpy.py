"""NumPy: the standard itself, on all cores of a CPU."""

import contextvars
import ctypes
import functools
import itertools
import operator
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, strided_windows
from xpnet.backend import _numba_pool, _numpy_bare, _numpy_blas, _numpy_rows, _numpy_threads
from xpnet.backend._formula import Formula, as_written
from xpnet.backend._numba import loop, numba_is_installed
from xpnet.backend._numpy_columns import of_joined_rows, with_sums_after
from xpnet.backend._parts import PairwiseSum, PartsBarrier
from xpnet.backend._passes import passes
from xpnet.backend._reading import has_numbers
from xpnet.backend.backends import Backend, loop_of
from xpnet.backend.fused import Fused, positive_part, where_positive
from xpnet.backend.ops import FUNCTIONS, Ops

Array = Any  # a NumPy array with all of its methods
_threads = _numpy_threads.pool


class NumPy(Backend):
    """NumPy on all cores of a CPU: each core runs a part of the batch, with one BLAS thread each.

    The bits of a sum may depend on the number of cores: more cores mean smaller parts, and a BLAS with
    several threads adds up a product in another order. `Model(micro_batch=…)` fixes the size of the parts,
    $OPENBLAS_NUM_THREADS the number of OpenBLAS threads. That number also limits how many parts run at a
    time, but not their size.
    """

    name = "numpy"
    module = "numpy"
    install = "pip install numpy"
    adds_products = True
    winograd = ("float32",)  # in float64 its rounding would break ties of max-pooling unlike other libraries
    survives_fork = True
    stacked_parameters = 250_000  # while the arrays of some networks fit the cache; measured on 2 cores
    part_bytes = 4 << 20, 16 << 20  # measured with both CNNs of the speed suite on 2 cores
    workers = _numpy_threads.cores()
    has_max_pool = property(lambda self: numba_is_installed())

    def find_namespace(self) -> Any:
        return _numpy_bare

    def owns(self, x: Any) -> bool:
        """Subclasses are foreign: a `matrix` multiplies otherwise, a `MaskedArray` hides values."""
        own = type(x) in (np.ndarray, np.memmap) or isinstance(x, np.generic)
        return own and has_numbers(x.dtype)

    def precision(self) -> AbstractContextManager[Any]:
        """A number too small for the dtype becomes 0, whatever `np.errstate` the user has set."""
        return np.errstate(under="ignore")

    def map_reduce(
        self,
        function: Callable[[Any, Any], Any],
        add: Callable[[Any, Any], Any],
        parts: Sequence[Any],
        common: Any = None,
        prepare: Callable[[Any], Any] = lambda common: common,
        together: bool = False,
    ) -> Any:
        if len(parts) == 1:
            return function(parts[0], common)
        with _numpy_threads.one_at_a_time.turn():
            at_once = min(self.workers, len(parts))
            allowed = min(at_once, _numpy_threads.allowed())
            threads = at_once if together else allowed  # parts that wait for each other need a thread each
            total, barrier = PairwiseSum(add, len(parts)), PartsBarrier(len(parts), allowed)
            numbers = itertools.count()
            errors: list[BaseException] = []

            def work(prepared: Any) -> None:
                try:
                    while not errors and (i := next(numbers)) < len(parts):
                        run = functools.partial(barrier.run, i, function) if together else function
                        total.put(i, run(parts[i], prepared))
                except BaseException as error:
                    errors.append(error)  # stops the other threads before their next part

            with _numpy_threads.single_threaded_blas():
                # Under the limit: an idle BLAS thread spins and blocks a core for long.
                prepared = prepare(common)
                try:
                    # Copy the context, so that np.errstate and the like apply in the other threads too.
                    others = [
                        _threads(self.workers).submit(contextvars.copy_context().run, work, prepared)
                        for _ in range(threads - 1)
                    ]
                    work(prepared)
                    wait(others)
                finally:
                    barrier.abort()  # after an exception here, no other thread may wait for this one
        if errors:
            # Raise the cause, not the BrokenBarrierError of parts that waited for the failed one.
            raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
        return total.result

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        _keep_freed_memory()

        def alone(state: Any, batch: Any) -> Any:
            with _numpy_threads.one_at_a_time.turn(), np.errstate(all="ignore"):
                return step(state, batch)

        return alone

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        _keep_freed_memory()
        loop = loop_of(step)

        def alone(*arguments: Any) -> Any:
            with _numpy_threads.one_at_a_time.turn():
                return loop(*arguments)

        return alone

    def quiet(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """By a context of its own: `np.errstate` in each step would take 3% of one of 784-10."""
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        return functools.partial(context.run, function)


@functools.cache
def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step, which allocates the same sizes again.

    Otherwise glibc returns large arrays to the system and pays a page fault per 4 KiB to get them again: a
    step of a small convolutional network takes 1.5 times as long. No effect on systems without glibc.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)


def _put(result: Any, out: Any) -> Any:
    """The result, in `out` if that is an array."""
    if out is None:
        return result
    out[...] = result
    return out


UFUNCS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    ">": np.greater,
    "<": np.less,
    "negative": np.negative,
    "copy": np.positive,
    "filled": lambda x, value, out=None: _put(value, np.empty_like(x) if out is None else out),
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "sign": lambda x, out=None: _put(np.sign(x), out),  # 12 times as long where it overwrites x itself
    "where": lambda condition, x, y, out=None: _put(np.where(condition, x, y), out),
}


FEW = 32_768  # numbers; NumPy's passes over fewer take as long as the call of a loop

# Numbers in a row that is joined of short ones. In a loop, sums of rows should stay in the first-level cache.
LENGTH_IN_PASSES, LENGTH_IN_LOOPS = 8192, 1024


def in_passes(formula: Formula, overwrites: int) -> Callable[..., Any]:
    """The formula as a function of its arguments that makes a pass over the arrays for each operation."""
    if formula.reduces_rows:
        return as_written(formula, FUNCTIONS)
    if formula.sums:
        return with_sums_after(formula, lambda rest: in_passes(rest, 0), FUNCTIONS)
    compiled = functools.partial(passes, overwrites=overwrites, words=UFUNCS, scalars=FUNCTIONS)
    if formula.has_columns and not formula.has_rows:
        return of_joined_rows(formula, compiled, LENGTH_IN_PASSES, FUNCTIONS)
    return compiled(formula)


def in_a_loop(formula: Formula, overwrites: int) -> Callable[..., Any]:
    """The formula as a function of its arguments that makes one loop where it can."""

    def compiled(formula: Formula) -> Callable[..., Any]:
        return loop(formula, overwrites, in_passes(formula, overwrites), FUNCTIONS)

    if formula.has_columns and not formula.has_rows:
        return of_joined_rows(formula, compiled, LENGTH_IN_LOOPS, FUNCTIONS)
    return compiled(formula)


def _is_worth_a_loop(x: Array) -> bool:
    """Whether a loop by Numba takes less time for a few operations on x than NumPy's passes."""
    return x.size >= FEW and x.flags.c_contiguous and numba_is_installed()


class NumPyOps(Ops, library="numpy"):
    """Faster forms for NumPy: its inner loops run along one row, and each operation reads memory anew."""

    has_fast_positions = True  # without, a step of 784-10 with batch 64 takes 10% more time

    def __init__(self, xp: Any) -> None:
        super().__init__(_numpy_bare)

    def window_view(self, x: Array, kernel: Lengths, stride: Lengths) -> Array:
        """A strided view: one copy of it takes a third of the time of stacking the taps."""
        return np.lib.stride_tricks.as_strided(x, *strided_windows(x.shape, x.strides, kernel, stride))

    def positive_part(self, x: Array) -> Array:
        return positive_part(x) if _is_worth_a_loop(x) else super().positive_part(x)

    def where_positive(self, x: Array, y: Array) -> Array:
        """x · (y > 0) without Numba: `where` takes 3.5 times as long."""
        if _is_worth_a_loop(y):
            return where_positive(np.ascontiguousarray(x), y)
        kept = (y > 0).astype(x.dtype)
        kept *= x
        return kept

    def exp_or_infinity(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(x)

    def compile_fused(self, function: Fused, kinds: tuple[str, ...]) -> Callable[..., Any]:
        """One loop where Numba is installed, else passes."""
        formula = function.formula(kinds)
        return (in_a_loop if numba_is_installed() else in_passes)(formula, function.overwrites)

    # Without the next three, a step of 784-10 with batch 64 takes 3% more time.

    def row_maxima(self, x: Array) -> Array:
        return _numpy_rows.row_maxima(x)

    def row_sums(self, x: Array) -> Array:
        return _numpy_rows.row_sums(x)

    def inner_product(self, x: Array, y: Array) -> Array:
        """By BLAS, with the same bits for one network and for each of several."""
        if x.ndim == 2:
            return np.vdot(x, y)
        return np.vecdot(*(each.reshape(*each.shape[:-2], -1) for each in (x, y)))

    def weighted_sum(self, weights: Array, x: Array) -> Array:
        """In one pass, unless the sum is NaN: a pass to replace infinite x takes six times as long."""
        if x.ndim == 2:
            total = np.vdot(weights, x)
            if total == total:
                return total
        return super().weighted_sum(weights, x)

    def sum_of_rows(self, rows: Array) -> Array:
        return _numpy_rows.sum_of_rows(rows)

    def sum_of_products(self, x: Array, y: Array) -> Array:
        return _numpy_rows.sum_of_products(x, y)

    def each_row(self, operation: Callable[[Array, Array], Array], rows: Array, row: Array) -> Array:
        return _numpy_rows.each_row(operation, rows, row)

    def add_to_rows(self, rows: Array, row: Array) -> Array:
        return _numpy_rows.each_row(operator.iadd, rows, row)

    def add_product(self, total: Array, left: Array, right: Array, scale: Any, decay: Any) -> Array:
        return _numpy_blas.add_product(total, left, right, scale, decay)

    def rows_product(self, rows: Array, matrix: Array) -> Array:
        return _numpy_blas.rows_product(rows, matrix)

    def rows_gradient(self, rows: Array, dy: Array) -> Array:
        return _numpy_blas.rows_gradient(rows, dy)

    def transform(self, matrix: Array, planes: Array) -> Array:
        return _numpy_blas.transform(matrix, planes)

    # With Numba, the next two make a step of CNN A of the speed suite take 20% less time.

    def max_pool(self, x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array]:
        if x.ndim != 4 or not numba_is_installed():
            return super().max_pool(x, kernel, stride)
        return _numba_pool.max_pool(x, kernel, stride)

    def max_pool_gradient(
        self, dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths
    ) -> Array:
        if x.ndim != 4 or not numba_is_installed():
            return super().max_pool_gradient(dy, x, positions, kernel, stride)
        return _numba_pool.max_pool_gradient(dy, x, positions, kernel, stride)
