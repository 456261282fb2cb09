"""Check inputs and targets and place them on the device, so that layers need no checks."""

from typing import Any

import numpy as np

from xpnet.backend import Backend
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

    All methods raise ShapeError if the shape or the dtype does not fit.
    """

    def __init__(self, net: Layer, loss: Loss, backend: Backend) -> None:
        self.net = net
        self.loss = loss
        self.backend = backend
        self.input_shape: Shape | None = None

    def place_x(self, x: ArrayLike) -> Array:
        """x on the device, in the training dtype."""
        placed = self.backend.asarray(x, real=True)
        self._check_shape(placed.shape)
        return placed

    def _check_shape(self, x_shape: Shape) -> None:
        shape = ("n", *x_shape[1:])
        if shape != self.input_shape:
            self.net.output_shape(tuple(x_shape))
            self.input_shape = shape
        if 0 in x_shape:
            raise ShapeError("expected at least one example, got x of shape " + show_shape(tuple(x_shape)))

    def place_target(self, prediction_shape: Shape, target: ArrayLike, on_device: bool = True) -> Any:
        """The target for predictions of shape `prediction_shape`, on the device or on the host."""
        real = len(np.shape(target)) == len(prediction_shape)
        place = self.backend.asarray if on_device else self.backend.on_host
        placed: Any = place(target, real)
        for piece, shape in pieces(placed, tuple(prediction_shape)):
            self.loss.check(shape, piece)
        return placed

    def place(self, x: ArrayLike, y: ArrayLike, on_device: bool = True) -> tuple[Any, Any]:
        """Inputs and their targets, at least one of each.

        With `on_device=False` x stays on the host unchanged, also in a memory-mapped file.
        """
        placed: Any = self.place_x(x) if on_device else self.backend.numbers(x)
        self._check_shape(placed.shape)
        return placed, self.place_target(self.net.output_shape(tuple(placed.shape)), y, on_device)
