"""Convolution and max-pooling by the array library's own functions."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import ops
from xpnet.nn._layer import Layer
from xpnet.nn.conv import Conv1d, Conv2d, ConvResiduals, _Conv
from xpnet.nn.pool import MaxPool2d
from xpnet.tree import Array, Tree


@dataclass(frozen=True, repr=False)
class _LibraryConv(_Conv):
    """A convolution by the library's own function, which needs no array of windows."""

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, ConvResiduals]:
        _, stride, padding = self._geometry(x.shape)
        y = ops(x).convolve(x, params["weight"], params.get("bias"), stride, padding)
        return y, ConvResiduals(x, None)

    def backward(self, params: Tree, residuals: ConvResiduals, dy: Array) -> tuple[Array, Tree]:
        return self._library_gradients(params, residuals, dy, of_input=True)

    def parameter_gradients(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Tree:
        return self._library_gradients(params, residuals, dy, of_input=False)[1]

    def _library_gradients(
        self, params: Tree, residuals: ConvResiduals, dy: Array, of_input: bool
    ) -> tuple[Array, Tree]:
        x = residuals.x
        _, stride, padding = self._geometry(x.shape)
        dx, weight, bias = ops(dy).convolve_gradients(x, params["weight"], dy, stride, padding, of_input)
        return dx, {"weight": weight, "bias": bias} if self.bias else {"weight": weight}


@dataclass(frozen=True, repr=False)
class LibraryConv2d(_LibraryConv, Conv2d):
    """`Conv2d` by the library's own function."""


@dataclass(frozen=True, repr=False)
class LibraryConv1d(_LibraryConv, Conv1d):
    """`Conv1d` by the library's own function."""


class LibraryMaxPoolResiduals(NamedTuple):
    x: Array
    positions: Array


@dataclass(frozen=True, repr=False)
class LibraryMaxPool2d(MaxPool2d):
    """`MaxPool2d` by the library's own function, which also returns the positions of the maxima."""

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        y, positions = ops(x).max_pool(x, *self._geometry())
        return y, LibraryMaxPoolResiduals(x, positions)

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        x, positions = residuals
        return ops(dy).max_pool_gradient(dy, x, positions, *self._geometry()), {}


FORMS: dict[type[Layer], type[Layer]] = {
    Conv2d: LibraryConv2d,
    Conv1d: LibraryConv1d,
    MaxPool2d: LibraryMaxPool2d,
}


def library_form(layer: Layer) -> Layer:
    """The library's form of the layer, if there is one; derived classes stay as they are."""
    form = FORMS.get(type(layer))
    return layer if form is None else form(**vars(layer))
