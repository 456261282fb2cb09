"""The layer protocol: the base class of all layers, and checks of their hyper-parameters."""

import functools
import math
from dataclasses import fields
from typing import Any, NamedTuple, NoReturn

from xpnet import init, tree
from xpnet._util.checks import is_number, require_integer, settled
from xpnet._util.examples import Examples
from xpnet._util.text import constructor_call
from xpnet.backend._reading import numbers
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Generator, Key, generator
from xpnet.tree import Array, Tree

Shape = tuple[Any, ...]  # axis lengths; the number of examples may be a letter, ("n", 784)


class NoResiduals(NamedTuple):
    """The residuals of a layer whose backward pass needs nothing from the forward pass."""


class Layer:
    """Base class of layers: a pure function of parameters and an input, and its derivative.

        init(rng)                        ->  params
        forward(params, x)               ->  y, residuals
        backward(params, residuals, dy)  ->  dx, grads

    The residuals are what `backward` needs from the forward pass. dy, dx and grads are the gradients of the
    loss with respect to y, x and params. grads is a tree with the names and shapes of params.

    A layer is a frozen dataclass of hyper-parameters and owns no arrays: the caller keeps the parameters and
    passes them in. So one layer can stand in two networks or run in two threads. `forward` and `backward`
    never write into their arguments.

    To write a layer, define `forward` and `backward`, and `init` if the layer has parameters:

        class ScaleResiduals(NamedTuple):
            x: Array


        @dataclass(frozen=True, repr=False)
        class Scale(nn.Layer):  # y = s x,  dx = s dy,  ds = Σₙ dyₙ xₙ
            features: int

            def init(self, rng):
                return {"scale": init.ones(rng, (self.features,))}

            def forward(self, params, x):
                return params["scale"] * x, ScaleResiduals(x)

            def backward(self, params, residuals, dy):
                ds = namespace(dy).sum(dy * residuals.x, axis=0)
                return params["scale"] * dy, {"scale": ds}

    Then check it: `xpnet.testing.check_layer(Scale(3), (5, 3))` compares the gradients with finite
    differences and tests the laws of a layer on every installed array library.

    Arrays may come from any library: call the functions of `xpnet.backend.namespace(x)`, not NumPy's. L2 and
    weight decay act on the parameters named `weight`, and on no others.

    Override the other members where the default is wrong or slow:

    - `examples`, to let xpnet split a batch over the cores. The default, "mixed", is always right.
    - `parameter_gradients`, to save the computation of dx in the first layer of a network.
    - `output_shape`, to refuse an input of the wrong shape by a clear message.
    - `integers`, if x holds integers, as for `Embedding`.
    - `training_mode`, if the layer computes another function in training, as dropout does.
    - `init_statistics` and `new_statistics`, if the layer measures its inputs in training, as batch
      normalisation does.

    A method `onnx(graph, params, x)` lets `xpnet.onnx.export` write the layer: see `xpnet/docs/onnx.md`.

    A layer made of layers derives from `Container`.

    A subclass that overrides `forward` or `backward` inherits neither `examples` nor `parameter_gradients`:
    both are again the defaults of `Layer`. If its base class defines `training_mode`, the subclass must
    define its own (ConfigError).

    Linear layers and activations take inputs (..., n, d). With a leading axis of length K on the input and on
    every parameter, K networks run in one batched product.
    """

    def init(self, rng: Generator) -> Tree:
        """The initial parameters: a dict of float64 NumPy arrays, empty if the layer has none."""
        return {}

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        """The output y for the input x, and the residuals: what `backward` needs from this pass."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method forward, got none")

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        """The gradients of the loss with respect to x and to the parameters, from dy.

        Shapes: dy has the shape of y, dx the shape of x, grads the names and shapes of params.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method backward, got none")

    @property
    def examples(self) -> Examples:
        """How the output for one example depends on the other examples of the batch.

        - "independent": not at all.
        - "summed": only through sums over the batch, each computed by `xpnet.backend.sum_over_parts`.
        - "mixed", the default: in another way, or unknown.

        Set it in the class body: `examples = "independent"`. If no layer of a network is "mixed", xpnet may
        split a batch into parts that run in parallel.
        """
        return "mixed"

    def parameter_gradients(self, params: Tree, residuals: Any, dy: Array) -> Tree:
        """The grads of `backward`, without dx.

        Training needs no dx in the first layer of a network, and dx costs as much as dW: override this method
        to leave dx out.
        """
        return self.backward(params, residuals, dy)[1]

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output for an input of this shape.

        The first axis, the number of examples, may be a letter: `("n", 784)`. The default runs `forward` on
        one example of zeros, a NumPy array; on the first of `integers` if the layer takes integers.

        Raises ShapeError if the layer cannot take this shape.
        """
        if not input_shape:
            self.refuse("(n, ...)", input_shape)
        try:
            return (input_shape[0], *_dry_run(self, tuple(input_shape[1:])))
        except TypeError:  # a hyper-parameter is not hashable
            return (input_shape[0], *_dry_run.__wrapped__(self, tuple(input_shape[1:])))

    @property
    def integers(self) -> range | None:
        """The integers that x may hold, for a layer that takes integers; None, the default, for real numbers.

        Set it in the class body, `integers = range(256)`, or as a property. If the layer is the first of a
        network, x reaches it as integers, and `Model` refuses other values in one line.
        """
        return None

    def training_mode(self, key: Key) -> "Layer":
        """The layer that replaces this one in a training step, with the same parameters.

        The default is the layer itself. The random numbers of the step come from `key`, by `xpnet.random`.
        """
        return self

    def init_statistics(self) -> Tree:
        """The initial statistics, such as a running mean: a dict of NumPy arrays.

        Outside training, `params` holds the statistics as well as the parameters. So it does in a training
        step on a single example.
        """
        return {}

    def new_statistics(self, statistics: Tree, residuals: Any) -> Tree:
        """The statistics after a training step, from the residuals of its forward pass."""
        return statistics

    def children(self) -> dict[Any, "Layer"]:
        """The layers inside this one, each under the key of its branch in the parameters; none by default."""
        return {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if not {"forward", "backward"} & own.keys():
            return
        for name in ("examples", "parameter_gradients"):
            if name not in own:
                setattr(cls, name, vars(Layer)[name])
        owner = next(base for base in cls.__mro__ if "training_mode" in vars(base))
        if owner not in (cls, Layer) and "forward" in vars(owner):
            raise ConfigError(
                f"{cls.__name__}: expected a training_mode of its own, because "
                f"{owner.__name__}.training_mode does not call the new forward and backward; got none"
            )

    def refuse(self, expected: str, input_shape: Shape) -> NoReturn:
        """Raise the ShapeError for an input of a wrong shape: `self.refuse("(n, 784)", input_shape)`."""
        raise ShapeError(f"{self}: expected x of shape {expected}, got {show_shape(input_shape)}")

    def __repr__(self) -> str:
        """The constructor call, without arguments that have their default value."""
        return constructor_call(self)


class SameShape(Layer):
    """Base class of layers whose output has the shape of their input, whatever that is."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@functools.lru_cache(maxsize=256)
