"""Calls in several processes at the same time, each on one core."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

import threadpoolctl

from xpnet.errors import Error

T = TypeVar("T")
CAN_FORK = sys.platform == "linux"  # elsewhere a fork is missing, or the system's libraries do not survive it


def cores() -> int:
    """The number of cores that this process may use, or 1 where it cannot be forked."""
    return len(os.sched_getaffinity(0)) if CAN_FORK else 1


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
