"""Check inputs and targets and place them on the device, so that layers need no checks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpnet.backend import Backend, LazyArray, device, namespace
from xpnet.backend._reading import entry
from xpnet.data.stream import pieces
from xpnet.errors import ShapeError
from xpnet.losses import Loss
from xpnet.nn import Layer
from xpnet.nn._layer import Shape, show_shape
from xpnet.tree import Array, ArrayLike


class Inputs:
    """Checks inputs and targets against a network and its loss, and places them.

    Arguments:
        net: the network.
        loss: the loss.
        backend: the backend on which to place them.

    Attributes:
        input_shape: the shape of the last inputs, ("n", ...); None before the first.

    All methods raise ShapeError if the shape, the dtype or the values do not fit.
    """

    def __init__(self, net: Layer, loss: Loss, backend: Backend) -> None:
        self.net = net
        self.loss = loss
        self.backend = backend
        self.input_shape: Shape | None = None

    def read(self, x: Any, name: str = "x") -> Any:
        """x if it is an array of the backend's library, else an array of numbers on the host."""
        if self.backend.owns(x):
            return x
        adopted = self.backend.adopted(x)
        return adopted if adopted is not x else self.backend.numbers(x, name)

    def place_x(self, x: ArrayLike) -> Array:
        """x on the device: in the training dtype, or as integers if the network takes integers."""
        read = self.read(x)
        if self.net.integers is None:
            placed = self.backend.asarray(read, real=True)
            self._check_shape(placed.shape)
            return placed
        whole: Any = read[...] if isinstance(read, LazyArray) else read
        self._check_shape(whole.shape)
        self._require_integers(whole)
        dtype = self.backend.index_dtype if self.backend.owns(whole) else np.int64
        return self.backend.asarray(namespace(whole).astype(whole, dtype))

    def _check_shape(self, x_shape: Shape) -> None:
        shape = ("n", *x_shape[1:])
        if shape != self.input_shape:
            self._require_fit(tuple(x_shape))
            self.input_shape = shape
        if 0 in x_shape:
            raise ShapeError("expected at least one example, got x of shape " + show_shape(tuple(x_shape)))

    def _require_fit(self, x_shape: Shape) -> None:
        """ShapeError unless the network takes x of this shape; with the way out for one example alone."""
        try:
            self.net.output_shape(x_shape)
        except ShapeError as error:
            one = len(x_shape) == 1 or (self.input_shape is not None and x_shape == self.input_shape[1:])
            try:
                self.net.output_shape((1, *x_shape))
            except Exception:
                one = False
            if not one:
                raise
            raise ShapeError(f"{error}; for one example, pass x[None]") from error

    def _require_integers(self, x: Any, rows: Any = None) -> None:
        """ShapeError unless x holds integers that the network takes. Waits for the device.

        `rows` holds the positions in the data set of the rows of x; None: x is the data set.
        """
        wanted, xp = self.net.integers, namespace(x)
        assert wanted is not None
        last = min(wanted.stop - 1, int(self.backend.xp.iinfo(self.backend.index_dtype).max))
        if xp.isdtype(x.dtype, "bool"):
            x = xp.astype(x, xp.int32)
        real = xp.isdtype(x.dtype, "real floating")
        low, high = xp.min(x), xp.max(x)  # NaN if there is one
        if low >= wanted.start and high <= last and not (real and bool(xp.any(xp.floor(x) != x))):
            return
        host = self.backend.to_numpy(x) if self.backend.owns(x) else np.asarray(x)
        fits = (host >= wanted.start) & (host <= last) & (np.floor(host) == host)
        position = np.argwhere(~fits)[0].tolist()
        value = host[tuple(position)]
        position[0] = position[0] if rows is None else int(rows[position[0]])
        raise ShapeError(
            f"{_name_of(self.net)}: expected x to hold integers from {wanted.start} to {last}, "
            f"got {value} at {entry('x', tuple(position))}"
        )

    def place_target(self, prediction_shape: Shape, target: ArrayLike, on_device: bool = True) -> Any:
        """The target for predictions of shape `prediction_shape`, on the device or on the host."""
        self.require_rows(prediction_shape)
        read = self.read(target, "y")
        real = len(read.shape) == len(prediction_shape)
        place = self.backend.asarray if on_device else self.backend.on_host
        placed: Any = place(read, real)
        seen, of_store = 0, isinstance(placed, LazyArray)
        for number, (piece, shape) in enumerate(pieces(placed, tuple(prediction_shape))):
            try:
                self.loss.check(shape, piece)
            except ShapeError as error:
                if (first := error.first) is None:
                    raise
                raise ShapeError(f"{error}; y[{seen + first}] is {int(piece[first])}") from None
            seen += 0 if of_store and number == 0 else shape[0]  # its first piece repeats its first example
        return placed

    def require_rows(self, prediction_shape: Shape) -> None:
        """ShapeError unless the predictions are rows (n, d), for a loss of xpnet."""
        if len(prediction_shape) != 2 and type(self.loss).__module__.startswith("xpnet."):
            raise ShapeError(
                f"{self.loss}: expected a network with outputs of shape (n, d), got "
                f"{show_shape(prediction_shape)}; nn.Flatten() or nn.GlobalAvgPool() makes a row of each "
                "example"
            )

    def place(self, x: ArrayLike, y: ArrayLike, on_device: bool = True) -> tuple[Any, Any]:
        """Inputs and their targets, at least one of each.

        With `on_device=False` x stays on the host as `HostInputs`, also in a memory-mapped file.
        """
        placed: Any = self.place_x(x) if on_device else self._on_host(x)
        return placed, self.place_target(self.net.output_shape(tuple(placed.shape)), y, on_device)

    def place_batch(self, x: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
        """A batch in the right dtypes: its arrays on the device stay there, the others on the host."""
        read = self.read(x)
        placed = self.place_x(read) if self._is_placed(read) else self._on_host(read)[...]
        read_y = self.read(y, "y")
        shape = self.net.output_shape(tuple(placed.shape))
        return placed, self.place_target(shape, read_y, self._is_placed(read_y))

    def _is_placed(self, x: Any) -> bool:
        """Whether x is on the device."""
        return self.backend.owns(x) and device(x) == self.backend.device

    def _on_host(self, x: ArrayLike) -> "HostInputs":
        host = self.backend.numbers(x)
        self._check_shape(host.shape)
        if self.net.integers is None:
            return HostInputs(host, self.backend.dtype_name)
        return HostInputs(host, np.int64, self._require_integers)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Within the block, the message of a ShapeError starts with the name of the data."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"{what}: {error}") from error.__cause__


class HostInputs(LazyArray):
    """Inputs that stay on the host. Each part is checked and converted when it is read.

    Arguments:
        store: an array on the host, in memory, in a file or in a store.
        dtype: the dtype of the parts.
        check: called with each part and the positions of its rows; raises ShapeError for wrong values.
    """

    def __init__(self, store: Any, dtype: Any, check: Callable[[Any, Any], None] | None = None) -> None:
        super().__init__(store, dtype)
        self.check = check

    def __getitem__(self, index: Any) -> np.ndarray:
        part = np.asarray(self.store[index])
        if self.check is not None:
            rows = index[0] if isinstance(index, tuple) else index
            self.check(part, range(len(self))[rows] if isinstance(rows, slice) else rows)
        with np.errstate(all="ignore"):  # a number may be too large or too small for the training dtype
            return part.astype(self.dtype, copy=False)


def _name_of(layer: Layer, name: str = "") -> str:
    """The layer that sees x first, with its place in the network."""
    for key, child in layer.children().items():
        if child.integers == layer.integers:
            return _name_of(child, f"{name}{f'layer {key}' if isinstance(key, int) else key}, ")
    return f"{name}{layer}"
