"""K networks of one architecture as one network: every array has a leading axis of K networks.

A leading axis of 1 on x stands for the same input for all networks. Layers that take the axis by themselves
stay as they are. The other layers of xpnet get a form here; a layer that xpnet does not know runs K times.

Shapes: those of the layers with one more axis in front, in `output_shape` too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from xpnet import random, tree
from xpnet._util.examples import Examples, combined
from xpnet.backend import device, namespace, ops
from xpnet.nn import activations, norm, pool
from xpnet.nn._layer import Layer, NoResiduals, SameShape, Shape
from xpnet.nn._library import LibraryConv1d, LibraryConv2d, LibraryMaxPool2d
from xpnet.nn._stacked_layer import Stacked, folded, unfolded
from xpnet.nn._stacked_library import StackedLibraryConv
from xpnet.nn._stacked_winograd import StackedWinograd
from xpnet.nn._windows import crop, overlap_add, windows
from xpnet.nn._winograd import WinogradConv2d
from xpnet.nn.containers import Residual, Sequential
from xpnet.nn.conv import KEPT, Conv1d, Conv2d, ConvResiduals, _Conv
from xpnet.nn.embedding import Embedding, EmbeddingResiduals
from xpnet.nn.linear import Linear
from xpnet.nn.noise import Dropout, DropoutResiduals, GaussianNoise
from xpnet.nn.reshape import Flatten
from xpnet.nn.tying import Tied
from xpnet.random import Key
from xpnet.tree import Array, Tree

# Each element of y depends on the same element of x alone, or on the last axis alone.
ACTIVATIONS: tuple[type[Layer], ...] = (
    activations.Identity,
    activations.ReLU,
    activations.LeakyReLU,
    activations.ELU,
    activations.GELU,
    activations.SiLU,
    activations.Softplus,
    activations.Sigmoid,
    activations.Tanh,
    activations.Softmax,
)
SAME_SHAPE = {*ACTIVATIONS, Dropout, GaussianNoise, norm.BatchNorm, norm.LayerNorm, norm.GroupNorm}
TAKE_THE_AXIS = {*SAME_SHAPE, Linear}
FOLDED = (
    *(Flatten, pool.MaxPool1d, pool.MaxPool2d, pool.AvgPool1d, pool.AvgPool2d, pool.GlobalAvgPool),
    LibraryMaxPool2d,
)


def stacked(nets: Sequence[Layer]) -> Layer:
    """K networks with parameters of the same shapes as one network.

    Their hyper-parameters may differ. Other initialisers and dropout rates cost nothing. A layer with another
    difference runs K times, and so does the container around it where shapes may differ.
    """
    first = nets[0]
    kind = type(first)
    if any(type(net) is not kind for net in nets):
        return OneByOne(tuple(nets))
    if kind in (Sequential, Residual):
        children: Any = [net.children() for net in nets]
        if all(each.keys() == children[0].keys() for each in children) and not _may_differ_in_shape(nets):
            net: Any = first
            return net.with_children({key: stacked([each[key] for each in children]) for key in children[0]})
    elif kind is Tied:
        tied: Any = nets
        if all(each.ties == tied[0].ties for each in tied):
            return tied[0].with_net(stacked([each.net for each in tied]))
    elif kind is Dropout:
        rates = tuple([each.rate for each in nets])  # type: ignore[attr-defined]
        return first if len({*rates}) == 1 else DropoutRates(rates)
    elif all(_computes_the_same(first, net) for net in nets[1:]):
        form = FORMS.get(kind)
        if form is not None:
            return form(first)
        if _is_folded(first):
            return Folded(first)
    return OneByOne(tuple(nets))


def _may_differ_in_shape(layers: Sequence[Layer]) -> bool:
    """Whether layers in the same place of K networks may give outputs of different shapes for the same x."""
    first, kinds = layers[0], {type(layer) for layer in layers}
    if kinds <= SAME_SHAPE:
        return False
    if len(kinds) == 1 and all(_computes_the_same(first, layer) for layer in layers[1:]):
        return False
    children = [layer.children() for layer in layers]
    if kinds in ({Sequential}, {Residual}, {Tied}) and all(
        each.keys() == children[0].keys() for each in children
    ):
        return any(_may_differ_in_shape([each[key] for each in children]) for key in children[0])
    return True


def shares_inputs(net: Layer) -> bool:
    """Whether the first layers of a stacked network take an x with a leading axis of 1.

    The first of them with parameters then makes K different outputs of it.
    """
    first = _first(net)
    return type(first) is Linear or isinstance(first, StackedConv | StackedLibraryConv | StackedEmbedding)


def starts_with_products(net: Layer) -> bool:
    """Whether that first layer is a product of x with a matrix of each network."""
    return type(_first(net)) is Linear


def _first(net: Layer) -> Layer | None:
    """The first layer that may make other outputs of the same x for each network."""
    if type(net) is Sequential:
        return next((found for layer in net.layers if (found := _first(layer)) is not None), None)
    if type(net) is Tied:
        return _first(net.net)
    return None if type(net) in ACTIVATIONS or isinstance(net, Folded) else net


def _computes_the_same(layer: Layer, other: Layer) -> bool:
    """Whether two layers of one class differ at most in their initialisers."""
    try:
        names = [field.name for field in fields(layer) if not field.name.endswith("_init")]  # type: ignore[arg-type]
        return layer is other or all(getattr(layer, name) == getattr(other, name) for name in names)
    except (TypeError, ValueError):  # no dataclass, or fields that do not compare
        return False


def _is_folded(layer: Layer) -> bool:
    """Whether a pass over the examples of all networks together is K passes.

    A user's layer may be: if it has no parameters, no statistics, no noise and no children, and says that its
    examples are independent.
    """
    if type(layer) in FOLDED:
        return True
    is_pure = type(layer).training_mode is Layer.training_mode and not layer.children()
    own = type(layer).init, type(layer).init_statistics
    has_none = own == (Layer.init, Layer.init_statistics)
    return is_pure and has_none and layer.examples == "independent"


class FoldedResiduals(NamedTuple):
    """Fields: the residuals of the layer, and the number of networks in x."""

    inner: Any
    networks: int


@dataclass(frozen=True, repr=False)
class Folded(Stacked):
    """A layer without parameters, of independent examples: one pass over the examples of all networks."""

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, FoldedResiduals]:
        y, residuals = self.layer.forward(params, folded(x))
        return unfolded(y, x.shape[0]), FoldedResiduals(residuals, x.shape[0])

    def backward(self, params: Tree, residuals: FoldedResiduals, dy: Array) -> tuple[Array, Tree]:
        dx, _ = self.layer.backward(params, residuals.inner, folded(dy))
        return unfolded(dx, residuals.networks), {}

    def parameter_gradients(self, params: Tree, residuals: FoldedResiduals, dy: Array) -> Tree:
        return {}


@dataclass(frozen=True, repr=False)
class StackedConv(Stacked):
    """K convolutions: the windows of all examples, and one batched product."""

    examples = "independent"

    layer: _Conv

    def forward(self, params: Tree, x: Array) -> tuple[Array, ConvResiduals]:
        xp, layer, weight = namespace(x), self.layer, params["weight"]
        networks = weight.shape[0]
        rows = self._windows(x)
        y = rows @ xp.reshape(weight, (networks, -1, layer.out_channels))
        if layer.bias:
            y += params["bias"][:, None, :]
        kept = rows if rows.shape[1] * rows.shape[2] <= KEPT else None
        shape = layer.output_shape(tuple(x.shape[1:]))
        return xp.reshape(y, (networks, *shape)), ConvResiduals(x, kept)

    def backward(self, params: Tree, residuals: ConvResiduals, dy: Array) -> tuple[Array, Tree]:
        return self._input_gradient(params, residuals, dy), self._gradients(params, residuals, dy)

    def parameter_gradients(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Tree:
        return self._gradients(params, residuals, dy)

    def _windows(self, x: Array) -> Array:
        """The windows of each network's examples as rows, (K, n·positions, Π kernel · c)."""
        return unfolded(self.layer._windows(folded(x)), x.shape[0])

    def _gradients(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Tree:
        xp, layer = namespace(dy), self.layer
        dy = xp.reshape(dy, (dy.shape[0], -1, layer.out_channels))
        rows = self._windows(residuals.x) if residuals.rows is None else residuals.rows
        grads = {"weight": xp.reshape(ops(dy).transposed(rows) @ dy, params["weight"].shape)}
        if layer.bias:
            grads["bias"] = ops(dy).sum_of_rows(dy)
        return grads

    def _input_gradient(self, params: Tree, residuals: ConvResiduals, dy: Array) -> Array:
        """As in `Conv2d`, for the examples of all networks."""
        xp, layer, weight = namespace(dy), self.layer, params["weight"]
        networks, n, *example = dy.shape[0], *residuals.x.shape[1:]
        kernel, stride, padding = layer._geometry((n, *example))
        if layer.convolves_dy((n, *example)):
            dy_padding = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel, padding, strict=True)]
            flipped = ops(dy).transposed(xp.flip(weight, axis=tuple(range(1, layer.axes + 1))))
            rows = unfolded(windows(folded(dy), kernel, stride, dy_padding), networks)
            dx = rows @ xp.reshape(flipped, (networks, -1, layer.in_channels))
            return xp.reshape(dx, (networks, n, *example))
        lengths = tuple(k + low + high for k, (low, high) in zip(example[:-1], padding, strict=True))
        dy_rows = xp.reshape(dy, (networks, -1, layer.out_channels))
        taps = xp.reshape(weight, (networks, -1, layer.in_channels, layer.out_channels))
        parts = (
            xp.reshape(
                dy_rows @ ops(dy).transposed(taps[:, tap, ...]),
                (networks * n, *dy.shape[2:-1], layer.in_channels),
            )
            for tap in range(taps.shape[1])
        )
        dx = overlap_add(parts, (networks * n, *lengths, example[-1]), kernel, stride)
        return unfolded(crop(dx, padding), networks)


