"""Containers: layers made of layers."""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from xpnet._util.examples import Examples, combined
from xpnet._util.text import example_call
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn._layer import Layer, Shape, show_shape
from xpnet.nn.activations import Identity
from xpnet.nn.reshape import Flatten
from xpnet.random import Generator, Key
from xpnet.tree import Array, Tree

DEEPEST = 100  # containers inside each other; Python's own limit is 1000 calls, and a copy takes 6 a level


class ContainerResiduals(NamedTuple):
    """The residuals of a container's children, under the same keys as the parameters."""

    children: Tree


class Container(Layer):
    """Base class of layers made of layers.

    To write a container, define `children`, `with_children`, `forward` and `backward`. `forward` returns
    `ContainerResiduals`. Parameters, statistics, residuals and gradients have one branch for each child,
    under the key that `children` gives it: a tuple if the keys are 0, 1, …, otherwise a dict.

    If the container mixes no examples itself, set `examples = nn.Container.examples` in the class body: the
    children then decide.
    """

    def children(self) -> dict[Any, Layer]:
        raise NotImplementedError

    def with_children(self, children: dict[Any, Layer]) -> Self:
        """The same container with other children, one for each key of `children()`."""
        raise NotImplementedError

    @property
    def examples(self) -> Examples:
        return combined(child.examples for child in self.children().values())

    @property
    def integers(self) -> range | None:
        """The range of all children if every child takes integers; else None."""
        found = [child.integers for child in self.children().values()]
        if not found or None in found:
            return None
        ranges = [each for each in found if each is not None]
        return range(min(each.start for each in ranges), max(each.stop for each in ranges))

    def init(self, rng: Generator) -> Tree:
        return self._for_each(lambda key, child: child.init(rng))

    def init_statistics(self) -> Tree:
        return self._for_each(lambda key, child: child.init_statistics())

    def new_statistics(self, statistics: Tree, residuals: ContainerResiduals) -> Tree:
        return self._for_each(
            lambda key, child: child.new_statistics(statistics[key], residuals.children[key])
        )

    def training_mode(self, key: Key) -> Layer:
        children = self.children()
        in_training = {
            name: child.training_mode(key.child(i)) for i, (name, child) in enumerate(children.items())
        }
        same = all(map(operator.is_, in_training.values(), children.values()))
        return self if same else self.with_children(in_training)

    def _for_each(self, function: Callable[[Any, Layer], Tree]) -> Tree:
        """A tree with a branch for each child."""
        branches = {key: function(key, child) for key, child in self.children().items()}
        return tuple(branches.values()) if all(isinstance(key, int) for key in branches) else branches


def refused(expected: str, layer: Any, way_out: str = "") -> ConfigError:
    """The error for an argument that is no layer; for a class of layers, with how to write one."""
    if isinstance(layer, type) and issubclass(layer, Layer):
        way_out = f"; write {example_call(layer)}"
    elif isinstance(layer, str):
        way_out = "; write an object such as ReLU()"
    return ConfigError(f"{expected} to be an xpnet.nn layer, got {layer!r}{way_out}")


@dataclass(frozen=True, repr=False, init=False)
class Sequential(Container):
    """y = fₖ(… f₂(f₁(x))): the output of each layer is the input of the next.

    dx = f₁'(f₂'(… fₖ'(dy))): the chain rule, from the last layer to the first; f' is the backward pass of f.

    Parameters, residuals and gradients are tuples with an entry for each layer. A layer object that stands
    twice has parameters of its own in each place: `Tied` shares them.

    Shapes: x as the first layer takes it, y as the last layer returns it.

    Arguments:
        layers: any number of layers, `Sequential(Linear(784, 128), Sigmoid(), Linear(128, 10))`.

    Raises ConfigError for an argument that is not a layer, ShapeError if a layer cannot take the output of
    the layer before it: the message names the layer and its position, counted from 0.
    """

    layers: tuple[Layer, ...]

    examples = Container.examples

    def __init__(self, *layers: Layer) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                way_out = "; write Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise refused(f"Sequential: expected layer {i}", layer, way_out)
        object.__setattr__(self, "layers", layers)
        require_shallow(self)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    @property
    def integers(self) -> range | None:
        """The integers of the first layer that computes with x."""
        return next((layer.integers for layer in self.layers if not _passes_on(layer)), None)

    def forward(self, params: Tree, x: Array) -> tuple[Array, ContainerResiduals]:
        y, residuals = x, []
        try:
            for layer, layer_params in zip(self.layers, params, strict=True):
                y, layer_residuals = layer.forward(layer_params, y)
                residuals.append(layer_residuals)
        except Exception as error:
            try:
                self.output_shape(x.shape)
            except ShapeError as shape_error:  # its message names the layer
                raise shape_error from error
            raise
        return y, ContainerResiduals(tuple(residuals))

    def backward(self, params: Tree, residuals: ContainerResiduals, dy: Array) -> tuple[Array, Tree]:
        grads: list[Tree] = [{} for _ in self.layers]
        for i in reversed(range(len(self.layers))):
            dy, grads[i] = self.layers[i].backward(params[i], residuals.children[i], dy)
        return dy, tuple(grads)

    def parameter_gradients(self, params: Tree, residuals: ContainerResiduals, dy: Array) -> Tree:
        first = self.first_to_learn(params)
        grads: list[Tree] = [{} for _ in self.layers]
        for i in reversed(range(first + 1, len(self.layers))):
            dy, grads[i] = self.layers[i].backward(params[i], residuals.children[i], dy)
        if first < len(self.layers):
            layer = self.layers[first]
            grads[first] = layer.parameter_gradients(params[first], residuals.children[first], dy)
        return tuple(grads)

    def first_to_learn(self, params: Tree) -> int:
        """The position of the first layer with parameters, where the backward pass in training ends."""
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
                raise ShapeError(f"layer {i}, {error}") from error.__cause__
        return shape

    def children(self) -> dict[Any, Layer]:
        return dict(enumerate(self.layers))

    def with_children(self, children: dict[Any, Layer]) -> Self:
        return _with(self, layers=tuple(children.values()))


