"""NumPy: the standard itself, on all cores of a CPU."""

import contextvars
import ctypes
import functools
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import threadpoolctl

from xpnet.backend._backend import Backend


class NumPy(Backend):
    """Parts of a step's work run on all cores, a part on a core: BLAS gets one thread meanwhile.

    How the work is cut into parts does not depend on the number of cores. The bits may, through the order in
    which a BLAS with several threads adds up a product; $OPENBLAS_NUM_THREADS says how many OpenBLAS takes.
    """

    name = "numpy"
    module = "numpy"
    install = "pip install numpy"
    adds_products = True
    winograd = True
    cache_bytes = 4 << 20  # near the fastest size of parts in both CNNs of the speed suite on 2 cores
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def map(
        self,
        function: Callable[[Any, Any], Any],
        parts: Sequence[Any],
        common: Any = None,
        prepare: Callable[[Any], Any] = lambda common: common,
    ) -> Iterator[Any]:
        if len(parts) < 2:
            yield from super().map(function, parts, common)
            return
        # A copy for each part, so that np.errstate and the like hold in the threads too.
        contexts = [contextvars.copy_context() for _ in parts]
        with _one_at_a_time, _blas().limit(limits=1, user_api="blas"):
            prepared = prepare(common)  # here: a second thread of BLAS would keep a core busy long after it
            runs = [
                functools.partial(context.run, function, part, prepared)
                for context, part in zip(contexts, parts, strict=True)
            ]
            yield from _threads().map(operator.call, runs)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        _keep_freed_memory()

        def alone(state: Any, batch: Any) -> Any:
            with _one_at_a_time:
                return step(state, batch)

        return alone


# The number of BLAS's threads is the process's, and may decide in which order a product is added up: what a
# model gives must not depend on a model in another thread, for which `map` is changing that number.
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
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NumPy.workers)
