"""What parts of a batch that are at work side by side have to tell each other."""

import contextvars
import functools
import operator
import threading
from collections.abc import Callable
from typing import Any

from xpnet import tree
from xpnet.tree import Tree


class PairwiseSum:
    """A sum whose terms may come in any order, from any thread: ((t₀ + t₁) + (t₂ + t₃)) + …, always.

    So its bits do not depend on who is done when. A term is added to its neighbour by who puts the later of
    the two, in whose core's cache it is; few are kept at a time, as they may be as large as a network.
    """

    def __init__(self, add: Callable[[Any, Any], Any], count: int) -> None:
        self.result: Any = None
        self._add, self._count = add, count
        self._waiting: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def put(self, i: int, term: Any) -> None:
        """The i-th term."""
        count = self._count
        while count > 1:
            neighbour = i ^ 1
            if neighbour < count:  # or else it has none, and is its own sum
                with self._lock:
                    if (count, neighbour) not in self._waiting:
                        self._waiting[count, i] = term
                        return
                    other = self._waiting.pop((count, neighbour))
                term = self._add(other, term) if neighbour < i else self._add(term, other)
            i, count = i // 2, (count + 1) // 2
        self.result = term


class Meeting:
    """Of parts of a batch, each at work in a thread of its own."""

    def __init__(self, parts: int) -> None:
        self._terms: list[Tree] = [None] * parts
        self._barrier = threading.Barrier(parts)

    def attend(self, i: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function for part i. If it fails, the others, which may wait for it, fail too."""
        place = _place.set((self, i))
        try:
            return function(*arguments)
        except BaseException:
            self.abort()
            raise
        finally:
            _place.reset(place)

    def abort(self) -> None:
        """Have all fail who wait for others, now or later."""
        self._barrier.abort()

    def sum(self, i: int, term: Tree) -> Tree:
        """The sum of the terms of all parts, in their order; this waits for them."""
        self._terms[i] = term
        self._barrier.wait()
        total = functools.reduce(functools.partial(tree.map, operator.add), self._terms)
        self._barrier.wait()  # until all have read these terms
        return total


_place: contextvars.ContextVar[tuple[Meeting, int] | None] = contextvars.ContextVar("place", default=None)


def sum_over_parts(term: Tree) -> Tree:
    """The sum of what all parts of the batch give: the term itself, where this part is the whole batch.

    All parts must ask for the same sums in the same order. A layer to which the other examples of a batch
    matter through such sums alone says `sums_over_parts`.
    """
    place = _place.get()
    if place is None:
        return term
    meeting, i = place
    return meeting.sum(i, term)
