"""Layers made of layers."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.errors import ConfigError, ShapeError
from xpnet.nn._layer import Layer, Shape
from xpnet.random import Generator
from xpnet.tree import Array, Tree


class SequentialResiduals(NamedTuple):
    layers: tuple[Any, ...]


@dataclass(frozen=True, repr=False, init=False)
class Sequential(Layer):
    """y = fₖ(… f₂(f₁(x))): each layer's output is the next one's input.

    dx = f₁'(f₂'(… fₖ'(dy))): the chain rule, from the last layer to the first.

    Parameters, residuals and gradients are tuples with an entry for each layer.

    Arguments:
        layers: any number of layers, `Sequential(Linear(784, 128), Sigmoid(), Linear(128, 10))`.

    Raises ConfigError for an argument that is no layer, ShapeError where a layer does not fit the
    one before it: the message names the layer and its position, counted from 0.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise ConfigError(f"Sequential: expected layer {i} to be an xpnet.nn layer, got {layer!r}")
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def init(self, rng: Generator) -> Tree:
        return tuple([layer.init(rng) for layer in self.layers])

    def forward(self, params: Tree, x: Array) -> tuple[Array, SequentialResiduals]:
        y, residuals = x, []
        try:
            for layer, layer_params in zip(self.layers, params, strict=True):
                y, layer_residuals = layer.forward(layer_params, y)
                residuals.append(layer_residuals)
        except Exception:
            self.output_shape(x.shape)  # if the shape is at fault, this says so, and names the layer
            raise
        return y, SequentialResiduals(tuple(residuals))

    def backward(self, params: Tree, residuals: SequentialResiduals, dy: Array) -> tuple[Array, Tree]:
        grads: list[Tree] = [{} for _ in self.layers]
        for i in reversed(range(len(self.layers))):
            dy, grads[i] = self.layers[i].backward(params[i], residuals.layers[i], dy)
        return dy, tuple(grads)

    def parameter_gradients(self, params: Tree, residuals: SequentialResiduals, dy: Array) -> Tree:
        # The first layer with parameters ends the way back: what is before it has nothing to learn.
        first = next((i for i, layer_params in enumerate(params) if layer_params), len(self.layers))
        grads: list[Tree] = [{} for _ in self.layers]
        for i in reversed(range(first + 1, len(self.layers))):
            dy, grads[i] = self.layers[i].backward(params[i], residuals.layers[i], dy)
        if first < len(self.layers):
            grads[first] = self.layers[first].parameter_gradients(params[first], residuals.layers[first], dy)
        return tuple(grads)

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = input_shape
        for i, layer in enumerate(self.layers):
            try:
                shape = layer.output_shape(shape)
            except ShapeError as error:
                raise ShapeError(f"layer {i}, {error}") from None
        return shape
