"""A lock for processes that fork."""

import os
import threading
import time
from contextlib import AbstractContextManager

_in_pool = threading.local()
PAUSE = 0.001  # seconds: Python's locks are not fair, so that a thread in a loop would take a free one again


def enter_pool() -> None:
    """Mark this thread as one that works for the holder of a lock."""
    _in_pool.here = True


class ForkLock:
    """A re-entrant lock. A fork waits until no other thread holds it.

    So the child never inherits a lock that nobody can release, nor work that was half done under it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forks: set[int] = set()  # the threads that wait to fork
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before,
                after_in_parent=self._after_in_parent,
                after_in_child=self._after_in_child,
            )

    def turn(self) -> AbstractContextManager[object]:
        """Wait for forks that wait; `with` then acquires and releases the lock."""
        if self._forks:
            time.sleep(PAUSE)
        return self._lock

    def _before(self) -> None:
        if hasattr(_in_pool, "here"):
            return  # the holder waits for this thread
        self._forks.add(threading.get_ident())
        self._lock.acquire()

    def _after_in_parent(self) -> None:
        if not hasattr(_in_pool, "here"):
            self._forks.discard(threading.get_ident())
            self._lock.release()

    def _after_in_child(self) -> None:
        self._forks.clear()
        if hasattr(_in_pool, "here"):
            self._lock = threading.RLock()
        else:
            self._lock.release()
