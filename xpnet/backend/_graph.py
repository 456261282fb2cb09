"""Training steps as CUDA graphs: capture the kernels of a step once, then launch them all with one call.

A graph reads and writes the memory addresses that it was captured with. So the state lives in buffers, which
each replay updates in place. The index and the learning rate of a batch are copied into buffers before each
replay. The graph reads the data set where it is. `Recorder` is a library's way to capture and launch graphs.
"""

import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from xpnet import tree
from xpnet.backend.backends import one_line, row
from xpnet.tree import Array, Tree

CAPTURING = threading.RLock()  # held by the one thread of the process that warms up or captures


class Graph(Protocol):
    """The kernels that a function launches, and the memory that they use."""

    def warm_up(self, function: Callable[[], Any]) -> Any:
        """Run the function without capture, on the graph's stream and in its memory; return its result."""

    def capture(self, function: Callable[[], None]) -> None:
        """Capture the kernels that the function launches, without running them."""

    def launch(self) -> None:
        """Replay the captured kernels on the current stream."""


class Recorder(Protocol):
    """The functions of a library that capture needs. Copies run on the device; nothing waits for them."""

    def new_graph(self) -> Graph:
        """An empty graph with its own memory."""

    def copy(self, x: Array) -> Array:
        """A copy of x outside the memory of any graph."""

    def write(self, buffer: Array, x: Array) -> None:
        """Copy the values of x into the buffer."""


class Captured(NamedTuple):
    """A graph, the buffers for a batch, and weak references to the data set, which the graph reads."""

    graph: Graph
    row: list[Array | None]
    constants: list[Any]

    def reads(self, constants: tuple[Array, ...]) -> bool:
        """Whether the graph reads these arrays."""
        arrays = tree.leaves(constants)
        return all(mine() is array for mine, array in zip(self.constants, arrays, strict=True))

    def is_stale(self) -> bool:
        """Whether one of the arrays that it reads no longer exists."""
        return any(mine() is None for mine in self.constants)


class CapturedLoop:
    """The result of `Backend.compile_loop`, with steps as replays of a CUDA graph.

    Each data set and each batch size has its own graph. The first step of each runs without capture: it warms
    up libraries and memory, and raises ordinary errors. If the capture that follows fails, a RuntimeWarning
    says so, and all steps run kernel by kernel.

    Arguments:
        step: the pure `(state, (*constants, *row)) -> (state, metrics)`. It must not wait for the device.
        recorder: the library's recorder.
    """

    def __init__(self, step: Callable[..., Any], recorder: Recorder) -> None:
        self.step = step
        self.recorder = recorder
        self.state: Tree = None
        self.captured: dict[Any, Captured] = {}
        self.can_capture = True

    def __call__(
        self, state: Tree, constants: tuple[Array, ...], rows: tuple[Array | None, ...], start: int, stop: int
    ) -> Tree:
        if start < stop and self.can_capture and self._find(state, constants, rows) is None:
            state = self._warm_up_and_capture(state, constants, rows, start)
            start += 1
        captured = self._find(state, constants, rows)
        if captured is None:
            for i in range(start, stop):
                state, _ = self.step(state, (*constants, *row(rows, i)))
            return state
        self._load(state)
        for i in range(start, stop):
            for buffer, array in zip(captured.row, row(rows, i), strict=True):
                if buffer is not None and array is not None:
                    self.recorder.write(buffer, array)
            captured.graph.launch()
        return self.state

    def _find(
        self, state: Tree, constants: tuple[Array, ...], rows: tuple[Array | None, ...]
    ) -> Captured | None:
        """The graph for a step on this state, data set and batch size; None if there is none."""
        captured = self.captured.get(_key(state, constants, rows))
        return captured if captured is not None and captured.reads(constants) else None

    def _warm_up_and_capture(
        self, state: Tree, constants: tuple[Array, ...], rows: tuple[Array | None, ...], i: int
    ) -> Tree:
        """Do one step as it is and capture it for those to come."""
        try:
            graph = self.recorder.new_graph()
        except Exception as error:
            self._give_up(error)
            return self.step(state, (*constants, *row(rows, i)))[0]
        self._load(graph.warm_up(lambda: self.step(state, (*constants, *row(rows, i)))[0]))
        buffers = [None if array is None else self.recorder.copy(array) for array in row(rows, i)]
        try:
            graph.capture(lambda: self._step_in_place((*constants, *buffers)))
        except Exception as error:
            self._give_up(error)
            return self.state
        alive = {key: other for key, other in self.captured.items() if not other.is_stale()}
        captured = Captured(graph, buffers, [weakref.ref(array) for array in tree.leaves(constants)])
        self.captured = {**alive, _key(state, constants, rows): captured}
        return self.state

    def _give_up(self, error: Exception) -> None:
        self.can_capture = False
        warnings.warn(
            f"expected to capture training steps as a CUDA graph, got an error ({one_line(error)}); "
            "they run kernel by kernel, which is slower",
            RuntimeWarning,
            stacklevel=4,
        )

    def _step_in_place(self, batch: tuple[Any, ...]) -> None:
        """Run the step on the buffers, and write the new state into them."""
        new_state, _ = self.step(self.state, batch)
        self._write(new_state)

    def _load(self, state: Tree) -> None:
        """Copy the state into the buffers."""
        if state is self.state:
            return
        if self.state is None or _shapes(state) != _shapes(self.state):
            self.captured = {}
            self.state = tree.map(lambda x: None if x is None else self.recorder.copy(x), state)
            return
        self._write(state)

    def _write(self, state: Tree) -> None:
        """Write a state into the buffers. Its arrays may themselves be buffers, also of other leaves."""
        buffers, arrays = tree.leaves(self.state), tree.leaves(state)
        buffer_ids = {id(buffer) for buffer in buffers}
        # A buffer that belongs to another leaf must be read before it is overwritten.
        sources = [
            self.recorder.copy(array) if array is not buffer and id(array) in buffer_ids else array
            for buffer, array in zip(buffers, arrays, strict=True)
        ]
        for buffer, array in zip(buffers, sources, strict=True):
            if array is not buffer:
                self.recorder.write(buffer, array)


def _key(state: Tree, constants: tuple[Array, ...], rows: tuple[Array | None, ...]) -> Any:
    """The key under which steps share a graph. Python may reuse an id: check `Captured.reads` too."""
    row_shapes = [None if array is None else (tuple(array.shape[1:]), str(array.dtype)) for array in rows]
    return (*map(id, tree.leaves(constants)), *row_shapes, *_shapes(state))


def _shapes(state: Tree) -> list[Any]:
    return [
        (name, None if array is None else (tuple(array.shape), str(array.dtype)))
        for name, array in tree.items(state)
    ]
