"""Layers made of layers."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.errors import ConfigError, ShapeError
from xpnet.nn._layer import Flops, Layer, Shape, show_shape
from xpnet.nn.activations import Identity
from xpnet.random import Generator, Key
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
        first = self.first_to_learn(params)
        grads: list[Tree] = [{} for _ in self.layers]
        for i in reversed(range(first + 1, len(self.layers))):
            dy, grads[i] = self.layers[i].backward(params[i], residuals.layers[i], dy)
        if first < len(self.layers):
            grads[first] = self.layers[first].parameter_gradients(params[first], residuals.layers[first], dy)
        return tuple(grads)

    def first_to_learn(self, params: Tree) -> int:
        """The first layer with parameters. It ends the way back: what is before it has nothing to learn."""
        for i, layer_params in enumerate(params):
            if layer_params:
                return i
        return len(self.layers)

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = input_shape
        for i, layer in enumerate(self.layers):
            try:
                shape = layer.output_shape(shape)
            except ShapeError as error:
                raise ShapeError(f"layer {i}, {error}") from None
        return shape

    @property
    def mixes_examples(self) -> bool:  # type: ignore[override]
        return any(layer.mixes_examples for layer in self.layers)

    @property
    def sums_over_parts(self) -> bool:  # type: ignore[override]
        return all(layer.sums_over_parts for layer in self.layers if layer.mixes_examples)

    def workspace(self, input_shape: Shape) -> int:
        rows = zip(self.layers, self.input_shapes(input_shape), strict=True)
        return max((layer.workspace(shape) for layer, shape in rows), default=0)

    def input_shapes(self, input_shape: Shape) -> list[Shape]:
        """The shape of each layer's input."""
        shapes = []
        for layer in self.layers:
            shapes.append(input_shape)
            input_shape = layer.output_shape(input_shape)
        return shapes

    def flops(self, params: Tree, input_shape: Shape) -> Flops:
        rows = zip(self.layers, params, self.input_shapes(input_shape), strict=True)
        each = [layer.flops(layer_params, shape) for layer, layer_params, shape in rows]
        first = self.first_to_learn(params)
        way_back = sum(flops.parameter_gradients for flops in each[first : first + 1])
        way_back += sum(flops.backward for flops in each[first + 1 :])
        return Flops(sum(flops.forward for flops in each), sum(flops.backward for flops in each), way_back)

    def kept(self, residuals: SequentialResiduals, input_shape: Shape) -> SequentialResiduals:
        rows = zip(self.layers, residuals.layers, self.input_shapes(input_shape), strict=True)
        return SequentialResiduals(tuple([layer.kept(of_layer, shape) for layer, of_layer, shape in rows]))

    def prepare(self, params: Tree) -> Tree:
        return tuple([layer.prepare(own) for layer, own in zip(self.layers, params, strict=True)])

    def training_mode(self, key: Key) -> Layer:
        layers = [layer.training_mode(key.child(i)) for i, layer in enumerate(self.layers)]
        return self._with(layers)

    def map_layers(self, function: Callable[[Layer], Layer]) -> Layer:
        if type(self) is not Sequential:
            return function(self)
        return function(self._with([layer.map_layers(function) for layer in self.layers]))

    def _with(self, layers: list[Layer]) -> "Sequential":
        return self if all(map(operator.is_, layers, self.layers)) else Sequential(*layers)

    def init_statistics(self) -> Tree:
        return tuple([layer.init_statistics() for layer in self.layers])

    def new_statistics(self, statistics: Tree, residuals: SequentialResiduals) -> Tree:
        rows = zip(self.layers, statistics, residuals.layers, strict=True)
        return tuple([layer.new_statistics(old, of_layer) for layer, old, of_layer in rows])


