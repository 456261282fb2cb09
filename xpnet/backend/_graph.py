"""Training steps as CUDA graphs: all kernels of a step recorded once, and then launched with one call.

A graph reads and writes the memory that it was captured with. So the state lives in buffers that each replay
updates in place, and a batch's positions and learning rate are copied into buffers before it; the data set is
read where it is. What makes and launches a graph is a library's own: `Recorder`.
"""

import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from xpnet import tree
from xpnet.backend.backends import one_line
from xpnet.tree import Array, Tree


class Graph(Protocol):
    """The kernels that a function launches, and the memory that they use."""

    def warm_up(self, function: Callable[[], Any]) -> Any:
        """The function's value. It runs as it is, on the stream and in the memory of the capture."""

    def capture(self, function: Callable[[], None]) -> None:
        """Record the kernels that the function launches, without running them."""

    def launch(self) -> None:
        """Run the recorded kernels after all that was asked of the current stream."""


class Recorder(Protocol):
    """What a library brings to capture a step. Copies are made on the device and not waited for."""

    def new_graph(self) -> Graph:
        """An empty graph with memory of its own."""

    def copy(self, x: Array) -> Array:
        """A fresh array with the same values, outside of any graph's memory."""

    def write(self, buffer: Array, x: Array) -> None:
        """Overwrite the buffer with the values of x."""


class Captured(NamedTuple):
    """A graph, the buffers for a batch, and weak references to the data set, which the graph reads."""

    graph: Graph
    row: list[Array | None]
    constants: list[Any]

    def reads(self, constants: tuple[Array, ...]) -> bool:
        """Whether these are the arrays that the graph reads."""
        return all(mine() is array for mine, array in zip(self.constants, constants, strict=True))

    def is_useless(self) -> bool:
        """Whether one of these arrays is gone."""
        return any(mine() is None for mine in self.constants)


class CapturedLoop:
    """What `Backend.compile_loop` returns, with the steps as replays of a graph.

    There is a graph for each data set and each size of a batch. The first step of these runs as it is: it
    warms up libraries and memory, and finds mistakes, with the errors of any other call. Where the capture
    that follows fails, there is a RuntimeWarning, and all steps run as they are.

    Arguments:
        step: pure, `(state, (*constants, *row)) -> (state, metrics)`. It may not wait for the device.
        recorder: the library's.
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
                state, _ = self.step(state, (*constants, *_row(rows, i)))
            return state
        self._load(state)
        for i in range(start, stop):
            for buffer, array in zip(captured.row, _row(rows, i), strict=True):
                if buffer is not None and array is not None:
                    self.recorder.write(buffer, array)
            captured.graph.launch()
        return self.state

    def _find(
        self, state: Tree, constants: tuple[Array, ...], rows: tuple[Array | None, ...]
    ) -> Captured | None:
        """The graph for a step on these, if there is one."""
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
            return self.step(state, (*constants, *_row(rows, i)))[0]
        self._load(graph.warm_up(lambda: self.step(state, (*constants, *_row(rows, i)))[0]))
        row = [None if array is None else self.recorder.copy(array) for array in _row(rows, i)]
        try:
            graph.capture(lambda: self._step_in_place((*constants, *row)))
        except Exception as error:
            self._give_up(error)
            return self.state
        alive = {key: other for key, other in self.captured.items() if not other.is_useless()}
        captured = Captured(graph, row, [weakref.ref(array) for array in constants])
        self.captured = {**alive, _key(state, constants, rows): captured}
        return self.state

    def _give_up(self, error: Exception) -> None:
        self.can_capture = False
        warnings.warn(
            f"training steps run kernel by kernel, which is slower: no CUDA graph ({one_line(error)})",
            RuntimeWarning,
            stacklevel=4,
        )

    def _step_in_place(self, batch: tuple[Any, ...]) -> None:
        """The step on the buffers, with the new state written to where the old one was."""
        new_state, _ = self.step(self.state, batch)
        self._write(new_state)

    def _load(self, state: Tree) -> None:
        """Make the buffers hold this state."""
        if state is self.state:
            return
        if self.state is None or _shapes(state) != _shapes(self.state):
            self.captured = {}
            self.state = tree.map(lambda x: None if x is None else self.recorder.copy(x), state)
            return
        self._write(state)

    def _write(self, state: Tree) -> None:
        """Overwrite the buffers with a state, of which some arrays may be buffers, maybe of other places."""
        buffers, arrays = tree.leaves(self.state), tree.leaves(state)
        places = {id(buffer) for buffer in buffers}
        # What is in another one's place has to be read before that one is overwritten.
        read = [
            self.recorder.copy(array) if array is not buffer and id(array) in places else array
            for buffer, array in zip(buffers, arrays, strict=True)
        ]
        for buffer, array in zip(buffers, read, strict=True):
            if array is not buffer:
                self.recorder.write(buffer, array)


def _row(rows: tuple[Array | None, ...], i: int) -> list[Array | None]:
    return [None if array is None else array[i, ...] for array in rows]


def _key(state: Tree, constants: tuple[Array, ...], rows: tuple[Array | None, ...]) -> Any:
    """What steps must have in common to be replays of one graph; but an id may be a later array's."""
    row_shapes = [None if array is None else (tuple(array.shape[1:]), str(array.dtype)) for array in rows]
    return (*map(id, constants), *row_shapes, *_shapes(state))


def _shapes(state: Tree) -> list[Any]:
    return [
        (name, None if array is None else (tuple(array.shape), str(array.dtype)))
        for name, array in tree.items(state)
    ]