@dataclass(frozen=True, repr=False)
class StackedEmbedding(Stacked):
    """K tables: those of all networks as one."""

    examples = "independent"

    layer: Embedding

    def forward(self, params: Tree, x: Array) -> tuple[Array, EmbeddingResiduals]:
        xp, weight = namespace(x), params["weight"]
        networks, entries, features = weight.shape
        index = x if xp.isdtype(x.dtype, "integral") else xp.astype(x, xp.int32)
        index = xp.reshape(index, (index.shape[0], -1))
        first = entries * xp.arange(networks, dtype=index.dtype, device=device(index))[:, None]
        y = ops(weight).take(xp.reshape(weight, (-1, features)), xp.reshape(index + first, (-1,)))
        return xp.reshape(y, (networks, *x.shape[1:], features)), EmbeddingResiduals(index)

    def backward(self, params: Tree, residuals: EmbeddingResiduals, dy: Array) -> tuple[Array, Tree]:
        dx = namespace(dy).zeros(dy.shape[:-1], dtype=dy.dtype, device=device(dy))
        return dx, self.parameter_gradients(params, residuals, dy)

    def parameter_gradients(self, params: Tree, residuals: EmbeddingResiduals, dy: Array) -> Tree:
        xp, index = namespace(dy), residuals.row_index[..., None]
        entries = xp.arange(self.layer.entries, dtype=index.dtype, device=device(index))
        one_hot = xp.astype(index == entries, dy.dtype)
        rows = xp.reshape(dy, (dy.shape[0], -1, self.layer.features))
        return {"weight": ops(dy).transposed(one_hot) @ rows}


