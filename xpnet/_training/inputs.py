"""Inputs and targets are checked here and placed on the device, so that the layers need not."""

import numpy as np

from xpnet.backend import Backend
from xpnet.data.stream import pieces
from xpnet.errors import ShapeError
from xpnet.losses import Loss
from xpnet.nn import Layer
from xpnet.nn._layer import Shape, show_shape
from xpnet.tree import Array


class Inputs:
    """Checks inputs and targets against a network and its loss, and places them.

    Arguments:
        net: the network.
        loss: the loss.
        backend: where they are placed.

    Attributes:
        input_shape: that of the last inputs, ("n", ...); None before the first.

    All methods raise ShapeError where the shape or the dtype does not fit.
    """

    def __init__(self, net: Layer, loss: Loss, backend: Backend) -> None:
        self.net = net
        self.loss = loss
        self.backend = backend
        self.input_shape: Shape | None = None

    def place_x(self, x: Array) -> Array:
        """x on the device, in the dtype of training."""
        x = self.backend.asarray(x, real=True)
        self._check_shape(x)
        return x

    def _check_shape(self, x: Array) -> None:
        shape = ("n", *x.shape[1:])
        if shape != self.input_shape:
            self.net.output_shape(tuple(x.shape))
            self.input_shape = shape
        if 0 in x.shape:
            raise ShapeError("expected at least one example, got x of shape " + show_shape(tuple(x.shape)))

    def place_target(self, prediction_shape: Shape, target: Array, on_device: bool = True) -> Array:
        """The target for predictions of that shape, on the device or on the host."""
        real = len(np.shape(target)) == len(prediction_shape)
        target = self.backend.asarray(target, real) if on_device else self.backend.on_host(target, real)
        for piece, shape in pieces(target, tuple(prediction_shape)):
            self.loss.check(shape, piece)
        return target

    def place(self, x: Array, y: Array, on_device: bool = True) -> tuple[Array, Array]:
        """Inputs and their targets, at least one of each.

        If not on the device, x stays on the host as it is, in a memory-mapped file too.
        """
        if on_device:
            x = self.place_x(x)
        else:
            x = self.backend.numbers(x)
            self._check_shape(x)
        return x, self.place_target(self.net.output_shape(tuple(x.shape)), y, on_device)
