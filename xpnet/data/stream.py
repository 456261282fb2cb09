"""Examples on the host, in memory, a file or a store, that go to the device in chunks."""

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xpnet import tree
from xpnet.backend import LazyArray
from xpnet.tree import Array

HostArray = np.ndarray | LazyArray
Item = TypeVar("Item")
Made = TypeVar("Made")

CHUNK_BYTES = 64 << 20  # two chunks are in memory at a time: the one in use and the next one
CHECKED_AT_ONCE = 1 << 14  # examples


class Chunk(NamedTuple):
    """The examples of some batches: each row of `indices` holds the positions of one batch in x and y."""

    x: np.ndarray
    y: Any
    indices: np.ndarray


def chunks(
    x: HostArray,
    y: Any,
    indices: np.ndarray,
    dtype: Any,
    chunk_bytes: int | None = None,
    own: slice | None = None,
) -> Generator[Chunk, None, None]:
    """The batches in the order of `indices`. A thread reads the next chunk while the caller uses this one.

    Arguments:
        x, y: inputs and targets of all examples; may be memory-mapped, or `LazyArray`s; y may be a tree of
            them.
        indices: positions of examples, a row for each batch; or for each network a row for each batch.
        dtype: dtype of the returned inputs.
        chunk_bytes: the largest size of a chunk's inputs, but at least one batch; None: `CHUNK_BYTES`.
        own: the examples of each batch to read; None: all.

    Close the iterator if you do not exhaust it: this ends the reading thread.
    """
    batch_bytes = math.prod(indices.shape[1:]) * math.prod(x.shape[1:]) * np.dtype(dtype).itemsize
    rows = max(1, (CHUNK_BYTES if chunk_bytes is None else chunk_bytes) // max(batch_bytes, 1))

    def read(rows: np.ndarray) -> Chunk:
        # Read in the order of the file; `indices` then points into the chunk.
        positions, in_chunk = np.unique(rows, return_inverse=True)
        targets = tree.map(lambda array: array[positions], y)
        return Chunk(x[positions].astype(dtype, copy=False), targets, in_chunk.reshape(rows.shape))

    columns = slice(None) if own is None else own
    return prefetched(
        read, [indices[first : first + rows, columns] for first in range(0, len(indices), rows)]
    )


def pieces(target: Array, shape: tuple[int, ...]) -> Iterator[tuple[Array, tuple[int, ...]]]:
    """Targets to be checked, each with the shape of its predictions: all of them in one piece, if in memory.

    What is in a store is read in pieces. Before these comes its first example, repeated up to the shape of
    all: so a wrong shape or dtype is found first.
    """
    if not isinstance(target, LazyArray):
        yield target, shape
        return
    yield np.broadcast_to(target[:1], target.shape), shape
    for start in range(0, len(target), CHECKED_AT_ONCE):
        piece = target[start : start + CHECKED_AT_ONCE]
        yield piece, (len(piece), *shape[1:])


def prefetched(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made, None, None]:
    """make(item) for each item. A thread makes the next one while the caller uses this one.

    A process that was forked meanwhile has no such thread, and makes the rest itself.
    """
    process = os.getpid()

    def made(item: Item, future: Future[Made]) -> Made:
        return future.result() if os.getpid() == process else make(item)

    with ThreadPoolExecutor(1, thread_name_prefix="xpnet-data") as thread:
        waiting: tuple[Item, Future[Made]] | None = None
        for item in items:
            coming = item, thread.submit(make, item)
            if waiting is not None:
                yield made(*waiting)
            waiting = coming
        if waiting is not None:
            yield made(*waiting)
