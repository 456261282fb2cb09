"""Weight tying: one array as the parameter of two layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from xpnet import tree
from xpnet._util.examples import Examples
from xpnet.backend import Product, ops
from xpnet.errors import ConfigError
from xpnet.nn._layer import Layer, Shape, show_shape
from xpnet.nn.containers import Container, _with, refused
from xpnet.random import Generator, Key
from xpnet.tree import Array, Tree

TRANSPOSED = ".T"


@dataclass(frozen=True, repr=False)
class Tied(Container):
    """The network f with some parameters tied: each is another parameter of f, or its transpose.

    y = f(x; …, w, …, w),  dw = Σ of the gradients with respect to w in each of its places

    The parameters are those of f without the tied ones: the shared array exists once, under the name of its
    source, in `params`, `grads`, files, checkpoints, counts, the L2 penalty and the optimizer's state. It
    starts with the initial values of the source.

    To use the table of an embedding (entries, features) as the output weights (features, entries):

        nn.Tied(nn.Sequential(nn.Embedding(50, 8), …, nn.Linear(8, 50)), {"3.weight": "0.weight.T"})

    Shapes: x, y, statistics and residuals are those of f.

    Arguments:
        net: f, usually a `Sequential`.
        ties: the source of each tied parameter: `{"3.weight": "0.weight"}`, with names as in `params` of f.
            Append `.T` to the name of a source to use its transpose.

    Raises ConfigError for an argument of another type, and for a source that is itself tied. `init` raises
    ConfigError for a name that f does not have, and for two shapes that differ.

    (Press and Wolf, "Using the output embedding to improve language models", 2017.)
    """

    net: Layer
    ties: Mapping[str, str]

    def __post_init__(self) -> None:
        if not isinstance(self.net, Layer):
            raise refused("Tied: expected net", self.net)
        if not isinstance(self.ties, Mapping) or not all(isinstance(s, str) for s in _flat(self.ties)):
            example = '{"3.weight": "0.weight"}'
            raise ConfigError(f"Tied: expected ties to be a dict of names, {example}, got {self.ties!r}")
        object.__setattr__(self, "ties", dict(self.ties))
        for name, source in self.ties.items():
            root = source.removesuffix(TRANSPOSED)
            if root in self.ties:
                other = "itself" if root == name else f"{root}, which is tied to {self.ties[root]}"
                raise ConfigError(f"Tied: expected {name} to be tied to a parameter of its own, got {other}")

    def __hash__(self) -> int:
        return hash((self.net, tuple(self.ties.items())))

    @property
    def examples(self) -> Examples:
        return self.net.examples

    @property
    def integers(self) -> range | None:
        return self.net.integers

    def init(self, rng: Generator) -> Tree:
        params = self.net.init(rng)
        shapes = {name: tuple(leaf.shape) for name, leaf in tree.items(params) if hasattr(leaf, "shape")}
        for name, source in self.ties.items():
            root = source.removesuffix(TRANSPOSED)
            for each in (name, root):
                if each not in shapes:
                    names = ", ".join(shapes) or "none"
                    raise ConfigError(f"Tied: expected a parameter of the network ({names}), got {each!r}")
            wanted, sources = shapes[name], {root: shapes[root], root + TRANSPOSED: _transposed(shapes[root])}
            if sources[source] != wanted:
                fits = next((each for each, shape in sources.items() if shape == wanted), None)
                way_out = "" if fits is None else f"; write {fits!r}"
                raise ConfigError(
                    f"Tied: expected {source} to have the shape of {name}, {show_shape(wanted)}, "
                    f"got {show_shape(sources[source])}{way_out}"
                )
        return self._without(params)

    def init_statistics(self) -> Tree:
        return self.net.init_statistics()

    def new_statistics(self, statistics: Tree, residuals: Any) -> Tree:
        return self.net.new_statistics(statistics, residuals)

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        return self.net.forward(self.of_net(params), x)

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        dx, grads = self.net.backward(self.of_net(params), residuals, dy)
        return dx, self._added_up(grads)

    def parameter_gradients(self, params: Tree, residuals: Any, dy: Array) -> Tree:
        return self._added_up(self.net.parameter_gradients(self.of_net(params), residuals, dy))

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.net.output_shape(input_shape)

    def training_mode(self, key: Key) -> Layer:
        return self.with_net(self.net.training_mode(key))

    def children(self) -> dict[Any, Layer]:
        return self.net.children()

    def with_children(self, children: dict[Any, Layer]) -> Self:
        net: Any = self.net
        return self.with_net(net.with_children(children))

    def with_net(self, net: Layer) -> Self:
        """The same ties in another network with the same parameters."""
        return self if net is self.net else _with(self, net=net)

    def of_net(self, params: Tree) -> Tree:
        """The parameters of `net`: those given, and each shared array in all of its places."""
        for name, source in self.ties.items():
            shared = _get(params, source.removesuffix(TRANSPOSED).split("."))
            if source.endswith(TRANSPOSED):
                shared = ops(shared).transposed(shared)
            params = _put(params, name.split("."), shared)
        return params

    def _added_up(self, grads: Tree) -> Tree:
        """The gradients of the parameters of `net`, with those of a shared array added up."""
        for name, source in self.ties.items():
            path, grad = source.removesuffix(TRANSPOSED).split("."), _array(_get(grads, name.split(".")))
            if source.endswith(TRANSPOSED):
                grad = ops(grad).transposed(grad)
            grads = _put(grads, path, _array(_get(grads, path)) + grad)
        return self._without(grads)

    def _without(self, params: Tree) -> Tree:
        for name in self.ties:
            params = _put(params, name.split("."), None)
        return params


def _flat(ties: Mapping[Any, Any]) -> list[Any]:
    return [*ties.keys(), *ties.values()]


def _transposed(shape: Shape) -> Shape:
    """The shape of the transpose; () for a vector, which has none."""
    return (*shape[:-2], shape[-1], shape[-2]) if len(shape) > 1 else ()


def _array(grad: Any) -> Any:
    return grad.evaluate() if isinstance(grad, Product) else grad


def _get(branch: Tree, path: list[str]) -> Any:
    for key in path:
        branch = branch[int(key) if isinstance(branch, tuple) else key]
    return branch


def _put(branch: Tree, path: list[str], leaf: Any) -> Tree:
    """The tree with another leaf at the end of the path. None removes the leaf."""
    key, *rest = path
    if isinstance(branch, tuple):
        i = int(key)
        # A tuple keeps its length, so that the other leaves keep their names.
        new = _put(branch[i], rest, leaf) if rest else {} if leaf is None else leaf
        return (*branch[:i], new, *branch[i + 1 :])
    if rest:
        return {**branch, key: _put(branch[key], rest, leaf)}
    if leaf is None:
        return {other: value for other, value in branch.items() if other != key}
    return {**branch, key: leaf}