@dataclass(frozen=True, repr=False)
class DropoutRates(SameShape):
    """`Dropout` with a rate for each network."""

    examples = "independent"

    rates: tuple[float, ...]

    def forward(self, params: Tree, x: Array) -> tuple[Array, NoResiduals]:
        return x, NoResiduals()

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        return dy, {}

    def training_mode(self, key: Key) -> Layer:
        return DropoutRatesInTraining(self.rates, key)


@dataclass(frozen=True, repr=False)
class DropoutRatesInTraining(SameShape):
    """`DropoutRates` in a training step: see `DropoutInTraining`."""

    examples = "independent"

    rates: tuple[float, ...]
    key: Key

    def forward(self, params: Tree, x: Array) -> tuple[Array, DropoutResiduals]:
        draws = random.bits(self.key, tuple(x.shape)) & 0x7FFFFFFF
        along = (slice(None), *[None] * (x.ndim - 1))
        least = tuple([round(rate * 2**31) for rate in self.rates])
        mask = draws >= ops(draws).constant(least, like=draws)[along]
        mask = namespace(x).astype(mask, x.dtype)
        mask /= ops(x).constant(tuple([1 - rate for rate in self.rates]), like=x)[along]
        return x * mask, DropoutResiduals(mask)

    def backward(self, params: Tree, residuals: DropoutResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy * residuals.mask, {}


@dataclass(frozen=True, repr=False)
class OneByOne(Layer):
    """K layers, one after the other: what is right for every layer. Residuals are a tuple of theirs."""

    layers: tuple[Layer, ...]

    @property
    def examples(self) -> Examples:
        return combined(layer.examples for layer in self.layers)

    def init_statistics(self) -> Tree:
        return self.layers[0].init_statistics()

    def training_mode(self, key: Key) -> Layer:
        layers = tuple([layer.training_mode(key.network(k)) for k, layer in enumerate(self.layers)])
        same = all(one is other for one, other in zip(layers, self.layers, strict=True))
        return self if same else OneByOne(layers)

    def forward(self, params: Tree, x: Array) -> tuple[Array, tuple[Any, ...]]:
        found = [
            layer.forward(network(params, k), x[k if x.shape[0] > 1 else 0, ...])
            for k, layer in enumerate(self.layers)
        ]
        return stack([y for y, _ in found]), tuple([residuals for _, residuals in found])

    def backward(self, params: Tree, residuals: tuple[Any, ...], dy: Array) -> tuple[Array, Tree]:
        found = [
            layer.backward(network(params, k), residuals[k], dy[k, ...])
            for k, layer in enumerate(self.layers)
        ]
        dx, grads = zip(*found, strict=True)
        return stack(list(dx)), stack(list(grads))

    def parameter_gradients(self, params: Tree, residuals: tuple[Any, ...], dy: Array) -> Tree:
        return stack([
            layer.parameter_gradients(network(params, k), residuals[k], dy[k, ...])
            for k, layer in enumerate(self.layers)
        ])  # fmt: skip

    def new_statistics(self, statistics: Tree, residuals: tuple[Any, ...]) -> Tree:
        return stack([
            layer.new_statistics(network(statistics, k), residuals[k]) for k, layer in enumerate(self.layers)
        ])  # fmt: skip

    def output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.layers[0].output_shape(input_shape[1:]))


def _same(layer: Layer) -> Layer:
    return layer


FORMS: dict[type[Layer], Callable[[Any], Layer]] = {
    **dict.fromkeys(TAKE_THE_AXIS, _same),
    Conv1d: StackedConv,
    Conv2d: StackedConv,
    Embedding: StackedEmbedding,
    WinogradConv2d: StackedWinograd,
    **dict.fromkeys((LibraryConv1d, LibraryConv2d), StackedLibraryConv),
}


def network(arrays: Tree, k: int) -> Tree:
    """The part of network k of a tree of arrays with the axis of networks."""
    return tree.map(lambda array: array[k, ...], arrays)


def stack(trees: Sequence[Tree]) -> Tree:
    """One tree with the arrays of the trees of K networks, stacked along a new first axis."""
    return tree.map(lambda *arrays: namespace(arrays[0]).stack(arrays), *trees)
