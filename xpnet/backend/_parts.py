"""Sums over the parts of a batch, which run in parallel."""

import contextvars
import functools
import operator
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from xpnet import tree
from xpnet.tree import Tree


class PairwiseSum:
    """The sum ((t₀ + t₁) + (t₂ + t₃)) + …, in this order for any order in which threads put the terms.

    So the bits of the sum do not depend on timing. Two neighbours are added by the thread that puts the later
    one, since its core has that term in its cache. Few terms are kept at a time: each may be as large as the
    network.
    """

    def __init__(self, add: Callable[[Any, Any], Any], count: int) -> None:
        self.result: Any = None
        self._add, self._count = add, count
        self._waiting: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def put(self, i: int, term: Any) -> None:
        """Add the i-th term."""
        count = self._count
        while count > 1:
            neighbour = i ^ 1
            if neighbour < count:  # otherwise the term has no neighbour
                with self._lock:
                    if (count, neighbour) not in self._waiting:
                        self._waiting[count, i] = term
                        return
                    other = self._waiting.pop((count, neighbour))
                term = self._add(other, term) if neighbour < i else self._add(term, other)
            i, count = i // 2, (count + 1) // 2
        self.result = term


class PartsBarrier:
    """A barrier at which the parts of a batch exchange sums.

    Arguments:
        parts: the number of parts; each runs in its own thread.
        at_once: the number of parts that compute at the same time; the others wait.
    """

    def __init__(self, parts: int, at_once: int) -> None:
        self._terms: list[Tree] = [None] * parts
        self._barrier = threading.Barrier(parts)
        self._turns = threading.Semaphore(at_once) if at_once < parts else None

    def run(self, i: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function as part i, so that it may call `sum_over_parts`. If it raises, abort."""
        part = _current_part.set((self, i))
        try:
            with self._turns or nullcontext():
                return function(*arguments)
        except BaseException:
            self.abort()
            raise
        finally:
            _current_part.reset(part)

    def abort(self) -> None:
        """Abort: every current and later wait raises BrokenBarrierError."""
        self._barrier.abort()

    def sum(self, i: int, term: Tree) -> Tree:
        """The sum of the terms of all parts, in the order of the parts. Waits for all of them."""
        self._terms[i] = term
        self._wait()
        total = functools.reduce(functools.partial(tree.map, operator.add), self._terms)
        self._wait()  # until all parts have read these terms
        return total

    def _wait(self) -> None:
        """Wait for all parts, and let another part compute meanwhile."""
        if self._turns is None:
            self._barrier.wait()
            return
        self._turns.release()
        try:
            self._barrier.wait()
        finally:
            self._turns.acquire()


_current_part: contextvars.ContextVar[tuple[PartsBarrier, int] | None] = contextvars.ContextVar(
    "current_part", default=None
)


def sum_over_parts(term: Tree) -> Tree:
    """The sum of a term over all parts of the batch; the term itself if the batch is not split.

    All parts must call it equally often, in the same order.
    """
    part = _current_part.get()
    if part is None:
        return term
    barrier, i = part
    return barrier.sum(i, term)
