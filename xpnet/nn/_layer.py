"""What a layer is."""

from dataclasses import MISSING, fields
from numbers import Integral
from typing import Any, NamedTuple, NoReturn

from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Generator
from xpnet.tree import Array, Tree

Shape = tuple[Any, ...]  # axis lengths; the number of examples may be a letter, ("n", 784)


class NoResiduals(NamedTuple):
    """For layers whose backward pass needs nothing of the forward pass."""


class Layer:
    """A pure function of parameters and an input, with its derivative.

    A layer is a frozen dataclass of hyper-parameters and owns no arrays: its parameters are a dict
    that `init` makes and the caller keeps. So one layer can stand in two networks or run in two
    threads. `forward` and `backward` never write into what they are given.

    To write your own, subclass this as a frozen dataclass (`@dataclass(frozen=True, repr=False)`),
    write `forward` and `backward`, and, if it has parameters, `init`. Call a parameter `weight` if
    L2 and weight decay shall act on it. `xpnet.gradcheck.check(layer, x)` tells if you got it right.

    Arrays may be of any library: ask for its functions with `xp = xpnet.backend.namespace(x)`.
    Dense layers and activations are written for inputs `(..., n, d)`: put a leading axis of length
    K on every parameter, and K networks run in one batched product.
    """

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