@dataclass(frozen=True, repr=False)
class Residual(Container):
    """y = f(x) + s(x): the branch f learns what to add to the shortcut s(x), by default x itself.

    dx = f'(dy) + s'(dy), where f' and s' are the backward passes of f and s.

    Parameters, residuals and gradients are dicts with the keys "branch" and "shortcut".

    Shapes: x as branch and shortcut take it, y as both return it.

    Arguments:
        branch: f, any layer; usually a `Sequential`.
        shortcut: s, any layer. `Conv2d(n, m, 1, stride)` fits a branch that changes the shape.

    Raises ConfigError for an argument that is not a layer, ShapeError if the two outputs differ in shape.

    (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, eq. 1 and 2.)
    """

    branch: Layer
    shortcut: Layer = Identity()  # noqa: RUF009  # immutable

    examples = Container.examples

    def __post_init__(self) -> None:
        for name, layer in self.children().items():
            if not isinstance(layer, Layer):
                raise refused(f"Residual: expected {name}", layer)
        require_shallow(self)

    @property
    def integers(self) -> range | None:
        """The integers that both branch and shortcut take."""
        branch, shortcut = self.branch.integers, self.shortcut.integers
        if branch is None or shortcut is None:
            return None
        return range(max(branch.start, shortcut.start), min(branch.stop, shortcut.stop))

    def forward(self, params: Tree, x: Array) -> tuple[Array, ContainerResiduals]:
        y, branch_residuals = self.branch.forward(params["branch"], x)
        shortcut, shortcut_residuals = self.shortcut.forward(params["shortcut"], x)
        residuals = {"branch": branch_residuals, "shortcut": shortcut_residuals}
        return y + shortcut, ContainerResiduals(residuals)

    def backward(self, params: Tree, residuals: ContainerResiduals, dy: Array) -> tuple[Array, Tree]:
        inner = residuals.children
        dx, branch = self.branch.backward(params["branch"], inner["branch"], dy)
        dshortcut, shortcut = self.shortcut.backward(params["shortcut"], inner["shortcut"], dy)
        return dx + dshortcut, {"branch": branch, "shortcut": shortcut}

    def parameter_gradients(self, params: Tree, residuals: ContainerResiduals, dy: Array) -> Tree:
        inner = residuals.children
        branch = self.branch.parameter_gradients(params["branch"], inner["branch"], dy)
        shortcut = self.shortcut.parameter_gradients(params["shortcut"], inner["shortcut"], dy)
        return {"branch": branch, "shortcut": shortcut}

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = []
        for name, layer in self.children().items():
            try:
                shapes.append(layer.output_shape(input_shape))
            except ShapeError as error:
                raise ShapeError(f"{name}, {error}") from error.__cause__
        branch, shortcut = shapes
        if branch != shortcut:
            raise ShapeError(
                f"Residual: expected branch and shortcut to return the same shape, "
                f"got {show_shape(branch)} and {show_shape(shortcut)}"
            )
        return branch

    def children(self) -> dict[Any, Layer]:
        return {"branch": self.branch, "shortcut": self.shortcut}

    def with_children(self, children: dict[Any, Layer]) -> Self:
        return _with(self, **children)


def require_shallow(net: Layer) -> None:
    """ConfigError if more than `DEEPEST` containers stand inside each other: Python limits recursion."""
    level, depth = [net], 0
    while level := [child for layer in level for child in layer.children().values()]:
        # Each layer once: along every path, layers that stand in several places would be too many.
        level, depth = list({id(child): child for child in level}.values()), depth + 1
        if depth > DEEPEST:
            raise ConfigError(
                f"{type(net).__name__}: expected layers at most {DEEPEST} deep inside each other, got more; "
                "put blocks side by side: Sequential(Residual(…), Residual(…))"
            )


def _passes_on(layer: Layer) -> bool:
    """Whether a layer returns the numbers of x as they are, integers too."""
    return type(layer) in (Identity, Flatten) or (
        type(layer) is Sequential and all(map(_passes_on, layer.layers))
    )


def _with(layer: Any, **fields: Any) -> Any:
    """A copy of the layer with other values in some fields.

    `dataclasses.replace` would call `__init__`, which a subclass may have changed.
    """
    other = copy.copy(layer)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other