class ResidualResiduals(NamedTuple):
    branch: Any
    shortcut: Any


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """y = f(x) + s(x): a branch f learns what to add to x, or to a shortcut s of it.

    dx = f'(dy) + s'(dy)

    Parameters and gradients are a dict of those of `branch` and `shortcut`. (He, Zhang, Ren and Sun,
    "Deep residual learning for image recognition", 2016, eq. 1 and 2.)

    Arguments:
        branch: f, any layer; usually a `Sequential`.
        shortcut: s. A `Conv2d(n, m, 1, stride)` where the branch changes the shape.

    Raises ConfigError for an argument that is no layer, ShapeError where the two outputs differ in shape.
    """

    branch: Layer
    shortcut: Layer = Identity()  # noqa: RUF009  # immutable

    def __post_init__(self) -> None:
        for name, layer in (("branch", self.branch), ("shortcut", self.shortcut)):
            if not isinstance(layer, Layer):
                raise ConfigError(f"Residual: expected {name} to be an xpnet.nn layer, got {layer!r}")

    def init(self, rng: Generator) -> Tree:
        return {"branch": self.branch.init(rng), "shortcut": self.shortcut.init(rng)}

    def forward(self, params: Tree, x: Array) -> tuple[Array, ResidualResiduals]:
        y, of_branch = self.branch.forward(params["branch"], x)
        shortcut, of_shortcut = self.shortcut.forward(params["shortcut"], x)
        return y + shortcut, ResidualResiduals(of_branch, of_shortcut)

    def backward(self, params: Tree, residuals: ResidualResiduals, dy: Array) -> tuple[Array, Tree]:
        dx, of_branch = self.branch.backward(params["branch"], residuals.branch, dy)
        dshortcut, of_shortcut = self.shortcut.backward(params["shortcut"], residuals.shortcut, dy)
        return dx + dshortcut, {"branch": of_branch, "shortcut": of_shortcut}

    def parameter_gradients(self, params: Tree, residuals: ResidualResiduals, dy: Array) -> Tree:
        return {
            "branch": self.branch.parameter_gradients(params["branch"], residuals.branch, dy),
            "shortcut": self.shortcut.parameter_gradients(params["shortcut"], residuals.shortcut, dy),
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = []
        for name, layer in (("branch", self.branch), ("shortcut", self.shortcut)):
            try:
                shapes.append(layer.output_shape(input_shape))
            except ShapeError as error:
                raise ShapeError(f"{name}, {error}") from None
        branch, shortcut = shapes
        if branch != shortcut:
            raise ShapeError(
                f"Residual: expected branch and shortcut to give one shape, "
                f"got {show_shape(branch)} and {show_shape(shortcut)}"
            )
        return branch

    @property
    def mixes_examples(self) -> bool:  # type: ignore[override]
        return self.branch.mixes_examples or self.shortcut.mixes_examples

    @property
    def sums_over_parts(self) -> bool:  # type: ignore[override]
        layers = self.branch, self.shortcut
        return all(layer.sums_over_parts for layer in layers if layer.mixes_examples)

    def workspace(self, input_shape: Shape) -> int:
        return max(self.branch.workspace(input_shape), self.shortcut.workspace(input_shape))

    def flops(self, params: Tree, input_shape: Shape) -> Flops:
        branch = self.branch.flops(params["branch"], input_shape)
        shortcut = self.shortcut.flops(params["shortcut"], input_shape)
        return Flops(*map(operator.add, branch, shortcut))

    def kept(self, residuals: ResidualResiduals, input_shape: Shape) -> ResidualResiduals:
        branch, shortcut = residuals
        return ResidualResiduals(
            self.branch.kept(branch, input_shape), self.shortcut.kept(shortcut, input_shape)
        )

    def prepare(self, params: Tree) -> Tree:
        return {
            "branch": self.branch.prepare(params["branch"]),
            "shortcut": self.shortcut.prepare(params["shortcut"]),
        }

    def training_mode(self, key: Key) -> Layer:
        return self._with(self.branch.training_mode(key.child(0)), self.shortcut.training_mode(key.child(1)))

    def map_layers(self, function: Callable[[Layer], Layer]) -> Layer:
        if type(self) is not Residual:
            return function(self)
        return function(self._with(self.branch.map_layers(function), self.shortcut.map_layers(function)))

    def _with(self, branch: Layer, shortcut: Layer) -> "Residual":
        return self if branch is self.branch and shortcut is self.shortcut else Residual(branch, shortcut)

    def init_statistics(self) -> Tree:
        return {"branch": self.branch.init_statistics(), "shortcut": self.shortcut.init_statistics()}

    def new_statistics(self, statistics: Tree, residuals: ResidualResiduals) -> Tree:
        return {
            "branch": self.branch.new_statistics(statistics["branch"], residuals.branch),
            "shortcut": self.shortcut.new_statistics(statistics["shortcut"], residuals.shortcut),
        }