def _dry_run(layer: Layer, example: Shape) -> Shape:
    """The shape of the output for one example, from a forward pass of zeros."""
    variables = tree.merge(layer.init(generator(0, "dry run")), layer.init_statistics())
    try:
        y, _ = layer.forward(variables, blank(layer, (1, *example)))
    except Exception as error:
        raise ShapeError(
            f"{layer}: forward fails on zeros of shape {show_shape((1, *example))} "
            f"({type(error).__name__}: {error}); define output_shape if other values fit"
        ) from error
    return tuple(y.shape[1:])


def blank(layer: Layer, shape: Shape, dtype: str = "float64") -> Any:
    """An input on the host that says nothing: zeros, or the first of the layer's integers."""
    zeros = init.zeros(None, shape)
    return zeros.astype(dtype) if layer.integers is None else (zeros + layer.integers.start).astype("int64")


def show_shape(shape: Shape) -> str:
    """A shape as text, with letters unquoted: (64, 784), (n, 784)."""
    inner = ", ".join(str(length) for length in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def require_positive_integers(layer: Layer, **arguments: Any) -> None:
    """ConfigError unless each hyper-parameter is an integer of at least 1."""
    for name, value in arguments.items():
        settled(layer, name)
        require_integer(layer, name, value)


def require_initializers(layer: Layer) -> None:
    """ConfigError unless each hyper-parameter whose name ends in `_init` is callable."""
    for field in fields(layer):  # type: ignore[arg-type]  # its subclasses here are dataclasses
        value = getattr(layer, field.name)
        if field.name.endswith("_init") and not callable(value):
            expected = "an initialiser of xpnet.init"
            raise ConfigError(f"{layer}: expected {field.name} to be {expected}, got {value!r}")


def drawn(layer: Layer, name: str, rng: Generator, shape: tuple[int, ...]) -> Any:
    """The array of the initialiser under this name, float64 on the host, from numbers of any kind.

    Raises ConfigError unless the initialiser returns numbers in this shape.
    """
    try:
        array = numbers(getattr(layer, name)(rng, shape))
    except ShapeError as error:
        raise ConfigError(f"{layer}: {name}: {error}") from error
    if tuple(array.shape) != tuple(shape):
        expected, got = show_shape(shape), show_shape(tuple(array.shape))
        raise ConfigError(f"{layer}: expected {name} to return an array of shape {expected}, got {got}")
    return array.astype("float64", copy=False)


def require_number(layer: Layer, name: str, below: float = math.inf) -> None:
    """ConfigError unless the hyper-parameter is a number, 0 <= number < below."""
    value = settled(layer, name)
    if not is_number(value) or not 0 <= value < below:
        limit = "a finite number" if below == math.inf else f"a number below {below:g}"
        raise ConfigError(f"{layer}: expected {name} to be {limit} and at least 0, got {value!r}")
