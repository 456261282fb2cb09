"""What a layer is."""

import math
from collections.abc import Callable
from dataclasses import MISSING, fields
from numbers import Integral
from typing import Any, NamedTuple, NoReturn

from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Generator, Key
from xpnet.tree import Array, Tree

Shape = tuple[Any, ...]  # axis lengths; the number of examples may be a letter, ("n", 784)


class NoResiduals(NamedTuple):
    """For layers whose backward pass needs nothing of the forward pass."""


class Flops(NamedTuple):
    """Additions and multiplications in the matrix products of a layer's methods, one field for each method.

    What is done element by element is not counted: it takes the time of moving the numbers.
    """

    forward: int
    backward: int
    parameter_gradients: int


class Layer:
    """A pure function of parameters and an input, with its derivative.

    A layer is a frozen dataclass of hyper-parameters and owns no arrays: its parameters are a dict
    that `init` makes and the caller keeps. So one layer can stand in two networks or run in two
    threads. `forward` and `backward` never write into what they are given.

    To write your own, subclass this as a frozen dataclass (`@dataclass(frozen=True, repr=False)`),
    write `forward` and `backward`, and, if it has parameters, `init`. Call a parameter `weight` if
    L2 and weight decay shall act on it. `xpnet.gradcheck.check(layer, x)` tells if you got it right.

    A layer that does something else in training, as dropout does, says so in `training_mode`; one
    that measures something in training, as batch normalisation does, in `init_statistics` and
    `new_statistics`. All other layers need none of the three.

    Arrays may be of any library: ask for its functions with `xp = xpnet.backend.namespace(x)`.
    Dense layers and activations are written for inputs `(..., n, d)`: put a leading axis of length
    K on every parameter, and K networks run in one batched product.
    """

    mixes_examples = False  # whether what comes out for one example depends on the others
    sums_over_parts = False  # whether, if so, by `xpnet.backend.sum_over_parts` alone

    def init(self, rng: Generator) -> Tree:
        """Fresh parameters, a dict of float64 NumPy arrays; empty if the layer has none."""
        return {}

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        """The output for the input x, and the residuals: what `backward` will need."""
        raise NotImplementedError

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        """From dy, the gradient of the loss at the output: those at x, and at each parameter."""
        raise NotImplementedError

    def parameter_gradients(self, params: Tree, residuals: Any, dy: Array) -> Tree:
        """The second result of `backward` alone.

        The first layer of a network needs no more, and dx costs it as much as dW: a layer
        that can leave dx out overrides this.
        """
        return self.backward(params, residuals, dy)[1]

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output for an input of that shape; ShapeError if it does not fit."""
        return input_shape

    def workspace(self, input_shape: Shape) -> int:
        """How many numbers the largest array has that the layer makes beside its input and output.

        0 for layers that make none that is much larger.
        """
        return 0

    def flops(self, params: Tree, input_shape: Shape) -> Flops:
        """The operations in matrix products for an input of that shape. 0 for layers that have none.

        A convolution counts as the product with its windows, however it is computed.
        """
        return Flops(0, 0, 0)

    def kept(self, residuals: Any, input_shape: Shape) -> Any:
        """What is kept of these residuals, of a few examples, where the input has that shape: all.

        A layer that keeps less of large inputs than of small ones overrides this, for the summary.
        """
        return residuals

    def prepare(self, params: Tree) -> Tree:
        """The parameters, with what can be made of them once for many calls of the other methods.

        These must do with the bare parameters too.
        """
        return params

    def training_mode(self, key: Key) -> "Layer":
        """The function of the same parameters that this layer is in a training step.

        `key` is for the random numbers of that step. The layer itself, if training changes nothing.
        """
        return self

    def map_layers(self, function: Callable[["Layer"], "Layer"]) -> "Layer":
        """What the function makes of this layer, after those that this one is made of."""
        return function(self)

    def init_statistics(self) -> Tree:
        """What the layer measures in training, as it is before: a dict of NumPy arrays.

        Outside training, `forward` and `backward` find the statistics among the parameters.
        """
        return {}

    def new_statistics(self, statistics: Tree, residuals: Any) -> Tree:
        """The statistics after a `forward` in training mode that left these residuals."""
        return statistics

    def refuse(self, expected: str, input_shape: Shape) -> NoReturn:
        raise ShapeError(f"{self}: expected x of shape {expected}, got {show_shape(input_shape)}")

    def __repr__(self) -> str:
        """The call that makes the layer, without the arguments that have their default value."""
        arguments = []
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.default is MISSING:
                arguments.append(repr(value))
            elif value != field.default and field.repr:
                arguments.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"


def show_shape(shape: Shape) -> str:
    """(64, 784), with the letters of unknown lengths bare: (n, 784)."""
    inner = ", ".join(str(length) for length in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def require_positive_integers(layer: Layer, **arguments: Any) -> None:
    """ConfigError unless each argument is an int of at least 1."""
    for name, value in arguments.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{layer}: expected {name} to be an integer of at least 1, got {value!r}")


def require_initializers(layer: Layer) -> None:
    """ConfigError unless each argument that ends in `_init` can be called."""
    for field in fields(layer):  # type: ignore[arg-type]  # every subclass is a dataclass
        value = getattr(layer, field.name)
        if field.name.endswith("_init") and not callable(value):
            expected = "an initialiser of xpnet.init"
            raise ConfigError(f"{layer}: expected {field.name} to be {expected}, got {value!r}")


def require_number(layer: Layer, name: str, below: float = math.inf) -> None:
    """ConfigError unless that argument is a number, 0 <= number < below."""
    value = getattr(layer, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < below:
        limit = "a finite number" if below == math.inf else f"a number below {below:g}"
        raise ConfigError(f"{layer}: expected {name} to be {limit} and at least 0, got {value!r}")
