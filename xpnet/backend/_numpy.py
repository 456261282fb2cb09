"""NumPy: the standard itself, on all cores of a CPU."""

import contextvars
import ctypes
import functools
import itertools
import operator
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import threadpoolctl

from xpnet._util.windows import Lengths, strided_windows
from xpnet.backend import _numpy_bare, _numpy_blas, _numpy_rows
from xpnet.backend._parts import PairwiseSum, PartsBarrier
from xpnet.backend.backends import Backend
from xpnet.backend.ops import Ops

Array = Any  # of NumPy, with its own members


class NumPy(Backend):
    """Parts of a step's work run on all cores, a part on a core: BLAS gets one thread meanwhile.

    The more cores, the smaller the parts, and so the bits of a sum may depend on their number; within a part,
    too, through the order in which a BLAS with several threads adds up a product. `Model(micro_batch=…)` says
    how large parts are, and $OPENBLAS_NUM_THREADS how many threads OpenBLAS takes.
    """

    name = "numpy"
    module = "numpy"
    install = "pip install numpy"
    adds_products = True
    winograd = True
    part_bytes = 4 << 20, 16 << 20  # measured with both CNNs of the speed suite on 2 cores
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def find_namespace(self) -> Any:
        return _numpy_bare

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
            return super().map_reduce(function, add, parts, common)
        total, barrier = PairwiseSum(add, len(parts)), PartsBarrier(len(parts))
        numbers = itertools.count()
        errors: list[BaseException] = []

        def work(prepared: Any) -> None:
            try:
                while not errors and (i := next(numbers)) < len(parts):
                    run = functools.partial(barrier.run, i, function) if together else function
                    total.put(i, run(parts[i], prepared))
            except BaseException as error:
                errors.append(error)  # the other threads then take no further part

        with _one_at_a_time, _blas().limit(limits=1, user_api="blas"):
            prepared = prepare(common)  # here: a second thread of BLAS would keep a core busy long after it
            try:
                # With a copy of the context, so that np.errstate and the like hold in the other threads too.
                others = [
                    _threads(self.workers).submit(contextvars.copy_context().run, work, prepared)
                    for _ in range(min(self.workers, len(parts)) - 1)
                ]
                work(prepared)
                wait(others)
            finally:
                barrier.abort()  # where this is broken off, no other thread may wait for this one
        if errors:
            # Those of parts that waited for one that failed come after its own, or a little before.
            raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
        return total.result

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        _keep_freed_memory()

        def alone(state: Any, batch: Any) -> Any:
            with _one_at_a_time:
                return step(state, batch)

        return alone


# The number of BLAS's threads is the process's, and may decide in which order a product is added up: what a
# model gives must not depend on a model in another thread, for which `map_reduce` is changing that number.
_one_at_a_time = threading.RLock()


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
def _threads(workers: int) -> ThreadPoolExecutor:
    """One for each of the workers but the caller's own thread."""
    return ThreadPoolExecutor(workers - 1)


class NumPyOps(Ops, library="numpy"):
    """NumPy is the standard itself, but its loops are as long as a row, and each pass reads memory again."""

    def __init__(self, xp: Any) -> None:
        super().__init__(_numpy_bare)

    def window_view(self, x: Array, kernel: Lengths, stride: Lengths) -> Array:
        """One copy of the view takes a third of the time of stacking the taps."""
        return np.lib.stride_tricks.as_strided(x, *strided_windows(x.shape, x.strides, kernel, stride))

    def where_positive(self, x: Array, y: Array) -> Array:
        """A product with 0 and 1: `where` takes 3.5 times as long."""
        kept = (y > 0).astype(x.dtype)
        kept *= x
        return kept

    def exp_or_infinity(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(x)

    def subtract_ratio(self, x: Array, factor: Any, y: Array, z: Array) -> Array:
        """Without arrays in between: a step with Adam takes 6% less."""
        ratio = np.divide(y, z, out=z)
        ratio *= -factor
        ratio += x
        return ratio

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

    def rows_gradient(self, rows: Array, dy: Array) -> Array:
        return _numpy_blas.rows_gradient(rows, dy)

    def transform(self, matrix: Array, planes: Array) -> Array:
        return _numpy_blas.transform(matrix, planes)
