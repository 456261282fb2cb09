"""Threads for NumPy: how many may run, the pool that they come from, and the lock that a step holds."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import threadpoolctl

from xpnet._util.locks import ForkLock, enter_pool

# The number of BLAS threads belongs to the whole process, and may change the order in which a product is
# added up. One lock keeps `map_reduce` in one thread from changing the results of a model in another thread.
# So the models of a process take turns, and use no more threads together than one of them.
one_at_a_time = ForkLock()


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed() -> int:
    """The number of threads to use: one a core, and no more than BLAS may use.

    The limit of BLAS comes from $OPENBLAS_NUM_THREADS, $OMP_NUM_THREADS or `threadpoolctl.threadpool_limits`.
    joblib sets it in its processes, so that all of them together have a thread for each core.
    """
    blas = _numpys_blas()
    limit: int | None = None if blas is None else blas.num_threads
    return min(cores(), limit or cores())


def single_threaded_blas() -> AbstractContextManager[object]:
    """Within the block, each product of matrices runs in the thread that asks for it."""
    limits: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limits


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


@functools.cache
def _numpys_blas() -> threadpoolctl.LibController | None:
    found = _blas().select(user_api="blas").lib_controllers
    return min(found, key=lambda library: "numpy" not in library.filepath, default=None)


@functools.cache
def pool(workers: int) -> ThreadPoolExecutor:
    """A thread for each worker except the first, which is the calling thread."""
    return ThreadPoolExecutor(workers - 1, initializer=enter_pool)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # the child has none of the pool's threads
