"""Calls in several processes at the same time, each on one core or on its share of the cores."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

import threadpoolctl

from xpnet.backend import BACKENDS
from xpnet.errors import Error

T = TypeVar("T")
CAN_FORK = sys.platform == "linux"  # elsewhere a fork is missing, or the system's libraries do not survive it


PATIENCE = 10  # seconds for a process to end after SIGTERM


def can_fork(backend: str) -> bool:
    """Whether processes that use this backend can be forks."""
    return CAN_FORK and backend in BACKENDS and BACKENDS[backend].survives_fork


def cores() -> int:
    """The number of cores that this process may use, or 1 where it cannot be forked."""
    return _cores() if CAN_FORK else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results(call: Callable[[int], T], count: int, processes: int) -> Iterator[tuple[int, T]]:
    """`call(0)` to `call(count - 1)`: the position and the result of each, as soon as it is there.

    BLAS has one thread in each call, so the results do not depend on the number of processes. The processes
    are forks: `call` may use all data of this one; its results are pickled. An exception of a call is raised
    here, and ends the other processes.
    """
    if min(processes, count) == 1:
        with one_thread():
            for i in range(count):
                yield i, call(i)
        return
    context = multiprocessing.get_context("fork")
    following = context.Value("i", 0)
    workers = {}
    try:
        for _ in range(min(processes, count)):
            reader, writer = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(call, count, following, writer), daemon=True)
            with warnings.catch_warnings():  # of a fork beside threads: the calls use none of their locks
                warnings.simplefilter("ignore")
                worker.start()
            writer.close()  # so that the end of the process ends the pipe
            workers[reader] = worker
        while workers:
            for ready in wait(list(workers)):
                assert isinstance(ready, Connection)
                try:
                    i, result, error = ready.recv()
                except EOFError:
                    worker = workers.pop(ready)
                    worker.join()
                    if worker.exitcode:
                        raise Error(
                            f"a process that trains ended with exit code {worker.exitcode}; fewer "
                            "--processes need less memory"
                        ) from None
                    continue
                if error is not None:
                    raise error
                yield i, result
    finally:
        for worker in workers.values():
            worker.terminate()
            worker.join()


def in_order(call: Callable[[int], T], count: int, processes: int) -> list[T]:
    """`results` as a list: `call(0)` to `call(count - 1)`."""
    found = dict(results(call, count, processes))
    return [found[i] for i in range(count)]


def together(
    call: Callable[[], None],
    count: int,
    fork: bool,
    watch: Callable[[int], None],
    pause: float = 0.5,
) -> list[int]:
    """Make a call in each of `count` processes; return the exit codes of those that did not come to its end.

    An exception of a call, and one here, such as Ctrl-C, is raised here and ends all: a process gets SIGTERM,
    which is a KeyboardInterrupt in its call. A process that is killed does not end the others. Each has its
    share of the cores for BLAS.

    Arguments:
        fork: whether the processes are forks, which may use all data of this one. Else `call` is pickled.
        watch: called with the number of processes left, every `pause` seconds and when one has ended.
    """
    context: Any = multiprocessing.get_context("fork" if fork else "spawn")
    threads = share_of_threads(count)
    workers = {}
    codes = []
    try:
        with _ctrl_c_later(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fork beside threads: the calls use none of their locks
            for _ in range(count):
                reader, writer = context.Pipe(duplex=False)
                worker = context.Process(target=_call, args=(call, threads, writer), daemon=True)
                worker.start()
                writer.close()  # so that the end of the process ends the pipe
                workers[reader] = worker
        while workers:
            for ready in wait(list(workers), timeout=pause):
                assert isinstance(ready, Connection)
                worker = workers[ready]
                try:
                    error = ready.recv()
                except EOFError:
                    error = None
                worker.join()
                del workers[ready]
                if error is not None:
                    raise error
                if worker.exitcode:
                    codes.append(worker.exitcode)
            watch(len(workers))
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join(PATIENCE)
            if worker.is_alive():
                worker.kill()
                worker.join()
    return codes


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Keep Ctrl-C until the block ends, and in a process that begins in it, until `_call` lets it go."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def share_of_threads(count: int) -> int:
    """The threads of BLAS for each of `count` processes: its share of the cores, at most those it has now."""
    present = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min(_cores() // count, *present))


def _call(call: Callable[[], None], threads: int, pipe: Connection) -> None:
    """Make the call in a process of its own, and send its exception."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # for array libraries that are imported later
        os.environ.setdefault(name, str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        with threadpoolctl.threadpool_limits(limits=threads, user_api="blas"):
            call()
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)
    except Exception as error:
        pipe.send(error)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def one_thread() -> Any:
    """Within the block, BLAS and the steps of NumPy's backend use one thread."""
    return threadpoolctl.threadpool_limits(limits=1, user_api="blas")


def _work(call: Callable[[int], Any], count: int, following: "Synchronized[int]", pipe: Connection) -> None:
    """Make the calls that no other process has begun, and send their results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with one_thread():
        while True:
            with following.get_lock():
                i = following.value
                following.value += 1
            if i >= count:
                return
            try:
                pipe.send((i, call(i), None))
            except Exception as error:
                pipe.send((i, None, error))
                return
